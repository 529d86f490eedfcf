"""The table of words: rows in and out, scores against the background, room."""

from __future__ import annotations

import numpy as np
import pytest

from edgelearn.device.arena import Arena
from edgelearn.errors import BudgetExceeded
from edgelearn.learning.classifier import Classifier, ClassifierConfig, score_rows
from edgelearn.learning.head import nearness
from tests import reference_head

NOT_NEAR = np.zeros(6, np.int32)
CONFIG = ClassifierConfig(hidden=16, base_rows=3, taught_rows=2)


def filled(rng: np.random.Generator) -> Classifier:
    classifier = Classifier(CONFIG, Arena(4096))
    classifier.load(rng.integers(-127, 128, (3, 16)).astype(np.int8))
    return classifier


def total(takes: list[np.ndarray]) -> np.ndarray:
    return np.sum(takes, axis=0, dtype=np.int64)


def units(rng: np.random.Generator, classifier: Classifier, count: int) -> list[np.ndarray]:
    return [classifier.embed(rng.integers(-9999, 9999, 16).astype(np.int32)) for _ in range(count)]


def test_loading_what_was_saved_changes_nothing(rng: np.random.Generator) -> None:
    classifier = filled(rng)
    classifier.add_row(total(units(rng, classifier, 3)))
    saved = classifier.prototypes()
    assert (np.abs(saved.astype(int)).max(axis=1) == 127).all()
    probe = units(rng, classifier, 1)[0]
    again = Classifier(CONFIG, Arena(4096))
    again.load(saved)
    np.testing.assert_array_equal(again.prototypes(), saved)
    np.testing.assert_array_equal(again.cosines(probe), classifier.cosines(probe))
    assert again.scores(probe, np.array([3]))[0] == classifier.scores(probe, np.array([3]))[0]


def test_a_taught_row_is_the_mean_of_its_takes(rng: np.random.Generator) -> None:
    classifier = filled(rng)
    takes = units(rng, classifier, 4)
    row = classifier.add_row(total(takes))
    mean = np.sum([take.astype(int) for take in takes], axis=0).tolist()
    assert row == 3
    assert classifier.prototypes()[3].tolist() == reference_head.quantise_prototype(mean)[0]


def test_rows_above_a_removed_one_move_down(rng: np.random.Generator) -> None:
    classifier = filled(rng)
    for _ in range(2):
        classifier.add_row(total(units(rng, classifier, 1)))
    probe = units(rng, classifier, 1)[0]
    before, cosines = classifier.prototypes(), classifier.cosines(probe)
    against = classifier.against(probe, np.array([4]))
    classifier.remove_row(3)
    assert classifier.against(probe, np.array([3])) == against
    np.testing.assert_array_equal(classifier.prototypes(), before[[0, 1, 2, 4]])
    np.testing.assert_array_equal(classifier.cosines(probe), cosines[[0, 1, 2, 4]])


def test_a_full_table_says_so(rng: np.random.Generator) -> None:
    classifier = filled(rng)
    for _ in range(2):
        classifier.add_row(total(units(rng, classifier, 1)))
    with pytest.raises(BudgetExceeded, match="classifier") as caught:
        classifier.add_row(total(units(rng, classifier, 1)))
    assert "2 taught words" in caught.value.hint
    assert classifier.rows == 5
    with pytest.raises(BudgetExceeded):
        classifier.load(np.ones((6, 16), np.int8))


def test_a_score_is_the_cosine_less_three_quarters_of_the_best_other_base_class() -> None:
    out = np.zeros(4, np.int32)
    cosines = np.array([9000, 12001, -500, 12500, -3], np.int32)
    best = score_rows(cosines, NOT_NEAR, 3, 4, np.array([1, 0, 3, 2]), out)
    assert out.tolist() == [12001 - 6750, 9000 - 9000, 12500 - 9000, -500 - 9000]
    assert best == 0
    assert score_rows(cosines, NOT_NEAR, 3, 4, np.zeros(0, np.int64), out) == -1


def test_of_equal_scores_the_first_is_best() -> None:
    out = np.zeros(2, np.int32)
    assert score_rows(np.array([5, 5, 1], np.int32), NOT_NEAR, 3, 3, np.array([1, 0]), out) == 0
    assert out.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("base", "taught", "threshold", "row"),
    [(9000, 9500, 2750, 3), (9000, 9500, 2751, 1), (9500, 9500, 0, 1), (9000, 8999, 0, 1)],
    ids=["nearest and over the threshold", "below the threshold", "not nearer", "farther"],
)
def test_a_taught_word_must_be_nearest_and_reach_the_threshold(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, base: int, taught: int, threshold: int, row: int
) -> None:
    classifier = filled(rng)
    probe = units(rng, classifier, 1)[0]
    assert classifier.decide(probe, []) == int(np.argmax(classifier.cosines(probe)))
    classifier.add_row(probe)
    near = int(classifier.against(probe, np.array([3]))[0]) - ((3 * int(classifier.cosines(probe)[:3].max())) >> 2)
    monkeypatch.setattr(classifier, "cosines", lambda _: np.array([0, base, 0, taught], np.int32))
    assert classifier.decide(probe, [threshold - near]) == row


def test_scores_are_those_of_the_kernels(rng: np.random.Generator) -> None:
    classifier = filled(rng)
    row = classifier.add_row(total(units(rng, classifier, 2)))
    probe = units(rng, classifier, 1)[0]
    cosines = classifier.cosines(probe)
    scores, best = classifier.scores(probe, np.array([row]))
    assert best == 0
    near = reference_head.nearness(*reference_head.table(classifier.prototypes()), 3, row)
    assert scores[0] == cosines[row] - ((3 * int(cosines[:3].max())) >> 2) - (near >> 2)
    assert scores[0] == cosines[row] - classifier.against(probe, np.array([row]))[0]


def test_taught_words_lose_a_quarter_of_the_best_other_taught_word() -> None:
    """Base rows 0..2, taught 3..5: the rival of the best taught word is the next one, that of the others the best."""
    cosines, out = np.array([1000, 4000, 2000, 9000, 7000, -500], np.int32), np.zeros(4, np.int32)
    best = score_rows(cosines, NOT_NEAR, 3, 6, np.array([3, 4, 5, 1]), out)
    rivals = [3000 + 7000 // 4, 3000 + 9000 // 4, 3000 + 9000 // 4, 1500]
    assert out.tolist() == [9000 - rivals[0], 7000 - rivals[1], -500 - rivals[2], 4000 - rivals[3]]
    assert best == 0
    score_rows(np.array([0, 0, 0, 9000, -7], np.int32), NOT_NEAR, 3, 5, np.array([3, 4, 0, 1]), out)
    assert out[0] == 9000  # a rival that points away adds nothing


def test_words_lose_a_quarter_of_their_nearness_to_the_base_classes() -> None:
    cosines, out = np.array([1000, 4000, 2000, 9000, 9000], np.int32), np.zeros(3, np.int32)
    near = np.array([1, 404, 2, 8002, -2001], np.int32)
    best = score_rows(cosines, near, 3, 5, np.array([3, 4, 1]), out)
    assert out.tolist() == [9000 - 3000 - 2250 - 2000, 9000 - 3000 - 2250 + 501, 4000 - 1500 - 101]
    assert best == 1


@pytest.mark.parametrize("hidden", [1, 16, 512])
def test_nearness_is_the_best_cosine_to_another_base_row(rng: np.random.Generator, hidden: int) -> None:
    rows = np.concatenate((rng.integers(-127, 128, (3, hidden)), np.full((1, hidden), 127))).astype(np.int8)
    rows[2] = -rows[3]  # the farthest there is
    norms = np.array([reference_head.quantise_prototype(row)[1] for row in rows.tolist()], np.int32)
    for base, row in ((1, 3), (3, 3), (4, 3), (4, 0), (2, 1)):
        twin = reference_head.nearness(rows.tolist(), norms.tolist(), base, row)
        assert nearness(rows, norms, base, row) == twin
    assert nearness(rows[2:], norms[2:], 1, 1) == pytest.approx(-16384, abs=2)
    rows[0] = rows[3]
    assert nearness(rows, norms[[3, 1, 2, 3]], 2, 3) == pytest.approx(16384, abs=2)


def test_base_rows_know_their_nearness_once_they_are_loaded(rng: np.random.Generator) -> None:
    classifier = filled(rng)
    rows, norms = reference_head.table(classifier.prototypes())
    probe = units(rng, classifier, 1)[0]
    cosines = classifier.cosines(probe).tolist()
    scores, _ = classifier.scores(probe, np.arange(3))
    for k in range(3):
        rival = max(cosine for n, cosine in enumerate(cosines) if n != k)
        assert scores[k] == cosines[k] - ((3 * rival) >> 2) - (reference_head.nearness(rows, norms, 3, k) >> 2)


def test_background_rows_count_against_words_with_seven_eighths_and_are_no_class(rng: np.random.Generator) -> None:
    rows = rng.integers(-127, 128, (4, 16)).astype(np.int8)
    plain = Classifier(ClassifierConfig(16, 4, 2), Arena(4096))
    behind = Classifier(ClassifierConfig(16, 4, 2, background_rows=2), Arena(4096))
    for classifier in (plain, behind):
        classifier.load(rows)
    probe = behind.embed(rows[3].astype(np.int32) << 12)
    full, less = plain.cosines(probe), behind.cosines(probe)
    np.testing.assert_array_equal(less[:2], full[:2])
    np.testing.assert_allclose(less[2:], full[2:] * 7 / 8, atol=1)
    assert plain.decide(probe, []) == 3
    assert behind.decide(probe, []) == int(np.argmax(full[:2]))
    row = behind.add_row(rows[3].astype(np.int64))
    assert behind.decide(probe, [-30000]) == row
    against = int(behind.against(probe, np.array([row]))[0])
    near = int(less[3])  # the word is the background itself
    assert against == pytest.approx(near, abs=3)
    score = int(behind.cosines(probe)[row]) - against
    assert behind.decide(probe, [score]) == row
    assert behind.decide(probe, [score + 1]) == int(np.argmax(full[:2]))


def test_a_head_step_is_that_of_the_twin(rng: np.random.Generator) -> None:
    classifier = filled(rng)
    pool = rng.integers(-9999, 9999, 16).astype(np.int32)
    step = classifier.head_step(pool, 2)
    rows = [reference_head.quantise_prototype(row) for row in classifier.prototypes().tolist()]
    twin = reference_head.HeadStep(pool.tolist(), [row for row, _ in rows], [norm for _, norm in rows], 2, [])
    assert step == (twin.loss_q10, twin.magnitude_q23, twin.length)
    assert classifier.gradient.tolist() == twin.gradient
