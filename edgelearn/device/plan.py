"""What fits: regions a board's memory, and how much tape the bytes that are left of a budget hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from edgelearn.device.arena import Region
from edgelearn.device.board import Board
from edgelearn.errors import BudgetExceeded


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
    if isinstance(regions, Mapping):
        needed = sum(regions.values())
    else:
        needed = sum(region.size_bytes + region.padding_bytes for region in regions)
    return Fit(board.name, needed, int(board.ram_bytes.low))


def fit_tape_frames(
    free_bytes: int, bytes_of: Callable[[int], int], least: int, most: int, budget_bytes: int
) -> int:
    """Return the most frames of tape, from `least` to `most`, that fit; `bytes_of` tells the bytes of so many frames.

    free_bytes: what is left of the device's `budget_bytes`. Raises BudgetExceeded if `least` frames do not fit:
    learning from a shorter past than that is not worth its time.
    """
    if not 1 <= least <= most:
        raise ValueError(f"from {least} to {most} frames")
    for frames in range(most, least - 1, -1):
        if bytes_of(frames) <= free_bytes:
            return frames
    needed = bytes_of(least)
    raise BudgetExceeded(
        "tape", needed, max(0, free_bytes), budget_bytes,
        f"a tape of {least} frames fits a budget of {budget_bytes + needed - free_bytes:,} bytes",
    )  # fmt: skip
