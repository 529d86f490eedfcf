"""Counted operations times what a board spends on each: cycles, seconds and joules, with their doubt.

Every counter of a run is priced once, in one part; the parts are added up to the total and nothing else is.
Ranges are bounds: all low figures together, and all high ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from edgelearn.device.board import Board


class CountsLike(Protocol):
    """The counters of a run that cost something; all are whole numbers of operations or bytes."""

    @property
    def frames(self) -> int: ...  # noqa: D102 - the names are the documentation
    @property
    def macs_forward(self) -> int: ...  # noqa: D102
    @property
    def macs_backward(self) -> int: ...  # noqa: D102
    @property
    def macs_gradient(self) -> int: ...  # noqa: D102
    @property
    def weight_bytes_read(self) -> int: ...  # noqa: D102
    @property
    def weight_bytes_written(self) -> int: ...  # noqa: D102
    @property
    def state_bytes(self) -> int: ...  # noqa: D102
    @property
    def tape_bytes(self) -> int: ...  # noqa: D102
    @property
    def activations(self) -> int: ...  # noqa: D102
    @property
    def elementwise_ops(self) -> int: ...  # noqa: D102
    @property
    def active_columns(self) -> int: ...  # noqa: D102
    @property
    def frontend_ops(self) -> int: ...  # noqa: D102


# part, counter, figure. Each counter stands here exactly once: nothing can be paid for twice.
TERMS = (
    ("matrix forward", "macs_forward", "mac_forward"),
    ("matrix backward", "macs_backward", "mac_backward"),
    ("weight gradient", "macs_gradient", "mac_gradient"),
    ("elementwise", "elementwise_ops", "elementwise"),
    ("activations", "activations", "activation"),
    ("front end", "frontend_ops", "frontend_op"),
    ("weight traffic", "weight_bytes_read", "weight_byte_read"),
    ("weight traffic", "weight_bytes_written", "weight_byte_written"),
    ("state and tape traffic", "state_bytes", "state_byte"),
    ("state and tape traffic", "tape_bytes", "state_byte"),
    ("overhead", "active_columns", "column"),
    ("overhead", "frames", "frame"),
)
PARTS = tuple(dict.fromkeys(part for part, _, _ in TERMS))


@dataclass(frozen=True)
class Estimate:
    """A number with its lowest and highest plausible value."""

    value: float
    low: float
    high: float

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.value + other.value, self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.low * factor, self.high * factor)

    def __str__(self) -> str:
        if self.low == self.high:
            return _short(self.value)
        return f"{_short(self.value)} ({_short(self.low)} to {_short(self.high)})"


@dataclass(frozen=True)
class CostPart:
    """One row of a breakdown: cycles and joules of one kind of work."""

    name: str
    cycles: Estimate
    joules: Estimate


@dataclass(frozen=True)
class Cost:
    """What a run costs on one board; costs of the same board add, and scale with a factor >= 0.

    breakdown: its parts; `cycles`, `seconds` and `joules` are their sums. assumptions: which of the board's
    numbers behind it are not verified. Energy is that of the busy time, see `mean_power` for the rest.
    """

    board: str
    clock_hz: float
    breakdown: tuple[CostPart, ...]
    assumptions: tuple[str, ...]

    @property
    def cycles_range(self) -> Estimate:
        """Cycles with their range."""
        return _total(part.cycles for part in self.breakdown)

    @property
    def seconds_range(self) -> Estimate:
        """Seconds of computing, with their range."""
        return self.cycles_range * (1.0 / self.clock_hz)

    @property
    def joules_range(self) -> Estimate:
        """Joules of computing, with their range."""
        return _total(part.joules for part in self.breakdown)

    @property
    def cycles(self) -> float:
        """Cycles."""
        return self.cycles_range.value

    @property
    def seconds(self) -> float:
        """Seconds of computing."""
        return self.seconds_range.value

    @property
    def joules(self) -> float:
        """Joules of computing."""
        return self.joules_range.value

    def __add__(self, other: Cost) -> Cost:
        if (self.board, self.clock_hz) != (other.board, other.clock_hz):
            raise ValueError(f"costs of {self.board!r} and {other.board!r} do not add")
        parts = tuple(
            CostPart(a.name, a.cycles + b.cycles, a.joules + b.joules)
            for a, b in zip(self.breakdown, other.breakdown, strict=True)
        )
        names = tuple(dict.fromkeys(self.assumptions + other.assumptions))
        return Cost(self.board, self.clock_hz, parts, names)

    def __mul__(self, factor: float) -> Cost:
        if factor < 0:
            raise ValueError(f"a cost cannot be scaled by {factor}")
        parts = tuple(CostPart(p.name, p.cycles * factor, p.joules * factor) for p in self.breakdown)
        return Cost(self.board, self.clock_hz, parts, self.assumptions)

    __rmul__ = __mul__

    def report(self) -> str:
        """Print the breakdown as a table, with a range wherever an assumption stands behind it."""
        rows = [f"{'':24}{'cycles':>36}{'microjoules':>36}"]
        for name, cycles, joules in (
            *((p.name, p.cycles, p.joules) for p in self.breakdown if p.cycles.high or p.joules.high),
            ("total", self.cycles_range, self.joules_range),
        ):
            rows.append(f"{name:24}{cycles!s:>36}{joules * 1e6!s:>36}")
        rows.append(f"{'seconds':24}{self.seconds_range!s:>36}")
        if self.assumptions:
            rows.append(f"assumed, not verified: {', '.join(self.assumptions)}")
        return "\n".join(rows)


def cost(counts: CountsLike, board: Board, weights_bytes: int | None = None) -> Cost:
    """Price the counters of a run on a board.

    weights_bytes: size of what is read as weights, which says in which level of the board's memory it lies; None: in
    the one that the board's own table is of.
    """
    level = board.level_of(weights_bytes) if weights_bytes is not None else None
    cycles = dict.fromkeys(PARTS, Estimate(0.0, 0.0, 0.0))
    joules = dict.fromkeys(PARTS, Estimate(0.0, 0.0, 0.0))
    assumptions = []
    per_cycle = board.active_pj_per_cycle
    for part, counter, operation in TERMS:
        count = int(getattr(counts, counter))
        if not count:
            continue
        far = level if operation == "weight_byte_read" else None
        figure = far.cycles if far is not None else getattr(board.cycles, operation)
        spent = Estimate(figure.value, figure.low, figure.high) * count
        cycles[part] += spent
        if not figure.verified:
            assumptions.append(f"cycles.{operation}" if far is None else f"memory {far.name}.cycles")
        if per_cycle is not None:
            picojoules = Estimate(spent.value * per_cycle.value, spent.low * per_cycle.low, spent.high * per_cycle.high)
            name, known = "active_pj_per_cycle", per_cycle.verified
        else:
            energy = far.energy_pj if far is not None and far.energy_pj else getattr(board.energy_pj, operation)
            picojoules = Estimate(energy.value, energy.low, energy.high) * count
            name, known = f"energy_pj.{operation}", energy.verified
        joules[part] += picojoules * 1e-12
        if not known:
            assumptions.append(name)
    parts = tuple(CostPart(name, cycles[name], joules[name]) for name in PARTS)
    return Cost(board.name, board.clock_hz.value, parts, tuple(dict.fromkeys(assumptions)))


def mean_power(spent: Cost, board: Board, wall_seconds: float) -> Estimate:
    """Watts that the board draws on average when it does the work of `spent` once every `wall_seconds`.

    Adds the board's idle power for the idle time, or for all the time where its energy figure is what it
    draws above idle. A board without a known idle power adds none.
    """
    if wall_seconds <= 0:
        raise ValueError(f"{wall_seconds} seconds of wall time")
    power = spent.joules_range * (1.0 / wall_seconds)
    if board.idle_w is None:
        return power
    busy = spent.seconds_range * (1.0 / wall_seconds)
    value, low, high = (
        max(0.0, 1.0 - load) if board.energy_includes_idle else 1.0 for load in (busy.value, busy.low, busy.high)
    )
    idle = board.idle_w
    return power + Estimate(idle.value * value, idle.low * low, idle.high * high)


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


def _total(estimates: Iterable[Estimate]) -> Estimate:
    rows = list(estimates)
    return Estimate(math.fsum(e.value for e in rows), math.fsum(e.low for e in rows), math.fsum(e.high for e in rows))
