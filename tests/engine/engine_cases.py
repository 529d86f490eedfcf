"""Small networks for the engine's tests, built twice: as the engine's own and as plain Python lists."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgelearn.device.arena import Arena
from edgelearn.engine.fixedpoint import bias_limit, split_master
from edgelearn.engine.network import LayerConfig, Network, NetworkConfig
from tests import reference

BUDGET_BYTES = 1 << 20


def config_of(*layers: tuple[int, int], weight_shift: int = 5, theta: int = 0) -> NetworkConfig:
    """A network of layers (inputs, hidden), all with the same weight shift and thresholds."""
    return NetworkConfig(tuple(LayerConfig(n, h, weight_shift, theta, theta) for n, h in layers))


def random_params(config: NetworkConfig, rng: np.random.Generator, scale: float = 1500.0) -> dict[str, Any]:
    """Weights with normal masters of this scale and biases of about one pre-activation unit."""
    params = {}
    for k, layer in enumerate(config.layers):
        shape = (layer.inputs + layer.hidden, 4 * layer.hidden)
        hi, lo = split_master(np.round(rng.normal(0, scale, shape)).astype(np.int64))
        bias = rng.normal(0, 2.0 ** (13 + layer.weight_shift), 4 * layer.hidden)
        params |= {
            f"layer{k}.weights_hi": hi,
            f"layer{k}.weights_lo": lo,
            f"layer{k}.bias": np.round(bias).astype(np.int32),
        }
    return params


def extreme_params(config: NetworkConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Weights and biases at their limits, with random signs."""
    params = {}
    for k, layer in enumerate(config.layers):
        shape = (layer.inputs + layer.hidden, 4 * layer.hidden)
        hi, lo = split_master(np.where(rng.random(shape) < 0.5, -32640, 32639))
        limit = bias_limit(layer.inputs, layer.hidden)
        bias = np.where(rng.random(4 * layer.hidden) < 0.5, -limit, limit)
        params |= {
            f"layer{k}.weights_hi": hi,
            f"layer{k}.weights_lo": lo,
            f"layer{k}.bias": bias.astype(np.int32),
        }
    return params


def make_network(config: NetworkConfig, params: dict[str, Any]) -> Network:
    """A network with these weights in an arena of its own."""
    network = Network(config, Arena(BUDGET_BYTES))
    network.load(params)
    return network


def make_reference(config: NetworkConfig, params: dict[str, Any]) -> list[reference.Layer]:
    """The same network as lists of Python ints."""
    return [
        reference.Layer(
            layer.inputs,
            layer.hidden,
            params[f"layer{k}.weights_hi"].tolist(),
            params[f"layer{k}.weights_lo"].tolist(),
            params[f"layer{k}.bias"].tolist(),
            layer.weight_shift,
            layer.theta_x_q13,
            layer.theta_h_q13,
            bias_limit(layer.inputs, layer.hidden),
        )
        for k, layer in enumerate(config.layers)
    ]


def random_walk(frames: int, inputs: int, rng: np.random.Generator, step: float = 12.0) -> np.ndarray:
    """Features (int8) that change slowly, as those of speech do."""
    return np.clip(np.cumsum(rng.normal(0, step, (frames, inputs)), axis=0), -128, 127).round().astype(np.int8)


def random_frames(frames: int, inputs: int, rng: np.random.Generator) -> np.ndarray:
    """Features (int8) anywhere in their range, often at its ends."""
    values = rng.integers(-128, 128, (frames, inputs))
    return np.where(rng.random((frames, inputs)) < 0.3, rng.choice([-128, 127], (frames, inputs)), values).astype(
        np.int8
    )


def all_lists(arrays: Any) -> list[Any]:
    """Every array of a named tuple as a list of Python ints."""
    return [array.tolist() for array in arrays]
