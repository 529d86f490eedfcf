"""The one door to Numba: `kernel` compiles a function and keeps the machine code in a private cache folder.

Three things here are not Numba's defaults. The folder's name holds a hash of every source of the package from
which a kernel has code or constants, and of the modules beside a kernel of another package, since an edit in one
module leaves the cached code of others stale, and the numbers wrong.
The folder is private (0700), since what is loaded from it is executed. And a cache that cannot be written, or
that a power cut has damaged, costs compile time and nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from edgelearn.errors import EdgelearnError

if sys.maxsize < 2**32:
    raise EdgelearnError("edgelearn needs a 64-bit operating system: Numba has no release for 32-bit ones")

numba: Any = importlib.import_module("numba")
_caching: Any = importlib.import_module("numba.core.caching")

__all__ = ["cache_folder", "kernel"]

_PACKAGE = Path(__file__).resolve().parent
# whole rooms: the constants that a kernel takes from another module are frozen into its machine code, too
_KERNEL_SOURCES = (
    "jit.py", "audio/*.py", "benchmarking/*.py", "device/*.py", "engine/*.py", "learning/*.py",
    "pretrain/recurrence.py",
)  # fmt: skip
_Function = TypeVar("_Function", bound=Callable[..., Any])


def kernel(function: _Function) -> _Function:
    """Compile `function` on its first call, without GIL and bounds checks, cached on disk where possible.

    With NUMBA_DISABLE_JIT=1 the function is returned as it is.
    """
    compiled = numba.njit(nogil=True, boundscheck=False)(function)
    ours = function.__module__.partition(".")[0] == __package__
    beside = () if ours else (Path(function.__code__.co_filename).resolve().parent,)
    folder = None if numba.config.DISABLE_JIT else cache_folder(*beside)
    if folder is not None:
        with contextlib.suppress(OSError, RuntimeError), _numba_cache_dir(folder):
            compiled._cache = _forgiving_cache(function)
    return compiled  # type: ignore[no-any-return]


@functools.cache
def cache_folder(beside: Path | None = None) -> Path | None:
    """Make the private folder for the machine code of exactly these sources; None where that cannot be.

    beside: the folder of a kernel that is not this package's, whose modules are sources, too.
    """
    base = os.environ.get("NUMBA_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        folder = Path(base).expanduser() / "edgelearn" / f"kernels-{_source_hash(beside)}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except (OSError, RuntimeError):
        return None
    private = os.name == "nt" or (status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o022)
    return folder if private and os.access(folder, os.W_OK | os.X_OK) else None


def _source_hash(beside: Path | None) -> str:
    digest = hashlib.sha256(numba.__version__.encode())
    others = sorted(beside.glob("*.py")) if beside is not None else []
    for path in [*sorted(path for pattern in _KERNEL_SOURCES for path in _PACKAGE.glob(pattern)), *others]:
        digest.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _numba_cache_dir(folder: Path) -> Iterator[None]:
    """Numba reads its folder from a global when a function is decorated; other users of Numba keep theirs."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def _forgiving_cache(function: Callable[..., Any]) -> Any:
    """Numba's on-disk cache, but a full disk or a damaged file means compiling and not a traceback."""
    cache = _caching.FunctionCache(function)

    @contextlib.contextmanager
    def forgive() -> Iterator[None]:
        try:
            yield
        except OSError:
            return
        except Exception:
            with contextlib.suppress(OSError):
                cache.flush()

    cache._guard_against_spurious_io_errors = forgive
    return cache
