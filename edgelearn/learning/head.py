"""The arithmetic of the classifier, in integers: unit embeddings, cosines, softmax, and the gradient that enters BPTT.

Formats: pool int32 is the sum of h (Q13) over an utterance; u int16 is the unit embedding in Q14; a prototype is an
int8 vector with its Euclidean norm in Q8; a cosine is Q14.  The loss is the cross-entropy of 16 x cosine.

A model may have a whitening, a symmetric int8 matrix [H, H] of any scale: the embedding is then the direction of its
product with the pool (within-class covariance normalisation; Hatch, Kajarekar, Stolcke, Interspeech 2006).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.frontend import log2_q10
from edgelearn.jit import kernel

COSINE_BITS = 14
LOGIT_SCALE = 16  # the temperature that the base model was trained with
EXP_STEPS = 64
# exp(-x) for x >= 0 is 2^-(x log2 e): whole powers by shifts, the fraction from this table of chords
EXP2_Q15: NDArray[np.int32] = np.rint(32768 * 2.0 ** (-np.arange(EXP_STEPS + 1) / EXP_STEPS)).astype(np.int32)
MOST_MAGNITUDE_Q23 = 1 << 27  # what a learning rate can be multiplied with in 64 bits
NO_WHITENING: NDArray[np.int8] = np.zeros((0, 0), np.int8)
_LOG2_E_Q14 = 23637
_LN_2_Q14 = 11357


@kernel
def isqrt(value: Any) -> Any:
    """Return the integer square root of a non-negative int64 below 2^62, rounded down."""
    rest = np.int64(value)
    root = np.int64(0)
    bit = np.int64(1) << 60
    while bit > rest:
        bit >>= 2
    while bit > 0:
        if rest >= root + bit:
            rest -= root + bit
            root = (root >> 1) + bit
        else:
            root >>= 1
        bit >>= 2
    return root


@kernel
def unit_embedding(pool: Any, u: Any) -> Any:
    """Write the unit vector of pool (int32 [H]) to u (int16 [H], Q14) and return the length of pool, rounded down.

    With H <= 512 and |pool_j| <= 2^26, that is for a sum of up to 8192 frames (|h| <= 2^13), the sum of squares is at
    most 2^61. No component is longer than the length, rounded down or not, so |u_j| <= 2^14.
    """
    total = np.int64(0)
    for j in range(pool.shape[0]):
        total += np.int64(pool[j]) * np.int64(pool[j])
    length = max(np.int64(1), isqrt(total))
    for j in range(pool.shape[0]):
        u[j] = np.int16(((np.int64(pool[j]) << COSINE_BITS) + (length >> 1)) // length)
    return length


@kernel
def whiten(matrix: Any, u: Any, out: Any) -> None:
    """Write the product of a matrix (int8 [H, H]) and a vector (int16 [H], |u| <= 2^14) to out (int32 [H]).

    A sum of H <= 512 products is below 512 * 2^7 * 2^14 = 2^30.
    """
    for i in range(u.shape[0]):
        total = np.int32(0)
        row = matrix[i]
        for j in range(u.shape[0]):
            total = np.int32(total + np.int32(row[j]) * np.int32(u[j]))
        out[i] = total


def whitening_matrix(whitening: NDArray[np.int8], hidden: int) -> NDArray[np.float64]:
    """Return a whitening as floats [H, H], its largest magnitude 1; for none the identity."""
    matrix = whitening if len(whitening) else np.eye(hidden)
    scaled: NDArray[np.float64] = matrix / np.abs(matrix.astype(np.float64)).max()
    return scaled


@kernel
def whitened_embedding(pool: Any, whitening: Any, whitened: Any, u: Any) -> Any:
    """Write the unit embedding of a pool (int32 [H]) to u (int16 [H], Q14); return the lengths of pool and `whitened`.

    whitening: int8 [H, H], or [0, 0] for none; whitened: int32 [H], scratch.
    """
    length = unit_embedding(pool, u)
    if whitening.shape[0] == 0:
        return length, np.int64(1)
    whiten(whitening, u, whitened)
    return length, unit_embedding(whitened, u)


def as_pool(row: NDArray[np.int8]) -> NDArray[np.int32]:
    """Return a prototype (int8 [H]) as a pooled sum (int32 [H]) for `unit_embedding`: 127 is 64 frames of h = 1."""
    pool: NDArray[np.int32] = row.astype(np.int32) << 12
    return pool


@kernel
def quantise_prototype(vector: Any, row: Any) -> Any:
    """Write vector (int64 [H], |v| < 2^55) to row (int8 [H], largest magnitude 127) and return the row's norm in Q8.

    No norm is 0, so that a row of zeros has the cosine 0 to everything.
    """
    peak = np.int64(1)
    for j in range(vector.shape[0]):
        peak = max(peak, abs(np.int64(vector[j])))
    total = np.int64(0)
    for j in range(vector.shape[0]):
        value = (np.int64(vector[j]) * 254 + peak) // (2 * peak)
        row[j] = np.int8(value)
        total += value * value
    return max(np.int64(1), isqrt(total << 16))


@kernel
def cosines(u: Any, rows: Any, norms_q8: Any, count: int, out: Any) -> None:
    """Write the cosine (Q14) of u (int16 [H], Q14) to each of the first `count` rows (int8 [R, H]) to out (int32 [R]).

    A sum of H <= 512 products is below 512 * 2^14 * 2^7 = 2^30.
    """
    for k in range(count):
        dot = np.int32(0)
        row = rows[k]
        for j in range(u.shape[0]):
            dot = np.int32(dot + np.int32(u[j]) * np.int32(row[j]))
        out[k] = np.int32((np.int64(dot) << 8) // np.int64(norms_q8[k]))


@kernel
def nearness(rows: Any, norms_q8: Any, base_rows: int, row: int) -> Any:
    """Return the best cosine (Q14) of a row (int8 [R, H]) to another one of the first `base_rows` rows.

    A sum of H <= 512 products is at most 2^23, and 2^53 with 30 more bits for the two norms.
    """
    best = np.int64(-16384)
    for k in range(base_rows):
        if k != row:
            dot = np.int32(0)
            for j in range(rows.shape[1]):
                dot = np.int32(dot + np.int32(rows[row, j]) * np.int32(rows[k, j]))
            best = max(best, (np.int64(dot) << 30) // (np.int64(norms_q8[row]) * np.int64(norms_q8[k])))
    return best


@kernel
def exp_neg_q15(x_q10: Any, exp2_q15: Any) -> Any:
    """Return exp(-x) in Q15 for x >= 0 in Q10 (error below 2 of 32768)."""
    power_q16 = (np.int64(x_q10) * _LOG2_E_Q14) >> 8
    whole = power_q16 >> 16
    if whole > 16:
        return 0
    fraction = power_q16 & 65535
    index = fraction >> 10
    low = np.int64(exp2_q15[index])
    value = low + (((np.int64(exp2_q15[index + 1]) - low) * (fraction & 1023) + 512) >> 10)
    return value >> whole


@kernel
def exponentials(cos_q14: Any, count: int, exp2_q15: Any, weights: Any) -> Any:
    """Write exp(16 (cos - best)) (Q15) of `count` cosines (Q14) to weights (int32), return the best and their sum."""
    best = cos_q14[0]
    for k in range(1, count):
        best = max(best, cos_q14[k])
    total = np.int64(0)
    for k in range(count):
        # 16 x a Q14 difference, read as Q10, is the difference itself
        weights[k] = exp_neg_q15(np.int64(best) - np.int64(cos_q14[k]), exp2_q15)
        total += weights[k]
    return best, total


@kernel
def _to_largest(values: Any, bits: int) -> Any:
    """Scale values (int32) so that the largest magnitude is 2^bits; return what it was, 0 of values that are all 0."""
    peak = np.int64(0)
    for j in range(values.shape[0]):
        peak = max(peak, abs(np.int64(values[j])))
    if peak > 0:
        for j in range(values.shape[0]):
            values[j] = np.int32((np.int64(values[j]) << bits) // peak)
    return peak


@kernel
def _through_whitening(whitening: Any, stretched: Any, u: Any, whitened: Any, grad: Any) -> Any:
    """Turn the gradient for a whitened embedding into that for the unit vector of the pool, and return its magnitude.

    That is the product with the matrix, which is symmetric, divided by `stretched`: how long (Q14, in the scale of the
    matrix) the whitening made the unit vector. No part of it lies along the pool, so that none has to be taken off.
    grad int32 [H] is left with its largest magnitude at 2^15; what is returned says which magnitude (Q23) that is. It
    is limited to MOST_MAGNITUDE_Q23, which only a matrix reaches that makes nearly nothing of the unit vector. u int16
    [H] and whitened int32 [H] are scratch.
    """
    peak = _to_largest(grad, 14)
    if peak == 0:
        return peak
    for j in range(grad.shape[0]):
        u[j] = np.int16(grad[j])
    whiten(whitening, u, whitened)
    grad[:] = whitened
    magnitude = peak * _to_largest(grad, 15) // stretched  # of at most 2^25 * 2^30
    return min(magnitude, np.int64(MOST_MAGNITUDE_Q23))


@kernel
def head_gradient(
    pool: Any, whitening: Any, rows: Any, norms_q8: Any, count: int, target: int, cos_q14: Any, u: Any,
    whitened: Any, exp2_q15: Any, log_q16: Any, weights: Any, grad: Any, result: Any,
) -> None:  # fmt: skip
    """Cross-entropy of softmax(16 cos) against row `target`, and its gradient with respect to every h[t].

    grad int32 [H] is the direction with its largest magnitude at 2^15; result int64 [3] takes the loss (nats, Q10), the
    magnitude that 2^15 stands for (Q23, before 16 / |pool|) and |pool|.  cos_q14, weights int32 [R], u int16 [H] and
    whitened int32 [H] are scratch.
    """
    hidden = pool.shape[0]
    length, stretched = whitened_embedding(pool, whitening, whitened, u)
    cosines(u, rows, norms_q8, count, cos_q14)
    best, total = exponentials(cos_q14, count, exp2_q15, weights)
    log_total_q10 = log2_q10(total, log_q16) - (15 << 10)
    result[0] = ((log_total_q10 * _LN_2_Q14) >> 14) + best - cos_q14[target]
    for k in range(count):
        share_q15 = (np.int64(weights[k]) << 15) // total
        if k == target:
            share_q15 -= 32768
        weights[k] = np.int32((share_q15 << 16) // np.int64(norms_q8[k]))  # w / |p| in Q23
    along = np.int64(0)
    for j in range(hidden):
        grad[j] = 0
    for k in range(count):
        weight = np.int32(weights[k])
        if weight != 0:
            row = rows[k]
            for j in range(hidden):
                # |w| sums to at most 2 over the rows and |p_j| <= |p|: at most 2^24, and 127 a row for rounding down
                grad[j] = np.int32(grad[j] + weight * np.int32(row[j]))
    for j in range(hidden):
        along += np.int64(grad[j]) * np.int64(u[j])
    along >>= COSINE_BITS
    for j in range(hidden):
        grad[j] = np.int32(np.int64(grad[j]) - ((along * np.int64(u[j])) >> COSINE_BITS))
    result[2] = length
    if whitening.shape[0] > 0:
        result[1] = _through_whitening(whitening, stretched, u, whitened, grad)
    else:
        result[1] = _to_largest(grad, 15)
