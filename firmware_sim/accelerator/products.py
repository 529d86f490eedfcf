"""The three sparse products as an accelerator computes them: the integers, the cycles, and what the cycles went on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgelearn.errors import UsageError
from firmware_sim.accelerator.config import AcceleratorConfig
from firmware_sim.accelerator.core import MTXV, MXV, VXV
from firmware_sim.accelerator.machine import CYCLE_KINDS, run_product
from firmware_sim.accelerator.sparse import IntArray, SparseSteps


@dataclass(frozen=True)
class ProductRun:
    """A product that was stepped: result, cycles by kind (int64 [len(CYCLE_KINDS)]) and useful MACs.

    accumulator_cycles: those of `multiply` that clear or read accumulators and multiply nothing.
    """

    result: IntArray
    by_kind: IntArray
    macs: int
    accumulator_cycles: int = 0

    @property
    def cycles(self) -> int:
        """All cycles, from the first command to the last result."""
        return int(self.by_kind.sum())


def multiply(config: AcceleratorConfig, weights: IntArray, deltas: SparseSteps) -> ProductRun:
    """M += W d: W d of every step, int64 [T, rows].

    weights int64 [rows, columns]. Raises UsageError if the widths do not match.
    """
    rows = _rows(weights, deltas)
    blocks = _in_blocks(config, weights)
    out, by_kind = _run(config, MXV, deltas, np.zeros((1, 1), np.int64), blocks, deltas.steps * blocks[:, 0].size)
    return ProductRun(out.reshape(deltas.steps, -1)[:, :rows], by_kind, deltas.entries * rows)


def multiply_transposed(
    config: AcceleratorConfig, weights: IntArray, deltas: SparseSteps, gradients: IntArray
) -> ProductRun:
    """W^T CM: one dot product for each active column of each step, in the order of the lists, int64 [E].

    weights int64 [rows, columns], gradients (CM) int64 [T, rows]. Raises UsageError if the widths do not match.
    """
    rows = _rows(weights, deltas, gradients)
    blocks = _in_blocks(config, weights)
    out, by_kind = _run(config, MTXV, deltas, _padded(config, gradients), blocks, deltas.entries)
    return ProductRun(out, by_kind, deltas.entries * rows)


def outer_products(config: AcceleratorConfig, deltas: SparseSteps, gradients: IntArray) -> ProductRun:
    """CM (x) d, summed over all steps, int64 [rows, columns].

    gradients (CM) int64 [T, rows]. Raises UsageError if the widths do not match, or for more columns than a
    processing element has accumulators.
    """
    if deltas.width > config.array.accumulators:
        raise UsageError(
            f"{deltas.width} columns do not fit the {config.array.accumulators} accumulators of a processing element",
            "set more under [array] in the accelerator's file",
        )
    if gradients.shape[0] != deltas.steps:
        raise UsageError(f"{gradients.shape[0]} gradients do not fit {deltas.steps} steps")
    lists = deltas.with_full_ends() if config.work.dense_accumulators else deltas
    vectors = _padded(config, gradients)
    lanes = config.array.processing_elements
    blocks = vectors.shape[1] // lanes
    shape = np.zeros((blocks, deltas.width, 0), np.int64)
    out, by_kind = _run(config, VXV, lists, vectors, shape, blocks * deltas.width * lanes)
    result = out.reshape(blocks, deltas.width, lanes).transpose(0, 2, 1).reshape(-1, deltas.width)
    rows = gradients.shape[1]
    return ProductRun(result[:rows], by_kind, deltas.entries * rows, (lists.entries - deltas.entries) * blocks)


def ideal_cycles(config: AcceleratorConfig, macs: int) -> float:
    """Cycles in which all processing elements together do so many MACs."""
    return macs / config.array.processing_elements


def _run(
    config: AcceleratorConfig, product: int, deltas: SparseSteps, vectors: IntArray, weights: IntArray, size: int
) -> tuple[IntArray, IntArray]:
    out = np.zeros(size, np.int64)
    by_kind = np.zeros(len(CYCLE_KINDS), np.int64)
    run_product(
        product, config.timing, deltas.starts, deltas.columns, deltas.values, vectors, weights, out, by_kind
    )  # fmt: skip
    return out, by_kind


def _rows(weights: IntArray, deltas: SparseSteps, gradients: IntArray | None = None) -> int:
    rows, columns = map(int, weights.shape)
    if columns != deltas.width:
        raise UsageError(f"weights of {columns} columns do not fit vectors of {deltas.width}")
    if gradients is not None and gradients.shape != (deltas.steps, rows):
        raise UsageError(f"gradients {list(gradients.shape)} do not fit {deltas.steps} steps of {rows} rows")
    return rows


def _in_blocks(config: AcceleratorConfig, weights: IntArray) -> IntArray:
    """Weights as they lie in the DRAM, [block][column][PE], rows that are missing in the last block 0."""
    lanes = config.array.processing_elements
    rows, columns = weights.shape
    padded = np.zeros((-(-rows // lanes) * lanes, columns), np.int64)
    padded[:rows] = weights
    return np.ascontiguousarray(padded.reshape(-1, lanes, columns).transpose(0, 2, 1))


def _padded(config: AcceleratorConfig, gradients: IntArray) -> IntArray:
    lanes = config.array.processing_elements
    steps, rows = gradients.shape
    padded = np.zeros((steps, -(-rows // lanes) * lanes), np.int64)
    padded[:, :rows] = gradients
    return padded
