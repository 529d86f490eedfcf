"""What is measured on a simulated board: time and energy, in whole nanoseconds and attojoules, and what happened."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgelearn.device.board import Board, Figure
from edgelearn.device.cost import TERMS, cost
from edgelearn.engine.counts import Counts
from edgelearn.runtime.recognizer import Event

NS_PER_S = 10**9
AJ_PER_J = 10**18
AJ_PER_UJ = 10**12
STATES = ("listening", "learning", "flash", "boot", "idle", "off")
"""What a machine can be doing; idle is asleep between two interrupts, with memory, clock and microphone on."""


@dataclass(frozen=True)
class Logged:
    """Something that happened, and when; event: as the recognizer reported it."""

    at_s: float
    what: str
    text: str
    event: Event | None = None


@dataclass
class Tally:
    """What is counted and what was longest; times in nanoseconds.

    worst_response_ns: from a full half to its features; worst_frame_ns: to the end of the network's work on that frame;
    longest_slice_ns: in which learning or flash did not look for an interrupt; longest_piece_ns: of one piece of it.
    """

    halves: int = 0
    frames: int = 0
    missed: int = 0
    lost: int = 0
    frontend_ns: int = 0
    worst_response_ns: int = 0
    worst_frame_ns: int = 0
    longest_slice_ns: int = 0
    longest_piece_ns: int = 0
    longest_call: str = ""
    updates: int = 0
    taught: int = 0
    commits: int = 0
    power_cuts: int = 0
    lessons_lost: int = 0
    counts: dict[str, Counts] = field(default_factory=lambda: {"listening": Counts(), "learning": Counts()})
    log: list[Logged] = field(default_factory=list)


class Price:
    """What counted work takes and costs on a board, as `edgelearn.device.cost` says; worst: the high ends of it."""

    def __init__(self, board: Board, weights_bytes: int, worst: bool = False) -> None:
        self._terms = []
        for _, counter, _ in TERMS:
            one = cost(Counts(**{counter: 1}), board, weights_bytes)
            seconds, joules = one.seconds_range, one.joules_range
            self._terms.append(
                (
                    counter,
                    (seconds.high if worst else seconds.value) * NS_PER_S,
                    (joules.high if worst else joules.value) * AJ_PER_J,
                )
            )

    def __call__(self, counts: Counts) -> tuple[int, int]:
        """Return nanoseconds and attojoules, rounded."""
        values = vars(counts)
        ns = aj = 0.0
        for counter, each_ns, each_aj in self._terms:
            value = values[counter]
            if value:
                ns += value * each_ns
                aj += value * each_aj
        return round(ns), round(aj)


class Meter:
    """The clock of a machine, its energy by state, and its power over time in steps of `step_ns`.

    What the board draws anyway is added here: `idle_w` while it idles or waits for its flash, and while it computes
    where the board's figures say that this comes on top; `leakage_w` at any time but when it is off.
    """

    def __init__(self, board: Board, seconds: float, step_ns: int, worst: bool = False) -> None:
        self.now_ns = 0
        self.step_ns = step_ns
        self.ns = dict.fromkeys(STATES, 0)
        self.aj = dict.fromkeys(STATES, 0)
        steps = -(-round(seconds * NS_PER_S) // step_ns)
        self.timeline_aj = {state: [0] * steps for state in STATES}
        idle, leakage = (_aj_per_ns(figure, worst) for figure in (board.idle_w, board.leakage_w))
        computing = leakage if board.energy_includes_idle else idle + leakage
        self._drawn = dict.fromkeys(STATES, idle + leakage) | {
            "listening": computing, "learning": computing, "boot": computing, "off": 0
        }  # fmt: skip

    @property
    def total_aj(self) -> int:
        """Energy in all."""
        return sum(self.aj.values())

    def spend(self, state: str, ns: int, aj: int = 0) -> None:
        """Let time pass in a state, with the energy of what is done in it."""
        aj += self._drawn[state] * ns
        start, self.now_ns = self.now_ns, self.now_ns + ns
        self.ns[state] += ns
        self.aj[state] += aj
        cells = self.timeline_aj[state]
        first, last = start // self.step_ns, max(start, self.now_ns - 1) // self.step_ns
        while last >= len(cells):  # the last work may end after the last sound
            for every in self.timeline_aj.values():
                every.append(0)
        if first == last:
            cells[first] += aj
            return
        given = 0
        for cell in range(first, last + 1):
            until = min((cell + 1) * self.step_ns, self.now_ns)
            share = aj * (until - start) // ns
            cells[cell] += share - given
            given = share

    def watts(self) -> list[float]:
        """Return the mean power of each step; that of a last one which is not full is over what there is of it."""
        result = []
        for cell in range(-(-self.now_ns // self.step_ns)):
            ns = min(self.step_ns, self.now_ns - cell * self.step_ns)
            result.append(sum(cells[cell] for cells in self.timeline_aj.values()) / ns / NS_PER_S)
        return result


def _aj_per_ns(figure: Figure | None, worst: bool) -> int:
    """Return a power in attojoules a nanosecond, which is nanowatts."""
    return round((figure.high if worst else figure.value) * NS_PER_S) if figure is not None else 0
