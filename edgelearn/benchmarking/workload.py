"""What is timed: the shipped network on a second of the shipped speech, at a sparsity of one's choice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.audio.frontend import Frontend
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.device.arena import Arena
from edgelearn.engine.network import LayerConfig, Network, NetworkConfig

if TYPE_CHECKING:
    from edgelearn.runtime.model import Model

DEMO = Path(__file__).parent.parent / "assets" / "demo"
ARENA_BYTES = 1 << 22
MULT, SHIFT = 1, 31
"""An update rate that moves a weight now and then: timing must not train the network into another one."""


@dataclass(frozen=True)
class Workload:
    """A network of one layer (config, params as `Network.load` takes them) and its input, int8 [T, N] Q6."""

    config: NetworkConfig
    params: dict[str, NDArray[Any]]
    frames: NDArray[np.int8]
    frontend: FrontendConfig

    @property
    def layer(self) -> LayerConfig:
        """The layer."""
        return self.config.layers[0]

    def at(self, share: float) -> Workload:
        """Return it with both thresholds at `share` of what they are; 0 is dense."""
        theta_x, theta_h = (min(32767, round(share * t)) for t in (self.layer.theta_x_q13, self.layer.theta_h_q13))
        return replace(self, config=NetworkConfig((replace(self.layer, theta_x_q13=theta_x, theta_h_q13=theta_h),)))

    def sparsity(self) -> float:
        """Return the share of deltas that are skipped on this input."""
        network = self.network()
        return network.forward(network.new_state("state"), self.frames).sparsity

    def at_sparsity(self, wanted: float) -> Workload:
        """Return it with the thresholds at which this input is skipped to `wanted` as nearly as may be."""
        low, high = 0.0, 1.0
        while self.at(high).sparsity() < wanted and high < 64:
            high *= 2
        for _ in range(14):
            middle = (low + high) / 2
            low, high = (middle, high) if self.at(middle).sparsity() < wanted else (low, middle)
        return min((self.at(low), self.at(high)), key=lambda work: abs(work.sparsity() - wanted))

    def network(self) -> Network:
        """Return the network, in an arena of its own."""
        network = Network(self.config, Arena(ARENA_BYTES))
        network.load(self.params)
        return network

    def float_weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the weights [N+H, 4H] that the forward pass reads and the bias [4H] as real numbers, gates i f g o."""
        s = self.layer.weight_shift
        return (
            (self.params["layer0.weights_hi"] / 2.0**s).astype(np.float32),
            (self.params["layer0.bias"] / 2.0 ** (13 + s)).astype(np.float32),
        )

    def float_frames(self) -> NDArray[np.float32]:
        """Return the input [T, N] as real numbers."""
        return (self.frames / 64.0).astype(np.float32)


def speech() -> NDArray[np.int16]:
    """Return all shipped recordings, one after the other, int16 at 16 kHz."""
    return np.concatenate([read_clip(path) for path in sorted(DEMO.glob("*.wav"))])


def make_workload(model: Model, bands: int) -> Workload:
    """Return the model's first layer with `bands` inputs, on the loudest second of the shipped speech.

    With fewer bands than the model has, every second, third ... input column is kept: the shape is another,
    the statistics are those of speech.
    """
    layer = model.network.layers[0]
    frontend = replace(model.frontend, bands=bands)
    features = Frontend(frontend, Arena(ARENA_BYTES)).push(speech())
    second = frontend.sample_rate_hz // frontend.hop
    loudness = np.convolve(features.mean(axis=1), np.ones(second), "valid")
    start = int(np.argmax(loudness))
    inputs = np.linspace(0, layer.inputs - 1, bands).round().astype(int)
    columns = np.r_[inputs, layer.inputs : layer.inputs + layer.hidden]
    params = {
        "layer0.weights_hi": np.ascontiguousarray(model.params["layer0.weights_hi"][columns]),
        "layer0.weights_lo": np.ascontiguousarray(model.params["layer0.weights_lo"][columns]),
        "layer0.bias": model.params["layer0.bias"],
    }
    config = NetworkConfig((replace(layer, inputs=bands),))
    return Workload(config, params, features[start : start + second].copy(), frontend)


class Runner:
    """Our side of every comparison: a network with its buffers, and the calls that are timed."""

    def __init__(self, work: Workload) -> None:
        frames, columns = len(work.frames), work.layer.inputs + work.layer.hidden
        self.work = work
        self.network = work.network()
        self.state = self.network.new_state("state")
        self.tape = self.network.new_tape(frames, frames * columns, "tape")
        self.gradients = self.network.new_backward("gradients")
        self.pool = np.zeros(work.layer.hidden, np.int32)
        self.grad_h = pooled_gradient(work.layer.hidden)
        self._single = [work.frames[t : t + 1] for t in range(frames)]
        self._next = 0
        self._step = 0

    def frame(self) -> None:
        """One frame of a stream, in one call."""
        self.network.advance(self.state, self._single[self._next], self.pool)
        self._next = (self._next + 1) % len(self._single)

    def sequence(self) -> None:
        """A whole utterance forward from the zero state."""
        self.state.reset()
        self.network.advance(self.state, self.work.frames, self.pool)

    def learn(self) -> None:
        """One learning step: forward with a tape, BPTT, update."""
        self.state.reset()
        self.record()
        self.network.backward(self.tape, self.gradients, self.grad_h)
        self._step += 1
        self.network.update(self.tape, self.gradients, MULT, SHIFT, self._step)

    def record(self) -> None:
        """Fill the tape."""
        self.tape.reset()
        self.network.advance(self.state, self.work.frames, self.pool, self.tape)


def pooled_gradient(hidden: int) -> NDArray[np.int32]:
    """Return a gradient of the sum of h over time (int32 [H], G units), the same for every engine."""
    return np.random.default_rng(5).integers(-(2**15), 2**15, hidden).astype(np.int32)
