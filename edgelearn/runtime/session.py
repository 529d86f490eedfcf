"""Listening and learning at the same time, on one stream: between two blocks of sound there is time for gradient steps.

Everything runs in the caller's thread.  A block is pushed through the recognizer first; only then does learning get its
slice, of a bounded number of steps, so that what is heard never waits for what is learned, and a recorded stream gives
the same bits every time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelearn.errors import TakeRejected
from edgelearn.learning.learner import LearnerConfig, TeachReport
from edgelearn.learning.takes import check_length, check_samples
from edgelearn.runtime.recognizer import Event, Utterance
from edgelearn.runtime.voice import VoiceDevice

SAMPLE_RATE_HZ = 16000
REMEMBERED_SAMPLES = 3 * SAMPLE_RATE_HZ  # longer than any utterance, so that its sound can be judged when it ends
REDO_SAMPLES = 3 * SAMPLE_RATE_HZ // 2  # after a countdown there is somebody who may want to say the last take again
HOLD_SAMPLES = 3 * SAMPLE_RATE_HZ // 10  # what a loudspeaker and a room still have to say after a take was played


@dataclass(frozen=True)
class Countdown:
    """Takes of a word begin in so many seconds of sound; at 0 the next utterance is one."""

    word: str
    seconds: int


@dataclass(frozen=True)
class TakeHeard:
    """A take was recorded (problem is empty) or refused, and why; missing is how many more are wanted."""

    word: str
    problem: str
    missing: int


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


@dataclass(frozen=True)
class _Take:
    """An utterance that was to be a take, and its sound (int16, 16 kHz)."""

    utterance: Utterance
    sound: NDArray[np.int16]


class Session:
    """One stream on one device; `ask_for` makes the next utterances takes of a word, and learning starts after them.

    steps_per_block: gradient steps after each block, where the sound can wait; share: for sound that cannot, the most
    of its time that learning takes, however long a step is on this machine.
    """

    def __init__(
        self, device: VoiceDevice, config: LearnerConfig, steps_per_block: int = 2, share: float | None = None
    ) -> None:
        self.device = device
        self.config = config
        self.samples = 0
        self.frames_due = 0
        self._steps_per_block = steps_per_block
        self._share = share
        self._allowance_s = 0.0
        self._recent: deque[tuple[int, NDArray[np.int16]]] = deque()
        self._word = ""
        self._wanted = 0
        self._aside = False
        self._takes: list[_Take] = []
        self._refused: _Take | None = None
        self._takes_from = 0
        self._played = (0, 0)
        self._grace = 0
        self._learn_at: int | None = None
        self._lesson: Iterator[TeachReport] | None = None
        self._lesson_takes = 0
        self._report = TeachReport()
        self._seconds = 0.0
        self._frames_before = (0, 0)
        self._heard: list[Happening] = []
        self._swallowed: set[int] = set()
        self._align()

    @property
    def busy(self) -> bool:
        """Whether takes are being collected or a word is being learned."""
        return self.gathering or self.learning

    @property
    def gathering(self) -> bool:
        """Whether takes are being collected, or the last of them can still be said again."""
        return self._wanted > 0 or self._learn_at is not None

    @property
    def learning(self) -> bool:
        """Whether gradient steps are under way."""
        return self._lesson is not None

    @property
    def word(self) -> str:
        """The word that the session is busy with, or was last."""
        return self._word

    @property
    def missing(self) -> int:
        """How many takes are still wanted."""
        return self._wanted

    @property
    def last_take(self) -> NDArray[np.int16] | None:
        """The sound (int16, 16 kHz) of the last take of this word, which `redo` would drop; None if there is none."""
        if not self.gathering:
            return None
        if self._refused is not None:
            return self._refused.sound
        return self._takes[-1].sound if self._takes else None

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
        self._word, self._wanted, self._takes, self._aside = word, takes, [], aside
        self._refused = None
        self._takes_from = self.samples + countdown_s * SAMPLE_RATE_HZ
        self._grace = REDO_SAMPLES if countdown_s else 0
        self._learn_at = None
        self._heard += [Countdown(word, countdown_s)] if countdown_s else []
        self.device.recognizer.on_utterance = self._on_utterance

    def redo(self) -> bool:
        """Drop the last take, so that it is asked for again; return whether there was one.

        One that was refused is asked for already: only after it comes the one before.
        """
        if self.last_take is None:
            return False
        if self._refused is not None:
            self._refused = None
            return True
        self._takes.pop()
        self._wanted += 1
        self._learn_at = None
        return True

    def hold(self) -> None:
        """Let takes, and learning, wait a moment more: what is heard meanwhile is the last take, which is played."""
        began, ends = self._played
        self._played = (began if self.samples < ends else self.samples, self.samples + HOLD_SAMPLES)
        self._takes_from = max(self._takes_from, self._played[1])
        if self._learn_at is not None:
            self._learn_at = max(self._learn_at, self._played[1] + self._grace)

    def learn(self, word: str, takes: int, lesson: Iterator[TeachReport]) -> None:
        """Run a lesson of the device, about takes that it has already, between the blocks to come."""
        self._word, self._lesson_takes, self._lesson = word, takes, lesson
        self._report, self._seconds, self._allowance_s = TeachReport(), 0.0, 0.0
        self._frames_before = (self.device.recognizer.frames, self.frames_due)

    def cancel(self) -> None:
        """Forget the takes, or the lesson under way; the device is then as it was before."""
        self._wanted, self._takes, self._learn_at = 0, [], None
        self.device.recognizer.on_utterance = None
        lesson, self._lesson = self._lesson, None
        if isinstance(lesson, Generator):
            lesson.close()

    def gap(self) -> None:
        """Say that sound is missing here."""
        self.device.recognizer.gap()
        self._align()

    def push(self, samples: NDArray[np.int16]) -> list[Happening]:
        """Take a block of sound (int16, 16 kHz) and return what happened in it, words first: `hear`, then `work`.

        Raises LearningRejected or another EdgelearnError of learning, after the device was put back as it was.
        """
        return [*self.hear(samples), *self.work(len(samples) / SAMPLE_RATE_HZ)]

    def hear(self, samples: NDArray[np.int16]) -> list[Happening]:
        """Take a block of sound (int16, 16 kHz) and return what was heard in it, words first; nothing is learned."""
        self._remember(samples)
        self._swallowed.clear()
        events = self.device.recognizer.push(samples)
        happened: list[Happening] = [event for event in events if event.first_frame not in self._swallowed]
        happened += self._heard
        self._heard = []
        if self._learn_at is not None and self.samples >= self._learn_at:
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
        if self._learn_at is not None:
            self._begin()
        return happened

    def finish(self) -> list[Happening]:
        """End the stream as `close` does, and let learning run to its end."""
        happened = self.close()
        while self._lesson is not None:
            happened += self._learn(self._steps_per_block)
        return happened

    def _align(self) -> None:
        """Note which sample of this session the recognizer's frame 0 would start at."""
        self._origin = self.samples - self.device.recognizer.frames * self.device.frontend.config.hop
        self._unframed = 0

    def _remember(self, samples: NDArray[np.int16]) -> None:
        if not len(samples):
            return  # a microphone that is away gives these for hours
        config = self.device.frontend.config
        self._unframed += len(samples)
        due = max(0, (self._unframed - config.frame) // config.hop + 1)
        self._unframed -= due * config.hop
        self.frames_due += due
        self._recent.append((self.samples, samples))
        before, self.samples = self.samples, self.samples + len(samples)
        while self._recent[0][0] + len(self._recent[0][1]) < self.samples - REMEMBERED_SAMPLES:
            self._recent.popleft()
        if self._wanted and before < self._takes_from:
            left_before, left = (-(-max(0, self._takes_from - at) // SAMPLE_RATE_HZ) for at in (before, self.samples))
            self._heard += [Countdown(self._word, seconds) for seconds in range(left_before - 1, left - 1, -1)]

    def _on_utterance(self, utterance: Utterance) -> None:
        endpoint, config = self.device.endpoint, self.device.frontend.config
        begin, end = (self._origin + at * config.hop for at in (utterance.start, utterance.stop))
        spoken = begin + endpoint.pre_frames * config.hop
        played = self._played[0] <= spoken < self._played[1]
        take = self._wanted > 0 and spoken >= self._takes_from and not (self._aside and utterance.heard)
        if take or played:
            self._swallowed.add(utterance.start + endpoint.pre_frames)
        if played or not take:
            return
        sound = [block[max(0, begin - at) : end - at] for at, block in self._recent if at < end]
        this, before = _Take(utterance, np.concatenate([np.zeros(0, np.int16), *sound])), self._takes
        if utterance.spoken and not any(take.utterance.spoken for take in before):
            # a cough or a knock is no example of a word: with it, none of the word itself would be like the others;
            # but they stay until somebody's word is a take itself, for it may be they that are taught
            before = []
        name = f"take {len(before) + 1}"
        try:
            check_samples(this.sound, name)
            check_length(len(utterance.frames), endpoint, name)
            frames = [take.utterance.frames for take in (*before, this)]
            self.device.learner.check_takes(frames, self.config.agreement_q14)
        except TakeRejected as error:
            self._refused = this
            self._heard.append(TakeHeard(self._word, str(error), self._wanted))
            return
        self._wanted += len(self._takes) - len(before) - 1
        self._takes, self._refused = [*before, this], None
        self._heard.append(TakeHeard(self._word, "", self._wanted))
        if self._wanted == 0:
            self._learn_at = end + self._grace

    def _begin(self) -> None:
        """Begin the lesson with the takes that were collected."""
        self.device.recognizer.on_utterance = None
        self._learn_at = None
        takes = [take.utterance.frames for take in self._takes]
        self.learn(self._word, len(takes), self.device.teach(self._word, takes, self.config))

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
