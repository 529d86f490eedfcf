"""Programs that tests start and that Ctrl-C is to reach, whoever runs the tests."""

from __future__ import annotations

import sys

_PREPARE = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
if os.isatty(0) and os.getsid(0) == os.getpid():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def interruptible(*argv: str) -> list[str]:
    """The command line of a Python program that heeds SIGINT, and in a session of its own the terminal at its stdin.

    A job in the background of a shell has SIGINT ignored, and hands that down.  A program of its own puts it right,
    because in a process with threads no Python may run between fork and exec, as it would in `preexec_fn`.
    """
    return [sys.executable, "-I", "-S", "-c", _PREPARE, sys.executable, *argv]
