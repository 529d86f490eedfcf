"""Ways of learning words behind one interface: every learner enrols the same prototypes, and then does what it does.

The base classes reject for all of them in the same way: a score is the learner's own answer less 3/4 of the best cosine
of the base classes, and less a quarter of the word's own nearness to them. So what is compared is learning, not
rejection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts
from edgelearn.learning.classifier import Classifier
from edgelearn.learning.delta_rule import DeltaRule
from edgelearn.learning.learner import Learner, LearnerConfig
from edgelearn.learning.ridge import Ridge

Scores = NDArray[np.float64]


class WordLearner(Protocol):
    """Learns words that have a row already, one after the other, and scores utterances for them."""

    def learn(self, row: int, /) -> Counts:
        """Learn the word at `row`, enrolled last; returns what the network did for it."""

    def scores(self, units_q14: NDArray[np.int64], rows: NDArray[np.int64]) -> Scores:
        """Return the scores (Q14, [n, words]) of the words at `rows` for unit embeddings (Q14, [n, H])."""


class PrototypeLearner:
    """Nearest prototype: the mean of the takes, from five on with their directions, is all there is."""

    def __init__(self, _learner: Learner, classifier: Classifier, _config: LearnerConfig) -> None:
        self._classifier = classifier

    def learn(self, _row: int, /) -> Counts:
        """Do nothing."""
        return Counts()

    def scores(self, units_q14: NDArray[np.int64], rows: NDArray[np.int64]) -> Scores:
        """Return the classifier's scores."""
        found = [self._classifier.scores(unit.astype(np.int16), rows)[0] for unit in units_q14]
        return np.array(found, np.float64).reshape(-1, len(rows))


class SparseBpttLearner(PrototypeLearner):
    """Gradient steps of the whole network on takes and rehearsal; scores are those of the prototypes that follow."""

    def __init__(self, learner: Learner, classifier: Classifier, config: LearnerConfig) -> None:
        super().__init__(learner, classifier, config)
        self._learner = learner
        self._config = config

    def learn(self, row: int, /) -> Counts:
        """Take all gradient steps."""
        return deque(self._learner.teach(row, self._config), maxlen=1).pop().counts


class KeyLearner:
    """What answers for embeddings by a matrix of its own, a row for each taught word; the network stays as it is."""

    def __init__(self, learner: Learner, classifier: Classifier, rule: DeltaRule | Ridge) -> None:
        self._learner = learner
        self._classifier = classifier
        self._base = classifier.config.base_rows
        self._rule = rule

    def learn(self, row: int, /) -> Counts:
        """Write the takes of the word, once each."""
        for key in self._learner.hearing.exemplar_units(row):
            self._rule.write(key, row - self._base)
        return Counts()

    def scores(self, units_q14: NDArray[np.int64], rows: NDArray[np.int64]) -> Scores:
        """Return the answers, less what the base classes say against them."""
        against = [self._classifier.against(u.astype(np.int16), rows) for u in units_q14]
        answers: Scores = self._rule.read(units_q14)[:, rows - self._base]
        return answers - np.array(against, np.float64).reshape(-1, len(rows))


def delta_rule_learner(learner: Learner, classifier: Classifier, _config: LearnerConfig) -> KeyLearner:
    """Return fast weights, written once for every take."""
    return KeyLearner(learner, classifier, DeltaRule(classifier.config.taught_rows, classifier.config.hidden))


def ridge_learner(learner: Learner, classifier: Classifier, _config: LearnerConfig) -> KeyLearner:
    """Return ridge regression on the frozen embeddings, to which the prototypes of the base classes are no word."""
    rule = Ridge(classifier.config.taught_rows, classifier.config.hidden)
    for row in range(classifier.config.base_rows):
        rule.write(classifier.unit_row(row), None)
    return KeyLearner(learner, classifier, rule)


LEARNERS: dict[str, Callable[[Learner, Classifier, LearnerConfig], WordLearner]] = {
    "prototype": PrototypeLearner,
    "delta_rule": delta_rule_learner,
    "ridge": ridge_learner,
    "sparse_bptt": SparseBpttLearner,
}
"""All of them by the name that the command line has for them."""
