"""One battery of checks over every learner: what any of them must do, whatever it does inside."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgelearn.learning.learner import LearnerConfig
from edgelearn.learning.learners import LEARNERS, WordLearner
from tests.learning.toy import Toy, make_toy, takes_of

CONFIG = LearnerConfig(steps=12, rate_q16=1000, sweeps=4, many_takes=1, max_old_loss=1.0)
ROWS = np.array([3, 4], np.int64)


def taught(
    name: str, config: LearnerConfig = CONFIG, takes: int = 4
) -> tuple[Toy, WordLearner, list[list[np.ndarray]]]:
    """A device that learned two words, and further takes of them."""
    toy = make_toy(0, capacity=16000)
    rng = np.random.default_rng(11)
    learner = LEARNERS[name](toy.learner, toy.classifier, config)
    rest = []
    for _ in range(2):
        recordings = takes_of(rng, takes + 4)
        learner.learn(toy.learner.enrol(recordings[:takes]))
        rest.append(recordings[takes:])
    return toy, learner, rest


def units_of(toy: Toy, recordings: list[np.ndarray]) -> np.ndarray:
    return np.array([toy.hearing.embed(frames)[0] for frames in recordings], np.int64)


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("takes", [1, 4])
def test_a_word_scores_higher_for_itself_than_for_the_other(name: str, takes: int) -> None:
    toy, learner, rest = taught(name, takes=takes)
    mean = np.array([learner.scores(units_of(toy, recordings), ROWS).mean(axis=0) for recordings in rest])
    assert mean.shape == (2, 2)
    # column by column: what was written last may favour all, where an untrained network makes all words alike
    assert mean[0, 0] > mean[1, 0]
    assert mean[1, 1] > mean[0, 1]


@pytest.mark.parametrize("name", LEARNERS)
def test_it_repeats_bit_for_bit_and_asking_changes_nothing(name: str) -> None:
    (first, learner, rest), (second, again, _) = taught(name), taught(name)
    units = units_of(first, rest[0])
    scores = learner.scores(units, ROWS)
    assert scores.tolist() == learner.scores(units, ROWS).tolist() == again.scores(units, ROWS).tolist()
    assert first.snapshot() == second.snapshot()


@pytest.mark.parametrize("name", LEARNERS)
def test_it_scores_the_words_that_are_asked_for_in_their_order(name: str) -> None:
    toy, learner, rest = taught(name)
    units = units_of(toy, rest[0])
    both = learner.scores(units, ROWS)
    assert learner.scores(units, ROWS[::-1]).tolist() == both[:, ::-1].tolist()
    assert learner.scores(units, ROWS[1:]).tolist() == both[:, 1:].tolist()
    assert learner.scores(units[:0], ROWS).shape == (0, 2)


@pytest.mark.parametrize("name", LEARNERS)
def test_only_gradients_change_the_network_and_only_they_cost_work(name: str) -> None:
    toy, fresh = taught(name)[0], make_toy(0, capacity=16000)
    weights = [array.tobytes() for array in toy.network.params().values()]
    same = weights == [array.tobytes() for array in fresh.network.params().values()]
    assert same == (name != "sparse_bptt")
    learner = LEARNERS[name](fresh.learner, fresh.classifier, dataclasses.replace(CONFIG, steps=2))
    counts = learner.learn(fresh.learner.enrol(takes_of(np.random.default_rng(1), 3)))
    assert (counts.macs_gradient > 0) == (name == "sparse_bptt")
