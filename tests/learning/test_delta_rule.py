"""The fast-weight classifier against its formula W += beta (v - W k) k^T."""

from __future__ import annotations

import numpy as np

from edgelearn.learning.delta_rule import ONE_Q14, DeltaRule


def keys(rng: np.random.Generator, count: int, hidden: int = 32) -> np.ndarray:
    vectors = rng.normal(size=(count, hidden))
    return np.rint(vectors / np.linalg.norm(vectors, axis=1, keepdims=True) * ONE_Q14).astype(np.int64)


def test_writes_follow_the_formula(rng: np.random.Generator) -> None:
    rule, exact = DeltaRule(5, 32), np.zeros((5, 32))
    for key in keys(rng, 60):
        label = int(rng.integers(5))
        rule.write(key, label)
        k = key / ONE_Q14
        exact += 0.5 * np.outer(np.eye(5)[label] - exact @ k, k)
    np.testing.assert_allclose(rule.matrix / ONE_Q14, exact, atol=60 * 3 / ONE_Q14)
    probes = keys(rng, 10)
    np.testing.assert_allclose(rule.read(probes) / ONE_Q14, probes / ONE_Q14 @ exact.T, atol=0.02)


def test_beta_one_binds_at_once_and_unbinds_what_was_bound(rng: np.random.Generator) -> None:
    rule = DeltaRule(3, 32, ONE_Q14)
    key = keys(rng, 1)[0].astype(np.int16)
    for label in (1, 2):
        rule.write(key, label)
        np.testing.assert_allclose(rule.read(key[None])[0], ONE_Q14 * np.eye(3)[label], atol=100)


def test_it_tells_words_apart(rng: np.random.Generator) -> None:
    words = keys(rng, 4)
    rule = DeltaRule(4, 32)
    for label in (0, 1, 2, 3, 0, 1, 2, 3):
        rule.write(words[label], label)
    assert rule.read(words).argmax(axis=1).tolist() == [0, 1, 2, 3]
