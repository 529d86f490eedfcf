"""What is around an utterance: frames before and after it that other voices hear, and its own voice does not.

In noise the end pointer is wrong more often.  Where some of the voices hear more than it has cut, its mistakes are not
those of all (docs/experiments/scores.md, "More of what is around the word").

Only real sound helps there, and only in noise.  Where there is neither, the first or last frame is repeated, so that
every utterance has as many frames around it; what is repeated is not heard.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.int8]


class Surroundings(NamedTuple):
    """How many frames an utterance has before and after what its own voice hears."""

    before: int
    after: int

    def of(self, sound: Frames, start: int, stop: int, noisy: bool) -> Frames:
        """Return frames start <= t < stop of a sound (int8 Q6, [T, bands]) with what is around them in a noisy one."""
        before, after = (min(self.before, start), min(self.after, len(sound) - stop)) if noisy else (0, 0)
        return self.repeated(sound[start - before : stop + after], before, after)

    def repeated(self, frames: Frames, before: int, after: int) -> Frames:
        """Return an utterance that has `before` and `after` frames around it with the ends repeated where some lack."""
        if (before, after) == self or len(frames) == 0:
            return frames
        return np.pad(frames, ((self.before - before, self.after - after), (0, 0)), mode="edge")

    def own(self, frames: Frames) -> Frames:
        """Return what its own voice hears of an utterance."""
        return frames[self.before : max(self.before, len(frames) - self.after)]

    def sounding(self, frames: Frames) -> Frames:
        """Return what the other voices hear of an utterance: no edge frames that only repeat their neighbour."""
        same = (frames[1:] == frames[:-1]).all(axis=1)
        first, last = 0, len(same)
        while first < min(self.before, len(same)) and same[first]:
            first += 1
        while last > max(first, len(same) - self.after) and same[last - 1]:
            last -= 1
        return frames[first : last + 1]


NOTHING_AROUND = Surroundings(0, 0)
