"""A program for a word: without a shell, with the word in its environment, ended when its time is up."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgelearn.actions.runner import ActionFailed

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event

STDERR = 2  # stdout is data: what a command prints there would stand between two JSON lines


class CommandAction:
    """Runs `command` with EDGELEARN_WORD and EDGELEARN_SCORE; timeout_s None is no limit.

    A command with a limit gets a process group of its own, so that the limit ends all that it has started; one without
    stays in the terminal's, so that Ctrl-C ends it.
    """

    def __init__(self, command: Sequence[str], timeout_s: float | None) -> None:
        self._command = list(command)
        self._timeout_s = timeout_s
        self._running: subprocess.Popen[bytes] | None = None
        self._closed = False
        self._starting = threading.Lock()  # a command that runs already, and of which nobody knows yet, cannot be ended

    def perform(self, event: Event) -> None:
        """Run the command to its end; raises ActionFailed if it does not start, fails, or takes too long."""
        name = self._command[0]
        environment = os.environ | {"EDGELEARN_WORD": event.word, "EDGELEARN_SCORE": f"{event.score:.4f}"}
        own_group = None if self._timeout_s is None else 0
        with self._starting:
            if self._closed:
                return
            try:
                # the samples on stdin are not the command's to read
                running = subprocess.Popen(
                    self._command, env=environment, stdin=subprocess.DEVNULL, stdout=STDERR, process_group=own_group
                )
            except (OSError, ValueError) as error:
                raise ActionFailed(f"cannot run {name}: {getattr(error, 'strerror', None) or error}") from None
            self._running = running
        try:
            code = running.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            self._kill()
            raise ActionFailed(f"{name} was ended: it took longer than {self._timeout_s:g} s") from None
        finally:
            self._running = None
        if code > 0:
            raise ActionFailed(f"{name} ended with exit code {code}")
        if code < 0 and -code != signal.SIGINT:  # Ctrl-C is no failure
            raise ActionFailed(f"{name} was ended by signal {-code}")

    def close(self) -> None:
        """End a command that still runs, if Ctrl-C has not; no other one is started."""
        if self._timeout_s is not None:
            with self._starting:
                self._closed = True
            self._kill()

    def _kill(self) -> None:
        running = self._running
        if running is not None and running.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            running.wait()
