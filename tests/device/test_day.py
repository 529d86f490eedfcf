"""A day: its parts sum to 24 hours and to its energy, and a battery lasts as long as that says."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelearn.device.board import Figure, list_boards, load_board
from edgelearn.device.cost import cost
from edgelearn.device.day import DAY_S, Use, Work, day
from edgelearn.engine.counts import Counts
from edgelearn.errors import UsageError
from tests.device.test_cost import exact, toy_board

SILENCE = Counts(frames=50, frontend_ops=400_000)
SPEECH = Counts(frames=50, frontend_ops=400_000, macs_forward=10**6, weight_bytes_read=10**6, activations=32_000)
WORD = Counts(frames=1300, macs_forward=10**7, macs_backward=10**7, macs_gradient=10**7, weight_bytes_written=10**7)


def work_on(board):
    return Work(cost(SILENCE, board), cost(SPEECH, board), cost(WORD, board))


@pytest.mark.parametrize("name", list_boards())
@settings(max_examples=30, deadline=None)
@given(hours=st.floats(0, 24), words=st.floats(0, 50), share=st.floats(0, 1))
def test_parts_sum_to_a_day_and_to_its_energy(name, hours, words, share):
    board = load_board(name)
    found = day(work_on(board), board, Use(hours, words, share))
    assert math.fsum(part.seconds.value for part in found.parts) == pytest.approx(DAY_S)
    for bound in ("value", "low", "high"):
        assert math.fsum(getattr(part.joules, bound) for part in found.parts) == pytest.approx(
            getattr(found.joules, bound)
        )
    assert 0 <= found.joules.low <= found.joules.value <= found.joules.high
    assert 0 <= found.busy_share.value < 1
    assert all(part.joules.low <= part.joules.value <= part.joules.high for part in found.parts)
    if found.joules.low:
        days = found.battery_days(10)
        assert days.low <= days.value <= days.high
        assert days.value * found.joules.value == pytest.approx(36_000)


def test_a_day_by_hand():
    """1 MHz, a front end of 6 cycles an operation, 2 pJ a cycle; 0.5 W idle, 0.1 W asleep."""
    board = replace(toy_board(), idle_w=exact(0.5, "W"), sleep_w=exact(0.1, "W"))
    silence, speech = Counts(frontend_ops=1000), Counts(frontend_ops=1000, macs_forward=4000)
    work = Work(cost(silence, board), cost(speech, board), cost(Counts(macs_gradient=10**6), board))
    found = day(work, board, Use(hours=1, words=2, speech_share=0.25))
    rows = {part.name: part for part in found.parts}
    busy = {"listening, silence": 2700 * 6e-3, "listening, speech": 900 * 10e-3, "learning": 2 * 3.0}
    for name, seconds in busy.items():
        assert rows[name].seconds.value == pytest.approx(seconds)
        assert rows[name].joules.value == pytest.approx(seconds * 1e6 * 2e-12)
    idle = 3600 - sum(busy.values())
    assert rows["idle between frames"].joules.value == pytest.approx(0.5 * idle)
    assert rows["asleep"].joules.value == pytest.approx(0.1 * 23 * 3600)
    assert rows["asleep"].watts.value == pytest.approx(0.1)
    above = replace(board, energy_includes_idle=False)
    rows = {part.name: part for part in day(work, above, Use(1, 2, 0.25)).parts}
    assert rows["idle between frames"].joules.value == pytest.approx(0.5 * 3600), "the board idles under its work"


def test_boards_without_sleep_idle_and_leakage_lasts_all_day():
    plain = replace(toy_board(), clock_hz=exact(1e8, "Hz"), idle_w=exact(0.5, "W"), leakage_w=exact(0.01, "W"))
    found = day(work_on(plain), plain, Use(0, 0))
    rows = {part.name: part.joules.value for part in found.parts}
    assert rows["not listening"] == pytest.approx(0.5 * DAY_S)
    assert rows["leakage"] == pytest.approx(0.01 * DAY_S)
    silent = replace(toy_board(), clock_hz=exact(1e8, "Hz"))
    nothing = day(work_on(silent), silent, Use(0, 0))
    assert nothing.joules.value == 0
    assert nothing.battery_days(1).value == math.inf


def test_assumptions_of_the_idle_time_are_named():
    doubtful = Figure(0.5, 0.1, 0.9, "W", "a guess", False)
    board = replace(toy_board(), clock_hz=exact(1e8, "Hz"), idle_w=doubtful, sleep_w=exact(0.1, "W"))
    found = day(work_on(board), board, Use(24, 1))
    assert found.assumptions == ("idle_w",)
    assert "assumed, not verified: idle_w" in found.report()
    assert " to " in found.report()


def test_a_board_that_is_too_slow_is_refused():
    board = toy_board()  # 1 MHz: a second of this speech takes it longer than a second
    with pytest.raises(UsageError, match="does not keep up"):
        day(work_on(board), board, Use(1, 0))
    fast = replace(board, clock_hz=exact(1e8, "Hz"))
    assert day(work_on(fast), fast, Use(24, 1)).busy_share.value < 1
    with pytest.raises(UsageError, match="fewer words") as caught:
        day(replace(work_on(fast), learned_word=work_on(fast).learned_word * 1e6), fast, Use(24, 1))
    assert "a word to learn" in caught.value.message


@pytest.mark.parametrize(("hours", "words"), [(-1, 0), (25, 0), (1, -1), (1, 10**6), (math.nan, 1)])
def test_a_day_that_is_none(hours, words):
    with pytest.raises(UsageError):
        Use(hours, words)


@pytest.mark.parametrize("watt_hours", [0.0, -1.0, math.nan])
def test_a_battery_that_is_none(watt_hours):
    board = load_board("stm32u575")
    with pytest.raises(UsageError, match="battery"):
        day(work_on(board), board, Use(1, 1)).battery_days(watt_hours)
