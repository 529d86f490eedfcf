"""A script for the firmware's test bench, and what the Python engine says to the same, line for line."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts
from edgelearn.errors import LearningRejected
from edgelearn.firmware.golden import device_longest, event_numbers, weights_crc
from edgelearn.firmware.image import encode_image, shape_digest
from edgelearn.learning.learner import Check, LearnerConfig, TeachReport
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
        self._shipped = device.model()
        self.threshold_q14 = 0

    def load(self) -> None:
        """Start anew from the image in flash."""
        self._command("l")
        self._say("load 0")
        self.device.restore(self._shipped)
        self.device.recognizer.reset()
        self.device.last._memory.unpack(np.zeros(0, np.uint8))

    def hear(self, samples: NDArray[np.int16]) -> list[Event]:
        """Push sound (int16)."""
        self._command("h", len(samples), data=samples.astype("<i2").tobytes())
        recognizer = self.device.recognizer
        ring = recognizer._ring
        events = []
        for at in range(0, len(samples), self.device.frontend.config.hop // 2):  # so that no frame is missed
            before = recognizer.frames
            spans: list[tuple[int, int, Counts]] = []
            recognizer.on_utterance = lambda u: spans.append((u.start, u.stop, recognizer._spoken_counts))  # noqa: B023
            heard = recognizer.push(samples[at : at + self.device.frontend.config.hop // 2])
            for number in range(before, recognizer.frames):
                self._features_crc = zlib.crc32(ring[number % len(ring)].tobytes(), self._features_crc)
            for event in heard:
                word, score, last, decided = event_numbers(self.device, event)
                start, stop, spoken = spans[-1]
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

    def enrol_more(self, row: int, weight: int, takes: Sequence[NDArray[np.int8]]) -> None:
        """Let takes join a row."""
        self._command("M", row, weight)
        self._row = row
        for take in takes:
            self._command("t", len(take), data=take.tobytes())
            self._say("take 0")
        self._command("e")
        self.device.learner.enrol_more(row, list(takes), weight)

    def teach(self, steps: int, sweeps: int, max_old_loss: float = 1.0, many_takes: int = 3) -> TeachReport | None:
        """Learn the row that was enrolled, from the shipped weights; returns None if that is refused."""
        device = self.device
        self._command("L", steps, sweeps, many_takes, round(65536 * max_old_loss))
        found: list[Check] = []
        check, report = device.learner.check, TeachReport()

        def watched(row: int, report: TeachReport) -> Check:
            found.append(check(row, report))
            return found[-1]

        device.learner.check = watched  # type: ignore[method-assign]
        config = LearnerConfig(steps=steps, sweeps=sweeps, max_old_loss=max_old_loss, many_takes=many_takes)
        refused = False
        try:
            for report in device.learner.teach(self._row, config):  # noqa: B007
                device.recognizer.weights_changed()
        except LearningRejected:
            refused = True
        del device.learner.check
        after = found[1 if refused or report.gained else 0][0]
        self.threshold_q14 = 0
        if refused:
            device.restore(self._shipped)
        else:
            self.threshold_q14 = device.learner.threshold_q14(self._row, device.model().open_set_q14)
        self.expected += [
            f"lesson {10 if refused else 0}", f"steps {report.updates}", f"gained {int(report.gained and not refused)}",
            f"before {found[0][0]}", f"after {after}", f"old {found[0][1]}",
            f"left_out {report.truncated_frames}", f"threshold {self.threshold_q14}",
        ]  # fmt: skip
        return None if refused else report

    def add_word(self, name: str) -> None:
        """Put the new word into the vocabulary, with the threshold of its lesson."""
        self._command("w")
        self._say("added 0")
        recognizer = self.device.recognizer
        recognizer.words = (*recognizer.words, Word(name, self._row, self.threshold_q14, True))

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
