"""The gradient on prototypes against float arithmetic, and what a sweep does to the table."""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from edgelearn.learning import adaptation
from edgelearn.learning.adaptation import (
    MOVED_BITS,
    SUM_BITS,
    WEIGHT_ONE,
    add_row_gradient,
    count_sweep,
    descend,
    rows_to_move,
)
from edgelearn.learning.directions import LEAST_TAKES
from edgelearn.learning.head import EXP2_Q15
from edgelearn.learning.learner import Check, LearnerConfig, TeachReport
from tests.learning.toy import HIDDEN, Toy, frames_in_all_voices, make_toy, takes_of

BOTH = (3, 4)
"""The rows of the taught words of `two_alike`."""
GOLDEN_CRC = 2782976181
"""Of the prototypes of two words that sound alike, after twenty sweeps."""


@pytest.mark.parametrize("target", [0, 3, 4])
def test_the_sums_are_the_gradient_of_the_cross_entropy(target: int, rng: np.random.Generator) -> None:
    unit = rng.normal(size=16)
    unit = np.rint(unit / np.linalg.norm(unit) * 2**14).astype(np.int16)
    cos_q14 = rng.integers(-3000, 9000, 6).astype(np.int32)
    sums, weight = np.zeros((3, 16), np.int32), WEIGHT_ONE // 3
    add_row_gradient(unit, cos_q14, 6, target, 3, weight, EXP2_Q15, np.zeros(6, np.int32), sums)
    shares = np.exp(16 * (cos_q14 - cos_q14.max()) / 2**14)
    shares /= shares.sum()
    shares[target] -= 1
    np.testing.assert_allclose(sums / 2**SUM_BITS, np.outer(shares[3:], unit / 2**14) / 3, atol=2e-4)


def test_a_row_goes_down_by_the_rate(rng: np.random.Generator) -> None:
    row = rng.integers(-127, 128, 16).astype(np.int8)
    norm = np.linalg.norm(row.astype(float))
    sums = rng.integers(-(2**25), 2**25, 16).astype(np.int32)
    out = np.zeros(16, np.int64)
    descend(row, int(norm * 256), sums, 9830, out)
    wanted = row / norm - 0.15 * 16 * sums / 2**SUM_BITS
    np.testing.assert_allclose(out / 2**MOVED_BITS, wanted, atol=1e-3)


def test_a_moved_row_is_in_32_bits() -> None:
    """As far as it can move, at the largest rate that firmware compiles with."""
    out = np.zeros(1, np.int64)
    descend(np.array([127], np.int8), 127 << 8, np.array([-(2**29)], np.int32), 61439, out)
    assert out[0] == 2**27 + 2**27 * 16 * 61439 // 2**16 < 2**31
    descend(np.array([-127], np.int8), 127 << 8, np.array([2**29], np.int32), 61439, out)
    assert -(2**31) <= out[0] == -(2**27) - 2**27 * 16 * 61439 // 2**16


def sweep(toy: Toy, rate_q16: int, moved: Sequence[int]) -> None:
    report = TeachReport()
    toy.learner.adapt_rows(toy.learner.embed_exemplars(report), rate_q16, moved, report)


def two_alike(tape_frames: int = 40, checkpoint_every: int = 0) -> Toy:
    """Two taught words of which the second is a distorted copy of the first."""
    toy = make_toy(0, tape_frames, capacity=16000, checkpoint_every=checkpoint_every)
    rng = np.random.default_rng(3)
    first = takes_of(rng, 4)
    second = [np.clip(take.astype(int) + rng.integers(-40, 41, take.shape[1]), -127, 127) for take in first]
    toy.learner.enrol(first)
    toy.learner.enrol([take.astype(np.int8) for take in second])
    return toy


def loss_of(toy: Toy) -> float:
    """What a sweep goes down: mean cross-entropy of taught words, and of base words and their prototypes."""
    losses: dict[bool, list[float]] = {True: [], False: []}
    heard = [(r.row, toy.memory.decode(r, np.zeros((40, 12), np.int8)).copy()) for r in toy.memory.exemplars()]
    units = [(row, toy.hearing.embed(frames)[0]) for row, frames in heard]
    units += [(row, toy.classifier.unit_row(row)) for row in range(3)]
    for row, unit in units:
        z = 16 * toy.classifier.cosines(unit) / 2**14
        losses[row >= 3].append(float(np.log(np.exp(z - z[row]).sum())))
    return float(np.mean(losses[True]) + np.mean(losses[False])) / 2


def test_sweeps_move_taught_words_apart_and_leave_base_words_and_weights() -> None:
    toy = two_alike()
    before, weights, loss = toy.classifier.prototypes(), toy.network.params(), loss_of(toy)
    report = TeachReport()
    units = toy.learner.embed_exemplars(report)
    losses = [loss]
    for _ in range(8):
        toy.learner.adapt_rows(units, 9830, BOTH, report)
        losses.append(loss_of(toy))
    after = toy.classifier.prototypes()
    assert losses[-1] < 0.97 * loss
    assert all(b < a for a, b in itertools.pairwise(losses))
    np.testing.assert_array_equal(after[:3], before[:3])
    assert all((after[row] != before[row]).any() for row in (3, 4))
    for key, array in toy.network.params().items():
        np.testing.assert_array_equal(array, weights[key])
    assert len(units) == len(toy.memory.exemplars())
    assert report.counts.frames == sum(frames_in_all_voices(record.frames) for record in toy.memory.exemplars())


def test_base_rows_move_where_they_are_to_as_far_as_in_float() -> None:
    toy = two_alike()
    classifier, base = toy.classifier, toy.classifier.config.base_rows
    heard = [(r.row, toy.memory.decode(r, np.zeros((40, 12), np.int8)).copy()) for r in toy.memory.exemplars()]
    weights = np.random.default_rng(5).integers(100, 1000, len(heard) + base).tolist()
    exemplars = [(toy.hearing.embed(mine)[0], row, weight) for (row, mine), weight in zip(heard, weights, strict=False)]
    before = classifier.prototypes().astype(float)
    before /= np.linalg.norm(before, axis=1, keepdims=True)
    sums = np.zeros((classifier.rows - 1, HIDDEN), np.int32)
    counts = adaptation.sweep(classifier, exemplars, weights[-base:], [1, 3, 4], 39322, sums)

    units = np.array([unit / 2**14 for unit, _, _ in exemplars] + list(before[:base]))
    rows = np.array([row for row, _ in heard] + list(range(base)))
    shares = np.exp(16 * units @ before.T)
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.arange(len(rows)), rows] -= 1
    gradient = 16 * (shares * np.array(weights)[:, None] / WEIGHT_ONE).T @ units
    after = classifier.prototypes().astype(float)
    after /= np.linalg.norm(after, axis=1, keepdims=True)
    for row in range(classifier.rows):
        wanted = before[row] - (0.6 * gradient[row] if row in (1, 3, 4) else 0)
        np.testing.assert_allclose(after[row], wanted / np.linalg.norm(wanted), atol=6e-3)
    assert np.abs(after[1] - before[1]).max() > 0.02
    utterances = len(exemplars) + base
    assert counts.activations == utterances * classifier.rows
    # only taught rows have a nearness, to each of the base rows
    assert counts.elementwise_ops == 2 * utterances * classifier.rows + 3 * HIDDEN * (base + 3) + 2 * base


def test_words_of_few_takes_move_only_if_they_are_alike_another_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is embedded for sweeps that would move nothing. Words 3 and 4 have four takes and are alike."""
    plain = two_alike()
    plain.learner.enrol(takes_of(np.random.default_rng(4), 2))
    alike = [plain.classifier.closest_class(row) for row in (3, 4, 5)]
    table = plain.classifier.prototypes().astype(float)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    np.testing.assert_allclose(alike, 2**14 * np.sort(table[3:] @ table.T, axis=1)[:, -2], atol=3)
    assert alike[0] == pytest.approx(alike[1], abs=3)
    low = min(alike[:2])
    never = 1 << 15
    cases = (
        (2, never, 3, [3, 4, 5]), (3, never, 3, [3, 4]), (4, never, 3, [3, 4]), (5, never, 3, []), (5, low, 3, [3, 4]),
        (5, max(alike) + 1, 3, []), (5, -never, 2, [3, 4, 5]), (5, -never, 3, [3, 4]), (5, low, 5, []),
    )  # fmt: skip
    for many, alike_q14, least, moved in cases:
        config = LearnerConfig(
            steps=0, sweeps=3, max_old_loss=1.0, many_takes=many, alike_q14=alike_q14, least_takes=least
        )
        toy = two_alike()
        row = toy.learner.enrol(takes_of(np.random.default_rng(4), 2))
        found = iter([Check(9, 9, 0), Check(9, 9, 1 << 14)])
        monkeypatch.setattr(toy.learner, "check", lambda *_, found=found: next(found))
        before = toy.classifier.prototypes()
        reports = list(toy.learner.teach(row, config))
        assert len(reports) == (4 if moved else 1)
        assert np.flatnonzero((toy.classifier.prototypes() != before).any(axis=1)).tolist() == moved
        kept = [record.frames for record in toy.memory.exemplars()]
        # the row's own takes are heard before the steps, and again to follow them
        own = 2 * sum(kept[-2:])
        assert reports[-1].counts.frames == own + (sum(map(frames_in_all_voices, kept)) if moved else 0)


def test_where_takes_are_noisy_no_row_moves_whose_directions_have_a_say() -> None:
    toy = make_toy(0, capacity=16000)
    rng = np.random.default_rng(3)
    for takes in (LEAST_TAKES - 1, LEAST_TAKES):
        toy.learner.enrol(takes_of(rng, takes))
    kept = Counter(record.row for record in toy.memory.exemplars())
    never, always = 1 << 15, -(1 << 15)
    for many, alike_q14 in ((LEAST_TAKES - 1, never), (never, always)):
        assert rows_to_move(toy.classifier, kept, 3, many, alike_q14, clear=True) == [3, 4]
        assert rows_to_move(toy.classifier, kept, 3, many, alike_q14, clear=False) == [3]
    assert rows_to_move(toy.classifier, {4: 2}, 3, LEAST_TAKES, always, clear=False) == []


@pytest.mark.parametrize(("tape_frames", "kept"), [(40, 17), (4, 12), (3, 8)])
def test_a_tape_with_room_for_fewer_embeddings_gives_the_same_table(tape_frames: int, kept: int) -> None:
    """What it does not hold is embedded again in every sweep: more work, the same integers."""
    toy, report = two_alike(tape_frames), TeachReport()
    units = toy.learner.embed_exemplars(report)
    for _ in range(3):
        toy.learner.adapt_rows(units, 9830, BOTH, report)
    lengths = [frames_in_all_voices(record.frames) for record in toy.memory.exemplars()]
    assert len(units) == kept
    assert report.counts.frames == sum(lengths[:kept]) + 3 * sum(lengths[kept:])
    whole = two_alike()
    for _ in range(3):
        sweep(whole, 9830, BOTH)  # embedded anew for each
    np.testing.assert_array_equal(toy.classifier.prototypes(), whole.classifier.prototypes())


def test_prototypes_after_sweeps_are_what_they_always_were() -> None:
    """All arithmetic is in integers, so they are the same everywhere."""
    toy = two_alike()
    for _ in range(20):
        sweep(toy, LearnerConfig().row_rate_q16, BOTH)
    assert zlib.crc32(toy.classifier.prototypes().tobytes()) == GOLDEN_CRC


def test_with_checkpoints_the_dense_gradient_is_what_is_idle() -> None:
    plain, toy = two_alike(), two_alike(checkpoint_every=2)
    for one in (plain, toy):
        sweep(one, 9830, BOTH)
    np.testing.assert_array_equal(toy.classifier.prototypes(), plain.classifier.prototypes())
    assert len(toy.learner.embed_exemplars(TeachReport())) == len(toy.memory.exemplars())


def test_the_work_of_a_sweep_is_counted() -> None:
    """8 utterances and 2 base rows against 5 rows of 16, 7 gradients added up, 2 rows moved, each beside 3."""
    counts = count_sweep(8, 2, 5, 7, 2, 16, 6)
    products = 10 * 5 * 16 + 7 * 16 + 2 * 3 * 16
    assert counts.macs_forward == counts.macs_dense_forward == counts.macs_dense_training == products
    assert (counts.macs_backward, counts.macs_gradient, counts.frames) == (0, 0, 0)
    assert counts.state_bytes == 10 * (5 * 16 + 2 * 16) + 8 * 16 * (7 + 2) + 2 * 3 * 16
    assert (counts.activations, counts.elementwise_ops) == (10 * 5, 2 * 10 * 5 + 3 * 16 * (2 + 2) + 2 * 3)


def test_gradients_that_are_nothing_are_not_added(rng: np.random.Generator) -> None:
    unit, sums = rng.integers(-4000, 4000, 16).astype(np.int16), np.zeros((2, 16), np.int32)
    cos_q14 = np.array([16384, -16384, 16384], np.int32)
    added = add_row_gradient(unit, cos_q14, 3, 0, 1, WEIGHT_ONE, EXP2_Q15, np.zeros(3, np.int32), sums)
    assert added == 1
    assert not sums[0].any()
    assert sums[1].any()


def test_without_exemplars_of_a_word_nothing_is_divided_by_zero() -> None:
    toy = make_toy(0)
    before = toy.classifier.prototypes()
    sweep(toy, LearnerConfig().row_rate_q16, [])
    np.testing.assert_array_equal(toy.classifier.prototypes(), before)
