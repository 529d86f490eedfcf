"""A word that was heard, and a place for what actions report."""

from __future__ import annotations

import time
from collections.abc import Callable

from edgelearn.runtime.recognizer import Event


def heard(word: str = "bed", score: float = 0.5) -> Event:
    return Event(word, round(score * 16384), 0, 14, 26, 0.02, 0.7)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for something that happens in another thread or process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
