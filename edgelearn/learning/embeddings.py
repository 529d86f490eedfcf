"""A memory of embeddings: a byte a component, and as many of every word.

The gradient of a prototype needs of an utterance nothing but its embedding, which takes a fifth of the bytes that its
frames do (`rehearsal.py`).  It is that of the network that heard it: BPTT cannot rehearse it, and it does not follow
weights that move.  This is latent replay (Pellegrini et al., IROS 2020) at the last layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edgelearn.learning.head import quantise_prototype, unit_embedding

ROW_BYTES = 1  # which row a record belongs to
UNIT_SHIFT = 12  # a component of 127 to one of an LSTM's state, which unit_embedding is made for


class EmbeddingMemory:
    """The first embeddings of each row within `capacity_bytes`, an equal number of all rows."""

    def __init__(self, capacity_bytes: int, hidden: int) -> None:
        self._record_bytes = hidden + ROW_BYTES
        self._most = capacity_bytes // self._record_bytes
        self._kept: dict[int, NDArray[np.int8]] = {}

    @property
    def used_bytes(self) -> int:
        """Bytes taken by records."""
        return self._record_bytes * sum(map(len, self._kept.values()))

    def add(self, row: int, units_q14: Sequence[NDArray[np.int16]]) -> None:
        """Keep a new row's unit embeddings (int16 Q14 [H]), the first of them first; other rows give up their last."""
        share = self._most // (len(self._kept) + 1)
        packed = np.zeros((min(share, len(units_q14)), self._record_bytes - ROW_BYTES), np.int8)
        for record, unit in zip(packed, units_q14, strict=False):
            quantise_prototype(unit.astype(np.int64), record)
        self._kept = {old: records[:share] for old, records in self._kept.items()} | {row: packed}

    def units(self) -> Iterator[tuple[NDArray[np.int16], int]]:
        """Yield all embeddings as unit vectors (int16 Q14 [H]), each with its row."""
        for row, records in self._kept.items():
            for record in records:
                unit = np.empty(len(record), np.int16)
                unit_embedding(record.astype(np.int32) << UNIT_SHIFT, unit)
                yield unit, row
