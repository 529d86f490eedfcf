"""The score from which a taught word counts as said, from what the device has of it and of everything else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgelearn.learning.classifier import Classifier

ABOVE_BACKGROUND_Q14 = 328  # 0.02
BELOW_TAKES_Q14 = 1638  # 0.1
SCORE_FLOOR_Q14 = -(1 << 14)
"""Less than any score: what is known of a word without utterances to score."""


def thresholds_q14(
    classifier: Classifier, heard: Iterable[tuple[NDArray[np.int16], int]], rows: Sequence[int], default_q14: int
) -> list[int]:
    """Return the score (Q14) from which each of the words at `rows` counts as said.

    It is the base model's, raised above what utterances of other words score for this one (the background), and kept
    below what its own takes score.  heard: unit embeddings (int16 Q14 [H]) of utterances with their rows.
    """
    where = np.array(rows, np.int64)
    own: list[list[int]] = [[] for _ in rows]
    background = [[SCORE_FLOOR_Q14] for _ in rows]
    for unit, said in heard if rows else ():
        for n, score in enumerate(classifier.scores(unit, where)[0].tolist()):
            (own if said == rows[n] else background)[n].append(score)
    thresholds = []
    for mine, others in zip(own, background, strict=True):
        threshold = max(default_q14, max(others) + ABOVE_BACKGROUND_Q14)
        thresholds.append(min(threshold, sum(mine) // len(mine) - BELOW_TAKES_Q14) if mine else threshold)
    return thresholds
