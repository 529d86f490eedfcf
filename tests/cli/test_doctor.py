"""`doctor` and `devices --test`: what they find on machines that are made up, and with a false PortAudio."""

from __future__ import annotations

import platform
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from edgelearn.cli import checks, machine
from edgelearn.cli.checks import check_microphone, guarded
from edgelearn.cli.machine import Check
from edgelearn.cli.verbs import doctor
from edgelearn.config import AudioSettings
from edgelearn.device.host import read_condition
from edgelearn.errors import ModelFileError
from tests.cli.typed import Cli

FAKE = Path(__file__).parents[1] / "audio" / "fake_portaudio"
AUDIO = AudioSettings(device="", rate_hz=0, channel=1)


@pytest.fixture
def fate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a false microphone, which records a loud enough tone."""
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    folder = tmp_path / "microphone"
    folder.mkdir()
    monkeypatch.setenv("FAKE_MICROPHONE", str(folder))
    (folder / "pace").write_text("0.002")
    tone = np.rint(8192 * np.sin(2 * np.pi * 500 * np.arange(5 * 16000) / 16000))
    np.repeat(tone, 2).astype("<i2").tofile(folder / "samples.raw")
    return folder


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# -- the machine


def test_the_board_is_named(tmp_path: Path) -> None:
    write(tmp_path / "proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.5\0")
    check = machine.check_system(tmp_path)
    assert check.status == "ok"
    assert check.detail.endswith(f"64 bits, {platform.machine()}, Raspberry Pi 4 Model B Rev 1.5")


def test_a_system_of_32_bits_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.struct, "calcsize", lambda _: 4)
    assert (machine.check_system().status, "64-bit" in machine.check_system().advice) == ("fail", True)


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10), "fail"), ((3, 11), "ok"), ((3, 14), "ok"), ((3, 15), "fail")]
)
def test_pythons(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int], status: str) -> None:
    monkeypatch.setattr(sys, "version_info", version)
    assert machine.check_python().status == status


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.check_packages().status == "ok"
    monkeypatch.setattr(machine, "PACKAGES", ("numpy", "no_such_package"))
    assert machine.check_packages() == Check(
        "packages", "fail", "no_such_package not installed", "type: pip install no_such_package"
    )


@pytest.mark.parametrize(("free_kib", "status"), [(100 * 1024, "warn"), (600 * 1024, "ok")])
def test_memory(tmp_path: Path, free_kib: int, status: str) -> None:
    write(tmp_path / "proc/meminfo", f"MemTotal:  1024000 kB\nMemAvailable: {free_kib} kB\nHugePages_Total: 0\n")
    check = machine.check_memory(tmp_path)
    assert (check.status, check.detail) == (status, f"{free_kib // 1024} MiB of 1,000 MiB free")
    assert machine.check_memory(tmp_path / "elsewhere").detail == "not known on this system"


@pytest.mark.parametrize(("governor", "status"), [("powersave", "warn"), ("ondemand", "ok")])
def test_the_clock(tmp_path: Path, governor: str, status: str) -> None:
    folder = tmp_path / "sys/devices/system/cpu/cpu0/cpufreq"
    write(folder / "scaling_governor", f"{governor}\n")
    write(folder / "scaling_cur_freq", "600000\n")
    write(folder / "scaling_max_freq", "1800000\n")
    check = machine.check_processor(read_condition(tmp_path))
    assert check.status == status
    assert check.detail.endswith(f"governor {governor}, 600 of 1800 MHz")


@pytest.mark.parametrize(
    ("milli", "answer", "status", "detail"),
    [
        ("45000", "throttled=0x0", "ok", "45 °C; never throttled"),
        ("85000", "throttled=0x0", "warn", "85 °C; never throttled"),
        ("45000", "throttled=0x50005", "warn",
         "45 °C; under-voltage, throttled, under-voltage since the start, throttled since the start"),
        ("45000", "throttled=0x20000", "warn", "45 °C; clock capped since the start"),
        ("45000", "VCHI initialization failed", "ok", "45 °C"),
    ],
)  # fmt: skip
def test_heat_and_power(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, milli: str, answer: str, status: str, detail: str
) -> None:
    write(tmp_path / "sys/class/thermal/thermal_zone0/temp", "30000\n")
    write(tmp_path / "sys/class/thermal/thermal_zone1/temp", f"{milli}\n")
    command = tmp_path / "vcgencmd"
    command.write_text(f"#!/bin/sh\necho '{answer}'\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    check = machine.check_heat(read_condition(tmp_path))
    assert (check.status, check.detail) == (status, detail)
    assert bool(check.advice) == (status == "warn")


def test_heat_on_a_system_that_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.check_heat(read_condition(tmp_path)) == Check("heat", "ok", "not known on this system")


# -- the microphone


def found(audio: AudioSettings | None = AUDIO) -> dict[str, Check]:
    return {check.name: check for check in check_microphone(audio)}


@pytest.mark.usefixtures("fate")
def test_a_microphone_that_is_well() -> None:
    assert found() == {
        "portaudio": Check("portaudio", "ok", "Fake PortAudio"),
        "microphones": Check("microphones", "ok", "0 Fake Mic (default)"),
        "sample rates": Check("sample rates", "ok", "16000 Hz"),
        "level": Check("level", "ok", "Fake Mic at 16000 Hz: peak -12 dB of full scale"),
    }
    assert list(found(None)) == ["portaudio", "microphones"]  # the settings do not tell which one


def test_no_microphone_is_a_warning(fate: Path) -> None:
    (fate / "gone").touch()
    check = found()["microphones"]
    assert check.status == "warn"
    assert "sudo usermod -aG audio" in check.advice


def test_a_dead_microphone_is_a_warning(fate: Path) -> None:
    (fate / "samples.raw").write_bytes(b"")
    assert found()["level"].status == "warn"
    assert found()["level"].detail.endswith("-inf dB of full scale: it delivers digital silence")


def test_a_choice_that_is_not_there_fails(fate: Path) -> None:
    assert fate.is_dir()
    check = found(AudioSettings("usb", 0, 1))["level"]
    assert (check.status, check.detail, check.advice) == (
        "fail", "no microphone fits 'usb'", "choose one of: 0 Fake Mic",
    )  # fmt: skip


def test_portaudio_that_is_missing_fails_and_ends_the_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert list(found().values()) == [
        Check(
            "portaudio", "fail", "sound needs PortAudio, which is not installed",
            "type: sudo apt install libportaudio2",
        )
    ]  # fmt: skip


# -- the verb


def raises(error: Exception) -> Check:
    raise error


def test_what_a_check_raises_is_a_failure() -> None:
    assert guarded("model", lambda: raises(ModelFileError("it is damaged", "go back"))) == Check(
        "model", "fail", "it is damaged", "go back"
    )
    check = guarded("model", lambda: raises(ZeroDivisionError("oh")))
    assert (check.status, check.detail) == ("fail", "unexpected ZeroDivisionError: oh")


@pytest.mark.parametrize(("status", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_the_exit_code(cli: Cli, monkeypatch: pytest.MonkeyPatch, status: str, code: int) -> None:
    some = [Check("speed", "ok", "quick"), Check("heat", status, "85 °C", "a fan")]
    monkeypatch.setattr(checks, "all_checks", lambda _: iter(some))
    shown = cli("doctor", "--json", code=code)
    assert shown.lines == [
        {"v": 1, "event": "check", "name": "speed", "status": "ok", "detail": "quick", "advice": ""},
        {"v": 1, "event": "check", "name": "heat", "status": status, "detail": "85 °C", "advice": "a fan"},
    ]
    text = cli("doctor", code=code).out.splitlines()
    assert text == [
        "ok   speed         quick",
        f"{status:5}heat          85 °C",
        "                   -> a fan",
    ]


def test_long_lines_are_wrapped_in_their_column() -> None:
    lines = doctor._line("ok", "packages", "numba " * 30).splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 79 and line[19:].startswith("numba") for line in lines)


def test_settings_and_model_that_are_wrong_do_not_stop_the_rest(home: Path) -> None:
    (home / "bad.toml").write_text("[audio]\ndevise = 1\n")
    (home / "bad.npz").write_bytes(b"not a model")
    program = checks.Program(Namespace(config=home / "bad.toml", model=home / "bad.npz"))
    settings = guarded("settings", program.check_settings)
    assert (settings.status, "did you mean" in settings.advice) == ("fail", True)
    assert guarded("model", program.check_model).status == "fail"
    assert (program.audio, program.model) == (None, None)
    assert guarded("start", program.check_start).status in ("ok", "warn")
    speed = guarded("speed", program.check_speed)
    assert speed.detail.startswith("real-time factor ")


def test_a_model_that_is_not_there_yet_is_not_made(home: Path) -> None:
    program = checks.Program(Namespace(config=None, model=None))
    check = program.check_model()
    assert (check.status, check.detail) == (
        "ok", f"the shipped one; the first use makes {home / '.local/share/edgelearn/model.npz'}",
    )  # fmt: skip
    assert not (home / ".local").exists()


def test_the_cache_of_kernels(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert checks.check_cache().status == "warn"
    monkeypatch.delenv("NUMBA_DISABLE_JIT")
    monkeypatch.setattr("edgelearn.jit.cache_folder", lambda: None)
    assert "NUMBA_CACHE_DIR" in checks.check_cache().advice
    monkeypatch.setattr("edgelearn.jit.cache_folder", lambda: home)
    assert checks.check_cache() == Check("kernel cache", "ok", f"{home}, empty until now")
    (home / "a.nbc").touch()
    assert checks.check_cache().detail == f"{home}, 1 kernels"


# -- devices --test


@pytest.mark.usefixtures("fate")
def test_the_level_of_a_microphone(cli: Cli) -> None:
    (level,) = cli("devices", "--test", "--json").lines
    assert level == level | {
        "v": 1, "event": "level", "index": 0, "name": "Fake Mic", "rate_hz": 16000, "peak_dbfs": -12.0,
        "rms_dbfs": -15.1, "clipped": 0.0, "overruns": 0, "problem": "", "advice": "",
    }  # fmt: skip
    assert cli("devices", "--test").out == (
        "Fake Mic has a good level: peak -12 dB, mean -15 dB of full scale, at 16000 Hz\n"
    )


@pytest.mark.parametrize(
    ("amplitude", "problem"), [(0, "dead"), (100, "quiet"), (8000, ""), (60000, "clipped")], ids=str
)
def test_levels_that_will_not_do(cli: Cli, fate: Path, amplitude: int, problem: str) -> None:
    tone = amplitude * np.sin(2 * np.pi * 500 * np.arange(5 * 16000) / 16000)
    np.repeat(np.clip(np.rint(tone), -32768, 32767), 2).astype("<i2").tofile(fate / "samples.raw")
    (level,) = cli("devices", "--test", "--json").lines
    assert level["problem"] == problem
    assert bool(level["advice"]) == bool(problem)


def test_a_test_without_a_microphone(cli: Cli, fate: Path) -> None:
    (fate / "gone").touch()
    assert "no microphone is connected" in cli("devices", "--test", code=3).err
