"""What fits a memory budget: sizes as people write them, and how much tape the bytes that are left hold."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from edgelearn.device.arena import Region
from edgelearn.device.board import Board
from edgelearn.errors import BudgetExceeded, UsageError

SIZE_HINT = "write bytes, or a number with KiB or MiB: 262144, 256KiB, 256k, 1.5MiB"
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*(?:([kmg])(?:i?b)?|b)?", re.IGNORECASE | re.ASCII)
_FACTORS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def parse_size(text: str) -> int:
    """Read a size as bytes: `262144`, `256KiB`, `256k`, `1MiB`; k, m and g are powers of 1024.

    Raises UsageError for anything else, for zero, and for a fraction of a byte.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a size", SIZE_HINT)
    number, prefix = match.groups()
    factor = _FACTORS[(prefix or "").lower()]
    whole, _, fraction = number.partition(".")
    scale = 10 ** len(fraction)
    size, rest = divmod(int(whole + fraction) * factor, scale)
    if rest:
        raise UsageError(f"{text!r} is not a whole number of bytes", SIZE_HINT)
    if size == 0:
        raise UsageError("a size of 0 bytes is of no use", SIZE_HINT)
    return int(size)


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


def fit_tape_frames(free_bytes: int, bytes_per_frame: int, minimum: int) -> int:
    """Return how many frames of tape fit, at least `minimum`.

    Raises BudgetExceeded if fewer fit: learning from a shorter past than that is not worth its time.
    """
    if bytes_per_frame <= 0 or minimum <= 0:
        raise ValueError(f"{bytes_per_frame} bytes a frame, at least {minimum} frames")
    frames = max(0, free_bytes) // bytes_per_frame
    if frames < minimum:
        asked = minimum * bytes_per_frame
        raise BudgetExceeded(
            "tape",
            asked,
            max(0, free_bytes),
            max(0, free_bytes),
            f"{minimum} frames of {bytes_per_frame:,} bytes are the least to learn from, {frames} fit; "
            f"raise the budget by {asked - free_bytes:,} bytes or take a smaller network",
        )
    return frames
