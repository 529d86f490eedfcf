"""The memory of embeddings: what it keeps of them, how many of each word, and in how many bytes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.learning.embeddings import EmbeddingMemory
from tests import reference_head

HIDDEN = 24


def units(count: int, seed: int) -> list[NDArray[np.int16]]:
    drawn = np.random.default_rng(seed).normal(size=(count, HIDDEN))
    return list(np.rint(16384 * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.int16))


def test_an_embedding_comes_back_as_its_int8_direction() -> None:
    memory = EmbeddingMemory(1000, HIDDEN)
    mine = units(5, 0)
    memory.add(7, mine)
    kept = list(memory.units())
    assert [row for _, row in kept] == [7] * 5
    for unit, (heard, _) in zip(mine, kept, strict=True):
        row = reference_head.quantise_prototype(unit.tolist())[0]
        assert heard.tolist() == reference_head.unit_embedding([value << 12 for value in row])[0]
        assert float(unit.astype(float) @ heard) / 2**28 > 0.9999


@pytest.mark.parametrize("capacity", [0, 24, 25, 249, 250, 1000])
def test_all_rows_have_an_equal_share_and_keep_the_first_of_theirs(capacity: int) -> None:
    memory = EmbeddingMemory(capacity, HIDDEN)
    most = capacity // (HIDDEN + 1)
    every = {row: units(count, row) for row, count in ((3, 12), (0, 30), (9, 2), (4, 40))}
    for number, (row, mine) in enumerate(every.items(), 1):
        memory.add(row, mine)
        share = most // number
        kept = list(memory.units())
        for known in list(every)[:number]:
            wanted = EmbeddingMemory(10**6, HIDDEN)
            wanted.add(known, every[known][:share])
            assert [u.tolist() for u, r in kept if r == known] == [u.tolist() for u, _ in wanted.units()]
        assert memory.used_bytes == (HIDDEN + 1) * len(kept) <= capacity
