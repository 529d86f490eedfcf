"""The matrix products alone, as the engine runs them, and the most that this core can do of such products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgelearn.benchmarking.workload import Runner
from edgelearn.engine.arrays import FRAMES_TAPED, GradientArrays, LayerArrays, TapeArrays, TapeLayerArrays
from edgelearn.engine.backward import backward_columns, first_hidden_entry
from edgelearn.engine.fixedpoint import Int8Array, Int16Array, Int32Array, UInt16Array
from edgelearn.engine.forward import accumulate_columns
from edgelearn.engine.int32 import Scalar
from edgelearn.engine.optimizer import accumulate_gradient
from edgelearn.jit import kernel

PEAK_COLUMNS, PEAK_ROWS, PEAK_PASSES = 8, 512, 200
"""4 KB of weights and 2 KB of sums: both stay in L1."""


@kernel
def forward_products(layer: LayerArrays, tape: TapeArrays, memory: Int32Array) -> None:
    """M += W d of every taped frame."""
    start = np.int64(0)
    for t in range(np.int64(tape.fill[FRAMES_TAPED])):
        stop = start + np.int64(tape.nnz[0, t])
        accumulate_columns(layer.weights_hi, tape.columns[start:stop], tape.deltas[start:stop], stop - start, memory)
        start = stop


@kernel
def backward_products(
    layer: LayerArrays, taped: TapeLayerArrays, tape: TapeArrays, grad: GradientArrays, inputs: Scalar
) -> None:
    """Cd = W^T CM of every taped frame but the first, for the h columns."""
    start = np.int64(0)
    for t in range(np.int64(tape.fill[FRAMES_TAPED])):
        stop = start + np.int64(tape.nnz[0, t])
        if t > 0:
            middle = first_hidden_entry(tape.columns, start, stop, inputs)
            backward_columns(
                layer.weights_hi, layer.weight_shift, taped.gates[t],
                tape.columns, middle, stop, inputs, grad.h_hat, grad.h,
            )  # fmt: skip
        start = stop


@kernel
def gradient_products(
    cm16: Int16Array, ends: NDArray[np.int64], frames: UInt16Array, deltas: Int16Array, total: Int32Array
) -> None:
    """CW += CM d of every column, whose frames and deltas end at `ends`."""
    start = np.int64(0)
    for stop in ends:
        accumulate_gradient(cm16, frames[start:stop], deltas[start:stop], stop - start, total)
        start = stop


@kernel
def peak_products(
    weights: Int8Array, columns: UInt16Array, deltas: Int16Array, total: Int32Array, passes: Scalar
) -> None:
    """The multiply-accumulate of M += W d, int8 * int16 -> int32, on the same eight columns over and over."""
    for _ in range(passes):
        accumulate_columns(weights, columns, deltas, PEAK_COLUMNS, total)


class MatrixPart:
    """The three matrix products of one learning step, from a tape that was recorded and gone back over."""

    def __init__(self, runner: Runner) -> None:
        runner.learn()
        self._runner = runner
        network, tape = runner.network, runner.tape
        entries = [tape.frame_deltas(0, t) for t in range(tape.frames_taped)]
        frames = np.repeat(np.arange(len(entries)), [len(columns) for columns, _ in entries])
        columns = np.concatenate([columns for columns, _ in entries])
        order = np.argsort(columns, kind="stable")
        self._frames = frames[order].astype(np.uint16)
        self._deltas = np.concatenate([deltas for _, deltas in entries])[order]
        width = runner.work.layer.inputs + runner.work.layer.hidden
        self._ends = np.cumsum(np.bincount(columns, minlength=width)).astype(np.int64)
        later = sum(int((c >= runner.work.layer.inputs).sum()) for c, _ in entries[1:])
        self.macs = 4 * runner.work.layer.hidden * (2 * len(columns) + later)
        self._memory = runner.state.layers[0].memory.copy()
        self._total = np.zeros(4 * runner.work.layer.hidden, np.int32)
        self._network = network

    def __call__(self) -> None:
        """Run the three of them."""
        runner = self._runner
        layer, taped, tape = self._network.layers[0], runner.tape.layers[0], runner.tape.arrays
        forward_products(layer, tape, self._memory)
        backward_products(layer, taped, tape, runner.gradients.layers[0], runner.work.layer.inputs)
        gradient_products(taped.gates, self._ends, self._frames, self._deltas, self._total)


class Peak:
    """The multiply-accumulates of `peak_products`, to be timed."""

    macs = PEAK_COLUMNS * PEAK_ROWS * PEAK_PASSES

    def __init__(self) -> None:
        rng = np.random.default_rng(3)
        self._weights = rng.integers(-127, 128, (PEAK_COLUMNS, PEAK_ROWS)).astype(np.int8)
        self._columns = np.arange(PEAK_COLUMNS, dtype=np.uint16)
        self._deltas = rng.integers(-99, 100, PEAK_COLUMNS).astype(np.int16)
        self._total = np.zeros(PEAK_ROWS, np.int32)

    def __call__(self) -> None:
        """Run them."""
        self._total[:] = 0
        peak_products(self._weights, self._columns, self._deltas, self._total, PEAK_PASSES)
