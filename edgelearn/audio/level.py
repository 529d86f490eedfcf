"""How loud a microphone is: a few seconds of it as peak, mean level, and what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgelearn.audio.capture import Microphone
from edgelearn.audio.input_quality import FULL_SCALE, LOUD_ENOUGH, MOST_CLIPPED
from edgelearn.audio.resample import SAMPLE_RATE_HZ


@dataclass(frozen=True)
class Level:
    """What was measured: peak and rms in int16 units, the share of clipped samples, whether any two samples differ."""

    seconds: float
    peak: int
    rms: float
    clipped: float
    moved: bool

    @property
    def problem(self) -> str:
        """What is wrong: dead, clipped, quiet, or "" for nothing."""
        if not self.moved:
            return "dead"
        if self.clipped > MOST_CLIPPED:
            return "clipped"
        return "quiet" if self.peak < LOUD_ENOUGH else ""


def dbfs(amplitude: float) -> float:
    """Return an amplitude (int16 units) in decibels of full scale; minus infinity for 0."""
    return 20 * math.log10(amplitude / 32768) if amplitude > 0 else -math.inf


def measure(microphone: Microphone, seconds: float, show: Callable[[int], None] = lambda _: None) -> Level:
    """Return the level of the next `seconds` of an open microphone; `show` gets the peak of each block on the way."""
    wanted = round(seconds * SAMPLE_RATE_HZ)
    samples = np.zeros(0, np.int16)
    for block in microphone:
        if len(block):
            samples = np.concatenate((samples, block))
            show(int(np.abs(block.astype(np.int32)).max()))
        if len(samples) >= wanted:
            break
    level = np.abs(samples.astype(np.int32))
    return Level(
        seconds=len(samples) / SAMPLE_RATE_HZ,
        peak=int(level.max()),
        rms=float(np.sqrt(np.square(samples.astype(np.float64)).mean())),
        clipped=float((level >= FULL_SCALE).mean()),
        moved=bool((samples != samples[0]).any()),
    )
