"""The command of `--exec`: run for each word, one at a time, whatever becomes of it."""

from __future__ import annotations

import os
import shlex
import subprocess
from typing import TYPE_CHECKING

from edgelearn.cli.output import say
from edgelearn.errors import UsageError

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event

STDERR = 2  # stdout is data: what a command prints there would stand between two JSON lines


class Action:
    """A command without a shell; EDGELEARN_WORD and EDGELEARN_SCORE tell it which word it is run for.

    patient: whether the sound can wait for a command that still runs, as a file can; else the word goes without.
    Raises UsageError for a text that no shell could split.
    """

    def __init__(self, text: str | None, patient: bool) -> None:
        try:
            self._command = shlex.split(text or "")
        except ValueError as error:
            raise UsageError(f"--exec {text!r}: {error}", "quote it as for a shell") from None
        self._patient = patient
        self._running: subprocess.Popen[bytes] | None = None

    def __call__(self, event: Event) -> None:
        """Start the command for a word; that it cannot be started is told and harms nothing."""
        if not self._command:
            return
        if self._patient:
            self.wait()
        if self._running is not None and self._running.poll() is None:
            say(f"{self._command[0]} is still running: not started again for {event.word!r}")
            return
        self.wait()
        environment = os.environ | {"EDGELEARN_WORD": event.word, "EDGELEARN_SCORE": f"{event.score:.4f}"}
        try:
            # the samples on stdin are not the command's to read
            self._running = subprocess.Popen(
                self._command, env=environment, stdin=subprocess.DEVNULL, stdout=STDERR
            )
        except (OSError, ValueError) as error:
            say(f"cannot run {self._command[0]}: {getattr(error, 'strerror', None) or error}")

    def wait(self) -> None:
        """Wait for a command that still runs, and tell if it failed."""
        running, self._running = self._running, None
        if running is not None and running.wait() > 0:
            say(f"{self._command[0]} ended with exit code {running.returncode}")
