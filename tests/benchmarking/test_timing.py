"""Paired timing: ratios have the right direction, and both sides are run in turn."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest

from edgelearn.benchmarking import timing


@pytest.fixture
def clock(monkeypatch):
    """Clocks that stand still but for what is added to them: processor time, and the time that passes."""
    both = SimpleNamespace(processor=0.0, passed=0.0)
    module = SimpleNamespace(process_time=lambda: both.processor, perf_counter=lambda: both.passed)
    monkeypatch.setattr(timing, "time", module)
    return both


def test_the_ratio_says_how_much_faster_ours_is(clock):
    runs = [0]

    def work(seconds):
        def run():
            runs[0] += 1
            clock.processor += seconds * (10 if runs[0] % 50 == 0 else 1)  # now and then it is slow
            clock.passed += 3 * seconds  # other programs take their time

        return run

    pair = timing.paired(work(0.001), work(0.01), 2.0)
    assert pair == pytest.approx((0.001, 0.01, 10))
    assert runs[0] > 3 * timing.LEAST_ROUNDS


def test_the_garbage_collector_is_off_while_timing_and_on_again_after():
    seen = []
    timing.paired(lambda: seen.append(gc.isenabled()), lambda: None, 0.01)
    assert not seen[-1]
    assert gc.isenabled()


def test_there_are_enough_rounds_whatever_the_time(monkeypatch):
    monkeypatch.setattr(timing, "SLICE_S", 1e-9)
    runs = []
    timing.paired(lambda: runs.append("ours"), lambda: runs.append("theirs"), 0.0)
    assert runs.count("ours") == runs.count("theirs") == timing.LEAST_ROUNDS + 6
    timed = runs[12:]
    assert timed[:4] == ["ours", "theirs", "theirs", "ours"]
