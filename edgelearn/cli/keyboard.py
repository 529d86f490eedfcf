"""Single keys from the terminal, without waiting for them and without Enter."""

from __future__ import annotations

import os
import select
import termios
import tty
from types import TracebackType
from typing import Any, Self


class Keyboard:
    """The keys that were pressed since; Ctrl-C stays what it is.  Without a terminal there are none."""

    def __enter__(self) -> Self:
        self._descriptor = -1
        self._before: list[Any] = []
        try:
            # not stdin, which may be the sound
            self._descriptor = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
            if os.tcgetpgrp(self._descriptor) == os.getpgrp():  # else it is another program's now
                self._before = termios.tcgetattr(self._descriptor)
                tty.setcbreak(self._descriptor)
        except (OSError, termios.error):
            self._before = []
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def pressed(self) -> str:
        """Return what was typed since, escape sequences and all."""
        if not self._before or not select.select([self._descriptor], [], [], 0)[0]:
            return ""
        return os.read(self._descriptor, 1024).decode(errors="ignore")
