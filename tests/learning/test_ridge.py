"""Recursive least squares against the closed form."""

from __future__ import annotations

import numpy as np
import pytest

from edgelearn.learning.ridge import Ridge

HIDDEN = 24


def keys_of(rng: np.random.Generator, count: int) -> np.ndarray:
    keys = rng.normal(size=(count, HIDDEN))
    keys[:, 0] += 3  # embeddings have much in common
    return np.rint(keys / np.linalg.norm(keys, axis=1, keepdims=True) * 2**14).astype(np.int16)


@pytest.mark.parametrize("regularisation", [0.25, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_written_one_by_one_is_the_ridge_solution(seed: int, regularisation: float) -> None:
    rng = np.random.default_rng(seed)
    keys, labels = keys_of(rng, 60), rng.integers(0, 5, 60)
    rule = Ridge(4, HIDDEN, regularisation)
    for key, label in zip(keys, labels.tolist(), strict=True):
        rule.write(key, label if label < 4 else None)
    units, targets = keys / 2**14, np.eye(5)[labels][:, :4]
    moment = units.T @ units + regularisation * np.eye(HIDDEN)
    np.testing.assert_allclose(rule.matrix / 2**14, np.linalg.solve(moment, units.T @ targets).T, atol=2e-3)
    np.testing.assert_allclose(rule.inverse / 2**28, np.linalg.inv(moment), atol=1e-3)
    np.testing.assert_allclose(rule.read(keys) / 2**14, units @ rule.matrix.T / 2**14, atol=2e-4)


def test_a_key_of_no_class_is_answered_with_less() -> None:
    rng = np.random.default_rng(0)
    word, like_it = keys_of(rng, 2)
    rule = Ridge(1, HIDDEN)
    rule.write(word, 0)
    before = rule.read(like_it[None])[0, 0]
    for _ in range(5):
        rule.write(like_it, None)
    assert 0 <= rule.read(like_it[None])[0, 0] < before / 3
    assert rule.read(word[None])[0, 0] > 0


def test_it_says_what_it_costs_and_what_it_cannot_hold() -> None:
    rule = Ridge(16, 128)
    assert rule.matrix.nbytes + rule.inverse.nbytes == 72 * 1024
    with pytest.raises(ValueError, match=r"0\.1 is below 0\.25"):
        Ridge(16, 128, 0.1)
