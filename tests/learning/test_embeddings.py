"""The memory of embeddings: what it keeps and merges, how much of each word, in how many bytes and comparisons."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.learning.embeddings import MOST_NUMBER, EmbeddingMemory
from tests import reference_head

HIDDEN = 24
RECORD = HIDDEN + 3

Record = tuple[list[int], int]
"""A unit vector (Q14), and how many embeddings it stands for."""


def units(count: int, seed: int) -> NDArray[np.int16]:
    drawn = np.random.default_rng(seed).normal(size=(count, HIDDEN))
    return np.rint(16384 * drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.int16)


def kept(memory: EmbeddingMemory) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = {}
    for unit, row, number in memory.units():
        found.setdefault(row, []).append((unit.tolist(), number))
    return found


def as_kept(vector: list[int]) -> list[int]:
    """The unit vector of the int8 direction of a vector."""
    return reference_head.unit_embedding([value << 12 for value in reference_head.quantise_prototype(vector)[0]])[0]


class Plain:
    """The same memory, plainly: lists of Python integers, all pairs looked at again for every merge."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.rows: dict[int, list[Record]] = {}
        self.compared = 0

    def add(self, row: int, vectors: list[list[int]]) -> None:
        share = self.most // (len(self.rows) + 1)
        for records in self.rows.values():
            self.shrink(records, share)
        self.rows[row] = mine = []
        for vector in vectors:
            mine.append((as_kept(vector), 1))
            self.compared += len(mine) - 1
            self.shrink(mine, share)

    def shrink(self, records: list[Record], share: int) -> None:
        while len(records) > share:
            last = len(records) - 1
            if share == 0:
                records.pop()
                continue
            first, second = max(
                itertools.combinations(range(len(records)), 2),
                key=lambda pair: sum(a * b for a, b in zip(records[pair[0]][0], records[pair[1]][0], strict=True)),
            )
            (a, n), (b, m) = records[first], records[second]
            records[first] = as_kept([n * x + m * y for x, y in zip(a, b, strict=True)]), n + m
            records[second] = records[last]
            records.pop()
            self.compared += len(records) - 1


def test_an_embedding_comes_back_as_its_int8_direction() -> None:
    memory = EmbeddingMemory(1000, HIDDEN)
    mine = units(5, 0)
    memory.add(7, mine)
    assert kept(memory) == {7: [(as_kept(unit.tolist()), 1) for unit in mine]}
    for unit, (heard, _) in zip(mine, kept(memory)[7], strict=True):
        assert float(unit.astype(float) @ heard) / 2**28 > 0.9999


@pytest.mark.parametrize("most", [0, 1, 2, 9, 40, 100])
def test_the_nearest_two_become_one_where_a_row_has_more_than_its_share(most: int) -> None:
    memory, plain = EmbeddingMemory(RECORD * (most + 1) - 1, HIDDEN), Plain(most)
    compared = 0
    for number, (row, count) in enumerate(((3, 12), (0, 30), (9, 2), (4, 40)), 1):
        compared += memory.add(row, units(count, row)).macs_forward
        plain.add(row, units(count, row).tolist())
        assert kept(memory) == {row: records for row, records in plain.rows.items() if records}
        assert max(map(len, plain.rows.values())) <= most // number
        assert memory.used_bytes == RECORD * sum(map(len, plain.rows.values())) <= RECORD * most
    assert compared == HIDDEN * plain.compared
    if most >= 4:
        numbers = {row: sum(number for _, number in records) for row, records in kept(memory).items()}
        assert numbers == {3: 12, 0: 30, 9: 2, 4: 40}


def test_what_a_record_stands_for_is_at_most_what_its_bytes_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_NUMBER == 65535
    monkeypatch.setattr("edgelearn.learning.embeddings.MOST_NUMBER", 5)
    memory = EmbeddingMemory(RECORD, HIDDEN)
    memory.add(0, units(8, 0))
    assert [number for _, _, number in memory.units()] == [5]


def test_the_work_is_counted_as_products_that_nothing_is_skipped_of() -> None:
    counts = EmbeddingMemory(RECORD * 3, HIDDEN).add(0, units(4, 0))
    # 0, 1, 2 and 3 others of the new ones, and 2 of what is merged last
    assert counts.macs_forward == counts.macs_dense_forward == counts.macs_dense_training == 8 * HIDDEN
    assert counts.state_bytes == 16 * HIDDEN
