"""The processing elements' arithmetic: what one pair of operands adds, and when a result is complete."""

from __future__ import annotations

from typing import Any

from edgelearn.jit import kernel

Scalar = Any

MXV, MTXV, VXV = 0, 1, 2
"""Products: M += W d, W^T CM, CM (x) d."""

STEP, BLOCK, ENTRY = range(3)
"""Where the core is: step, row block, and entry of the lists."""


@kernel
def take_pair(
    product: Scalar, at: Scalar, starts: Scalar, columns: Scalar, values: Scalar, vectors: Scalar, weights: Scalar,
    sums: Scalar, accumulators: Scalar, out: Scalar,
) -> Scalar:  # fmt: skip
    """Multiply on all processing elements, and move `at` (int64 [3]) to the next pair; returns whether a result is out.

    Arrays as in `run_product`; sums int64 [P] and accumulators int64 [N, P] are the elements' own memories, the
    former for MXV and, its first word, for MTXV, the latter for VXV.
    """
    lanes = sums.shape[0]
    column = columns[at[ENTRY]]
    first = at[BLOCK] * lanes
    if product == MXV:
        for p in range(lanes):
            sums[p] += weights[at[BLOCK], column, p] * values[at[ENTRY]]
        at[ENTRY] += 1
        if at[ENTRY] < starts[at[STEP] + 1]:
            return False
        first += at[STEP] * weights.shape[0] * lanes
        for p in range(lanes):
            out[first + p] = sums[p]
            sums[p] = 0
        at[BLOCK] += 1
        at[ENTRY] = starts[at[STEP]]
        return True
    if product == MTXV:
        for p in range(lanes):
            sums[0] += weights[at[BLOCK], column, p] * vectors[at[STEP], first + p]
        at[BLOCK] += 1
        if at[BLOCK] < weights.shape[0]:
            return False
        out[at[ENTRY]] = sums[0]
        sums[0] = 0
        at[BLOCK] = 0
        at[ENTRY] += 1
        return True
    for p in range(lanes):
        accumulators[column, p] += vectors[at[STEP], first + p] * values[at[ENTRY]]
    at[ENTRY] += 1
    if at[ENTRY] < starts[starts.shape[0] - 1]:
        while at[ENTRY] == starts[at[STEP] + 1]:
            at[STEP] += 1
        return False
    columns_in_all = accumulators.shape[0]
    for j in range(columns_in_all):
        for p in range(lanes):
            out[(at[BLOCK] * columns_in_all + j) * lanes + p] = accumulators[j, p]
            accumulators[j, p] = 0
    at[BLOCK] += 1
    at[STEP] = next_step(starts, -1)
    at[ENTRY] = 0
    return True


@kernel
def next_step(starts: Scalar, step: Scalar) -> Scalar:
    """Return the first step after `step` that has an active column, else the number of steps."""
    steps = starts.shape[0] - 1
    step += 1
    while step < steps and starts[step + 1] == starts[step]:
        step += 1
    return step
