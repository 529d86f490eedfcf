"""Samples in, events out: front end, end pointer, Delta LSTM and decision, for any block size and any source of sound.

The network runs on the frames of an utterance only, from its zero state, in the order the end pointer commits them:
silence costs a noise floor and nothing more, and an utterance in a stream drives the network through the same states as
the clip cut out of it. Before a frame goes into the network, the noise floor at the onset of its utterance is taken off
it, in the ring.

Where the network hears that speech begins behind a noise, or ends in one, the utterance begins or ends there
(`edgelearn/audio/activity.py`).

When an utterance has ended, it is heard in other voices too (`edgelearn/learning/variants.py`), unless it is far from
every word in its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.activity import (
    BEGINS,
    BEGUN_FRAMES,
    ENDED,
    NEVER,
    ActivityReadout,
    VoiceActivity,
    more_asked_q14,
    within_talk,
)
from edgelearn.audio.endpoint import END, ONSET, SPEECH, TOO_LONG
from edgelearn.audio.frontend import frontend_ops
from edgelearn.audio.noise import is_noisy, subtract_floor, subtraction_table
from edgelearn.audio.surroundings import NOTHING_AROUND
from edgelearn.engine.counts import Counts
from edgelearn.learning.variants import FAR_Q14, hear_in_other_voices

if TYPE_CHECKING:
    from edgelearn.audio.endpoint import Endpointer
    from edgelearn.audio.frontend import Frontend
    from edgelearn.device.arena import Arena
    from edgelearn.engine.network import Network, State
    from edgelearn.learning.classifier import Classifier
    from edgelearn.runtime.last_utterances import LastUtterances
    from edgelearn.runtime.model import Word

CLOSING_S = 0.5  # of silence at the least, which every figure of sound and energy for a whole stream has in it


@dataclass(frozen=True)
class Event:
    """A word that was heard: score_q14 is a cosine margin (Q14), frames are counted since the stream began.

    first_frame, last_frame: of what was said; decided_frame: at whose end it was decided; hop_s: seconds from a frame
    to the next; sparsity: of the utterance's deltas.
    """

    word: str
    score_q14: int
    first_frame: int
    last_frame: int
    decided_frame: int
    hop_s: float
    sparsity: float

    @property
    def score(self) -> float:
        """The cosine margin, -1 to 1."""
        return self.score_q14 / 16384

    @property
    def start_s(self) -> float:
        """When the word began, in seconds of sound."""
        return round(self.first_frame * self.hop_s, 3)

    @property
    def end_s(self) -> float:
        """When the word ended, in seconds of sound."""
        return round((self.last_frame + 1) * self.hop_s, 3)

    @property
    def latency_ms(self) -> float:
        """From the end of the word to the decision, in sound."""
        return round((self.decided_frame - self.last_frame) * self.hop_s * 1000, 1)

    def fields(self) -> dict[str, Any]:
        """Return what people and programs are told of it, by the names that it has in JSON."""
        return {
            "word": self.word,
            "score": self.score,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "latency_ms": self.latency_ms,
            "sparsity": self.sparsity,
        }


@dataclass(frozen=True)
class Utterance:
    """A stretch of speech that ended: frames start <= t < stop since the stream began, features int8 Q6 [T, bands].

    frames: with what is around it (`EndpointConfig.surroundings`); decided: the frame at whose end it was decided;
    heard: the word that it was taken for, "" for none; score_q14: the best score that a word had, heard or not; spoken:
    whether it is sure that somebody spoke; talk: the last frame before it in which that was sure.
    """

    start: int
    stop: int
    decided: int
    frames: NDArray[np.int8]
    heard: str
    score_q14: int
    spoken: bool = True
    talk: int = NEVER


class Judgement(NamedTuple):
    """The best word for an utterance, its score (Q14), and how far that is above what it has to be (Q14)."""

    word: Word
    score_q14: int
    margin_q14: int


class Recognizer:
    """The listening half of a device; its buffers live in the arena."""

    def __init__(
        self, frontend: Frontend, endpointer: Endpointer, network: Network, state: State, classifier: Classifier,
        readout: ActivityReadout, arena: Arena, name: str = "listening",
    ) -> None:  # fmt: skip
        self._frontend = frontend
        self._endpointer = endpointer
        self._network = network
        self._state = state
        self._classifier = classifier
        self._activity = VoiceActivity(readout)
        self._readout_weights = len(readout.weights_q5)
        self._ring: NDArray[np.int8] = arena.alloc(
            f"{name}.ring", (endpointer.config.most_frames, network.config.inputs), np.int8
        )
        self._pool: NDArray[np.int32] = arena.alloc(f"{name}.pool", network.config.hidden, np.int32)
        self._floor: NDArray[np.int8] = arena.alloc(f"{name}.floor", network.config.inputs, np.int8)
        self._subtraction = subtraction_table(frontend.config.gain_q20)
        self._frontend_ops = frontend_ops(frontend.config)
        self.words: tuple[Word, ...] = ()
        self.bias_q14 = 0
        self.refractory_frames = 0
        self.on_utterance: Callable[[Utterance], None] | None = None
        self.last: LastUtterances | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the stream: samples, noise floor, utterance, clock and counts."""
        self._frontend.reset()
        self._endpointer.reset()
        self.frames = 0
        self.counts = Counts()
        self._start = self._fed = self._last = -1
        self._around = NOTHING_AROUND  # of the utterance under way, as far as it is heard
        self._stale = False
        self._spoken_counts = Counts()
        self._forget()

    def gap(self) -> None:
        """Say that sound is missing here, nobody knows how much: what was under way is dropped, the clock goes on."""
        self._frontend.reset()
        self._endpointer.reset()
        self._give_up()
        self._forget()

    def _forget(self) -> None:
        """What was heard and said before this frame is of no account for what comes."""
        self._since = self.frames  # no utterance has a frame before it
        self._quiet = self.frames  # the frames before it are without their noise already
        self._last_heard: dict[str, int] = {}
        self._command = NEVER  # the frame in which a word was heard last that was not within a talk
        self._activity.reset()

    def weights_changed(self) -> None:
        """Say that learning changed the weights: M is rebuilt before it is used again, so that it stays exact."""
        self._stale = True

    def push(self, samples: NDArray[np.int16]) -> list[Event]:
        """Take samples (int16, 16 kHz, any number) and return the words that ended in them."""
        events = []
        frames = self._frontend.push(samples)
        self.counts += Counts(frontend_ops=len(frames) * self._frontend_ops)
        for frame in frames:
            event = self._push_frame(frame)
            if event is not None:
                events.append(event)
        return events

    @property
    def closing_silence(self) -> NDArray[np.int16]:
        """So much silence (int16, 16 kHz) that an utterance under way is over, however long the end pointer waits."""
        config = self._frontend.config
        partial = config.frame // config.hop + 1  # frames to come that the sound so far reaches into
        frames = partial + self._endpointer.config.hang_frames
        return np.zeros(max(round(CLOSING_S * config.sample_rate_hz), frames * config.hop), np.int16)

    def finish(self) -> list[Event]:
        """End the stream: as much silence as closes an utterance under way; return the words that ended in it."""
        return self.push(self.closing_silence)

    def _push_frame(self, frame: NDArray[np.int8]) -> Event | None:
        now = self.frames
        self._ring[now % len(self._ring)] = frame
        self.frames += 1
        config = self._endpointer.config
        code = self._endpointer.push(frame)
        if code == ONSET:
            self._give_up()
            self._begin(max(self._since, now - config.lag_frames + 1), now)
        elif code == SPEECH:
            self._feed(now + 1)
            self._last = now
            return self._follow_speech(now)
        elif code == END and not self._activity.decided:
            self._feed(self._last + 1 + config.post_frames)
            return self._decide(now)
        elif code == TOO_LONG and self._activity.anew and self._activity.spoke:
            return self._decide(now)  # of all that is too long only what was behind a noise may be a command
        elif code in (END, TOO_LONG):
            self._give_up()  # running speech is no command
        return None

    def _begin(self, start: int, now: int, anew: bool = False, decided: bool = False) -> None:
        """An utterance begins with frame `start` and is under way in frame `now`."""
        self._start = start
        self._floor[:] = self._endpointer.floor
        self._around = self._endpointer.config.surroundings if is_noisy(self._floor) else NOTHING_AROUND
        self._spoken_counts = Counts()
        self._hear(now + 1)
        self._last = now
        self._activity.begin(now, anew, decided)

    def _hear(self, stop: int) -> None:
        """Run the network on the utterance from its first frame up to `stop`."""
        self._fed = self._start
        self._from_zero()
        self._feed(stop)

    def _from_zero(self) -> None:
        """Let the network begin: what it hears next is the first of what is pooled."""
        self._state.reset()
        self._stale = False
        self._pool[:] = 0

    def _follow_speech(self, now: int) -> Event | None:
        """Begin anew where speech begins behind a noise; decide where speech has ended and a noise goes on."""
        self._spoken_counts += self.readout_counts(1)
        pre, post = self._endpointer.config.pre_frames, self._endpointer.config.post_frames
        event = None
        told = self._activity.push(self._state.layers[-1].h, now)
        if told == BEGINS:
            start = max(self._start, now - BEGUN_FRAMES - pre)
            self._give_up()
            self._begin(start, now, anew=True)
        elif told == ENDED:
            start, self._last = self._start, max(self._start, self._activity.last)
            self._hear(min(self._last + post, now) + 1)
            event = self._decide(now)
            self._begin(max(start, now + 1 - pre), now, decided=True)
        return event

    def _give_up(self) -> None:
        """Forget an utterance under way, if there is one; what it cost is counted."""
        if self._start >= 0:
            self.counts += self._spoken_counts
            self._start = -1

    def _feed(self, stop: int) -> None:
        """Run the network on the frames of the ring up to `stop`, in at most two pieces."""
        if self._stale:
            self._spoken_counts += self._state.refresh()
            self._stale = False
        self._subtract(self._fed - self._around.before, stop)
        size = len(self._ring)
        while self._fed < stop:
            at = self._fed % size
            count = min(stop - self._fed, size - at)
            self._spoken_counts += self._network.forward(self._state, self._ring[at : at + count], self._pool)
            self._fed += count

    def _subtract(self, start: int, stop: int) -> None:
        """Take the noise off the frames of the ring from `start` up to `stop` that still have it."""
        subtract_floor(self._ring, max(start, self._quiet), stop, self._floor, self._subtraction)
        self._quiet = max(self._quiet, stop)

    def _cut(self, now: int) -> NDArray[np.int8]:
        """Return the utterance under way (int8 Q6, [T, bands]), of which all was heard, with what is around it."""
        before = min(self._around.before, self._start - self._since)
        after = min(self._around.after, now + 1 - self._fed)
        self._subtract(self._fed, self._fed + after)
        at = np.arange(self._start - before, self._fed + after) % len(self._ring)
        return self._endpointer.config.surroundings.repeated(self._ring[at], before, after)

    def readout_counts(self, frames: int) -> Counts:
        """Return what it costs to ask after so many frames whether somebody speaks."""
        weights = frames * self._readout_weights
        return Counts(elementwise_ops=weights, weight_bytes_read=weights)

    def judge(self, frames: NDArray[np.int8], asked_q14: int = 0) -> Judgement | None:
        """Return what an utterance (int8 Q6, [T, bands]) would be taken for in a stream, None without a vocabulary.

        frames: with what is around it; asked_q14: see `more_asked_q14`. The state of the network is used: no utterance
        may be under way.
        """
        self._from_zero()
        self._network.forward(self._state, self._endpointer.config.surroundings.own(frames), self._pool)
        return self._judge_in_all_voices(frames, asked_q14)[0]

    def _judge_in_all_voices(self, frames: NDArray[np.int8], asked_q14: int) -> tuple[Judgement | None, Counts]:
        """Return the best word for an utterance whose own voice is pooled, and what the other voices cost."""
        best = self._judge_pool(asked_q14)
        if best is None or best.margin_q14 < -self.bias_q14 - FAR_Q14:
            return best, Counts()
        sounding = self._endpointer.config.surroundings.sounding(frames)
        counts = hear_in_other_voices(self._network, self._state, sounding, self._pool)
        self._stale = False
        return self._judge_pool(asked_q14), counts

    def _decide(self, now: int) -> Event | None:
        frames = self._cut(now)
        spoken, talk = self._activity.spoken, self._activity.talk
        within = within_talk(self._start, talk, self._command)
        best, counts = self._judge_in_all_voices(frames, more_asked_q14(spoken, within))
        self._spoken_counts += counts
        self.counts += self._spoken_counts
        heard = best is not None and best.margin_q14 >= -self.bias_q14 and not best.word.rejects
        name = best.word.name if best is not None and heard else ""
        score_q14 = best.score_q14 if best is not None else 0
        utterance = Utterance(self._start, self._fed, now, frames, name, score_q14, spoken, talk)
        self._start = -1
        if self.last is not None:
            self.last.add(utterance)
        if self.on_utterance is not None:
            self.on_utterance(utterance)
        if best is None or not heard:
            return None
        if not within:
            self._command = now
        word = best.word.name
        if now - self._last_heard.get(word, NEVER) < self.refractory_frames:
            return None
        self._last_heard[word] = now
        return Event(
            word=word,
            score_q14=best.score_q14,
            first_frame=utterance.start + self._endpointer.config.pre_frames,
            last_frame=self._last,
            decided_frame=now,
            hop_s=self._frontend.config.hop / self._frontend.config.sample_rate_hz,
            sparsity=round(self._spoken_counts.sparsity, 4),
        )

    def _judge_pool(self, asked_q14: int) -> Judgement | None:
        """Return the best word for what is pooled, None without a vocabulary; asked_q14: see `judge`."""
        if not self.words:
            return None
        rows = np.array([word.row for word in self.words], np.int64)
        unit = self._classifier.embed(self._pool)
        scores, best = self._classifier.scores(unit, rows)
        word, score = self.words[best], int(scores[best])
        # a word and what was refused of it are each other's rivals: between the two the nearer one counts
        refused = next((w for w in self.words if w.rejects == word.name), None)
        if refused is not None:
            cosines = self._classifier.cosines(unit)
            word = refused if cosines[refused.row] > cosines[word.row] else word
        return Judgement(word, score, score - word.threshold_q14 - asked_q14)
