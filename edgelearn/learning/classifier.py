"""Words as unit vectors: the classes of the base model are the background against which every word is scored.

The score of a word is its cosine to the utterance minus 3/4 of the best cosine of any *other* base row: what sounds
like something the base model knows is not the new word.  It also loses a quarter of its own nearness, the best cosine
of its row to another base row: words that sound like others are heard by mistake more often, and one threshold is to
serve for all.  And a taught word loses a quarter of the best cosine of the other taught words, if that is positive:
what could be either of them is neither for certain.  The cosine of a taught word of many takes is larger by what
lies along the directions in which these differ (`directions.py`).

One row of the table is one class, base classes first, taught words last.  Between them are background rows: kinds of
running speech, which are no class and only count against words, with 7/8 of their cosine.

Embeddings are whitened if the model has a matrix for it (`head.py`); rows are means of such embeddings, and no row is
whitened again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.melbank import LOG_Q16
from edgelearn.engine.optimizer import SHIFT_RANGE
from edgelearn.errors import BudgetExceeded
from edgelearn.jit import kernel
from edgelearn.learning.adaptation import add_row_gradient, descend
from edgelearn.learning.directions import DIRECTIONS, Directions
from edgelearn.learning.head import (
    EXP2_Q15,
    LOGIT_SCALE,
    NO_WHITENING,
    as_pool,
    cosines,
    head_gradient,
    nearness,
    quantise_prototype,
    unit_embedding,
    whitened_embedding,
)

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes of the table: hidden units, base rows, the last ones of which are background, and rows for taught words."""

    hidden: int
    base_rows: int
    taught_rows: int = 24
    background_rows: int = 0

    @property
    def rows(self) -> int:
        """All rows of the table."""
        return self.base_rows + self.taught_rows

    @property
    def base_classes(self) -> int:
        """Base rows that are classes: the first ones, in front of the background."""
        return self.base_rows - self.background_rows


class HeadStep(NamedTuple):
    """What the head hands to BPTT: loss (nats, Q10), size of the gradient (Q23), length of the pooled sum (Q13)."""

    loss_q10: int
    magnitude_q23: int
    length: int

    def rate(self, rate_q16: int, weight_shift: int) -> tuple[int, int]:
        """Return (mult, shift) for `Network.update`: the learning rate in the units of this step's normalised gradient.

        The head hands over dL/dh with its largest magnitude at 2^15; what that stands for is 16 m / |S|, with m in Q23
        and |S| in Q13, and a master is in Q(s+8): the factor is rate * 16 m / |S| * 2^(s-9), of the integers m and |S|,
        at most the 2^11 that an update can take.
        """
        mult = ((rate_q16 * LOGIT_SCALE * self.magnitude_q23) << 12) // max(1, self.length)
        shift = 37 - weight_shift
        while mult > 32767 and shift > SHIFT_RANGE[0]:
            mult = (mult + 1) >> 1
            shift -= 1
        return min(mult, 32767), shift


@kernel
def _two_best(cos_q14: Any, start: int, stop: int) -> Any:
    """Return the largest of some cosines (Q14), the next one, and where the largest is; -32768 for none."""
    first = np.int32(-32768)
    second = np.int32(-32768)
    owner = -1
    for k in range(start, stop):
        if cos_q14[k] > first:
            second = first
            first = cos_q14[k]
            owner = k
        elif cos_q14[k] > second:
            second = cos_q14[k]
    return first, second, owner


@kernel
def taken_off(rival_q14: Any, near_q14: Any) -> Any:
    """Return what base rows take off a score (Q14): by the best cosine of the others, and by the word's nearness."""
    return ((3 * rival_q14) >> 2) + (near_q14 >> 2)


@kernel
def score_rows(cos_q14: Any, near_q14: Any, base_rows: int, used_rows: int, rows: Any, out: Any) -> Any:
    """Write the scores (Q14) of the vocabulary `rows` (int64) to `out`, return the position of the best, or -1.

    near_q14: the nearness of each row (int32).
    """
    first, second, owner = _two_best(cos_q14, 0, base_rows)
    taught, next_taught, taught_owner = _two_best(cos_q14, base_rows, used_rows)
    best = -1
    for n in range(rows.shape[0]):
        rival = second if rows[n] == owner else first
        score = np.int32(cos_q14[rows[n]] - taken_off(rival, near_q14[rows[n]]))
        if rows[n] >= base_rows:
            other = next_taught if rows[n] == taught_owner else taught
            score = np.int32(score - (np.int32(max(other, np.int32(0))) >> 2))
        out[n] = score
        if best < 0 or out[n] > out[best]:
            best = n
    return best


class Classifier:
    """The table of prototypes and the scratch of its arithmetic, in the arena.

    whitening: int8 [H, H], symmetric, or [0, 0] for none; like the tables of the front end it never changes, and is in
    no arena.
    """

    def __init__(
        self, config: ClassifierConfig, arena: Arena, name: str = "classifier",
        whitening: NDArray[np.int8] = NO_WHITENING,
    ) -> None:  # fmt: skip
        self.config = config
        self._whitening = whitening
        self.rows = config.base_rows
        self._prototypes = arena.alloc(f"{name}.prototypes", (config.rows, config.hidden), np.int8)
        self._norms_q8 = arena.alloc(f"{name}.norms", config.rows, np.int32)
        self._near_q14 = arena.alloc(f"{name}.nearness", config.rows, np.int32)
        self._cos_q14 = arena.alloc(f"{name}.cosines", config.rows, np.int32)
        self._weights = arena.alloc(f"{name}.weights", config.rows, np.int32)
        self._u_q14 = arena.alloc(f"{name}.embedding", config.hidden, np.int16)
        self._whitened = arena.alloc(f"{name}.whitened", config.hidden, np.int32)
        self.gradient: NDArray[np.int32] = arena.alloc(f"{name}.gradient", config.hidden, np.int32)
        self.directions = Directions(config.taught_rows, DIRECTIONS, config.hidden, arena, f"{name}.directions")

    @property
    def whitens(self) -> bool:
        """Whether embeddings are whitened."""
        return len(self._whitening) > 0

    def load(self, prototypes: NDArray[np.int8]) -> None:
        """Take over the rows of a model file (int8 [rows, H]), base classes first; raises as `check` does."""
        self.check(prototypes)
        self.rows = len(prototypes)
        for k, row in enumerate(prototypes):
            self._write_row(k, row)
        self.refresh_nearness()

    def check(self, prototypes: NDArray[np.int8]) -> None:
        """Raise BudgetExceeded for more rows than the table has."""
        if len(prototypes) > self.config.rows:
            raise BudgetExceeded(
                "classifier.prototypes", prototypes.nbytes, self._prototypes.nbytes, self._prototypes.nbytes,
                "remove a word from the model first",
            )  # fmt: skip

    def prototypes(self) -> NDArray[np.int8]:
        """Return a copy of all rows in use, for the model file."""
        table: NDArray[np.int8] = self._prototypes[: self.rows].copy()
        return table

    def table(self) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
        """Return all rows in use (int8 [rows, H]) and their norms (Q8), as they are: not to be written to."""
        return self._prototypes[: self.rows], self._norms_q8[: self.rows]

    def embed(self, pool: NDArray[np.int32]) -> NDArray[np.int16]:
        """Return the unit embedding (int16 Q14) of a pooled sum of h (int32 [H])."""
        whitened_embedding(pool, self._whitening, self._whitened, self._u_q14)
        unit: NDArray[np.int16] = self._u_q14.copy()
        return unit

    def direction(self, vector: NDArray[np.int32]) -> NDArray[np.int16]:
        """Return the unit vector (int16 Q14) in the direction of a row or a sum of embeddings (int32 [H])."""
        unit_embedding(vector, self._u_q14)
        unit: NDArray[np.int16] = self._u_q14.copy()
        return unit

    def unit_row(self, row: int) -> NDArray[np.int16]:
        """Return a row as a unit vector (int16 Q14)."""
        return self.direction(as_pool(self._prototypes[row]))

    def cosines(self, unit: NDArray[np.int16]) -> NDArray[np.int32]:
        """Return the cosines (Q14) of a unit embedding (int16 Q14) to all rows in use; see `take_back`."""
        self._compare(unit)
        result: NDArray[np.int32] = self._cos_q14[: self.rows].copy()
        return result

    def _compare(self, unit: NDArray[np.int16]) -> None:
        cosines(unit, self._prototypes, self._norms_q8, self.rows, self._cos_q14)
        taught = slice(self.config.base_rows, self.rows)
        self.directions.take_back(unit, self._prototypes[taught], self._norms_q8[taught], self._cos_q14[taught])

    def closest_class(self, row: int) -> int:
        """Return the best cosine (Q14) of a row to another class: background rows are none."""
        cosines = self.cosines(self.unit_row(row))
        cosines[row] = -1 << 14
        cosines[self.config.base_classes : self.config.base_rows] = -1 << 14
        return int(cosines.max())

    def against(self, unit: NDArray[np.int16], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return what the base rows take off the scores (Q14) of the taught words at `rows`."""
        best = self.cosines(unit)[: self.config.base_rows].max()
        return np.array([taken_off(best, near) for near in self._near_q14[rows]], np.int64)

    def scores(self, unit: NDArray[np.int16], rows: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
        """Return the scores (Q14) of the words at `rows` and the position of the best of them."""
        self._compare(unit)
        out = np.empty(len(rows), np.int32)
        best = int(score_rows(self._cos_q14, self._near_q14, self.config.base_rows, self.rows, rows, out))
        return out, best

    def decide(self, unit: NDArray[np.int16], thresholds_q14: Sequence[int]) -> int:
        """Return the row of the nearest class; a taught row only counts if its score reaches its threshold.

        thresholds_q14: of the taught rows, in their order.  Background rows are no class.
        """
        cosines = self.cosines(unit)
        base = self.config.base_rows
        nearest_base = int(np.argmax(cosines[: self.config.base_classes]))
        if self.rows == base:
            return nearest_base
        taught = base + int(np.argmax(cosines[base:]))
        score = np.empty(1, np.int32)
        score_rows(cosines, self._near_q14, base, self.rows, np.array([taught]), score)
        heard = cosines[taught] > cosines[nearest_base] and score[0] >= thresholds_q14[taught - base]
        return taught if heard else nearest_base

    def check_room(self) -> None:
        """Raise BudgetExceeded if the table has no row left for a new word."""
        if self.rows == self.config.rows:
            raise BudgetExceeded(
                "classifier.prototypes", self.config.hidden, 0, self._prototypes.nbytes,
                f"the device has room for {self.config.taught_rows} taught words: remove one first",
            )  # fmt: skip

    def add_row(self, vector: NDArray[np.integer[Any]]) -> int:
        """Append a row in the direction of `vector` (any scale) and return it; BudgetExceeded if the table is full."""
        self.check_room()
        self.rows += 1
        self.set_row(self.rows - 1, vector)
        return self.rows - 1

    def set_row(self, row: int, vector: NDArray[np.integer[Any]]) -> None:
        """Turn a row into the direction of `vector` (any scale, below 2^54); of a base row see `refresh_nearness`."""
        self._write_row(row, vector)
        if row >= self.config.base_rows:
            self._near_q14[row] = self._nearness(row)

    def _write_row(self, row: int, vector: NDArray[np.integer[Any]]) -> None:
        norm_q8 = quantise_prototype(vector.astype(np.int64), self._prototypes[row])
        background = self.config.base_classes <= row < self.config.base_rows
        self._norms_q8[row] = norm_q8 * 8 // 7 if background else norm_q8

    def refresh_nearness(self) -> None:
        """Say that base rows have changed: all rows may be nearer to one or further away."""
        for row in range(self.rows):
            self._near_q14[row] = self._nearness(row)

    def _nearness(self, row: int) -> int:
        return int(nearness(self._prototypes, self._norms_q8, self.config.base_rows, row))

    def add_row_gradient(
        self, unit: NDArray[np.int16], target: int, first: int, weight_q15: int, sums: NDArray[np.int32]
    ) -> int:
        """Add the gradient of a unit embedding of row `target` for the rows from `first` on, see `adaptation`."""
        cosines(unit, self._prototypes, self._norms_q8, self.rows, self._cos_q14)
        return int(
            add_row_gradient(unit, self._cos_q14, self.rows, target, first, weight_q15, EXP2_Q15, self._weights, sums)
        )

    def move_row(self, row: int, sums: NDArray[np.int32], rate_q16: int) -> None:
        """Let a row go down the gradient in sums (int32 [H]), see `adaptation`."""
        moved = np.empty(self.config.hidden, np.int64)
        descend(self._prototypes[row], self._norms_q8[row], sums, rate_q16, moved)
        self.set_row(row, moved)

    def remove_row(self, row: int) -> None:
        """Drop a taught row; the rows above it move down by one."""
        self._prototypes[row : self.rows - 1] = self._prototypes[row + 1 : self.rows].copy()
        self._norms_q8[row : self.rows - 1] = self._norms_q8[row + 1 : self.rows].copy()
        self._near_q14[row : self.rows - 1] = self._near_q14[row + 1 : self.rows].copy()
        self.directions.remove(row - self.config.base_rows)
        self.rows -= 1

    def add_take(
        self, row: int, unit: NDArray[np.int16], before: NDArray[np.int32], scratch: NDArray[np.int32]
    ) -> None:
        """Let a take of a word join its directions, see `Directions.add`; what a base row varies by is not kept."""
        if row >= self.config.base_rows:
            self.directions.add(row - self.config.base_rows, unit, before, scratch)

    def head_step(self, pool: NDArray[np.int32], target: int) -> HeadStep:
        """Leave the gradient of the loss against row `target` in `self.gradient` (int32 [H], at most 2^15)."""
        result = np.empty(3, np.int64)
        head_gradient(
            pool, self._whitening, self._prototypes, self._norms_q8, self.rows, target, self._cos_q14, self._u_q14,
            self._whitened, EXP2_Q15, LOG_Q16, self._weights, self.gradient, result,
        )  # fmt: skip
        return HeadStep(int(result[0]), int(result[1]), int(result[2]))
