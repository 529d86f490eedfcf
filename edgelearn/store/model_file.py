"""Model files on disk: read, replaced in one step that no power cut can split, taken back by a generation.

    NAME            the model
    NAME.prev       the generation before, for `undo_model`
    NAME.aside      what `undo_model` found in the place of the model and could not read
    .NAME.new       a write in progress, or what a power cut left of one; the next write replaces it
    .NAME.undo      the model that `undo_model` is taking back, until it is NAME.prev
    .NAME.lock      held by the one process that is writing

A file that is not a whole model is never overwritten.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgelearn.errors import ModelFileError
from edgelearn.store.encoding import (
    DAMAGED_HINT,
    FOREIGN_HINT,
    MAX_FILE_BYTES,
    ModelFile,
    decode_model,
    encode_model,
)

__all__ = ["ModelFile", "previous_path", "read_model", "replace_file", "undo_model", "write_model"]

LOCK_TIMEOUT_S = 10.0
_LOCK_POLL_S = 0.05
NEW_FILE_MODE = 0o666


def read_model(path: str | Path) -> ModelFile:
    """Read and verify a model file.

    Raises ModelFileError for one that is missing, truncated, damaged, foreign or of a newer version.
    """
    place = _resolve(path)
    return decode_model(_read_bytes(place), str(path))


def write_model(path: str | Path, model: ModelFile, replaces: int | None = None) -> int:
    """Write a model file as one generation more and return that; the one before is kept as `previous_path(path)`.

    replaces: the generation that the model was made from (0: from no file), so that two programs that change a
    model at the same time cannot lose what one of them did. After a failure or a power cut at any moment the
    file is the old or the new one, whole. Raises ModelFileError if what is there is not a whole model (it stays
    as it is) or another generation than `replaces`, if the folder cannot be written, or if another process
    keeps on writing.
    """
    place = _resolve(path)
    with _explain(place), _lock(place):
        previous = previous_path(place)
        _finish_undo(place)
        old = _read_bytes(place) if place.exists() else None
        present = _generation(old, place) if old is not None else 0
        if replaces not in (None, present):
            raise ModelFileError(
                f"{path} was changed by another program in the meantime, or taken away: nothing was written",
                "do it again, on the model as it is now",
            )
        generations = [present]
        if previous.exists():
            generations.append(_generation(_read_bytes(previous), previous))
        mode = stat.S_IMODE(place.stat().st_mode) if old is not None else NEW_FILE_MODE
        generation = max(generations) + 1
        data = encode_model(model, generation)
        if old is not None:
            replace_file(previous, old, mode)
        replace_file(place, data, mode)
    return generation


def undo_model(path: str | Path, check: Callable[[ModelFile], object] | None = None) -> None:
    """Swap a model file with the generation before it; a second undo takes the first one back.

    check: is given the generation before, and raises for one that is not to be gone back to: nothing is swapped then.
    A file in the place of the model that is not a whole one is kept as `NAME.aside`. After a failure or a power cut at
    any moment the model is one of the two, whole, and the other one is not lost. Raises ModelFileError if there is no
    generation before, or if it is damaged itself or the same as the present one.
    """
    place = _resolve(path)
    previous = previous_path(place)
    with _explain(place):
        if not any(one.exists() for one in (place, previous, _taken_back(place))):
            raise ModelFileError(f"there is no model file {path}", "there is nothing to undo")
    with _explain(place), _lock(place):
        _finish_undo(place)
        if not previous.exists():
            raise ModelFileError(f"{path} has no generation before it", "there is nothing to undo")
        wanted = _read_bytes(previous)
        file = decode_model(wanted, str(previous))
        if check is not None:
            check(file)
        present = _present_model(place)
        if present == wanted:
            raise ModelFileError(f"{path} is already the generation before", "there is nothing to undo")
        if present is None:
            replace_file(place, wanted, stat.S_IMODE(previous.stat().st_mode))
            return
        _keep_as(_taken_back(place), place, present)
        # The place of the model is never empty; that of the generation before is, until `_finish_undo` fills it.
        os.replace(previous, place)
        _sync_folder(place.parent)
        _finish_undo(place)


def previous_path(path: str | Path) -> Path:
    """Return where the generation before a model file is kept."""
    return Path(path).with_name(Path(path).name + ".prev")


def _taken_back(place: Path) -> Path:
    return place.with_name(f".{place.name}.undo")


def _keep_as(other: Path, place: Path, data: bytes) -> None:
    """Give a file, whose bytes are `data`, another name as well: a disk that is full has room for that."""
    try:
        os.link(place, other)
    except OSError:  # a file system without hard links, such as FAT: a copy
        replace_file(other, data, stat.S_IMODE(place.stat().st_mode))
    else:
        _sync_folder(place.parent)


def _finish_undo(place: Path) -> None:
    """Do what is left of `undo_model`, which a power cut may have ended: the model taken back is the one before now."""
    other, previous = _taken_back(place), previous_path(place)
    if not other.exists():
        return
    if previous.exists():  # nothing was swapped: it is still in its own place, too
        other.unlink()
    else:
        os.replace(other, previous)
    _sync_folder(place.parent)


def _present_model(place: Path) -> bytes | None:
    """Bytes of the model, or None if there is none, after moving aside a file that is not a whole model."""
    if not place.exists():
        return None
    data = _read_bytes(place)
    try:
        decode_model(data, str(place))
    except ModelFileError:
        aside = place.with_name(place.name + ".aside")
        if aside.exists():
            raise ModelFileError(f"{aside} is in the way", "move it elsewhere and undo again") from None
        # A copy: the place of the model is never empty, not even for a moment.
        replace_file(aside, data, stat.S_IMODE(place.stat().st_mode))
        return None
    return data


def _resolve(path: str | Path) -> Path:
    """Follow symbolic links, so that a write replaces the model and not the link to it."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise ModelFileError(f"{str(path)!r} is not a path: {error}", "check the path") from error


def _generation(data: bytes, place: Path) -> int:
    try:
        return int(decode_model(data, str(place)).manifest["generation"])
    except ModelFileError as error:
        hint = "move it elsewhere and try again" if place.suffix == ".prev" else error.hint
        raise ModelFileError(f"will not overwrite a file that is no model: {error.message}", hint) from error


def _read_bytes(place: Path) -> bytes:
    try:
        info = place.stat()
        if not stat.S_ISREG(info.st_mode):
            raise ModelFileError(f"{place} is not a file", FOREIGN_HINT)
        if info.st_size > MAX_FILE_BYTES:
            raise ModelFileError(f"{place} is too large for a model: {info.st_size:,} bytes", FOREIGN_HINT)
        with place.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except FileNotFoundError as error:
        hint = "check the path"
        if previous_path(place).exists():
            hint = DAMAGED_HINT
        raise ModelFileError(f"there is no model file {place}", hint) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelFileError(f"cannot read {place}: {reason}", "check its permissions") from error


def replace_file(place: Path, data: bytes, mode: int = NEW_FILE_MODE) -> None:
    """Write a file in one step: whatever happens, it is the old or the new one, whole; raises OSError."""
    new = place.with_name(f".{place.name}.new")
    try:
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
        with open(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(handle)
        os.replace(new, place)
    finally:
        with suppress(OSError):
            new.unlink(missing_ok=True)
    _sync_folder(place.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some file systems (FAT, some network ones) cannot sync a folder, and need not be asked to.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


@contextmanager
def _lock(place: Path) -> Iterator[None]:
    handle = os.open(place.with_name(f".{place.name}.lock"), os.O_RDWR | os.O_CREAT, NEW_FILE_MODE)
    try:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while not _try_lock(handle):
            if time.monotonic() >= deadline:
                raise ModelFileError(f"another program is writing {place}", "wait for it, or stop it")
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _explain(place: Path) -> Iterator[None]:
    """Turn what the operating system refuses into a ModelFileError."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.EACCES: "make the folder writable, or keep the model in another one",
            errno.EPERM: "make the folder writable, or keep the model in another one",
            errno.EROFS: "the disk is read-only: keep the model on another one",
            errno.ENOENT: "make the folder first",
            errno.ENOSPC: "the disk is full: make room and try again",
        }
        reason = error.strerror or str(error)
        hint = hints.get(error.errno or 0, "the model before is untouched; check the disk")
        raise ModelFileError(f"cannot write {place}: {reason}", hint) from error
