"""Listening and teaching, as a user types it: what it prints, its exit codes, and what it leaves on the disk."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgelearn.audio.clips import read_clip
from edgelearn.cli import remote
from edgelearn.cli.action import actions_of
from edgelearn.cli.main import main
from edgelearn.cli.verbs import add as adding
from edgelearn.errors import LearningRejected
from edgelearn.learning.learner import Check, Learner
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.voice import VoiceDevice
from tests.cli.typed import ADDED, BED, LEARN, NEW_WORD, TAKES, Cli, add, words

pytestmark = pytest.mark.usefixtures("home")


# -- listen


def test_listen_to_a_file_and_to_the_same_samples_on_stdin(cli: Cli, stdin: Callable[[bytes], None]) -> None:
    from_file = cli("listen", "--input", BED, "--json", "--sensitivity", "1").lines
    stdin(read_clip(BED).astype("<i2").tobytes())
    from_stdin = cli("listen", "--input", "-", "--json", "--sensitivity", "1").lines
    assert words(from_file) == words(from_stdin)
    (word,) = words(from_file)
    assert word.keys() >= {"word", "score", "start_s", "end_s", "latency_ms", "sparsity"}
    assert [line["event"] for line in from_file] == ["word", "end"]
    end = from_file[-1]
    assert end.keys() >= {"frames", "overruns", "realtime_factor", "energy_mj"}
    assert end["frames"] == (len(read_clip(BED)) - 512) // 320 + 1
    assert {**end, "realtime_factor": 0} == {**from_stdin[-1], "realtime_factor": 0}
    shown = cli("listen", "--input", BED, "--sensitivity", "1")
    assert word["word"] in shown.out
    assert "real-time factor" in shown.err


@pytest.mark.parametrize("data", [b"", b"a", b"abc"])
def test_listen_to_next_to_nothing(cli: Cli, stdin: Callable[[bytes], None], data: bytes) -> None:
    stdin(data)
    (end,) = cli("listen", "--input", "-", "--json").lines
    assert (end["event"], end["frames"]) == ("end", 0)
    assert end["seconds"] < 0.001


def test_listen_drops_half_a_sample(cli: Cli, stdin: Callable[[bytes], None]) -> None:
    data = read_clip(BED).astype("<i2").tobytes()
    results = []
    for tail in (b"", b"\x01"):
        stdin(data + tail)
        results.append(words(cli("listen", "--input", "-", "--json", "--sensitivity", "1").lines))
    assert results[0] == results[1] != []


def test_listen_without_stdin(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "stdin, which is closed" in cli("listen", "--input", "-", code=2).err


def test_listen_does_not_write_the_model(cli: Cli, own: Path) -> None:
    cli("words")
    before = own.read_bytes(), own.stat().st_mtime_ns
    cli("listen", "--input", BED)
    assert (own.read_bytes(), own.stat().st_mtime_ns) == before
    assert not own.with_name("model.npz.prev").exists()


def test_ctrl_c_ends_listening_with_its_summary(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            if self.tell() > 10000:
                raise KeyboardInterrupt
            return super().read1(size)

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Interrupted(read_clip(BED).astype("<i2").tobytes())))
    lines = cli("listen", "--input", "-", "--json").lines
    assert lines[-1]["event"] == "end"
    assert 0 < lines[-1]["seconds"] < 0.5


@pytest.mark.parametrize("argv", [["listen"], ["add", "x"], ["listen", "--device", "nope"]])
def test_without_a_microphone(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, argv: list[str]) -> None:
    # a PortAudio that has none, in the process that would hold it
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "audio" / "fake_portaudio"))
    monkeypatch.setenv("FAKE_MICROPHONE", str(tmp_path))
    (tmp_path / "gone").touch()
    shown = cli(*argv, code=3)
    assert "no microphone is connected" in shown.err
    assert "say 'x'" not in shown.err


def test_a_gap_in_the_sound_is_counted_and_told_to_the_recognizer(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgelearn.audio import capture

    class Dropping:
        def __init__(self, *_: object) -> None:
            self.overruns = self.reopens = 0

        def __enter__(self) -> Dropping:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def __iter__(self) -> Any:
            sound = read_clip(BED)
            yield sound[:3200]
            self.overruns = 2
            yield sound[3200:]

    monkeypatch.setattr(capture, "Microphone", Dropping)
    shown = cli("listen", "--json", "--sensitivity", "1")
    assert (shown.lines[-1]["overruns"], shown.lines[-1]["gaps"], shown.lines[-1]["reopens"]) == (2, 2, 0)
    assert "listening for bed, cat" in shown.err


# -- --exec


def event(word: str = "bed") -> Event:
    return Event(word, 8192, 0, 14, 26, 0.02, 0.7)


PRINT = f"{sys.executable} -c \"import os,sys; print(os.environ['EDGELEARN_WORD'], sys.stdin.read())\""


def test_a_command_runs_for_each_word_and_prints_to_stderr(cli: Cli) -> None:
    shown = cli("listen", "--input", BED, "--json", "--sensitivity", "1", "--exec", PRINT)
    (word,) = words(shown.lines)
    assert f"{word['word']} \n" in shown.err  # its stdin is empty: the samples are not its to read


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "false ended with exit code 1"),
        ("/no/such/program", "cannot run /no/such/program: No such file"),
        ("/tmp", "cannot run /tmp: Permission denied"),
        ("", ""),
    ],
)
def test_a_command_that_fails_harms_nothing(cli: Cli, command: str, message: str) -> None:
    shown = cli("listen", "--input", BED, "--json", "--sensitivity", "1", "--exec", command)
    assert [line["event"] for line in shown.lines] == ["word", "end"]
    assert message in shown.err


def test_a_command_that_cannot_be_split(cli: Cli, own: Path) -> None:
    assert "No closing quotation" in cli("listen", "--input", BED, "--exec", "it's", code=2).err
    assert not own.exists()


def test_live_sound_does_not_wait_for_a_command_and_a_file_does(tmp_path: Path, capfd: Any) -> None:
    log = tmp_path / "log"
    script = f"sh -c 'echo start $EDGELEARN_WORD >> {log}; sleep 0.2; echo end >> {log}'"
    for patient, expected in ((False, ["start bed", "end"]), (True, ["start bed", "end", "start cat", "end"])):
        log.write_text("")
        actions = actions_of(script, (), patient)
        actions(event("bed"))
        actions(event("cat"))
        actions.wait()
        assert log.read_text().splitlines() == expected
    assert "still running: not started again for 'cat'" in capfd.readouterr().err


# -- add, words, rename, remove, undo, info


def test_a_word_is_added_heard_renamed_removed_and_brought_back(cli: Cli) -> None:
    (added,) = add(cli, "--json").lines
    assert added.keys() >= ADDED | {"v", "event"}
    assert (added["event"], added["word"], added["takes"], added["updates"]) == ("added", "computer", 3, 10)
    assert 0 < added["macs"] < added["macs_dense"]
    assert added["peak_bytes"] <= added["budget_bytes"]
    assert [word["word"] for word in words(cli("listen", "--input", NEW_WORD, "--json").lines)] == ["computer"]
    listed = {line["word"]: line for line in cli("words", "--json").lines}
    assert listed["computer"]["taught"]
    assert listed["computer"]["takes"] == 3
    assert not listed["bed"]["taught"]
    assert "taught" in cli("words").out
    cli("rename", "computer", "the box")
    assert [word["word"] for word in words(cli("listen", "--input", NEW_WORD, "--json").lines)] == ["the box"]
    (info,) = cli("info", "--json").lines
    steps = "10 updates" if added["gained"] else "10 updates put back"
    assert info["history"] == [f"add computer: 3 takes, {steps}", "rename computer the box"]
    assert listed["computer"]["updates"] == (10 if added["gained"] else 0)
    assert (info["taught_words"], info["base_classes"], info["generation"]) == (1, 60, 3)
    assert info["whitened"] is True
    assert "rename computer the box" in cli("info").out
    assert cli("remove", "the box", "--json").lines[0]["word"] == "the box"
    heard = words(cli("listen", "--input", NEW_WORD, "--json").lines)
    assert not {"computer", "the box"} & {word["word"] for word in heard}
    (undone,) = cli("undo", "--json").lines
    assert "the box" in undone["words"]
    assert undone["last_change"] == "rename computer the box"
    assert [word["word"] for word in words(cli("listen", "--input", NEW_WORD, "--json").lines)] == ["the box"]
    assert "back to:" in cli("undo").err


def test_adding_in_words_for_people(cli: Cli) -> None:
    shown = add(cli)
    assert "learned 'computer' from 3 takes: 10 updates" in shown.out
    assert "`edgelearn undo` takes it back" in shown.out


def test_gradient_steps_that_gained_nothing_are_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learner, "check", lambda *_: Check(1, 1, 0))
    assert "10 updates (put back: they gained nothing over the plain mean of the takes) in" in add(cli).out
    cli("undo")
    assert add(cli, "--json").lines[0]["gained"] is False


def test_takes_that_move_no_network_are_told(cli: Cli) -> None:
    said = cli("add", "computer", "--from", TAKES[0], *LEARN).out
    assert "0 updates (too few takes, or too noisy, to move the network) in" in said


def test_recordings_are_read_before_a_session_is_asked(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session waits a few seconds for a request, and reading may take longer."""
    done: list[str] = []

    class Session:
        def __init__(self) -> None:
            done.append("connected")

        def close(self) -> None:
            done.append("closed")

        def ask(self, do: str, **_: object) -> None:
            done.append(do)

        def replies(self, *_: object) -> list[dict[str, object]]:
            return [{"event": "renamed", "word": "a", "new_name": "b"}]

    takes = adding._takes
    monkeypatch.setattr(remote, "running_session", lambda _: Session())
    monkeypatch.setattr(adding, "_takes", lambda *given: done.append("read") or takes(*given))
    add(cli)
    assert done == ["connected", "closed", "read", "connected", "teach", "closed"]


@pytest.mark.parametrize(("saturations", "told"), [(0, ""), (1234, "1,234 numbers left their range and were clipped")])
def test_numbers_that_saturate_while_learning_are_told(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, saturations: int, told: str
) -> None:
    real = VoiceDevice.teach

    def teach(self: VoiceDevice, *args: Any) -> Any:
        for report in real(self, *args):
            yield replace(report, counts=replace(report.counts, saturations=saturations))

    monkeypatch.setattr(VoiceDevice, "teach", teach)
    shown = add(cli).out
    assert told in shown
    assert ("clipped" in shown) == (saturations > 0)
    assert add(cli, "--json", word="another").lines[0]["saturations"] == saturations


@pytest.fixture
def refused(tmp_path: Path) -> dict[str, list[str]]:
    """Files that are no takes, by the reason."""
    from scipy.io import wavfile

    rng = np.random.default_rng(0)
    clip = read_clip(TAKES[0]).astype(np.float64)
    sounds = {
        "is too quiet": clip * 0.01,
        "is clipped": np.clip(clip * 100, -32768, 32767),
        "no speech above its noise": rng.normal(0, 2000, 16000),
    }
    files = {}
    for number, (reason, sound) in enumerate(sounds.items()):
        path = tmp_path / f"{number}.wav"
        wavfile.write(path, 16000, sound.astype(np.int16))
        files[reason] = [str(path)]
    return files | {"is unlike the other": [*TAKES, BED]}


@pytest.mark.parametrize("reason", ["is too quiet", "is clipped", "no speech above its noise", "is unlike the other"])
def test_takes_that_will_not_do_change_nothing(cli: Cli, own: Path, refused: dict[str, list[str]], reason: str) -> None:
    add(cli, word="first")
    before = {path.name: path.read_bytes() for path in own.parent.iterdir()}
    shown = cli("add", "computer", "--from", *refused[reason], *LEARN, code=1)
    assert reason in shown.err
    assert shown.out == ""
    assert {path.name: path.read_bytes() for path in own.parent.iterdir()} == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, LearningRejected("costs too much", "speak up")])
def test_an_addition_that_does_not_come_to_its_end_changes_nothing(
    cli: Cli, own: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    cli("words")
    before = own.read_bytes()
    real = VoiceDevice.teach

    def teach(self: VoiceDevice, *args: Any) -> Any:
        lesson = real(self, *args)
        for _ in range(5):
            yield next(lesson)
        raise error

    monkeypatch.setattr(VoiceDevice, "teach", teach)
    add(cli, code=130 if error is KeyboardInterrupt else 1)
    assert own.read_bytes() == before
    assert not own.with_name("model.npz.prev").exists()


def test_two_programs_that_change_the_model_do_not_lose_each_others_changes(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = VoiceDevice.remove

    def remove(self: VoiceDevice, name: str) -> None:
        real(self, name)
        monkeypatch.setattr(VoiceDevice, "remove", real)
        assert main(["rename", "cat", "feline"]) == 0  # the other program

    monkeypatch.setattr(VoiceDevice, "remove", remove)
    shown = cli("remove", "bed", code=4)
    assert "changed by another program" in shown.err
    names = [line["word"] for line in cli("words", "--json").lines]
    assert "feline" in names
    assert "bed" in names
    cli("remove", "bed")
