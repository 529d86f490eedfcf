"""Forward kernels of the Delta LSTM: encode deltas, add the active columns to M, and step the cell.

Source: Chen et al., AAAI 2024 (arXiv 2312.09391), forward equations. Shapes as in `arrays.py`.
"""

from __future__ import annotations

import numpy as np

from edgelearn.engine.arrays import (
    ACTIVE,
    BACKWARD_DONE,
    ENTRIES_USED,
    FRAMES,
    FRAMES_LEFT_OUT,
    FRAMES_TAPED,
    LAYER_ROWS,
    PASSES,
    SATURATIONS,
    SCRATCH_ROWS,
    STATE_ROWS,
    TAPED_ENTRIES,
    TAPED_FRAMES,
    TAPED_ROWS,
    LayerArrays,
    ScratchArrays,
    StateArrays,
    TapeArrays,
    TapeLayerArrays,
    counters_at,
    layer_at,
    scratch_at,
    state_at,
    tape_at,
    taped_at,
)
from edgelearn.engine.fixedpoint import (
    FEATURE_TO_ACTIVATION,
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    UInt16Array,
    rshift32,
    sigmoid_q15,
    tanh_q15,
)
from edgelearn.engine.int32 import Scalar, add32, left32, max32, min32, mul32, right32, sub32
from edgelearn.engine.pairs import (
    BLOCK_ROWS,
    HAS_PAIRS,
    add_eight_columns,
    add_four_columns,
    add_one_column,
    add_two_columns,
)
from edgelearn.jit import kernel

OK, WRONG_SHAPE, TAPE_NOT_RESET = 0, 1, 2
"""What a call of `stream_call` or `taped_call` found wrong, before it did anything."""


@kernel
def gather_deltas(
    source: Scalar, scale_bits: Scalar, transmitted: Int16Array, theta: Scalar, base: Scalar,
    columns: UInt16Array, deltas: Int16Array, used: Scalar,
) -> Scalar:  # fmt: skip
    """List the elements of `source` (scaled to Q13) that moved by at least theta, and transmit them.

    source int8 or int16 [n], transmitted int16 [n] Q13 (updated); entries are appended to columns and deltas
    from `used` on, with columns counted from `base`; there is room for n. Returns the new `used`. A delta
    fits int16: -2^14 <= x <= 2^14 - 128 gives |dx| <= 32640, |h| <= 2^13 gives |dh| <= 2^14.
    """
    limit = np.int32(theta)
    every = theta == 0
    room = deltas[used:]
    for j in range(source.shape[0]):
        delta = sub32(left32(source[j], scale_bits), transmitted[j])
        sent = delta if max32(delta, sub32(0, delta)) >= limit else np.int32(0)
        transmitted[j] = np.int16(add32(transmitted[j], sent))
        room[j] = np.int16(sent)
    kept = np.uint64(0)
    for j in range(source.shape[0]):
        # Written for every element and kept for the active ones: a branch here would be mispredicted.
        sent = room[j]
        room[kept] = sent
        columns[np.uint64(used) + kept] = np.uint16(base + j)
        kept = np.uint64(kept + np.uint64(every or sent != 0))
    return used + np.int64(kept)


@kernel
def accumulate_columns(
    weights_hi: Int8Array, columns: UInt16Array, deltas: Int16Array, used: Scalar, memory: Int32Array
) -> Scalar:
    """Add weights_hi[column] * delta of `used` entries to M; returns the number of passes over M.

    Eight columns go into a pass, then four, two and one, so that M is loaded and stored once for them. |hi| <= 127 and
    |delta| < 2^15 keep a product below 2^22; for the sums see `fixedpoint.bias_limit`.
    """
    rows = memory.shape[0]
    # Whole blocks by pairs of columns where the processor can, the rows that are left by plain loops.
    start = rows // BLOCK_ROWS * BLOCK_ROWS if HAS_PAIRS else 0
    k = np.int64(0)
    passes = np.int64(0)
    while k + 8 <= used:
        if HAS_PAIRS:
            add_eight_columns(weights_hi, columns, deltas, k, memory)
        c0, c1, c2, c3 = columns[k], columns[k + 1], columns[k + 2], columns[k + 3]
        c4, c5, c6, c7 = columns[k + 4], columns[k + 5], columns[k + 6], columns[k + 7]
        d0, d1, d2, d3 = deltas[k], deltas[k + 1], deltas[k + 2], deltas[k + 3]
        d4, d5, d6, d7 = deltas[k + 4], deltas[k + 5], deltas[k + 6], deltas[k + 7]
        for r in range(start, rows):
            p01 = add32(mul32(weights_hi[c0, r], d0), mul32(weights_hi[c1, r], d1))
            p23 = add32(mul32(weights_hi[c2, r], d2), mul32(weights_hi[c3, r], d3))
            p45 = add32(mul32(weights_hi[c4, r], d4), mul32(weights_hi[c5, r], d5))
            p67 = add32(mul32(weights_hi[c6, r], d6), mul32(weights_hi[c7, r], d7))
            memory[r] = add32(memory[r], add32(add32(p01, p23), add32(p45, p67)))
        k += 8
        passes += 1
    if k + 4 <= used:
        if HAS_PAIRS:
            add_four_columns(weights_hi, columns, deltas, k, memory)
        c0, c1, c2, c3 = columns[k], columns[k + 1], columns[k + 2], columns[k + 3]
        d0, d1, d2, d3 = deltas[k], deltas[k + 1], deltas[k + 2], deltas[k + 3]
        for r in range(start, rows):
            p01 = add32(mul32(weights_hi[c0, r], d0), mul32(weights_hi[c1, r], d1))
            p23 = add32(mul32(weights_hi[c2, r], d2), mul32(weights_hi[c3, r], d3))
            memory[r] = add32(memory[r], add32(p01, p23))
        k += 4
        passes += 1
    if k + 2 <= used:
        if HAS_PAIRS:
            add_two_columns(weights_hi, columns, deltas, k, memory)
        c0, c1, d0, d1 = columns[k], columns[k + 1], deltas[k], deltas[k + 1]
        for r in range(start, rows):
            memory[r] = add32(memory[r], add32(mul32(weights_hi[c0, r], d0), mul32(weights_hi[c1, r], d1)))
        k += 2
        passes += 1
    if k < used:
        if HAS_PAIRS:
            add_one_column(weights_hi, columns, deltas, k, memory)
        c0, d0 = columns[k], deltas[k]
        for r in range(start, rows):
            memory[r] = add32(memory[r], mul32(weights_hi[c0, r], d0))
        passes += 1
    return passes


@kernel
def _preactivation(memory: Scalar, weight_shift: Scalar) -> Scalar:
    """Gate pre-activation rshift(M, s+1), Q12, limited to +-32767."""
    return right32(add32(min32(max32(right32(memory, weight_shift), -65535), 65533), 1), 1)


@kernel
def open_gates(memory: Int32Array, weight_shift: Scalar, gates: Int16Array) -> None:
    """Turn rows of M (int32) into as many sigmoid gates (int16, Q15)."""
    for r in range(gates.shape[0]):
        gates[r] = np.int16(sigmoid_q15(_preactivation(memory[r], weight_shift)))


@kernel
def step_cell(memory: Int32Array, weight_shift: Scalar, c: Int16Array, h: Int16Array, gates: Int16Array) -> Scalar:
    """Turn M into gates (int16 [4H] Q15), new c (Q12) and h (Q13); returns how many c saturated.

    All of it fits int32: |f c| <= 2^30 and |i g| / 8 <= 2^27.
    """
    units = c.shape[0]
    i, f, g, o = gates[:units], gates[units : 2 * units], gates[2 * units : 3 * units], gates[3 * units :]
    open_gates(memory[: 2 * units], weight_shift, gates[: 2 * units])
    candidates = memory[2 * units : 3 * units]
    for j in range(units):
        g[j] = np.int16(tanh_q15(_preactivation(candidates[j], weight_shift)))
    open_gates(memory[3 * units :], weight_shift, o)
    saturated = np.int32(0)
    for j in range(units):
        written = add32(mul32(f[j], c[j]), rshift32(mul32(i[j], g[j]), 3))
        exact = rshift32(written, 15)
        kept = min32(max32(exact, -32768), 32767)
        saturated = add32(saturated, np.int32(kept != exact))
        c[j] = np.int16(kept)
        h[j] = np.int16(rshift32(mul32(o[j], tanh_q15(kept)), 17))
    return saturated


@kernel
def rebuild_memory(layer: LayerArrays, state: StateArrays, scratch: ScratchArrays) -> Scalar:
    """Set M = b + Wx x^ + Wh h^ from nothing; returns the number of columns that were added."""
    inputs = state.x_hat.shape[0]
    used = np.int64(0)
    for j in range(inputs + state.h_hat.shape[0]):
        value = state.x_hat[j] if j < inputs else state.h_hat[j - inputs]
        scratch.columns[used] = np.uint16(j)
        scratch.deltas[used] = value
        used += np.int64(value != 0)
    copy(layer.bias, state.memory)
    accumulate_columns(layer.weights_hi, scratch.columns, scratch.deltas, used, state.memory)
    return used


@kernel
def copy(source: Scalar, target: Scalar) -> None:
    """Copy an array element by element."""
    for j in range(source.shape[0]):
        target[j] = source[j]


@kernel
def _tape_deltas(
    tape: TapeArrays, layer_index: Scalar, frame: Scalar, start: Scalar, scratch: ScratchArrays, used: Scalar
) -> Scalar:
    """Copy a layer's deltas of a frame to the pool if they fit; returns the new end of the pool, or -1."""
    if start + used > tape.columns.shape[0]:
        return -1
    tape.nnz[layer_index, frame] = np.uint16(used)
    copy(scratch.columns[:used], tape.columns[start:])
    copy(scratch.deltas[:used], tape.deltas[start:])
    return start + used


@kernel
def _step_layer(
    source: Scalar, scale_bits: Scalar, layer_index: Scalar, layer: LayerArrays, state: StateArrays,
    scratch: ScratchArrays, taped: TapeLayerArrays, tape: TapeArrays, pool_end: Scalar, counters: Int64Array,
) -> Scalar:  # fmt: skip
    """Step one layer; tape the frame behind pool_end unless that is -1. Returns the new pool_end."""
    used = gather_deltas(source, scale_bits, state.x_hat, layer.theta_x, 0, scratch.columns, scratch.deltas, 0)
    used = gather_deltas(
        state.h, 0, state.h_hat, layer.theta_h, state.x_hat.shape[0], scratch.columns, scratch.deltas, used
    )
    frame = np.int64(0)
    checkpoints = False
    if pool_end >= 0:
        frame = np.int64(tape.fill[FRAMES_TAPED])
        checkpoints = taped.start_c.shape[0] > 0
        pool_end = _tape_deltas(tape, layer_index, frame, pool_end, scratch, used)
    if pool_end >= 0:
        if checkpoints and frame % taped.gates.shape[0] == 0:
            copy(state.memory, taped.start_memory[frame // taped.gates.shape[0]])
            copy(state.c, taped.start_c[frame // taped.gates.shape[0]])
        if not checkpoints and frame == 0:
            copy(state.c, taped.c[0])
    passes = accumulate_columns(layer.weights_hi, scratch.columns, scratch.deltas, used, state.memory)
    counters[ACTIVE + layer_index] += used
    counters[PASSES + layer_index] += passes
    keeps = pool_end >= 0 and not checkpoints
    gates = taped.gates[frame] if keeps else scratch.gates[: 4 * state.c.shape[0]]
    counters[SATURATIONS] += step_cell(state.memory, layer.weight_shift, state.c, state.h, gates)
    if keeps:
        copy(state.c, taped.c[frame + 1])
    return pool_end


@kernel
def _forward_block(places: Int64Array, tape_places: Int64Array, taping: Scalar, frames: Int8Array) -> None:
    """Run T frames (int8 [T, N] Q6) through the layers, frame by frame.

    The pool in `places` (int32 [H or 0]) grows by the last layer's h of every frame; hidden_out (int16 [T or 0, H])
    keeps it. The tape takes frames until one does not fit in its rows or its pool; from then on frames are left out
    and counted. Without a tape, tape_places is some table, never looked at.
    """
    layers = (places.shape[0] - SCRATCH_ROWS) // (LAYER_ROWS + STATE_ROWS)
    first = layers * LAYER_ROWS
    scratch, pool, hidden_out = scratch_at(places)
    counters = counters_at(places)
    layer0, state0 = layer_at(places, 0), state_at(places, first)
    h = state_at(places, first + (layers - 1) * STATE_ROWS).h
    taped0, tape = taped_at(tape_places, 0), tape_at(tape_places, layers * TAPED_ROWS if taping else 0)
    counters[FRAMES] += frames.shape[0]
    for t in range(frames.shape[0]):
        end = np.int64(-1)
        if taping and tape.fill[FRAMES_LEFT_OUT] == 0 and tape.fill[FRAMES_TAPED] < tape.nnz.shape[1]:
            end = np.int64(tape.fill[ENTRIES_USED])
        end = _step_layer(frames[t], FEATURE_TO_ACTIVATION, 0, layer0, state0, scratch, taped0, tape, end, counters)
        for k in range(1, layers):
            end = _step_layer(
                state_at(places, first + (k - 1) * STATE_ROWS).h, 0, k,
                layer_at(places, k * LAYER_ROWS), state_at(places, first + k * STATE_ROWS), scratch,
                taped_at(tape_places, k * TAPED_ROWS if taping else 0), tape, end, counters,
            )  # fmt: skip
        if taping:
            if end >= 0:
                frame = np.int64(tape.fill[FRAMES_TAPED])
                for k in range(layers):
                    counters[TAPED_ENTRIES + k] += np.int64(tape.nnz[k, frame])
                counters[TAPED_FRAMES] += 1
                tape.fill[FRAMES_TAPED] = frame + 1
                tape.fill[ENTRIES_USED] = end
            else:
                tape.fill[FRAMES_LEFT_OUT] += 1
        for j in range(pool.shape[0]):
            pool[j] = add32(pool[j], h[j])
        if hidden_out.shape[0] > 0:
            copy(h, hidden_out[t])


@kernel
def stream_call(places: Int64Array, frames: Int8Array) -> Scalar:
    """Run frames (int8 [T, N] Q6) on the arrays of a state and its network; returns OK or WRONG_SHAPE."""
    layers = (places.shape[0] - SCRATCH_ROWS) // (LAYER_ROWS + STATE_ROWS)
    if frames.shape[1] != places[layers * LAYER_ROWS + STATE_ROWS - 1, 2]:
        return WRONG_SHAPE
    _forward_block(places, places, False, frames)
    return OK


@kernel
def taped_call(places: Int64Array, tape_places: Int64Array, frames: Int8Array) -> Scalar:
    """Run frames with a tape; returns OK, WRONG_SHAPE or TAPE_NOT_RESET."""
    layers = (places.shape[0] - SCRATCH_ROWS) // (LAYER_ROWS + STATE_ROWS)
    if frames.shape[1] != places[layers * LAYER_ROWS + STATE_ROWS - 1, 2]:
        return WRONG_SHAPE
    if tape_at(tape_places, layers * TAPED_ROWS).fill[BACKWARD_DONE] != 0:
        return TAPE_NOT_RESET
    _forward_block(places, tape_places, True, frames)
    return OK
