"""Is what the microphone delivers fit to listen to?  Dead, clipped and far too quiet input, each found once."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

BLOCKS_A_SECOND = 50
DEAD_SECONDS = 2
FULL_SCALE = 32700
MOST_CLIPPED = 0.01  # of the samples of a second
# a word needs a peak of -40 dB of full scale to be learned from, and has about as much when it is heard well
LOUD_ENOUGH = 330
# speech that never gets within 6 dB of that is far too quiet; what stands out of the noise by 15 dB for a fifth of a
# second is taken for speech
FAR_TOO_QUIET = 165
OUTSTANDING = 5.6
SPEECH_BLOCKS = BLOCKS_A_SECOND // 5
QUIET_SECONDS = 3


class InputQuality:
    """Judges int16 blocks of 20 ms at any rate, a second at a time; each problem is reported once."""

    def __init__(self) -> None:
        self._reported: set[str] = set()
        self._second: list[NDArray[np.int16]] = []
        self._dead_seconds = 0
        self._constant = 0
        self._floors: deque[float] = deque(maxlen=10)  # the quietest block of each second
        self._proven = False
        self._quiet_seconds = 0

    def push(self, block: NDArray[np.int16]) -> list[str]:
        """Return the problems that `block` completes: dead, clipped, quiet."""
        if self._second and len(block) != len(self._second[0]):
            self._second.clear()  # another rate, of a microphone that was opened again
        self._second.append(block)
        if len(self._second) < BLOCKS_A_SECOND:
            return []
        blocks = np.stack(self._second)
        self._second.clear()
        new = [problem for problem in self._judge(blocks) if problem not in self._reported]
        self._reported.update(new)
        return new

    def _judge(self, blocks: NDArray[np.int16]) -> list[str]:
        low, high = int(blocks.min()), int(blocks.max())
        peak = max(-low, high)
        same = low == high and (self._dead_seconds == 0 or low == self._constant)
        self._dead_seconds = self._dead_seconds + 1 if same else 0
        self._constant = low
        problems = ["dead"] if self._dead_seconds >= DEAD_SECONDS else []
        if peak >= FULL_SCALE and (np.abs(blocks.astype(np.int32)) >= FULL_SCALE).mean() > MOST_CLIPPED:
            problems.append("clipped")
        self._proven |= peak >= LOUD_ENOUGH
        if not self._proven:
            levels = np.sqrt(np.square(blocks.astype(np.float64)).mean(axis=1))
            self._floors.append(float(levels.min()))
            floor = max(min(self._floors), 1.0)  # digital silence is no noise that anything could stand out of
            spoken = int((levels > OUTSTANDING * floor).sum()) >= SPEECH_BLOCKS
            self._quiet_seconds += spoken and peak < FAR_TOO_QUIET
            if self._quiet_seconds >= QUIET_SECONDS:
                problems.append("quiet")
        return problems
