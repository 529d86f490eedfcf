"""Accuracy of every learner against the number of takes, and against the bytes of the rehearsal memory.

    python benchmarks/learners.py --data DATA [--model FILE] [--dataset NAME] [--split val] [--draws 2] [--plot FILE]

Novel words of one data set by speakers that the base model never heard, in the hard condition of `edgelearn evaluate
fewshot` and clean. Up to 8 takes a word, a device belongs to one speaker and is tested on the rest of what this speaker
says; beyond that to all speakers of the split together, a household, takes drawn from all of it. The device has room
for the memory that a line is about (64 KiB where takes are counted): a budget is not what is measured here. Figures are
per cent: closed set, then right words where 5 % of all other words are accepted. Needs matplotlib for --plot (.svg or
.png).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgelearn.audio.datasets import read_manifest
from edgelearn.cli.output import table
from edgelearn.device.arena import Arena
from edgelearn.device.sizes import KIB
from edgelearn.learning.evaluation import MEASURING, ClipReader, SpeakerSet, draw_takes, run_trial, speaker_sets
from edgelearn.learning.learners import LEARNERS
from edgelearn.learning.rehearsal import RehearsalMemory
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from edgelearn.runtime.voice import VoiceDevice

ALONE, TOGETHER = (1, 2, 3, 5, 8), (10, 20, 40)
BYTES_KIB = (4, 8, 16, 32, 64, 128, 256)
TAKES_FOR_BYTES = 20
BUDGET = 1024 * KIB
Point = tuple[float, float | None]


def device_with(model: Model, kib: int) -> tuple[VoiceDevice, Model]:
    """Return a device with so much rehearsal memory, and the model with the exemplars that fit half of it."""
    bands, theta = model.frontend.bands, model.network.layers[0].theta_x_q13
    memory = RehearsalMemory(len(model.rehearsal), bands, theta, Arena(len(model.rehearsal) + 2 * KIB))
    memory.unpack(model.rehearsal)
    end = max((r.offset + r.size for r in memory.exemplars() if r.offset + r.size <= kib * KIB // 2), default=0)
    smaller = replace(model, rehearsal=model.rehearsal[:end])
    return VoiceDevice(smaller, BUDGET, kib * KIB), smaller


def household(subjects: Sequence[SpeakerSet]) -> SpeakerSet:
    """Return all speakers as one, with every third of their other words."""
    novel: dict[str, list[np.ndarray]] = {}
    for subject in subjects:
        for word, takes in subject.novel.items():
            novel.setdefault(word, []).extend(takes)
    others = [frames for subject in subjects for frames in subject.others[::3]]
    return SpeakerSet(subjects[0].dataset, "all", novel, others)


def accuracy(
    device: VoiceDevice, model: Model, subjects: Sequence[SpeakerSet], learner: str, shots: int, draws: int
) -> Point:
    """Return closed-set accuracy and hit rate at 5 % false accepts, in per cent, over subjects and draws."""
    trials = [
        run_trial(device, model, draw_takes(subject, shots, seed), subject.others, learner, MEASURING)
        for subject in subjects
        for seed in range(draws)
    ]
    hits = [hit for trial in trials if (hit := trial.hits[0.05]) is not None]
    return 100 * float(np.mean([t.closed for t in trials])), 100 * float(np.mean(hits)) if hits else None


def text(point: Point) -> str:
    """Return a point as the table has it."""
    return f"{point[0]:.1f}" + ("" if point[1] is None else f" / {point[1]:.1f}")


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=BASE_MODEL)
    parser.add_argument("--dataset", default="arabic_speech_commands")
    parser.add_argument("--split", default="val")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    model, clips = load_model(args.model), read_manifest(args.data)
    novel = {f"{clip.dataset}:{clip.word}" for clip in clips if clip.novel}
    mine = [clip for clip in clips if clip.split == args.split]
    curves: dict[str, dict[str, dict[int, Point]]] = {}
    by_bytes: dict[str, dict[int, Point]] = {}
    for condition, seed in (("hard", 0), ("clean", None)):
        subjects = list(speaker_sets(model, mine, ClipReader(model, seed), novel, 5, [args.dataset]))
        if not subjects:
            parser.error(f"nobody in the {args.split} split of {args.dataset} says a novel word more than 5 times")
        everyone = [household(subjects)]
        device, own = device_with(model, 64)
        curves[condition] = {name: {} for name in LEARNERS}
        for name, curve in curves[condition].items():
            for shots in (*ALONE, *TOGETHER):
                people = subjects if shots in ALONE else everyone
                able = [s for s in people if all(len(takes) > shots for takes in s.novel.values())]
                if able:
                    curve[shots] = accuracy(device, own, able, name, shots, args.draws)
        known = sorted(next(iter(curves[condition].values())))
        lines = [(name, *(text(curve[shots]) for shots in known)) for name, curve in curves[condition].items()]
        print(f"\n{args.dataset}, {args.split}, {condition}: takes a word\n")
        table(("learner", *map(str, known)), lines)
        if condition == "hard":
            for name in ("prototype", "ridge", "sparse_bptt"):
                by_bytes[name] = {}
                for kib in BYTES_KIB:
                    device, own = device_with(model, kib)
                    by_bytes[name][kib] = accuracy(device, own, everyone, name, TAKES_FOR_BYTES, args.draws)
            print(f"\n{args.dataset}, {args.split}, hard, {TAKES_FOR_BYTES} takes of a household: KiB of rehearsal\n")
            lines = [(name, *(text(points[kib]) for kib in BYTES_KIB)) for name, points in by_bytes.items()]
            table(("learner", *map(str, BYTES_KIB)), lines)
    if args.plot:
        draw(args.plot, curves, by_bytes)


def draw(path: Path, curves: dict[str, dict[str, dict[int, Point]]], by_bytes: dict[str, dict[int, Point]]) -> None:
    """Draw closed-set accuracy against takes, hard and clean, and against bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4), layout="constrained")
    panels = figure.subplots(1, 3)
    titles = [f"{condition}: takes a word" for condition in curves]
    titles.append(f"hard, {TAKES_FOR_BYTES} takes: KiB of rehearsal")
    for axes, title, lines in zip(panels, titles, [*curves.values(), by_bytes], strict=True):
        for n, name in enumerate(LEARNERS):
            if name in lines:
                points = sorted(lines[name].items())
                axes.plot([x for x, _ in points], [y[0] for _, y in points], f"C{n}o-", ms=4, label=name)
        ticks = sorted({x for points in lines.values() for x in points})
        axes.set(title=title, xscale="log")
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    for axes in panels[:2]:
        axes.axvline(9, color="0.6", ls=":", lw=1)
    panels[0].set_ylabel("closed set, %")
    panels[0].legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
