"""Verbs in a process of their own: Ctrl-C, and a microphone that is a file behind the real PortAudio."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile
from scipy.signal import resample_poly

from edgelearn.audio.clips import read_clip
from edgelearn.jit import cache_folder
from edgelearn.runtime.rehearsed import RECORDINGS
from tests.cli.typed import BED
from tests.interruptible import interruptible

ROOT = Path(__file__).resolve().parents[2]
VMIC = ROOT / "tests" / "audio" / "vmic"
CONFIGURATION = """
pcm_type.filemic {{ lib "{folder}/libfilemic.so" }}
pcm.takes {{ type filemic samples "{folder}/takes.raw" rate 16000 }}
pcm.words16000 {{ type filemic samples "{folder}/words.raw" rate 16000 }}
pcm.words48000 {{ type filemic samples "{folder}/words.raw" rate 48000 }}
pcm.again {{ type filemic samples "{folder}/words.raw" rate 16000 loop 1 }}
pcm.default {{ type plug slave.pcm "takes" }}
"""


@pytest.fixture
def environment(tmp_path: Path, compiled: None) -> dict[str, str]:  # noqa: ARG001
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("EDGELEARN_", "XDG_"))}
    folder = cache_folder()
    cache = {"NUMBA_CACHE_DIR": str(folder.parents[1])} if folder is not None else {}
    return clean | cache | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def in_a_room(*names: str) -> bytes:
    """The recordings whose names begin like this, 0.6 s apart, in quiet noise, as raw samples."""
    rng = np.random.default_rng(2)
    parts = [np.zeros(8000)]
    for name in names:
        parts += [read_clip(next(RECORDINGS.glob(f"{name}*.wav"))).astype(np.float64), np.zeros(9600)]
    sound = np.concatenate(parts)
    return np.clip(np.rint(sound + 12 * rng.standard_normal(len(sound))), -32768, 32767).astype("<i2").tobytes()


@pytest.fixture
def microphone(tmp_path: Path, environment: dict[str, str]) -> dict[str, str]:
    """An environment whose microphones `takes` and `words` play files."""
    if not sys.platform.startswith("linux") or not shutil.which("gcc"):
        pytest.skip("the virtual microphone needs Linux and gcc")
    built = subprocess.run(
        ["gcc", "-shared", "-fPIC", "-DPIC", "-o", tmp_path / "libfilemic.so", VMIC / "filemic.c", "-lasound"],
        capture_output=True,
        text=True,
    )
    if built.returncode:
        pytest.skip(f"the virtual microphone needs libasound2-dev: {built.stderr.splitlines()[0]}")
    (tmp_path / "alsa.conf").write_text(CONFIGURATION.format(folder=tmp_path))
    environment |= {"ALSA_CONFIG_PATH": str(tmp_path / "alsa.conf")}
    (tmp_path / "takes.raw").touch()
    (tmp_path / "words.raw").touch()
    listed = edgelearn("devices", environment=environment)
    if listed.returncode == 3:
        pytest.skip(listed.stderr)
    return environment


def edgelearn(*argv: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "edgelearn", *argv], capture_output=True, text=True, env=environment, timeout=60
    )


def interrupt_after(
    event: str, times: int, *argv: str, environment: dict[str, str], stdin: bytes = b""
) -> tuple[int, list[dict[str, object]], str]:
    """Run a command, press Ctrl-C when an event has come so many times, and return exit code, events and stderr."""
    lines: list[dict[str, object]] = []
    with (
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(
            interruptible("-m", "edgelearn", *argv, "--json"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, env=environment, start_new_session=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        alarm = threading.Timer(180, process.kill)  # an event that does not come ends in a failure
        alarm.start()
        try:
            process.stdin.write(stdin)
            process.stdin.flush()  # and it stays open, as a microphone does
            for line in process.stdout:
                lines.append(json.loads(line))
                if [one["event"] for one in lines].count(event) == times and lines[-1]["event"] == event:
                    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the command of --exec, too
            code = process.wait(20)
        finally:
            alarm.cancel()
            process.kill()
        stderr.seek(0)
        return code, lines, stderr.read().decode()


def test_ctrl_c_while_waiting_for_sound_ends_with_the_summary(environment: dict[str, str]) -> None:
    sound = in_a_room("bed", "down")
    code, lines, errors = interrupt_after(
        "word", 2, "listen", "--input", "-", "--sensitivity", "1", environment=environment, stdin=sound
    )
    assert code == 0, errors
    assert lines[-1]["event"] == "end"
    assert [line["event"] for line in lines].count("end") == 1
    assert "Traceback" not in errors


def test_ctrl_c_does_not_wait_for_a_command(environment: dict[str, str]) -> None:
    began = time.monotonic()
    code, lines, _ = interrupt_after(
        "end", 1, "listen", "--input", BED, "--sensitivity", "1",
        "--exec", "sleep 40", environment=environment,
    )  # fmt: skip
    assert code == 0
    assert [line["event"] for line in lines] == ["word", "end"]
    assert time.monotonic() - began < 30


def test_a_word_is_learned_at_a_microphone_and_heard_in_a_file(microphone: dict[str, str], tmp_path: Path) -> None:
    countdown = np.frombuffer(in_a_room(), "<i2").repeat(8).tobytes()  # 4 s
    (tmp_path / "takes.raw").write_bytes(countdown + in_a_room(*(f"computer_flite-slt_take{n}" for n in (1, 2, 3))))
    done = edgelearn(
        "add", "computer", "--takes", "3", "--device", "takes", "--max-old-loss-percent", "100", "--json",
        environment=microphone,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (added,) = map(json.loads, done.stdout.splitlines())
    assert (added["event"], added["word"], added["takes"], added["updates"]) == ("added", "computer", 3, 40)
    assert [line.strip() for line in done.stderr.splitlines()] == [
        "say 'computer' 3 times, with a second of silence after each",
        *("3 ...", "2 ...", "1 ...", "say 'computer' now"),
        "heard; 2 to go",
        "heard; 1 to go",
        "heard; 0 to go",
    ]
    new = str(RECORDINGS / "computer_flite-slt_take5.wav")
    heard = edgelearn("listen", "--input", new, "--json", environment=microphone)
    assert [json.loads(line).get("word") for line in heard.stdout.splitlines()] == ["computer", None]


@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_a_microphone_gives_the_events_that_a_file_gives(
    microphone: dict[str, str], tmp_path: Path, rate_hz: int
) -> None:
    sound = np.frombuffer(in_a_room("bed", "down"), "<i2")
    if rate_hz != 16000:
        finer = resample_poly(sound.astype(np.float64), rate_hz // 16000, 1)
        sound = np.clip(np.rint(finer), -32768, 32767).astype("<i2")
    sound.tofile(tmp_path / "words.raw")
    wavfile.write(tmp_path / "words.wav", rate_hz, sound)
    code, lines, errors = interrupt_after(
        "word", 2, "listen", "--device", f"words{rate_hz}", "--sensitivity", "1", environment=microphone
    )
    assert code == 0, errors
    assert lines[-1]["event"] == "end"
    if lines[-1]["overruns"]:
        pytest.skip("this machine is too busy just now to record without gaps")
    done = edgelearn(
        "listen", "--input", str(tmp_path / "words.wav"), "--sensitivity", "1", "--json", environment=microphone
    )
    assert [json.loads(line) for line in done.stdout.splitlines()][:2] == lines[:2]


@pytest.mark.slow
def test_a_word_is_taught_while_a_microphone_is_listened_to(microphone: dict[str, str], tmp_path: Path) -> None:
    """In real time, from another process: no frame is missed, the word is heard at once, and an undo is live."""
    (tmp_path / "words.raw").write_bytes(in_a_room("bed", *(f"computer_flite-slt_take{n}" for n in (1, 2, 3))))
    with subprocess.Popen(
        interruptible("-m", "edgelearn", "listen", "--device", "again", "--json"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=microphone, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        alarm = threading.Timer(180, process.kill)
        alarm.start()
        try:
            events = map(json.loads, process.stdout)
            assert next(events)["word"] == "bed"
            done = edgelearn(
                "add", "computer", "--takes", "3", "--while-listening", "--max-old-loss-percent", "100", "--json",
                environment=microphone,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            told = [json.loads(line) for line in done.stdout.splitlines()]
            assert {one["word"] for one in told[:-1]} <= {"bed"}
            assert (told[-1]["event"], told[-1]["takes"]) == ("added", 3)
            assert told[-1]["frames_due"] == told[-1]["frames_heard"] > 0
            assert (told[-1]["frames_lost"], told[-1]["overruns"]) == (0, 0)
            after = [one for one in iter(lambda: next(events), told[-1]) if one["event"] == "word"]
            assert {one["word"] for one in after} == {"bed"}
            heard = {next(events)["word"] for _ in range(4)}
            assert heard == {"bed", "computer"}
            assert edgelearn("undo", environment=microphone).returncode == 0
            while next(events)["event"] != "undone":
                pass
            assert {next(events)["word"] for _ in range(2)} == {"bed"}
            process.send_signal(signal.SIGINT)
            end = list(events)[-1]
            assert (end["event"], end["overruns"]) == ("end", 0)
            assert process.wait(20) == 0
        finally:
            alarm.cancel()
            process.kill()
