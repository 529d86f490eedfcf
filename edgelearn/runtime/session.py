"""Listening and learning at the same time, on one stream: between two blocks of sound there is time for gradient steps.

Everything runs in the caller's thread.  A block is pushed through the recognizer first; only then does learning get its
slice, of a bounded number of steps, so that what is heard never waits for what is learned, and a recorded stream gives
the same bits every time.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgelearn.audio.resample import SAMPLE_RATE_HZ
from edgelearn.learning.learner import LearnerConfig, TeachReport
from edgelearn.runtime.recent_sound import RecentSound
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.take_collector import Countdown, TakeCollector, TakeHeard
from edgelearn.runtime.voice import VoiceDevice

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Countdown", "Happening", "Session", "TakeHeard", "Taught"]


@dataclass(frozen=True)
class Taught:
    """A lesson that is over: seconds is the time spent in gradient steps, report what they did.

    frames: feature frames that were heard while it ran; frames_due: how many the sound of that time holds.
    """

    word: str
    takes: int
    seconds: float
    report: TeachReport
    frames: int = 0
    frames_due: int = 0


Happening = Event | Countdown | TakeHeard | Taught


class Session:
    """One stream on one device; `ask_for` makes the next utterances takes of a word, and learning starts after them.

    takes: those of the word that is asked for, until its lesson begins; steps_per_block: gradient steps after each
    block, where the sound can wait; share: for sound that cannot, the most of its time that learning takes, however
    long a step is on this machine.
    """

    def __init__(
        self, device: VoiceDevice, config: LearnerConfig, steps_per_block: int = 2, share: float | None = None
    ) -> None:
        self.device = device
        self.config = config
        self._sound = RecentSound(device.frontend.config, device.recognizer.frames)
        self.takes = TakeCollector(device, self._sound)
        self._steps_per_block = steps_per_block
        self._share = share
        self._allowance_s = 0.0
        self._word = ""
        self._lesson: Iterator[TeachReport] | None = None
        self._lesson_takes = 0
        self._report = TeachReport()
        self._seconds = 0.0
        self._frames_before = (0, 0)

    @property
    def busy(self) -> bool:
        """Whether takes are being collected or a word is being learned."""
        return self.takes.gathering or self.learning

    @property
    def learning(self) -> bool:
        """Whether gradient steps are under way."""
        return self._lesson is not None

    @property
    def word(self) -> str:
        """The word that the session is busy with, or was last."""
        return self._word

    @property
    def samples(self) -> int:
        """Samples of the stream so far."""
        return self._sound.samples

    @property
    def frames_due(self) -> int:
        """Feature frames that the sound so far holds, heard or not."""
        return self._sound.frames_due

    @property
    def updates(self) -> int:
        """Gradient steps that the lesson under way has taken."""
        return self._report.updates

    def ask_for(self, word: str, takes: int, aside: bool = False, countdown_s: int = 0) -> None:
        """Make the next `takes` utterances takes of `word`.

        aside: what is heard as a word of the vocabulary is reported as ever, and is no take.  countdown_s: seconds of
        sound before the first; the last one can then be said again for a moment before learning begins.
        """
        self.device.check_new_word(word)
        self._word = word
        self.takes.ask_for(word, takes, aside, countdown_s, self.config.agreement_q14)

    def learn(self, word: str, takes: int, lesson: Iterator[TeachReport]) -> None:
        """Run a lesson of the device, about takes that it has already, between the blocks to come."""
        self._word, self._lesson_takes, self._lesson = word, takes, lesson
        self._report, self._seconds, self._allowance_s = TeachReport(), 0.0, 0.0
        self._frames_before = (self.device.recognizer.frames, self.frames_due)

    def cancel(self) -> None:
        """Forget the takes, or the lesson under way; the device is then as it was before."""
        self.takes.forget()
        lesson, self._lesson = self._lesson, None
        if isinstance(lesson, Generator):
            lesson.close()

    def gap(self) -> None:
        """Say that sound is missing here."""
        self.device.recognizer.gap()
        self._sound.align(self.device.recognizer.frames)

    def push(self, samples: NDArray[np.int16]) -> list[Happening]:
        """Take a block of sound (int16, 16 kHz) and return what happened in it, words first: `hear`, then `work`.

        Raises LearningRejected or another EdgelearnError of learning, after the device was put back as it was.
        """
        return [*self.hear(samples), *self.work(len(samples) / SAMPLE_RATE_HZ)]

    def hear(self, samples: NDArray[np.int16]) -> list[Happening]:
        """Take a block of sound (int16, 16 kHz) and return what was heard in it, words first; nothing is learned."""
        self._sound.push(samples)
        self.takes.count_down(len(samples))
        happened: list[Happening] = [*self.takes.sort_out(self.device.recognizer.push(samples))]
        if self.takes.due:
            self._begin()
        return happened

    def work(self, sound_s: float) -> list[Taught]:
        """Learn for a while, after so many seconds of sound; raises as `push` does."""
        if self._lesson is None or self._share is None:
            return self._learn(self._steps_per_block)
        self._allowance_s += self._share * sound_s
        while self._lesson is not None and self._allowance_s > 0:
            before = self._seconds
            if taught := self._learn(1):
                return taught
            self._allowance_s -= self._seconds - before
        return []

    def close(self) -> list[Happening]:
        """End the stream: silence closes an utterance under way; takes that are missing are let go."""
        happened = self.hear(self.device.recognizer.closing_silence)
        if self.takes.complete:
            self._begin()
        return happened

    def finish(self) -> list[Happening]:
        """End the stream as `close` does, and let learning run to its end."""
        happened = self.close()
        while self._lesson is not None:
            happened += self._learn(self._steps_per_block)
        return happened

    def _begin(self) -> None:
        """Begin the lesson with the takes that were collected."""
        word, takes = self.takes.word, self.takes.fetch()
        self.learn(word, len(takes), self.device.teach(word, takes, self.config))

    def _learn(self, steps: int) -> list[Taught]:
        if self._lesson is None:
            return []
        started = time.perf_counter()
        try:
            for _ in range(steps):
                self._report = next(self._lesson)
        except StopIteration:
            self._lesson = None
        except BaseException:  # Ctrl-C as well: the device has undone the lesson
            self._lesson = None
            raise
        self._seconds += time.perf_counter() - started
        if self._lesson is not None:
            return []
        frames, due = self._frames_before
        return [
            Taught(
                self._word, self._lesson_takes, self._seconds, self._report,
                self.device.recognizer.frames - frames, self.frames_due - due,
            )
        ]  # fmt: skip
