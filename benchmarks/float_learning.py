"""Fixed-point sparse learning beside float dense learning of the same steps.

    python benchmarks/float_learning.py --data DATA [--model FILE] [--draws 3] [--seed 0] [--tape FRAMES] [--write]

One side is the device as it ships (`sparse_bptt`, 256 KiB). The other one is given the same base (masters, biases and
prototypes as floats), the same takes and the same lesson, in float and without thresholds (`float_learner.py`). It
rehearses what the device rehearses, with the frames of takes and train clips, and its gradients reach back over as many
frames as the device's tape holds, or over --tape.

Speakers, draws and scores are those of `edgelearn evaluate fewshot`, for both sides the same: right words of all taught
ones (closed), and right words where 5 % and 1 % of the other words are accepted, per cent. A loss is what the device
has less than the float learner. Thresholds and number formats also change what the network hears, learned or not: so
beside each difference is that of the prototypes alone, both sides without any step or sweep. --write puts the table
into docs/learning.md. Needs PyTorch (extra: bench).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.float_learner import FloatLearner, transmitted
from benchmarks.pages import with_block
from edgelearn.audio.datasets import ClipInfo, read_manifest
from edgelearn.cli.output import say
from edgelearn.engine.counts import Counts
from edgelearn.engine.floating import FloatArray
from edgelearn.learning.evaluation import (
    MEASURING,
    ClipReader,
    Draw,
    Frames,
    Scored,
    Trial,
    base_clips,
    bootstrap_interval,
    draw_people,
    draw_takes,
    people_of,
    score_draw,
    score_trial,
    speaker_sets,
)
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from edgelearn.runtime.protocols import SHOTS, SHOTS_ACROSS, WORDS_ACROSS, novel_words
from edgelearn.runtime.voice import VoiceDevice

ALONE = (
    ("arabic_speech_commands", False), ("arabic_speech_commands", True), ("dspspeech20", False),
    ("single_user_sessions", False), ("fsdd", False),
)  # fmt: skip
"""Data sets whose speakers each have a device of their own, and whether they are heard in the hard condition."""
ACROSS = "speech_commands"
HEADER = (
    "| | takes | fixed-point sparse | float dense | difference | of prototypes alone |",
    "|---|---|---|---|---|---|",
)
PLAIN = replace(MEASURING, steps=0, sweeps=0)
Course = Iterator[tuple[int, Iterator[tuple[Draw, list[Frames]]]]]
"""Numbers of takes, each with draws of so many and the other words that scores are held against."""
FIGURES = ("closed", "at 5 %", "at 1 %")
WITHIN = 1.0
PAGE = Path(__file__).resolve().parent.parent / "docs" / "learning.md"
BEGIN, END = "<!-- float: written by benchmarks/float_learning.py -->\n", "<!-- end of float -->\n"


def plain_exemplars(model: Model, clips: Sequence[ClipInfo]) -> dict[bytes, Frames]:
    """Return the frames of the shipped words' train clips by the bytes of what the network is sent of them."""
    read = ClipReader(model)
    heard = (read(clip.path)[:255] for clip, _ in base_clips(model, clips, "train"))
    return {transmitted(frames, model).tobytes(): frames for frames in heard}


def score_float(learner: FloatLearner, draw: Draw, others: Sequence[Frames]) -> Scored:
    """Learn the words of a draw in float and score the rest."""
    rows = [learner.learn(takes) for takes in draw.takes]
    tests, against = (
        learner.scores(learner.embed(sounds), rows) for sounds in ([frames for _, frames in draw.tests], others)
    )
    return Scored(tests, np.array([k for k, _ in draw.tests]), against, np.zeros(len(rows)), Counts(), 0.0)


@dataclass(frozen=True)
class Line:
    """A line of the table, per cent [speakers, figures]: both sides, learned and as prototypes alone."""

    title: str
    shots: int
    device: FloatArray
    floating: FloatArray
    device_plain: FloatArray
    floating_plain: FloatArray

    @property
    def losses(self) -> FloatArray:
        """What the device has less than the float learner, in points [figures]."""
        losses: FloatArray = (self.floating - self.device).mean(axis=0)
        return losses

    @property
    def plain_losses(self) -> FloatArray:
        """The same of the prototypes alone."""
        losses: FloatArray = (self.floating_plain - self.device_plain).mean(axis=0)
        return losses


def draws_alone(model: Model, clips: Sequence[ClipInfo], dataset: str, hard: bool, seeds: range) -> Course:
    """Yield so many takes and the draws of them: every speaker of a data set has a device of their own."""
    read = ClipReader(model, seeds[0] if hard else None)
    novel = novel_words(model.labels, clips, None)
    subjects = list(speaker_sets(model, clips, read, novel, SHOTS[0], [dataset]))
    for shots in SHOTS:
        able = [one for one in subjects if all(len(takes) > shots for takes in one.novel.values())]
        yield shots, ((draw_takes(one, shots, seed), one.others) for one in able for seed in seeds)


def draws_across(model: Model, clips: Sequence[ClipInfo], seeds: range) -> Course:
    """Yield so many takes and the draws of them: each take of another person, tested on everyone else."""
    people = people_of(clips, ClipReader(model), set(WORDS_ACROSS.split(",")), ACROSS, "test")
    for shots in SHOTS_ACROSS:
        draws = (draw_people(people.words, shots, seed) for seed in seeds)
        yield shots, ((one, [frames for who, frames in people.others if who not in one.givers]) for one in draws)


def compare(
    device: VoiceDevice, model: Model, plain: dict[bytes, Frames], tape: int | None, title: str, course: Course
) -> Iterator[Line]:
    """Yield the lines of a course: both sides learn and are tested draw by draw, means for each speaker tested."""
    for shots, draws in course:
        found: dict[str, list[list[list[float]]]] = defaultdict(list)
        for draw, others in draws:
            sides = [
                score_draw(device, model, draw, others, "sparse_bptt", MEASURING),
                score_float(FloatLearner(device, model, MEASURING, plain, tape), draw, others),
                score_draw(device, model, draw, others, "prototype", MEASURING),
                score_float(FloatLearner(device, model, PLAIN, plain), draw, others),
            ]
            testers = np.array(draw.testers)
            for speaker in dict.fromkeys(draw.testers):
                where = testers == speaker
                trials = [score_trial(s.scores[where], s.truth[where], s.others, s.thresholds) for s in sides]
                found[speaker].append([figures(trial) for trial in trials])
        if found:
            means = np.array([np.mean(trials, axis=0) for trials in found.values()])
            line = Line(title, shots, *means.transpose(1, 0, 2))
            say(row_of(line))
            yield line


def figures(trial: Trial) -> list[float]:
    """Return what FIGURES names of a trial, per cent, as many as it has."""
    return [100 * share for share in (trial.closed, trial.hits[0.05], trial.hits[0.01]) if share is not None]


def row_of(line: Line) -> str:
    """Return a line of the table."""
    sides = (" / ".join(f"{figure:.1f}" for figure in side.mean(axis=0)) for side in (line.device, line.floating))
    differences = (" / ".join(map(signed, -losses)) for losses in (line.losses, line.plain_losses))
    return f"| {line.title} | {line.shots} | {' | '.join((*sides, *differences))} |"


def signed(points: float) -> str:
    """Return a difference as the table has it: one that rounds to nothing is +0.0."""
    return f"{round(points, 1) + 0.0:+.1f}"


def verdict(lines: Sequence[Line]) -> str:
    """Return whether the device is within a point of the float learner, where it loses most, and what learning adds."""
    losses = np.concatenate([line.losses for line in lines])
    plain = np.concatenate([line.plain_losses for line in lines])
    worst = max(lines, key=lambda line: line.losses.max())
    most = int(worst.losses.argmax())
    by_speaker = (worst.floating - worst.device)[:, most].tolist()
    low, high = bootstrap_interval(by_speaker, 0)
    over = f"[{low:.1f} to {high:.1f}] over {len(by_speaker)} speakers" if len(by_speaker) > 1 else "of one speaker"
    within = "within" if losses.max() <= WITHIN else "not within"
    takes = f"{worst.shots} take{'s' * (worst.shots > 1)}"
    return (
        f"Fixed-point sparse learning is {within} {WITHIN:g} point of float dense learning in every figure: the "
        f"largest loss is {max(0.0, losses.max()):.2f} points {over} ({worst.title}, {takes}, {FIGURES[most]}), "
        f"{(losses > WITHIN).sum()} of {len(losses)} figures lose more than {WITHIN:g} and "
        f"{(losses < -WITHIN).sum()} gain more; of prototypes alone {(plain > WITHIN).sum()} and "
        f"{(plain < -WITHIN).sum()} do, and what learning adds to that is a loss of at most "
        f"{max(0.0, (losses - plain).max()):.2f} points, {round((losses - plain).mean(), 2) + 0.0:.2f} on average."
    )


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=BASE_MODEL)
    parser.add_argument("--dataset", action="append", help="only this one (may be repeated)")
    parser.add_argument("--draws", type=int, default=3, help="draws of takes for each speaker (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="first seed of the draws of takes (default: 0)")
    parser.add_argument("--tape", type=int, metavar="FRAMES", help="of the float learner (default: as the device has)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/learning.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, clips, seeds = load_model(args.model), read_manifest(args.data), range(args.seed, args.seed + args.draws)
    device, plain = VoiceDevice(model), plain_exemplars(model, clips)
    wanted = args.dataset or [*(dataset for dataset, _ in ALONE), ACROSS]
    lines: list[Line] = []
    for dataset, hard in ALONE:
        if dataset in wanted:
            title = dataset + " hard" * hard
            course = draws_alone(model, clips, dataset, hard, seeds)
            lines += compare(device, model, plain, args.tape, title, course)
    if ACROSS in wanted:
        course = draws_across(model, clips, seeds)
        lines += compare(device, model, plain, args.tape, "English words of many people", course)
    if not lines:
        parser.error("the data has nobody to learn from")
    table = "\n".join((*HEADER, *map(row_of, lines)))
    text = f"Draws of takes: {args.draws}.\n\n{table}\n\n{verdict(lines)}\n"
    print(text, end="")
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_block(page, BEGIN, END, text), encoding="utf-8")


if __name__ == "__main__":
    main()
