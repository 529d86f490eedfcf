"""The last seconds of a stream, and which samples of it a frame was made of: what an utterance sounded like."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.resample import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from edgelearn.audio.melbank import FrontendConfig

REMEMBERED_SAMPLES = 3 * SAMPLE_RATE_HZ  # longer than any utterance, so that its sound can be judged when it ends


class RecentSound:
    """Keeps the blocks of a stream (int16, 16 kHz) that a recognizer takes, frame `frames` of it being the next.

    samples: of the stream so far; frames_due: feature frames that they hold.
    """

    def __init__(self, config: FrontendConfig, frames: int) -> None:
        self.samples = 0
        self.frames_due = 0
        self._config = config
        self._blocks: deque[tuple[int, NDArray[np.int16]]] = deque()
        self.align(frames)

    def align(self, frames: int) -> None:
        """Say that frame `frames` of the recognizer begins with the next sample: what was not a whole frame is lost."""
        self._origin = self.samples - frames * self._config.hop
        self._unframed = 0

    def push(self, block: NDArray[np.int16]) -> None:
        """Take a block."""
        if not len(block):
            return  # a microphone that is away gives these for hours
        config = self._config
        self._unframed += len(block)
        due = max(0, (self._unframed - config.frame) // config.hop + 1)
        self._unframed -= due * config.hop
        self.frames_due += due
        self._blocks.append((self.samples, block))
        self.samples += len(block)
        while self._blocks[0][0] + len(self._blocks[0][1]) < self.samples - REMEMBERED_SAMPLES:
            self._blocks.popleft()

    def sample_of(self, frame: int) -> int:
        """Return the sample of the stream that a frame of the recognizer begins with."""
        return self._origin + frame * self._config.hop

    def between(self, begin: int, end: int) -> NDArray[np.int16]:
        """Return samples begin <= t < end of the stream (int16), of which all that is still kept."""
        sound = [block[max(0, begin - at) : end - at] for at, block in self._blocks if at < end]
        return np.concatenate([np.zeros(0, np.int16), *sound])
