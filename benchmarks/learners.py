"""Accuracy of every learner against the number of takes, and against the bytes of the rehearsal memory.

    python benchmarks/learners.py --data DATA [--model FILE] [--draws 2] [--plot FILE] [--write]

Three panels of takes. Novel Arabic words by the val speakers, in the hard condition of `edgelearn evaluate fewshot` and
clean: up to 8 takes a word, a device belongs to one speaker and is tested on the rest of what this speaker says; beyond
that to all speakers of the split together, a household, takes drawn from all of it. And no, on, stop, yes of
speech_commands by all people of the test split, up to 100 takes a word, which is the most that the data has.

Where takes are many, few people give them at once. The line "confirmed" is the device used that way: words taught with
three takes, then one utterance after the other as `edgelearn confirm` learns it, to as many takes in all (one draw).

The device of these lines has room for the memory that they are about (64 KiB where takes are counted): a budget is not
what is measured there. A table beside them is of the device as it ships, in 256 KiB, by the val speakers of two data
sets. Figures are per cent: closed set, then right words where 5 %, in that table also where 1 %, of all other words are
accepted. --write puts the tables into docs/learning.md; --plot needs matplotlib (.svg or .png).
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.pages import with_block
from edgelearn.audio.datasets import ClipInfo, read_manifest
from edgelearn.cli.output import say
from edgelearn.device.sizes import KIB
from edgelearn.errors import LearningRejected, TakeRejected
from edgelearn.learning.evaluation import (
    MEASURING,
    ClipReader,
    SpeakerSet,
    Trial,
    draw_takes,
    embed_all,
    people_of,
    run_trial,
    score_trial,
    speaker_sets,
)
from edgelearn.learning.learner import LearnerConfig
from edgelearn.learning.learners import LEARNERS, PrototypeLearner
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from edgelearn.runtime.protocols import WORDS_ACROSS
from edgelearn.runtime.voice import VoiceDevice

NOVEL, OTHER_NOVEL, CROWD = "arabic_speech_commands", "dspspeech20", "speech_commands"
FEW = (1, 3, 5)
ALONE, TOGETHER, TAKES_OF_CROWD = (1, 2, 3, 5, 8), (10, 20, 40), (1, 2, 3, 5, 10, 20, 40, 100)
TAUGHT = 3
CONFIRMED = "confirmed"
BYTES_KIB = (4, 8, 16, 32, 64, 128, 256)
BY_BYTES = ("prototype", "ridge", "sparse_bptt")
TAKES_FOR_BYTES = 20
BUDGET = 1024 * KIB
OTHERS_EVERY = 3  # of many people's other words, so many are enough
# takes of many people may be unlike each other: a person would be asked again, a benchmark goes on
ANY_TAKES = replace(MEASURING, agreement_q14=-(1 << 14))
PAGE = Path(__file__).resolve().parent.parent / "docs" / "learning.md"
BLOCK = "<!-- {}: written by benchmarks/learners.py -->\n", "<!-- end of {} -->\n"

Point = tuple[float, float | None, float | None]
"""Per cent: closed set, right word at 5 % and at 1 % false accepts (None: no other words)."""
Curves = dict[str, dict[int, Point]]
People = Mapping[int, Sequence[SpeakerSet]]
"""Who is taught with how many takes."""


def device_with(model: Model, kib: int) -> tuple[VoiceDevice, Model]:
    """Return a device with so much rehearsal memory, and the model with the exemplars that fit half of it."""
    memory = model.rehearsal_memory(len(model.rehearsal))
    memory.unpack(model.rehearsal)
    end = max((r.offset + r.size for r in memory.exemplars() if r.offset + r.size <= kib * KIB // 2), default=0)
    smaller = replace(model, rehearsal=model.rehearsal[:end])
    return VoiceDevice(smaller, BUDGET, kib * KIB), smaller


def household(subjects: Sequence[SpeakerSet]) -> SpeakerSet:
    """Return all speakers as one, with a share of their other words."""
    novel: dict[str, list[np.ndarray]] = {}
    for subject in subjects:
        for word, takes in subject.novel.items():
            novel.setdefault(word, []).extend(takes)
    others = [frames for subject in subjects for frames in subject.others[::OTHERS_EVERY]]
    return SpeakerSet(subjects[0].dataset, "all", novel, others)


def as_shipped(model: Model, clips: Sequence[ClipInfo], draws: int) -> str:
    """Return a table of prototypes beside the device's own learner, in its default budget."""
    val = [clip for clip in clips if clip.split == "val"]
    novel = {f"{clip.dataset}:{clip.word}" for clip in val if clip.novel}
    device = VoiceDevice(model)
    lines = ["| | " + " | ".join(f"{shots} take{'s' * (shots > 1)}" for shots in FEW) + " |", "|---" * 4 + "|"]
    for dataset in (NOVEL, OTHER_NOVEL):
        for condition, seed in (("", None), (" hard", 0)):
            subjects = list(speaker_sets(model, val, ClipReader(model, seed), novel, max(FEW), [dataset]))
            for learner in ("prototype", "sparse_bptt") if subjects else ():
                points = [accuracy(device, model, subjects, learner, shots, draws) for shots in FEW]
                cells = " | ".join(text(point, 3) for point in points)
                lines.append(f"| {dataset}{condition}, {learner} | {cells} |")
    return "\n".join(lines) + "\n"


def novel_people(model: Model, clips: Sequence[ClipInfo], hard_seed: int | None) -> People:
    """Return the val speakers one by one for few takes and as a household for many, as far as they said as much."""
    val = [clip for clip in clips if clip.split == "val"]
    novel = {f"{clip.dataset}:{clip.word}" for clip in val if clip.novel}
    subjects = list(speaker_sets(model, val, ClipReader(model, hard_seed), novel, max(ALONE), [NOVEL]))
    everyone = [household(subjects)] if subjects else []
    return _able(dict.fromkeys(ALONE, subjects) | dict.fromkeys(TOGETHER, everyone))


def crowd(model: Model, clips: Sequence[ClipInfo]) -> People:
    """Return all people of the test split as one household, as far as they said as much."""
    people = people_of(clips, ClipReader(model), set(WORDS_ACROSS.split(",")), CROWD, "test")
    words = {word: [frames for _, frames in takes] for word, takes in people.words.items()}
    everyone = SpeakerSet(CROWD, "all", words, [frames for _, frames in people.others[::OTHERS_EVERY]])
    return _able({shots: [everyone] for shots in TAKES_OF_CROWD})


def _able(people: dict[int, list[SpeakerSet]]) -> People:
    """Return who said every word more often than it is taught; nobody is left out with the number of takes."""
    able = {
        shots: [one for one in mine if all(len(takes) > shots for takes in one.novel.values())]
        for shots, mine in people.items()
    }
    return {shots: mine for shots, mine in able.items() if mine}


def accuracy(
    device: VoiceDevice, model: Model, subjects: Sequence[SpeakerSet], learner: str, shots: int, draws: int
) -> Point:
    """Return what one learner makes of so many takes, over subjects and draws."""
    return mean_of(
        run_trial(device, model, draw_takes(subject, shots, seed), subject.others, learner, MEASURING)
        for subject in subjects
        for seed in range(draws)
    )


def mean_of(trials: Iterable[Trial]) -> Point:
    """Return the mean of trials."""
    trials = list(trials)
    by_share = {share: [hit for t in trials if (hit := t.hits[share]) is not None] for share in (0.05, 0.01)}
    at_5, at_1 = (100 * float(np.mean(hits)) if hits else None for hits in by_share.values())
    return 100 * float(np.mean([t.closed for t in trials])), at_5, at_1


def confirming(device: VoiceDevice, model: Model, subject: SpeakerSet, shots: Sequence[int]) -> dict[int, Trial]:
    """Teach all words of a subject, then confirm them in turn, one utterance at a time.

    Returns a trial wherever the words have so many takes, all on what is left after the last one; an utterance that the
    device refuses is none.
    """
    draw = draw_takes(subject, max(shots), 0)
    names = [f"new {k}" for k in range(len(draw.takes))]
    trials = {}
    device.restore(model)
    for name, takes in zip(names, draw.takes, strict=True):
        deque(device.teach(name, takes[:TAUGHT], ANY_TAKES), maxlen=0)
    words = device.model().words
    rows = np.array([word.row for name in names for word in words if word.name == name])
    scorer = PrototypeLearner(device.learner, device.classifier, MEASURING)
    refused = 0
    for said in range(TAUGHT, max(shots) + 1):
        if said in shots:
            scores, against = (
                scorer.scores(embed_all(device, heard)[0], rows)
                for heard in ([frames for _, frames in draw.tests], subject.others)
            )
            trials[said] = score_trial(scores, np.array([k for k, _ in draw.tests]), against, np.zeros(len(rows)))
        for name, takes in zip(names, draw.takes, strict=True) if said < max(shots) else ():
            try:
                deque(device.confirm(name, takes[said], LearnerConfig()), maxlen=0)
            except (TakeRejected, LearningRejected):
                refused += 1
    say(
        f"{subject.dataset}, {subject.speaker}: {refused} of {len(names) * (max(shots) - TAUGHT)} confirmations refused"
    )
    return trials


def curves_of(model: Model, people: People, draws: int) -> Curves:
    """Return accuracy against takes of every learner, and of the device that learns what is confirmed."""
    device, own = device_with(model, 64)
    curves: Curves = {
        name: {shots: accuracy(device, own, mine, name, shots, draws) for shots, mine in people.items()}
        for name in LEARNERS
    }
    # who is taught so often is confirmed as often: one course of confirmations gives all these points
    groups: dict[tuple[str, ...], list[int]] = {}
    for shots in people:
        if shots >= TAUGHT:
            groups.setdefault(tuple(subject.speaker for subject in people[shots]), []).append(shots)
    curves[CONFIRMED] = {}
    for together in groups.values():
        trials = [confirming(device, own, subject, together) for subject in people[together[0]]]
        curves[CONFIRMED] |= {shots: mean_of(trial[shots] for trial in trials) for shots in together}
    return curves


def curves_by_bytes(model: Model, subjects: Sequence[SpeakerSet], draws: int) -> Curves:
    """Return accuracy against KiB of rehearsal memory."""
    curves: Curves = {name: {} for name in BY_BYTES}
    for kib in BYTES_KIB:
        device, own = device_with(model, kib)
        for name, curve in curves.items():
            curve[kib] = accuracy(device, own, subjects, name, TAKES_FOR_BYTES, draws)
    return curves


def markdown(title: str, curves: Curves) -> str:
    """Return a table of curves: a learner a row."""
    columns = sorted({x for curve in curves.values() for x in curve})
    lines = [title, "", "| learner | " + " | ".join(map(str, columns)) + " |", "|---|" + "---|" * len(columns)]
    for name, curve in curves.items():
        lines.append(f"| {name} | " + " | ".join(text(curve.get(x)) for x in columns) + " |")
    return "\n".join(lines) + "\n"


def text(point: Point | None, figures: int = 2) -> str:
    """Return the first figures of a point as a table has them."""
    return " / ".join(f"{figure:.1f}" for figure in (point or ())[:figures] if figure is not None)


def main() -> None:
    """Measure, print, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=BASE_MODEL)
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/learning.md")
    args = parser.parse_args()
    model, clips = load_model(args.model), read_manifest(args.data)
    hard, clean, many = novel_people(model, clips, 0), novel_people(model, clips, None), crowd(model, clips)
    if not (hard and many):
        parser.error(f"the data needs novel words of {NOVEL} in its val split, and {WORDS_ACROSS} in its test split")
    panels: dict[str, Curves] = {}
    for title, people in (
        ("Arabic, hard: takes a word", hard),
        ("Arabic, clean: takes a word", clean),
        ("English, all people: takes a word", many),
    ):
        panels[title] = curves_of(model, people, args.draws)
        print(markdown(title, panels[title]), flush=True)
    if TAKES_FOR_BYTES in hard:
        title = f"Arabic, hard, {TAKES_FOR_BYTES} takes: KiB of rehearsal"
        panels[title] = curves_by_bytes(model, hard[TAKES_FOR_BYTES], args.draws)
        print(markdown(title, panels[title]), flush=True)
    shipped = as_shipped(model, clips, args.draws)
    print(shipped)
    if args.plot:
        draw(args.plot, panels)
    if args.write:
        tables = "\n".join(markdown(title, curves) for title, curves in panels.items())
        draws = f"Draws of takes: {args.draws}"
        write("learners", f"{draws}, of `{CONFIRMED}` one.\n\n{tables}")
        write("shipped", f"{draws}.\n\n{shipped}")


def write(block: str, content: str) -> None:
    """Replace what stands between the two marks of a block of the page."""
    begin, end = (mark.format(block) for mark in BLOCK)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_block(page, begin, end, content), encoding="utf-8")


def draw(path: Path, panels: Mapping[str, Curves]) -> None:
    """Draw closed-set accuracy above and hits at 5 % below, a column for each panel."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(panels), 7), layout="constrained")
    rows = figure.subplots(2, len(panels), sharex="col", sharey="row", squeeze=False)
    styles = {name: (f"C{n}", "o-") for n, name in enumerate(LEARNERS)} | {CONFIRMED: ("C4", "s--")}
    for column, (title, curves) in enumerate(panels.items()):
        ticks = sorted({x for curve in curves.values() for x in curve})
        people_change = max(ALONE) in ticks and min(TOGETHER) in ticks
        for n, axes in enumerate(rows[:, column]):
            for name, curve in curves.items():
                colour, style = styles[name]
                points = [(x, y[n]) for x, y in sorted(curve.items()) if y[n] is not None]
                # takes of one speaker and of six are not one curve
                parts = [[p for p in points if (p[0] <= max(ALONE)) == alone] for alone in (True, False)]
                for k, part in enumerate(parts if people_change else [points]):
                    label = "_" if k else name.replace("_", " ")
                    axes.plot([x for x, _ in part], [y for _, y in part], style, color=colour, ms=4, label=label)
            axes.grid(alpha=0.3)
            if people_change:
                axes.axvline((max(ALONE) * min(TOGETHER)) ** 0.5, color="0.6", ls=":", lw=1)
        above, below = rows[:, column]
        above.set(title=title.partition(":")[0], xscale="log")
        for axes in (above, below):
            axes.minorticks_off()
        if people_change:
            above.text(0.02, 0.03, "one speaker | six people", transform=above.transAxes, fontsize="small", color="0.4")
        below.set_xticks(ticks, [str(tick) for tick in ticks])
        below.set_xlabel(title.partition(": ")[2])
    # the delta rule forgets: to draw all of its fall would flatten the others
    drawn = [curve for curves in panels.values() for name, curve in curves.items() if name != "delta_rule"]
    shown = [point for curve in drawn for point in curve.values()]
    for n, (row, label) in enumerate(zip(rows, ("closed set, %", "right word at 5 % false accepts, %"), strict=True)):
        row[0].set_ylabel(label)
        row[0].set_ylim(min(y for point in shown if (y := point[n]) is not None) - 3, 101)
    most = max(range(len(panels)), key=lambda column: (len(rows[0, column].lines), column))
    rows[0, most].legend(fontsize="small", loc="lower right")
    # text stays text, and the same points are the same bytes
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "edgelearn"}):
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
