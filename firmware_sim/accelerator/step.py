"""A whole learning step on the accelerator, everything counted: where each of its cycles goes, and each that is lost.

The order of the work, for each layer. Forward: all frames of x are encoded and multiplied, as their lists are known
(the double buffer works); then frame by frame, as a frame's list of h is only known when the frame before is done:
Wh dh, the sum of M, gates, c and h, and the encoding of h. Backward, frame by frame from the last: gates, Wh^T CM,
what is kept for h and h^; then, if a layer is below, Wx^T CM of all frames. Weight gradients: CM (x) dx and CM (x) dh,
row block by row block over all frames. Update: every word of weights is read, changed and written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from firmware_sim.accelerator.config import AcceleratorConfig
from firmware_sim.accelerator.machine import CYCLE_KINDS, MULTIPLY
from firmware_sim.accelerator.products import ProductRun, multiply, multiply_transposed, outer_products
from firmware_sim.accelerator.sparse import IntArray, SparseSteps
from firmware_sim.accelerator.trace import LayerTrace, Trace
from firmware_sim.accelerator.vector import VECTOR_KINDS, elementwise_cycles, encoder_cycles, update_cycles

PHASES = ("forward", "backward", "gradient", "update")
KINDS = (*CYCLE_KINDS, *VECTOR_KINDS, "accumulators")
"""Kinds of cycles; `accumulators` are those that clear or read an accumulator whose column was not active."""
ACCUMULATORS = len(KINDS) - 1


@dataclass(frozen=True)
class StepCycles:
    """A learning step's cycles, int64 [PHASES, KINDS], its frames, and the useful MACs of its products."""

    cycles: IntArray
    frames: int
    macs: int

    @property
    def total(self) -> int:
        """All cycles; phases and kinds add up to it."""
        return int(self.cycles.sum())

    def phase(self, name: str) -> int:
        """Cycles of a phase."""
        return int(self.cycles[PHASES.index(name)].sum())


@dataclass(frozen=True)
class Comparison:
    """A learning step with its sparsity used, beside the same step on the same machine with every column active.

    The dense step encodes nothing: what has to be multiplied anyway needs no list of what changed.
    """

    sparse: StepCycles
    dense: StepCycles

    @property
    def occupancy(self) -> float:
        """Share of the dense step's multiplications, of all three products, that is left."""
        return self.sparse.macs / self.dense.macs

    @property
    def speed_up(self) -> float:
        """How many times faster the sparse step is."""
        return self.dense.total / self.sparse.total

    @property
    def ideal_speed_up(self) -> float:
        """What it would be if every cycle shrank as the multiplications do."""
        return 1 / self.occupancy

    @property
    def ideal_share(self) -> float:
        """Speed-up as a share of the ideal."""
        return self.speed_up / self.ideal_speed_up

    def losses(self) -> dict[str, float]:
        """Cycles of each kind beyond the ideal, which is the dense step's times occupancy; they sum to all of them."""
        beyond = self.sparse.cycles.sum(axis=0) - self.occupancy * self.dense.cycles.sum(axis=0)
        return dict(zip(KINDS, beyond.tolist(), strict=True))


def compare(config: AcceleratorConfig, trace: Trace) -> Comparison:
    """Step a trace as it is and with every column active.

    Raises UsageError if the accelerator has too few accumulators for a layer.
    """
    sparse = learning_step(config, trace, encode=True)
    return Comparison(sparse, learning_step(config, trace.dense(), encode=False))


def learning_step(config: AcceleratorConfig, trace: Trace, *, encode: bool) -> StepCycles:
    """Step all work of a trace; `encode` says whether deltas are compared and listed.

    Raises UsageError if the accelerator has too few accumulators for a layer.
    """
    cycles = np.zeros((len(PHASES), len(KINDS)), np.int64)
    macs = 0
    for layer in trace.layers:
        phases = (
            _forward(config, layer, encode),
            _backward(config, layer),
            _gradient(config, layer),
            iter([update_cycles(config, 4 * layer.hidden, layer.inputs + layer.hidden)]),
        )
        for phase, work in enumerate(phases):
            for part in work:
                if isinstance(part, ProductRun):
                    cycles[phase, : len(CYCLE_KINDS)] += part.by_kind
                    cycles[phase, MULTIPLY] -= part.accumulator_cycles
                    cycles[phase, ACCUMULATORS] += part.accumulator_cycles
                    macs += part.macs
                else:
                    cycles[phase, : len(part)] += part
    return StepCycles(cycles, trace.frames, macs)


def _forward(config: AcceleratorConfig, layer: LayerTrace, encode: bool) -> Iterator[ProductRun | IntArray]:
    n, h = layer.inputs, layer.hidden
    cell = elementwise_cycles(config, [4 * h] * 3 + [h] * 2 + [h])
    for t in range(layer.x.steps if encode else 0):
        yield encoder_cycles(config, n, layer.x.step(t)[0])
    yield multiply(config, layer.weights[:, :n], layer.x)
    for t in range(layer.h.steps):
        if encode:
            yield encoder_cycles(config, h, layer.h.step(t)[0])
        yield multiply(config, layer.weights[:, n:], layer.h.only(t))
        yield cell


def _backward(config: AcceleratorConfig, layer: LayerTrace) -> Iterator[ProductRun | IntArray]:
    n, h = layer.inputs, layer.hidden
    cell = elementwise_cycles(config, [h] + [h] * 3 + [h] * 12)
    keep_h, keep_x = elementwise_cycles(config, [h] * 4), elementwise_cycles(config, [n] * 4)
    for t in reversed(range(layer.h.steps)):
        yield cell
        # before the first frame there is nothing to pass a gradient to
        if t > 0:
            yield multiply_transposed(config, layer.weights[:, n:], layer.h.only(t), layer.gradients[t : t + 1])
            yield keep_h
    if layer.input_gradient:
        backwards = SparseSteps.from_lists(n, [layer.x.step(t) for t in reversed(range(layer.x.steps))])
        yield multiply_transposed(config, layer.weights[:, :n], backwards, layer.gradients[::-1])
        for _ in range(layer.x.steps):
            yield keep_x


def _gradient(config: AcceleratorConfig, layer: LayerTrace) -> Iterator[ProductRun | IntArray]:
    yield outer_products(config, layer.x, layer.gradients)
    yield outer_products(config, layer.h, layer.gradients)
