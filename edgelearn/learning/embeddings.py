"""A memory of embeddings: a byte a component, as many of every word, and the nearest become one where room runs out.

The gradient of a prototype needs of an utterance nothing but its embedding, which takes a fifth of the bytes that its
frames do (`rehearsal.py`).  It is that of the network that heard it: BPTT cannot rehearse it, and it does not follow
weights that move.  This is latent replay (Pellegrini et al., IROS 2020) at the last layer; what is merged stands for
all that it is made of (agglomeration by the closest pair), where leaving out would forget the rest.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts
from edgelearn.learning.head import as_pool, quantise_prototype, unit_embedding

ROW_BYTES, NUMBER_BYTES = 1, 2  # which row a record belongs to, and how many embeddings it stands for
MOST_NUMBER = (1 << 8 * NUMBER_BYTES) - 1
NOTHING = -(1 << 31)  # below every product of two unit vectors in Q28


class EmbeddingMemory:
    """Records of each row within `capacity_bytes`, an equal number of all rows: directions, and what they stand for."""

    def __init__(self, capacity_bytes: int, hidden: int) -> None:
        self._hidden = hidden
        self._record_bytes = hidden + ROW_BYTES + NUMBER_BYTES
        self._most = capacity_bytes // self._record_bytes
        self._rows: dict[int, _Records] = {}

    @property
    def used_bytes(self) -> int:
        """Bytes taken by records."""
        return self._record_bytes * sum(len(records.numbers) for records in self._rows.values())

    def add(self, row: int, units_q14: NDArray[np.int16]) -> Counts:
        """Keep a new row's unit embeddings (int16 Q14 [n, H]) in their order, with room for fewer of the others now.

        Each is compared with the records of its row, and so is what is made of two.  Returns what that cost.
        """
        share = self._most // (len(self._rows) + 1)
        compared = sum(records.shrink(share) for records in self._rows.values())
        self._rows[row] = records = _Records(share, self._hidden)
        compared += sum(records.put(unit) + records.shrink(share) for unit in units_q14)
        products = compared * self._hidden
        return Counts(
            macs_forward=products, macs_dense_forward=products, macs_dense_training=products, state_bytes=2 * products
        )

    def units(self) -> Iterator[tuple[NDArray[np.int16], int, int]]:
        """Yield all records, unit vectors (int16 Q14 [H]), with their rows and how many embeddings each stands for."""
        for row, records in self._rows.items():
            for unit, number in zip(records.units, records.numbers, strict=False):
                yield unit.astype(np.int16), row, number


class _Records:
    """Those of one row: int8 directions, of which the unit vectors (Q14) and their products (Q28) are kept at hand.

    most: how many it holds, and one more on its way into another.
    """

    def __init__(self, most: int, hidden: int) -> None:
        self.units = np.zeros((most + 1, hidden), np.int64)
        self.numbers: list[int] = []
        self._products = np.zeros((most + 1, most + 1), np.int64)

    def put(self, unit_q14: NDArray[np.int16]) -> int:
        """Take in an embedding; returns how often two were compared."""
        self.numbers.append(1)
        return self._write(len(self.numbers) - 1, unit_q14.astype(np.int64))

    def shrink(self, most: int) -> int:
        """Let the nearest two become one until there are no more than `most`; returns how often two were compared."""
        compared = 0
        while len(self.numbers) > most:
            if most:
                compared += self._merge()
            else:
                self._drop(0)
        return compared

    def _merge(self) -> int:
        """Let the first of the nearest two stand for both."""
        used = len(self.numbers)
        first, second = sorted(divmod(int(np.argmax(self._products[:used, :used])), used))
        both = self.numbers[first] * self.units[first] + self.numbers[second] * self.units[second]
        self.numbers[first] = min(self.numbers[first] + self.numbers[second], MOST_NUMBER)
        self._drop(second)
        return self._write(first, both)

    def _drop(self, place: int) -> None:
        """Let the last record take the place of one that is to go."""
        last = len(self.numbers) - 1
        self.units[place], self.numbers[place] = self.units[last], self.numbers[last]
        self._products[place, :] = self._products[last, :]
        self._products[:, place] = self._products[:, last]
        self._products[place, place] = NOTHING
        self.numbers.pop()

    def _write(self, place: int, vector: NDArray[np.int64]) -> int:
        """Let a record be the direction of a vector, a byte a component, and compare it with the others."""
        used = len(self.numbers)
        direction, unit = np.empty(len(vector), np.int8), np.empty(len(vector), np.int16)
        quantise_prototype(vector, direction)
        unit_embedding(as_pool(direction), unit)
        self.units[place] = unit
        self._products[place, :used] = self._products[:used, place] = self.units[:used] @ self.units[place]
        self._products[place, place] = NOTHING
        return used - 1
