"""Golden vectors: sound, and what the Python engine made of it, for a device to compare itself with."""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.firmware.headers import GENERATED, c_array
from edgelearn.learning.learner import LearnerConfig, TeachReport

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event
    from edgelearn.runtime.voice import VoiceDevice

LEAD_S, TAIL_S, NOISE_LEVEL = 0.3, 0.5, 12.0
STEPS, SWEEPS = 4, 2


@dataclass(frozen=True)
class Golden:
    """Sound int16, CRC-32 of its features, the words heard in it; a lesson, the losses of more steps, CRC-32 after all.

    lesson: whether what it learned was kept, and the word's threshold (Q14); None if there was none.
    """

    samples: NDArray[np.int16]
    features_crc: int
    events: tuple[tuple[int, int, int, int], ...]
    """Position of the word, score (Q14), last frame of speech, frame of the decision."""
    lesson: tuple[bool, int] | None
    losses_q10: tuple[int, ...]
    weights_crc: int
    prototypes_crc: int


def make_golden(device: VoiceDevice, recordings: list[NDArray[np.int16]]) -> Golden:
    """Let a fresh device hear recordings and learn from its exemplars; the device is changed by it.

    The first exemplar is taught as a new word, if there is room, in a short lesson from this one take.
    """
    samples = sound(recordings)
    frames = device.frontend.push(samples)
    device.recognizer.reset()
    events = tuple(event_numbers(device, event) for event in device.recognizer.push(samples))
    lesson = None
    report = TeachReport()
    frames_of = np.empty((device_longest(device), device.frontend.config.bands), np.int8)
    records = device.memory.exemplars()
    if records and device.classifier.rows < device.classifier.config.rows:
        row = device.learner.enrol([device.memory.decode(records[0], frames_of)])
        config = LearnerConfig(
            steps=STEPS, least_takes=1, least_spread=0, sweeps=SWEEPS, many_takes=1, max_old_loss=1.0
        )
        (taught,) = deque(device.learner.teach(row, config), maxlen=1)
        lesson = taught.gained, device.learner.threshold_q14(row, device.model().open_set_q14)
        records = device.memory.exemplars()
    for number in range(STEPS if records else 0):
        record = records[number * 7 % len(records)]
        device.learner.step(device.memory.decode(record, frames_of), record.row, number, LearnerConfig(), report)
    return Golden(
        samples=samples,
        features_crc=zlib.crc32(frames.tobytes()),
        events=events,
        lesson=lesson,
        losses_q10=tuple(round(loss * 1024) for loss in report.losses),
        weights_crc=weights_crc(device),
        prototypes_crc=zlib.crc32(device.classifier.prototypes().tobytes()),
    )


def sound(recordings: list[NDArray[np.int16]]) -> NDArray[np.int16]:
    """Return recordings with a quiet room before, between and after them."""
    rng = np.random.default_rng(0)
    pieces = [np.zeros(round(16000 * LEAD_S), np.int16)]
    for recording in recordings:
        pieces += [recording, np.zeros(round(16000 * TAIL_S), np.int16)]
    whole = np.concatenate(pieces).astype(np.float64)
    noisy = whole + rng.normal(0.0, NOISE_LEVEL, len(whole))
    result: NDArray[np.int16] = np.clip(np.rint(noisy), -32768, 32767).astype(np.int16)
    return result


def first_recording(folder_files: list[str]) -> NDArray[np.int16]:
    """Return the shortest of some recordings: flash is small."""
    return min((read_clip(path) for path in folder_files), key=len)


def event_numbers(device: VoiceDevice, event: Event) -> tuple[int, int, int, int]:
    """Return an event in the integers of the firmware: word, score Q14, last frame, frame of the decision."""
    names = [word.name for word in device.recognizer.words]
    return names.index(event.word), event.score_q14, event.last_frame, event.decided_frame


def weights_crc(device: VoiceDevice) -> int:
    """Return the CRC-32 of hi, lo and bias of all layers, in this order."""
    crc = 0
    for layer in device.network.layers:
        for array in (layer.weights_hi, layer.weights_lo, layer.bias):
            crc = zlib.crc32(array.tobytes(), crc)
    return crc


def device_longest(device: VoiceDevice) -> int:
    """Return the frames of the longest utterance that a device works on."""
    region = next(region for region in device.arena.regions if region.name == "learning.frames")
    return region.shape[0]


def golden_header(golden: Golden) -> str:
    """Return edgelearn_golden.h, which selftest.c compares the firmware with."""
    events = ",\n    ".join("{" + ", ".join(map(str, event)) + "}" for event in golden.events) or "{-1, 0, 0, 0}"
    gained, threshold_q14 = golden.lesson or (False, 0)
    losses = c_array("static const int32_t el_golden_losses_q10", golden.losses_q10 or (0,))
    return (
        f"{GENERATED}#ifndef EDGELEARN_GOLDEN_H\n#define EDGELEARN_GOLDEN_H\n\n#include <stdint.h>\n\n"
        f"#define EL_GOLDEN_FEATURES_CRC UINT32_C(0x{golden.features_crc:08X})\n"
        f"#define EL_GOLDEN_WEIGHTS_CRC UINT32_C(0x{golden.weights_crc:08X})\n"
        f"#define EL_GOLDEN_PROTOTYPES_CRC UINT32_C(0x{golden.prototypes_crc:08X})\n"
        f"#define EL_GOLDEN_LESSON {int(golden.lesson is not None)}\n"
        f"#define EL_GOLDEN_LESSON_STEPS {STEPS}\n#define EL_GOLDEN_LESSON_SWEEPS {SWEEPS}\n"
        f"#define EL_GOLDEN_GAINED {int(gained)}\n#define EL_GOLDEN_THRESHOLD_Q14 ({threshold_q14})\n"
        f"#define EL_GOLDEN_EVENTS {len(golden.events)}\n#define EL_GOLDEN_STEPS {len(golden.losses_q10)}\n\n"
        "/* Word, score (Q14), last frame of speech, frame of the decision. */\n"
        f"static const int32_t el_golden_events[{max(1, len(golden.events))}][4] = {{\n    {events},\n}};\n"
        f"{losses}{c_array('static const int16_t el_golden_samples', golden.samples.tolist())}\n#endif\n"
    )
