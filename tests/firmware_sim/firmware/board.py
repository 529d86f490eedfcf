"""The firmware as a shared library, called through ctypes as the main loop of a program would call it."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
from numpy.typing import NDArray

from edgelearn.firmware.image import encode_image, shape_digest
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import Model
from edgelearn.runtime.voice import VoiceDevice

OK, BAD_NUMBER, NOT_SAVED, REFUSED, BUSY, NOT_ENROLLED = 0, 7, 9, 10, 11, 12
WAITING = 16
PROBE = """
#include "edgelearn.h"
uint32_t t_changes(void) { return el_device.changes; }
int t_changing(void) { return el_device.changing; }
int t_frames(void) { return el_device.frames; }
int t_waiting(void) { return el_device.waiting; }
int t_stage(void) { return el_device.lesson.stage; }
void t_count_frames_from(int frames) { el_device.frames = el_device.since = el_device.quiet = frames; }
const el_lesson *t_lesson(void) { return &el_device.lesson; }
int t_rows(void) { return el_device.rows; }
void t_words(int n, int32_t threshold) { el_device.word[n].threshold_q14 = threshold; }
void t_cosines(const int16_t *unit)
{
    for (int j = 0; j < EL_HIDDEN; j++) {
        el_memory.classifier_embedding[j] = unit[j];
    }
    el_cosines();
}
"""
SANITIZERS = ("-fsanitize=undefined", "-fno-sanitize-recover=all")


class Config(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int32)
        for name in (
            "steps",
            "rate_q16",
            "least_takes",
            "least_spread",
            "sweeps",
            "many_takes",
            "alike_q14",
            "row_rate_q16",
            "most_old_loss_q16",
            "least_q14",
        )
    ]


class Lesson(ctypes.Structure):
    """The part of an el_lesson that is its result."""

    _fields_ = [
        (name, ctypes.c_int32)
        for name in (
            "status",
            "gained",
            "old_before",
            "old_after",
            "old",
            "threshold_q14",
            "steps",
            "sweeps",
            "left_out",
        )
    ]


class Heard(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int32)
        for name in ("word", "score_q14", "start", "stop", "last", "decided", "active", "columns")
    ]


class Board:
    """The firmware, called as its main loop would."""

    def __init__(self, library: ctypes.CDLL, model: Model, device: VoiceDevice) -> None:
        self.library, self.events = library, []
        self._digest = shape_digest(model, device.classifier.config.taught_rows)
        self._bytes, self._hidden = device.arena.used_bytes, model.network.hidden
        self._regions = {region.name: region for region in device.arena.regions}
        self.image = encode_image(model, self._digest, 1)
        assert library.el_load(self.image, len(self.image)) == OK

    @property
    def rehearsal(self) -> ctypes.Array[ctypes.c_char]:
        """The el_records of the rehearsal memory, for what wants its address."""
        return (ctypes.c_char * 1).in_dll(self.library, "el_rehearsal")

    def save(self) -> bytes:
        pieces: list[bytes] = []
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        self.library.el_save(1, kind(lambda _, data, count: pieces.append(ctypes.string_at(data, count))), None)
        return b"".join(pieces)

    def enrol(self, takes: list[NDArray[np.int8]], row: int | None = None, weight: int = 0) -> int:
        if row is None:
            row = self.library.el_enrol_begin()
        else:
            assert self.library.el_enrol_more(row, weight) == OK
        for take in takes:
            assert self.library.el_enrol_take(row, take.tobytes(), len(take)) == OK
        assert self.library.el_enrol_end(row) == OK
        return row

    def begin(self, row: int, config: LearnerConfig, least_q14: int) -> int:
        numbers = Config(
            config.steps, config.rate_q16, config.least_takes, config.least_spread, config.sweeps, config.many_takes,
            config.alike_q14, config.row_rate_q16, round(65536 * config.max_old_loss), least_q14,
        )  # fmt: skip
        found: int = self.library.el_lesson_begin(row, ctypes.byref(numbers), self.image, len(self.image))
        return found

    def teach(self, row: int, config: LearnerConfig, least_q14: int) -> Lesson:
        assert self.begin(row, config, least_q14) == OK
        while self.library.el_slice():
            pass
        return self.library.t_lesson().contents

    def listen(self, most: int = sys.maxsize) -> None:
        heard, event = ctypes.c_int(), Heard()
        while most > 0 and self.library.el_listen(ctypes.byref(event), ctypes.byref(heard)):
            most -= 1
            if heard.value:
                self.events.append((event.word, event.score_q14, event.last, event.decided))

    def hear(self, samples: NDArray[np.int16]) -> int:
        frame = ctypes.c_int()
        taken: int = self.library.el_hear(samples.tobytes(), len(samples), ctypes.byref(frame))
        return taken

    def hear_all(self, samples: NDArray[np.int16]) -> None:
        while len(samples):
            samples = samples[self.hear(samples) :]
            self.listen()

    def region(self, name: str) -> bytes:
        memory, region = (ctypes.c_char * self._bytes).in_dll(self.library, "el_memory"), self._regions[name]
        return bytes(memory[region.offset : region.offset + region.size_bytes])

    def learned(self) -> list[bytes]:
        names = ("network.layer0.weights_hi", "network.layer0.weights_lo", "network.layer0.bias")
        names += ("classifier.prototypes", "rehearsal.used", "rehearsal.records")
        names += tuple(f"classifier.directions.{name}" for name in ("vectors", "norms", "lengths", "heard"))
        arrays = [self.region(name) for name in names]
        # of rows and records those in use: what lies behind them is left from before
        in_use = {3: self.library.t_rows() * self._hidden, 5: int.from_bytes(arrays[4], sys.byteorder)}
        return [array[: in_use.get(n)] for n, array in enumerate(arrays)]


def learned(device: VoiceDevice) -> list[bytes]:
    layer, classifier, memory = device.network.layers[0], device.classifier, device.memory
    own = classifier.directions
    arrays = (
        layer.weights_hi, layer.weights_lo, layer.bias, classifier.prototypes(), memory._used, memory.pack(),
        own._vectors, own._norms_q8, own._lengths_q14, own._heard,
    )  # fmt: skip
    return [array.tobytes() for array in arrays]
