"""Starting a module of ours as a process of its own, because only the end of a process ends PortAudio surely."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]


def start(
    module: str, *arguments: str, stdin: int | IO[bytes], pass_fds: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """Start `python -m module arguments...`, whose stdout is a pipe and which a terminal's Ctrl-C does not reach."""
    search = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        # -P: a module that lies in the current folder is not the program's
        [sys.executable, "-P", "-m", module, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=pass_fds,
        process_group=0,
        env=os.environ | {"PYTHONPATH": search},
    )
