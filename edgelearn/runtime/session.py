"""Listening and learning at the same time, on one stream: between two blocks of sound there is time for gradient steps.

Everything runs in the caller's thread.  A block is pushed through the recognizer first; only then does learning get its
slice, of a bounded number of steps, so that what is heard never waits for what is learned, and a recorded stream gives
the same bits every time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelearn.errors import EdgelearnError, TakeRejected
from edgelearn.learning.learner import LearnerConfig, TeachReport
from edgelearn.learning.takes import check_length, check_samples
from edgelearn.runtime.recognizer import Event, Utterance
from edgelearn.runtime.voice import VoiceDevice

SAMPLE_RATE_HZ = 16000
REMEMBERED_SAMPLES = 3 * SAMPLE_RATE_HZ  # longer than any utterance, so that its sound can be judged when it ends


@dataclass(frozen=True)
class Taught:
    """A word that was learned: seconds is the time spent in gradient steps, report what they did."""

    word: str
    takes: int
    seconds: float
    report: TeachReport


@dataclass(frozen=True)
class TakeHeard:
    """A take was recorded (problem is empty) or refused, and why; missing is how many more are wanted."""

    word: str
    problem: str
    missing: int


Happening = Event | TakeHeard | Taught


class Session:
    """One stream on one device; `ask_for` makes the next utterances takes of a word, and learning starts after them."""

    def __init__(self, device: VoiceDevice, config: LearnerConfig, steps_per_block: int = 2) -> None:
        self.device = device
        self.samples = 0
        self._config = config
        self._steps_per_block = steps_per_block
        self._recent: deque[tuple[int, NDArray[np.int16]]] = deque()
        self._word = ""
        self._wanted = 0
        self._aside = False
        self._takes: list[NDArray[np.int8]] = []
        self._lesson: Iterator[TeachReport] | None = None
        self._report = TeachReport()
        self._seconds = 0.0
        self._heard: list[TakeHeard] = []
        self._align()

    @property
    def busy(self) -> bool:
        """Whether takes are being collected or a word is being learned."""
        return self._wanted > 0 or self._lesson is not None

    def ask_for(self, word: str, takes: int, aside: bool = False) -> None:
        """Make the next `takes` utterances takes of `word`.

        aside: what is heard as a word of the vocabulary is reported as ever, and is no take.
        """
        self.device.check_new_word(word)
        self._word, self._wanted, self._takes, self._aside = word, takes, [], aside
        self.device.recognizer.on_utterance = self._on_utterance

    def gap(self) -> None:
        """Say that sound is missing here."""
        self.device.recognizer.gap()
        self._align()

    def push(self, samples: NDArray[np.int16]) -> list[Happening]:
        """Take a block of sound (int16, 16 kHz) and return what happened in it, words first.

        Raises LearningRejected or another EdgelearnError of learning, after the device was put back as it was.
        """
        self._remember(samples)
        silent = self._wanted > 0 and not self._aside
        events = self.device.recognizer.push(samples)
        happened: list[Happening] = [] if silent else list(events)
        happened += self._heard
        self._heard = []
        if self._lesson is not None:
            happened += self._learn(self._steps_per_block)
        return happened

    def finish(self) -> list[Happening]:
        """End the stream: half a second of silence closes an utterance under way, and learning runs to its end."""
        happened = self.push(np.zeros(SAMPLE_RATE_HZ // 2, np.int16))
        while self._lesson is not None:
            happened += self._learn(self._steps_per_block)
        return happened

    def _align(self) -> None:
        """Note which sample of this session the recognizer's frame 0 would start at."""
        self._origin = self.samples - self.device.recognizer.frames * self.device.frontend.config.hop

    def _remember(self, samples: NDArray[np.int16]) -> None:
        self._recent.append((self.samples, samples))
        self.samples += len(samples)
        while self._recent[0][0] + len(self._recent[0][1]) < self.samples - REMEMBERED_SAMPLES:
            self._recent.popleft()

    def _on_utterance(self, utterance: Utterance) -> None:
        if self._wanted == 0 or (self._aside and utterance.heard):
            return
        hop = self.device.frontend.config.hop
        begin, end = self._origin + utterance.start * hop, self._origin + utterance.stop * hop
        sound = [block for at, block in self._recent if at < end and at + len(block) > begin]
        name = f"take {len(self._takes) + 1}"
        try:
            check_samples(np.concatenate(sound) if sound else np.zeros(0, np.int16), name)
            check_length(len(utterance.frames), self.device.endpoint, name)
            self.device.learner.check_takes([*self._takes, utterance.frames], self._config.agreement_q14)
        except TakeRejected as error:
            self._heard.append(TakeHeard(self._word, str(error), self._wanted))
            return
        self._takes.append(utterance.frames)
        self._wanted -= 1
        self._heard.append(TakeHeard(self._word, "", self._wanted))
        if self._wanted == 0:
            self.device.recognizer.on_utterance = None
            self._lesson = self.device.teach(self._word, self._takes, self._config)
            self._report, self._seconds = TeachReport(), 0.0

    def _learn(self, steps: int) -> list[Taught]:
        if self._lesson is None:
            return []
        started = time.perf_counter()
        try:
            for _ in range(steps):
                self._report = next(self._lesson)
        except StopIteration:
            self._lesson = None
        except EdgelearnError:
            self._lesson = None
            raise
        self._seconds += time.perf_counter() - started
        return [] if self._lesson is not None else [Taught(self._word, len(self._takes), self._seconds, self._report)]
