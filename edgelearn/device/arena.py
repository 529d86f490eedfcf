"""The memory of the device: one block of bytes, cut into named regions, that never grows past its budget."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelearn.errors import BudgetExceeded, UsageError

REGION_ALIGNMENT = 4
BASE_ALIGNMENT = 64
PADDING_PART = "(padding)"


@dataclass(frozen=True)
class Region:
    """One named array of the arena: `offset` and sizes in bytes; `scope` is empty for a region that stays."""

    name: str
    offset: int
    size_bytes: int
    dtype: str
    shape: tuple[int, ...]
    padding_bytes: int
    scope: str

    @property
    def part(self) -> str:
        """The name before its first dot: what the memory map groups by."""
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class Part:
    """One row of the memory map: all regions of a part, without their padding, which is a part of its own."""

    name: str
    size_bytes: int
    regions: tuple[Region, ...]


@dataclass(frozen=True)
class Mark:
    """A height of the stack of regions, to be given back to `Arena.release`."""

    used_bytes: int
    regions: int


class Arena:
    """Everything the device would hold, as zeroed views into one block of `budget_bytes` bytes.

    Regions are stacked: each starts on a multiple of 4 bytes (8 for 64-bit numbers) and occupies a multiple
    of 4; the bytes lost to that are counted as padding. Raises UsageError for an impossible budget.
    """

    def __init__(self, budget_bytes: int) -> None:
        if budget_bytes <= 0:
            raise UsageError(f"a memory budget of {budget_bytes} bytes is not positive", "try 256KiB")
        try:
            block = np.zeros(budget_bytes + BASE_ALIGNMENT, np.uint8)
        except (MemoryError, ValueError, OverflowError) as error:
            raise UsageError(
                f"this machine cannot reserve a memory budget of {budget_bytes:,} bytes", "try 256KiB"
            ) from error
        start = -block.ctypes.data % BASE_ALIGNMENT
        self._block = block[start : start + budget_bytes]
        self._regions: list[Region] = []
        self._scopes: list[str] = []
        self._used_bytes = 0
        self._peak_bytes = 0
        self._peak_regions: tuple[Region, ...] = ()

    @property
    def budget_bytes(self) -> int:
        """Size of the whole block."""
        return self._block.size

    @property
    def used_bytes(self) -> int:
        """Bytes of all live regions and their padding."""
        return self._used_bytes

    @property
    def free_bytes(self) -> int:
        """Bytes that are left of the budget."""
        return self.budget_bytes - self._used_bytes

    @property
    def high_water_bytes(self) -> int:
        """The most bytes that were ever in use at one time."""
        return self._peak_bytes

    @property
    def regions(self) -> tuple[Region, ...]:
        """The live regions, by offset."""
        return tuple(self._regions)

    def alloc(self, name: str, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Cut a zeroed array out of the block.

        name: `part.rest`, unique among live regions. Raises BudgetExceeded if it does not fit, ValueError for
        a name in use, a negative shape or a type that is not plain numbers.
        """
        kind = np.dtype(dtype)
        dims = (int(shape),) if isinstance(shape, int | np.integer) else tuple(int(n) for n in shape)
        if kind.kind not in "iufb":
            raise ValueError(f"region {name!r}: {kind} is not a number type")
        if any(n < 0 for n in dims):
            raise ValueError(f"region {name!r}: negative shape {dims}")
        if any(region.name == name for region in self._regions):
            raise ValueError(f"region {name!r} exists already")
        region = place(name, dims, kind, self._used_bytes, self.budget_bytes, self._scopes[-1] if self._scopes else "")
        offset, end = region.offset, region.offset + region.size_bytes
        if end > self.budget_bytes:
            raise self._exceeded(name, region.size_bytes, dims, offset, kind.itemsize)
        self._regions.append(region)
        self._used_bytes += region.padding_bytes + region.size_bytes
        if self._used_bytes > self._peak_bytes:
            self._peak_bytes = self._used_bytes
            self._peak_regions = self.regions
        view = self._block[offset:end].view(kind).reshape(dims)
        view.fill(0)
        return view

    def mark(self) -> Mark:
        """Remember how high the stack of regions is now."""
        return Mark(self._used_bytes, len(self._regions))

    def release(self, mark: Mark) -> None:
        """Give back every region allocated since `mark`; their arrays must not be used any more."""
        if mark.regions > len(self._regions) or mark.used_bytes > self._used_bytes:
            raise ValueError("this mark was released before")
        del self._regions[mark.regions :]
        self._used_bytes = mark.used_bytes

    @contextmanager
    def scope(self, name: str) -> Iterator[Mark]:
        """Give back at exit, also after an error, what is allocated inside the `with` block."""
        mark = self.mark()
        self._scopes.append(name)
        try:
            yield mark
        finally:
            self._scopes.pop()
            self.release(mark)

    def parts(self, *, at_peak: bool = False) -> tuple[Part, ...]:
        """Rows of the memory map, which sum to `used_bytes`, or at the peak to `high_water_bytes`."""
        return group_parts(self._peak_regions if at_peak else self._regions)

    def report(self, *, at_peak: bool = False) -> str:
        """Print the memory map as a table: parts, their regions, and what they sum to."""
        parts = self.parts(at_peak=at_peak)
        used = sum(part.size_bytes for part in parts)
        lines = []
        for part in parts:
            lines.append(self._line(part.name, part.size_bytes))
            for region in part.regions:
                shape = "x".join(str(n) for n in region.shape)
                during = f"  during {region.scope}" if region.scope else ""
                detail = f"{region.dtype}[{shape}]{during}"
                lines.append(f"  {region.name:<34}{region.size_bytes:>12,}  {detail}")
        lines.append(self._line("used at the high-water mark" if at_peak else "used", used))
        lines.append(self._line("free", self.budget_bytes - used))
        lines.append(self._line("budget", self.budget_bytes))
        lines.append(self._line("high water", self._peak_bytes))
        return "\n".join(lines)

    def _line(self, name: str, size_bytes: int) -> str:
        return f"{name:<36}{size_bytes:>12,}  {100 * size_bytes / self.budget_bytes:5.1f} %"

    def _exceeded(self, name: str, size: int, dims: tuple[int, ...], offset: int, itemsize: int) -> BudgetExceeded:
        free = max(0, self.budget_bytes - offset)
        fitting = free // itemsize
        row = math.prod(dims[1:])
        rows = f" ({fitting // row} of {dims[0]} rows)" if len(dims) > 1 and row else ""
        hint = (
            f"fits with a budget of {offset + size:,} bytes; "
            f"or at most {fitting:,} elements of this region instead of {size // itemsize:,}{rows}"
        )
        return BudgetExceeded(name, size, free, self.budget_bytes, hint)


def place(
    name: str, shape: tuple[int, ...], dtype: npt.DTypeLike, used_bytes: int, budget_bytes: int, scope: str = ""
) -> Region:
    """Return the region that an array becomes on top of `used_bytes`; one that ends beyond the budget does not fit."""
    kind = np.dtype(dtype)
    size = math.prod(shape) * kind.itemsize
    offset = _round_up(used_bytes, max(REGION_ALIGNMENT, kind.alignment))
    # The last bytes of a budget that is no multiple of 4 are usable too.
    occupied_end = max(offset + size, min(_round_up(offset + size, REGION_ALIGNMENT), budget_bytes))
    return Region(name, offset, size, kind.name, shape, occupied_end - used_bytes - size, scope)


def group_parts(regions: Iterable[Region]) -> tuple[Part, ...]:
    """Group regions by part, in order of first use, with their padding as a last part of its own."""
    groups: dict[str, list[Region]] = {}
    padding = 0
    for region in regions:
        groups.setdefault(region.part, []).append(region)
        padding += region.padding_bytes
    parts = [Part(name, sum(r.size_bytes for r in rows), tuple(rows)) for name, rows in groups.items()]
    if padding:
        parts.append(Part(PADDING_PART, padding, ()))
    return tuple(parts)


def region_bytes(shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> int:
    """Bytes that a region occupies with its trailing padding; what `*_bytes(config)` functions add up.

    A region of 64-bit numbers may cost 4 more, if an odd number of 4-byte words lies before it.
    """
    dims = (shape,) if isinstance(shape, int) else shape
    return _round_up(math.prod(dims) * np.dtype(dtype).itemsize, REGION_ALIGNMENT)


def _round_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
