"""What fits: a device's regions laid out without allocating them, and the way of learning that its budget has room for.

The arithmetic of plans alone: what the regions are is told by whoever allocates them (`regions_of`), so a plan is
exactly what an arena of the same budget does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy.typing as npt

from edgelearn.device.arena import Part, Region, group_parts, place
from edgelearn.device.board import Board
from edgelearn.device.sizes import KIB
from edgelearn.errors import BudgetExceeded

Wanted = tuple[str, tuple[int, ...], npt.DTypeLike]
"""Name, shape and type of an array, in the order of allocation."""

UNLIMITED = 1 << 60
CHECKPOINTS = (4, 8, 12, 16)
# A tape with checkpoints does about a quarter more work for a step: it has to reach back that much further.
WORTH_RECOMPUTING = 1.25


@dataclass(frozen=True)
class Choice:
    """One way to learn.

    tape_frames: how far a gradient step reaches back; longer utterances are truncated. checkpoint_every: 0 keeps the
    gates of every frame, and weight gradients are summed column by column without a buffer; k > 0 keeps M and c every
    k frames and recomputes the gates, which needs a dense buffer of gradients. rehearsal_bytes: capacity of the
    rehearsal memory.
    """

    tape_frames: int
    checkpoint_every: int
    rehearsal_bytes: int

    @property
    def tape(self) -> str:
        """The tape in words."""
        if self.checkpoint_every:
            return f"{self.tape_frames} frames, checkpoints every {self.checkpoint_every}, stored gradients"
        return f"{self.tape_frames} frames, all gates, gradients column by column"


@dataclass(frozen=True)
class Limits:
    """What a planner may choose between: frames of tape, and bytes of rehearsal memory down to what is in use."""

    least_frames: int
    most_frames: int
    rehearsal_bytes: int
    least_rehearsal_bytes: int

    def rehearsals(self) -> Iterable[int]:
        """Yield capacities of the rehearsal memory, the wanted one first, smaller by a KiB each time."""
        yield from range(self.rehearsal_bytes, self.least_rehearsal_bytes, -KIB)
        yield min(self.rehearsal_bytes, self.least_rehearsal_bytes)


RegionsOf = Callable[[Choice], Iterable[Wanted]]


@dataclass(frozen=True)
class Plan:
    """A choice and every region that it leads to within `budget_bytes`."""

    budget_bytes: int
    choice: Choice
    regions: tuple[Region, ...]

    @property
    def used_bytes(self) -> int:
        """Bytes of all regions and their padding."""
        return occupied_bytes(self.regions)

    @property
    def free_bytes(self) -> int:
        """What is left of the budget."""
        return self.budget_bytes - self.used_bytes

    def parts(self) -> tuple[Part, ...]:
        """Rows of the memory map, which sum to `used_bytes`."""
        return group_parts(self.regions)


@dataclass(frozen=True)
class Fit:
    """Whether regions fit a board's memory: sizes in bytes; `free_bytes` is negative by what is missing."""

    board: str
    needed_bytes: int
    memory_bytes: int

    @property
    def free_bytes(self) -> int:
        """What the board has left."""
        return self.memory_bytes - self.needed_bytes

    @property
    def fits(self) -> bool:
        """Whether the board has memory enough."""
        return self.free_bytes >= 0


def fit_board(regions: Iterable[Region] | Mapping[str, int], board: Board) -> Fit:
    """Compare the regions of an arena, or sizes in bytes by name, with a board's data memory."""
    needed = sum(regions.values()) if isinstance(regions, Mapping) else occupied_bytes(regions)
    return Fit(board.name, needed, int(board.ram_bytes.low))


def occupied_bytes(regions: Iterable[Region]) -> int:
    """Return the bytes of regions with their padding."""
    return sum(region.size_bytes + region.padding_bytes for region in regions)


def lay_out(wanted: Iterable[Wanted], budget_bytes: int = UNLIMITED) -> tuple[Region, ...]:
    """Return the regions that an arena of this budget would cut for `wanted`, also where they end beyond it."""
    regions = []
    used = 0
    for name, shape, dtype in wanted:
        region = place(name, shape, dtype, used, budget_bytes)
        used += region.size_bytes + region.padding_bytes
        regions.append(region)
    return tuple(regions)


def needed_bytes(wanted: Iterable[Wanted]) -> int:
    """Return the smallest budget of an arena that holds `wanted`: the last region needs no padding."""
    regions = lay_out(wanted)
    return max((region.offset + region.size_bytes for region in regions), default=0)


def largest(least: int, most: int, fits: Callable[[int], bool]) -> int | None:
    """Return the largest n of least..most that fits, None if `least` does not; what fits n must fit fewer."""
    if least > most or not fits(least):
        return None
    low, high = least, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def choose(regions_of: RegionsOf, budget_bytes: int, limits: Limits) -> Choice | None:
    """Return how to learn within a budget, None if no way fits.

    The rehearsal memory gives way last: of the capacities that leave room for the shortest tape it is the largest. Then
    the tape is as long as fits; checkpoints are taken only where they make it a quarter longer.
    """
    for rehearsal in limits.rehearsals():
        full = longest_tape(regions_of, budget_bytes, limits, rehearsal, 0)
        if full is not None and full.tape_frames == limits.most_frames:
            return full
        reach = full.tape_frames * WORTH_RECOMPUTING if full is not None else 0
        found = [longest_tape(regions_of, budget_bytes, limits, rehearsal, every) for every in CHECKPOINTS]
        further = [choice for choice in found if choice is not None and choice.tape_frames >= reach]
        if further:
            return max(further, key=lambda choice: choice.tape_frames)
        if full is not None:
            return full
    return None


def longest_tape(
    regions_of: RegionsOf, budget_bytes: int, limits: Limits, rehearsal_bytes: int, every: int
) -> Choice | None:
    """Return the choice with the longest tape of one kind that fits, None if the shortest does not."""

    def choice(frames: int) -> Choice:
        return Choice(frames, every, rehearsal_bytes)

    frames = largest(
        max(limits.least_frames, every + 1 if every else 0),
        limits.most_frames,
        lambda n: needed_bytes(regions_of(choice(n))) <= budget_bytes,
    )
    return None if frames is None else choice(frames)


def exceeded(regions: Sequence[Region], budget_bytes: int, hint: str) -> BudgetExceeded:
    """Return the error of regions that do not fit: the first one that ends beyond the budget."""
    first = next(region for region in regions if region.offset + region.size_bytes > budget_bytes)
    return BudgetExceeded(first.name, first.size_bytes, max(0, budget_bytes - first.offset), budget_bytes, hint)
