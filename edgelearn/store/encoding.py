"""The bytes of a model file: an .npz that anyone can open, sealed so that no damage to it goes unnoticed.

    zip, nothing compressed, fixed dates: the same model is always the same bytes
    ├── manifest.json       format, format_version, generation, arrays {name: dtype, shape, sha256},
    │                       and what the caller put there
    ├── NAME.npy            one for each array, little-endian, C order, version 1.0
    └── zip comment         "edgelearn-model sha256:" and the digest of every byte before the digest

Reading trusts nothing: sizes are compared with the bytes that are there before anything is allocated, headers
are compared and never parsed, and there is no pickle anywhere.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from edgelearn.errors import ModelFileError

FORMAT = "edgelearn-model"
FORMAT_VERSION = 1
MAX_FILE_BYTES = 64 * 1024**2
MAX_MANIFEST_BYTES = 4 * 1024**2
MAX_DIMENSIONS = 8
DTYPES = frozenset(
    ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64")
)
RESERVED_KEYS = ("format", "format_version", "generation", "arrays")
DAMAGED_HINT = "restore it from a copy, or go back to the generation before with `edgelearn undo`"
FOREIGN_HINT = "check the path: this file was left untouched"

_MANIFEST_NAME = "manifest.json"
_SEAL = f"{FORMAT} sha256:".encode()
_DIGEST_CHARS = 64
_ARRAY_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_ZIP_MAGIC = b"PK\x03\x04"
_ENCRYPTED = 0x1
_BROKEN_ZIP = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    ValueError,
    KeyError,
    IndexError,
    EOFError,
    OverflowError,
    struct.error,
)


@dataclass(frozen=True)
class ModelFile:
    """What a model file holds: a manifest of plain JSON values, and named arrays of numbers.

    The manifest's format, format_version, generation and arrays are filled in when the file is written.
    """

    manifest: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]]


def encode_model(model: ModelFile, generation: int) -> bytes:
    """Turn a model into the bytes of its file, the same ones for the same model and generation.

    Raises ValueError for an array name or type that a model file cannot hold, and for NaN in the manifest.
    """
    members = []
    table = {}
    for name in sorted(model.arrays):
        array = model.arrays[name]
        if not _ARRAY_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name for an array in a model file")
        if array.dtype.name not in DTYPES or array.ndim > MAX_DIMENSIONS:
            raise ValueError(f"{name}: a model file cannot hold {array.dtype} with {array.ndim} dimensions")
        raw = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        shape = list(array.shape)
        table[name] = {
            "dtype": array.dtype.name,
            "shape": shape,
            "sha256": hashlib.sha256(raw).hexdigest(),
        }
        members.append((f"{name}.npy", _npy_header(array.dtype.name, shape) + raw))
    manifest = {key: value for key, value in model.manifest.items() if key not in RESERVED_KEYS}
    manifest |= dict(zip(RESERVED_KEYS, (FORMAT, FORMAT_VERSION, generation, table), strict=True))
    text = json.dumps(manifest, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in ((_MANIFEST_NAME, text.encode()), *members):
            archive.writestr(zipfile.ZipInfo(name, _FIXED_DATE), data)
        archive.comment = _SEAL + b"0" * _DIGEST_CHARS
    body = buffer.getvalue()[:-_DIGEST_CHARS]
    if len(body) + _DIGEST_CHARS > MAX_FILE_BYTES:
        raise ValueError(f"a model of {len(body):,} bytes is over the limit of {MAX_FILE_BYTES:,}")
    return body + hashlib.sha256(body).hexdigest().encode()


def decode_model(data: bytes, where: str) -> ModelFile:
    """Turn the bytes of a model file into the model; arrays are fresh and writable.

    where: what to call the file in messages. Raises ModelFileError, and nothing else, for bytes that are
    truncated, damaged, foreign, hostile or of a newer version.
    """
    if not data:
        raise ModelFileError(f"{where} is empty", DAMAGED_HINT)
    _check_seal(data, where)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = _read_members(archive, len(data), where)
    except _BROKEN_ZIP as error:
        raise ModelFileError(f"{where} has a broken table of contents: {error}", DAMAGED_HINT) from error
    manifest = _read_manifest(members.pop(_MANIFEST_NAME, b""), where)
    table = manifest["arrays"]
    if {f"{name}.npy" for name in table} != set(members):
        raise ModelFileError(f"{where}: its manifest does not list the arrays that it holds", DAMAGED_HINT)
    arrays = {name: _read_array(name, table[name], members[f"{name}.npy"], where) for name in table}
    return ModelFile(manifest, arrays)


def _check_seal(data: bytes, where: str) -> None:
    if not data.startswith(_ZIP_MAGIC):
        raise ModelFileError(f"{where} is not an edgelearn model, or its start is damaged", FOREIGN_HINT)
    body, digest = data[:-_DIGEST_CHARS], data[-_DIGEST_CHARS:]
    if not body.endswith(_SEAL):
        raise ModelFileError(f"{where} is truncated, or is not an edgelearn model", DAMAGED_HINT)
    if hashlib.sha256(body).hexdigest().encode() != digest:
        raise ModelFileError(f"{where} is damaged: its bytes do not match their checksum", DAMAGED_HINT)


def _read_members(archive: zipfile.ZipFile, file_bytes: int, where: str) -> dict[str, bytes]:
    infos = archive.infolist()
    if len({info.filename for info in infos}) != len(infos):
        raise ModelFileError(f"{where} holds two entries of one name", FOREIGN_HINT)
    # Stored entries that together fit the file cannot grow when they are read: no zip bombs.
    stored = all(
        info.compress_type == zipfile.ZIP_STORED
        and info.file_size == info.compress_size
        and not info.flag_bits & _ENCRYPTED
        for info in infos
    )
    if not stored or sum(info.file_size for info in infos) > file_bytes:
        raise ModelFileError(f"{where} holds compressed or overlapping entries", FOREIGN_HINT)
    return {info.filename: archive.read(info) for info in infos}


def _read_manifest(data: bytes, where: str) -> dict[str, Any]:
    if not data or len(data) > MAX_MANIFEST_BYTES:
        raise ModelFileError(f"{where} has no manifest of a plausible size", FOREIGN_HINT)
    try:
        manifest = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{where} has a manifest that is not JSON: {error}", DAMAGED_HINT) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ModelFileError(f"{where} does not say that it is an {FORMAT}", FOREIGN_HINT)
    version = manifest.get("format_version")
    if not _is_count(version) or version == 0:
        raise ModelFileError(f"{where} has a format version of {version!r}", DAMAGED_HINT)
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{where} was written by a newer edgelearn: format {version}, this one reads {FORMAT_VERSION}",
            "upgrade edgelearn: pip install --upgrade edgelearn",
        )
    if not _is_count(manifest.get("generation")) or not isinstance(manifest.get("arrays"), dict):
        raise ModelFileError(f"{where} has a manifest without generation and arrays", DAMAGED_HINT)
    return manifest


def _read_array(name: str, entry: object, member: bytes, where: str) -> npt.NDArray[Any]:
    if not isinstance(entry, Mapping):
        raise ModelFileError(f"{where}: array {name!r} is not described", DAMAGED_HINT)
    dtype, shape = entry.get("dtype"), entry.get("shape")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ModelFileError(f"{where}: array {name!r} has an unknown type {dtype!r:.40}", DAMAGED_HINT)
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(_is_count, shape)):
        raise ModelFileError(f"{where}: array {name!r} has an impossible shape", DAMAGED_HINT)
    kind = np.dtype(dtype).newbyteorder("<")
    # A zero beside an enormous dimension holds no bytes, yet NumPy cannot make it.
    claimed = math.prod(max(1, n) for n in shape) * kind.itemsize
    if claimed > MAX_FILE_BYTES:
        raise ModelFileError(f"{where}: array {name!r} claims an absurd shape {shape!r:.60}", DAMAGED_HINT)
    header = _npy_header(dtype, shape)
    raw = member[len(header) :]
    size = math.prod(shape) * kind.itemsize
    if not member.startswith(header) or len(raw) != size:
        raise ModelFileError(f"{where}: array {name!r} does not hold {size:,} bytes", DAMAGED_HINT)
    if hashlib.sha256(raw).hexdigest() != entry.get("sha256"):
        raise ModelFileError(f"{where}: array {name!r} does not match its checksum", DAMAGED_HINT)
    return np.frombuffer(raw, kind).reshape(shape).astype(np.dtype(dtype))


def _npy_header(dtype: str, shape: list[int]) -> bytes:
    """Make the header of a .npy file, version 1.0, by its published description, so that it never varies."""
    dims = "".join(f"{n}, " for n in shape).rstrip()
    if len(shape) > 1:
        dims = dims.rstrip(",")
    descr = np.dtype(dtype).newbyteorder("<").str
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode("ascii")


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
