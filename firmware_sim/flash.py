"""Flash as a microcontroller has it: pages that are erased whole, units that are programmed once, wear, torn work.

Every program and every erase is one operation. `observe` is told of each before it happens; `torn` knows what a power
cut in the middle of it could leave behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgelearn.errors import EdgelearnError, UsageError

ERASED = 0xFF


@dataclass(frozen=True)
class FlashConfig:
    """Geometry and costs of a flash.

    page_bytes: what one erase clears; unit_bytes: what one program writes; times in microseconds, energies in
    microjoules of one operation. The defaults are assumptions in the order of magnitude of 40 nm microcontrollers' data
    sheets, not those of one part.
    """

    page_bytes: int = 8192
    unit_bytes: int = 16
    program_us: float = 120.0
    erase_us: float = 1500.0
    program_uj: float = 1.0
    erase_uj: float = 12.0

    def __post_init__(self) -> None:
        """Refuse a geometry in which a page is no whole number of units."""
        if self.unit_bytes < 1 or self.page_bytes < self.unit_bytes or self.page_bytes % self.unit_bytes:
            raise UsageError(f"a page of {self.page_bytes} bytes is no whole number of units of {self.unit_bytes}")


class FlashError(EdgelearnError):
    """The firmware used the flash in a way that flash does not allow."""


@dataclass(frozen=True)
class Operation:
    """One erase, or one program of `data`: where, and for what it takes."""

    kind: str
    at: int
    data: bytes


Observer = Callable[["Flash", Operation], None]


class Flash:
    """`pages` pages, erased; counts time, energy and wear."""

    def __init__(self, pages: int, config: FlashConfig | None = None) -> None:
        self.config = config or FlashConfig()
        self.pages = pages
        self.memory = np.full(pages * self.config.page_bytes, ERASED, np.uint8)
        self.wear = np.zeros(pages, np.int64)
        self.operations = 0
        self.busy_us = 0.0
        self.energy_uj = 0.0
        self.observe: Observer | None = None

    def read(self, at: int, count: int) -> bytes:
        """Return bytes."""
        self._check(at, count)
        return self.memory[at : at + count].tobytes()

    def erase(self, page: int) -> None:
        """Erase a page."""
        size = self.config.page_bytes
        self._check(page * size, size)
        self._begin(Operation("erase", page * size, bytes([ERASED]) * size))
        self.memory[page * size : (page + 1) * size] = ERASED
        self.wear[page] += 1
        self.busy_us += self.config.erase_us
        self.energy_uj += self.config.erase_uj

    def program(self, at: int, data: bytes) -> None:
        """Program whole units; raises FlashError for one that is not erased, as error correction does not allow it."""
        unit = self.config.unit_bytes
        self._check(at, len(data))
        if at % unit or len(data) % unit:
            raise FlashError(f"{len(data)} bytes at {at} are no whole units of {unit} bytes")
        for first in range(at, at + len(data), unit):
            piece = data[first - at : first - at + unit]
            if (self.memory[first : first + unit] != ERASED).any():
                raise FlashError(f"the unit at {first} is programmed already: erase its page first")
            self._begin(Operation("program", first, piece))
            self.memory[first : first + unit] = np.frombuffer(piece, np.uint8)
            self.busy_us += self.config.program_us
            self.energy_uj += self.config.program_uj

    def torn(self, operation: Operation, rng: np.random.Generator) -> Iterator[None]:
        """Put the flash into each state that a cut during `operation` could leave, and back again after the last.

        Not begun; half of it done, at either end; each bit done or not by chance; done.
        """
        size = len(operation.data)
        span = slice(operation.at, operation.at + size)
        before, after = self.memory[span].copy(), np.frombuffer(operation.data, np.uint8)
        front = np.where(np.arange(size) < size // 2, after, before)
        back = np.where(np.arange(size) < size // 2, before, after)
        chance = rng.integers(0, 256, size, np.uint8)
        try:
            for state in (before, front, back, (after & chance) | (before & ~chance), after):
                self.memory[span] = state
                yield
        finally:
            self.memory[span] = before

    def _begin(self, operation: Operation) -> None:
        if self.observe is not None:
            self.observe(self, operation)
        self.operations += 1

    def _check(self, at: int, count: int) -> None:
        if at < 0 or count < 0 or at + count > len(self.memory):
            raise FlashError(f"{count} bytes at {at} are outside of a flash of {len(self.memory)} bytes")
