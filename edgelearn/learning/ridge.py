"""A gradient-free classifier to compare with: ridge regression on embeddings by recursive least squares, in integers.

Source: Plackett, "Some theorems in least squares", Biometrika 37 (1950): with P the inverse of the regularised second
moment of all keys, a key k has the gain g = P k / (1 + k^T P k), moves W by (v - W k) g^T and P by -g (P k)^T.
The result is the ridge solution of everything written, whatever its order, up to rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ONE_Q14 = 1 << 14
PRIOR_BITS = 28  # P is in Q28: an entry is at most 1 / regularisation, and 7 bits are left for that


class Ridge:
    """Answers int32 [classes, H] (Q14) and P int32 [H, H] (Q28), which starts as the unit matrix over `regularisation`.

    A product is int64. Raises ValueError for a regularisation below 1/4, where P would not fit.
    """

    def __init__(self, classes: int, hidden: int, regularisation: float = 1.0) -> None:
        if regularisation < 0.25:
            raise ValueError(f"a regularisation of {regularisation:g} is below 0.25: the inverse would not fit 32 bits")
        self.matrix: NDArray[np.int32] = np.zeros((classes, hidden), np.int32)
        self.inverse: NDArray[np.int32] = np.zeros((hidden, hidden), np.int32)
        np.fill_diagonal(self.inverse, round((1 << PRIOR_BITS) / regularisation))

    def write(self, key_q14: NDArray[np.integer[Any]], label: int | None) -> None:
        """Bind a unit key (Q14, [H]) to a class, None for one that is none of them."""
        key = key_q14.astype(np.int64)
        along = (self.inverse @ key) >> 14  # P k, Q28
        total = (1 << PRIOR_BITS) + int((along @ key) >> 14)  # 1 + k^T P k, Q28
        gain_q28 = (along << PRIOR_BITS) // total
        self.inverse -= ((gain_q28[:, None] * along + (1 << (PRIOR_BITS - 1))) >> PRIOR_BITS).astype(np.int32)
        target = np.zeros(len(self.matrix), np.int64)
        if label is not None:
            target[label] = ONE_Q14
        error = target - ((self.matrix @ key) >> 14)
        step = (error[:, None] * gain_q28 + (1 << (PRIOR_BITS - 1))) >> PRIOR_BITS
        self.matrix += step.astype(np.int32)

    def read(self, keys_q14: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return the answers (Q14, [n, classes]) to unit keys (Q14, [n, H])."""
        return ((keys_q14.astype(np.int64) @ self.matrix.T) >> 14).astype(np.float64)
