"""Backward kernels: sparse BPTT over a tape, with the masks of the forward pass.

Source: Chen et al., AAAI 2024 (arXiv 2312.09391), backward equations. Gradients are int32 in "G" units, whose
lsb is 2^-6 of that of CM16; what one CM16 lsb means is the caller's choice, made with the loss gradient
passed in. They saturate at +-2^30 and saturations are counted. Shapes: H units, 4H gate rows i f g o, N
inputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelearn.engine.arrays import (
    ACTIVE,
    BACKWARD_DONE,
    ENTRIES_USED,
    FRAMES_TAPED,
    GRADIENT_ROWS,
    LAYER_ROWS,
    SATURATIONS,
    TAPE_ROWS,
    TAPED_ENTRIES,
    TAPED_ROWS,
    ColumnScratch,
    GradientArrays,
    LayerArrays,
    TapeArrays,
    TapeLayerArrays,
    column_scratch_at,
    gradient_at,
    int32_rows_at,
    layer_at,
    tape_at,
    taped_at,
)
from edgelearn.engine.fixedpoint import (
    GRADIENT_EXTRA_BITS,
    GRADIENT_LIMIT,
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    UInt16Array,
    clamp32,
    gradient_product,
    rshift32,
    rshift64,
    tanh_q15,
)
from edgelearn.engine.forward import accumulate_columns, copy, step_cell
from edgelearn.engine.int32 import Scalar, add32, left32, max32, min32, mul32, right32, sub32
from edgelearn.engine.pairs import BLOCK_ROWS, HAS_PAIRS, dot_column
from edgelearn.jit import kernel

DOT_BLOCK = 512
"""Rows that an int32 can sum: 512 * 127 * 2^15 < 2^31; wider layers add blocks in int64."""


@kernel
def _scale_gradient(gradient: Scalar, factor: Scalar, bits: Scalar) -> Scalar:
    """rshift(gradient * factor, bits) of |gradient| <= 2^30, |factor| < 2^15 and bits 14 or 15, in 32 bits.

    With gradient = 2^bits high + low, 0 <= low < 2^bits, the product is 2^bits high factor + low factor.
    """
    high = right32(gradient, bits)
    low = gradient & sub32(left32(1, bits), 1)
    return add32(mul32(high, factor), rshift32(mul32(low, factor), bits))


@kernel
def _limited_sum(a: Scalar, b: Scalar) -> Scalar:
    """Sum of int32 a and b, limited to +-2^30; a sum that int32 does not hold shows in its sign."""
    total = add32(a, b)
    if ((a ^ total) & (b ^ total)) < 0:
        total = np.int32(GRADIENT_LIMIT + 1) if a >= 0 else np.int32(-GRADIENT_LIMIT - 1)
    return total


@kernel
def _limit(value: Scalar) -> Scalar:
    return min32(max32(value, -GRADIENT_LIMIT), GRADIENT_LIMIT)


@kernel
def backward_cell(
    gates: Int16Array, c: Int16Array, c_before: Int16Array, grad_h: Int32Array, grad: GradientArrays
) -> Scalar:
    """Go back over one frame of the cell: from Ch and Cc to CM, and Cc of the frame before.

    gates int16 [4H] Q15, overwritten by CM16; c, c_before int16 [H] Q12; grad_h int32 [H or 0] G units is
    added to Ch, which is zeroed for the frame before. Returns the number of saturations. Q15 factors, the one of the
    forget gate in Q14, and their products fit int32 (|c_before * f(1-f)| <= 2^15 * 2^13). So do products with a
    gradient: at most 2^30, and 2^31 - 2^15 with the forget gate's.
    """
    units = c.shape[0]
    gi, gf, gg, go = gates[:units], gates[units : 2 * units], gates[2 * units : 3 * units], gates[3 * units :]
    memory = grad.memory
    mi, mf, mg, mo = memory[:units], memory[units : 2 * units], memory[2 * units : 3 * units], memory[3 * units :]
    saturated = np.int32(0)
    if grad_h.shape[0] > 0:
        for j in range(units):
            exact = _limited_sum(grad.h[j], grad_h[j])
            grad.h[j] = _limit(exact)
            saturated = add32(saturated, np.int32(grad.h[j] != exact))
    else:
        for j in range(units):
            exact = grad.h[j]
            grad.h[j] = _limit(exact)
            saturated = add32(saturated, np.int32(grad.h[j] != exact))
    for j in range(units):
        o, ch, tc = np.int32(go[j]), grad.h[j], tanh_q15(c[j])
        slope = rshift32(mul32(o, sub32(32768, rshift32(mul32(tc, tc), 15))), 15)
        exact = add32(grad.c[j], _scale_gradient(ch, slope, 15))
        grad.c[j] = _limit(exact)
        saturated = add32(saturated, np.int32(grad.c[j] != exact))
        factor = rshift32(mul32(tc, rshift32(mul32(o, sub32(32768, o)), 15)), 15)
        exact = add32(mo[j], _scale_gradient(ch, factor, 15))
        mo[j] = _limit(exact)
        saturated = add32(saturated, np.int32(mo[j] != exact))
        grad.h[j] = np.int32(0)
    for j in range(units):
        i, g, cc = np.int32(gi[j]), np.int32(gg[j]), grad.c[j]
        factor = rshift32(mul32(g, rshift32(mul32(i, sub32(32768, i)), 15)), 15)
        exact = add32(mi[j], _scale_gradient(cc, factor, 15))
        mi[j] = _limit(exact)
        saturated = add32(saturated, np.int32(mi[j] != exact))
        factor = rshift32(mul32(i, sub32(32768, rshift32(mul32(g, g), 15))), 15)
        exact = add32(mg[j], _scale_gradient(cc, factor, 15))
        mg[j] = _limit(exact)
        saturated = add32(saturated, np.int32(mg[j] != exact))
    for j in range(units):
        f, cc = np.int32(gf[j]), grad.c[j]
        slope = rshift32(mul32(f, sub32(32768, f)), 15)
        factor = min32(max32(rshift32(mul32(c_before[j], slope), 13), -32767), 32767)
        exact = _limited_sum(mf[j], _scale_gradient(cc, factor, 14))
        mf[j] = _limit(exact)
        saturated = add32(saturated, np.int32(mf[j] != exact))
        grad.c[j] = _scale_gradient(cc, f, 15)
    for r in range(4 * units):
        rounded = rshift32(memory[r], GRADIENT_EXTRA_BITS)
        low = min32(max32(rounded, -32768), 32767)
        saturated = add32(saturated, np.int32(low != rounded))
        gates[r] = np.int16(low)
    return saturated


@kernel
def _pass_delta_gradient(
    sum_cd: Scalar, weight_shift: Scalar, j: Scalar, hat: Int32Array, target: Int32Array
) -> Scalar:
    """Add an active column's Cd (int64, lsb 2^-s of CM16's) to its value's gradients; returns saturations."""
    if weight_shift >= GRADIENT_EXTRA_BITS:
        exact = rshift64(sum_cd, weight_shift - GRADIENT_EXTRA_BITS)
    else:
        exact = np.int64(sum_cd << (GRADIENT_EXTRA_BITS - weight_shift))
    cd = clamp32(exact, -GRADIENT_LIMIT, GRADIENT_LIMIT)
    saturated = np.int64(cd != exact)
    exact = np.int64(target[j]) + np.int64(hat[j]) + np.int64(cd)
    kept = clamp32(exact, -GRADIENT_LIMIT, GRADIENT_LIMIT)
    target[j] = kept
    hat[j] = np.int32(-cd)
    return saturated + np.int64(kept != exact)


@kernel
def _dot_block(weights_hi: Int8Array, column: Scalar, cm16: Int16Array, start: Scalar, rows: Scalar) -> Scalar:
    """Up to DOT_BLOCK rows, from `start` on, of weights_hi[column] . CM16, as int32."""
    total = np.int32(0)
    if HAS_PAIRS:
        total = dot_column(weights_hi, np.int64(column), cm16, np.int64(start), np.int64(rows))
        done = rows // BLOCK_ROWS * BLOCK_ROWS
        start, rows = start + done, rows - done
    weights, cm = weights_hi[column, start : start + rows], cm16[start : start + rows]
    for r in range(rows):
        total = add32(total, mul32(weights[r], cm[r]))
    return total


@kernel
def backward_columns(
    weights_hi: Int8Array, weight_shift: Scalar, cm16: Int16Array,
    columns: UInt16Array, start: Scalar, stop: Scalar, base: Scalar, hat: Int32Array, target: Int32Array,
) -> Scalar:  # fmt: skip
    """Go back over active columns `start..stop` of a frame: Cd = W^T CM16, then C += C^ + Cd and C^ = -Cd.

    cm16 int16 [4H]; hat (Ch^ or Cx^) and target (Ch of the frame before, or Ch of the layer below) are int32
    in G units, indexed by column - base. Returns the number of saturations.
    """
    rows = cm16.shape[0]
    saturated = np.int64(0)
    for k in range(start, stop):
        total = np.int64(0)
        for block in range(0, rows, DOT_BLOCK):
            total += np.int64(_dot_block(weights_hi, columns[k], cm16, block, min(DOT_BLOCK, rows - block)))
        saturated += _pass_delta_gradient(total, weight_shift, np.int64(columns[k]) - base, hat, target)
    return saturated


@kernel
def first_hidden_entry(columns: UInt16Array, start: Scalar, stop: Scalar, inputs: Scalar) -> Scalar:
    """Position in a frame's ascending entries where the h columns begin."""
    low, high = start, stop
    while low < high:
        middle = (low + high) // 2
        if np.int64(columns[middle]) < inputs:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _clear(grad: GradientArrays) -> None:
    grad.h[:] = 0
    grad.c[:] = 0
    grad.memory[:] = 0
    grad.h_hat[:] = 0
    grad.x_hat[:] = 0


@kernel
def _recompute(
    layer_index: Scalar, layer: LayerArrays, taped: TapeLayerArrays, tape: TapeArrays,
    first: Scalar, last: Scalar, start: Scalar, scratch: ColumnScratch,
) -> Scalar:  # fmt: skip
    """Recompute gates and c of the frames first..last-1 from their checkpoint and the deltas from `start` on.

    The deltas of every layer are on the tape, so a layer needs no other one. Returns the columns that were added.
    """
    every = taped.gates.shape[0]
    memory, h = scratch.total[: layer.bias.shape[0]], scratch.h[: taped.c.shape[1]]
    copy(taped.start_memory[first // every], memory)
    copy(taped.start_c[first // every], taped.c[0])
    added = np.int64(0)
    for t in range(first, last):
        for below in range(layer_index):
            start += np.int64(tape.nnz[below, t])
        used = np.int64(tape.nnz[layer_index, t])
        accumulate_columns(layer.weights_hi, tape.columns[start:], tape.deltas[start:], used, memory)
        copy(taped.c[t - first], taped.c[t - first + 1])
        step_cell(memory, layer.weight_shift, taped.c[t - first + 1], h, taped.gates[t - first])
        added += used
        for at_or_above in range(layer_index, tape.nnz.shape[0]):
            start += np.int64(tape.nnz[at_or_above, t])
    return added


@kernel
def add_column_gradients(
    cm16: Int16Array, columns: UInt16Array, deltas: Int16Array, start: Scalar, stop: Scalar, total: Any
) -> None:
    """Add CM16 of one frame times its deltas to the dense gradient (int32 [N+H, 4H]): CW += CM d."""
    for k in range(start, stop):
        row, delta = total[columns[k]], deltas[k]
        for r in range(cm16.shape[0]):
            row[r] = add32(row[r], gradient_product(cm16[r], delta))


@kernel
def _backward_frame(
    k: Scalar, t: Scalar, first: Scalar, layer: LayerArrays, taped: TapeLayerArrays, grad: GradientArrays,
    below: Int32Array, tape: TapeArrays, start: Scalar, stop: Scalar, grad_h: Int32Array, counters: Int64Array,
) -> None:  # fmt: skip
    """Go back over frame t of layer k, whose entries are start..stop; `below` is Ch of the layer below."""
    row = t - first
    cm16 = taped.gates[row]
    counters[SATURATIONS] += backward_cell(cm16, taped.c[row + 1], taped.c[row], grad_h, grad)
    inputs = layer.weights_hi.shape[0] - layer.bias.shape[0] // 4
    middle = first_hidden_entry(tape.columns, start, stop, inputs)
    if t > 0:
        counters[SATURATIONS] += backward_columns(
            layer.weights_hi, layer.weight_shift, cm16, tape.columns, middle, stop, inputs, grad.h_hat, grad.h
        )
        counters[ACTIVE + k] += stop - middle
    if k > 0:
        counters[SATURATIONS] += backward_columns(
            layer.weights_hi, layer.weight_shift, cm16, tape.columns, start, middle, 0, grad.x_hat, below
        )
        counters[ACTIVE + k] += middle - start


@kernel
def backward_call(
    network: Int64Array, tape_places: Int64Array, gradient_places: Int64Array, weight_places: Int64Array,
    grad_h: Int32Array, grad_step: Scalar, counters: Int64Array,
) -> None:  # fmt: skip
    """Go back over the taped frames, layers interleaved in time; CM16 stays on the tape, CM in the gradients.

    grad_h int32 [1 or T, H] G units, dL/dh of the last layer; frame t reads row t * grad_step. `counters` is
    added to, with ACTIVE the columns that were multiplied: x columns only above the lowest layer, h columns
    only while there is a frame before; TAPED_ENTRIES counts columns that recomputing added. After it, CM of a layer
    is the gradient of its bias. weight_places [layers or 0, 3]: where the gradient of each layer's weights is added
    to; a tape with checkpoints needs it, as CM16 of only R frames is there at a time.
    """
    layers = network.shape[0] // LAYER_ROWS
    none = grad_h[0, :0]
    tape = tape_at(tape_places, layers * TAPED_ROWS)
    scratch = column_scratch_at(tape_places, layers * TAPED_ROWS + TAPE_ROWS)
    for k in range(layers):
        _clear(gradient_at(gradient_places, k * GRADIENT_ROWS))
    every = taped_at(tape_places, 0).gates.shape[0]
    checkpoints = taped_at(tape_places, 0).start_c.shape[0] > 0
    last = np.int64(tape.fill[FRAMES_TAPED])
    stop = np.int64(tape.fill[ENTRIES_USED])
    while last > 0:
        first = (last - 1) // every * every
        if checkpoints:
            start = stop - np.int64(tape.nnz[:, first:last].sum())
            for k in range(layers):
                counters[TAPED_ENTRIES + k] += _recompute(
                    k, layer_at(network, k * LAYER_ROWS), taped_at(tape_places, k * TAPED_ROWS),
                    tape, first, last, start, scratch,
                )  # fmt: skip
        for t in range(last - 1, first - 1, -1):
            from_above = grad_h[t * grad_step]
            for k in range(layers - 1, -1, -1):
                start = stop - np.int64(tape.nnz[k, t])
                below = gradient_at(gradient_places, max(k - 1, 0) * GRADIENT_ROWS).h
                layer, taped = layer_at(network, k * LAYER_ROWS), taped_at(tape_places, k * TAPED_ROWS)
                grad = gradient_at(gradient_places, k * GRADIENT_ROWS)
                _backward_frame(k, t, first, layer, taped, grad, below, tape, start, stop, from_above, counters)
                if weight_places.shape[0] > 0:
                    add_column_gradients(
                        taped.gates[t - first], tape.columns, tape.deltas, start, stop, int32_rows_at(weight_places, k)
                    )
                from_above = none
                stop = start
        last = first
    tape.fill[BACKWARD_DONE] = 1
