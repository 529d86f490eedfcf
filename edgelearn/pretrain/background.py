"""Background rows: what running speech sounds like to a trained network, in a few directions."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from edgelearn.pretrain.corpus import Corpus
from edgelearn.pretrain.model import BaseModel, batch_of

ROWS = 16
VERSIONS = 3
BATCH = 256


def background(network: BaseModel, corpus: Corpus, seed: int) -> NDArray[np.float64]:
    """Return ROWS directions [ROWS, H] around which the corpus's pieces of running speech lie, or none without them.

    They are the means of VERSIONS augmented versions of each piece, clustered by k-means.
    """
    heard = [frames for version in range(VERSIONS) for frames in corpus.heard_pieces(version)]
    if len(heard) < ROWS:
        return np.zeros((0, network.hidden))
    heard.sort(key=len)  # batches of like length
    units = np.concatenate([_embed(network, heard[at : at + BATCH]) for at in range(0, len(heard), BATCH)])
    means, _ = kmeans2(units, ROWS, iter=30, minit="++", seed=np.random.default_rng([seed, 8]))
    return np.asarray(means, np.float64)


def _embed(network: BaseModel, utterances: list[NDArray[np.int8]]) -> NDArray[np.float64]:
    with torch.no_grad():
        units: NDArray[np.float64] = network.embed(*batch_of(utterances)).double().numpy()
    return units
