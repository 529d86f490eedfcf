"""Shapes of a network and of all its arrays in an arena, for those who allocate and those who budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgelearn.device.arena import region_bytes
from edgelearn.errors import UsageError

Region = tuple[str, tuple[int, ...], npt.DTypeLike]
"""Name, shape and type of an array in an arena."""

MAX_LAYERS = 3
HIDDEN_RANGE = (16, 512)
INPUTS_RANGE = (8, 512)
WEIGHT_SHIFT_RANGE = (0, 12)
THETA_RANGE = (0, 32767)


@dataclass(frozen=True)
class LayerConfig:
    """Shape and formats of a layer: weights hi in Qs with s = weight_shift, thresholds in Q13 (0 = dense)."""

    inputs: int
    hidden: int
    weight_shift: int
    theta_x_q13: int = 0
    theta_h_q13: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError naming the bound that a field is outside of."""
        check_range("inputs", self.inputs, INPUTS_RANGE)
        check_range("hidden", self.hidden, HIDDEN_RANGE)
        check_range("weight_shift", self.weight_shift, WEIGHT_SHIFT_RANGE)
        check_range("theta_x_q13", self.theta_x_q13, THETA_RANGE)
        check_range("theta_h_q13", self.theta_h_q13, THETA_RANGE)


@dataclass(frozen=True)
class NetworkConfig:
    """One to three layers, each fed by the hidden values of the one below."""

    layers: tuple[LayerConfig, ...]

    def __post_init__(self) -> None:
        """Raise UsageError if there are no or too many layers, or if their widths do not match."""
        if not 1 <= len(self.layers) <= MAX_LAYERS:
            raise UsageError(f"a network has 1 to {MAX_LAYERS} layers, not {len(self.layers)}")
        for below, above in zip(self.layers, self.layers[1:], strict=False):
            if above.inputs != below.hidden:
                raise UsageError(f"a layer of {above.inputs} inputs does not fit on one of {below.hidden} hidden units")

    @property
    def inputs(self) -> int:
        """Features of a frame."""
        return self.layers[0].inputs

    @property
    def hidden(self) -> int:
        """Hidden values of the last layer."""
        return self.layers[-1].hidden


def scaled(theta_q13: int, factor_q8: int) -> int:
    """Return a delta threshold (Q13) times factor_q8 / 256 (Q8), rounded half up, at most the largest there is."""
    return min(THETA_RANGE[1], (theta_q13 * factor_q8 + 128) >> 8)


def network_bytes(config: NetworkConfig) -> int:
    """Bytes of arena that the weights and biases occupy."""
    return _bytes(network_regions(config))


def state_bytes(config: NetworkConfig) -> int:
    """Bytes of arena that one state occupies, with its scratch of one frame."""
    return _bytes(state_regions(config))


def gradients_bytes(config: NetworkConfig) -> int:
    """Bytes of arena that the gradients of the backward pass occupy."""
    return _bytes(gradient_regions(config))


def tape_bytes(config: NetworkConfig, frames: int, pool_entries: int, checkpoint_every: int = 0) -> int:
    """Bytes of arena that a tape of this capacity occupies, with the work space of the update."""
    return _bytes(tape_regions(config, frames, pool_entries, checkpoint_every))


def weight_gradients_bytes(config: NetworkConfig) -> int:
    """Bytes of arena that a dense gradient of all weights occupies."""
    return _bytes(weight_gradient_regions(config))


def velocity_bytes(config: NetworkConfig) -> int:
    """Bytes of arena that the velocities of momentum occupy."""
    return _bytes(velocity_regions(config))


def network_regions(config: NetworkConfig) -> Iterator[Region]:
    """Name, shape and type of every array of the weights and biases."""
    for k, layer in enumerate(config.layers):
        rows = 4 * layer.hidden
        yield f"layer{k}.weights_hi", (layer.inputs + layer.hidden, rows), np.int8
        yield f"layer{k}.weights_lo", (layer.inputs + layer.hidden, rows), np.int8
        yield f"layer{k}.bias", (rows,), np.int32


def state_regions(config: NetworkConfig) -> Iterator[Region]:
    """Name, shape and type of every array of a state."""
    for k, layer in enumerate(config.layers):
        yield f"layer{k}.memory", (4 * layer.hidden,), np.int32
        for field in ("c", "h", "h_hat"):
            yield f"layer{k}.{field}", (layer.hidden,), np.int16
        yield f"layer{k}.x_hat", (layer.inputs,), np.int16
    columns = max(layer.inputs + layer.hidden for layer in config.layers)
    yield "scratch.columns", (columns,), np.uint16
    yield "scratch.deltas", (columns,), np.int16
    yield "scratch.gates", (4 * max(layer.hidden for layer in config.layers),), np.int16


def gradient_regions(config: NetworkConfig) -> Iterator[Region]:
    """Name, shape and type of every array of the gradients."""
    for k, layer in enumerate(config.layers):
        yield f"layer{k}.h", (layer.hidden,), np.int32
        yield f"layer{k}.c", (layer.hidden,), np.int32
        yield f"layer{k}.memory", (4 * layer.hidden,), np.int32
        yield f"layer{k}.h_hat", (layer.hidden,), np.int32
        yield f"layer{k}.x_hat", (layer.inputs if k > 0 else 0,), np.int32


def tape_regions(config: NetworkConfig, frames: int, pool_entries: int, checkpoint_every: int) -> Iterator[Region]:
    """Name, shape and type of every array of a tape; checkpoint_every = 0: the gates of all frames are kept."""
    rows = min(checkpoint_every, frames) if checkpoint_every else frames
    starts = -(-frames // checkpoint_every) if checkpoint_every else 0
    widest = max(layer.hidden for layer in config.layers)
    for k, layer in enumerate(config.layers):
        yield f"layer{k}.gates", (rows, 4 * layer.hidden), np.int16
        yield f"layer{k}.c", (rows + 1, layer.hidden), np.int16
        yield f"layer{k}.start_memory", (starts, 4 * layer.hidden), np.int32
        yield f"layer{k}.start_c", (starts, layer.hidden), np.int16
    yield "fill", (4,), np.int32
    yield "nnz", (len(config.layers), frames), np.uint16
    yield "columns", (pool_entries,), np.uint16
    yield "deltas", (pool_entries,), np.int16
    yield "update.total", (4 * widest,), np.int32
    yield "update.cursor", (2, frames), np.int32
    yield "update.frames", (frames,), np.uint16
    yield "update.deltas", (frames,), np.int16
    yield "update.h", (widest if checkpoint_every else 0,), np.int16


def weight_gradient_regions(config: NetworkConfig) -> Iterator[Region]:
    """Name, shape and type of every array of a dense gradient of all weights."""
    for k, layer in enumerate(config.layers):
        yield f"layer{k}.weights", (layer.inputs + layer.hidden, 4 * layer.hidden), np.int32


def velocity_regions(config: NetworkConfig) -> Iterator[Region]:
    """Name, shape and type of every array of the velocities of momentum."""
    for k, layer in enumerate(config.layers):
        yield f"layer{k}.weights", (layer.inputs + layer.hidden, 4 * layer.hidden), np.int16
        yield f"layer{k}.bias", (4 * layer.hidden,), np.int32


def _bytes(regions: Iterable[Region]) -> int:
    return sum(region_bytes(shape, dtype) for _, shape, dtype in regions)


def check_range(name: str, value: int, bounds: tuple[int, int]) -> None:
    """Raise UsageError naming `name` and its bounds, both of which are allowed, if value is outside."""
    if not bounds[0] <= value <= bounds[1]:
        raise UsageError(f"{name} = {value} is outside {bounds[0]}..{bounds[1]}")
