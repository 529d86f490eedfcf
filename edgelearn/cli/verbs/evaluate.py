"""`edgelearn evaluate`: base accuracy, and learning from a few takes, on recordings of your own."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, say, table
from edgelearn.errors import UsageError

if TYPE_CHECKING:
    from edgelearn.audio.datasets import ClipInfo
    from edgelearn.cli.appliance import Appliance
    from edgelearn.learning.evaluation import ClipReader, SpeakerSet, Trial

HELP = "Measure a model: base accuracy on unseen speakers, or few-shot learning of words that it has never heard."
SHOTS = (1, 3, 5)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the protocol, the data and what narrows them down."""
    parser.add_argument("protocol", choices=["base", "fewshot", "incremental", "stream"])
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="recordings: manifest.csv, or Google's layout"
    )
    parser.add_argument("--split", default="test", choices=["val", "test"], help="base: whose clips (default: test)")
    parser.add_argument("--seed", type=int, default=0, help="first seed of the draws of takes (default: 0)")
    parser.add_argument(
        "--draws", type=int, default=3, metavar="N", help="draws of takes for each speaker (default: 3)"
    )
    parser.add_argument(
        "--dataset", action="append", metavar="NAME", help="fewshot: only this data set (may be repeated)"
    )
    parser.add_argument(
        "--novel", metavar="DATASET:WORD,...", help="fewshot: the new words (default: as the manifest says)"
    )
    parser.add_argument(
        "--learner", action="append", choices=["prototype", "delta_rule", "sparse_bptt"], help="fewshot: only this one"
    )
    parser.add_argument(
        "--condition", default="clean", choices=["clean", "hard"], help="fewshot: hard = band-limited, live room, noise"
    )
    add_settings(parser, "device.budget", "device.board", "learning.steps")


def run(args: argparse.Namespace) -> int:
    """Run the protocol and print its results."""
    if args.protocol in ("incremental", "stream"):
        raise UsageError(f"`evaluate {args.protocol}` is not there yet in this version", "base and fewshot are")
    if args.draws < 1:
        raise UsageError(f"--draws is {args.draws}", "it must be at least 1")
    from edgelearn.audio.datasets import read_manifest
    from edgelearn.cli.appliance import open_appliance

    clips = read_manifest(args.data)
    appliance = open_appliance(args)
    return _base(args, appliance, clips) if args.protocol == "base" else _fewshot(args, appliance, clips)


def _base(args: argparse.Namespace, appliance: Appliance, clips: list[ClipInfo]) -> int:
    import numpy as np

    from edgelearn.learning.evaluation import ClipReader, base_accuracy, base_clips, bootstrap_interval, float_accuracy

    model, device = appliance.model, appliance.device
    chosen = base_clips(model, clips, args.split)
    if not chosen:
        raise UsageError(
            f"{args.data} has no {args.split} clips of the shipped words",
            "they are the speech_commands of info's words",
        )
    read = ClipReader(model)
    utterances = [read(clip.path) for clip, _ in chosen]
    rows = np.array([row for _, row in chosen])
    correct, counts = base_accuracy(device, utterances, rows, model.open_set_q14)
    by_speaker: dict[str, list[bool]] = {}
    for (clip, _), right in zip(chosen, correct, strict=True):
        by_speaker.setdefault(clip.speaker, []).append(bool(right))
    low, high = bootstrap_interval(
        [float(np.mean(v)) for v in by_speaker.values()], args.seed, [len(v) for v in by_speaker.values()]
    )
    twin = float_accuracy(model, utterances, rows)
    if args.json:
        emit(
            "result", protocol="base", metric="accuracy", accuracy=float(correct.mean()), accuracy_float=twin, value=float(correct.mean()),
            low95=low, high95=high, n=len(rows), speakers=len(by_speaker), split=args.split, sparsity=counts.sparsity,
            classes=device.classifier.rows, peak_bytes=device.arena.high_water_bytes,
        )  # fmt: skip
    names = sorted({clip.word for clip, _ in chosen})
    per_word = [(w, [bool(r) for (c, _), r in zip(chosen, correct, strict=True) if c.word == w]) for w in names]
    if not args.json:
        table(["word", "clips", "right %"], [(w, len(v), 100 * float(np.mean(v))) for w, v in per_word])
        say(
            f"accuracy {100 * correct.mean():.1f} % ({100 * low:.1f}-{100 * high:.1f}, n {len(rows)}, against {device.classifier.rows} "
            f"classes); its float twin {100 * twin:.1f} %; {100 * counts.sparsity:.0f} % of the deltas skipped"
        )
    return 0


def _fewshot(args: argparse.Namespace, appliance: Appliance, clips: list[ClipInfo]) -> int:
    from edgelearn.learning.evaluation import LEARNERS, ClipReader, speaker_sets

    model = appliance.model
    novel = _novel_words(args.novel, model.labels, clips)
    datasets = sorted({key.split(":")[0] for key in novel})
    if args.dataset:
        unknown = [name for name in args.dataset if name not in datasets]
        if unknown:
            raise UsageError(f"no novel words of {unknown[0]!r}", f"there are: {', '.join(datasets)}")
        datasets = args.dataset
    read = ClipReader(model, args.seed if args.condition == "hard" else None)
    rows = []
    for dataset in datasets:
        subjects = list(speaker_sets(model, clips, read, novel, SHOTS[0], [dataset]))
        if not subjects:
            say(f"{dataset}: nobody that the model was not trained on says a novel word more than once")
            continue
        for learner in args.learner or LEARNERS:
            fields = _measure(args, appliance, clips, subjects, learner, read)
            if args.json:
                emit("result", protocol="fewshot", dataset=dataset, learner=learner, condition=args.condition, **fields)
            rows.append((dataset, learner, *(_percent(fields[name]) for name in _COLUMNS)))
    if not args.json:
        table(["data set", "learner", *(name.replace("_pct_fa", "%") for name in _COLUMNS)], rows)
    return 0


_COLUMNS = [f"{metric}_k{k}" for metric in ("closed", "hit_at_5pct_fa", "hit_at_1pct_fa") for k in SHOTS] + [
    "hit_auto_k5", "fa_auto_k5", "base_before", "base_after",
]  # fmt: skip


def _measure(
    args: argparse.Namespace,
    appliance: Appliance,
    clips: list[ClipInfo],
    subjects: list[SpeakerSet],
    learner: str,
    read: ClipReader,
) -> dict[str, Any]:
    """Return every metric of one learner on one data set: means over speakers and draws, with 95 % intervals over speakers."""
    from dataclasses import replace

    import numpy as np

    from edgelearn.learning.evaluation import (
        MEASURING,
        ClipReader,
        base_accuracy,
        base_clips,
        bootstrap_interval,
        run_trial,
    )

    model, device = appliance.model, appliance.device
    config = replace(appliance.learner_config, max_old_loss=MEASURING.max_old_loss)
    clean = ClipReader(model)
    base = base_clips(model, clips, "test") or base_clips(model, clips, "val")
    utterances = [clean(clip.path) for clip, _ in base]
    base_rows = np.array([row for _, row in base])
    device.restore(model)
    before = float(base_accuracy(device, utterances, base_rows, model.open_set_q14)[0].mean()) if base else None
    fields: dict[str, Any] = {}
    seconds, after = [], []
    sparsity = 0.0
    for shots in SHOTS:
        trials: list[list[Trial]] = []
        eligible = [s for s in subjects if all(len(takes) > shots for takes in s.novel.values())]
        for subject in eligible:
            mine = []
            for draw in range(args.draws):
                started = time.perf_counter()
                mine.append(run_trial(device, model, subject, shots, learner, config, args.seed + draw))
                seconds.append((time.perf_counter() - started) / len(subject.novel))
                sparsity = mine[-1].counts.sparsity
            if shots == SHOTS[-1] and base:
                after.append(float(base_accuracy(device, utterances, base_rows, model.open_set_q14)[0].mean()))
            trials.append(mine)
        for name, pick in _METRICS.items():
            values = [[pick(trial) for trial in mine] for mine in trials]
            known = [[float(v) for v in mine if v is not None] for mine in values]
            means = [float(np.mean(mine)) for mine in known if mine]
            key = f"{name}_k{shots}"
            fields[key] = float(np.mean(means)) if means else None
            fields[f"{key}_ci95"] = bootstrap_interval(means, args.seed) if means else None
        fields[f"speakers_k{shots}"] = len(eligible)
        fields[f"n_k{shots}"] = sum(trial.tests for mine in trials for trial in mine)
    device.restore(model)
    return fields | {
        "base_before": before,
        "base_after": float(np.mean(after)) if after else None,
        "learn_seconds": float(np.median(seconds)) if seconds else None,
        "learn_sparsity": sparsity,
        "peak_bytes": device.arena.high_water_bytes,
        "budget_bytes": device.arena.budget_bytes,
    }


_METRICS: dict[str, Any] = {
    "closed": lambda trial: trial.closed,
    "hit_at_1pct_fa": lambda trial: trial.hits[0.01],
    "hit_at_5pct_fa": lambda trial: trial.hits[0.05],
    "hit_auto": lambda trial: trial.hit_auto,
    "fa_auto": lambda trial: trial.fa_auto,
}


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _novel_words(given: str | None, labels: tuple[str, ...], clips: list[ClipInfo]) -> set[str]:
    """Return the novel words as `dataset:word`: those given, else those of the manifest, else those that the model was not trained on."""
    said = {f"{c.dataset}:{c.word}" for c in clips if c.word and not c.is_noise}
    if given:
        wanted = {item.strip() for item in given.split(",") if item.strip()}
        if missing := sorted(wanted - said):
            raise UsageError(f"no clip of {missing[0]!r}", "novel words are written DATASET:WORD, as in the manifest")
        return wanted
    marked = {f"{c.dataset}:{c.word}" for c in clips if c.novel}
    return marked or said - set(labels)
