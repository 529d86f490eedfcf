"""Whether somebody speaks, read out of the network's state: a noise that begins an utterance is no part of a word.

The end pointer knows loud from soft only. A door that falls shut is an utterance to it, and a word said while it still
rings is lost in that utterance. The network, which runs on every frame of it anyway, knows better: one linear readout
of h tells speech from other sound, a few frames late (logistic regression, edgelearn/pretrain/activity.py).

It moves ends within what the end pointer has found, and sound without any speech is left whole, so that a whistle can
be a word, too. What nobody is sure to have said has to be a bit more like a word, though, and so has what is said in
the middle of a talk: a command comes after a pause, or after another command (docs/experiments.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

WEIGHT_BITS, SCORE_BITS = 5, 18
"""Fractional bits of a weight, and of the score: h has 13."""
LAG_FRAMES = 4
"""The readout tells of the frame before so many: the beginning of a sound is like any other one's."""
SURE_Q18 = 1 << (SCORE_BITS - 1)
"""Log odds, a half or minus a half, from which on speech begins or ends: in between it goes on as it was."""
MOST_BIAS_Q18 = 1 << 28
"""No score leaves 32 bits: at most 512 products of 2^13 and 2^7, and this."""
SPOKEN_Q18 = 2 << SCORE_BITS
"""Log odds that are reached at least once in a word that somebody says."""
UNSPOKEN_Q14 = 1638
"""0.1 more of a score is asked where they are not: noises are seldom so much like a word."""
PAUSE_FRAMES = 56
"""So long nobody has spoken before a command, 1.1 s to the frames kept before it and 1.3 s to the word itself."""
WITHIN_TALK_Q14 = 1638
"""0.1 more of a score is asked of what is said sooner: running speech is full of what is nearly a word."""
NEVER = -(1 << 31)
"""A frame before all frames."""
BEGIN_FRAMES = 3
END_FRAMES = 8
BEGUN_FRAMES = BEGIN_FRAMES - 1 + LAG_FRAMES
"""So many frames ago speech began when `VoiceActivity.push` says so."""
GOES_ON, BEGINS, ENDED = range(3)


@dataclass(frozen=True)
class ActivityReadout:
    """Log odds (Q18) that somebody speaks: bias_q18 + h (Q13) times weights_q5 (int8 [H]). Without weights, always."""

    weights_q5: NDArray[np.int8] = field(default_factory=lambda: np.zeros(0, np.int8))
    bias_q18: int = 4 * SURE_Q18

    def score_q18(self, hidden: NDArray[np.int16]) -> int:
        """Return the log odds (Q18) at a state of the last layer (h, int16 Q13, [H])."""
        if not len(self.weights_q5):
            return self.bias_q18
        return self.bias_q18 + int(hidden.astype(np.int32) @ self.weights_q5.astype(np.int32))


class VoiceActivity:
    """Follows an utterance frame by frame: where speech begins behind a noise, and where it ends in one.

    in_noise: nobody has spoken for `END_FRAMES`; spoke: somebody has, since it began; anew: it began behind a noise;
    decided: its word is decided, what goes on is noise; last: the last frame in which somebody spoke; spoken: whether
    that was ever sure; talk: the last frame before it in which that was sure, NEVER without one.
    """

    def __init__(self, readout: ActivityReadout) -> None:
        self._readout = readout
        self.reset()

    def reset(self) -> None:
        """Forget the stream."""
        self._sure = self._sure_before_run = NEVER
        self.begin(0)

    def begin(self, now: int, anew: bool = False, decided: bool = False) -> None:
        """Start of an utterance that is under way in frame `now`, or of the noise behind one that is decided."""
        self.talk = self._sure_before_run if anew else self._sure
        self.anew, self.decided, self.in_noise = anew, decided, decided
        self.spoke = self.spoken = False
        self.last = now
        self._run = self._silent = 0

    def push(self, hidden: NDArray[np.int16], now: int) -> int:
        """Take h (int16 Q13, [H]) after frame `now`; return GOES_ON, BEGINS or ENDED.

        BEGINS: speech began `BEGUN_FRAMES` ago, behind a noise. ENDED: speech ended with frame `last`, and a noise
        goes on.
        """
        score = self._readout.score_q18(hidden)
        if score > -SURE_Q18:
            self._silent = 0
            self.last = now - LAG_FRAMES
        else:
            self._silent += 1
        self.spoken = self.spoken or score >= SPOKEN_Q18
        if self._run == 0:
            self._sure_before_run = self._sure
        self._run = self._run + 1 if score > SURE_Q18 else 0
        if score > SPOKEN_Q18:  # a readout without weights, which always says as much, knows of no talk
            self._sure = now - LAG_FRAMES
        if self._run >= BEGIN_FRAMES:
            if self.in_noise:
                return BEGINS
            self.spoke = True
        if self._silent >= END_FRAMES and not self.in_noise:
            self.in_noise = True
            return ENDED if self.spoke else GOES_ON
        return GOES_ON


def within_talk(start: int, talk: int, command: int) -> bool:
    """Return whether an utterance that begins with frame `start` is said in the middle of a talk.

    talk: the last frame before it in which somebody surely spoke; command: the frame in which a word was heard last
    that was not said within one, with which a talk is over. NEVER where there is none.
    """
    return talk > command and start - talk < PAUSE_FRAMES


def more_asked_q14(spoken: bool, within: bool) -> int:
    """Return how much more (Q14) than its threshold the score of an utterance has to be.

    spoken: whether it is sure that somebody spoke; within: in the middle of a talk.
    """
    return (0 if spoken else UNSPOKEN_Q14) + (WITHIN_TALK_Q14 if within else 0)
