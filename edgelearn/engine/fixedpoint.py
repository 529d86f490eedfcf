"""Number formats of the engine and the scalar integer operations that every kernel is made of.

All of them round half up with an arithmetic shift and saturate, never wrap. Intermediate results are 32-bit
where a comment or docstring bounds them, since a 64-bit multiply keeps a loop scalar on ARM; the rest is
64-bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgelearn.jit import kernel

Int8Array = npt.NDArray[np.int8]
Int16Array = npt.NDArray[np.int16]
UInt16Array = npt.NDArray[np.uint16]
Int32Array = npt.NDArray[np.int32]
UInt32Array = npt.NDArray[np.uint32]
Int64Array = npt.NDArray[np.int64]
Scalar = Any
"""An integer inside a kernel, of the width that its docstring says: Numba infers it, mypy cannot."""

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
"""CM16 = sat16(rshift(CM, 6)), and the product of CM16 and a delta loses 6 bits before it is summed."""
BIAS_LIMIT = 1 << 30

SIGMOID_Q15: Int32Array = np.round(32768.0 / (1.0 + np.exp(-np.arange(257) / 32.0))).astype(np.int32)
"""S[k] = round(32768 sigmoid(k/32)), k = 0..256; every value is below 2^15, so a device keeps it as int16."""


_SIGMOID_CHORDS: UInt32Array = (SIGMOID_Q15[:-1] << 16 | np.diff(SIGMOID_Q15)).astype(np.uint32)
"""S[k] << 16 | S[k+1] - S[k], k = 0..255: what `sigmoid_q15` reads of the table, in one load."""


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
    """Round half up int32 value / 2^bits, 1 <= bits <= 31: (value + 2^(bits-1)) >> bits without its overflow."""
    last = np.int32(value >> (bits - 1))
    return np.int32(np.int32(last >> 1) + np.int32(last & np.int32(1)))


@kernel
def rshift64(value: Scalar, bits: Scalar) -> Scalar:
    """Round half up int64 value / 2^bits, bits >= 0, |value| < 2^62."""
    return np.int64(value + ((np.int64(1) << bits) >> 1)) >> bits


@kernel
def clamp32(value: Scalar, low: Scalar, high: Scalar) -> Scalar:
    """Limit an int64 or int32 to [low, high], as int32."""
    return np.int32(min(max(value, low), high))


@kernel
def sigmoid_q15(a: Scalar) -> Scalar:
    """Sigmoid of an int32 (Q12, |a| <= 32767): 0..32768 in Q15, linear between 257 table values."""
    magnitude = np.int32(abs(a))
    chord = _SIGMOID_CHORDS[np.uint32(magnitude >> 7)]
    low = np.int32(chord >> np.uint32(16))
    step = np.int32(chord & np.uint32(0xFFFF))
    fraction = np.int32(magnitude & 127)
    y = np.int32(low + np.int32(np.int32(np.int32(step * fraction) + np.int32(64)) >> 7))
    return y if a >= 0 else np.int32(np.int32(32768) - y)


@kernel
def gate_q15(a: Scalar) -> Scalar:
    """Sigmoid as it is stored, in int16: clipped to 32767."""
    return min(sigmoid_q15(a), np.int32(32767))


@kernel
def tanh_q15(a: Scalar) -> Scalar:
    """Tanh of an int32 (Q12, |a| <= 32768) in Q15, clipped to +-32767: 2 sigmoid(clamp(2a)) - 1."""
    twice = clamp32(np.int32(a << 1), -32767, 32767)
    return clamp32(np.int32(np.int32(sigmoid_q15(twice) << 1) - np.int32(32768)), -32767, 32767)


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
def random_below_power(key: Scalar, row: Scalar, shift: Scalar) -> Scalar:
    """Draw the random number of (key, row), uniform in [0, 2^shift), 0 <= shift <= 62, as int64.

    It has 32 random bits: above shift = 32 it is uniform over the multiples of 2^(shift - 32).
    """
    bits = np.int64(hash32(np.uint32(np.uint64(key) + np.uint64(row) * np.uint64(0x9E3779B9))))
    return bits >> (32 - shift) if shift <= 32 else bits << (shift - 32)


def split_master(master: npt.NDArray[np.integer[Any]]) -> tuple[Int8Array, Int8Array]:
    """Split masters (Q(s+8), clipped to [-32640, 32639]): hi = rshift(master, 8), lo = the rest."""
    limited = np.clip(master.astype(np.int32), MASTER_MIN, MASTER_MAX)
    hi = (limited + 128) >> 8
    return hi.astype(np.int8), (limited - 256 * hi).astype(np.int8)


def join_master(hi: Int8Array, lo: Int8Array) -> Int16Array:
    """Join the planes of a weight matrix into its int16 masters (Q(s+8))."""
    return (256 * hi.astype(np.int32) + lo).astype(np.int16)
