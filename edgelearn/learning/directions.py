"""The directions in which the takes of a word differ: what lies along them counts less against an utterance.

A prototype says where a word lies, not how it varies: several people, or one on several days, say it differently, and
mostly in the same few ways.  For unit vectors u and p the cosine is 1 - |u - p|^2 / 2; of the part of u - p along a
direction a share of s / (s + 2) is taken off again, s the sum of the squares of all takes along it.  That is a Gaussian
of its own low-rank covariance for each word, without its determinant (as in tangent distance, Simard et al., NIPS
1992), whose variances are the less believed the fewer the takes are that they are known from.

The directions are the first singular vectors of the takes about their mean, kept up take by take: the newest joins
those that are kept, all are made orthogonal by Jacobi rotations (Hestenes, J. SIAM 1958) and the shortest is dropped,
so that no take needs to be remembered.

Formats: a direction is an int8 vector with its norm in Q8, as a prototype is; its length, the root of the sum of
squares of all takes along it, is Q14.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts
from edgelearn.jit import kernel
from edgelearn.learning.head import isqrt, quantise_prototype, unit_embedding

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena

DIRECTIONS = 4  # of a taught word: two say less, six hardly more
LEAST_TAKES = 5  # before that a few takes of one person say more of them than of the word
COMPARED_Q28 = 2 << 28  # with which the sum of squares along a direction is compared: 16 takes that differ much have it
MOST_TAKES = 1 << 15  # of which a word learns how it varies: no sum of squares is beyond 2^47 then
MOST_LENGTH_Q14 = 1 << 23  # of a direction: the root of MOST_TAKES times 2
ROUNDS = 3  # of rotations: as good as orthogonal, most of the vectors are to begin with
TAKES, MEAN = 0, 1  # of `heard`
HEARD_BYTES, NUMBERS_BYTES = 8, 8  # of a row; of a direction its norm and its length


@kernel
def product(first: Any, second: Any) -> Any:
    """Return the scalar product of two vectors (int32 [H], Q14), in Q28."""
    total = np.int64(0)
    for j in range(first.shape[0]):
        total += np.int64(first[j]) * np.int64(second[j])
    return total


@kernel
def make_orthogonal(first: Any, second: Any) -> None:
    """Turn two vectors (int32 [H], Q14; no square beyond 2^47) in the plane of both until they are orthogonal."""
    apart = product(second, second) - product(first, first)
    both = 2 * product(first, second)
    against = (apart < 0) != (both < 0)
    apart, both = abs(apart), abs(both)
    while max(apart, both) >= 1 << 30:
        apart >>= 1
        both >>= 1
    if both == 0:
        return
    # of the two angles that do it the smaller one, at most 45 degrees; apart / both is the cotangent of twice the angle
    tangent_q15 = (both << 15) // (apart + isqrt(apart * apart + both * both))
    cosine_q15 = np.int64(1 << 30) // isqrt((1 << 30) + tangent_q15 * tangent_q15)
    sine_q15 = (cosine_q15 * tangent_q15 + (1 << 14)) >> 15
    if against:
        sine_q15 = -sine_q15
    for j in range(first.shape[0]):
        one, other = np.int64(first[j]), np.int64(second[j])
        first[j] = np.int32((cosine_q15 * one - sine_q15 * other + (1 << 14)) >> 15)
        second[j] = np.int32((sine_q15 * one + cosine_q15 * other + (1 << 14)) >> 15)


@kernel
def add_take(u: Any, p: Any, heard: Any, directions: Any, norms_q8: Any, lengths_q14: Any, vectors: Any) -> None:
    """Let a take u of a word whose takes so far have the direction p (unit vectors, int16 [H] Q14) join what is kept.

    heard: int32 [2], of how many takes that is and the length of their mean (Q14); directions: int8 [D, H], norms_q8
    and lengths_q14 int32 [D]; vectors: int32 [D + 1, H], scratch.
    """
    takes, mean_q14 = np.int64(heard[TAKES]), np.int64(heard[MEAN])
    if takes >= MOST_TAKES:
        return
    kept, hidden = directions.shape
    for k in range(kept):
        for j in range(hidden):
            scaled = np.int64(directions[k, j]) * np.int64(lengths_q14[k])
            vectors[k, j] = np.int32((scaled << 8) // max(np.int64(1), np.int64(norms_q8[k])))
    share_q14 = isqrt((takes << 28) // (takes + 1))  # the mean moves towards a take, the more so the fewer there were
    along_q28 = np.int64(0)
    for j in range(hidden):
        along_q28 += np.int64(u[j]) * np.int64(p[j])
        apart_q28 = (np.int64(u[j]) << 14) - mean_q14 * np.int64(p[j])
        vectors[kept, j] = np.int32((apart_q28 * share_q14) >> 28)
    for _ in range(ROUNDS):
        for k in range(kept):
            for n in range(k + 1, kept + 1):
                make_orthogonal(vectors[k], vectors[n])
    shortest = kept
    for k in range(kept):
        if product(vectors[k], vectors[k]) < product(vectors[shortest], vectors[shortest]):
            shortest = k
    for j in range(hidden):
        vectors[shortest, j] = vectors[kept, j]
    for k in range(kept):
        lengths_q14[k] = np.int32(isqrt(product(vectors[k], vectors[k])))
        norms_q8[k] = np.int32(quantise_prototype(vectors[k], directions[k]))
    sum_q14 = takes * mean_q14
    square_q28 = sum_q14 * sum_q14 + 2 * sum_q14 * (along_q28 >> 14) + (1 << 28)
    # unit vectors are rounded: of a take that is the mean's very opposite it can be below 0
    heard[MEAN] = np.int32(isqrt(max(np.int64(0), square_q28)) // (takes + 1))
    heard[TAKES] = np.int32(takes + 1)


def count_take(kept: int, hidden: int) -> Counts:
    """Count a take that joins so many directions: three products and two turned vectors for each pair, and lengths."""
    vectors = kept + 1
    pairs = ROUNDS * kept * vectors // 2
    products = (7 * pairs + 3 * vectors) * hidden
    return Counts(
        macs_forward=products,
        macs_dense_forward=products,
        macs_dense_training=products,
        state_bytes=(24 * pairs + 8 * vectors) * hidden,
        elementwise_ops=3 * vectors * hidden,
    )


@kernel
def take_back(
    u: Any, rows: Any, row_norms_q8: Any, cos_q14: Any, least_takes: int, compared_q28: int, each_q28: int, heard: Any,
    directions: Any, norms_q8: Any, lengths_q14: Any,
) -> None:  # fmt: skip
    """Add to the cosines (Q14, int32 [R]) of rows (int8 [R, H]) to u (int16 [H], Q14) what lies along their directions.

    That is half the square of u - p along each, times s / (s + compared_q28 + takes each_q28), s (Q28) the sum of the
    squares of all takes along it; nothing for fewer takes than `least_takes`. heard, directions, norms_q8, lengths_q14:
    of the same rows, as in `add_take`.
    """
    for n in range(rows.shape[0]):
        takes = np.int64(heard[n, TAKES])
        if takes < least_takes:
            continue
        total = np.int64(0)
        for k in range(directions.shape[1]):
            of_u = np.int32(0)
            of_row = np.int32(0)
            for j in range(u.shape[0]):
                of_u = np.int32(of_u + np.int32(u[j]) * np.int32(directions[n, k, j]))
                of_row = np.int32(of_row + np.int32(rows[n, j]) * np.int32(directions[n, k, j]))
            norm = np.int64(norms_q8[n, k])
            apart_q14 = (np.int64(of_u) << 8) // norm - (np.int64(of_row) << 30) // (norm * np.int64(row_norms_q8[n]))
            square_q28 = np.int64(lengths_q14[n, k]) * np.int64(lengths_q14[n, k])
            share_q15 = (square_q28 << 15) // (square_q28 + compared_q28 + takes * each_q28)
            total += (apart_q14 * apart_q14 * share_q15) >> 29
        cos_q14[n] += np.int32(total >> 1)


def directions_within(capacity_bytes: int, rows: int, hidden: int) -> int:
    """Return how many directions each of so many rows can have in that many bytes."""
    return max(0, (capacity_bytes // rows - HEARD_BYTES) // (hidden + NUMBERS_BYTES))


def directions_bytes(kept: int, hidden: int) -> int:
    """Return the arena bytes of a row of `Directions`."""
    return kept * (hidden + NUMBERS_BYTES) + HEARD_BYTES


class Saved(NamedTuple):
    """What a model file keeps of rows: heard int32 [R, 2], vectors int8 [R, D, H], lengths_q14 int32 [R, D]."""

    heard: NDArray[np.int32]
    vectors: NDArray[np.int8]
    lengths_q14: NDArray[np.int32]

    def fits(self, rows: int, hidden: int) -> bool:
        """Return whether these are of so many rows of so many components, and within their bounds."""
        shapes = (rows, 2), (rows, DIRECTIONS, hidden), (rows, DIRECTIONS)
        if not rows:
            return not any(array.size for array in self)
        if tuple(array.shape for array in self) != shapes or self.vectors.dtype != np.int8:
            return False
        takes, means, lengths = self.heard[:, TAKES], self.heard[:, MEAN], self.lengths_q14
        bounds = (takes, MOST_TAKES), (means, 1 << 14), (lengths, MOST_LENGTH_Q14)
        return all(a.dtype == np.int32 and bool(((a >= 0) & (a <= most)).all()) for a, most in bounds)


class Directions:
    """Those of the rows of a table, in the arena."""

    def __init__(self, rows: int, directions: int, hidden: int, arena: Arena, name: str = "directions") -> None:
        self._vectors = arena.alloc(f"{name}.vectors", (rows, directions, hidden), np.int8)
        self._norms_q8 = arena.alloc(f"{name}.norms", (rows, directions), np.int32)
        self._lengths_q14 = arena.alloc(f"{name}.lengths", (rows, directions), np.int32)
        self._heard = arena.alloc(f"{name}.heard", (rows, 2), np.int32)
        self._arrays = (self._vectors, self._norms_q8, self._lengths_q14, self._heard)

    def add(self, row: int, unit: NDArray[np.int16], before: NDArray[np.int32], scratch: NDArray[np.int32]) -> None:
        """Let a take of the word at `row` join, a unit embedding (int16 Q14 [H]); before: the sum of those before it.

        scratch: int32, of (D + 1) H numbers at least.
        """
        _, kept, hidden = self._vectors.shape
        vectors = scratch[: (kept + 1) * hidden].reshape(kept + 1, hidden)
        mean = np.empty(hidden, np.int16)
        unit_embedding(before, mean)
        add_take(unit, mean, self._heard[row], self._vectors[row], self._norms_q8[row], self._lengths_q14[row], vectors)

    def have_a_say(self, row: int) -> bool:
        """Return whether the word at `row` has as many takes as its directions need."""
        return int(self._heard[row, TAKES]) >= LEAST_TAKES

    def take_back(
        self, unit: NDArray[np.int16], rows: NDArray[np.int8], norms_q8: NDArray[np.int32], cos_q14: NDArray[np.int32],
        least_takes: int = LEAST_TAKES, compared_q28: int = COMPARED_Q28, each_q28: int = 0,
    ) -> None:  # fmt: skip
        """Add to the cosines of the first rows what lies along their directions, see `take_back`."""
        take_back(
            unit, rows, norms_q8, cos_q14, least_takes, compared_q28, each_q28, self._heard, self._vectors,
            self._norms_q8, self._lengths_q14,
        )  # fmt: skip

    def remove(self, row: int) -> None:
        """Drop those of a row; the rows above it move down by one."""
        for array in self._arrays:
            array[row:-1] = array[row + 1 :].copy()
            array[-1] = 0

    def pack(self, rows: int) -> Saved:
        """Return a copy of those of the first rows."""
        return Saved(self._heard[:rows].copy(), self._vectors[:rows].copy(), self._lengths_q14[:rows].copy())

    def unpack(self, saved: Saved) -> None:
        """Take over those of the first rows; the others have none."""
        for array in self._arrays:
            array[:] = 0
        rows = len(saved.heard)
        self._heard[:rows], self._lengths_q14[:rows] = saved.heard, saved.lengths_q14
        for row, vectors in enumerate(saved.vectors):
            for k, vector in enumerate(vectors):
                self._norms_q8[row, k] = quantise_prototype(vector, self._vectors[row, k])


def no_directions(rows: int = 0, hidden: int = 0) -> Saved:
    """Return those of rows of whose takes nothing is known."""
    empty = np.zeros((rows, DIRECTIONS), np.int32)
    return Saved(np.zeros((rows, 2), np.int32), np.zeros((rows, DIRECTIONS, hidden), np.int8), empty)
