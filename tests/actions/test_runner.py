"""Actions beside the listening: one word at a time, failures told once, nothing held up."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgelearn.actions.command import CommandAction
from edgelearn.actions.fifo import FifoAction
from edgelearn.actions.opening import open_actions
from edgelearn.actions.runner import ActionFailed, Actions, Worker
from edgelearn.actions.spec import CommandSpec, FifoSpec
from edgelearn.errors import UsageError
from edgelearn.runtime.recognizer import Event
from tests.actions.heard import heard, until


class Gate:
    """An action that takes until it is let go, and fails when it is told to."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.open = threading.Event()
        self.error: Exception | None = None
        self.closed = 0

    def perform(self, event: Event) -> None:
        self.words.append(event.word)
        assert self.open.wait(20)
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.closed += 1


def test_a_busy_action_holds_nothing_up_and_the_word_goes_without() -> None:
    gate, reports = Gate(), list[str]()
    worker = Worker("actions.slow", gate, (), patient=False, report=reports.append)
    began = time.monotonic()
    worker(heard("bed"))
    until(lambda: gate.words)
    worker(heard("cat"))
    worker(heard("up"))
    assert time.monotonic() - began < 10
    gate.open.set()
    worker.wait()
    worker(heard("down"))
    worker.wait()
    assert gate.words == ["bed", "down"]
    assert reports == [
        "actions.slow is still running: not started again for 'cat'",
        "actions.slow is still running: not started again for 'up'",
    ]


def test_sound_that_can_wait_loses_no_word() -> None:
    gate, reports = Gate(), list[str]()
    worker = Worker("actions.slow", gate, (), patient=True, report=reports.append)
    worker(heard("bed"))
    threading.Timer(0.05, gate.open.set).start()
    worker(heard("cat"))
    worker.wait()
    assert (gate.words, reports) == (["bed", "cat"], [])


def test_an_action_is_for_its_words_only() -> None:
    gate = Gate()
    gate.open.set()
    worker = Worker("actions.one", gate, ("cat",), patient=True, report=[].append)
    for word in ("bed", "cat", "cats"):
        worker(heard(word))
    worker.wait()
    assert gate.words == ["cat"]
    assert Actions([worker]).unheard(["bed", "up"]) == {"actions.one": ["cat"]}
    assert Actions([worker]).unheard(["cat"]) == {}


def test_a_failure_is_told_once_and_so_is_its_end() -> None:
    gate, reports = Gate(), list[str]()
    gate.open.set()
    worker = Worker("actions.x", gate, (), patient=True, report=reports.append)
    for error in (ActionFailed("no"), ActionFailed("no"), ActionFailed("never"), None, None, ValueError("odd")):
        gate.error = error
        worker(heard())
        worker.wait()
    assert len(gate.words) == 6
    assert reports == [
        "no",
        "never",
        "actions.x works again, after 3 failures",
        "actions.x: unexpected ValueError: odd",
    ]


def test_closing_does_not_wait_and_closes_every_action() -> None:
    gates = [Gate(), Gate()]
    with Actions([Worker("actions.x", gate, (), patient=True, report=[].append) for gate in gates]) as actions:
        actions(heard())
        until(lambda: gates[0].words and gates[1].words)
    assert [gate.closed for gate in gates] == [1, 1]
    gates[0].open.set()
    gates[1].open.set()
    actions.wait()


# -- commands


def test_a_command_is_told_the_word_and_gets_no_stdin(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = (
        "import os, sys, pathlib; pathlib.Path(sys.argv[1]).write_text(repr((sys.argv[2:], sys.stdin.read(), "
        "os.environ['EDGELEARN_WORD'], os.environ['EDGELEARN_SCORE'])))"
    )
    CommandAction([sys.executable, "-c", program, str(out), "$HOME; *"], 20).perform(heard("öffne", 0.25))
    assert out.read_text() == repr((["$HOME; *"], "", "öffne", "0.2500"))


def test_the_time_limit_ends_a_command_and_what_it_started(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    began = time.monotonic()
    with pytest.raises(ActionFailed, match=r"sh was ended: it took longer than 0\.5 s"):
        CommandAction(["sh", "-c", script], 0.5).perform(heard())
    assert time.monotonic() - began < 30
    until(lambda: not running(int((tmp_path / "pid").read_text())))


def running(pid: int) -> bool:
    """Whether a process runs, and is not one that has ended without anybody asking how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["false"], "false ended with exit code 1"),
        (["/no/such/program"], "cannot run /no/such/program: No such file"),
        (["/tmp"], "cannot run /tmp: Permission denied"),
        (["sh", "-c", "kill -SEGV $$"], "sh was ended by signal 11"),
        (["a\0b"], "embedded null byte"),
    ],
)
def test_a_command_that_fails(command: list[str], message: str) -> None:
    with pytest.raises(ActionFailed, match=message):
        CommandAction(command, 20).perform(heard())


def test_closing_ends_a_command_that_still_runs(tmp_path: Path) -> None:
    spec = CommandSpec(name="x", command=("sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60"), timeout_s=60)
    pid = tmp_path / "pid"
    with open_actions([spec], False, [].append) as actions:
        actions(heard())
        until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    until(lambda: not running(int(pid.read_text())))
    actions.wait()


def test_a_command_that_has_only_just_begun_is_ended_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program runs before the one that starts it goes on."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            begun.set()
            go_on.wait(20)

    monkeypatch.setattr(subprocess, "Popen", Slow)
    action = CommandAction(("sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60"), 60)
    failures: list[ActionFailed] = []

    def perform() -> None:
        try:
            action.perform(heard())
        except ActionFailed as failed:
            failures.append(failed)

    performing, closing = threading.Thread(target=perform), threading.Thread(target=action.close)
    performing.start()
    assert begun.wait(20)
    closing.start()
    closing.join(0.2)  # it waits; were it through already, it would have ended nothing
    go_on.set()
    for thread in (closing, performing):
        thread.join(20)
        assert not thread.is_alive()
    assert [failed.message for failed in failures] == ["sh was ended by signal 9"]
    action.perform(heard("again"))  # nothing is started any more
    assert len(failures) == 1


# -- a named pipe


def test_a_pipe_carries_a_line_a_word_to_whoever_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "words"
    action = FifoAction(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ActionFailed, match=r"cannot write into .*/words: nobody reads it"):
        action.perform(heard("lost"))
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    action.perform(heard("open the door", 0.5))
    action.perform(heard("öffne", -0.125))
    assert os.read(reader, 1000).decode() == "open the door\t0.5000\nöffne\t-0.1250\n"
    os.close(reader)
    with pytest.raises(ActionFailed, match="nobody reads it"):
        action.perform(heard())
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    action.perform(heard("again"))
    assert os.read(reader, 1000) == b"again\t0.5000\n"
    action.close()
    assert os.read(reader, 1000) == b""
    os.close(reader)


def test_a_reader_that_does_not_read_is_told_and_holds_nothing_up(tmp_path: Path) -> None:
    action = FifoAction(tmp_path / "words")
    reader = os.open(tmp_path / "words", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(tmp_path / "words", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    with pytest.raises(ActionFailed, match="does not keep up"):
        action.perform(heard())
    os.close(writer)
    os.close(reader)
    action.close()


def test_a_pipe_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is no named pipe"):
        open_actions([FifoSpec(name="x", path=str(tmp_path / "file"))], False, [].append)
    with pytest.raises(UsageError, match=r"cannot make the pipe .*: No such file or directory"):
        open_actions([FifoSpec(name="x", path=str(tmp_path / "no/pipe"))], False, [].append)
