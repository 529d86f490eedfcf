"""The delta thresholds varied: accuracy, matrix work and energy, and the rule that chooses the shipped ones.

    python benchmarks/thresholds.py --data DATA [--model FILE] [--plot FILE] [--write]

The input's threshold goes from 0 to 0.5 (features are within ±2), the hidden values' with it in two ratios; the weights
stay as they are. Measured on val speakers: base accuracy; the novel words of one data set taught by sparse BPTT with
three takes, clean and in the hard condition of `edgelearn evaluate fewshot`, as the right word of all (closed) and as
the right word where 5 % of the speaker's other words are accepted, and the latter with one clean take; the matrix work
of listening and of the lessons against that of thresholds 0; and energy on a board by the cost model. So that nothing
but the thresholds varies, the tape is the longest, the rehearsal memory holds every take, and it starts with as many
train clips as the model has.

--write puts the table into docs/base_model.md; --plot needs matplotlib (.svg or .png).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.pages import with_block
from edgelearn.audio.datasets import ClipInfo, read_manifest
from edgelearn.audio.frontend import frontend_ops
from edgelearn.cli.output import say
from edgelearn.device.board import Board, load_board
from edgelearn.device.sizes import KIB
from edgelearn.engine.counts import Counts
from edgelearn.engine.layout import NetworkConfig
from edgelearn.learning.evaluation import (
    MEASURING,
    ClipReader,
    Frames,
    SpeakerSet,
    base_accuracy,
    base_clips,
    draw_takes,
    embed_all,
    run_trial,
    speaker_sets,
)
from edgelearn.learning.learner import TeachReport
from edgelearn.learning.rehearsal import RehearsalMemory
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from edgelearn.runtime.profiling import run_of
from edgelearn.runtime.voice import VoiceDevice

SHOTS = 3
LEARNER = "sparse_bptt"
THETAS_X_Q13 = range(0, 4097, 512)
ONE_Q13 = 8192
HALVED = 2
REHEARSAL_KIB, BUDGET_KIB = 64, 1024
WITHIN = 1.0
ACCURACIES = ("base", "1 take, at 5 %", "closed", "at 5 %", "hard closed", "hard at 5 %")
HEADERS = (
    "θx", "θh", *ACCURACIES, "work, listening", "work, learning", "mJ, second of speech", "mJ, word",
)  # fmt: skip
PAGE = Path(__file__).resolve().parent.parent / "docs" / "base_model.md"
BEGIN, END = "<!-- thresholds: written by benchmarks/thresholds.py -->\n", "<!-- end of thresholds -->\n"


@dataclass(frozen=True)
class Point:
    """A pair of thresholds (Q13): accuracies in per cent, matrix work in per cent of dense, millijoules."""

    theta_x_q13: int
    theta_h_q13: int
    accuracies: tuple[float, ...]
    work_listening: float
    work_learning: float
    second_mj: float
    word_mj: float


@dataclass(frozen=True)
class Sounds:
    """What is heard at every point: base utterances with their rows, exemplars with theirs, speakers clean and hard."""

    base: list[Frames]
    rows: np.ndarray
    exemplars: list[tuple[int, Frames]]
    clean: list[SpeakerSet]
    hard: list[SpeakerSet]


def read_sounds(model: Model, clips: Sequence[ClipInfo], dataset: str) -> Sounds:
    """Read what is heard: val clips, and train clips for the rehearsal memory, as many of a word as the model has."""
    read = ClipReader(model)
    val = [clip for clip in clips if clip.split == "val"]
    novel = {f"{clip.dataset}:{clip.word}" for clip in val if clip.novel}
    base = base_clips(model, val, "val")
    kept = len(_memory(model).exemplars()) // max(1, sum(not word.taught for word in model.words))
    left = {word.row: kept for word in model.words}
    exemplars = []
    for clip, row in base_clips(model, clips, "train"):
        if left[row] > 0:
            left[row] -= 1
            exemplars.append((row, read(clip.path)))
    clean, hard = (
        list(speaker_sets(model, val, ClipReader(model, seed), novel, SHOTS, [dataset])) for seed in (None, 0)
    )
    return Sounds([read(clip.path) for clip, _ in base], np.array([row for _, row in base]), exemplars, clean, hard)


def _memory(model: Model) -> RehearsalMemory:
    """Return a rehearsal memory of the sweep's size with the model's exemplars in it."""
    memory = model.rehearsal_memory(max(REHEARSAL_KIB * KIB, len(model.rehearsal)))
    memory.unpack(model.rehearsal)
    return memory


def with_thresholds(model: Model, theta_x_q13: int, theta_h_q13: int, exemplars: list[tuple[int, Frames]]) -> Model:
    """Return the model with other thresholds and with exemplars recorded at them."""
    first, *others = model.network.layers
    layers = (
        replace(first, theta_x_q13=theta_x_q13, theta_h_q13=theta_h_q13),
        *(replace(layer, theta_x_q13=theta_h_q13, theta_h_q13=theta_h_q13) for layer in others),
    )
    empty = replace(model, network=NetworkConfig(layers), rehearsal=model.rehearsal[:0])
    memory = _memory(empty)
    for row, frames in exemplars:
        memory.add(row, frames)
    return replace(empty, rehearsal=memory.pack())


def few_shot(
    device: VoiceDevice, model: Model, subjects: Sequence[SpeakerSet], shots: int, draws: int
) -> tuple[float, float, Counts, int]:
    """Teach every speaker's words: returns closed-set accuracy, hits at 5 %, what it cost, and the words learned."""
    trials, words = [], 0
    heard = TeachReport()  # to enrol, and for the thresholds, which are no part of what a trial counts
    for subject in subjects:
        for seed in range(draws):
            draw = draw_takes(subject, shots, seed)
            trials.append(run_trial(device, model, draw, subject.others, LEARNER, MEASURING))
            words += len(draw.takes)
            for takes in draw.takes:
                heard.counts += device.hearing.embed_takes(takes)[1]
            for row in range(device.classifier.config.base_rows, device.classifier.rows):
                device.learner.threshold_q14(row, model.open_set_q14, heard)
    hits = [trial.hits[0.05] for trial in trials if trial.hits[0.05] is not None]
    counts = sum((trial.counts for trial in trials), heard.counts)
    return float(np.mean([trial.closed for trial in trials])), float(np.mean(hits)), counts, words


def measure(model: Model, sounds: Sounds, board: Board, draws: int) -> Point:
    """Measure a model as it is."""
    device = VoiceDevice(model, BUDGET_KIB * KIB, REHEARSAL_KIB * KIB)
    right, _ = base_accuracy(device, sounds.base, sounds.rows, model.open_set_q14)
    _, one_take, _, _ = few_shot(device, model, sounds.clean, 1, draws)
    accuracies = [float(right.mean()), one_take]
    lessons, words = Counts(), 0
    for subjects in (sounds.clean, sounds.hard):
        closed, hit, counts, learned = few_shot(device, model, subjects, SHOTS, draws)
        accuracies += [closed, hit]
        lessons, words = lessons + counts, words + learned
    device.restore(model)
    others = [frames for subject in sounds.clean for frames in subject.others]
    spoken = sum(len(model.endpoint.surroundings.own(frames)) for frames in others)
    _, heard = embed_all(device, others)
    heard += Counts(frontend_ops=spoken * frontend_ops(model.frontend))
    _, second, lesson = replace(run_of(device, 0), heard=heard, spoken_frames=spoken, lesson=lessons).jobs(board)
    trained = lessons.macs_forward + lessons.macs_backward + lessons.macs_gradient
    layer = model.network.layers[0]
    return Point(
        layer.theta_x_q13,
        layer.theta_h_q13,
        tuple(100 * share for share in accuracies),
        100 * heard.macs_forward / heard.macs_dense_forward,
        100 * trained / lessons.macs_dense_training,
        1e3 * second.cost.joules,
        1e3 * lesson.cost.joules / words,
    )


def loss(point: Point, dense: Point) -> float:
    """Return the most that any accuracy of a point is below that of thresholds 0, in points of per cent."""
    return max(0.0, *(before - now for before, now in zip(dense.accuracies, point.accuracies, strict=True)))


def verdict(points: Sequence[Point], shipped: Point) -> str:
    """Return what the rule chooses: the least matrix work in listening with no accuracy a point below thresholds 0."""
    dense = points[0]
    good = [point for point in points if loss(point, dense) <= WITHIN]
    chosen = min(good, key=lambda point: point.work_listening)
    text = (
        f"The least matrix work in listening with every accuracy within {WITHIN:g} point of thresholds 0 is at "
        f"{_thetas(chosen)}: {chosen.work_listening:.1f} % of the work, at most {loss(chosen, dense):.1f} points lost. "
    )
    if shipped == chosen:
        text += "The model ships with these. "
    else:
        text += f"The model ships with {_thetas(shipped)}: {shipped.work_listening:.1f} % of the work. "
    return text + f"Against thresholds 0, {_changes(shipped, dense)}."


def _changes(point: Point, dense: Point) -> str:
    pairs = zip(ACCURACIES, dense.accuracies, point.accuracies, strict=True)
    # + 0.0: a change that rounds to nothing has no sign
    return ", ".join(f"{name} is {round(now - before, 1) + 0.0:+.1f} points" for name, before, now in pairs)


def _thetas(point: Point) -> str:
    return f"θx {point.theta_x_q13 / ONE_Q13:.3g}, θh {point.theta_h_q13 / ONE_Q13:.3g}"


def markdown(points: Sequence[Point], shipped: Point) -> str:
    """Return the table; the shipped thresholds are in bold."""
    lines = ["| " + " | ".join(HEADERS) + " |", "|" + "---|" * len(HEADERS)]
    for point in points:
        figures = [*point.accuracies, point.work_listening, point.work_learning]
        cells = [f"{theta / ONE_Q13:.3g}" for theta in (point.theta_x_q13, point.theta_h_q13)]
        cells += [f"{figure:.1f}" for figure in figures]
        cells += [f"{point.second_mj:.3f}", f"{point.word_mj:.0f}"]
        mark = "**" if point == shipped else ""
        lines.append("| " + " | ".join(f"{mark}{cell}{mark}" for cell in cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=BASE_MODEL)
    parser.add_argument("--dataset", default="arabic_speech_commands")
    parser.add_argument("--board", default="raspberry_pi_4")
    parser.add_argument("--draws", type=int, default=2, help="draws of takes for each speaker (default: 2)")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--write", action="store_true", help="put the table into docs/base_model.md")
    args = parser.parse_args()
    model, board = load_model(args.model), load_board(args.board)
    sounds = read_sounds(model, read_manifest(args.data), args.dataset)
    if not (sounds.base and sounds.clean):
        parser.error(f"the val split needs clips of the shipped words, and takes of novel words of {args.dataset}")
    mine = model.network.layers[0]
    ratio = mine.theta_h_q13 / max(1, mine.theta_x_q13)
    pairs = {(theta, round(theta * ratio / part)) for part in (1, HALVED) for theta in THETAS_X_Q13}
    pairs |= {(mine.theta_x_q13, mine.theta_h_q13)}
    points = []
    for theta_x_q13, theta_h_q13 in sorted(pairs):
        points.append(
            measure(with_thresholds(model, theta_x_q13, theta_h_q13, sounds.exemplars), sounds, board, args.draws)
        )
        say(str(points[-1]))
    shipped = next(p for p in points if (p.theta_x_q13, p.theta_h_q13) == (mine.theta_x_q13, mine.theta_h_q13))
    text = f"{markdown(points, shipped)}\n\n{verdict(points, shipped)}\n"
    print(text, end="")
    if args.plot:
        draw(args.plot, points, shipped, board.name)
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        block = f"Draws of takes: {args.draws}.\n\n{text}"
        PAGE.write_text(with_block(page, BEGIN, END, block), encoding="utf-8")


def draw(path: Path, points: Sequence[Point], shipped: Point, board: str) -> None:
    """Draw accuracy, work and energy against the input's threshold, a line style for each ratio of the thresholds."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    clear, noisy, work, energy = figure.subplots(1, 4)
    lesson = energy.twinx()  # a word takes fifty times what a second does
    full = shipped.theta_h_q13 / max(1, shipped.theta_x_q13)
    for ratio, style in ((full, "o-"), (full / HALVED, "o--")):
        mine = [p for p in points if p.theta_h_q13 == round(p.theta_x_q13 * ratio)]
        x = [p.theta_x_q13 / ONE_Q13 for p in mine]

        def label(name: str, ratio: float = ratio) -> str:
            return name if ratio == full else "_"  # a name once; the style says which ratio it is

        for n, name in enumerate(ACCURACIES):
            axes = noisy if name.startswith("hard") else clear
            axes.plot(x, [p.accuracies[n] for p in mine], style, color=f"C{n}", ms=3, label=label(name))
        work.plot(x, [p.work_listening for p in mine], style, color="C0", ms=3, label=label("listening"))
        work.plot(x, [p.work_learning for p in mine], style, color="C1", ms=3, label=label("learning"))
        energy.plot(x, [p.second_mj for p in mine], style, color="C0", ms=3)
        lesson.plot(x, [p.word_mj for p in mine], style, color="C1", ms=3)
    for axes, title in (
        (clear, "clean takes, %"), (noisy, "hard condition, %"), (work, "matrix work, % of dense"),
        (energy, f"energy, {board}"),
    ):  # fmt: skip
        axes.axvline(shipped.theta_x_q13 / ONE_Q13, color="0.6", ls=":", lw=1, label="shipped")
        axes.set(title=title, xlabel=f"θx (θh = {full:.2g} θx; dashed: {full / HALVED:.2g} θx)")
        axes.grid(alpha=0.3)
    energy.set_ylabel("a second of speech, mJ", color="C0")
    lesson.set_ylabel("a learned word, mJ", color="C1")
    for axes in (clear, noisy, work):
        axes.legend(fontsize="small")
    for axes in (work, energy, lesson):
        axes.set_ylim(bottom=0)
    # text stays text, and the same points are the same bytes
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "edgelearn"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
