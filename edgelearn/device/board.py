"""A board as data: clock, memory, and what an operation costs, each number with its source and its doubt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from edgelearn.device.configfile import check_keys, find_shipped, read_toml, shipped
from edgelearn.errors import UsageError

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Figure:
    """One number of a board: value with its lowest and highest plausible value, and where it comes from.

    Verified means that someone read it in that source, or ran what the source says; it does not mean that it
    was measured on your board. All others are assumptions, and a cost that is built on one is a range.
    """

    value: float
    low: float
    high: float
    unit: str
    source: str
    verified: bool


@dataclass(frozen=True)
class PerOperation:
    """What one counted operation costs, in cycles or in picojoules: one figure for each kind of counter.

    A MAC holds the loads and stores of its inner loop, a written weight byte all the work of its update;
    `weight_byte_read` and `state_byte` (of state and tape) are only what farther memory, or loads outside of
    those loops, add. `column` is the set-up of one active column, `frame` that of one frame.
    """

    mac_forward: Figure
    mac_backward: Figure
    mac_gradient: Figure
    elementwise: Figure
    activation: Figure
    frontend_op: Figure
    weight_byte_read: Figure
    weight_byte_written: Figure
    state_byte: Figure
    column: Figure
    frame: Figure


OPERATIONS = tuple(field.name for field in fields(PerOperation))


@dataclass(frozen=True)
class MemoryLevel:
    """A memory that weights may lie in, and what reading a weight byte from it costs; energy_pj: of such a board."""

    name: str
    size_bytes: Figure
    cycles: Figure
    energy_pj: Figure | None


@dataclass(frozen=True)
class Board:
    """A device to estimate costs for, read from a TOML file.

    Energy is known either for a cycle (`active_pj_per_cycle`, measured on the whole system, memory included)
    or for each operation (`energy_pj`); the other is None. energy_includes_idle: whether the figure is of all
    that the board draws while it is busy, or of what it draws above `idle_w`. sleep_w: with nothing running and the
    memory kept; leakage_w: drawn all the time and in none of the other figures. memory: levels, the smallest first,
    where it matters which one holds the weights.
    """

    name: str
    title: str
    notes: str
    clock_hz: Figure
    ram_bytes: Figure
    flash_bytes: Figure | None
    cycles: PerOperation
    active_pj_per_cycle: Figure | None
    energy_pj: PerOperation | None
    energy_includes_idle: bool
    idle_w: Figure | None
    sleep_w: Figure | None = None
    leakage_w: Figure | None = None
    memory: tuple[MemoryLevel, ...] = ()

    def figures(self) -> Iterator[tuple[str, Figure]]:
        """Yield every number of the board with its dotted name."""
        singles = ("clock_hz", "ram_bytes", "flash_bytes", "active_pj_per_cycle", "idle_w", "sleep_w", "leakage_w")
        for name in singles:
            figure = getattr(self, name)
            if figure is not None:
                yield name, figure
        for group, table in (("cycles", self.cycles), ("energy_pj", self.energy_pj)):
            if table is not None:
                for operation in OPERATIONS:
                    yield f"{group}.{operation}", getattr(table, operation)
        for level in self.memory:
            for name, figure in (("size_bytes", level.size_bytes), ("cycles", level.cycles), ("pJ", level.energy_pj)):
                if figure is not None:
                    yield f"memory {level.name}.{name}", figure

    def level_of(self, weights_bytes: int) -> MemoryLevel | None:
        """Return the smallest memory that holds so many bytes of weights, else the largest; None of a board without."""
        fitting = (level for level in self.memory if level.size_bytes.value >= weights_bytes)
        return next(fitting, self.memory[-1] if self.memory else None)

    @property
    def assumptions(self) -> tuple[str, ...]:
        """Names of the numbers that are not verified."""
        return tuple(name for name, figure in self.figures() if not figure.verified)


def list_boards() -> tuple[str, ...]:
    """Names of the shipped boards."""
    return shipped("boards")


def load_board(name_or_path: str | Path) -> Board:
    """Read a shipped board by name, or any board from a `.toml` file.

    Raises UsageError for an unknown name, and for a file that does not follow the schema to the letter.
    """
    return _parse(find_shipped("boards", name_or_path))


def _parse(path: Path) -> Board:
    data = read_toml(path)
    check_keys(data, str(path), ("schema", "title", "notes", "chip", "cycles", "energy"), ("memory",))
    if data["schema"] != SCHEMA_VERSION:
        raise UsageError(f"{path}: schema {data['schema']!r} is unknown", f"this program reads schema {SCHEMA_VERSION}")
    chip = _table(data, path, "chip")
    check_keys(chip, f"{path} [chip]", ("clock_hz", "ram_bytes"), ("flash_bytes",))
    energy = _table(data, path, "energy")
    check_keys(
        energy,
        f"{path} [energy]",
        ("includes_idle",),
        ("active_pj_per_cycle", "idle_w", "sleep_w", "leakage_w", "operations_pj"),
    )
    if ("active_pj_per_cycle" in energy) == ("operations_pj" in energy):
        raise UsageError(
            f"{path} [energy]: needs either active_pj_per_cycle or operations_pj",
            "the energy of a cycle includes its operations: with both, they would be counted twice",
        )
    return Board(
        name=path.stem,
        title=_text(data, path, "title"),
        notes=_text(data, path, "notes"),
        clock_hz=_figure(chip, path, "chip", "clock_hz", "Hz", positive=True),
        ram_bytes=_figure(chip, path, "chip", "ram_bytes", "byte", positive=True),
        flash_bytes=_optional(chip, path, "chip", "flash_bytes", "byte"),
        cycles=_operations(_table(data, path, "cycles"), path, "cycles", "cycle"),
        active_pj_per_cycle=_optional(energy, path, "energy", "active_pj_per_cycle", "pJ/cycle"),
        energy_pj=_operations(_table(energy, path, "operations_pj"), path, "energy.operations_pj", "pJ")
        if "operations_pj" in energy
        else None,
        energy_includes_idle=_flag(energy, f"{path} [energy] includes_idle", "includes_idle"),
        idle_w=_optional(energy, path, "energy", "idle_w", "W"),
        sleep_w=_optional(energy, path, "energy", "sleep_w", "W"),
        leakage_w=_optional(energy, path, "energy", "leakage_w", "W"),
        memory=_levels(data.get("memory", []), path, "operations_pj" in energy),
    )


def _levels(tables: Any, path: Path, priced_by_operation: bool) -> tuple[MemoryLevel, ...]:
    where = f"{path} [[memory]]"
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise UsageError(f"{where}: must be a list of tables", "write [[memory]] before each level")
    needed = ("name", "size_bytes", "cycles", *(("energy_pj",) if priced_by_operation else ()))
    levels = []
    for table in tables:
        check_keys(table, where, needed)
        levels.append(
            MemoryLevel(
                _text(table, path, "name"),
                _figure(table, path, "[memory]", "size_bytes", "byte", positive=True),
                _figure(table, path, "[memory]", "cycles", "cycle"),
                _figure(table, path, "[memory]", "energy_pj", "pJ") if priced_by_operation else None,
            )
        )
    sizes = [level.size_bytes.value for level in levels]
    if sizes != sorted(sizes):
        raise UsageError(f"{where}: the levels are not in order of their size", "write the smallest one first")
    return tuple(levels)


def _operations(table: Mapping[str, Any], path: Path, section: str, unit: str) -> PerOperation:
    check_keys(table, f"{path} [{section}]", OPERATIONS)
    return PerOperation(**{name: _figure(table, path, section, name, unit) for name in OPERATIONS})


def _optional(table: Mapping[str, Any], path: Path, section: str, key: str, unit: str) -> Figure | None:
    return _figure(table, path, section, key, unit) if key in table else None


def _figure(
    table: Mapping[str, Any], path: Path, section: str, key: str, unit: str, *, positive: bool = False
) -> Figure:
    where = f"{path} [{section}] {key}"
    entry = _table(table, path, key)
    check_keys(entry, where, ("value", "unit", "source", "verified"), ("low", "high"))
    if entry["unit"] != unit:
        raise UsageError(f"{where}: unit {entry['unit']!r} should be {unit!r}", "convert the number")
    value = _number(entry["value"], f"{where}.value")
    verified = _flag(entry, where, "verified")
    if not verified and not {"low", "high"} <= entry.keys():
        raise UsageError(f"{where}: an assumption needs low and high", "say how far off it may be")
    low = _number(entry.get("low", value), f"{where}.low")
    high = _number(entry.get("high", value), f"{where}.high")
    if not low <= value <= high:
        raise UsageError(f"{where}: value {value:g} lies outside {low:g} to {high:g}", "check the three")
    if positive and low <= 0:
        raise UsageError(f"{where}: must be more than 0, is {low:g}", "check the number")
    return Figure(value, low, high, unit, _text(entry, path, "source"), verified)


def _number(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise UsageError(f"{where}: {value!r} is not a number of at least 0", "check the number")
    return float(value)


def _flag(table: Mapping[str, Any], where: str, key: str) -> bool:
    value = table[key]
    if not isinstance(value, bool):
        raise UsageError(f"{where}: {value!r} is not true or false", "write true or false, without quotes")
    return value


def _text(table: Mapping[str, Any], path: Path, key: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value:
        raise UsageError(f"{path}: {key} must be a text that is not empty", 'write it in "quotes"')
    return value


def _table(table: Mapping[str, Any], path: Path, key: str) -> Mapping[str, Any]:
    value = table[key]
    if not isinstance(value, Mapping):
        raise UsageError(f"{path}: {key} must be a table", "see the files of configs/boards/ for an example")
    return value
