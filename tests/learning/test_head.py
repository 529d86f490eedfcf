"""The classifier's arithmetic: equal to its twin in Python integers, close to the formula, within its bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelearn.audio.melbank import FrontendConfig, make_tables
from edgelearn.learning import head
from tests import reference_head
from tests.learning.toy import some_whitening

LOG_Q16 = make_tables(FrontendConfig()).log_q16
WIDEST = 512
LONGEST = 1 << 26


def quantised(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows int8 and their norms (Q8), by the kernel; equal to the twin's."""
    rows, norms = np.zeros(vectors.shape, np.int8), np.zeros(len(vectors), np.int32)
    for k, vector in enumerate(vectors):
        norms[k] = head.quantise_prototype(vector.astype(np.int64), rows[k])
        assert (rows[k].tolist(), norms[k]) == reference_head.quantise_prototype(vector.astype(np.int64).tolist())
    return rows, norms


def step(
    pool: np.ndarray, rows: np.ndarray, norms: np.ndarray, target: int, whitening: np.ndarray = head.NO_WHITENING
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and (loss, magnitude, length), by the kernel; equal to the twin's."""
    count, hidden = rows.shape
    gradient, result = np.zeros(hidden, np.int32), np.zeros(3, np.int64)
    head.head_gradient(
        pool.astype(np.int32), whitening, rows, norms, count, target, np.zeros(count, np.int32),
        np.zeros(hidden, np.int16), np.zeros(hidden, np.int32), head.EXP2_Q15, LOG_Q16, np.zeros(count, np.int32),
        gradient, result,
    )  # fmt: skip
    twin = reference_head.HeadStep(
        pool.astype(np.int64).tolist(), rows.tolist(), norms.tolist(), target, whitening.tolist()
    )
    assert gradient.tolist() == twin.gradient
    assert result.tolist() == [twin.loss_q10, twin.magnitude_q23, twin.length]
    assert twin.largest <= 2**24 + 127 * count
    return gradient, result


@settings(deadline=None)
@given(st.integers(0, 2**62 - 1))
def test_isqrt_is_exact(value: int) -> None:
    assert head.isqrt(value) == math.isqrt(value)


@pytest.mark.parametrize("root", [0, 1, 2, 46340, 2**30, 2**31 - 1])
def test_isqrt_around_squares(root: int) -> None:
    for value in (root * root - 1, root * root, root * root + 1):
        if 0 <= value < 2**62:
            assert head.isqrt(value) == math.isqrt(value)


def test_exp_equals_its_twin_and_is_within_its_bound() -> None:
    for x in [*range(30000), 2**17, 2**30]:
        got = head.exp_neg_q15(x, head.EXP2_Q15)
        assert got == reference_head.exp_neg_q15(x)
        assert abs(got - 32768 * math.exp(-x / 1024)) < 2


@pytest.mark.parametrize(
    "pool",
    [
        np.zeros(16),
        np.ones(16),
        np.eye(16)[3],
        -np.eye(16)[3] * LONGEST,
        np.full(WIDEST, LONGEST),
        np.full(WIDEST, -LONGEST),
        np.arange(WIDEST) - 255,
    ],
    ids=["zeros", "ones", "one", "longest one", "longest", "longest negative", "ramp"],
)
def test_unit_embedding_equals_its_twin_at_the_extremes(pool: np.ndarray) -> None:
    unit = np.zeros(len(pool), np.int16)
    length = head.unit_embedding(pool.astype(np.int32), unit)
    assert (unit.tolist(), length) == reference_head.unit_embedding(pool.astype(np.int64).tolist())
    assert np.abs(unit.astype(int)).max() <= 1 << 14
    assert sum(int(v) ** 2 for v in pool) <= 2**61


def test_the_unit_embedding_has_length_one(rng: np.random.Generator) -> None:
    unit = np.zeros(128, np.int16)
    head.unit_embedding(rng.integers(-200000, 200000, 128).astype(np.int32), unit)
    assert np.linalg.norm(unit / 2**14) == pytest.approx(1, abs=1e-3)


@settings(deadline=None, max_examples=50)
@given(
    seed=st.integers(0, 2**32),
    hidden=st.sampled_from([16, 128, WIDEST]),
    scale=st.sampled_from([0.3, 3.0, 1e4, 1e9, 2.0**54]),
)
def test_prototypes_and_cosines_equal_the_twin(seed: int, hidden: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    rows, norms = quantised(np.clip(np.rint(rng.normal(0, scale / 4, (5, hidden))), -(2**55) + 1, 2**55 - 1))
    unit = np.zeros(hidden, np.int16)
    head.unit_embedding(rng.integers(-9999, 9999, hidden).astype(np.int32), unit)
    cosines = np.zeros(5, np.int32)
    head.cosines(unit, rows, norms, 5, cosines)
    assert cosines.tolist() == reference_head.cosines(unit.tolist(), rows.tolist(), norms.tolist())


def test_whitening_equals_the_twin(rng: np.random.Generator) -> None:
    """And of a matrix that changes nothing nothing is seen but rounding."""
    for hidden in (16, 128, WIDEST):
        pool = rng.integers(-(10**6), 10**6, hidden).astype(np.int32)
        for whitening in (some_whitening(hidden, rng), np.full((hidden, hidden), -127, np.int8)):
            unit, whitened = np.zeros(hidden, np.int16), np.zeros(hidden, np.int32)
            lengths = head.whitened_embedding(pool, whitening, whitened, unit)
            plain, length = reference_head.unit_embedding(pool.tolist())
            wanted, stretched = reference_head.unit_embedding(reference_head.times(whitening.tolist(), plain))
            assert (unit.tolist(), lengths) == (wanted, (length, stretched))
        head.whitened_embedding(pool, (127 * np.eye(hidden)).astype(np.int8), whitened, unit)
        assert np.abs(unit - np.array(plain)).max() <= 2


def test_the_sum_of_a_whitening_fits_at_its_worst() -> None:
    worst = np.full(WIDEST, -(1 << 14), np.int16)
    whitened = np.zeros(WIDEST, np.int32)
    head.whiten(np.full((WIDEST, WIDEST), -127, np.int8), worst, whitened)
    assert whitened.tolist() == [WIDEST * 127 << 14] * WIDEST


def test_the_sum_of_a_cosine_fits_at_its_worst() -> None:
    unit = np.full(WIDEST, -(1 << 14), np.int16)
    rows, norms = quantised(np.full((2, WIDEST), 9))
    cosines = np.zeros(2, np.int32)
    head.cosines(unit, rows, norms, 2, cosines)
    assert WIDEST * 2**14 * 127 < 2**30
    assert cosines.tolist() == reference_head.cosines(unit.tolist(), rows.tolist(), norms.tolist())


def test_a_row_of_zeros_has_no_cosine() -> None:
    rows, norms = quantised(np.zeros((1, 16)))
    assert (rows.tolist(), norms.tolist()) == ([[0] * 16], [1])
    gradient, result = step(np.arange(16), rows, norms, 0)
    assert not gradient.any()
    assert result[:2].tolist() == [0, 0]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    hidden=st.sampled_from([16, 128, WIDEST]),
    count=st.sampled_from([1, 2, 30, 120]),
    pull=st.sampled_from([-3.0, 0.0, 0.3, 1.0, 3.0]),
    scale=st.sampled_from([1, 300, 30000, 10**6]),
    whitened=st.booleans(),
)
def test_head_gradient_equals_the_twin_and_the_formula(
    seed: int, hidden: int, count: int, pull: float, scale: int, whitened: bool
) -> None:
    """Loss within 0.02 nats; from a loss of 0.3 on, the gradient within 1 % of its length."""
    rng = np.random.default_rng(seed)
    whitening = some_whitening(hidden, rng) if whitened else head.NO_WHITENING
    matrix = whitening / 127 if whitened else np.eye(hidden)
    vectors = rng.normal(0, 1000, (count, hidden))
    target = int(rng.integers(count))
    pool = np.rint((rng.normal(0, 1, hidden) + pull * vectors[target] / 1000) * scale)
    rows, norms = quantised(vectors)
    gradient, (loss_q10, magnitude_q23, length) = step(pool, rows, norms, target, whitening)
    if scale < 300:
        return  # a pool of a few units has no direction to speak of
    floats = rows.astype(np.float64)
    loss = reference_head.float_loss(pool, floats, target, matrix)
    assert abs(loss_q10 / 1024 - loss) < 0.02
    if loss > 0.3:
        wanted = reference_head.float_gradient(pool, floats, target, matrix)
        got = gradient / 2**15 * magnitude_q23 / 2**23 * head.LOGIT_SCALE / length
        assert np.linalg.norm(got - wanted) < 0.01 * np.linalg.norm(wanted)


@pytest.mark.parametrize("whitened", [False, True])
def test_head_gradient_against_central_differences(rng: np.random.Generator, whitened: bool) -> None:
    rows, norms = quantised(rng.normal(0, 1000, (20, 24)))
    pool = rng.integers(-50000, 50000, 24).astype(np.float64)
    whitening = some_whitening(24, rng) if whitened else head.NO_WHITENING
    matrix = whitening / 127 if whitened else np.eye(24)
    gradient, (_, magnitude_q23, length) = step(pool, rows, norms, 7, whitening)
    got = gradient / 2**15 * magnitude_q23 / 2**23 * head.LOGIT_SCALE / length
    floats = rows.astype(np.float64)
    numeric = np.array(
        [
            reference_head.float_loss(pool + e / 2, floats, 7, matrix)
            - reference_head.float_loss(pool - e / 2, floats, 7, matrix)
            for e in np.eye(24)
        ]
    )
    assert np.abs(gradient).max() == 1 << 15
    np.testing.assert_allclose(got, numeric, atol=0.01 * np.abs(numeric).max())


def test_a_whitening_that_flattens_everything_has_a_gradient_within_its_bound(rng: np.random.Generator) -> None:
    """All of the pool lies in the directions that the matrix takes away, and the gradient does not."""
    whitening = np.zeros((16, 16), np.int8)
    whitening[8:, 8:] = np.diag(np.full(8, 127))
    rows, norms = quantised(rng.normal(0, 1000, (20, 16)))
    _, (_, magnitude_q23, _) = step(np.where(np.arange(16) < 8, 9999, 0), rows, norms, 7, whitening)
    assert magnitude_q23 == head.MOST_MAGNITUDE_Q23


@pytest.mark.parametrize("count", [2, 250])
def test_the_sum_of_the_gradient_comes_near_its_bound_and_no_further(count: int) -> None:
    """One row points away from the utterance and is the target, all others point at it."""
    vectors = np.zeros((count, WIDEST))
    vectors[:, 0] = 1
    vectors[0, 0] = -1
    rows, norms = quantised(vectors)
    pool = np.zeros(WIDEST)
    pool[:2] = LONGEST, 1
    step(pool, rows, norms, 0)
    twin = reference_head.HeadStep(pool.astype(int).tolist(), rows.tolist(), norms.tolist(), 0, [])
    assert 0.95 * 2**24 < twin.largest <= 2**24 + 127 * count
