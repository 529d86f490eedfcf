"""Sparse vectors over time, as (index, value) lists with one descriptor a step, and how random ones are made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelearn.errors import UsageError

IntArray = NDArray[np.int64]
VALUE_LIMIT = 1 << 15
"""Random deltas and gradients are int16, as the real ones."""


@dataclass(frozen=True)
class SparseSteps:
    """T sparse vectors of `width` columns: entries starts[t]..starts[t+1] of columns and values are those of step t.

    starts int64 [T+1], columns int64 [E], ascending within a step, values int64 [E]. A column that is listed is
    active, whatever its value.
    """

    width: int
    starts: IntArray
    columns: IntArray
    values: IntArray

    @classmethod
    def from_lists(cls, width: int, steps: Iterable[tuple[IntArray, IntArray]]) -> SparseSteps:
        """Make it of (columns, values) of each step."""
        lists = list(steps)
        starts = np.cumsum([0, *(len(columns) for columns, _ in lists)], dtype=np.int64)
        empty = np.zeros(0, np.int64)
        return cls(
            width,
            starts,
            np.concatenate([empty, *(columns for columns, _ in lists)]),
            np.concatenate([empty, *(values for _, values in lists)]),
        )

    @classmethod
    def from_mask(cls, mask: NDArray[np.bool_], values: IntArray) -> SparseSteps:
        """Make it of a mask bool [T, width] and values int64 of the same shape."""
        return cls.from_lists(mask.shape[1], ((np.flatnonzero(m), v[m]) for m, v in zip(mask, values, strict=True)))

    @property
    def steps(self) -> int:
        """Steps, with and without active columns."""
        return len(self.starts) - 1

    @property
    def entries(self) -> int:
        """Active columns of all steps."""
        return int(self.starts[-1])

    @property
    def sparsity(self) -> float:
        """Share of columns that are not active."""
        return 1 - self.entries / (self.steps * self.width)

    def step(self, t: int) -> tuple[IntArray, IntArray]:
        """Columns and values of step t."""
        span = slice(int(self.starts[t]), int(self.starts[t + 1]))
        return self.columns[span], self.values[span]

    def only(self, t: int) -> SparseSteps:
        """Step t, by itself."""
        return SparseSteps.from_lists(self.width, [self.step(t)])

    def dense(self) -> IntArray:
        """Return it as a matrix int64 [T, width]."""
        matrix = np.zeros((self.steps, self.width), np.int64)
        matrix[np.repeat(np.arange(self.steps), np.diff(self.starts)), self.columns] = self.values
        return matrix

    def with_every_column_active(self) -> SparseSteps:
        """Return the same values with every column listed: what a machine without sparsity works on."""
        matrix = self.dense()
        return SparseSteps.from_mask(np.ones(matrix.shape, np.bool_), matrix)

    def with_full_ends(self) -> SparseSteps:
        """Return it with every column of the first and of the last step listed, with value 0 where it was not."""
        matrix = self.dense()
        mask = np.zeros(matrix.shape, np.bool_)
        mask[np.repeat(np.arange(self.steps), np.diff(self.starts)), self.columns] = True
        mask[[0, -1]] = True
        return SparseSteps.from_mask(mask, matrix)


def random_steps(steps: int, width: int, sparsity: float, seed: int) -> SparseSteps:
    """Return random vectors of exactly that sparsity over all steps together (rounded to less of it), values int16.

    Each step has at least one active column, as the published generator of test data sees to; raises UsageError where
    that cannot be.
    """
    check_sparsity(sparsity)
    entries = int(np.ceil(round(steps * width * (1 - sparsity), 6)))
    if entries < steps:
        raise UsageError(
            f"sparsity {sparsity:g} leaves {entries} active columns for {steps} steps", "ask for less sparsity"
        )
    rng = np.random.default_rng(seed)
    mask = np.zeros((steps, width), np.bool_)
    mask[np.arange(steps), rng.integers(0, width, steps)] = True
    free = np.flatnonzero(~mask)
    mask.flat[rng.permutation(free)[: entries - steps]] = True
    values = rng.integers(1, VALUE_LIMIT, (steps, width)) * rng.choice([-1, 1], (steps, width))
    return SparseSteps.from_mask(mask, values)


def check_sparsity(sparsity: float) -> None:
    """Raise UsageError for a sparsity outside of 0 to 1, or for 1."""
    if not 0 <= sparsity < 1:
        raise UsageError(f"a sparsity of {sparsity:g} is not in 0 to 1", "0.8 means that 80 % of the deltas are zero")
