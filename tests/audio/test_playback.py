"""Playing a take with the real PortAudio, whose loudspeaker is ALSA's plug-in that writes to a file."""

from __future__ import annotations

import signal
import time
from itertools import islice, permutations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio import playback
from edgelearn.audio.capture import Microphone
from edgelearn.audio.capture_child import ask
from edgelearn.audio.playback import Playback
from edgelearn.audio.playback_process import at_rate
from edgelearn.errors import AudioDeviceError

FAKE = Path(__file__).parent / "fake_portaudio"
SPEAKER = """
pcm.speaker {{ type file file "{0}/played.raw" format raw slave.pcm {{ type null }} }}
pcm.default {{ type asym playback.pcm "speaker" capture.pcm {{ type null }} }}
"""
NO_SPEAKER = "pcm.default { type asym capture.pcm { type null } }\n"


@pytest.fixture
def take(rng: np.random.Generator) -> NDArray[np.int16]:
    return rng.integers(-32768, 32768, 20_000).astype(np.int16)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a sound card whose loudspeaker writes to `played.raw`."""
    (tmp_path / "alsa.conf").write_text(SPEAKER.format(tmp_path))
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(tmp_path / "alsa.conf"))
    try:
        ask(do="list")
    except AudioDeviceError as error:
        if "which is not installed" in error.message:
            pytest.skip("PortAudio is not installed (libportaudio2)")
        raise
    return tmp_path


def wait_for(played: Playback) -> str:
    while played.busy:
        time.sleep(0.01)
    return played.problem


def test_what_is_played_is_the_take(folder: Path, take: NDArray[np.int16]) -> None:
    played = Playback(take)
    assert wait_for(played) == ""
    assert not played.busy
    played.stop()
    np.testing.assert_array_equal(np.fromfile(folder / "played.raw", "<i2"), take)


def test_a_device_without_a_loudspeaker_says_so(folder: Path, take: NDArray[np.int16]) -> None:
    (folder / "alsa.conf").write_text(NO_SPEAKER)
    assert wait_for(Playback(take)) == "no loudspeaker is connected"


def test_a_microphone_loses_nothing_while_a_take_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: NDArray[np.int16]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setenv("FAKE_MICROPHONE", str(tmp_path))
    heard: list[NDArray[np.int16]] = []
    with Microphone() as microphone:  # its blocks are filled with their numbers
        blocks = iter(microphone)
        heard += islice(blocks, 5)
        first, second = Playback(take), Playback(take[:100])
        while first.busy or second.busy:
            heard.append(next(blocks))
        heard += islice(blocks, 5)
        assert microphone.gaps == 0
    assert [int(block[0]) for block in heard] == list(range(1, len(heard) + 1))
    assert (first.problem, second.problem) == ("", "")
    sounds = (take.astype("<i2").tobytes(), take[:100].astype("<i2").tobytes())
    assert (tmp_path / "played.raw").read_bytes() in (one + other for one, other in permutations(sounds))


@pytest.mark.parametrize(
    ("fate", "message"),
    [
        ("refuses", "cannot open the loudspeaker 'Fake Speaker' (16000 Hz: no; 48000 Hz: no)"),
        ("hangs", "the loudspeaker does not answer"),
        ("crashes", "the loudspeaker has crashed PortAudio"),
    ],
)
def test_a_loudspeaker_that_will_not_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: NDArray[np.int16], fate: str, message: str
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setenv("FAKE_MICROPHONE", str(tmp_path))
    if fate == "hangs":
        monkeypatch.setattr(playback, "PATIENCE_SECONDS", 1.0)
    (tmp_path / fate).touch()
    assert wait_for(Playback(take[:160])) == message


def test_no_process_is_left_of_a_take_that_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setenv("FAKE_MICROPHONE", str(tmp_path))
    (tmp_path / "hangs").touch()
    played = Playback(np.zeros(16000, np.int16))
    assert played.busy
    played.stop()
    assert not played.busy
    assert (played._process.returncode, played.problem) == (-signal.SIGKILL, "")


def test_another_rate_is_the_same_sound() -> None:
    at = np.arange(16000)
    tone = np.rint(8000 * np.sin(2 * np.pi * 440 * at / 16000)).astype("<i2")
    finer = np.frombuffer(at_rate(tone.tobytes(), 48000), "<i2")
    wanted = 8000 * np.sin(2 * np.pi * 440 * np.arange(48000) / 48000)
    assert len(finer) == 48000
    assert np.abs(finer[500:-500] - wanted[500:-500]).max() < 30
