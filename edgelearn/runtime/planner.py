"""The plan of a device: what fits its budget, what that costs on a board, and what would fit where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgelearn.device.plan import (
    CHECKPOINTS,
    Choice,
    Limits,
    Plan,
    choose,
    exceeded,
    lay_out,
    longest_tape,
    needed_bytes,
)
from edgelearn.device.sizes import KIB, format_size
from edgelearn.engine.counts import (
    Counts,
    count_backward,
    count_forward,
    count_gradient,
    count_recompute,
    count_update,
)
from edgelearn.engine.layout import HIDDEN_RANGE
from edgelearn.runtime.layout import (
    DeviceShape,
    device_regions,
    limits_of,
    listening_regions,
    narrower,
    pool_entries,
)

if TYPE_CHECKING:
    from edgelearn.engine.layout import NetworkConfig
    from edgelearn.errors import BudgetExceeded

OCCUPANCY = 0.4
"""Share of deltas that are active while learning, where nothing better is known."""

UTTERANCE_FRAMES = 50
"""Length of a word for estimates: a second."""


@dataclass(frozen=True)
class Option:
    """One way to learn beside the chosen one: the budget that it needs, and the counts of one gradient step."""

    choice: Choice
    needed_bytes: int
    fits: bool
    chosen: bool
    step: Counts


def plan_device(shape: DeviceShape, budget_bytes: int, rehearsal_bytes: int | None = None) -> Plan:
    """Return how a device listens and learns within a budget.

    rehearsal_bytes: capacity of the rehearsal memory, where it must not be chosen. Raises BudgetExceeded, with the
    nearest things that would fit, if there is no way.
    """
    limits = limits_of(shape, rehearsal_bytes)
    choice = choose(lambda c: device_regions(shape, c), budget_bytes, limits)
    if choice is None:
        raise _does_not_fit(shape, budget_bytes, limits)
    return plan_of(shape, budget_bytes, choice)


def plan_of(shape: DeviceShape, budget_bytes: int, choice: Choice) -> Plan:
    """Return the plan of a choice that was made; its regions may end beyond the budget."""
    return Plan(budget_bytes, choice, lay_out(device_regions(shape, choice), budget_bytes))


def sufficient_bytes(shape: DeviceShape, rehearsal_bytes: int | None = None) -> int:
    """Return the smallest budget in whole KiB that a device listens and learns within: with its shortest tape."""
    return _whole_kib(needed_bytes(device_regions(shape, _least(limits_of(shape, rehearsal_bytes)))))


def options(
    shape: DeviceShape, plan: Plan, frames: int = UTTERANCE_FRAMES, occupancy: float = OCCUPANCY
) -> list[Option]:
    """Return ways to learn around a plan, from the least memory to the most, with the counts of a step on `frames`.

    They are the plan's own, the shortest tape, the longest one, checkpoints of every interval over the longest one, and
    over as much as the budget has room for.
    """
    limits = limits_of(shape)
    mine = plan.choice.rehearsal_bytes
    choices = {
        plan.choice,
        *(Choice(n, 0, mine) for n in (limits.least_frames, limits.most_frames)),
        *(Choice(limits.most_frames, every, mine) for every in CHECKPOINTS),
    }
    for every in CHECKPOINTS:
        found = longest_tape(lambda c: device_regions(shape, c), plan.budget_bytes, limits, mine, every)
        choices |= {found} if found is not None else set()
    result = []
    for choice in choices:
        needed = needed_bytes(device_regions(shape, choice))
        step = step_counts(shape.network, choice, frames, occupancy)
        result.append(Option(choice, needed, needed <= plan.budget_bytes, choice == plan.choice, step))
    return sorted(result, key=lambda option: (option.needed_bytes, option.choice.checkpoint_every))


def step_counts(network: NetworkConfig, choice: Choice, frames: int, occupancy: float) -> Counts:
    """Estimate the counts of one gradient step on an utterance of `frames` frames, at an even occupancy.

    The engine's own formulas; what the run decides is assumed: the same share of every layer's columns active in every
    frame, and in a step as many columns touched as so many independent draws give.
    """
    entries = sum(occupancy * (layer.inputs + layer.hidden) for layer in network.layers)
    taped = min(frames, choice.tape_frames, int(pool_entries(network, choice) / entries) if entries else frames)
    counts = Counts()
    for k, layer in enumerate(network.layers):
        columns = layer.inputs + layer.hidden
        active = occupancy * columns
        passes = round(frames * (active / 8 + 1))
        counts += count_forward(
            layer.inputs, layer.hidden, 1 if k == 0 else 2, frames, round(active * frames), passes, taped,
            round(active * taped), 0, k == 0,
        )  # fmt: skip
        below = layer.inputs if k > 0 else 0
        dense = layer.hidden * max(0, taped - 1) + below * taped
        counts += count_backward(layer.hidden, taped, round(occupancy * dense), dense)
        touched = round(columns * (1 - (1 - occupancy) ** taped))
        every, products = choice.checkpoint_every, round(active * taped)
        if every:
            starts = -(-taped // every)
            counts += count_recompute(layer.hidden, taped, round(active * max(0, taped - starts)), every)
            counts += count_gradient(layer.inputs, layer.hidden, taped, products)
        else:
            # four frames of a column at a time, then two, then one: of what is left over, one pass on average
            counts += count_gradient(layer.inputs, layer.hidden, taped, products, products // 4 + touched)
        counts += count_update(layer.inputs, layer.hidden, touched, 0, dense=bool(every))
    return counts


def _does_not_fit(shape: DeviceShape, budget_bytes: int, limits: Limits) -> BudgetExceeded:
    regions = lay_out(device_regions(shape, _least(limits)), budget_bytes)
    enough = format_size(sufficient_bytes(shape, limits.least_rehearsal_bytes))
    near = "".join(f", or {text}" for text in _nearest(shape, budget_bytes))
    return exceeded(regions, budget_bytes, f"this model listens and learns within {enough}: --budget {enough}{near}")


def _nearest(shape: DeviceShape, budget_bytes: int) -> Iterator[str]:
    """Yield what would fit this budget, the smallest step away first; if nothing does, the smallest budget of all."""
    forgetful = replace(shape, records_bytes=shape.records_bytes - shape.taught_bytes)
    if shape.taught_bytes and fits(forgetful, budget_bytes):
        yield "fewer exemplars (`edgelearn remove` a taught word)"
    fitting = (hidden for hidden, smaller in narrower(shape) if fits(smaller, budget_bytes))
    hidden = next(fitting, None)
    if hidden is not None:
        yield f"a network of {hidden} hidden units"
    listening = needed_bytes(listening_regions(shape))
    if listening <= budget_bytes:
        yield f"listening alone, in {listening:,} bytes"
    elif hidden is None:
        least = shape.with_hidden(HIDDEN_RANGE[0])
        yield (
            f"at the very least {format_size(sufficient_bytes(least))} with {HIDDEN_RANGE[0]} hidden units "
            f"on {shape.network.inputs} bands and {shape.base_rows} classes"
        )


def fits(shape: DeviceShape, budget_bytes: int) -> bool:
    """Return whether a device can listen and learn within a budget in any way."""
    return needed_bytes(device_regions(shape, _least(limits_of(shape)))) <= budget_bytes


def _least(limits: Limits) -> Choice:
    return Choice(limits.least_frames, 0, min(limits.rehearsal_bytes, limits.least_rehearsal_bytes))


def _whole_kib(size_bytes: int) -> int:
    return -(-size_bytes // KIB) * KIB
