"""The accelerator's clock: the published cycles, the slow model's cycles, and numpy's integers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelearn.errors import UsageError
from firmware_sim.accelerator.config import AcceleratorConfig, load_accelerator, with_processing_elements
from firmware_sim.accelerator.machine import CYCLE_KINDS
from firmware_sim.accelerator.products import multiply, multiply_transposed, outer_products
from firmware_sim.accelerator.sparse import SparseSteps, random_steps
from tests.firmware_sim.accelerator.slow_model import SlowAccelerator

RTL = load_accelerator("reneta_rtl")

# cycles of the published RTL in its own test bench: 16 PEs, 256 columns, 256 rows, 256 steps
PUBLISHED = {
    0.0: (1_051_917, 1_056_781, 1_048_602),
    0.5: (527_629, 532_493, 524_314),
    0.8: (213_069, 217_933, 209_754),
    0.9: (108_205, 113_069, 104_890),
}


def operands(rows: int, columns: int, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (rows, columns)), rng.integers(-(2**15), 2**15, (steps, rows))


def all_three(config: AcceleratorConfig, deltas: SparseSteps, rows: int, seed: int = 3):
    """The products of random weights and gradients with these lists, and whether each is numpy's."""
    weights, gradients = operands(rows, deltas.width, deltas.steps, seed)
    runs = (
        multiply(config, weights, deltas),
        multiply_transposed(config, weights, deltas, gradients),
        outer_products(config, deltas, gradients),
    )
    # doubles are exact here: no sum reaches 2^53
    weights, gradients, dense = (matrix.astype(np.float64) for matrix in (weights, gradients, deltas.dense()))
    step = np.repeat(np.arange(deltas.steps), np.diff(deltas.starts))
    right = (dense @ weights.T, (gradients @ weights)[step, deltas.columns], gradients.T @ dense)
    for run, expected in zip(runs, right, strict=True):
        assert np.array_equal(run.result, expected)
        assert run.macs == deltas.entries * rows
        assert run.by_kind.shape == (len(CYCLE_KINDS),)
    return runs


@pytest.mark.parametrize("sparsity", PUBLISHED)
def test_the_published_cycles_to_the_last_one(sparsity: float) -> None:
    runs = all_three(RTL, random_steps(256, 256, sparsity, 0), 256)
    assert tuple(run.cycles for run in runs) == PUBLISHED[sparsity]


@pytest.mark.parametrize("processing_elements", [4, 8, 16, 32, 64])
@pytest.mark.parametrize(("columns", "rows", "steps"), [(64, 64, 64), (32, 128, 40), (128, 64, 20)])
def test_other_machines_and_sizes_follow_from_the_units(
    processing_elements: int, columns: int, rows: int, steps: int
) -> None:
    """In closed form, from the registers between the units.

    M += W d: from one step's last pair the core drains (6), takes a command (2) and the multiplexer fills (5).
    W^T CM: the drain is 9 longer than the chain of adders, but the next command comes 9 cycles after the last pair,
    and what it needs 13 later through descriptor and lists: whichever is later.
    """
    config = with_processing_elements(RTL, processing_elements)
    deltas = random_steps(steps, columns, 0.8, 5)
    pairs = deltas.entries * -(-rows // processing_elements)
    mxv, mtxv, vxv = (run.cycles for run in all_three(config, deltas, rows))
    assert mxv == pairs + 13 * steps + 13
    assert mtxv == pairs + max(processing_elements + 16, 28) * (steps - 1) + processing_elements + 29
    hazards = vxv - pairs - 26
    assert hazards == 0 if np.diff(deltas.starts).min() >= 4 else hazards >= 0


def test_a_column_that_comes_back_within_three_cycles_is_waited_for() -> None:
    """One column a step, always the same: each pair but the first waits until three others could have been taken."""
    again = SparseSteps.from_lists(8, [(np.array([5]), np.array([7]))] * 10)
    run = all_three(RTL, again, 16)[2]
    assert run.by_kind[CYCLE_KINDS.index("hazard")] == 3 * 9
    assert run.cycles == 10 + 3 * 9 + 26
    turns = SparseSteps.from_lists(8, [(np.array([j % 4]), np.array([7])) for j in range(10)])
    assert all_three(RTL, turns, 16)[2].cycles == 10 + 26


def test_without_that_wait_the_sums_would_be_wrong() -> None:
    lists = [(np.array([5]), np.array([7]))] * 4
    gradients = np.ones((4, 16), np.int64)
    for wait in (True, False):
        slow = SlowAccelerator("vxv", RTL.timing, lists, gradients, None, wait_for_hazards=wait)
        slow.run()
        assert (slow.memory[0, 5, 0] == 28) == wait


def test_latency_of_the_memory_costs_what_was_published() -> None:
    """With 80 cycles the 9.7 times of M += W d at 90 % become 8.6, those of W^T CM 8.1."""
    late = replace(RTL, memory=replace(RTL.memory, latency_cycles=80))
    sparse = all_three(late, random_steps(256, 256, 0.9, 0), 256)
    # dense, in closed form: as in `PUBLISHED`, and each step waits as long as a sparse one does
    waits = [sparse[k].cycles - PUBLISHED[0.9][k] for k in (0, 1)]
    speed_ups = [(PUBLISHED[0.0][k] + waits[k]) / sparse[k].cycles for k in (0, 1)]
    assert [f"{speed_up:.1f}" for speed_up in speed_ups] == ["8.6", "8.1"]


def test_accumulators_that_are_cleared_and_read_cost_what_was_published() -> None:
    full = replace(RTL, work=replace(RTL.work, dense_accumulators=True))
    run = all_three(full, random_steps(256, 256, 0.9, 0), 256)[2]
    assert run.accumulator_cycles == run.cycles - PUBLISHED[0.9][2]
    # it depends on how many columns the first and the last step happen to have
    assert PUBLISHED[0.0][2] / run.cycles == pytest.approx(9.34, abs=0.02)


def test_rows_that_do_not_fill_a_block_and_steps_without_deltas() -> None:
    """41 rows take three blocks of 16; an empty step costs the 4 cycles of its descriptor.

    In W^T CM one of them fits where the lists would have waited for the drain of the adder chain; CM (x) d reads all
    descriptors ahead, and waits for the first only.
    """
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    lists = [empty, (np.array([0, 3, 4, 6]), np.array([1, -2, 3, 4])), empty, empty, (np.array([2]), np.array([9]))]
    some = SparseSteps.from_lists(7, lists)
    runs = all_three(RTL, some, 41)
    filled = SparseSteps.from_lists(7, [lists[1], lists[4]])
    base = all_three(RTL, filled, 41)
    assert [run.cycles - other.cycles for run, other in zip(runs, base, strict=True)] == [12, 8, 4]
    assert multiply(RTL, np.ones((4, 7), np.int64), SparseSteps.from_lists(7, [empty] * 3)).cycles == 0


TIMINGS = st.builds(
    lambda lanes, latency, word, queues, waits, write, stages: RTL.timing._replace(
        lanes=lanes,
        latency_cycles=latency,
        word_cycles=word,
        request_queue=queues[0],
        value_queue=queues[1],
        weight_queue=queues[2],
        requests_in_flight=queues[3],
        mxv_wait_cycles=waits[0],
        mtxv_wait_cycles=waits[1],
        write_back=write,
        core_stages=stages[0],
        mux_stages=stages[1],
        descriptor_cycles=stages[2],
        hazard_cycles=stages[3],
    ),
    st.integers(1, 5),
    st.integers(0, 30),
    st.integers(1, 4),
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6), st.integers(1, 40)),
    st.tuples(st.integers(0, 9), st.integers(0, 9)),
    st.integers(0, 1),
    st.tuples(st.integers(1, 8), st.integers(3, 6), st.integers(1, 6), st.integers(1, 4)),
)


class _Machine:
    """A config whose timing is given."""

    def __init__(self, timing) -> None:
        self.timing, self.array, self.work = timing, replace(RTL.array, processing_elements=timing.lanes), RTL.work


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    timing=TIMINGS,
    rows=st.integers(1, 12),
    width=st.integers(1, 6),
    steps=st.integers(1, 5),
    share=st.floats(0.05, 1),
    seed=st.integers(0, 1000),
)
def test_the_kernel_is_the_slow_model(timing, rows: int, width: int, steps: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    deltas = SparseSteps.from_mask(rng.random((steps, width)) < share, rng.integers(-99, 100, (steps, width)))
    weights, gradients = operands(rows, width, steps, seed)
    lists = [deltas.step(t) for t in range(steps)]
    runs = all_three(_Machine(timing), deltas, rows, seed)  # type: ignore[arg-type]
    for product, run in zip(("mxv", "mtxv", "vxv"), runs, strict=True):
        slow = SlowAccelerator(product, timing, lists, gradients, weights)
        assert run.cycles == slow.run(), product
        if product == "vxv":
            found = slow.memory.transpose(0, 2, 1).reshape(-1, slow.memory.shape[1])[:rows]
            assert np.array_equal(found, run.result[:, : found.shape[1]])
            continue
        total = np.zeros_like(run.result)
        for ((t, i), block), products in slow.results:
            if product == "mxv":
                part = total[t, slow.rows(block)]
                part += products[: len(part)]
            else:
                total[deltas.starts[t] + i] += products.sum()
        assert np.array_equal(total, run.result)


def test_what_does_not_fit_together_is_one_sentence() -> None:
    deltas = random_steps(3, 8, 0.5, 0)
    weights, gradients = operands(16, 9, 3, 0)
    with pytest.raises(UsageError, match="weights of 9 columns do not fit vectors of 8"):
        multiply(RTL, weights, deltas)
    with pytest.raises(UsageError, match=r"gradients \[3, 16\] do not fit 3 steps of 12 rows"):
        multiply_transposed(RTL, weights[:12, :8], deltas, gradients)
    with pytest.raises(UsageError, match="3 gradients do not fit 4 steps"):
        outer_products(RTL, random_steps(4, 8, 0.5, 0), gradients)
    few = replace(RTL, array=replace(RTL.array, accumulators=7))
    with pytest.raises(UsageError, match="8 columns do not fit the 7 accumulators"):
        outer_products(few, deltas, gradients)
    for sparsity in (-0.1, 1.0):
        with pytest.raises(UsageError, match="is not in 0 to 1"):
            random_steps(3, 8, sparsity, 0)
    with pytest.raises(UsageError, match="leaves 3 active columns for 4 steps"):
        random_steps(4, 8, 0.92, 0)
