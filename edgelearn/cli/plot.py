"""Pictures of a profile for `edgelearn profile --plot`: memory, energy and time by part, thresholds, a timeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelearn.errors import EdgelearnError, UsageError
from edgelearn.store.model_file import replace_file

if TYPE_CHECKING:
    from edgelearn.device.cost import Cost, CostPart, Estimate
    from edgelearn.device.plan import Plan
    from edgelearn.runtime.profiling import Job, Point, Segment

PAGE = ".html"
FORMATS = (PAGE, ".png", ".svg", ".pdf")
GREY = "0.35"


@dataclass(frozen=True)
class Picture:
    """What is drawn: a plan, the jobs on every board (the chosen one first), points of a sweep, a timeline."""

    plan: Plan
    jobs: Mapping[str, Sequence[Job]]
    points: Sequence[Point]
    timeline: Sequence[Segment]

    @property
    def board(self) -> str:
        """Title of the chosen board."""
        return next(iter(self.jobs))


def check_format(path: Path) -> None:
    """Raise UsageError for a file of a kind that cannot be drawn, EdgelearnError without matplotlib."""
    if path.suffix not in FORMATS:
        raise UsageError(f"cannot draw {path}", f"name a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file")
    try:
        import matplotlib.figure  # noqa: F401 - asked for before any work is done
    except ImportError:
        raise EdgelearnError("--plot needs matplotlib", "pip install 'edgelearn[plots]'") from None


def draw(path: Path, picture: Picture) -> None:
    """Write all panels as one picture, which is made before a byte of the file is written.

    Raises UsageError for a file that cannot be written.
    """
    heights = [height for _, height, _ in PANELS]
    figure = _figure(sum(heights))
    parts = figure.subfigures(len(PANELS), 1, height_ratios=heights)
    for part, (title, _, panel) in zip(parts, PANELS, strict=True):
        part.suptitle(title, fontsize="large", fontweight="bold")
        panel(part, picture)
    drawing = BytesIO()
    figure.savefig(drawing, format=path.suffix[1:], dpi=110)
    write_whole(path, drawing.getvalue())


def panels_as_svg(picture: Picture) -> list[tuple[str, str]]:
    """Return title and SVG element of each panel."""
    result = []
    for title, height, panel in PANELS:
        figure = _figure(height)
        panel(figure, picture)
        text = StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
        result.append((title, text.getvalue().partition("<svg")[2].join(("<svg", ""))))
    return result


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step; raises UsageError where that is not possible, and leaves what was there."""
    try:
        replace_file(path, content)
    except OSError as error:
        raise UsageError(f"cannot draw {path}: {error.strerror}", "name a place that can be written") from None


def _figure(height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(11, height), layout="constrained")


def _memory(figure: Any, picture: Picture) -> None:
    from edgelearn.runtime.layout import LEARNING_PARTS

    axes, plan = figure.subplots(), picture.plan
    rows = ("listening and learning", "listening only")
    left = dict.fromkeys(rows, 0.0)
    for n, part in enumerate(plan.parts()):
        used = [row for row in rows if row == rows[0] or part.name not in LEARNING_PARTS]
        kib = part.size_bytes / 1024
        axes.barh(used, kib, left=[left[row] for row in used], label=f"{part.name} {kib:.1f} KiB", color=f"C{n}",
                  edgecolor="white")  # fmt: skip
        for row in used:
            left[row] += kib
    for row, end in left.items():
        beside = end < 0.85 * plan.budget_bytes / 1024
        axes.text(end, row, f" {end:.1f} KiB ", va="center", ha="left" if beside else "right", fontweight="bold")
    budget = plan.budget_bytes / 1024
    axes.axvline(budget, color="black", linestyle="--", label=f"budget {budget:.0f} KiB")
    axes.set_xlim(0, budget * 1.04)
    axes.set_xlabel("memory in use, KiB")
    _legend(axes)


def _energy(figure: Any, picture: Picture) -> None:
    _by_part(figure, picture, "energy, mJ", lambda part: part.joules, lambda cost: cost.joules_range * 1e3)


def _latency(figure: Any, picture: Picture) -> None:
    _by_part(figure, picture, "time, ms", lambda part: part.cycles, lambda cost: cost.seconds_range * 1e3)


def _by_part(
    figure: Any, picture: Picture, what: str, of: Callable[[CostPart], Estimate], whole: Callable[[Cost], Estimate]
) -> None:
    """Draw a bar a board for a second of speech and for a learned word: shares by part, the total beside it."""
    two = figure.subplots(1, 2, sharey=True)
    boards = list(picture.jobs)[::-1]  # a bar chart grows upwards
    for axes, index in zip(two, (1, 2), strict=True):
        jobs = [picture.jobs[board][index] for board in boards]
        totals = [sum(of(part).value for part in job.cost.breakdown) or 1.0 for job in jobs]
        left = [0.0] * len(jobs)
        for parts in zip(*(job.cost.breakdown for job in jobs), strict=True):
            widths = [100 * of(part).value / total for part, total in zip(parts, totals, strict=True)]
            axes.barh(boards, widths, left=left, label=parts[0].name)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        for board, job in zip(boards, jobs, strict=True):
            axes.text(102, board, str(whole(job.cost)), va="center", fontsize="small")
        axes.set_xlim(0, 190)
        axes.set_xticks(range(0, 101, 25))
        axes.set_title(jobs[0].title, fontsize="medium")
        axes.set_xlabel(f"share, %, and {what} (range)")
    figure.legend(*two[0].get_legend_handles_labels(), loc="outside lower center", ncols=7, fontsize="small")


def _thresholds(figure: Any, picture: Picture) -> None:
    accuracy = figure.subplots()
    scales = [point.scale for point in picture.points]
    energy = accuracy.twinx()
    accuracy.plot(
        scales, [100 * p.accuracy for p in picture.points], "o-", color="C0", label="own exemplars recognised, %"
    )
    accuracy.plot(scales, [100 * p.sparsity for p in picture.points], "s--", color="C2", label="deltas skipped, %")
    values = [p.speech_second.joules_range * 1e3 for p in picture.points]
    energy.plot(scales, [v.value for v in values], "^-", color="C3", label="network, mJ a second of speech")
    energy.fill_between(scales, [v.low for v in values], [v.high for v in values], color="C3", alpha=0.15)
    accuracy.axvline(1.0, color=GREY, linestyle=":", label="as shipped")
    accuracy.set_ylim(0, 103)
    energy.set_ylim(0)
    accuracy.set_xlabel("delta thresholds, multiples of the model's own")
    accuracy.set_ylabel("%")
    energy.set_ylabel("mJ", color="C3")
    accuracy.set_title(picture.board, fontsize="medium")
    lines = [*accuracy.get_lines(), *energy.get_lines()]
    accuracy.legend(
        lines, [line.get_label() for line in lines], loc="center left", bbox_to_anchor=(1.1, 0.5), fontsize="small"
    )


def _timeline(figure: Any, picture: Picture) -> None:
    axes = figure.subplots()
    at = 0.0
    colours = {name: f"C{n}" for n, name in enumerate(dict.fromkeys(segment.name for segment in picture.timeline))}
    values = [segment.watts.value for segment in picture.timeline if segment.watts.value > 0]
    floor = min(values, default=1e-6) * 1e3 / 3
    shown: set[str] = set()
    for segment in picture.timeline:
        milliwatts = segment.watts * 1e3
        time = f"{segment.seconds:.3g} s, " if segment.name == "learning" else ""
        label = None if segment.name in shown else f"{segment.name}: {time}{milliwatts} mW"
        shown.add(segment.name)
        axes.fill_between(
            [at, at + segment.seconds], [max(milliwatts.value, floor)] * 2, floor, color=colours[segment.name],
            label=label, linewidth=1.5, edgecolor=colours[segment.name],
        )  # fmt: skip
        at += segment.seconds
    axes.set_yscale("log")
    axes.set_ylim(floor, max(values, default=1e-3) * 1e3 * 2)
    axes.set_xlim(0, at)
    axes.set_xlabel("seconds: silence, a word, silence, a lesson, silence, then no more listening")
    axes.set_ylabel("mW")
    axes.set_title(picture.board, fontsize="medium")
    axes.grid(axis="y", alpha=0.3)
    _legend(axes)


def _legend(axes: Any) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="small")


PANELS: tuple[tuple[str, float, Callable[[Any, Picture], None]], ...] = (
    ("Memory against the budget", 2.6, _memory),
    ("Energy by part, each board (estimate)", 4.2, _energy),
    ("Computing time by part, each board (estimate)", 4.2, _latency),
    ("Delta thresholds: accuracy against energy", 3.2, _thresholds),
    ("Power over time (estimate)", 3.0, _timeline),
)
