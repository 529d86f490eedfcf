"""A profile as one self-contained page: the panels as SVG, tables, and every assumption with its source."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.plot import Picture, panels_as_svg, write_whole

if TYPE_CHECKING:
    from edgelearn.device.board import Board
    from edgelearn.device.day import Day
    from edgelearn.runtime.profiling import Priced

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 1120px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em }
svg { width: 100%; height: auto }
table { border-collapse: collapse; font-size: 0.9em } td, th { padding: 0.2em 0.8em; text-align: left }
th { border-bottom: 1px solid #888 } tr.chosen { font-weight: bold; background: #eef4fb } td.n { text-align: right }
p.note { color: #555 }
"""


def write_page(
    path: Path, picture: Picture, ways: Sequence[Priced], board: Board, day: Day | None, battery_wh: float | None
) -> None:
    """Write the page; raises UsageError for a file that cannot be written."""
    plan = picture.plan
    pictures = "".join(f"<h2>{escape(title)}</h2>\n{svg}\n" for title, svg in panels_as_svg(picture))
    parts = [
        f"<h1>edgelearn on {escape(board.title)}</h1>",
        f"<p>Memory {plan.used_bytes:,} of {plan.budget_bytes:,} bytes; tape {escape(plan.choice.tape)}; rehearsal "
        f"memory {plan.choice.rehearsal_bytes:,} bytes. Times and energies are estimates: counted operations of real "
        "runs, priced with the board's figures; ranges are all low figures together and all high ones.</p>",
        pictures,
        "<h2>Ways to learn within other budgets</h2>",
        _ways(ways),
        "<h2>Memory, region by region</h2>",
        _table(
            ("region", "bytes", "type", "shape"),
            ((r.name, f"{r.size_bytes:,}", r.dtype, " x ".join(map(str, r.shape))) for r in plan.regions),
        ),
    ]
    if day is not None and battery_wh is not None:
        rows = [(p.name, f"{p.seconds.value:,.1f}", str(p.joules)) for p in day.parts]
        rows.append(("all", f"{sum(p.seconds.value for p in day.parts):,.0f}", str(day.joules)))
        parts += [
            f"<h2>A day, and a battery of {battery_wh:g} Wh: {escape(str(day.battery_days(battery_wh)))} days</h2>",
            _table(("part", "seconds", "joules"), rows),
        ]
    assumed = [(name, f) for name, f in board.figures() if not f.verified]
    parts += [
        "<h2>Assumed, not verified</h2>",
        _table(
            ("figure", "value", "low", "high", "unit", "source"),
            ((name, f"{f.value:g}", f"{f.low:g}", f"{f.high:g}", f.unit, f.source) for name, f in assumed),
        ),
    ]
    title = f"edgelearn profile, {escape(board.title)}"
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )
    write_whole(path, page.encode())


def _ways(ways: Sequence[Priced]) -> str:
    rows = [
        (way.option.choice.tape, f"{way.option.needed_bytes:,}", "yes" if way.option.fits else "no",
         str(way.cost.seconds_range * 1e3), str(way.cost.joules_range * 1e3), f"{way.time_ratio:.2f}")
        for way in ways
    ]  # fmt: skip
    return _table(
        ("tape", "bytes needed", "fits", "ms an update", "mJ an update", "times the chosen one's time"),
        rows,
        [n for n, way in enumerate(ways) if way.option.chosen],
    )


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]], chosen: Sequence[int] = ()) -> str:
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = []
    for n, row in enumerate(rows):
        cells = "".join(f"<td{_right(cell)}>{escape(cell)}</td>" for cell in row)
        mark = ' class="chosen"' if n in chosen else ""
        body.append(f"<tr{mark}>{cells}</tr>")
    return f"<table>\n<tr>{head}</tr>\n" + "\n".join(body) + "\n</table>"


def _right(cell: str) -> str:
    return ' class="n"' if cell[:1].isdigit() and " " not in cell else ""
