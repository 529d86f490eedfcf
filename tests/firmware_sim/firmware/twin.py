"""A script for the firmware's test bench, and what the Python engine says to the same, line for line."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgelearn.firmware.golden import device_longest, event_numbers, weights_crc
from edgelearn.firmware.image import encode_image, shape_digest
from edgelearn.learning.learner import LearnerConfig, TeachReport
from edgelearn.runtime.model import Word
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.voice import VoiceDevice
from firmware_sim.toolchain import command


class BenchScript:
    """Writes commands and, on a device of its own, does what they say; `expected` is what the firmware must print."""

    def __init__(self, device: VoiceDevice) -> None:
        self.device = device
        self.script = bytearray()
        self.expected: list[str] = []
        self._config = LearnerConfig()
        self._frames = np.empty((device_longest(device), device.frontend.config.bands), np.int8)
        self._features_crc = 0
        self._row = -1
        self._report = TeachReport()

    def hear(self, samples: NDArray[np.int16]) -> list[Event]:
        """Push sound (int16)."""
        self._command("h", len(samples), data=samples.astype("<i2").tobytes())
        recognizer = self.device.recognizer
        ring = recognizer._ring
        events = []
        for at in range(0, len(samples), self.device.frontend.config.hop // 2):  # so that no frame is missed
            before = recognizer.frames
            spans: list[tuple[int, int]] = []
            recognizer.on_utterance = lambda u: spans.append((u.start, u.stop))  # noqa: B023
            heard = recognizer.push(samples[at : at + self.device.frontend.config.hop // 2])
            for number in range(before, recognizer.frames):
                self._features_crc = zlib.crc32(ring[number % len(ring)].tobytes(), self._features_crc)
            for event in heard:
                word, score, last, decided = event_numbers(self.device, event)
                start, stop = spans[-1]
                spoken = recognizer._spoken_counts
                self._say(
                    f"word {word} score {score} start {start} stop {stop} last {last} decided {decided} "
                    f"active {spoken.active_columns} columns {spoken.total_columns}"
                )
            events += heard
        recognizer.on_utterance = None
        return events

    def learn(self, record: int, seed: int, rate_q16: int | None = None) -> None:
        """Take a gradient step on a record of the rehearsal memory."""
        rate = self._config.rate_q16 if rate_q16 is None else rate_q16
        self._command("s", record, seed, rate)
        device, report = self.device, TeachReport()
        exemplar = device.memory.exemplars()[record]
        seen: list[tuple[int, int]] = []
        head_step = device.classifier.head_step

        def watched(pool: NDArray[np.int32], target: int) -> object:
            step = head_step(pool, target)
            seen.append((step.magnitude_q23, step.length))
            return step

        device.classifier.head_step = watched  # type: ignore[method-assign, assignment]
        try:
            config = LearnerConfig(rate_q16=rate)
            device.learner.step(device.memory.decode(exemplar, self._frames), exemplar.row, seed, config, report)
        finally:
            del device.classifier.head_step
        device.recognizer.weights_changed()
        loss, (magnitude, length) = round(report.losses[0] * 1024), seen[0]
        self._say(f"loss {loss} magnitude {magnitude} length {length} left_out {report.truncated_frames}")

    def enrol(self, takes: Sequence[NDArray[np.int8]]) -> None:
        """Give a new word a row, from takes (int8 [T, bands])."""
        learner = self.device.learner
        self._command("b")
        self._row = self.device.classifier.rows
        self._say(f"row {self._row}")
        for take in takes:
            self._command("t", len(take), data=take.tobytes())
            self._say("take 0")
        self._command("e")
        learner.enrol(list(takes))
        learner._kept[:] = np.sum(learner.exemplar_units(self._row), axis=0, dtype=np.int32)

    def follow(self) -> None:
        """Let the new word's prototype follow the weights."""
        self._command("f")
        self.device.learner._follow(self._row, self._report)

    def add_word(self, name: str) -> None:
        """Give the new word its threshold and put it into the vocabulary."""
        self._command("w")
        device, learner = self.device, self.device.learner
        threshold = learner.threshold_q14(self._row, device.model().open_set_q14)
        others = sum(record.row != self._row for record in device.memory.exemplars())
        self._say(f"threshold {threshold}")
        self._say(f"right {round(learner.old_accuracy(self._row) * others)}")
        self._say(f"total {others}")
        self._say("added 0")
        device.recognizer.words = (*device.recognizer.words, Word(name, self._row, threshold, True))

    def image(self, generation: int) -> None:
        """Let the device write its model as an image."""
        self._command("i", generation)
        model = self.device.model()
        digest = shape_digest(model, self.device.classifier.config.taught_rows)
        image = encode_image(replace(model, words=self.device.recognizer.words), digest, generation)
        self._say(f"image {zlib.crc32(image)}")

    def state(self) -> None:
        """Compare all that was learned and kept: CRC-32 of weights, prototypes, records and features."""
        self._command("c")
        device = self.device
        prototypes = zlib.crc32(device.classifier.prototypes().tobytes())
        rehearsal, last = (zlib.crc32(memory.pack().tobytes()) for memory in (device.memory, device.last._memory))
        self._say(
            f"weights {weights_crc(device)} prototypes {prototypes} rehearsal {rehearsal} last {last} "
            f"features {self._features_crc} frames {device.recognizer.frames}"
        )

    def mark(self) -> None:
        """Note the instructions executed so far."""
        self._command("m")

    def stack(self) -> None:
        """Print how much stack was used; the answer is not part of `expected`."""
        self._command("k")

    def selftest(self) -> None:
        """Run the exported golden vectors: the device starts anew."""
        self._command("g")

    def _command(self, letter: str, *numbers: int, data: bytes = b"") -> None:
        self.script += command(letter, *numbers, data=data)

    def _say(self, line: str) -> None:
        self.expected.append(line)
