"""The words in a stream, one after the other: for programs that only want to hear."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgelearn.runtime.recognizer import Event
    from edgelearn.runtime.voice import VoiceDevice


class Sound(Protocol):
    """Blocks of int16 samples at 16 kHz; `gaps` is how often some were missing in what was given so far."""

    @property
    def gaps(self) -> int:
        """Gaps so far."""

    def __iter__(self) -> Iterator[NDArray[np.int16]]: ...


def words_in(sound: Sound, device: VoiceDevice) -> Iterator[Event]:
    """Yield each word as soon as it is recognised, until the sound ends.

    Compiles before it takes the first block, so that no sound is lost meanwhile.
    """
    device.warm_up()
    gaps = sound.gaps
    for block in sound:
        if sound.gaps != gaps:
            gaps = sound.gaps
            device.recognizer.gap()
        yield from device.recognizer.push(block)
    yield from device.recognizer.finish()
