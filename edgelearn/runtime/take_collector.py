"""Which utterances of a stream are takes of a word, until there are as many as were asked for.

Takes may begin after a countdown.  Each is told to be good or why it will not do; the last one can be said again, and
while it is played, what is heard is the loudspeaker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.resample import SAMPLE_RATE_HZ
from edgelearn.errors import TakeRejected
from edgelearn.learning.takes import check_length, check_samples
from edgelearn.runtime.recognizer import Event, Utterance

if TYPE_CHECKING:
    from edgelearn.runtime.recent_sound import RecentSound
    from edgelearn.runtime.voice import VoiceDevice

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
class _Take:
    """An utterance that was to be a take, and its sound (int16, 16 kHz)."""

    utterance: Utterance
    sound: NDArray[np.int16]


class TakeCollector:
    """Gathers takes among the utterances of a device, whose `sound` is taken first.

    word: what they are takes of, or were last; missing: how many are still wanted.
    """

    def __init__(self, device: VoiceDevice, sound: RecentSound) -> None:
        self.word = ""
        self.missing = 0
        self._device = device
        self._sound = sound
        self._agreement_q14 = 0
        self._aside = False
        self._takes: list[_Take] = []
        self._refused: _Take | None = None
        self._takes_from = 0
        self._played = (0, 0)
        self._grace = 0
        self._due_at: int | None = None
        self._swallowed: set[int] = set()
        self._told: list[Countdown | TakeHeard] = []

    @property
    def gathering(self) -> bool:
        """Whether takes are being collected, or the last of them can still be said again."""
        return self.missing > 0 or self.complete

    @property
    def complete(self) -> bool:
        """Whether all takes are there and nobody has fetched them."""
        return self._due_at is not None

    @property
    def due(self) -> bool:
        """Whether all takes are there, and the time to say the last one again is over."""
        return self._due_at is not None and self._sound.samples >= self._due_at

    @property
    def last(self) -> NDArray[np.int16] | None:
        """The sound (int16, 16 kHz) of the last take of this word, which `redo` would drop; None if there is none."""
        if not self.gathering:
            return None
        if self._refused is not None:
            return self._refused.sound
        return self._takes[-1].sound if self._takes else None

    def ask_for(self, word: str, takes: int, aside: bool, countdown_s: int, agreement_q14: int) -> None:
        """Make the next `takes` utterances takes of `word`; aside, countdown_s: see `Session.ask_for`.

        agreement_q14: the cosine that takes of one word must have.
        """
        self.word, self.missing, self._takes, self._aside = word, takes, [], aside
        self._agreement_q14 = agreement_q14
        self._refused = None
        self._takes_from = self._sound.samples + countdown_s * SAMPLE_RATE_HZ
        self._grace = REDO_SAMPLES if countdown_s else 0
        self._due_at = None
        self._told += [Countdown(word, countdown_s)] if countdown_s else []
        self._device.recognizer.on_utterance = self._on_utterance

    def redo(self) -> bool:
        """Drop the last take, so that it is asked for again; return whether there was one.

        One that was refused is asked for already: only after it comes the one before.
        """
        if self.last is None:
            return False
        if self._refused is not None:
            self._refused = None
            return True
        self._takes.pop()
        self.missing += 1
        self._due_at = None
        return True

    def hold(self) -> None:
        """Let takes, and learning, wait a moment more: what is heard meanwhile is the last take, which is played."""
        now = self._sound.samples
        began, ends = self._played
        self._played = (began if now < ends else now, now + HOLD_SAMPLES)
        self._takes_from = max(self._takes_from, self._played[1])
        if self._due_at is not None:
            self._due_at = max(self._due_at, self._played[1] + self._grace)

    def forget(self) -> None:
        """Want no takes any more."""
        self.missing, self._takes, self._due_at = 0, [], None
        self._device.recognizer.on_utterance = None

    def fetch(self) -> list[NDArray[np.int8]]:
        """Return the takes (int8 Q6, [T, bands] each) that are there, and want no more."""
        takes = [take.utterance.frames for take in self._takes]
        self.forget()
        return takes

    def count_down(self, samples: int) -> None:
        """Tell the seconds before the first take that ended in the last so many samples."""
        now = self._sound.samples
        if self.missing and now - samples < self._takes_from:
            before, left = (-(-max(0, self._takes_from - at) // SAMPLE_RATE_HZ) for at in (now - samples, now))
            self._told += [Countdown(self.word, seconds) for seconds in range(before - 1, left - 1, -1)]

    def sort_out(self, events: list[Event]) -> list[Event | Countdown | TakeHeard]:
        """Return the words of a block that are neither takes nor played ones, then what became of takes in it."""
        left = [event for event in events if event.first_frame not in self._swallowed]
        told, self._told = self._told, []
        self._swallowed.clear()
        return [*left, *told]

    def _on_utterance(self, utterance: Utterance) -> None:
        first = utterance.start + self._device.endpoint.pre_frames
        spoken = self._sound.sample_of(first)
        played = self._played[0] <= spoken < self._played[1]
        if not played and not self._is_take(utterance, spoken):
            return
        self._swallowed.add(first)
        if played:
            return
        sound = self._sound.between(self._sound.sample_of(utterance.start), self._sound.sample_of(utterance.stop))
        this, before = _Take(utterance, sound), self._that_stay(utterance)
        problem = self._problem(this, before)
        if problem:
            self._refused = this
        else:
            self._keep(this, before)
        self._told.append(TakeHeard(self.word, problem, self.missing))

    def _is_take(self, utterance: Utterance, spoken: int) -> bool:
        """Return whether an utterance is wanted as a take; spoken: the sample that it begins with."""
        return self.missing > 0 and spoken >= self._takes_from and not (self._aside and utterance.heard)

    def _that_stay(self, utterance: Utterance) -> list[_Take]:
        """Return the takes that a new one would join.

        A cough or a knock is no example of a word: with it, none of the word itself would be like the others.  But they
        stay until somebody's word is a take itself, for it may be they that are taught.
        """
        if utterance.spoken and not any(take.utterance.spoken for take in self._takes):
            return []
        return self._takes

    def _problem(self, this: _Take, before: list[_Take]) -> str:
        """Return why a take will not do after those before it, "" if it will."""
        name = f"take {len(before) + 1}"
        try:
            check_samples(this.sound, name)
            check_length(len(this.utterance.frames), self._device.endpoint, name)
            frames = [take.utterance.frames for take in (*before, this)]
            self._device.hearing.check_takes(frames, self._agreement_q14)
        except TakeRejected as error:
            return str(error)
        return ""

    def _keep(self, this: _Take, before: list[_Take]) -> None:
        """Let a take join those that stay."""
        self.missing += len(self._takes) - len(before) - 1
        self._takes, self._refused = [*before, this], None
        if self.missing == 0:
            self._due_at = self._sound.sample_of(this.utterance.stop) + self._grace
