"""A named pipe for other programs on this machine: one line a word, `word<tab>score`."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.actions.runner import ActionFailed
from edgelearn.errors import UsageError

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event


class FifoAction:
    """Writes into the pipe `path`, made (0600) if it is not there; a word that nobody reads is not kept for later.

    Raises UsageError for a path that is something else or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pipe: int | None = None
        try:
            if not path.exists():
                os.mkfifo(path, 0o600)
            if not stat.S_ISFIFO(path.stat().st_mode):
                raise UsageError(f"{path} is no named pipe", "choose a path that is not there yet, or one of mkfifo")
        except OSError as error:
            raise UsageError(f"cannot make the pipe {path}: {error.strerror}", "choose a folder that exists") from None

    def perform(self, event: Event) -> None:
        """Write one line; raises ActionFailed if nobody reads the pipe."""
        line = f"{event.word}\t{event.score:.4f}\n".encode()
        try:
            self._write(line)
        except BrokenPipeError:  # the reader has gone; there may be another one
            self.close()
            self._write(line)

    def close(self) -> None:
        """Close the pipe, which its reader sees as its end."""
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            os.close(pipe)

    def _write(self, line: bytes) -> None:
        try:
            if self._pipe is None:
                self._pipe = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK)
            os.write(self._pipe, line)  # all or nothing: a line is shorter than PIPE_BUF
        except BrokenPipeError:
            raise
        except BlockingIOError:
            raise ActionFailed(f"the reader of {self._path} does not keep up") from None
        except OSError as error:
            reason = "nobody reads it" if error.errno == errno.ENXIO else error.strerror
            raise ActionFailed(f"cannot write into {self._path}: {reason}") from None
