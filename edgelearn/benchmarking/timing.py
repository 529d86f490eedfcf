"""Paired timing: two things in turn, many times over, and the median of the ratios.

On a machine that also does other work, a time is worth little and a ratio of neighbouring times a good deal.
The clock is the processor time of this process, all threads together: what other programs take does not count.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

Work = Callable[[], object]

SLICE_S = 2e-3
"""Length of one measurement: several runs of the longest piece of work, so that caches are warm for either side."""
LEAST_ROUNDS = 15


class Pair(NamedTuple):
    """Medians over the rounds: seconds of ours and of theirs, and theirs / ours (above 1: ours is faster)."""

    ours_s: float
    theirs_s: float
    ratio: float


def paired(ours: Work, theirs: Work, seconds: float) -> Pair:
    """Time two pieces of work in turn for about `seconds`, in an order that alternates."""
    repeats = [_repeats(ours), _repeats(theirs)]
    rounds: list[tuple[float, float]] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        stop = time.perf_counter() + seconds
        while len(rounds) < LEAST_ROUNDS or time.perf_counter() < stop:
            if len(rounds) % 2:
                b = _time(theirs, repeats[1])
                a = _time(ours, repeats[0])
            else:
                a = _time(ours, repeats[0])
                b = _time(theirs, repeats[1])
            rounds.append((a, b))
    finally:
        if collecting:
            gc.enable()
    return Pair(
        statistics.median(a for a, _ in rounds),
        statistics.median(b for _, b in rounds),
        statistics.median(b / a for a, b in rounds),
    )


def _repeats(work: Work) -> int:
    """Return how often `work` is run in one measurement, after warming it up."""
    work()
    return max(1, round(SLICE_S / min(_time(work, 1) for _ in range(5))))


def _time(work: Work, repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        work()
    return (time.process_time() - start) / repeats
