"""Where sound comes from on a command line: a microphone, a file, or raw samples on stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import iter_pcm, read_clip
from edgelearn.errors import UsageError

if TYPE_CHECKING:
    from edgelearn.config import AudioSettings

BLOCK = 1600


class Source:
    """Blocks of int16 samples at 16 kHz; `live` is sound that does not wait, `gaps` is how often some was lost."""

    def __init__(self, blocks: Iterator[NDArray[np.int16]], live: bool = False, microphone: object = None) -> None:
        self._blocks = blocks
        self._microphone = microphone
        self.live = live

    def __iter__(self) -> Iterator[NDArray[np.int16]]:
        return self._blocks

    @property
    def gaps(self) -> int:
        """Overruns so far; each is a gap in the sound."""
        return int(getattr(self._microphone, "overruns", 0))


@contextmanager
def open_source(name: str, audio: AudioSettings) -> Iterator[Source]:
    """Open `mic`, `-` (raw 16 kHz s16le on stdin) or a sound file."""
    if name == "mic":
        from edgelearn.audio.capture import Microphone

        with Microphone(audio.device, audio.rate_hz) as microphone:
            yield Source(iter(microphone), True, microphone)
    elif name == "-":
        if sys.stdin is None:
            raise UsageError("--input - reads samples from stdin, which is closed", "pipe them in, or name a file")
        yield Source(iter_pcm(sys.stdin.buffer, BLOCK), True)
    else:
        samples = read_clip(Path(name))
        yield Source(samples[at : at + BLOCK] for at in range(0, len(samples), BLOCK))
