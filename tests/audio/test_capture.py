"""The microphone as a whole, with a false PortAudio in its process: losses, gaps, and what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgelearn.audio import capture, capture_child
from edgelearn.audio.capture import Microphone, MicrophoneChange, list_inputs, portaudio_version, supported_rates
from edgelearn.errors import AudioDeviceError

ROOT = Path(__file__).resolve().parents[2]
BLOCK = 320


@pytest.fixture
def fate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a false microphone: file names are what happens to it."""
    search = os.pathsep.join([str(Path(__file__).parent / "fake_portaudio"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", search)
    monkeypatch.setenv("FAKE_MICROPHONE", str(tmp_path))
    monkeypatch.setattr(capture_child, "ANSWER_SECONDS", 60.0)  # a busy machine may take long to start a process
    sound = np.arange(1, 16001, dtype=np.int16)
    np.column_stack((sound, -sound)).astype("<i2").tofile(tmp_path / "samples.raw")
    return tmp_path


@pytest.fixture(scope="session")
def slowness() -> float:
    """How much longer than on a PC a process takes to start here, under emulation or load."""
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    return max(1.0, (time.monotonic() - started) / 0.3)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, slowness: float) -> None:
    """Less patience, so that tests of losses take less time."""
    monkeypatch.setattr(capture, "FIRST_BLOCK_SECONDS", 1.0 * slowness)
    monkeypatch.setattr(capture, "AGAIN_SECONDS", 0.5 * slowness)
    monkeypatch.setattr(capture_child, "CLOSE_SECONDS", 0.3 * slowness)


def sound_of(microphone: Microphone, blocks: int) -> np.ndarray:
    """The next blocks that are not empty."""
    return np.concatenate(list(islice((block for block in microphone if len(block)), blocks)))


def is_alive(process_id: int) -> bool:
    try:
        return (Path("/proc") / str(process_id) / "stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def wait_for_end(process_id: int) -> None:
    for _ in range(400):
        if not is_alive(process_id):
            return
        time.sleep(0.05)
    pytest.fail(f"process {process_id} is still there")


@pytest.mark.usefixtures("fate")
def test_what_there_is_to_choose_from() -> None:
    (device,) = list_inputs()
    assert (device.index, device.name, device.channels, device.rate_hz, device.is_default) == (
        0, "Fake Mic", 2, 16000, True,
    )  # fmt: skip
    assert portaudio_version() == "Fake PortAudio"
    assert supported_rates("fake") == [16000]


@pytest.mark.usefixtures("fate")
@pytest.mark.parametrize(("channel", "sign"), [(1, 1), (2, -1)])
def test_one_channel_is_heard_from_its_first_sample(channel: int, sign: int) -> None:
    with Microphone(channel=channel) as microphone:
        sound = sound_of(microphone, 10)
    np.testing.assert_array_equal(sound, sign * np.arange(1, 10 * BLOCK + 1, dtype=np.int16))
    assert sound.dtype == np.int16
    assert (microphone.rate_hz, microphone.gaps) == (16000, 0)


@pytest.mark.usefixtures("fate")
def test_the_process_is_gone_when_the_microphone_is_closed() -> None:
    with Microphone() as microphone:
        process_id = microphone.process_id
        assert is_alive(process_id)
    assert not is_alive(process_id)
    assert microphone.process_id == 0


@pytest.mark.parametrize(
    ("accident", "device", "message"),
    [
        ("gone", "", "no microphone is connected"),
        ("stuck", "", r"has delivered nothing for [\d.]+ s"),
        ("ended", "", "has stopped"),
        ("", "webcam", "no microphone fits 'webcam'"),
        ("", "1", "no microphone fits '1'"),
    ],
)
@pytest.mark.usefixtures("short")
def test_what_cannot_be_opened_at_all_is_an_error(fate: Path, accident: str, device: str, message: str) -> None:
    if accident:
        (fate / accident).touch()
    with pytest.raises(AudioDeviceError, match=message), Microphone(device):
        pass


def test_several_that_fit_are_listed(fate: Path) -> None:
    (fate / "devices").write_text("2")
    with pytest.raises(AudioDeviceError, match="several microphones fit 'fake'") as caught, Microphone("fake"):
        pass
    assert caught.value.hint == "choose one of: 0 Fake Mic; 1 Fake Mic"


def test_a_library_that_hangs_is_an_error(fate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (fate / "hangs").touch()
    monkeypatch.setattr(capture_child, "ANSWER_SECONDS", 1.0)
    with pytest.raises(AudioDeviceError, match="does not answer"), Microphone():
        pass
    with pytest.raises(AudioDeviceError, match="does not answer"):
        list_inputs()


def test_a_library_that_crashes_is_an_error(fate: Path) -> None:
    (fate / "crashes").touch()
    with pytest.raises(AudioDeviceError, match="PortAudio has crashed"), Microphone():
        pass


@pytest.mark.parametrize("accident", ["gone", "stuck", "ended"])
@pytest.mark.usefixtures("short")
def test_a_lost_microphone_is_opened_again_when_it_is_back(fate: Path, accident: str) -> None:
    changes: list[MicrophoneChange] = []
    with Microphone("Fake", tell=changes.append) as microphone:
        first = microphone.process_id
        sound_of(microphone, 60)
        (fate / accident).touch()
        blocks = iter(microphone)
        while not changes:
            next(blocks)
        assert [change.state for change in changes] == ["lost"]
        assert not is_alive(first)
        for _ in range(4):
            assert len(next(blocks)) == 0  # there is time for other things
        (fate / accident).unlink()
        block = next(block for block in blocks if len(block))
        np.testing.assert_array_equal(block, np.arange(1, BLOCK + 1, dtype=np.int16))
        second = microphone.process_id
    assert [change.state for change in changes] == ["lost", "back"]
    assert changes[0].message.startswith("the microphone 'Fake Mic' ")
    assert changes[1].away_s > 0
    assert (microphone.reopens, microphone.overruns, microphone.gaps) == (1, 0, 1)
    assert second != first
    assert not is_alive(second)


@pytest.mark.usefixtures("short")
def test_a_microphone_that_opened_in_vain_is_opened_again_by_the_same_process(fate: Path) -> None:
    """The stream that is closed for its silence ends; that is not the end of the next one."""
    with Microphone() as microphone:
        sound_of(microphone, 60)
        (fate / "stuck").touch()
        blocks = iter(microphone)
        while len(next(blocks)) > 0:
            pass
        patient = microphone._child
        assert patient is not None
        while patient.problem is None:
            next(blocks)
        (fate / "stuck").unlink()
        while len(next(blocks)) == 0:
            pass
        assert microphone._child is patient
    assert microphone.reopens == 1


@pytest.mark.usefixtures("fate")
def test_a_process_that_is_killed_is_replaced() -> None:
    changes: list[MicrophoneChange] = []
    with Microphone(tell=changes.append) as microphone:
        sound_of(microphone, 1)
        os.kill(microphone.process_id, signal.SIGKILL)
        while microphone.reopens == 0:
            sound_of(microphone, 1)
    assert [change.state for change in changes] == ["lost", "back"]
    assert changes[0].message == "the microphone 'Fake Mic' has stopped"


def test_an_overrun_of_the_library_is_a_gap(fate: Path) -> None:
    with Microphone() as microphone:
        blocks = iter(microphone)
        next(blocks)
        assert microphone.gaps == 0
        (fate / "overflow").touch()
        sound_of(microphone, 1)
        while microphone.gaps == 0:
            next(blocks)
    assert (microphone.overruns, microphone.reopens) == (1, 0)


def test_a_pause_longer_than_the_ring_loses_the_oldest_blocks_and_is_one_gap(fate: Path) -> None:
    (fate / "samples.raw").unlink()  # every block is filled with its number
    (fate / "pace").write_text("0.0005")
    with Microphone() as microphone:
        blocks = iter(microphone)
        expected = 1
        while microphone.gaps == 0:
            time.sleep(0.2)
            block = next(blocks)
            number = int(block[0])
            assert (block == number).all()
            if microphone.gaps == 0:
                assert number == expected
            else:
                assert number > expected
            expected = number + 1
        assert microphone.overruns == 1
        for number in range(expected, expected + 300):  # nothing of what the ring still held is lost
            assert int(next(blocks)[0]) == number
    assert microphone.gaps == 1


def test_dead_input_is_told_once(fate: Path) -> None:
    (fate / "samples.raw").write_bytes(b"")
    (fate / "pace").write_text("0.002")
    changes: list[MicrophoneChange] = []
    with Microphone(tell=changes.append) as microphone:
        sound_of(microphone, 300)
    (change,) = changes
    assert change.state == "dead"
    assert change.message == "the microphone 'Fake Mic' delivers digital silence"
    assert "--channel" in change.advice


PARENT = """
import time
from edgelearn.audio.capture import Microphone
with Microphone() as microphone:
    next(iter(microphone))
    print(microphone.process_id, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("accident", ["", "stuck", "gone"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_no_process_is_left_when_the_program_is_killed(fate: Path, number: signal.Signals, accident: str) -> None:
    search = os.pathsep.join([os.environ["PYTHONPATH"], str(ROOT)])
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": search}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        if accident:
            (fate / accident).touch()
        parent.send_signal(number)
    wait_for_end(child)


def test_the_process_imports_no_numpy() -> None:
    """It would take long to be ready on a small machine, and twice the memory."""
    code = "import sys, edgelearn.audio.capture_process; sys.exit('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0
