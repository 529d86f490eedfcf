"""Costs: each counter is paid for once, parts sum to the whole, and the published figures come out."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelearn.device.board import Board, Figure, MemoryLevel, PerOperation, list_boards, load_board
from edgelearn.device.cost import PARTS, TERMS, Estimate, cost, mean_power
from edgelearn.engine.counts import Counts

COUNTERS = tuple(dict.fromkeys(counter for _, counter, _ in TERMS))
COUNTS = st.builds(Counts, **{name: st.integers(0, 10**9) for name in COUNTERS})


def exact(value, unit):
    return Figure(float(value), float(value), float(value), unit, "made up for a test", True)


def toy_board():
    cycles = PerOperation(*(exact(n, "cycle") for n in range(1, 12)))
    return Board("toy", "toy", "toy", exact(1e6, "Hz"), exact(1000, "byte"), None, cycles,
                 exact(2, "pJ/cycle"), None, True, None)  # fmt: skip


def test_a_sum_by_hand():
    counts = Counts(**{name: 10**k for k, name in enumerate(COUNTERS)})
    price = {
        "macs_forward": 1,
        "macs_backward": 2,
        "macs_gradient": 3,
        "elementwise_ops": 4,
        "activations": 5,
        "frontend_ops": 6,
        "weight_bytes_read": 7,
        "weight_bytes_written": 8,
        "state_bytes": 9,
        "tape_bytes": 9,
        "active_columns": 10,
        "frames": 11,
    }
    expected = sum(price[name] * 10**k for k, name in enumerate(COUNTERS))
    spent = cost(counts, toy_board())
    assert spent.cycles == expected
    assert spent.seconds == pytest.approx(expected / 1e6)
    assert spent.joules == pytest.approx(expected * 2e-12)
    assert spent.assumptions == ()
    assert str(spent.cycles_range) == f"{expected:,}"


def test_every_priced_counter_is_priced_once_and_every_figure_used():
    counters = [counter for _, counter, _ in TERMS]
    assert len(set(counters)) == len(counters)
    assert {operation for _, _, operation in TERMS} == {field.name for field in fields(PerOperation)}
    unpriced = {field.name for field in fields(Counts)} - set(counters)
    assert unpriced == {"macs_dense_forward", "macs_dense_training", "total_columns", "saturations"}


@pytest.mark.parametrize("name", list_boards())
@given(counts=COUNTS)
def test_parts_sum_to_the_whole_and_ranges_hold(name, counts):
    spent = cost(counts, load_board(name))
    assert tuple(part.name for part in spent.breakdown) == PARTS
    assert sum(part.cycles.value for part in spent.breakdown) == pytest.approx(spent.cycles, rel=1e-12)
    assert sum(part.joules.value for part in spent.breakdown) == pytest.approx(spent.joules, rel=1e-12)
    for estimate in (spent.cycles_range, spent.seconds_range, spent.joules_range):
        assert estimate.low <= estimate.value <= estimate.high


@given(COUNTS, COUNTS)
def test_costs_add_like_their_counts(a, b):
    board = load_board("reneta")
    together, apart = cost(a + b, board), cost(a, board) + cost(b, board)
    assert together.cycles == pytest.approx(apart.cycles)
    assert together.joules_range.high == pytest.approx(apart.joules_range.high)
    assert set(together.assumptions) == set(apart.assumptions)


def test_costs_scale():
    spent = cost(Counts(macs_forward=1000, frames=3), load_board("stm32u575"))
    assert (spent * 50).cycles == pytest.approx(50 * spent.cycles)
    assert (2 * spent).joules == pytest.approx((spent + spent).joules)
    with pytest.raises(ValueError, match="scaled by -1"):
        spent * -1


def test_costs_of_two_boards_do_not_add():
    counts = Counts(frames=1)
    one, other = cost(counts, load_board("stm32u575")), cost(counts, load_board("reneta"))
    with pytest.raises(ValueError, match="do not add"):
        one + other


@pytest.mark.parametrize(
    ("columns", "forward", "backward", "gradient"),
    [
        (65_536, 1_051_917, 1_056_781, 1_048_602),
        (32_768, 527_629, 532_493, 524_314),
        (13_108, 213_069, 217_933, 209_754),
        (6_554, 108_205, 113_069, 104_890),
    ],
)
def test_the_accelerator_takes_the_cycles_of_its_published_rtl(columns, forward, backward, gradient):
    """256 steps of 256 rows; `columns` active ones in all, as the cycles of the weight gradient tell."""
    macs = 256 * columns
    board = load_board("reneta")
    alone = cost(Counts(macs_forward=macs, frames=256), board)
    assert alone.cycles_range.low == pytest.approx(forward, abs=20)
    learning = cost(Counts(macs_forward=macs, macs_backward=macs, macs_gradient=macs, frames=256), board)
    assert learning.cycles == pytest.approx(forward + backward + gradient, abs=60)
    assert learning.cycles_range.low < learning.cycles < learning.cycles_range.high


def test_assumptions_are_named_only_where_they_matter():
    board = load_board("raspberry_pi_4")
    spent = cost(Counts(macs_forward=10, elementwise_ops=1), board)
    assert spent.assumptions == ("active_pj_per_cycle", "cycles.elementwise")
    report = spent.report()
    assert "assumed, not verified: active_pj_per_cycle, cycles.elementwise" in report
    assert " to " in report
    assert "front end" not in report, "a part without cost is left out"


def test_mean_power_adds_the_idle_time():
    board = replace(toy_board(), idle_w=exact(0.5, "W"))
    spent = cost(Counts(macs_forward=250_000), board)
    assert spent.seconds == pytest.approx(0.25)
    busy = spent.joules
    assert mean_power(spent, toy_board(), 1.0).value == pytest.approx(busy)
    assert mean_power(spent, board, 1.0).value == pytest.approx(busy + 0.5 * 0.75)
    assert mean_power(spent, board, 0.1).value == pytest.approx(busy * 10), "always busy"
    above = replace(board, energy_includes_idle=False)
    assert mean_power(spent, above, 1.0).value == pytest.approx(busy + 0.5)
    with pytest.raises(ValueError, match="wall time"):
        mean_power(spent, board, 0.0)


def test_estimates_print_their_range():
    assert str(Estimate(2.0, 1.0, 3.0)) == "2 (1 to 3)"
    assert str(Estimate(2.0, 2.0, 2.0)) == "2"
    assert str(Estimate(12345.6, 0.01234, 1e7)) == "12,346 (0.0123 to 10,000,000)"


def test_weights_cost_what_the_memory_does_that_holds_them():
    counts = Counts(weight_bytes_read=1000, macs_forward=10)
    levels = (
        MemoryLevel("near", exact(100, "byte"), exact(1, "cycle"), None),
        MemoryLevel("far", exact(1000, "byte"), exact(5, "cycle"), None),
    )
    board = replace(toy_board(), memory=levels)
    assert [board.level_of(n).name for n in (1, 100, 101, 10**9)] == ["near", "near", "far", "far"]
    assert cost(counts, board, 100).cycles == 1000 * 1 + 10
    assert cost(counts, board, 101).cycles == 1000 * 5 + 10
    assert cost(counts, board).cycles == cost(counts, toy_board(), 101).cycles == 1000 * 7 + 10
    assert toy_board().level_of(1) is None


@pytest.mark.parametrize("name", ["raspberry_pi_4", "raspberry_pi_5", "raspberry_pi_zero_2w"])
def test_the_shipped_weights_are_priced_in_the_second_cache(name):
    board = load_board(name)
    level = board.level_of(80 * 1024)
    assert level.name == "L2 cache"
    assert level.cycles.value == board.cycles.weight_byte_read.value, "the board's own table is of that level"
    spent = cost(Counts(weight_bytes_read=10), board, 80 * 1024)
    assert "memory L2 cache.cycles" in spent.assumptions
    far = cost(Counts(weight_bytes_read=10), board, 1 << 31)
    assert far.cycles > spent.cycles
