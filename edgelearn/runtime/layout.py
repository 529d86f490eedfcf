"""Every array of a device, described without allocating one: what `VoiceDevice` will cut out of its arena, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from edgelearn.audio.endpoint import EndpointConfig, endpoint_regions
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.device.plan import Choice, Limits, Wanted
from edgelearn.device.sizes import KIB
from edgelearn.engine.layout import (
    HIDDEN_RANGE,
    NetworkConfig,
    gradient_regions,
    network_regions,
    state_regions,
    tape_regions,
    weight_gradient_regions,
)
from edgelearn.engine.layout import Region as NamedArray
from edgelearn.learning.directions import DIRECTIONS
from edgelearn.learning.rehearsal import exemplars_in
from edgelearn.runtime.last_utterances import LAST_BYTES
from edgelearn.runtime.model import Model

TAUGHT_ROWS = 16
REHEARSAL_BYTES = 16 * KIB
LEAST_REHEARSAL_BYTES = 2 * KIB  # a few takes of one word
# the tape's pool of deltas is sized for this occupancy; what does not fit truncates BPTT and is reported
POOL_SHARE = 0.45
LEAST_TAPE_FRAMES = 8
MOST_TAPE_FRAMES = 64
LEARNING_PARTS = ("rehearsal", "learning", "tape")
"""Parts of the memory map that only learning uses; all others are in use while listening, too."""


@dataclass(frozen=True)
class DeviceShape:
    """What the size of a device follows from.

    records_bytes, taught_bytes: what the model has in its rehearsal memory, and how much of that is of taught words.
    """

    frontend: FrontendConfig
    endpoint: EndpointConfig
    network: NetworkConfig
    base_rows: int
    records_bytes: int = 0
    taught_bytes: int = 0

    def with_hidden(self, hidden: int) -> DeviceShape:
        """Return a device whose layers have at most so many hidden units."""
        layers = []
        inputs = self.network.inputs
        for layer in self.network.layers:
            layers.append(replace(layer, inputs=inputs, hidden=min(layer.hidden, hidden)))
            inputs = layers[-1].hidden
        return replace(self, network=NetworkConfig(tuple(layers)), records_bytes=0, taught_bytes=0)


def shape_of(model: Model) -> DeviceShape:
    """Return the shape of a model's device."""
    base_rows, records = len(model.labels), exemplars_in(model.rehearsal, model.endpoint.surroundings)
    taught_bytes = sum(record.size for record in records if record.row >= base_rows)
    return DeviceShape(model.frontend, model.endpoint, model.network, base_rows, len(model.rehearsal), taught_bytes)


def limits_of(shape: DeviceShape, rehearsal_bytes: int | None = None) -> Limits:
    """Return what a planner may choose between; rehearsal_bytes leaves it no choice of that."""
    if rehearsal_bytes is not None:
        return Limits(LEAST_TAPE_FRAMES, MOST_TAPE_FRAMES, rehearsal_bytes, rehearsal_bytes)
    in_use = -(-shape.records_bytes // 4) * 4
    return Limits(LEAST_TAPE_FRAMES, MOST_TAPE_FRAMES, max(REHEARSAL_BYTES, in_use), max(LEAST_REHEARSAL_BYTES, in_use))


def device_regions(shape: DeviceShape, choice: Choice) -> Iterator[Wanted]:
    """Yield name, shape and type of every array of a device that listens and learns, in order of allocation."""
    network, bands = shape.network, shape.frontend.bands
    yield from listening_regions(shape)
    yield from _memory("rehearsal", choice.rehearsal_bytes, bands)
    yield from _memory("last", LAST_BYTES, bands)
    yield from _named("learning.gradients", gradient_regions(network))
    yield from _named("learning.state", state_regions(network))
    every = choice.checkpoint_every
    if every:
        yield from _named("learning.weights", weight_gradient_regions(network))
    yield from _named("tape", tape_regions(network, choice.tape_frames, pool_entries(network, choice), every))
    yield "learning.pool", (network.hidden,), np.int32
    yield "learning.frames", (shape.endpoint.most_frames, network.inputs), np.int8
    yield "learning.enrolled", (network.hidden,), np.int32
    yield "learning.kept", (network.hidden,), np.int32


def listening_regions(shape: DeviceShape) -> Iterator[Wanted]:
    """Yield the arrays of the listening half, which come first; all of it but the queue of last utterances."""
    network, frontend, bands = shape.network, shape.frontend, shape.frontend.bands
    half, rows = frontend.frame // 2, shape.base_rows + TAUGHT_ROWS
    yield from _named("network", network_regions(network))
    yield "classifier.prototypes", (rows, network.hidden), np.int8
    for name in ("norms", "nearness", "cosines", "weights"):
        yield f"classifier.{name}", (rows,), np.int32
    yield "classifier.embedding", (network.hidden,), np.int16
    yield "classifier.whitened", (network.hidden,), np.int32
    yield "classifier.gradient", (network.hidden,), np.int32
    yield "classifier.directions.vectors", (TAUGHT_ROWS, DIRECTIONS, network.hidden), np.int8
    for name, count in (("norms", DIRECTIONS), ("lengths", DIRECTIONS), ("heard", 2)):
        yield f"classifier.directions.{name}", (TAUGHT_ROWS, count), np.int32
    yield "frontend.history", (1 + frontend.frame,), np.int16
    yield "frontend.counter", (1,), np.int64
    yield "frontend.spectrum", (2, half + 1), np.int32
    yield "frontend.scratch", (half,), np.int64
    yield "frontend.log", (bands,), np.int32
    yield from _named("endpoint", endpoint_regions(bands))
    yield from _named("listening.state", state_regions(network))
    yield "listening.ring", (shape.endpoint.most_frames, network.inputs), np.int8
    yield "listening.pool", (network.hidden,), np.int32
    yield "listening.floor", (network.inputs,), np.int8


def pool_entries(network: NetworkConfig, choice: Choice) -> int:
    """Return how many active deltas of all layers a tape has room for."""
    columns = sum(layer.inputs + layer.hidden for layer in network.layers)
    dense = any(layer.theta_x_q13 == 0 or layer.theta_h_q13 == 0 for layer in network.layers)
    return int(choice.tape_frames * columns * (1.0 if dense else POOL_SHARE))


def narrower(shape: DeviceShape) -> Iterator[tuple[int, DeviceShape]]:
    """Yield devices of fewer hidden units in steps of 8, the widest first."""
    widest = max(layer.hidden for layer in shape.network.layers)
    for hidden in range(-(-widest // 8) * 8 - 8, HIDDEN_RANGE[0] - 1, -8):
        yield hidden, shape.with_hidden(hidden)


def _named(prefix: str, regions: Iterable[NamedArray]) -> Iterator[Wanted]:
    for name, shape, dtype in regions:
        yield f"{prefix}.{name}", shape, dtype


def _memory(name: str, capacity_bytes: int, bands: int) -> Iterator[Wanted]:
    yield f"{name}.records", (capacity_bytes,), np.uint8
    yield f"{name}.hat", (bands,), np.int8
    yield f"{name}.used", (1,), np.int32
