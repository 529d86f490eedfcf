"""What the course of `evaluate incremental` remembers of its words, each within so many bytes.

Nothing but a row for each word; embeddings, which gradient steps on the rows of all words rehearse; or the directions
in which the clips of each word differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.device.arena import Arena
from edgelearn.engine.counts import Counts
from edgelearn.learning.adaptation import WEIGHT_ONE, sweep
from edgelearn.learning.directions import Directions, count_take, directions_bytes, directions_within
from edgelearn.learning.embeddings import EmbeddingMemory

if TYPE_CHECKING:
    from edgelearn.learning.classifier import Classifier

SWEEPS, ROW_RATE_Q16 = 60, 39322
"""More and larger ones than in a lesson: a step brings hundreds of clips, not five. Chosen on val clips."""
EACH_Q28 = 1 << 22
"""The squares of a word's clips are compared with 1/64 for each clip, not with 2 in all. Chosen on val clips, too."""

Embeddings = NDArray[np.int16]
"""Unit embeddings of utterances, Q14, [n, H]."""
Exemplar = tuple[NDArray[np.int16], int, int]
"""A unit embedding (Q14), its row, and how many utterances it stands for or its weight (Q15)."""


class Means:
    """Rows of a classifier and nothing besides: what the others are compared with.

    capacity_bytes: for all words of the course, which are so many.
    """

    def __init__(self, _capacity_bytes: int, _words: int, classifier: Classifier) -> None:
        self._classifier = classifier

    @property
    def used_bytes(self) -> int:
        """Bytes taken up so far."""
        return 0

    def begin(self, _heard: Mapping[int, Embeddings], _rng: np.random.Generator) -> None:
        """Take in the clips of the base words, by row."""

    def learn(self, _heard: Mapping[int, Embeddings], _rng: np.random.Generator) -> Counts:
        """Learn from the clips of a step, by row; their rows are the means of these. Returns what it cost."""
        return Counts()

    def cosines(self, unit: NDArray[np.int16]) -> NDArray[np.int32]:
        """Return the cosines (Q14) of a unit embedding to all rows."""
        return self._classifier.cosines(unit)


class Rehearsed(Means):
    """Embeddings, merged where they are too many, and gradient steps on all rows after each step of the course."""

    def __init__(self, capacity_bytes: int, words: int, classifier: Classifier) -> None:
        super().__init__(capacity_bytes, words, classifier)
        self._memory = EmbeddingMemory(capacity_bytes, classifier.config.hidden)

    @property
    def used_bytes(self) -> int:
        """Bytes of the embeddings."""
        return self._memory.used_bytes

    def begin(self, heard: Mapping[int, Embeddings], rng: np.random.Generator) -> None:
        """Remember the base words."""
        self._remember(heard, rng)

    def learn(self, heard: Mapping[int, Embeddings], rng: np.random.Generator) -> Counts:
        """Move all rows by the clips and the memory, every row weighing the same; then remember the clips."""
        exemplars = [(unit, row, 1) for row, units in heard.items() for unit in units]
        weighted, base_weights = weights_of([*exemplars, *self._memory.units()], self._classifier)
        moved = range(self._classifier.rows)
        sums = np.empty((len(moved), self._classifier.config.hidden), np.int32)
        spent = Counts()
        for _ in range(SWEEPS):
            spent += sweep(self._classifier, weighted, base_weights, moved, ROW_RATE_Q16, sums)
        return spent + self._remember(heard, rng)

    def _remember(self, heard: Mapping[int, Embeddings], rng: np.random.Generator) -> Counts:
        return sum((self._memory.add(row, rng.permutation(units)) for row, units in heard.items()), Counts())


class Varied(Means):
    """The directions in which the clips of each word differ, as many of each as have room."""

    def __init__(self, capacity_bytes: int, words: int, classifier: Classifier) -> None:
        super().__init__(capacity_bytes, words, classifier)
        self._hidden = classifier.config.hidden
        self._kept = directions_within(capacity_bytes, words, self._hidden)
        self._row_bytes = directions_bytes(self._kept, self._hidden)
        self._directions = Directions(words, self._kept, self._hidden, Arena(words * self._row_bytes + 64))
        self._scratch = np.empty((self._kept + 1) * self._hidden, np.int32)
        self._known = 0

    @property
    def used_bytes(self) -> int:
        """Bytes of the directions of the words that are known."""
        return self._known * self._row_bytes

    def begin(self, heard: Mapping[int, Embeddings], rng: np.random.Generator) -> None:
        """Let the rows of base words be the means of their clips, too, and keep their directions."""
        for row, units in heard.items():
            self._classifier.set_row(row, units.sum(axis=0, dtype=np.int64))
        self.learn(heard, rng)

    def learn(self, heard: Mapping[int, Embeddings], rng: np.random.Generator) -> Counts:
        """Keep the directions of the clips, in random order."""
        clips = 0
        for row, units in heard.items():
            total = np.zeros(self._hidden, np.int32)
            for unit in rng.permutation(units):
                self._directions.add(row, unit, total, self._scratch)
                total += unit
            clips += len(units)
        self._known += len(heard)
        return sum([count_take(self._kept, self._hidden)] * clips, Counts())

    def cosines(self, unit: NDArray[np.int16]) -> NDArray[np.int32]:
        """Return the cosines with all that lies along the directions of a word taken back."""
        found = self._classifier.cosines(unit)
        rows, norms_q8 = self._classifier.table()
        self._directions.take_back(unit, rows, norms_q8, found, least_takes=1, compared_q28=0, each_q28=EACH_Q28)
        return found


MEMORIES: dict[str, type[Means]] = {
    "prototype": Means,
    "sweeps": Rehearsed,
    "directions": Varied,
    "sparse_bptt": Varied,
}
"""What each learner of the course remembers with."""


def weights_of(exemplars: Sequence[Exemplar], classifier: Classifier) -> tuple[list[Exemplar], list[int]]:
    """Return exemplars with their weights (Q15) instead of how many utterances each stands for, and the base rows'.

    A base row counts as one utterance of its word.  The weights of a row's utterances are steps of a sum that is
    rounded, so that they add up to the row's share.
    """
    base = classifier.config.base_rows
    total = Counter(range(base))
    for _, row, number in exemplars:
        total[row] += number
    share, passed = WEIGHT_ONE // classifier.rows, Counter[int]()

    def weight(row: int, number: int) -> int:
        before = share * passed[row] // total[row]
        passed[row] += number
        return share * passed[row] // total[row] - before

    return [(unit, row, weight(row, number)) for unit, row, number in exemplars], [weight(k, 1) for k in range(base)]
