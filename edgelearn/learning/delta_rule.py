"""A gradient-free classifier to compare with: a fast-weight matrix written by the delta rule, in integers.

Source: Irie, Schlag, Csordás, Schmidhuber, "Going Beyond Linear Transformers with Recurrent Fast Weight Programmers",
NeurIPS 2021: W += beta (v - W k) k^T with |k| = 1, so that a write first removes what was bound to k.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

ONE_Q14 = 1 << 14


class DeltaRule:
    """A matrix int64 [classes, H] (Q14) that answers the one-hot code of what was written nearest to a key."""

    def __init__(self, classes: int, hidden: int, beta_q14: int = ONE_Q14 // 2) -> None:
        self.matrix: NDArray[np.int64] = np.zeros((classes, hidden), np.int64)
        self._beta_q14 = beta_q14

    def write(self, key_q14: NDArray[np.integer[Any]], label: int) -> None:
        """Bind a unit key (Q14, [H]) to a class."""
        target = np.zeros(len(self.matrix), np.int64)
        target[label] = ONE_Q14
        error = target - ((self.matrix @ key_q14) >> 14)
        self.matrix += (((error * self._beta_q14) >> 14)[:, None] * key_q14) >> 14

    def read(self, keys_q14: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Return the answers (Q14, [n, classes]) to unit keys (Q14, [n, H])."""
        return ((keys_q14 @ self.matrix.T) >> 14).astype(np.float64)
