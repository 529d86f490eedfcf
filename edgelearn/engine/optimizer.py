"""Weight update of the Delta LSTM, column by column.

Once the backward pass has left CM16 of every frame on the tape, the gradient of a weight column is a sum over the
frames in which that column was active: it is summed into one int32 buffer [4H] and applied at once, and no dense
gradient is ever stored. A tape with checkpoints cannot keep CM16, so there the sums of all columns come from a dense
buffer; they are the same integers. Rounding is stochastic, from a hash of (seed, layer, column, row), so that a run is
repeatable and no column's random numbers depend on which others were skipped.
"""

from __future__ import annotations

import numpy as np

from edgelearn.engine.arrays import (
    ACTIVE,
    FRAMES_TAPED,
    GRADIENT_ROWS,
    LAYER_ROWS,
    PASSES,
    SATURATIONS,
    TAPE_ROWS,
    TAPED_ENTRIES,
    TAPED_ROWS,
    ColumnScratch,
    TapeArrays,
    column_scratch_at,
    gradient_at,
    int16_rows_at,
    int32_at,
    int32_rows_at,
    layer_at,
    tape_at,
    taped_at,
)
from edgelearn.engine.fixedpoint import (
    BIAS_LIMIT,
    MASTER_MAX,
    MASTER_MIN,
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    UInt16Array,
    clamp32,
    column_key,
    gradient_product,
    hash32,
    random_bits,
)
from edgelearn.engine.int32 import Scalar, add32, left32, max32, min32, mul32, right32, sub32
from edgelearn.engine.pairs import BLOCK_ROWS, HAS_PAIRS, add_four_frames, add_one_frame, add_two_frames
from edgelearn.jit import kernel

MAX_TAPE_FRAMES = 1024
"""A gradient sum of so many frames is below 2^25: |rshift(CM16 d, 15)| <= 32640."""
MAX_MULT = 32767
SHIFT_RANGE = (4, 59)
"""A rate is mult / 2^shift."""
CHANGE_LIMIT = 1 << 14
"""Most that one step moves a master: 1.0 at s = 6."""
VELOCITY_BITS = 6
"""A velocity's last bit is 2^-6 of a master's."""
BIAS_SHIFT = 3
"""Gradients of biases (lsb 2^-6 of CM16, b in Q(13+s)) need 1/8 of the rate of those of masters (2^2 of it, Q(s+8))."""

NO_COLUMN = 0xFFFF
TOUCHED = ACTIVE
"""Counter of `update_layer`: weight columns with an active frame, that is columns read and written."""


@kernel
def accumulate_gradient(
    cm16: Int16Array, frames: UInt16Array, deltas: Int16Array, used: Scalar, total: Int32Array
) -> Scalar:
    """Sum one column's gradient: total[row] = sum of rshift(CM16[frame][row] * delta, 15) over `used` frames.

    cm16 int16 [F, 4H], total int32 [4H]; at most MAX_TAPE_FRAMES frames. Returns the number of passes over
    it.
    """
    rows = total.shape[0]
    start = rows // BLOCK_ROWS * BLOCK_ROWS if HAS_PAIRS else 0
    total[:] = 0
    k = np.int64(0)
    passes = np.int64(0)
    while k + 4 <= used:
        if HAS_PAIRS:
            add_four_frames(cm16, frames, deltas, k, total)
        t0, t1, t2, t3 = frames[k], frames[k + 1], frames[k + 2], frames[k + 3]
        d0, d1, d2, d3 = deltas[k], deltas[k + 1], deltas[k + 2], deltas[k + 3]
        for r in range(start, rows):
            p01 = add32(gradient_product(cm16[t0, r], d0), gradient_product(cm16[t1, r], d1))
            p23 = add32(gradient_product(cm16[t2, r], d2), gradient_product(cm16[t3, r], d3))
            total[r] = add32(total[r], add32(p01, p23))
        k += 4
        passes += 1
    if k + 2 <= used:
        if HAS_PAIRS:
            add_two_frames(cm16, frames, deltas, k, total)
        t0, t1, d0, d1 = frames[k], frames[k + 1], deltas[k], deltas[k + 1]
        for r in range(start, rows):
            p01 = add32(gradient_product(cm16[t0, r], d0), gradient_product(cm16[t1, r], d1))
            total[r] = add32(total[r], p01)
        k += 2
        passes += 1
    if k < used:
        if HAS_PAIRS:
            add_one_frame(cm16, frames, deltas, k, total)
        t0, d0 = frames[k], deltas[k]
        for r in range(start, rows):
            total[r] = add32(total[r], gradient_product(cm16[t0, r], d0))
        passes += 1
    return passes


@kernel
def _move_master(hi: Int8Array, lo: Int8Array, r: Scalar, change: Scalar) -> Scalar:
    """Subtract a change (|change| < 2^30) from the master at r of a column; returns 1 if it saturated, else 0."""
    exact = sub32(add32(left32(hi[r], 8), lo[r]), change)
    master = min32(max32(exact, MASTER_MIN), MASTER_MAX)
    high = right32(add32(master, 128), 8)
    hi[r] = np.int8(high)
    lo[r] = np.int8(sub32(master, left32(high, 8)))
    return np.int32(master != exact)


@kernel
def _scaling(shift: Scalar) -> Scalar:
    """What `_scaled` needs of a shift: a limit, and bits to go left or right after 2^15 was divided by."""
    if shift >= 32:
        return np.int32(2**31 - 1), np.int32(0), np.int32(shift - 31)
    return np.int32((CHANGE_LIMIT << 16) >> (31 - shift)), np.int32(31 - shift), np.int32(0)


@kernel
def _scaled(total: Scalar, mult: Scalar, scaling: Scalar) -> Scalar:
    """total * mult / 2^(shift-16), rounded down, in 32 bits: the change of a master with 16 fraction bits.

    With total = 2^15 high + low, total * mult / 2^15 is high * mult + low * mult / 2^15, below 2^31 in magnitude; where
    it has to grow after that, it is limited so that no change goes beyond CHANGE_LIMIT.
    """
    limit, left, right = scaling
    high, low = right32(total, 15), total & np.int32(32767)
    quotient = add32(mul32(high, mult), right32(mul32(low, mult), 15))
    return right32(left32(min32(max32(quotient, sub32(0, limit)), limit), left), right)


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

    master -= (floor(total * mult / 2^(shift-16)) + random) >> 16 with random uniform in [0, 2^16): one draw of 32 bits
    serves a row of the first half and the row of the second half across from it.
    """
    key, scaling = column_key(seed, layer, column), _scaling(shift)
    half = total.shape[0] // 2
    near, far = total[:half], total[half:]
    near_hi, far_hi = hi[column, :half], hi[column, half:]
    near_lo, far_lo = lo[column, :half], lo[column, half:]
    saturated = np.int32(0)
    for r in range(half):
        bits = random_bits(key, r)
        change = right32(add32(_scaled(near[r], mult, scaling), bits & np.uint32(0xFFFF)), 16)
        saturated = add32(saturated, _move_master(near_hi, near_lo, r, change))
        change = right32(add32(_scaled(far[r], mult, scaling), bits >> np.uint32(16)), 16)
        saturated = add32(saturated, _move_master(far_hi, far_lo, r, change))
    return saturated


@kernel
def update_column_with_momentum(
    hi: Int8Array, lo: Int8Array, velocity: Int16Array, column: Scalar, total: Int32Array,
    mult: Scalar, shift: Scalar, momentum_q15: Scalar, seed: Scalar, layer: Scalar,
) -> Scalar:  # fmt: skip
    """Heavy ball: v = momentum v + rate G, master -= v, each rounded stochastically; returns saturations.

    velocity int16 [N+H, 4H] in units of 2^-6 of a master's last bit, limited to int16. The rate's part of v has 10
    fraction bits more and takes 10 random bits, the momentum's 15, the master's 6.
    """
    key, scaling = column_key(seed, layer, column), _scaling(shift)
    mine_hi, mine_lo, mine = hi[column], lo[column], velocity[column]
    saturated = np.int32(0)
    for r in range(total.shape[0]):
        bits = random_bits(key, r)
        pushed = right32(add32(_scaled(total[r], mult, scaling), bits & np.uint32(0x3FF)), 16 - VELOCITY_BITS)
        kept = right32(add32(mul32(mine[r], momentum_q15), (bits >> np.uint32(10)) & np.uint32(0x7FFF)), 15)
        exact = add32(kept, pushed)
        speed = min32(max32(exact, -32768), 32767)
        mine[r] = np.int16(speed)
        change = right32(add32(speed, bits >> np.uint32(26)), VELOCITY_BITS)
        saturated = add32(saturated, _move_master(mine_hi, mine_lo, r, change))
        saturated = add32(saturated, np.int32(speed != exact))
    return saturated


@kernel
def _bias_change(grad: Scalar, mult: Scalar, shift: Scalar, bits: Scalar) -> Scalar:
    """Round grad * mult / 2^(shift+3) stochastically, as int64: up to 32 random bits in the place of those dropped."""
    dropped = shift + BIAS_SHIFT
    noise = np.int64(bits) << (dropped - 32) if dropped >= 32 else np.int64(bits) >> (32 - dropped)
    return (np.int64(grad) * np.int64(mult) + noise) >> dropped


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
        exact = np.int64(bias[r]) - _bias_change(grad[r], mult, shift, random_bits(key, r))
        kept = clamp32(exact, -limit, limit)
        saturated = add32(saturated, np.int32(np.int64(kept) != exact))
        bias[r] = kept
    return saturated


@kernel
def update_bias_with_momentum(
    bias: Int32Array, velocity: Int32Array, grad: Int32Array, column: Scalar,
    mult: Scalar, shift: Scalar, momentum_q15: Scalar, seed: Scalar, layer: Scalar, limit: Scalar,
) -> Scalar:  # fmt: skip
    """Heavy ball for the bias: velocity int32 [4H] in Q(13+s), within +-2^30; returns saturations."""
    key = column_key(seed, layer, column)
    saturated = np.int32(0)
    for r in range(bias.shape[0]):
        bits = random_bits(key, r)
        kept = (np.int64(velocity[r]) * np.int64(momentum_q15) + np.int64(hash32(bits) & np.uint32(0x7FFF))) >> 15
        exact = kept + _bias_change(grad[r], mult, shift, bits)
        speed = clamp32(exact, -BIAS_LIMIT, BIAS_LIMIT)
        saturated = add32(saturated, np.int32(np.int64(speed) != exact))
        velocity[r] = speed
        exact = np.int64(bias[r]) - np.int64(speed)
        bias[r] = clamp32(exact, -limit, limit)
        saturated = add32(saturated, np.int32(np.int64(bias[r]) != exact))
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
def _any(total: Int32Array) -> Scalar:
    bits = np.int32(0)
    for r in range(total.shape[0]):
        bits |= total[r]
    return bits != 0


@kernel
def update_call(
    network: Int64Array, tape_places: Int64Array, gradient_places: Int64Array, weight_places: Int64Array,
    velocity_places: Int64Array, layer_index: Scalar, mult: Scalar, shift: Scalar, momentum_q15: Scalar,
    seed: Scalar, limit: Scalar, counters: Int64Array,
) -> None:  # fmt: skip
    """Update one layer's weights and bias after a backward pass; `counters` is added to.

    Column sums come from weight_places (dense gradients, [layers or 0, 3]) or from CM16 on the tape: entries of a frame
    are in ascending order of the column, so one walk over all frames' cursors finds each column's active frames. A
    column that was never active is neither read nor written, but with momentum (velocity_places [2 layers or 0, 3])
    every column moves.
    """
    shared = network.shape[0] // LAYER_ROWS * TAPED_ROWS
    layer, cm16 = layer_at(network, layer_index * LAYER_ROWS), taped_at(tape_places, layer_index * TAPED_ROWS).gates
    tape, scratch = tape_at(tape_places, shared), column_scratch_at(tape_places, shared + TAPE_ROWS)
    grad_bias = gradient_at(gradient_places, layer_index * GRADIENT_ROWS).memory
    dense, fast = weight_places.shape[0] > 0, velocity_places.shape[0] > 0
    # Without the one or the other, stand-ins of the right type that are never looked at.
    sums = int32_rows_at(weight_places if dense else tape_places, layer_index if dense else shared)
    velocity = int16_rows_at(velocity_places if fast else tape_places, 2 * layer_index if fast else 0)
    rows, columns = layer.bias.shape[0], layer.weights_hi.shape[0]
    frames = np.int64(tape.fill[FRAMES_TAPED])
    counters[TAPED_ENTRIES + layer_index] += _point_cursors(layer_index, tape, scratch.cursor)
    for column in range(columns):
        total = scratch.total[:rows]
        if dense:
            total = sums[column]
            touched = _any(total)
        else:
            used = _take_column(column, frames, tape, scratch)
            touched = used > 0
            if touched or fast:
                counters[PASSES + layer_index] += accumulate_gradient(cm16, scratch.frames, scratch.deltas, used, total)
        if fast:
            counters[SATURATIONS] += update_column_with_momentum(
                layer.weights_hi, layer.weights_lo, velocity, column, total,
                mult, shift, momentum_q15, seed, layer_index,
            )  # fmt: skip
        elif touched:
            counters[SATURATIONS] += update_column(
                layer.weights_hi, layer.weights_lo, column, total, mult, shift, seed, layer_index
            )
        counters[TOUCHED + layer_index] += np.int64(touched or fast)
    if fast:
        counters[SATURATIONS] += update_bias_with_momentum(
            layer.bias, int32_at(velocity_places, 2 * layer_index + 1), grad_bias, columns,
            mult, shift, momentum_q15, seed, layer_index, limit,
        )  # fmt: skip
    else:
        counters[SATURATIONS] += update_bias(layer.bias, grad_bias, columns, mult, shift, seed, layer_index, limit)
