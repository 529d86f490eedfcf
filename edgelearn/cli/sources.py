"""Where sound comes from on a command line: a microphone, a file, or raw samples on stdin."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import iter_pcm, read_clip
from edgelearn.cli.output import emit, say
from edgelearn.errors import UsageError

if TYPE_CHECKING:
    from edgelearn.audio.capture import Microphone, MicrophoneChange
    from edgelearn.config import AudioSettings

BLOCK = 1600


class Source:
    """Blocks of int16 samples at 16 kHz; `live` is sound that does not wait.

    A block of a microphone may be empty: it is away, and there is time for other things.
    """

    def __init__(
        self, blocks: Iterator[NDArray[np.int16]], live: bool = False, microphone: Microphone | None = None
    ) -> None:
        self._blocks = blocks
        self._microphone = microphone
        self.live = live

    def __iter__(self) -> Iterator[NDArray[np.int16]]:
        return self._blocks

    @property
    def overruns(self) -> int:
        """How often sound came and could not be kept."""
        return 0 if self._microphone is None else self._microphone.overruns

    @property
    def reopens(self) -> int:
        """How often the microphone was lost and came back."""
        return 0 if self._microphone is None else self._microphone.reopens

    @property
    def gaps(self) -> int:
        """How often sound is missing in what was given so far, for one reason or the other."""
        return self.overruns + self.reopens


def print_change(change: MicrophoneChange, as_json: bool) -> None:
    """Print what became of the microphone: an event on stdout, or talk."""
    if as_json:
        emit(
            "microphone", state=change.state, device=change.device, message=change.message, advice=change.advice,
            away_s=change.away_s,
        )  # fmt: skip
    else:
        say(f"{change.message}\n  {change.advice}" if change.advice else change.message)


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Make SIGTERM, by which services are stopped, end the program as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def open_source(name: str, audio: AudioSettings, as_json: bool = False) -> Iterator[Source]:
    """Open `mic`, `-` (raw 16 kHz s16le on stdin) or a sound file; what becomes of a microphone is printed.

    Raises AudioDeviceError for a microphone that cannot be opened, UsageError for a stdin that is closed and for a file
    that `read_clip` cannot read.
    """
    if name == "mic":
        from edgelearn.audio.capture import Microphone

        tell = partial(print_change, as_json=as_json)
        with terminated_as_interrupted(), Microphone(audio.device, audio.rate_hz, audio.channel, tell) as microphone:
            yield Source(iter(microphone), True, microphone)
    elif name == "-":
        if sys.stdin is None:
            raise UsageError("--input - reads samples from stdin, which is closed", "pipe them in, or name a file")
        with terminated_as_interrupted():
            yield Source(iter_pcm(sys.stdin.buffer, BLOCK), True)
    else:
        samples = read_clip(Path(name))
        yield Source(samples[at : at + BLOCK] for at in range(0, len(samples), BLOCK))
