"""Directions in which takes differ: exact against Python integers, near to the singular vectors they stand for."""

from __future__ import annotations

import numpy as np
import pytest

from edgelearn.device.arena import Arena
from edgelearn.learning.classifier import Classifier, ClassifierConfig
from edgelearn.learning.directions import (
    COMPARED_Q28,
    DIRECTIONS,
    LEAST_TAKES,
    MOST_LENGTH_Q14,
    MOST_TAKES,
    Directions,
    Saved,
    no_directions,
)
from edgelearn.learning.head import as_pool, quantise_prototype, unit_embedding
from tests import reference_head
from tests.reference_directions import Word

HIDDEN = 16


def unit(vector: np.ndarray) -> np.ndarray:
    """Unit vector, int16 Q14."""
    u = np.empty(len(vector), np.int16)
    unit_embedding(np.rint(vector * (1 << 16)).astype(np.int32), u)
    return u


def takes_of(
    rng: np.random.Generator, count: int, hidden: int = HIDDEN, rank: int = 3, noise: float = 0.02
) -> np.ndarray:
    """Takes of a word that vary in a few directions, less and less from one to the next: unit vectors, Q14."""
    ways = rng.normal(size=(rank, hidden)) * (0.5 ** np.arange(rank))[:, None] * 0.2
    centre = unit(rng.normal(size=hidden)) / 16384
    return np.array(
        [unit(centre + rng.normal(size=rank) @ ways + noise * rng.normal(size=hidden)) for _ in range(count)]
    )


def learn(directions: Directions, takes: np.ndarray, row: int = 0) -> np.ndarray:
    """Let takes join one after the other; returns their sum."""
    scratch = np.empty(takes.shape[1] * (DIRECTIONS + 1), np.int32)
    total = np.zeros(takes.shape[1], np.int32)
    for take in takes:
        directions.add(row, take, total, scratch)
        total += take
    return total


def fresh(rows: int = 2, hidden: int = HIDDEN) -> Directions:
    return Directions(rows, DIRECTIONS, hidden, Arena(1 << 16))


def added(
    directions: Directions, u: np.ndarray, rows: np.ndarray, compared_q28: int = COMPARED_Q28, each_q28: int = 0
) -> list[int]:
    """What is taken back for a unit vector, of each row, however few its takes."""
    table, norms = np.zeros(rows.shape, np.int8), np.zeros(len(rows), np.int32)
    for k, row in enumerate(rows):
        norms[k] = quantise_prototype(row.astype(np.int64), table[k])
    found = np.zeros(len(rows), np.int32)
    directions.take_back(u, table, norms, found, 1, compared_q28, each_q28)
    return found.tolist()


@pytest.mark.parametrize("count", [1, 2, 4, 5, 6, 12, 40])
@pytest.mark.parametrize("rank", [1, 3, 9])
def test_all_of_it_is_exact(rng: np.random.Generator, count: int, rank: int) -> None:
    takes = takes_of(rng, count, rank=rank)
    directions, word = fresh(), Word(DIRECTIONS, HIDDEN)
    total = learn(directions, takes)
    running = [0] * HIDDEN
    for take in takes.tolist():
        word.add(take, reference_head.unit_embedding(running)[0])
        running = [a + b for a, b in zip(running, take, strict=True)]
    saved = directions.pack(1)
    assert saved.heard.tolist() == [[count, word.mean_q14]]
    assert saved.vectors[0].tolist() == word.rows
    assert saved.lengths_q14[0].tolist() == word.lengths_q14
    row, norm = reference_head.quantise_prototype(total.tolist())
    probes = [takes[0], takes_of(rng, 1)[0]]
    for probe in probes:
        for compared_q28, each_q28 in ((COMPARED_Q28, 0), (0, 1 << 22), (5, 7)):
            expected = word.taken_back(probe.tolist(), row, norm, compared_q28 + count * each_q28)
            assert added(directions, probe, total[None], compared_q28, each_q28) == [expected]


def test_they_are_the_first_singular_vectors_of_the_takes_about_their_mean(rng: np.random.Generator) -> None:
    takes = takes_of(rng, 60, hidden=64, rank=DIRECTIONS, noise=0.002)
    directions = fresh(1, 64)
    learn(directions, takes)
    heard, vectors, lengths_q14 = directions.pack(1)
    plain = takes / 16384
    _, values, ways = np.linalg.svd(plain - plain.mean(axis=0), full_matrices=False)
    assert heard[0, 1] / 16384 == pytest.approx(np.linalg.norm(plain.mean(axis=0)), rel=0.002)
    order = np.argsort(-lengths_q14[0])
    np.testing.assert_allclose(lengths_q14[0][order] / 16384, values[:DIRECTIONS], rtol=0.03)
    for k, n in enumerate(order[:2]):  # the others are too much alike in length to be the same two vectors
        v = vectors[0, n] / np.linalg.norm(vectors[0, n])
        assert abs(v @ ways[k]) > 0.99


@pytest.mark.parametrize("count", [5, 30, 120])
def test_what_lies_along_them_counts_for_less_the_more_takes_say_so_and_what_does_not_in_full(
    rng: np.random.Generator, count: int
) -> None:
    takes = takes_of(rng, count, hidden=64, rank=2, noise=0.0)
    directions = fresh(1, 64)
    total = learn(directions, takes)
    row = unit(total / np.linalg.norm(total))
    new = takes_of(np.random.default_rng(0), 1, hidden=64)[0]
    vectors = directions.pack(1).vectors[0].astype(float)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
    lengths = directions.pack(1).lengths_q14[0] / 16384
    longest = vectors[np.argmax(lengths)]
    share = lengths.max() ** 2 / (lengths.max() ** 2 + 2)
    beside = new / 16384 - vectors.T @ (vectors @ new) / 16384
    for way, least, most in ((longest, share - 0.05, share + 0.01), (beside, 0.0, 0.05)):
        u = unit(row / 16384 + 0.3 * way / np.linalg.norm(way)) / 16384
        distance = 1 - u @ row / 16384
        assert least * distance <= added(directions, unit(u), total[None])[0] / 16384 <= most * distance


def test_a_take_that_is_the_very_opposite_of_the_mean_leaves_a_mean_of_nothing(rng: np.random.Generator) -> None:
    """Rounded unit vectors may be longer than 1: what is left of the mean's square is then below 0."""
    below = 0
    for _ in range(100):
        take = takes_of(rng, 1, hidden=128)[0]
        total = take.astype(np.int32) << 8
        mean = np.empty(128, np.int16)
        unit_embedding(total, mean)
        directions, scratch = fresh(1, 128), np.empty(128 * (DIRECTIONS + 1), np.int32)
        directions._heard[0] = 1, 1 << 14
        directions.add(0, -mean, total, scratch)
        squared = mean.astype(int) @ mean > 1 << 28
        below += squared
        assert directions.pack(1).heard[0, 0] == 2
        assert directions.pack(1).heard[0, 1] <= (0 if squared else 128)
    assert 20 < below < 80


def test_a_word_of_few_takes_is_its_prototype(rng: np.random.Generator) -> None:
    for count in (LEAST_TAKES - 1, LEAST_TAKES):
        classifier = Classifier(ClassifierConfig(HIDDEN, 3, 2), Arena(8192))
        classifier.load(rng.integers(-127, 128, (3, HIDDEN)).astype(np.int8))
        takes = takes_of(rng, count)
        total, scratch = np.zeros(HIDDEN, np.int32), np.empty(HIDDEN * (DIRECTIONS + 1), np.int32)
        for take in takes:
            classifier.add_take(3, take, total, scratch)
            total += take
        row = classifier.add_row(total)
        probe = takes_of(rng, 1)[0]
        plain = reference_head.cosines(probe.tolist(), *reference_head.table(classifier.prototypes()))
        heard = classifier.cosines(probe).tolist()
        assert heard[:3] == plain[:3]
        assert (heard[row] > plain[row]) == (count == LEAST_TAKES)
        # gradients are those of the plain cosines: what is taken back is no weight
        pool = as_pool(classifier.prototypes()[0])
        step = reference_head.HeadStep(pool.tolist(), *reference_head.table(classifier.prototypes()), row, [])
        assert classifier.head_step(pool, row).loss_q10 == step.loss_q10
        without = Classifier(ClassifierConfig(HIDDEN, 3, 2), Arena(8192))
        without.load(classifier.prototypes())
        sums = [np.zeros((1, HIDDEN), np.int32) for _ in range(2)]
        for one, its in zip((classifier, without), sums, strict=True):
            one.add_row_gradient(probe, 0, row, 1 << 15, its)
        np.testing.assert_array_equal(*sums)
        assert sums[0].any()


def test_base_rows_keep_none(rng: np.random.Generator) -> None:
    classifier = Classifier(ClassifierConfig(HIDDEN, 3, 2), Arena(8192))
    classifier.load(rng.integers(-127, 128, (3, HIDDEN)).astype(np.int8))
    take = takes_of(rng, 1)[0]
    classifier.add_take(2, take, take.astype(np.int32), np.empty(HIDDEN * (DIRECTIONS + 1), np.int32))
    assert not classifier.directions.pack(2).heard.any()


def test_takes_that_are_as_far_apart_as_can_be_leave_the_sums_in_64_bits() -> None:
    """The last take before MOST_TAKES, of vectors as long as they can have become, and one after it."""
    longest = np.full((1, DIRECTIONS), MOST_LENGTH_Q14, np.int32)
    heard = np.array([[MOST_TAKES - 1, 1 << 14]], np.int32)
    vectors = np.full((1, DIRECTIONS, HIDDEN), 127, np.int8)
    directions, word = fresh(1), Word(DIRECTIONS, HIDDEN)
    directions.unpack(Saved(heard, vectors, longest))
    word.rows, word.lengths_q14 = vectors[0].tolist(), longest[0].tolist()
    word.norms_q8 = [reference_head.quantise_prototype(row)[1] for row in word.rows]
    word.takes, word.mean_q14 = heard[0].tolist()
    u = unit(np.eye(HIDDEN)[0])
    scratch = np.empty(HIDDEN * (DIRECTIONS + 1), np.int32)
    for _ in range(2):
        directions.add(0, u, -u.astype(np.int32), scratch)
        word.add(u.tolist(), (-u).tolist())
    assert word.largest < 1 << 49
    saved = directions.pack(1)
    assert saved.heard[0].tolist() == [MOST_TAKES, word.mean_q14]
    assert saved.vectors[0].tolist() == word.rows
    assert saved.lengths_q14[0].tolist() == word.lengths_q14


def test_what_is_saved_is_taken_over_and_rows_move_down(rng: np.random.Generator) -> None:
    directions = fresh(3)
    for row in range(3):
        learn(directions, takes_of(rng, 12 + row), row)
    saved, again, table = directions.pack(3), fresh(3), rng.integers(-99, 99, (3, HIDDEN))
    again.unpack(saved)
    probe = takes_of(rng, 1)[0]
    before = added(directions, probe, table)
    assert added(again, probe, table) == before
    again.remove(1)
    assert added(again, probe, table[[0, 2]]) == [before[0], before[2]]
    assert again.pack(3).heard[:, 0].tolist() == [12, 14, 0]
    again.unpack(no_directions(1, HIDDEN))
    assert not again.pack(3).heard.any()
    assert added(again, probe, table) == [0, 0, 0]
