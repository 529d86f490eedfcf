"""How alike the sounds of a corpus are to a network that has heard far more speech: what the embedding is drawn to.

The network is Google's speech_embedding (Lin et al., "Training Keyword Spotters with Limited and Synthesized Speech
Data", arXiv 2002.01322; Apache-2.0), as openWakeWord packages it.  It is much too large for the device and is asked
once, about every sound as it was recorded; the student hears the same sound augmented.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from openwakeword.utils import AudioFeatures

from edgelearn.pretrain.corpus import Corpus

FRAME = 160  # samples; the network reads windows of 76 such frames and moves on by 8
WINDOWS = 5
SAMPLES = FRAME * (76 + 8 * (WINDOWS - 1) + 3)
BATCH = 256
SHRINKAGE = 0.1


def reference_units(corpus: Corpus) -> NDArray[np.float32]:
    """Return a unit vector for every source of `corpus`, float32 [sources, dimensions], to compare by cosine.

    Three windows 160 ms apart around the middle of the word, in coordinates in which clips of one word spread alike
    in all directions.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it asks for a GPU first
        features = AudioFeatures()
    embedded = np.concatenate([features.embed_clips(batch)[:, ::2] for batch in _batches(corpus)])
    labels = np.array([corpus.label(n) for n in range(corpus.sources)])
    units: NDArray[np.float32] = whiten(embedded.reshape(len(embedded), -1), labels, len(corpus.words))
    return units


def whiten(embedded: NDArray[np.float32], labels: NDArray[np.int64], words: int) -> NDArray[np.float32]:
    """Return unit vectors after whitening by the covariance of clips around the mean of their word (labels < `words`).

    The covariance is shrunk by a tenth towards a multiple of the identity.
    """
    spoken = (labels >= 0) & (labels < words)
    centred = embedded.astype(np.float64) - embedded[spoken].mean(axis=0)
    around = [centred[labels == word] - centred[labels == word].mean(axis=0) for word in range(words)]
    within = sum(clips.T @ clips for clips in around) / spoken.sum()
    spread, axes = np.linalg.eigh(within + SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within)))
    white = centred @ (axes / np.sqrt(spread))
    return np.asarray(white / np.linalg.norm(white, axis=1, keepdims=True), np.float32)


def _batches(corpus: Corpus) -> Iterator[NDArray[np.int16]]:
    """Yield crops of SAMPLES around the middle of each source's word, int16 [n, SAMPLES]."""
    for first in range(0, corpus.sources, BATCH):
        numbers = range(first, min(first + BATCH, corpus.sources))
        crops = np.zeros((len(numbers), SAMPLES), np.int16)
        for crop, number in zip(crops, numbers, strict=True):
            sound, start = corpus.source(number), corpus.middle(number) - SAMPLES // 2
            low, high = max(0, start), min(len(sound), start + SAMPLES)
            crop[low - start : high - start] = sound[low:high]
        yield crops
