from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgelearn.audio import capture
from edgelearn.audio.capture import QUEUED_BLOCKS, Microphone, find_input, list_inputs
from edgelearn.audio.resample import resample
from edgelearn.errors import AudioDeviceError

VMIC = Path(__file__).parent / "vmic"

ALSA_CONFIGURATION = """
pcm_type.filemic {{ lib "{folder}/libfilemic.so" }}
pcm.mic16 {{ type filemic samples "{folder}/16.raw" rate 16000 gone "{folder}/gone" stuck "{folder}/stuck" }}
pcm.mic48 {{ type filemic samples "{folder}/48.raw" rate 48000 }}
pcm.default {{ type plug slave.pcm "mic16" }}
"""


@pytest.fixture(scope="module")
def vmic(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Everything that was recorded, through the real PortAudio, from an ALSA plug-in that plays files."""
    if not sys.platform.startswith("linux") or not shutil.which("gcc"):
        pytest.skip("the virtual microphone needs Linux and gcc")
    folder = tmp_path_factory.mktemp("vmic")
    built = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-DPIC", "-o", folder / "libfilemic.so", VMIC / "filemic.c", "-lasound"],
        capture_output=True,
        text=True,
    )
    if built.returncode:
        pytest.skip(f"the virtual microphone needs libasound2-dev: {built.stderr.splitlines()[0]}")
    rng = np.random.default_rng(0)
    sound = {rate: rng.integers(1, 32768, 2 * rate, dtype=np.int16) for rate in (16000, 48000)}
    for rate, samples in sound.items():
        samples.astype("<i2").tofile(folder / f"{rate // 1000}.raw")
    (folder / "alsa.conf").write_text(ALSA_CONFIGURATION.format(folder=folder))
    environment = os.environ | {
        "ALSA_CONFIG_PATH": str(folder / "alsa.conf"),
        "PYTHONPATH": str(VMIC.parents[2]),
    }
    # what the library prints goes to a file: a full pipe would stop it, and hide that it never ends by itself
    with (folder / "stderr").open("w") as stderr:
        child = subprocess.run(
            [sys.executable, VMIC / "child.py", folder],
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            timeout=30,
        )
    messages = (folder / "stderr").read_text(errors="replace")
    if "needs PortAudio" in messages:
        pytest.skip("PortAudio is not installed (libportaudio2)")
    assert child.returncode == 0, messages[-2000:]
    return SimpleNamespace(
        folder=folder, sound=sound, environment=environment, stderr=messages, **json.loads(child.stdout)
    )


def test_the_microphones_are_listed(vmic: SimpleNamespace) -> None:
    assert {"mic16", "mic48"} <= set(vmic.devices)


def test_samples_are_bit_exact(vmic: SimpleNamespace) -> None:
    recorded = np.load(vmic.folder / "mic16.npy")
    np.testing.assert_array_equal(recorded, vmic.sound[16000][: len(recorded)])
    assert vmic.plain == vmic.plain | {"rate_hz": 16000, "overruns": 0, "error": "", "dtypes": ["int16"]}


def test_a_device_without_16_khz_is_opened_at_its_own_rate(vmic: SimpleNamespace) -> None:
    recorded = np.load(vmic.folder / "mic48.npy")
    np.testing.assert_array_equal(recorded, resample(vmic.sound[48000], 48000)[: len(recorded)])
    assert vmic.native == vmic.native | {"rate_hz": 48000, "overruns": 0, "error": "", "dtypes": ["int16"]}


@pytest.mark.parametrize("accident", ["stuck", "gone"])
def test_a_dead_microphone_is_an_error_and_does_not_hang(vmic: SimpleNamespace, accident: str) -> None:
    result = getattr(vmic, accident)
    assert result["error"] == "the microphone 'mic16' has delivered nothing for 0.6 s"
    assert result["ended_after_s"] < 3


def test_python_still_has_its_stderr_after_an_accident(vmic: SimpleNamespace) -> None:
    assert "python's own stderr" in vmic.stderr


def test_devices_on_the_command_line(vmic: SimpleNamespace) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "edgelearn", "devices", "--json"],
        capture_output=True,
        text=True,
        env=vmic.environment,
    )
    lines = {line["name"]: line for line in map(json.loads, child.stdout.splitlines())}
    assert lines["mic48"] == lines["mic48"] | {"v": 1, "event": "device", "channels": 1, "rate_hz": 48000}
    assert sum(line["default"] for line in lines.values()) == 1


class FakePortAudio:
    """Stands for the module sounddevice: microphones that open at 44.1 kHz and with two channels only."""

    class PortAudioError(Exception):
        pass

    default = SimpleNamespace(device=(-1, -1))

    def __init__(self) -> None:
        self.opened: list[tuple[int, int]] = []

    def query_devices(self) -> list[dict[str, Any]]:
        names = [("USB Audio: front", 2), ("HDMI", 0), ("USB Audio: rear", 2), ("Webcam", 1)]
        return [
            {"name": name, "hostapi": 0, "max_input_channels": channels, "default_samplerate": 44100.0}
            for name, channels in names
        ]

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "ALSA", "default_input_device": 2}]

    def InputStream(self, samplerate: int, channels: int, **_: Any) -> Any:  # noqa: N802
        self.opened.append((samplerate, channels))
        if (samplerate, channels) != (44100, 2):
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        return SimpleNamespace(start=lambda: None, abort=lambda: None, close=lambda: None)


@pytest.fixture
def portaudio(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePortAudio]:
    fake = FakePortAudio()
    monkeypatch.setattr(capture, "_portaudio", lambda: fake)
    return fake


@pytest.mark.usefixtures("portaudio")
def test_inputs_are_listed_without_loudspeakers() -> None:
    assert [(d.index, d.channels, d.rate_hz, d.is_default) for d in list_inputs()] == [
        (0, 2, 44100, False),
        (2, 2, 44100, True),
        (3, 1, 44100, False),
    ]


@pytest.mark.usefixtures("portaudio")
@pytest.mark.parametrize(("wanted", "index"), [("", 2), ("0", 0), ("3", 3), ("webc", 3), ("REAR", 2)])
def test_a_microphone_is_found_by_number_or_name(wanted: str, index: int) -> None:
    assert find_input(wanted).index == index


@pytest.mark.usefixtures("portaudio")
@pytest.mark.parametrize(
    ("wanted", "message", "candidates"),
    [
        ("usb", "several microphones fit 'usb'", "0 USB Audio: front; 2 USB Audio: rear"),
        ("bluetooth", "no microphone fits", "0 USB Audio: front; 2 USB Audio: rear; 3 Webcam"),
        ("1", "no microphone fits '1'", "0 USB Audio: front; 2 USB Audio: rear; 3 Webcam"),
    ],
)
def test_a_microphone_that_is_not_clear_names_the_candidates(
    wanted: str, message: str, candidates: str
) -> None:
    with pytest.raises(AudioDeviceError, match=message) as caught:
        find_input(wanted)
    assert caught.value.hint == f"choose one of: {candidates}"


def test_no_microphone_at_all(portaudio: FakePortAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portaudio, "query_devices", list)
    assert list_inputs() == []
    with pytest.raises(AudioDeviceError, match="no microphone is connected"):
        find_input()


def test_an_array_of_microphones_opens_as_a_whole(portaudio: FakePortAudio) -> None:
    with Microphone("front") as microphone:
        assert microphone.rate_hz == 44100
    assert portaudio.opened == [(16000, 1), (44100, 1), (16000, 2), (44100, 2)]


@pytest.mark.usefixtures("portaudio")
def test_an_error_names_what_was_tried() -> None:
    with pytest.raises(AudioDeviceError) as caught, Microphone("Webcam", rate_hz=8000):
        pass
    assert "'Webcam' (8000 Hz, 1 channel: Invalid sample rate" in caught.value.message
    assert "44100 Hz, 1 channel" in caught.value.message


@pytest.mark.usefixtures("portaudio")
def test_gaps_are_counted_between_the_blocks_where_they_are() -> None:
    with Microphone("front") as microphone:
        microphone.rate_hz = 16000
        fine, overflow = SimpleNamespace(input_overflow=False), SimpleNamespace(input_overflow=True)
        for number in range(QUEUED_BLOCKS + 3):  # three more than the queue holds: the first three go
            microphone._on_block(np.full((320, 2), number, np.int16), 320, None, fine)
        microphone._on_block(np.full((320, 2), -1, np.int16), 320, None, overflow)  # and so does a fourth
        blocks = iter(microphone)
        seen = [(int(next(blocks)[0]), microphone.overruns) for _ in range(QUEUED_BLOCKS)]
    assert seen[0] == (4, 4)
    assert seen[-2:] == [(QUEUED_BLOCKS + 2, 4), (-1, 5)]


@pytest.mark.usefixtures("portaudio")
def test_blocks_are_copies() -> None:
    with Microphone("front") as microphone:
        microphone.rate_hz = 16000
        buffer = np.ones((320, 2), np.int16)
        microphone._on_block(buffer, 320, None, SimpleNamespace(input_overflow=False))
        buffer[:] = 9  # PortAudio uses its buffer again
        assert next(iter(microphone)).tolist() == [1] * 320


@pytest.mark.usefixtures("portaudio")
def test_a_stream_that_ends_is_an_error() -> None:
    with Microphone("front") as microphone:
        microphone._on_end()
        with pytest.raises(AudioDeviceError, match="has stopped"):
            next(iter(microphone))


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        (
            "raise OSError('PortAudio library not found')",
            "needs PortAudio",
            "sudo apt install libportaudio2",
        ),
        ("raise ImportError('no')", "needs the package sounddevice", "pip install sounddevice"),
        ("raise RuntimeError('host error')", "PortAudio does not start: host error", ""),
    ],
)
def test_a_missing_portaudio_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str, hint: str
) -> None:
    (tmp_path / "sounddevice.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(AudioDeviceError, match=message) as caught:
        list_inputs()
    assert caught.value.hint.endswith(hint)
