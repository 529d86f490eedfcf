"""The slow, obvious twin of the classifier's arithmetic in Python integers, and its formula in float64."""

from __future__ import annotations

import math

import numpy as np

from tests.reference_audio import log2_q10

EXP2_Q15 = [round(32768 * 2 ** (-k / 64)) for k in range(65)]


def unit_embedding(pool: list[int]) -> tuple[list[int], int]:
    """Unit vector (Q14) and length of a pooled sum."""
    length = max(1, math.isqrt(sum(v * v for v in pool)))
    return [((v << 14) + length // 2) // length for v in pool], length


def quantise_prototype(vector: list[int]) -> tuple[list[int], int]:
    """Row (largest magnitude 127) and its norm (Q8)."""
    peak = max(1, *(abs(v) for v in vector))
    row = [(254 * v + peak) // (2 * peak) for v in vector]
    return row, max(1, math.isqrt(sum(v * v for v in row) << 16))


def table(prototypes: np.ndarray) -> tuple[list[list[int]], list[int]]:
    """Rows of prototypes and their norms (Q8)."""
    rows = [quantise_prototype(values) for values in prototypes.tolist()]
    return [row for row, _ in rows], [norm for _, norm in rows]


def cosines(u: list[int], rows: list[list[int]], norms_q8: list[int]) -> list[int]:
    """Cosine (Q14) of u (Q14) to each row."""
    dots = [sum(a * b for a, b in zip(u, row, strict=True)) for row in rows]
    return [(dot << 8) // norm for dot, norm in zip(dots, norms_q8, strict=True)]


def nearness(rows: list[list[int]], norms_q8: list[int], base_rows: int, row: int) -> int:
    """Best cosine (Q14) of a row to another base row."""
    dots = {k: sum(a * b for a, b in zip(rows[row], rows[k], strict=True)) for k in range(base_rows) if k != row}
    return max((dot << 30) // (norms_q8[row] * norms_q8[k]) for k, dot in dots.items())


def exp_neg_q15(x_q10: int) -> int:
    """exp(-x), Q10 to Q15."""
    power_q16 = (x_q10 * 23637) >> 8
    whole, fraction = power_q16 >> 16, power_q16 & 65535
    if whole > 16:
        return 0
    low, high = EXP2_Q15[fraction >> 10], EXP2_Q15[(fraction >> 10) + 1]
    return (low + (((high - low) * (fraction & 1023) + 512) >> 10)) >> whole


def times(matrix: list[list[int]], vector: list[int]) -> list[int]:
    """Product of a matrix and a vector."""
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def to_largest(values: list[int], bits: int) -> tuple[list[int], int]:
    """Values with their largest magnitude at 2^bits, and what it was."""
    peak = max(abs(v) for v in values)
    return [(v << bits) // peak if peak else 0 for v in values], peak


class HeadStep:
    """One step of the head: gradient, loss (nats, Q10), magnitude (Q23), length; and the largest intermediate sum.

    whitening: the rows of a symmetric matrix, none for none.
    """

    def __init__(
        self,
        pool: list[int],
        rows: list[list[int]],
        norms_q8: list[int],
        target: int,
        whitening: list[list[int]],
    ) -> None:
        unit, self.length = unit_embedding(pool)
        if whitening:
            unit, stretched = unit_embedding(times(whitening, unit))
        cos = cosines(unit, rows, norms_q8)
        weights = [exp_neg_q15(max(cos) - c) for c in cos]
        total = sum(weights)
        self.loss_q10 = (((log2_q10(total) - (15 << 10)) * 11357) >> 14) + max(cos) - cos[target]
        shares = [(w << 15) // total - (32768 if k == target else 0) for k, w in enumerate(weights)]
        scaled_q23 = [(share << 16) // norm for share, norm in zip(shares, norms_q8, strict=True)]
        gradient = [0] * len(pool)
        self.largest = 0
        for weight, row in zip(scaled_q23, rows, strict=True):
            gradient = [g + weight * p for g, p in zip(gradient, row, strict=True)]
            self.largest = max(self.largest, *(abs(g) for g in gradient))
        along = sum(g * u for g, u in zip(gradient, unit, strict=True)) >> 14
        gradient = [g - ((along * u) >> 14) for g, u in zip(gradient, unit, strict=True)]
        if whitening:
            gradient, peak = to_largest(gradient, 14)
            self.gradient, largest = to_largest(times(whitening, gradient), 15)
            self.magnitude_q23 = min(peak * largest // stretched, 1 << 27)
        else:
            self.gradient, self.magnitude_q23 = to_largest(gradient, 15)


def float_loss(pool: np.ndarray, rows: np.ndarray, target: int, whitening: np.ndarray) -> float:
    """-log softmax(16 cos) of float64 vectors, the pool whitened by a matrix."""
    pool = whitening @ pool
    logits = 16 * (rows @ pool) / np.linalg.norm(rows, axis=1) / np.linalg.norm(pool)
    return float(np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[target])


def float_gradient(pool: np.ndarray, rows: np.ndarray, target: int, whitening: np.ndarray) -> np.ndarray:
    """Its derivative with respect to the pool."""
    pool = whitening @ pool
    length = np.linalg.norm(pool)
    unit, classes = pool / length, rows / np.linalg.norm(rows, axis=1, keepdims=True)
    share = np.exp(16 * (classes @ unit))
    share /= share.sum()
    share[target] -= 1
    across = share @ classes
    return whitening.T @ (16 / length * (across - (across @ unit) * unit))
