"""Weight update of the Delta LSTM, column by column: no dense gradient is ever stored.

Once the backward pass has left CM16 of every frame on the tape, the gradient of a weight column is a sum over
the frames in which that column was active. Each column is summed into one int32 buffer [4H] and applied at
once, with stochastic rounding from a hash of (seed, layer, column, row), so that a run is repeatable and no
column's random numbers depend on which others were skipped.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from edgelearn.engine.fixedpoint import (
    GRADIENT_EXTRA_BITS,
    MASTER_MAX,
    MASTER_MIN,
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    Scalar,
    UInt16Array,
    clamp32,
    column_key,
    random_below_power,
)
from edgelearn.engine.forward import (
    ACTIVE,
    FRAMES_TAPED,
    PASSES,
    SATURATIONS,
    TAPED_ENTRIES,
    LayerArrays,
    TapeArrays,
    TapeLayerArrays,
)
from edgelearn.errors import UsageError
from edgelearn.jit import kernel

MAX_TAPE_FRAMES = 128
"""Most frames that an int32 can sum: |rshift(CM16 d, 6)| <= 2^15 * 32640 / 64, times 128 is < 2^31."""
MAX_MULT = 32767
MAX_SHIFT = 62
BIAS_MULT_BITS = 6
"""Gradients of biases (lsb 2^-6 of CM16, b in Q(13+s)) need 64 times the multiplier of those of masters."""

NO_COLUMN = 0xFFFF
TOUCHED = ACTIVE
"""Counter of `update_layer`: weight columns with an active frame, that is columns read and written."""


class ColumnScratch(NamedTuple):
    """Work space of the update.

    total int32 [4H]: sum of the column at hand; cursor int32 [2, F]: every frame's next entry, and above 16
    bits how many are left, below them its column (NO_COLUMN if none is left); frames uint16 and deltas int16
    [F]: the active frames of the column at hand.
    """

    total: Int32Array
    cursor: Int32Array
    frames: UInt16Array
    deltas: Int16Array


def quantise_rate(rate: float) -> tuple[int, int]:
    """Express a positive rate as mult / 2^shift with 15 significant bits: mult <= 32767, shift in 0..62.

    Raises UsageError if it is not positive or out of range. With CM16 lsb u, a learning rate lr and weights
    in Qs, the rate that `update` wants is lr * u * 2^(s+1).
    """
    if not 0.0 < rate <= MAX_MULT:
        raise UsageError(f"an update rate of {rate!r} is outside (0, {MAX_MULT}]")
    shift = min(15 - math.frexp(rate)[1], MAX_SHIFT)
    mult = round(math.ldexp(rate, shift))
    if mult > MAX_MULT:
        mult, shift = (mult + 1) // 2, shift - 1
    if mult == 0:
        raise UsageError(f"an update rate of {rate!r} is below 2^-{MAX_SHIFT}")
    return mult, shift


@kernel
def _gradient_product(cm16: Scalar, delta: Scalar) -> Scalar:
    """rshift(CM16 * delta, 6) of two int16, as ((p >> 5) + 1) >> 1: the same, and one operation less."""
    half = np.int32(np.int32(np.int32(cm16) * np.int32(delta)) >> (GRADIENT_EXTRA_BITS - 1))
    return np.int32(np.int32(half + np.int32(1)) >> 1)


@kernel
def accumulate_gradient(
    cm16: Int16Array, frames: UInt16Array, deltas: Int16Array, used: Scalar, total: Int32Array
) -> Scalar:
    """Sum one column's gradient: total[row] = sum of rshift(CM16[frame][row] * delta, 6) over `used` frames.

    cm16 int16 [F, 4H], total int32 [4H]; at most MAX_TAPE_FRAMES frames. Returns the number of passes over
    it.
    """
    rows = total.shape[0]
    total[:] = 0
    k = np.int64(0)
    passes = np.int64(0)
    while k + 4 <= used:
        t0, t1, t2, t3 = frames[k], frames[k + 1], frames[k + 2], frames[k + 3]
        d0, d1, d2, d3 = deltas[k], deltas[k + 1], deltas[k + 2], deltas[k + 3]
        for r in range(rows):
            p0 = _gradient_product(cm16[t0, r], d0)
            p1 = _gradient_product(cm16[t1, r], d1)
            p2 = _gradient_product(cm16[t2, r], d2)
            p3 = _gradient_product(cm16[t3, r], d3)
            total[r] = np.int32(total[r] + np.int32(np.int32(p0 + p1) + np.int32(p2 + p3)))
        k += 4
        passes += 1
    while k < used:
        t0, d0 = frames[k], deltas[k]
        for r in range(rows):
            p0 = _gradient_product(cm16[t0, r], d0)
            total[r] = np.int32(total[r] + p0)
        k += 1
        passes += 1
    return passes


@kernel
def update_column(
    hi: Int8Array,
    lo: Int8Array,
    column: Scalar,
    total: Int32Array,
    mult: Scalar,
    shift: Scalar,
    seed: Scalar,
    layer: Scalar,
) -> Scalar:
    """Apply one column's gradient to its masters (Q(s+8), planes hi and lo [N+H, 4H]); returns saturations.

    master -= (total * mult + random) >> shift with random uniform in [0, 2^shift); |total * mult| < 2^46.
    """
    key = column_key(seed, layer, column)
    saturated = np.int32(0)
    for r in range(total.shape[0]):
        change = (np.int64(total[r]) * mult + random_below_power(key, r, shift)) >> shift
        # A change of 2^17 takes any master beyond its limits: from here on 32 bits are enough.
        change = clamp32(change, -(1 << 17), 1 << 17)
        exact = np.int32(np.int32(np.int32(hi[column, r]) << 8) + np.int32(lo[column, r]))
        exact = np.int32(exact - change)
        master = clamp32(exact, MASTER_MIN, MASTER_MAX)
        saturated = np.int32(saturated + np.int32(master != exact))
        high = np.int32(np.int32(master + np.int32(128)) >> 8)
        hi[column, r] = np.int8(high)
        lo[column, r] = np.int8(np.int32(master - np.int32(high << 8)))
    return saturated


@kernel
def update_bias(
    bias: Int32Array,
    grad: Int32Array,
    column: Scalar,
    mult: Scalar,
    shift: Scalar,
    seed: Scalar,
    layer: Scalar,
    limit: Scalar,
) -> Scalar:
    """Apply CM of the first taped frame (G units) to the bias (Q(13+s), within +-limit); returns saturations.

    `column` numbers its random numbers: one past the last weight column.
    """
    key = column_key(seed, layer, column)
    saturated = np.int32(0)
    for r in range(bias.shape[0]):
        scaled = np.int64(grad[r]) * (np.int64(mult) << BIAS_MULT_BITS)
        exact = np.int64(bias[r]) - ((scaled + random_below_power(key, r, shift)) >> shift)
        kept = clamp32(exact, -limit, limit)
        saturated = np.int32(saturated + np.int32(np.int64(kept) != exact))
        bias[r] = kept
    return saturated


@kernel
def _point_cursors(layer: Scalar, tape: TapeArrays, cursor: Int32Array) -> Scalar:
    """Point every taped frame's cursor at its first entry of this layer; returns how many entries there are."""
    position = np.int64(0)
    entries = np.int64(0)
    for t in range(np.int64(tape.fill[FRAMES_TAPED])):
        for below in range(layer):
            position += np.int64(tape.nnz[below, t])
        _set_cursor(tape, cursor, t, position, np.int64(tape.nnz[layer, t]))
        entries += np.int64(tape.nnz[layer, t])
        position += np.int64(tape.nnz[layer, t])
        for above in range(layer + 1, tape.nnz.shape[0]):
            position += np.int64(tape.nnz[above, t])
    return entries


@kernel
def _set_cursor(tape: TapeArrays, cursor: Int32Array, t: Scalar, position: Scalar, left: Scalar) -> None:
    cursor[0, t] = np.int32(position)
    column = np.int64(tape.columns[position]) if left > 0 else np.int64(NO_COLUMN)
    cursor[1, t] = np.int32(left << 16 | column)


@kernel
def _take_column(column: Scalar, frames: Scalar, tape: TapeArrays, scratch: ColumnScratch) -> Scalar:
    """List the frames and deltas of a column, whose turn it is, and move their cursors on; returns how many."""
    used = np.uint64(0)
    for t in range(frames):
        # Written for every frame and kept for the active ones: a branch here would be mispredicted.
        scratch.frames[used] = np.uint16(t)
        used = np.uint64(used + np.uint64(np.int64(scratch.cursor[1, t] & NO_COLUMN) == column))
    for k in range(np.int64(used)):
        frame = np.int64(scratch.frames[k])
        position = np.int64(scratch.cursor[0, frame])
        scratch.deltas[k] = tape.deltas[position]
        _set_cursor(tape, scratch.cursor, frame, position + 1, np.int64(scratch.cursor[1, frame] >> 16) - 1)
    return np.int64(used)


@kernel
def update_layer(
    layer_index: Scalar, layer: LayerArrays, taped: TapeLayerArrays, tape: TapeArrays,
    grad_memory: Int32Array, scratch: ColumnScratch, mult: Scalar, shift: Scalar, seed: Scalar,
    limit: Scalar, counters: Int64Array,
) -> None:  # fmt: skip
    """Update all touched columns and the bias of one layer from the tape; `counters` is added to.

    Entries of a frame are in ascending order of the column, so one walk over all frames' cursors finds each
    column's active frames; a column that was never active is neither read nor written.
    """
    rows = layer.bias.shape[0]
    total = scratch.total[:rows]
    frames = np.int64(tape.fill[FRAMES_TAPED])
    counters[TAPED_ENTRIES + layer_index] += _point_cursors(layer_index, tape, scratch.cursor)
    for column in range(layer.weights_hi.shape[0]):
        used = _take_column(column, frames, tape, scratch)
        if used > 0:
            counters[PASSES + layer_index] += accumulate_gradient(
                taped.gates, scratch.frames, scratch.deltas, used, total
            )
            counters[SATURATIONS] += update_column(
                layer.weights_hi, layer.weights_lo, column, total, mult, shift, seed, layer_index
            )
            counters[TOUCHED + layer_index] += 1
    counters[SATURATIONS] += update_bias(
        layer.bias, grad_memory, layer.weights_hi.shape[0], mult, shift, seed, layer_index, limit
    )
