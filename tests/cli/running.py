"""A listening process that is fed through stdin as fast as it takes it, and other processes that tell it what to do."""

from __future__ import annotations

import json
import os
import pty
import queue
import select
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.runtime.rehearsed import RECORDINGS
from tests.interruptible import interruptible

RATE_HZ = 16000
WAIT_S = 60.0


def room(*names: str, before_s: float = 0.3) -> NDArray[np.int16]:
    """The recordings whose names begin like this, 0.7 s apart, in quiet noise."""
    rng = np.random.default_rng(3)
    parts = [np.zeros(round(before_s * RATE_HZ))]
    for name in names:
        parts += [read_clip(next(iter(sorted(RECORDINGS.glob(f"{name}*.wav"))))).astype(np.float64), np.zeros(11200)]
    sound = np.concatenate(parts)
    return np.clip(np.rint(sound + 12 * rng.standard_normal(len(sound))), -32768, 32767).astype(np.int16)


class Running:
    """`edgelearn listen --json` in a process of its own; `events` come in a queue as they are printed."""

    def __init__(self, environment: dict[str, str], *argv: str) -> None:
        self.environment = environment
        self.process = subprocess.Popen(
            interruptible("-m", "edgelearn", "listen", "--json", *argv),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.errors: list[str] = []
        self._said = threading.Event()
        for target in (self._read_events, self._read_errors):
            threading.Thread(target=target, daemon=True).start()

    def __enter__(self) -> Self:
        assert self._said.wait(WAIT_S), "it says that it listens"
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._events.put(json.loads(line))
        self._events.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors.append(line.decode())
            if "listening for" in self.errors[-1]:
                self._said.set()

    def feed(self, sound: NDArray[np.int16]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(sound.astype("<i2").tobytes())
        self.process.stdin.flush()

    def event(self) -> dict[str, Any]:
        """The next event; a failure if none comes."""
        event = self._events.get(timeout=WAIT_S)
        assert event is not None, "".join(self.errors)
        return event

    def end(self) -> list[dict[str, Any]]:
        """Press Ctrl-C, and return what was still printed."""
        os.kill(self.process.pid, signal.SIGINT)
        assert self.process.wait(WAIT_S) == 0, "".join(self.errors)
        rest = []
        while (event := self._events.get(timeout=WAIT_S)) is not None:
            rest.append(event)
        return rest


class Telling:
    """Another `edgelearn` that tells a session something; meanwhile the session is fed with silence."""

    def __init__(self, running: Running, *argv: str) -> None:
        self._running = running
        self._keys, terminal = pty.openpty()
        self.process = subprocess.Popen(
            interruptible("-m", "edgelearn", *argv),
            stdin=terminal, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=running.environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(terminal)
        self.said = ""

    def type(self, line: str) -> None:
        """Type a line at its terminal; what it has said before is forgotten."""
        self.said = ""
        os.write(self._keys, f"{line}\n".encode())

    def until(self, text: str) -> None:
        """Feed quiet, a tenth of a second of it each time, until the command says `text`."""
        while text not in self.said:
            assert self._listen(), self.said

    def done(self, code: int = 0) -> str:
        """Feed quiet until the command has ended, and return its stdout."""
        deadline = time.monotonic() + WAIT_S
        while self._listen():
            assert time.monotonic() < deadline, self.said
        out = self.process.communicate()[0].decode()
        os.close(self._keys)
        assert self.process.returncode == code, self.said
        return out

    def _listen(self) -> bool:
        """Feed a little quiet, and read what is said; False at its end."""
        assert self.process.stderr is not None
        self._running.feed(room(before_s=0.1))
        if not select.select([self.process.stderr], [], [], 0.03)[0]:
            return True
        data = os.read(self.process.stderr.fileno(), 65536)
        self.said += data.decode()
        return bool(data)


def environment_of(home: Path, root: Path, cache: dict[str, str]) -> dict[str, str]:
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("EDGELEARN_", "XDG_"))}
    return clean | cache | {"HOME": str(home), "PYTHONPATH": str(root), "XDG_RUNTIME_DIR": str(home)}
