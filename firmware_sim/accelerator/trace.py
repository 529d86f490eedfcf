"""What an accelerator is given to learn from: lists, weights and gradients of a real utterance, or random ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.audio.frontend import Frontend
from edgelearn.device.arena import Arena
from edgelearn.engine.layout import THETA_RANGE, NetworkConfig
from edgelearn.engine.network import Network
from edgelearn.engine.optimizer import MAX_TAPE_FRAMES
from edgelearn.engine.tape import Tape
from edgelearn.errors import UsageError
from firmware_sim.accelerator.sheet import Shape
from firmware_sim.accelerator.sparse import VALUE_LIMIT, IntArray, SparseSteps, check_sparsity, random_steps

if TYPE_CHECKING:
    from edgelearn.runtime.model import Model

ARENA_BYTES = 1 << 26
SEARCH_STEPS = 14
LARGEST_SHARE = 64.0


@dataclass(frozen=True)
class LayerTrace:
    """A layer's part of a learning step of T frames.

    weights int64 [4H, N+H], the hi planes; x and h the lists of the deltas (Q13) of inputs and units; gradients int64
    [T, 4H], CM of each frame. input_gradient: whether Wx^T CM is needed, which it is not for the lowest layer.
    """

    weights: IntArray
    x: SparseSteps
    h: SparseSteps
    gradients: IntArray
    input_gradient: bool

    @property
    def inputs(self) -> int:
        """N."""
        return self.x.width

    @property
    def hidden(self) -> int:
        """H."""
        return self.h.width

    def dense(self) -> LayerTrace:
        """Return it with every column of every step active."""
        return replace(self, x=self.x.with_every_column_active(), h=self.h.with_every_column_active())


@dataclass(frozen=True)
class Trace:
    """A learning step: its layers, from the lowest up, and what it is in words."""

    layers: tuple[LayerTrace, ...]
    what: str

    @property
    def frames(self) -> int:
        """T."""
        return self.layers[0].x.steps

    @property
    def sparsity(self) -> float:
        """Share of the forward pass's multiplications that is skipped."""
        done = sum(4 * layer.hidden * (layer.x.entries + layer.h.entries) for layer in self.layers)
        dense = sum(4 * layer.hidden * (layer.inputs + layer.hidden) for layer in self.layers)
        return 1 - done / (dense * self.frames)

    def dense(self) -> Trace:
        """Return it with every column of every step active."""
        return Trace(tuple(layer.dense() for layer in self.layers), f"{self.what}, dense")


def random_trace(shapes: Sequence[Shape], frames: int, sparsity: float, seed: int, *, all_inputs: bool) -> Trace:
    """Random lists, weights and gradients for layers of these shapes.

    all_inputs: the lowest layer passes its gradient on, too, as the design sheet counts. Raises UsageError for a
    sparsity that cannot be.
    """
    rng = np.random.default_rng(seed)
    layers = []
    for k, (inputs, hidden) in enumerate(shapes):
        layers.append(
            LayerTrace(
                rng.integers(-128, 128, (4 * hidden, inputs + hidden)),
                random_steps(frames, inputs, sparsity, seed + 2 * k),
                random_steps(frames, hidden, sparsity, seed + 2 * k + 1),
                rng.integers(-VALUE_LIMIT, VALUE_LIMIT, (frames, 4 * hidden)),
                k > 0 or all_inputs,
            )
        )
    return Trace(tuple(layers), f"random masks, seed {seed}")


def utterance_trace(model: Model, path: Path, sparsity: float | None) -> Trace:
    """Learn one step from a recording with a model's network, and keep what the accelerator would be given.

    sparsity: all thresholds are scaled until the network skips that share; None leaves them. Raises UsageError for a
    file that is no sound, for one that is too long, for a sparsity that no thresholds reach, and where none is left.
    """
    frames = Frontend(model.frontend, Arena(ARENA_BYTES)).push(read_clip(path))
    rate_hz = model.frontend.sample_rate_hz / model.frontend.hop
    if not 1 <= len(frames) <= MAX_TAPE_FRAMES:
        raise UsageError(
            f"{path} is {len(frames)} frames, a learning step takes 1 to {MAX_TAPE_FRAMES}",
            f"cut it to {MAX_TAPE_FRAMES / rate_hz:.2f} s",
        )
    config = model.network
    what = f"{path.name}, thresholds of the model"
    if sparsity is not None:
        check_sparsity(sparsity)
        config, share = _at_sparsity(model, frames, sparsity)
        what = f"{path.name}, thresholds times {share:.2f}"
    trace = Trace(_layers(model, config, frames), what)
    if trace.sparsity == 1:
        raise UsageError(f"{what}: nothing is left to multiply", "ask for less sparsity, or take another recording")
    return trace


def _layers(model: Model, config: NetworkConfig, frames: NDArray[np.int8]) -> tuple[LayerTrace, ...]:
    network = Network(config, Arena(ARENA_BYTES))
    network.load(model.params)
    columns = sum(layer.inputs + layer.hidden for layer in config.layers)
    tape = network.new_tape(len(frames), len(frames) * columns, "tape")
    network.forward(network.new_state("state"), frames, None, tape)
    # where the loss points to changes CM, but neither masks nor cycles
    grad_h = np.random.default_rng(5).integers(-VALUE_LIMIT, VALUE_LIMIT, config.hidden).astype(np.int32)
    network.backward(tape, network.new_backward("gradients"), grad_h)
    return tuple(
        LayerTrace(
            np.ascontiguousarray(network.layers[k].weights_hi.T).astype(np.int64),
            _lists(tape, k, 0, layer.inputs),
            _lists(tape, k, layer.inputs, layer.inputs + layer.hidden),
            tape.layers[k].gates[: tape.frames_taped].astype(np.int64),
            k > 0,
        )
        for k, layer in enumerate(config.layers)
    )


def _lists(tape: Tape, layer: int, first: int, last: int) -> SparseSteps:
    """Columns first..last of a layer's taped deltas."""
    found = []
    for t in range(tape.frames_taped):
        columns, deltas = tape.frame_deltas(layer, t)
        mine = (columns >= first) & (columns < last)
        found.append((columns[mine].astype(np.int64) - first, deltas[mine].astype(np.int64)))
    return SparseSteps.from_lists(last - first, found)


def _at_sparsity(model: Model, frames: NDArray[np.int8], wanted: float) -> tuple[NetworkConfig, float]:
    """Return the network with its thresholds scaled so that it skips nearest to `wanted`, and the scale."""

    def reached(share: float) -> float:
        network = Network(_scaled(model.network, share), Arena(ARENA_BYTES))
        network.load(model.params)
        return network.forward(network.new_state("state"), frames).sparsity

    low, high = 0.0, 1.0
    while reached(high) < wanted:
        high *= 2
        if high > LARGEST_SHARE:
            raise UsageError(
                f"no thresholds make this network skip {wanted:.0%} of this recording", "ask for less sparsity"
            )
    for _ in range(SEARCH_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(middle) < wanted else (low, middle)
    share = min((low, high), key=lambda s: abs(reached(s) - wanted))
    return _scaled(model.network, share), share


def _scaled(config: NetworkConfig, share: float) -> NetworkConfig:
    def scaled(theta: int) -> int:
        return min(THETA_RANGE[1], round(share * theta))

    return NetworkConfig(
        tuple(
            replace(layer, theta_x_q13=scaled(layer.theta_x_q13), theta_h_q13=scaled(layer.theta_h_q13))
            for layer in config.layers
        )
    )
