"""From a trained float model to the fixed-point model file: weights, prototypes, the rehearsal memory, thresholds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.endpoint import EndpointConfig
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.audio.surroundings import Surroundings
from edgelearn.engine.floating import quantise_bias, quantise_weights
from edgelearn.engine.network import LayerConfig, NetworkConfig
from edgelearn.learning.rehearsal import RehearsalMemory
from edgelearn.runtime.model import Model, Word

VOCABULARY = ("bed", "cat", "down", "five", "go", "left", "one", "right", "up", "zero")
VOCABULARY_DATASET = "speech_commands"


def fixed_point(weights: NDArray[np.float64], bias: NDArray[np.float64], weight_shift: int) -> dict[str, NDArray[Any]]:
    """Return a one-layer network (float weights [N+H, 4H], bias [4H]) as the parameters that `Network.load` takes."""
    hi, lo = quantise_weights(weights, weight_shift)
    return {
        "layer0.weights_hi": hi,
        "layer0.weights_lo": lo,
        "layer0.bias": quantise_bias(bias, weight_shift),
    }


def unit_rows(classes: NDArray[np.float64]) -> NDArray[np.int8]:
    """Return class vectors [n, H] as int8 rows whose largest magnitude is 127."""
    rows: NDArray[np.int8] = np.rint(classes / np.abs(classes).max(axis=1, keepdims=True) * 127).astype(np.int8)
    return rows


def choose_exemplars(
    utterances: dict[int, list[NDArray[np.int8]]], theta_x_q13: int, capacity_bytes: int, around: Surroundings
) -> NDArray[np.uint8]:
    """Return the packed rehearsal records of as many utterances a row, in turn, as `capacity_bytes` hold.

    around: what each of them has around it.
    """
    bands = next(iter(utterances.values()))[0].shape[1]
    memory = RehearsalMemory.apart(capacity_bytes, bands, theta_x_q13, around)
    for turn in range(max(map(len, utterances.values()))):
        for row, members in utterances.items():
            if turn < len(members):
                before = memory.used_bytes
                memory.add(row, members[turn])
                if memory.used_bytes <= before or capacity_bytes - memory.used_bytes < 1024:
                    return memory.pack()
    return memory.pack()


def make_model(
    frontend: FrontendConfig, endpoint: EndpointConfig, layer: LayerConfig, params: dict[str, NDArray[Any]],
    labels: list[str], classes: NDArray[np.float64], exemplars: NDArray[np.uint8], provenance: dict[str, Any],
) -> Model:  # fmt: skip
    """Assemble the model that ships; its words have the threshold 0 until `calibrate` sets it."""
    rows = {label: k for k, label in enumerate(labels)}
    words = tuple(Word(word, rows[f"{VOCABULARY_DATASET}:{word}"], 0) for word in VOCABULARY)
    return Model(
        frontend=frontend,
        endpoint=endpoint,
        network=NetworkConfig((layer,)),
        labels=tuple(labels),
        words=words,
        params=params,
        prototypes=unit_rows(classes),
        rehearsal=exemplars,
        open_set_q14=0,
        provenance=provenance,
    )
