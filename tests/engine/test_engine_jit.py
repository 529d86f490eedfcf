"""The kernel decorator: a private cache that repairs itself, and life without one."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import numpy as np
from edgelearn.engine.fixedpoint import hash32
from edgelearn.jit import cache_folder
print(hash32(np.uint32(1)), cache_folder() is not None, sum(hash32.stats.cache_hits.values()))
"""


def run(program, **environment):
    """Run a program in a fresh Python; its standard output, split."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "NUMBA_DISABLE_JIT": "0",
            **{key: str(value) for key, value in environment.items()},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_cache_is_private_used_again_and_repaired(tmp_path):
    assert run(PROGRAM, NUMBA_CACHE_DIR=tmp_path)[1:] == ["True", "0"]
    (folder,) = (tmp_path / "edgelearn").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert run(PROGRAM, NUMBA_CACHE_DIR=tmp_path)[1:] == ["True", "1"]
    for path in folder.rglob("*hash32*"):
        path.write_bytes(path.read_bytes()[:20])
    assert run(PROGRAM, NUMBA_CACHE_DIR=tmp_path)[1:] == ["True", "0"]
    assert run(PROGRAM, NUMBA_CACHE_DIR=tmp_path)[1:] == ["True", "1"]


def test_a_cache_that_others_can_write_is_not_trusted(tmp_path):
    run(PROGRAM, NUMBA_CACHE_DIR=tmp_path)
    (folder,) = (tmp_path / "edgelearn").iterdir()
    folder.chmod(0o777)
    assert run(PROGRAM, NUMBA_CACHE_DIR=tmp_path)[1:] == ["False", "0"]


def test_without_a_writable_home_kernels_still_run(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    value, cached, _ = run(PROGRAM, NUMBA_CACHE_DIR="", XDG_CACHE_HOME=blocked, HOME=blocked)
    assert (int(value), cached) == (1753845952, "False")


def test_the_interpreter_gives_the_same_number_without_jit(tmp_path):
    program = PROGRAM.partition(", cache_folder()")[0] + ")"
    assert run(program, NUMBA_DISABLE_JIT=1, NUMBA_CACHE_DIR=tmp_path) == ["1753845952"]
    assert not any(Path(tmp_path).iterdir())


def test_a_32_bit_system_gets_one_sentence():
    program = """
import sys
sys.maxsize = 2**31 - 1
from edgelearn.errors import EdgelearnError
try:
    import edgelearn.jit
except EdgelearnError as error:
    print(error)
"""
    assert " ".join(run(program)).startswith("edgelearn needs a 64-bit operating system")


SOURCES = ["engine/forward.py", "audio/melbank.py", "benchmarking/kernels.py", "jit.py"]


@pytest.mark.parametrize("changed", SOURCES)
def test_another_kernel_source_means_another_folder(changed, tmp_path):
    program = "from edgelearn import jit; from pathlib import Path; {}print(jit.cache_folder().name)"
    package = tmp_path / "package"
    for name in SOURCES:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("a = 1\n")
    moved = program.format(f"jit._PACKAGE = Path({str(package)!r}); ")
    before = run(moved, NUMBA_CACHE_DIR=tmp_path)
    assert run(moved, NUMBA_CACHE_DIR=tmp_path) == before
    (package / changed).write_text("a = 2\n")
    assert run(moved, NUMBA_CACHE_DIR=tmp_path) != before
