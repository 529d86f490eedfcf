"""Number formats of the engine and the scalar integer operations that every kernel is made of.

All of them round half up with an arithmetic shift and saturate, never wrap. Intermediate results are 32-bit
(`int32.py`) where a comment or docstring bounds them; the rest is 64-bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgelearn.engine.int32 import Scalar, add32, left32, max32, min32, mul32, right32, sub32
from edgelearn.jit import kernel

Int8Array = npt.NDArray[np.int8]
Int16Array = npt.NDArray[np.int16]
UInt16Array = npt.NDArray[np.uint16]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
FEATURE_BITS = 6
"""Fraction bits of int8 features (Q6); shifted left by FEATURE_TO_ACTIVATION they are activations."""
ACTIVATION_BITS = 13
"""Fraction bits of x, h, the transmitted x^ and h^, and the deltas (int16)."""
FEATURE_TO_ACTIVATION = ACTIVATION_BITS - FEATURE_BITS
MASTER_EXTRA_BITS = 8
"""A master weight (int16, Q(s+8)) is 256*hi + lo; hi (int8, Qs) is what the forward pass reads."""
MASTER_MIN, MASTER_MAX = -32640, 32639
"""Limits of a master; they make hi = rshift(master, 8) lie in [-127, 127] and lo in [-128, 127]."""
WEIGHT_LIMIT = 127
ACTIVATION_LIMIT = 1 << 14
"""|x| <= 2^14: an int8 feature shifted left by 7; also a bound of |h| <= 2^13."""
HIDDEN_LIMIT = 1 << 13
GRADIENT_LIMIT = 1 << 30
"""Ch, Cc, CM, Cx^ and Ch^ saturate at +-2^30."""
GRADIENT_EXTRA_BITS = 6
"""CM16 = sat16(rshift(CM, 6))."""
PRODUCT_BITS = 15
"""Bits that the product of CM16 and a delta loses before it is summed to the gradient of a weight."""
BIAS_LIMIT = 1 << 30

TANH_HALF_Q15 = (
    (15142, 25782, -11840, -3294, 4752),
    (29660, 5924, -5368, 2841, -714),
    (32606, 620, -1250, 2127, -2000),
)
"""tanh(u/2) as polynomials of t in [-1, 1) over u in [0, 2), [2, 4) and [4, 8): the k-th coefficient is in Q(15-k).

Minimax fits, then moved a few steps of the last bit for the rounding of `tanh_half_q15` and for tanh(0) = 0.
"""


def weight_sum_limit(inputs: int, hidden: int) -> int:
    """Bound of |Wx x^ + Wh h^| in Q(13+s): |hi| <= 127, |x^| <= 2^14, |h^| <= 2^13."""
    return WEIGHT_LIMIT * (ACTIVATION_LIMIT * inputs + HIDDEN_LIMIT * hidden)


def bias_limit(inputs: int, hidden: int) -> int:
    """Largest |b| in Q(13+s) for which M = b + Wx x^ + Wh h^ fits int32: 2^30, less for the widest layers.

    Every value M takes while columns are being added is M of some mixture of old and new x^, h^, which obey
    the same bounds, so no intermediate sum overflows either.
    """
    return min(BIAS_LIMIT, 2**31 - 1 - weight_sum_limit(inputs, hidden))


@kernel
def rshift32(value: Scalar, bits: Scalar) -> Scalar:
    """Round half up int32 value / 2^bits, 1 <= bits <= 31, value <= 2^31 - 1 - 2^(bits-1)."""
    return right32(add32(value, left32(1, bits - 1)), bits)


@kernel
def rshift64(value: Scalar, bits: Scalar) -> Scalar:
    """Round half up int64 value / 2^bits, bits >= 0, |value| < 2^62."""
    return np.int64(value + ((np.int64(1) << bits) >> 1)) >> bits


@kernel
def gradient_product(cm16: Scalar, delta: Scalar) -> Scalar:
    """rshift(CM16 * delta, 15) of two int16 with |delta| <= 32640: it fits int16."""
    return rshift32(mul32(cm16, delta), PRODUCT_BITS)


@kernel
def clamp32(value: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """Limit an int64 or int32 to [low, high], as int32."""
    return np.int32(min(max(value, low), high))


@kernel
def _coefficient(magnitude: Scalar, near: Scalar, middle: Scalar, far: Scalar) -> Scalar:
    return np.int32(far) if magnitude >= 16384 else (np.int32(middle) if magnitude >= 8192 else np.int32(near))


@kernel
def tanh_half_q15(a: Scalar) -> Scalar:
    """tanh(a/2) in Q15, odd, of an int32 (Q12, |a| <= 32767): |error| < 3.7 of the last bit, |result| <= 32743.

    A polynomial and no table: without look-ups a vector unit does as many at a time as it has lanes. Horner's scheme
    with y = c_k + (y t >> 16), t in Q15: every y fits int16, every product int32.
    """
    near, middle, far = TANH_HALF_Q15
    u = max32(a, sub32(0, a))
    wide, narrow = left32(u & np.int32(16383), 2), left32(u & np.int32(8191), 3)
    t = sub32(wide if u >= 16384 else narrow, 32768)
    y = _coefficient(u, near[4], middle[4], far[4])
    y = add32(right32(mul32(y, t), 16), _coefficient(u, near[3], middle[3], far[3]))
    y = add32(right32(mul32(y, t), 16), _coefficient(u, near[2], middle[2], far[2]))
    y = add32(right32(mul32(y, t), 16), _coefficient(u, near[1], middle[1], far[1]))
    y = add32(right32(mul32(y, t), 16), _coefficient(u, near[0], middle[0], far[0]))
    return y if a >= 0 else sub32(0, y)


@kernel
def sigmoid_q15(a: Scalar) -> Scalar:
    """Sigmoid of an int32 (Q12, |a| <= 32767): (1 + tanh(a/2)) / 2 in Q15, 12..32756: |error| < 2.4."""
    return add32(right32(add32(tanh_half_q15(a), 1), 1), 16384)


@kernel
def tanh_q15(a: Scalar) -> Scalar:
    """Tanh of an int32 (Q12, |a| <= 32768) in Q15: within 3.7 of the last bit up to |a| = 4, +-32743 beyond."""
    return tanh_half_q15(min32(max32(left32(a, 1), -32767), 32767))


@kernel
def hash32(value: Scalar) -> Scalar:
    """Mix 32 bits, one to one; the constants are those of lowbias32 (C. Wellons, hash-prospector)."""
    x = np.uint32(value)
    x = np.uint32(x ^ np.uint32(x >> np.uint32(16)))
    x = np.uint32(np.uint64(x) * np.uint64(0x7FEB352D))
    x = np.uint32(x ^ np.uint32(x >> np.uint32(15)))
    x = np.uint32(np.uint64(x) * np.uint64(0x846CA68B))
    return np.uint32(x ^ np.uint32(x >> np.uint32(16)))


@kernel
def column_key(seed: Scalar, layer: Scalar, column: Scalar) -> Scalar:
    """Key of the random numbers of one weight column in one update step."""
    return hash32(hash32(np.uint32(seed)) ^ np.uint32(layer << 16 | column))


@kernel
def random_bits(key: Scalar, row: Scalar) -> Scalar:
    """Draw the 32 random bits of (key, row), as uint32."""
    return hash32(np.uint32(np.uint64(key) + np.uint64(row) * np.uint64(0x9E3779B9)))


def split_master(master: npt.NDArray[np.integer[Any]]) -> tuple[Int8Array, Int8Array]:
    """Split masters (Q(s+8), clipped to [-32640, 32639]): hi = rshift(master, 8), lo = the rest."""
    limited = np.clip(master.astype(np.int32), MASTER_MIN, MASTER_MAX)
    hi = (limited + 128) >> 8
    return hi.astype(np.int8), (limited - 256 * hi).astype(np.int8)


def join_master(hi: Int8Array, lo: Int8Array) -> Int16Array:
    """Join the planes of a weight matrix into its int16 masters (Q(s+8))."""
    return (256 * hi.astype(np.int32) + lo).astype(np.int16)
