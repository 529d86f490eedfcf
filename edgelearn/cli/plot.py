"""A picture of the memory map and of the costs, for `edgelearn profile --plot`."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.errors import EdgelearnError, UsageError

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena
    from edgelearn.device.cost import Cost

FORMATS = (".png", ".svg", ".pdf")


def plot_profile(path: Path, arena: Arena, costs: Mapping[str, Cost], board: str) -> None:
    """Draw the parts of the arena against its budget, and the share that each kind of work has of each cost.

    Raises EdgelearnError without matplotlib, UsageError for a file that it cannot write.
    """
    if path.suffix not in FORMATS:
        raise UsageError(f"cannot draw {path}", f"name a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file")
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise EdgelearnError("--plot needs matplotlib", "pip install 'edgelearn[plots]'") from None
    figure = Figure(figsize=(9, 5), layout="constrained")
    memory, energy = figure.subplots(2, 1, height_ratios=[1, 2])
    left = 0.0
    for part in arena.parts():
        memory.barh("memory", part.size_bytes / 1024, left=left, label=part.name)
        left += part.size_bytes / 1024
    memory.axvline(arena.budget_bytes / 1024, color="black", linestyle="--", label="budget")
    memory.set_xlabel("KiB")
    memory.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    rows = dict(reversed(list(costs.items())))  # a bar chart grows upwards
    titles = [f"{title}: {cost.joules * 1e3:.3g} mJ" for title, cost in rows.items()]
    shares = [0.0] * len(titles)
    for parts in zip(*(cost.breakdown for cost in rows.values()), strict=True):
        totals = [cost.joules or 1.0 for cost in rows.values()]
        widths = [100 * part.joules.value / total for part, total in zip(parts, totals, strict=True)]
        energy.barh(titles, widths, left=shares, label=parts[0].name)
        shares = [share + width for share, width in zip(shares, widths, strict=True)]
    energy.set_xlabel(f"share of the energy on {board}, % (estimate)")
    energy.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")
    drawing = BytesIO()  # drawn as a whole before a byte of the file is written
    figure.savefig(drawing, format=path.suffix[1:])
    try:
        path.write_bytes(drawing.getvalue())
    except OSError as error:
        raise UsageError(f"cannot draw {path}: {error.strerror}", "name a place that can be written") from None
