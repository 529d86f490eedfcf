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


def step(pool: np.ndarray, rows: np.ndarray, norms: np.ndarray, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and (loss, magnitude, length), by the kernel; equal to the twin's."""
    count, hidden = rows.shape
    gradient, result = np.zeros(hidden, np.int32), np.zeros(3, np.int64)
    head.head_gradient(
        pool.astype(np.int32), rows, norms, count, target, np.zeros(count, np.int32), np.zeros(hidden, np.int16),
        head.EXP2_Q15, LOG_Q16, np.zeros(count, np.int32), gradient, result,
    )  # fmt: skip
    twin = reference_head.HeadStep(pool.astype(np.int64).tolist(), rows.tolist(), norms.tolist(), target)
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
)
def test_head_gradient_equals_the_twin_and_the_formula(
    seed: int, hidden: int, count: int, pull: float, scale: int
) -> None:
    """Loss within 0.02 nats; from a loss of 0.3 on, the gradient within 1 % of its length."""
    rng = np.random.default_rng(seed)
    vectors = rng.normal(0, 1000, (count, hidden))
    target = int(rng.integers(count))
    pool = np.rint((rng.normal(0, 1, hidden) + pull * vectors[target] / 1000) * scale)
    rows, norms = quantised(vectors)
    gradient, (loss_q10, magnitude_q23, length) = step(pool, rows, norms, target)
    if scale < 300:
        return  # a pool of a few units has no direction to speak of
    floats = rows.astype(np.float64)
    loss = reference_head.float_loss(pool, floats, target)
    assert abs(loss_q10 / 1024 - loss) < 0.02
    if loss > 0.3:
        wanted = reference_head.float_gradient(pool, floats, target)
        got = gradient / 2**15 * magnitude_q23 / 2**23 * head.LOGIT_SCALE / length
        assert np.linalg.norm(got - wanted) < 0.01 * np.linalg.norm(wanted)


def test_head_gradient_against_central_differences(rng: np.random.Generator) -> None:
    rows, norms = quantised(rng.normal(0, 1000, (20, 24)))
    pool = rng.integers(-50000, 50000, 24).astype(np.float64)
    gradient, (_, magnitude_q23, length) = step(pool, rows, norms, 7)
    got = gradient / 2**15 * magnitude_q23 / 2**23 * head.LOGIT_SCALE / length
    floats = rows.astype(np.float64)
    numeric = np.array(
        [
            (reference_head.float_loss(pool + e, floats, 7) - reference_head.float_loss(pool - e, floats, 7)) / 2
            for e in np.eye(24)
        ]
    )
    assert np.abs(gradient).max() == 1 << 15
    np.testing.assert_allclose(got, numeric, atol=0.01 * np.abs(numeric).max())


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
    twin = reference_head.HeadStep(pool.astype(int).tolist(), rows.tolist(), norms.tolist(), 0)
    assert 0.95 * 2**24 < twin.largest <= 2**24 + 127 * count
