"""The microphone with the real PortAudio, which records from an ALSA plug-in that plays files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from edgelearn.audio.capture import Microphone, MicrophoneChange, list_inputs, supported_rates
from edgelearn.audio.resample import resample
from edgelearn.errors import AudioDeviceError

PLUGIN = Path(__file__).parent / "vmic" / "filemic.c"
ALSA_CONFIGURATION = """
pcm_type.filemic {{ lib "{folder}/libfilemic.so" }}
pcm.mic16 {{ type filemic samples "{folder}/16.raw" rate 16000 gone "{folder}/gone" stuck "{folder}/stuck" }}
pcm.mic48 {{ type filemic samples "{folder}/48.raw" rate 48000 }}
pcm.default {{ type plug slave.pcm "mic16" }}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not sys.platform.startswith("linux") or not shutil.which("gcc"):
        pytest.skip("the virtual microphone needs Linux and gcc")
    folder = tmp_path_factory.mktemp("vmic")
    built = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-DPIC", "-o", folder / "libfilemic.so", PLUGIN, "-lasound"],
        capture_output=True,
        text=True,
    )
    if built.returncode:
        pytest.skip(f"the virtual microphone needs libasound2-dev: {built.stderr.splitlines()[0]}")
    (folder / "alsa.conf").write_text(ALSA_CONFIGURATION.format(folder=folder))
    rng = np.random.default_rng(0)
    for rate in (16000, 48000):
        rng.integers(1, 32768, 4 * rate, dtype="<i2").tofile(folder / f"{rate // 1000}.raw")
    return folder


@pytest.fixture(autouse=True)
def plugged_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # PortAudio reads it in the process that holds the microphone
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(folder / "alsa.conf"))
    try:
        list_inputs()
    except AudioDeviceError as error:
        if "which is not installed" in error.message:
            pytest.skip("PortAudio is not installed (libportaudio2)")
        raise


def test_the_microphones_are_listed() -> None:
    rates = {device.name: device.rate_hz for device in list_inputs()}
    assert rates == rates | {"mic16": 16000, "mic48": 48000}
    assert [device.name for device in list_inputs() if device.is_default] == ["default"]
    assert supported_rates("mic48") == [48000]


@pytest.mark.parametrize(("name", "rate_hz"), [("mic16", 16000), ("mic48", 48000)])
def test_samples_are_those_of_the_file_brought_to_16_khz(folder: Path, name: str, rate_hz: int) -> None:
    with Microphone(name) as microphone:
        assert microphone.rate_hz == rate_hz
        recorded = np.concatenate(list(islice(microphone, 40)))
    if microphone.overruns:
        pytest.skip("this machine is too busy just now to record without gaps")
    sound = np.fromfile(folder / f"{rate_hz // 1000}.raw", "<i2")
    np.testing.assert_array_equal(recorded, resample(sound, rate_hz)[: len(recorded)])
    assert len(recorded) > 12000


@pytest.mark.parametrize("accident", ["stuck", "gone"])
def test_a_lost_microphone_comes_back(folder: Path, accident: str) -> None:
    changes: list[MicrophoneChange] = []
    with Microphone("mic16", tell=changes.append) as microphone:
        blocks = iter(microphone)
        for _ in islice(blocks, 60):
            pass
        lost = microphone.process_id
        (folder / accident).touch()
        try:
            while not changes:
                next(blocks)
            assert not Path(f"/proc/{lost}").exists()
            for _ in islice(blocks, 3):
                pass
        finally:
            (folder / accident).unlink()
        while microphone.reopens == 0:
            next(blocks)
    assert [change.state for change in changes] == ["lost", "back"]
    assert microphone.gaps >= 1


def test_a_device_that_is_gone_from_the_start_is_an_error(folder: Path) -> None:
    (folder / "gone").touch()
    try:
        with pytest.raises(AudioDeviceError, match="no microphone fits 'mic16'") as caught, Microphone("mic16"):
            pass
    finally:
        (folder / "gone").unlink()
    assert "mic48" in caught.value.hint


def test_devices_on_the_command_line(folder: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-m", "edgelearn", "devices"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(folder)},
    )
    assert child.returncode == 0, child.stderr
    assert [line.split()[1:5] for line in child.stdout.splitlines() if "mic48" in line] == [
        ["mic48", "ALSA", "1", "48000"]
    ]
