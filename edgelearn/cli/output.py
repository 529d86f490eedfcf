"""What a command prints: JSON lines or tables on stdout (data), talk on stderr."""

from __future__ import annotations

import contextlib
import json
import math
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SCHEMA_VERSION = 1


def emit(event: str, **fields: Any) -> None:
    """Print one JSON line to stdout at once: {"v": 1, "event": event, ...}.

    NumPy scalars and arrays become numbers and lists, paths and other objects their text; NaN and infinities,
    which JSON has no word for, become null.
    """
    line = {"v": SCHEMA_VERSION, "event": event} | {name: _plain(value) for name, value in fields.items()}
    print(json.dumps(line), flush=True)


def say(text: str = "") -> None:
    """Print talk for a person to stderr; where that cannot be written, nobody reads it, and the work goes on."""
    with contextlib.suppress(OSError, ValueError):  # the disk is full, the reader has gone, or it is closed
        print(text, file=sys.stderr, flush=True)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print an aligned table to stdout: numbers to the right, the rest to the left, floats to four digits."""
    print(format_table(headers, rows), flush=True)


def format_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return the text that `table` prints, without the last newline."""
    rows = [list(row) for row in rows]
    cells = [[_cell(value) for value in row] for row in rows]
    to_the_right = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(headers))]
    widths = [max(map(_width, (header, *(row[i] for row in cells)))) for i, header in enumerate(headers)]
    lines = []
    for line in ([*headers], *cells):
        padded = [
            " " * (width - _width(text)) + text if right else text + " " * (width - _width(text))
            for text, width, right in zip(line, widths, to_the_right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1e4 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _width(text: str) -> int:
    """Return the columns that `text` takes on a terminal: 2 for a Chinese letter, 0 for a combining mark."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # a NumPy scalar or array, without importing NumPy to ask
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
