"""Backward kernels: sparse BPTT over a tape, with the masks of the forward pass.

Source: Chen et al., AAAI 2024 (arXiv 2312.09391), backward equations. Gradients are int32 in "G" units, whose
lsb is 2^-6 of that of CM16; what one CM16 lsb means is the caller's choice, made with the loss gradient
passed in. They saturate at +-2^30 and saturations are counted. Shapes: H units, 4H gate rows i f g o, N
inputs.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgelearn.engine.fixedpoint import (
    GRADIENT_EXTRA_BITS,
    GRADIENT_LIMIT,
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    Scalar,
    UInt16Array,
    clamp32,
    rshift32,
    rshift64,
    tanh_q15,
)
from edgelearn.engine.forward import (
    ACTIVE,
    BACKWARD_DONE,
    ENTRIES_USED,
    FRAMES_TAPED,
    SATURATIONS,
    LayerArrays,
    TapeArrays,
    TapeLayerArrays,
)
from edgelearn.jit import kernel

DOT_BLOCK = 512
"""Rows that an int32 can sum: 512 * 127 * 2^15 < 2^31; wider layers add blocks in int64."""


class GradientArrays(NamedTuple):
    """Gradients of a layer, int32 G units: Ch, Cc, Ch^ [H]; CM [4H]; Cx^ [N], empty for the lowest layer."""

    h: Int32Array
    c: Int32Array
    memory: Int32Array
    h_hat: Int32Array
    x_hat: Int32Array


@kernel
def _scale_gradient(gradient: Scalar, factor: Scalar) -> Scalar:
    """rshift(gradient * factor, 15) of |gradient| <= 2^30 and |factor| < 2^15, in 32 bits.

    With gradient = 2^15 high + low, 0 <= low < 2^15, the product is 2^15 high factor + low factor.
    """
    high = np.int32(gradient >> 15)
    low = np.int32(gradient & np.int32(32767))
    rest = np.int32(np.int32(np.int32(low * factor) + np.int32(1 << 14)) >> 15)
    return np.int32(np.int32(high * factor) + rest)


@kernel
def backward_cell(
    gates: Int16Array, c: Int16Array, c_before: Int16Array, grad_h: Int32Array, grad: GradientArrays
) -> Scalar:
    """Go back over one frame of the cell: from Ch and Cc to CM, and Cc of the frame before.

    gates int16 [4H] Q15, overwritten by CM16; c, c_before int16 [H] Q12; grad_h int32 [H or 0] G units is
    added to Ch, which is zeroed for the frame before. Returns the number of saturations. Q15 factors and
    their products fit int32 (|c_before * f(1-f)| <= 2^15 * 2^13), products with a gradient are 64-bit.
    """
    units = c.shape[0]
    saturated = np.int32(0)
    for j in range(units):
        i = np.int32(gates[j])
        f = np.int32(gates[units + j])
        g = np.int32(gates[2 * units + j])
        o = np.int32(gates[3 * units + j])
        tc = tanh_q15(np.int32(c[j]))

        exact = np.int64(grad.h[j])
        if grad_h.shape[0] > 0:
            exact += np.int64(grad_h[j])
        ch = clamp32(exact, -GRADIENT_LIMIT, GRADIENT_LIMIT)
        saturated = np.int32(saturated + np.int32(ch != exact))
        slope = rshift32(np.int32(o * np.int32(np.int32(32768) - rshift32(np.int32(tc * tc), 15))), 15)
        sum32 = np.int32(grad.c[j] + _scale_gradient(ch, slope))
        cc = clamp32(sum32, -GRADIENT_LIMIT, GRADIENT_LIMIT)
        saturated = np.int32(saturated + np.int32(cc != sum32))

        slope_i = rshift32(np.int32(i * np.int32(np.int32(32768) - i)), 15)
        slope_f = rshift32(np.int32(f * np.int32(np.int32(32768) - f)), 15)
        slope_g = np.int32(np.int32(32768) - rshift32(np.int32(g * g), 15))
        slope_o = rshift32(np.int32(o * np.int32(np.int32(32768) - o)), 15)
        factor_i = rshift32(np.int32(g * slope_i), 15)
        factor_f = rshift32(np.int32(np.int32(c_before[j]) * slope_f), 12)
        factor_g = rshift32(np.int32(i * slope_g), 15)
        factor_o = rshift32(np.int32(tc * slope_o), 15)

        sum32 = np.int32(grad.memory[j] + _scale_gradient(cc, factor_i))
        kept = clamp32(sum32, -GRADIENT_LIMIT, GRADIENT_LIMIT)
        saturated = np.int32(saturated + np.int32(kept != sum32))
        grad.memory[j] = kept
        exact = np.int64(grad.memory[units + j]) + rshift64(np.int64(cc) * np.int64(factor_f), 15)
        kept = clamp32(exact, -GRADIENT_LIMIT, GRADIENT_LIMIT)
        saturated = np.int32(saturated + np.int32(kept != exact))
        grad.memory[units + j] = kept
        sum32 = np.int32(grad.memory[2 * units + j] + _scale_gradient(cc, factor_g))
        kept = clamp32(sum32, -GRADIENT_LIMIT, GRADIENT_LIMIT)
        saturated = np.int32(saturated + np.int32(kept != sum32))
        grad.memory[2 * units + j] = kept
        sum32 = np.int32(grad.memory[3 * units + j] + _scale_gradient(ch, factor_o))
        kept = clamp32(sum32, -GRADIENT_LIMIT, GRADIENT_LIMIT)
        saturated = np.int32(saturated + np.int32(kept != sum32))
        grad.memory[3 * units + j] = kept

        grad.c[j] = _scale_gradient(cc, f)
        grad.h[j] = np.int32(0)
    for r in range(4 * units):
        rounded = rshift32(grad.memory[r], GRADIENT_EXTRA_BITS)
        low = clamp32(rounded, -32768, 32767)
        saturated = np.int32(saturated + np.int32(low != rounded))
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
def _dot_block(
    weights_hi: Int8Array, column: Scalar, cm16: Int16Array, start: Scalar, rows: Scalar
) -> Scalar:
    """Up to DOT_BLOCK rows, from `start` on, of weights_hi[column] . CM16, as int32."""
    total = np.int32(0)
    for r in range(rows):
        # An index that Numba cannot prove positive gets a wrap-around test, and the loop stays scalar.
        row = np.uint64(start + r)
        total = np.int32(total + np.int32(np.int32(weights_hi[column, row]) * np.int32(cm16[row])))
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
        column = columns[k]
        total = np.int64(0)
        for block in range(0, rows, DOT_BLOCK):
            total += np.int64(_dot_block(weights_hi, column, cm16, block, min(DOT_BLOCK, rows - block)))
        saturated += _pass_delta_gradient(total, weight_shift, np.int64(column) - base, hat, target)
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
def backward_tape(
    layers: Scalar, inputs0: Scalar, layer0: LayerArrays, taped0: TapeLayerArrays, grad0: GradientArrays,
    inputs1: Scalar, layer1: LayerArrays, taped1: TapeLayerArrays, grad1: GradientArrays,
    tape: TapeArrays, grad_h: Int32Array, grad_step: Scalar, counters: Int64Array,
) -> None:  # fmt: skip
    """Go back over the taped frames, layers interleaved in time; CM16 stays on the tape, CM in the gradients.

    grad_h int32 [1 or T, H] G units, dL/dh of the last layer; frame t reads row t * grad_step. `counters` is
    added to, with ACTIVE the columns that were multiplied: x columns only above the lowest layer, h columns
    only while there is a frame before. After it, CM of a layer is the gradient of its bias.
    """
    none = grad_h[0, :0]
    _clear(grad0)
    if layers == 2:
        _clear(grad1)
    stop = np.int64(tape.fill[ENTRIES_USED])
    for back in range(np.int64(tape.fill[FRAMES_TAPED])):
        t = np.int64(tape.fill[FRAMES_TAPED]) - 1 - back
        from_above = grad_h[t * grad_step]
        if layers == 2:
            start = stop - np.int64(tape.nnz[1, t])
            counters[SATURATIONS] += backward_cell(
                taped1.gates[t], taped1.c[t + 1], taped1.c[t], from_above, grad1
            )
            from_above = none
            middle = first_hidden_entry(tape.columns, start, stop, inputs1)
            if t > 0:
                counters[SATURATIONS] += backward_columns(
                    layer1.weights_hi, layer1.weight_shift, taped1.gates[t],
                    tape.columns, middle, stop, inputs1, grad1.h_hat, grad1.h,
                )  # fmt: skip
                counters[ACTIVE + 1] += stop - middle
            counters[SATURATIONS] += backward_columns(
                layer1.weights_hi, layer1.weight_shift, taped1.gates[t],
                tape.columns, start, middle, 0, grad1.x_hat, grad0.h,
            )  # fmt: skip
            counters[ACTIVE + 1] += middle - start
            stop = start
        start = stop - np.int64(tape.nnz[0, t])
        counters[SATURATIONS] += backward_cell(
            taped0.gates[t], taped0.c[t + 1], taped0.c[t], from_above, grad0
        )
        if t > 0:
            middle = first_hidden_entry(tape.columns, start, stop, inputs0)
            counters[SATURATIONS] += backward_columns(
                layer0.weights_hi, layer0.weight_shift, taped0.gates[t],
                tape.columns, middle, stop, inputs0, grad0.h_hat, grad0.h,
            )  # fmt: skip
            counters[ACTIVE] += stop - middle
        stop = start
    tape.fill[BACKWARD_DONE] = 1
