"""Paired timing: ratios have the right direction, and both sides are run in turn."""

from __future__ import annotations

import gc

from edgelearn.benchmarking import timing


def work(size):
    return lambda: sum(range(size))


def test_the_ratio_says_how_much_faster_ours_is():
    pair = timing.paired(work(2000), work(20000), 0.05)
    assert 4 < pair.ratio < 25
    assert pair.ours_s < pair.theirs_s


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
