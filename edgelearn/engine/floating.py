"""Floating-point twin of the engine: the same Delta LSTM and sparse BPTT in float64, and the way between.

It is the oracle of the tests, and of trained weights it makes those that ship; no device uses it. Source: Chen et al.,
AAAI 2024 (arXiv 2312.09391). Given the masks the gradient is exact; there is no straight-through estimator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelearn.engine.fixedpoint import (
    ACTIVATION_BITS,
    BIAS_LIMIT,
    MASTER_EXTRA_BITS,
    Int8Array,
    Int32Array,
    join_master,
    split_master,
)

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class FloatLayer:
    """Parameters of a layer: weights [N+H, 4H] in the engine's layout, bias [4H], thresholds in net units."""

    weights: FloatArray
    bias: FloatArray
    theta_x: float = 0.0
    theta_h: float = 0.0

    @property
    def hidden(self) -> int:
        """Units H."""
        return len(self.bias) // 4

    @property
    def inputs(self) -> int:
        """Inputs N."""
        return len(self.weights) - self.hidden


@dataclass(frozen=True)
class FloatTape:
    """What a layer's forward pass over T frames leaves behind.

    active bool and deltas [T, N+H]; gates [T, 4H] in the order i f g o; c, h [T+1, H], the first row is zero.
    """

    active: BoolArray
    deltas: FloatArray
    gates: FloatArray
    c: FloatArray
    h: FloatArray


@dataclass(frozen=True)
class FloatGradient:
    """Gradients of a layer: weights [N+H, 4H], bias [4H], inputs [T, N]."""

    weights: FloatArray
    bias: FloatArray
    inputs: FloatArray


def forward(
    layers: Sequence[FloatLayer], frames: FloatArray, masks: Sequence[BoolArray] | None = None
) -> list[FloatTape]:
    """Run frames [T, N] through the layers from the zero state; the output is `tapes[-1].h[1:]`.

    masks: the `active` of an earlier run, to be used in place of the thresholds.
    """
    tapes = []
    source = frames
    for k, layer in enumerate(layers):
        tapes.append(_forward_layer(layer, source, None if masks is None else masks[k]))
        source = tapes[-1].h[1:]
    return tapes


def backward(layers: Sequence[FloatLayer], tapes: Sequence[FloatTape], grad_h: FloatArray) -> list[FloatGradient]:
    """Sparse BPTT: gradients of parameters and inputs for dL/dh of the last layer, [T, H] or [H]."""
    gradients: list[FloatGradient] = []
    grad = np.broadcast_to(grad_h, tapes[-1].h[1:].shape)
    for layer, tape in zip(reversed(layers), reversed(tapes), strict=True):
        gradients.insert(0, _backward_layer(layer, tape, grad))
        grad = gradients[0].inputs
    return gradients


def quantise_weights(weights: FloatArray, weight_shift: int) -> tuple[Int8Array, Int8Array]:
    """Round weights [N+H, 4H] to masters in Q(s+8), clipped to their limits, as the planes (hi, lo)."""
    scaled = np.round(np.asarray(weights) * 2.0 ** (weight_shift + MASTER_EXTRA_BITS))
    return split_master(np.clip(scaled, -(2**31), 2**31 - 1).astype(np.int64))


def quantise_bias(bias: FloatArray, weight_shift: int) -> Int32Array:
    """Round a bias to int32 in Q(13+s), clipped to +-2^30."""
    scaled = np.round(np.asarray(bias) * 2.0 ** (ACTIVATION_BITS + weight_shift))
    return np.clip(scaled, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)


def dequantise_layer(
    params: dict[str, npt.NDArray[Any]],
    layer: int,
    weight_shift: int,
    theta_x_q13: int = 0,
    theta_h_q13: int = 0,
    *,
    masters: bool = False,
) -> FloatLayer:
    """Turn a layer of `Network.params()` into floats: what the forward pass reads (hi), or the masters."""
    hi, lo = params[f"layer{layer}.weights_hi"], params[f"layer{layer}.weights_lo"]
    master = join_master(hi, lo if masters else np.zeros_like(lo))
    return FloatLayer(
        master / 2.0 ** (weight_shift + MASTER_EXTRA_BITS),
        params[f"layer{layer}.bias"] / 2.0 ** (ACTIVATION_BITS + weight_shift),
        theta_x_q13 / 2.0**ACTIVATION_BITS,
        theta_h_q13 / 2.0**ACTIVATION_BITS,
    )


def _forward_layer(layer: FloatLayer, source: FloatArray, mask: BoolArray | None) -> FloatTape:
    frames, inputs, hidden = len(source), layer.inputs, layer.hidden
    thetas = np.repeat([layer.theta_x, layer.theta_h], [inputs, hidden])
    active = np.zeros((frames, inputs + hidden), np.bool_)
    deltas = np.zeros((frames, inputs + hidden))
    gates = np.zeros((frames, 4 * hidden))
    c, h = np.zeros((frames + 1, hidden)), np.zeros((frames + 1, hidden))
    transmitted = np.zeros(inputs + hidden)
    memory = layer.bias.copy()
    for t in range(frames):
        change = np.concatenate([source[t], h[t]]) - transmitted
        active[t] = np.abs(change) >= thetas if mask is None else mask[t]
        deltas[t] = change * active[t]
        transmitted += deltas[t]
        memory += deltas[t] @ layer.weights
        gates[t] = 1.0 / (1.0 + np.exp(-memory))
        gates[t, 2 * hidden : 3 * hidden] = np.tanh(memory[2 * hidden : 3 * hidden])
        i, f, g, o = gates[t].reshape(4, hidden)
        c[t + 1] = f * c[t] + i * g
        h[t + 1] = o * np.tanh(c[t + 1])
    return FloatTape(active, deltas, gates, c, h)


def _backward_layer(layer: FloatLayer, tape: FloatTape, grad_h: FloatArray) -> FloatGradient:
    inputs, hidden = layer.inputs, layer.hidden
    grad_weights = np.zeros_like(layer.weights)
    grad_inputs = np.zeros((len(grad_h), inputs))
    ch, cc, cm = np.zeros(hidden), np.zeros(hidden), np.zeros(4 * hidden)
    transmitted = np.zeros(inputs + hidden)
    for t in range(len(grad_h) - 1, -1, -1):
        i, f, g, o = tape.gates[t].reshape(4, hidden)
        tanh_c = np.tanh(tape.c[t + 1])
        ch = ch + grad_h[t]
        cc = cc + ch * o * (1 - tanh_c**2)
        cm = cm + np.concatenate(
            [
                cc * g * i * (1 - i),
                cc * tape.c[t] * f * (1 - f),
                cc * i * (1 - g**2),
                ch * tanh_c * o * (1 - o),
            ]
        )
        cc = cc * f
        grad_weights += np.outer(tape.deltas[t], cm)
        cd = layer.weights @ cm
        values = (transmitted + cd) * tape.active[t]
        transmitted = np.where(tape.active[t], -cd, transmitted)
        grad_inputs[t], ch = values[:inputs], values[inputs:]
    return FloatGradient(grad_weights, cm, grad_inputs)
