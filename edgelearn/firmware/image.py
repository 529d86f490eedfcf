"""A model as the bytes that firmware keeps in flash: one image, checked before any of it is used.

All numbers are little endian. 36 bytes of header: magic "ELM1", version, bytes of the whole image, CRC-32 of all that
follows it, generation, digest of what the firmware was compiled for, rows of the prototype table, words, bytes of
rehearsal. Then for each layer weights_hi, weights_lo (int8), bias (int32); prototypes (int8); for each taught row how
many takes its directions are of, the length of the takes' mean and of each direction in Q14 (int32), and the directions
(int8); for each word its row, the position + 1 of the word whose false alarms it collects or 0 (int16 each) and its
threshold in Q14 (int32); and the rehearsal records. The C twin is firmware_sim/firmware/image.c.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from edgelearn.errors import ModelFileError
from edgelearn.learning.directions import DIRECTIONS

if TYPE_CHECKING:
    from edgelearn.runtime.model import Model

MAGIC = b"ELM1"
VERSION = 3
HEADER = struct.Struct("<4s8I")
CHECKED_FROM = 16
WORD = struct.Struct("<hhi")
HEARD = struct.Struct(f"<{2 + DIRECTIONS}i")


def taught_word_bytes(hidden: int) -> int:
    """Return the bytes of an image that a taught word takes, without its exemplars."""
    return hidden + HEARD.size + DIRECTIONS * hidden + WORD.size


def shape_digest(model: Model, taught_rows: int) -> int:
    """Return 32 bits that change with what firmware is compiled for: features, end pointer, layers, tables, rows."""
    shape = {
        "frontend": asdict(model.frontend),
        "endpoint": asdict(model.endpoint),
        "layers": [asdict(layer) for layer in model.network.layers],
        "activity": [model.activity.bias_q18, *model.activity.weights_q5.tolist()],
        "whitening": model.whitening.ravel().tolist(),
        "rows": [len(model.labels), model.background_rows, taught_rows],
    }
    return int(hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()[:8], 16)


def encode_image(model: Model, digest: int, generation: int) -> bytes:
    """Return the image of a model; the same model, digest and generation are always the same bytes."""
    body = []
    for k in range(len(model.network.layers)):
        body += [model.params[f"layer{k}.weights_hi"].tobytes(), model.params[f"layer{k}.weights_lo"].tobytes()]
        body.append(model.params[f"layer{k}.bias"].astype("<i4").tobytes())
    body.append(model.prototypes.tobytes())
    for heard, vectors, lengths_q14 in zip(*model.directions, strict=True):
        body += [HEARD.pack(*heard, *lengths_q14), vectors.tobytes()]
    place = {word.name: n + 1 for n, word in enumerate(model.words)}
    body += [
        WORD.pack(word.row, place[word.rejects] if word.rejects else 0, word.threshold_q14) for word in model.words
    ]
    body.append(model.rehearsal.tobytes())
    contents = b"".join(body)
    numbers = (generation, digest, len(model.prototypes), len(model.words), len(model.rehearsal))
    size = HEADER.size + len(contents)
    crc = zlib.crc32(HEADER.pack(MAGIC, VERSION, size, 0, *numbers)[CHECKED_FROM:] + contents)
    return HEADER.pack(MAGIC, VERSION, size, crc, *numbers) + contents


def image_generation(data: bytes) -> int:
    """Return the generation of an image; raises ModelFileError if it is not a whole one."""
    if len(data) < HEADER.size:
        raise ModelFileError("this is no image of a model: it is too short", "export it again")
    magic, version, size, crc, generation, *_ = HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise ModelFileError("this is no image of a model, or one of another version", "export it again")
    if not HEADER.size <= size <= len(data) or zlib.crc32(data[CHECKED_FROM:size]) != crc:
        raise ModelFileError("the image of a model is damaged", "export it again")
    return int(generation)


def planes(data: bytes, model: Model) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.integer]]]:
    """Return the weights in an image of a model of these shapes, under the keys of `Network.params`."""
    image_generation(data)
    found, at = {}, HEADER.size
    for k, layer in enumerate(model.network.layers):
        shape = (layer.inputs + layer.hidden, 4 * layer.hidden)
        for name, kind, dims in (
            ("weights_hi", "<i1", shape),
            ("weights_lo", "<i1", shape),
            ("bias", "<i4", shape[1:]),
        ):
            count = int(np.prod(dims))
            found[f"layer{k}.{name}"] = np.frombuffer(data, kind, count, at).reshape(dims)
            at += count * np.dtype(kind).itemsize
    return found
