"""Forward kernels of the Delta LSTM: encode deltas, add the active columns to M, and step the cell.

Source: Chen et al., AAAI 2024 (arXiv 2312.09391), forward equations. Shapes: N inputs, H units, 4H gate rows
in the order i f g o; a weight column is one contiguous row of `weights_hi`, x columns first, then h columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgelearn.engine.fixedpoint import (
    FEATURE_TO_ACTIVATION,
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    Scalar,
    UInt16Array,
    clamp32,
    gate_q15,
    rshift32,
    tanh_q15,
)
from edgelearn.jit import kernel


class LayerArrays(NamedTuple):
    """Weights and thresholds of a layer: hi, lo int8 [N+H, 4H]; bias int32 [4H]; thresholds in Q13."""

    weights_hi: Int8Array
    weights_lo: Int8Array
    bias: Int32Array
    weight_shift: int
    theta_x: int
    theta_h: int


class StateArrays(NamedTuple):
    """State of a layer: M int32 [4H] Q(13+s); c Q12 and h, h^ Q13 int16 [H]; x^ int16 [N] Q13."""

    memory: Int32Array
    c: Int16Array
    h: Int16Array
    h_hat: Int16Array
    x_hat: Int16Array


class ScratchArrays(NamedTuple):
    """One frame of the widest layer: active columns uint16 and their deltas int16 [N+H], gates int16 [4H]."""

    columns: UInt16Array
    deltas: Int16Array
    gates: Int16Array


class CounterArrays(NamedTuple):
    """What forward calls counted: int64 [COUNTERS]."""

    counters: Int64Array


class TapeLayerArrays(NamedTuple):
    """A layer's part of the tape: gates, later CM16, int16 [F, 4H]; c int16 [F+1, H], c[0] from before."""

    gates: Int16Array
    c: Int16Array


class TapeArrays(NamedTuple):
    """What layers share on the tape: fill int32 [4], nnz uint16 [layers, F], the pool of sparse deltas [P].

    fill: frames taped, pool entries used, frames left out, and 1 once the gates are overwritten by CM16. A
    frame's entries lie in the pool one layer after the other, in ascending order of the column.
    """

    fill: Int32Array
    nnz: UInt16Array
    columns: UInt16Array
    deltas: Int16Array


FRAMES_TAPED, ENTRIES_USED, FRAMES_LEFT_OUT, BACKWARD_DONE = 0, 1, 2, 3

SATURATIONS, ACTIVE, PASSES, TAPED_ENTRIES, FRAMES, TAPED_FRAMES = 0, 1, 3, 5, 7, 8
"""int64 [9]: saturations; for each of two layers active columns, passes over M, taped entries; frames."""
COUNTERS = 9


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
    scale = np.int32(np.int32(1) << scale_bits)
    limit = np.int32(theta)
    every = theta == 0
    room = deltas[used:]
    for j in range(source.shape[0]):
        delta = np.int32(np.int32(np.int32(source[j]) * scale) - np.int32(transmitted[j]))
        sent = delta if np.int32(abs(delta)) >= limit else np.int32(0)
        transmitted[j] = np.int16(np.int32(transmitted[j]) + sent)
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

    Four columns go into a pass, so that M is loaded and stored once for them. |hi| <= 127 and |delta| < 2^15
    keep a product below 2^22; for the sums see `fixedpoint.bias_limit`.
    """
    rows = memory.shape[0]
    k = np.int64(0)
    passes = np.int64(0)
    while k + 4 <= used:
        c0, c1, c2, c3 = columns[k], columns[k + 1], columns[k + 2], columns[k + 3]
        d0, d1, d2, d3 = deltas[k], deltas[k + 1], deltas[k + 2], deltas[k + 3]
        for r in range(rows):
            p0 = np.int32(np.int32(weights_hi[c0, r]) * np.int32(d0))
            p1 = np.int32(np.int32(weights_hi[c1, r]) * np.int32(d1))
            p2 = np.int32(np.int32(weights_hi[c2, r]) * np.int32(d2))
            p3 = np.int32(np.int32(weights_hi[c3, r]) * np.int32(d3))
            memory[r] = np.int32(memory[r] + np.int32(np.int32(p0 + p1) + np.int32(p2 + p3)))
        k += 4
        passes += 1
    while k < used:
        c0, d0 = columns[k], deltas[k]
        for r in range(rows):
            memory[r] = np.int32(memory[r] + np.int32(np.int32(weights_hi[c0, r]) * np.int32(d0)))
        k += 1
        passes += 1
    return passes


@kernel
def _preactivation(memory: Scalar, limit: Scalar, scale: Scalar) -> Scalar:
    """Gate pre-activation rshift(M, s+1) (Q12, +-32767) of an M; limit = 2^(s+16), scale = 2^(12-s).

    A shift by a variable amount is done in 64-bit lanes, so M is limited, scaled up to a fixed position
    (at most 2^28) and shifted from there by a constant.
    """
    scaled = np.int32(min(max(memory, np.int32(-limit)), limit) * scale)
    return clamp32(np.int32(np.int32(scaled + np.int32(4096)) >> 13), -32767, 32767)


@kernel
def step_cell(
    memory: Int32Array, weight_shift: Scalar, c: Int16Array, h: Int16Array, gates: Int16Array
) -> Scalar:
    """Turn M into gates (int16 [4H] Q15), new c (Q12) and h (Q13); returns how many c saturated.

    All of it fits int32: |f c| <= 2^30 and |i g| / 8 <= 2^27.
    """
    units = c.shape[0]
    limit = np.int32(np.int32(1) << (16 + weight_shift))
    scale = np.int32(np.int32(1) << (12 - weight_shift))
    saturated = np.int32(0)
    for j in range(units):
        i = gate_q15(_preactivation(memory[j], limit, scale))
        f = gate_q15(_preactivation(memory[units + j], limit, scale))
        g = tanh_q15(_preactivation(memory[2 * units + j], limit, scale))
        o = gate_q15(_preactivation(memory[3 * units + j], limit, scale))
        gates[j] = np.int16(i)
        gates[units + j] = np.int16(f)
        gates[2 * units + j] = np.int16(g)
        gates[3 * units + j] = np.int16(o)
        written = np.int32(np.int32(f * np.int32(c[j])) + rshift32(np.int32(i * g), 3))
        exact = rshift32(written, 15)
        kept = clamp32(exact, -32768, 32767)
        saturated = np.int32(saturated + np.int32(kept != exact))
        c[j] = np.int16(kept)
        h[j] = np.int16(rshift32(np.int32(o * tanh_q15(kept)), 17))
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
    for r in range(layer.bias.shape[0]):
        state.memory[r] = layer.bias[r]
    accumulate_columns(layer.weights_hi, scratch.columns, scratch.deltas, used, state.memory)
    return used


@kernel
def _copy(source: Int16Array, target: Int16Array) -> None:
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
    for k in range(used):
        tape.columns[start + k] = scratch.columns[k]
        tape.deltas[start + k] = scratch.deltas[k]
    return start + used


@kernel
def _step_layer(
    source: Scalar, scale_bits: Scalar, layer_index: Scalar, layer: LayerArrays, state: StateArrays,
    scratch: ScratchArrays, taped: TapeLayerArrays, tape: TapeArrays, pool_end: Scalar, counters: Int64Array,
) -> Scalar:  # fmt: skip
    """Step one layer; tape the frame behind pool_end unless that is -1. Returns the new pool_end."""
    used = gather_deltas(
        source, scale_bits, state.x_hat, layer.theta_x, 0, scratch.columns, scratch.deltas, 0
    )
    used = gather_deltas(
        state.h, 0, state.h_hat, layer.theta_h, state.x_hat.shape[0], scratch.columns, scratch.deltas, used
    )
    passes = accumulate_columns(layer.weights_hi, scratch.columns, scratch.deltas, used, state.memory)
    counters[ACTIVE + layer_index] += used
    counters[PASSES + layer_index] += passes
    frame = np.int64(tape.fill[FRAMES_TAPED])
    if pool_end >= 0:
        if frame == 0:
            _copy(state.c, taped.c[0])
        pool_end = _tape_deltas(tape, layer_index, frame, pool_end, scratch, used)
    gates = taped.gates[frame] if pool_end >= 0 else scratch.gates[: 4 * state.c.shape[0]]
    counters[SATURATIONS] += step_cell(state.memory, layer.weight_shift, state.c, state.h, gates)
    if pool_end >= 0:
        _copy(state.c, taped.c[frame + 1])
    return pool_end


@kernel
def forward_block(
    frames: Int8Array, layers: Scalar,
    layer0: LayerArrays, state0: StateArrays, layer1: LayerArrays, state1: StateArrays,
    scratch: ScratchArrays, pool: Int32Array, hidden_out: Int16Array,
    taping: Scalar, taped0: TapeLayerArrays, taped1: TapeLayerArrays, tape: TapeArrays, counters: Int64Array,
) -> None:  # fmt: skip
    """Run T frames (int8 [T, N] Q6) through one or two layers, frame by frame.

    pool int32 [H or 0] grows by the last layer's h of every frame; hidden_out int16 [T or 0, H] keeps it. The
    tape takes frames until one does not fit in its rows or its pool; from then on frames are left out and
    counted. With one layer, layer1, state1 and taped1 are empty. `counters` is added to.
    """
    for t in range(frames.shape[0]):
        pool_end = np.int64(-1)
        if (
            taping != 0
            and tape.fill[FRAMES_LEFT_OUT] == 0
            and tape.fill[FRAMES_TAPED] < taped0.gates.shape[0]
        ):
            pool_end = np.int64(tape.fill[ENTRIES_USED])
        start = pool_end
        pool_end = _step_layer(
            frames[t], FEATURE_TO_ACTIVATION, 0, layer0, state0, scratch, taped0, tape, pool_end, counters
        )
        middle = pool_end
        if layers == 2:
            pool_end = _step_layer(state0.h, 0, 1, layer1, state1, scratch, taped1, tape, pool_end, counters)
        h = state1.h if layers == 2 else state0.h
        if taping != 0:
            if pool_end >= 0:
                counters[TAPED_ENTRIES] += middle - start
                counters[TAPED_ENTRIES + 1] += pool_end - middle
                tape.fill[FRAMES_TAPED] += 1
                tape.fill[ENTRIES_USED] = pool_end
            else:
                tape.fill[FRAMES_LEFT_OUT] += 1
        for j in range(pool.shape[0]):
            pool[j] = np.int32(pool[j] + np.int32(h[j]))
        if hidden_out.shape[0] > 0:
            _copy(h, hidden_out[t])
