"""A whole learning step: its parts, its masks, and the integers of the engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgelearn.audio.clips import read_clip
from edgelearn.audio.frontend import Frontend
from edgelearn.device.arena import Arena
from edgelearn.engine.network import Network, NetworkConfig
from edgelearn.engine.optimizer import MAX_TAPE_FRAMES
from edgelearn.errors import UsageError
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from firmware_sim.accelerator import sheet
from firmware_sim.accelerator.config import AcceleratorConfig, load_accelerator
from firmware_sim.accelerator.machine import CYCLE_KINDS
from firmware_sim.accelerator.products import multiply, multiply_transposed, outer_products
from firmware_sim.accelerator.sparse import SparseSteps, random_steps
from firmware_sim.accelerator.step import KINDS, PHASES, compare
from firmware_sim.accelerator.trace import Trace, random_trace, utterance_trace
from firmware_sim.accelerator.vector import (
    ELEMENTWISE,
    ENCODE,
    UPDATE,
    elementwise_cycles,
    encoder_cycles,
    update_cycles,
)

RTL = load_accelerator("reneta_rtl")
DRAM = load_accelerator("reneta_dram")
TAKE = BASE_MODEL.parent / "demo" / "computer_flite-slt_take1.wav"
EXAMPLE = [(32, 128), (128, 128)]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(BASE_MODEL)


@pytest.fixture(scope="module")
def trace(model: Model) -> Trace:
    return utterance_trace(model, TAKE, None)


def test_the_design_sheet_example() -> None:
    """The published figures: N 32, two layers of 128, 64 PEs, sparsity 0.8; of the dense ones the matrix part."""
    assert sheet.forward_cycles(EXAMPLE, 64, 0.2) == pytest.approx(725.6, abs=1e-9)
    assert sheet.backward_cycles(EXAMPLE, 64, 0.2) == pytest.approx(1421.2, abs=1e-9)
    assert sheet.product_cycles(EXAMPLE, 64, 1) == 3328
    assert 2 * sheet.product_cycles(EXAMPLE, 64, 1) == 6656
    assert (sheet.forward_cycles(EXAMPLE, 64, 1), sheet.backward_cycles(EXAMPLE, 64, 1)) == (3388, 6746)


def test_the_cycles_are_those_of_the_sheet_and_what_it_leaves_out() -> None:
    """Multiplications and element-wise words, by themselves, are what the sheet has; the whole is more."""
    config, frames = load_accelerator("reneta_sheet"), 50
    given = random_trace(EXAMPLE, frames, 0.8, 1, all_inputs=True)
    kinds = dict(zip(KINDS, compare(config, given).sparse.cycles.sum(axis=0).tolist(), strict=True))
    row_blocks = 4 * 128 // 64
    # nothing goes back through Wh before the first frame
    entries = [3 * (layer.x.entries + layer.h.entries) - len(layer.h.step(0)[0]) for layer in given.layers]
    assert kinds["multiply"] == row_blocks * sum(entries)
    cell, keep_h, keep_x = 12 + 2 + 1 + 1 + 3 + 12, 4, 4
    words = 2 * 128 // 64  # of a vector of H, both layers; one of N is a word in the lowest, two in the other
    assert kinds["elementwise"] == frames * (cell * words + keep_x * 3) + (frames - 1) * keep_h * words
    by_sheet = sheet.forward_cycles(EXAMPLE, 64, 0.2) + sheet.backward_cycles(EXAMPLE, 64, 0.2)
    assert (kinds["multiply"] + kinds["elementwise"]) / frames == pytest.approx(by_sheet, rel=0.01)
    assert sum(kinds.values()) > 1.2 * frames * by_sheet


def test_the_products_of_an_utterance_are_the_engines(model: Model, trace: Trace) -> None:
    """M of every frame as the network's own, CM (x) d and W^T CM as numpy has them."""
    layer = trace.layers[0]
    n = layer.inputs
    frames = Frontend(model.frontend, Arena(1 << 22)).push(read_clip(TAKE))
    network = Network(model.network, Arena(1 << 22))
    network.load(model.params)
    state = network.new_state("state")
    sums = multiply(RTL, layer.weights[:, :n], layer.x).result + multiply(RTL, layer.weights[:, n:], layer.h).result
    memory = model.params["layer0.bias"].astype(np.int64)
    for t in range(trace.frames):
        network.forward(state, frames[t : t + 1])
        memory = memory + sums[t]
        assert np.array_equal(state.layers[0].memory, memory)
    for columns, lists in ((slice(0, n), layer.x), (slice(n, None), layer.h)):
        assert np.array_equal(outer_products(RTL, lists, layer.gradients).result, layer.gradients.T @ lists.dense())
        step = np.repeat(np.arange(lists.steps), np.diff(lists.starts))
        back = multiply_transposed(RTL, layer.weights[:, columns], lists, layer.gradients)
        assert np.array_equal(back.result, (layer.gradients @ layer.weights[:, columns])[step, lists.columns])


@pytest.mark.parametrize("config", [RTL, DRAM], ids=lambda config: config.name)
def test_the_parts_are_the_whole(config: AcceleratorConfig, trace: Trace) -> None:
    found = compare(config, trace)
    for step in (found.sparse, found.dense):
        assert step.cycles.shape == (len(PHASES), len(KINDS))
        assert step.cycles.min() >= 0
        assert sum(step.phase(name) for name in PHASES) == step.total
    assert sum(found.losses().values()) == pytest.approx(found.sparse.total - found.occupancy * found.dense.total)
    # every multiplication takes its place in a cycle of all elements, and no more of them
    assert found.sparse.cycles[:, 0].sum() * config.array.processing_elements == found.sparse.macs
    assert found.dense.cycles[:, 0].sum() * config.array.processing_elements == found.dense.macs
    assert 1 < found.speed_up < found.ideal_speed_up


def test_what_the_test_bench_leaves_out_is_counted_where_it_belongs(trace: Trace) -> None:
    ideal, real = compare(RTL, trace).sparse.cycles, compare(DRAM, trace).sparse.cycles
    kinds = {kind: (ideal[:, k].sum(), real[:, k].sum()) for k, kind in enumerate(KINDS)}
    for kind in ("weights", "writes", "accumulators"):
        assert kinds[kind][0] == 0 < kinds[kind][1]
    layer = trace.layers[0]
    ends = sum(
        2 * lists.width - len(lists.step(0)[0]) - len(lists.step(lists.steps - 1)[0]) for lists in (layer.x, layer.h)
    )
    assert kinds["accumulators"][1] == ends * 4 * layer.hidden // 16
    for kind in ("multiply", "elementwise", "encode", "update"):
        assert kinds[kind][0] == kinds[kind][1] > 0


@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.9])
def test_thresholds_make_an_utterance_as_sparse_as_asked(model: Model, wanted: float) -> None:
    assert utterance_trace(model, TAKE, wanted).sparsity == pytest.approx(wanted, abs=0.005)


def test_the_masks_are_those_of_the_network(model: Model, trace: Trace) -> None:
    """As many columns as its own counters have seen; and with thresholds 0 every one."""
    network = Network(model.network, Arena(1 << 22))
    network.load(model.params)
    frames = Frontend(model.frontend, Arena(1 << 22)).push(read_clip(TAKE))
    counts = network.forward(network.new_state("state"), frames)
    assert trace.sparsity == pytest.approx(counts.sparsity)
    assert trace.frames == len(frames)
    dense = trace.dense()
    assert dense.sparsity == 0
    assert np.array_equal(dense.layers[0].x.dense(), trace.layers[0].x.dense())


def test_an_utterance_that_is_too_long_or_never_so_sparse(model: Model, tmp_path: Path) -> None:
    import wave

    long = tmp_path / "long.wav"
    with wave.open(str(long), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(
            np.random.default_rng(1).integers(-999, 999, 320 * (MAX_TAPE_FRAMES + 9)).astype("<i2").tobytes()
        )
    with pytest.raises(UsageError, match=rf"frames, a learning step takes 1 to {MAX_TAPE_FRAMES}\n.* s"):
        utterance_trace(model, long, None)
    with pytest.raises(UsageError, match="is not in 0 to 1"):
        utterance_trace(model, TAKE, 1.0)
    with pytest.raises(UsageError, match="nothing is left to multiply"):
        utterance_trace(model, TAKE, 0.99999)
    layer = replace(model.network.layers[0], theta_x_q13=0, theta_h_q13=0)
    with pytest.raises(UsageError, match="no thresholds make this network skip 50%"):
        utterance_trace(replace(model, network=NetworkConfig((layer,))), TAKE, 0.5)


def test_vector_work_in_closed_form() -> None:
    """Sixteen elements a cycle; a word waits six cycles for itself in the pass before."""
    cycles = elementwise_cycles(RTL, [128, 128])
    assert (cycles.sum(), cycles[ELEMENTWISE]) == (2 + 16 + 6, 16)
    cycles = elementwise_cycles(RTL, [16, 16, 16])
    assert (cycles.sum(), cycles[ELEMENTWISE]) == (2 + 1 + 7 + 7 + 6, 3)
    assert elementwise_cycles(RTL, [17])[ELEMENTWISE] == 2
    # 40 elements are three words to compare; the first has five deltas to write, the others none and one
    cycles = encoder_cycles(RTL, 40, np.array([0, 1, 2, 3, 15, 39]))
    assert (cycles.sum(), cycles[ENCODE]) == (2 + 7 + 3, 7)
    cycles = update_cycles(DRAM, 512, 160)
    assert (cycles.sum(), cycles[UPDATE]) == (2 + 80 + 2 * 32 * 160 + 6, 2 * 32 * 160)
    narrow = replace(DRAM, memory=replace(DRAM.memory, word_bits=64))
    assert update_cycles(narrow, 512, 160)[UPDATE] == 4 * cycles[UPDATE]


def test_a_narrow_memory_is_what_the_products_wait_for() -> None:
    """With a quarter of the width, the weights of each pair take four cycles."""
    narrow = replace(RTL, memory=replace(RTL.memory, word_bits=64))
    weights, deltas = np.ones((64, 32), np.int64), random_steps(16, 32, 0.5, 1)
    run = multiply(narrow, weights, deltas)
    assert 4 * deltas.entries * 4 <= run.cycles <= 4 * deltas.entries * 4 + 40 * 16
    assert run.by_kind[CYCLE_KINDS.index("weights")] > 0.65 * run.cycles


def test_lists_keep_what_they_are_given() -> None:
    steps = SparseSteps.from_mask(np.array([[True, False, True], [False] * 3]), np.arange(6).reshape(2, 3))
    assert steps.dense().tolist() == [[0, 0, 2], [0, 0, 0]]
    assert (steps.entries, steps.sparsity) == (2, pytest.approx(2 / 3))
    full = steps.with_full_ends()
    assert full.entries == 6
    assert full.dense().tolist() == steps.dense().tolist()
    assert random_steps(7, 9, 0.7, 3).entries == 19
    assert np.diff(random_steps(7, 9, 0.88, 3).starts).min() >= 1
