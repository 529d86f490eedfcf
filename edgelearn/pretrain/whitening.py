"""The whitening of embeddings: what speed, room, microphone and noise do to a word becomes alike in all directions.

The covariance of what they do is that of the differences between augmented versions of a training clip and the clip
itself. Scaled to a mean variance of 1, W, it gives the matrix (W + I)^-1/2: directions in which a word wanders far
count less (within-class covariance normalisation; Hatch, Kajarekar, Stolcke, Interspeech 2006; shrunk by half).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.pretrain.augment import Conditions, augment
from edgelearn.pretrain.export import unit_rows
from edgelearn.runtime.voice import VoiceDevice

if TYPE_CHECKING:
    from edgelearn.pretrain.corpus import Corpus
    from edgelearn.runtime.model import Model

VERSIONS = 4
CONDITIONS = Conditions(room=0.35, microphone=0.4, noise=0.8)


def fit_whitening(model: Model, corpus: Corpus, seed: int) -> Model:
    """Return a model without whitening as one that has it: its matrix, and its rows in the new coordinates."""
    matrix = whitening(_differences(model, corpus, seed))
    return replace(model, whitening=whole(matrix), prototypes=unit_rows(model.prototypes @ matrix))


def whitening(differences: Iterable[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the symmetric matrix [H, H] that whitens differences [n, H], given in any number of pieces."""
    covariance = reduce(np.add, (piece.T @ piece for piece in differences))
    variances, directions = np.linalg.eigh(covariance / np.trace(covariance) * len(covariance))
    matrix: NDArray[np.float64] = (directions / np.sqrt(np.maximum(variances, 0) + 1)) @ directions.T
    return matrix


def whole(matrix: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return a symmetric matrix as int8, the largest magnitude 127."""
    integers: NDArray[np.int8] = np.rint((matrix + matrix.T) / (2 * np.abs(matrix).max()) * 127).astype(np.int8)
    return integers


def _differences(model: Model, corpus: Corpus, seed: int) -> Iterable[NDArray[np.float64]]:
    """Yield for each clip the unit embeddings [VERSIONS, H] of augmented versions, less that of the clip."""
    cut = replace(model.endpoint, outer_pre_frames=0, outer_post_frames=0)  # moved ends are one of the differences
    embed = VoiceDevice(replace(model, endpoint=cut)).hearing.embed
    for number, clip in enumerate(corpus.clips):
        rng = np.random.default_rng([seed, 10, number])
        heard = [corpus.make.utterance(clip.astype(np.int16))]
        for _ in range(VERSIONS):
            version = augment(clip, corpus.noises, rng, CONDITIONS)
            heard.append(corpus.make.utterance(version, rng))
        units = np.array([embed(frames)[0] for frames in heard], np.float64)
        units /= np.maximum(1, np.linalg.norm(units, axis=1, keepdims=True))  # more exactly than Q14 has them
        yield units[1:] - units[0]
