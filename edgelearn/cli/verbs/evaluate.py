"""`edgelearn evaluate`: what a model hears, learns, keeps and mistakes, measured on recordings of your own."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, say, table
from edgelearn.errors import BudgetExceeded, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgelearn.audio.datasets import ClipInfo
    from edgelearn.cli.appliance import Appliance
    from edgelearn.runtime.model import Model
    from edgelearn.runtime.protocols import FewShot

HELP = (
    "Measure a model: base accuracy on unseen speakers (base), learning words that it has never heard from a few takes "
    "(fewshot), misses and false accepts in hours of sound (stream); or train and measure a course of 20 words and "
    "five steps of three (incremental)."
)


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
        "--dataset", action="append", metavar="NAME", help="fewshot, stream: only this data set (may be repeated)"
    )
    parser.add_argument(
        "--novel", metavar="DATASET:WORD,...", help="fewshot, stream: the new words (default: as the manifest says)"
    )
    parser.add_argument(
        "--across-speakers", action="store_true",
        help="fewshot: learn from one take each of 1, 5 and 10 people of the test split and test on everyone else "
        "(default words: no, on, stop, yes of speech_commands); base classes of the same word stay in the background",
    )  # fmt: skip
    parser.add_argument(
        "--learner",
        action="append",
        choices=["prototype", "delta_rule", "ridge", "sparse_bptt"],
        help="fewshot: only this one",
    )
    parser.add_argument(
        "--condition", default="clean", choices=["clean", "hard"], help="fewshot: hard = band-limited, live room, noise"
    )
    parser.add_argument(
        "--models", type=Path, metavar="DIR",
        help="incremental: folder of its networks; what is not there is trained (PyTorch, half an hour or more)",
    )  # fmt: skip
    parser.add_argument(
        "--rehearsal",
        default="64KiB",
        metavar="SIZE",
        help="incremental: bytes of what is remembered (default: 64KiB)",
    )
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="incremental: processes that make features (default: 1)"
    )
    for stage in ("float", "delta"):
        parser.add_argument(
            f"--{stage}-epochs", type=int, metavar="N",
            help="incremental: of each network that is trained, as for `pretrain` (default: as there)",
        )  # fmt: skip
    add_settings(parser, "device.budget", "device.board", "learning.steps")


def run(args: argparse.Namespace) -> int:
    """Run the protocol and print its results."""
    for name, least in (("seed", 0), ("draws", 1), ("workers", 1), ("float_epochs", 1), ("delta_epochs", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UsageError(f"--{name.replace('_', '-')} is {value}", f"it must be at least {least}")
    from edgelearn.audio.datasets import read_manifest
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.cli.continuous import evaluate_incremental, evaluate_stream
    from edgelearn.runtime.model import BASE_MODEL

    clips = read_manifest(args.data)
    if args.protocol == "incremental":
        return evaluate_incremental(args, clips)
    appliance = open_appliance(args)
    say(f"measuring {appliance.path}")  # the user's own model, if there is one and no other was named
    measure = {"base": _base, "fewshot": _fewshot, "stream": evaluate_stream}[args.protocol]
    try:
        return measure(args, appliance, clips)
    except BudgetExceeded as error:
        if appliance.device.words_left < appliance.device.classifier.config.taught_rows:
            error.hint = f"words that were taught leave too little room for those of the data: --model {BASE_MODEL}"
        raise


def _base(args: argparse.Namespace, appliance: Appliance, clips: list[ClipInfo]) -> int:
    from edgelearn.runtime.protocols import measure_base

    device = appliance.device
    result = measure_base(device, appliance.model, clips, args.split, args.seed)
    low, high = result.interval
    classes = device.classifier.rows - device.classifier.config.background_rows
    if args.json:
        emit(
            "result", protocol="base", model=appliance.path, metric="accuracy", accuracy=result.accuracy,
            accuracy_float=result.accuracy_float, value=result.accuracy, low95=low, high95=high, n=result.clips,
            speakers=result.speakers, split=args.split, sparsity=result.counts.sparsity,
            classes=classes, peak_bytes=device.arena.high_water_bytes,
        )  # fmt: skip
        return 0
    table(
        ["word", "clips", "right %"],
        [(word, len(right), 100 * sum(right) / len(right)) for word, right in result.by_word.items()],
    )
    say(
        f"accuracy {100 * result.accuracy:.1f} % ({100 * low:.1f}-{100 * high:.1f}, n {result.clips}, against "
        f"{classes} classes); its float twin {100 * result.accuracy_float:.1f} %; "
        f"{100 * result.counts.sparsity:.0f} % of the deltas skipped"
    )
    return 0


def _fewshot(args: argparse.Namespace, appliance: Appliance, clips: list[ClipInfo]) -> int:
    from edgelearn.learning.learners import LEARNERS
    from edgelearn.runtime.protocols import SHOTS, SHOTS_ACROSS, WORDS_ACROSS, FewShot, novel_words

    across = bool(args.across_speakers)
    model = appliance.model
    novel = novel_words(model.labels, clips, args.novel or (WORDS_ACROSS if across else None))
    datasets = sorted({key.split(":")[0] for key in novel})
    if unknown := sorted(set(args.dataset or ()) - set(datasets)):
        raise UsageError(f"no novel words of {unknown[0]!r}", f"there are: {', '.join(datasets) or 'none'}")
    protocol = FewShot(appliance.device, model, clips, appliance.learner_config, args.draws, args.seed)
    rows = []
    shown = _shown(SHOTS_ACROSS if across else SHOTS)
    for dataset in args.dataset or datasets:
        measure = (_across if across else _alone)(args, protocol, model, clips, novel, dataset)
        if measure is None:
            continue
        for learner in args.learner or LEARNERS:
            fields = measure(learner)
            if args.json:
                emit(
                    "result", protocol="fewshot", model=appliance.path, dataset=dataset, learner=learner,
                    condition=args.condition, across_speakers=across, **fields,
                )  # fmt: skip
            rows.append((dataset, learner, *(_percent(fields[name]) for name in shown)))
    if not rows:
        least = "a word of two people or more, and someone else" if across else "two takes or more of a novel word"
        raise UsageError(f"{args.data} has no takes to learn from", f"fewshot needs {least}")
    if not args.json:
        table(["data set", "learner", *(name.replace("pct_fa", "%") for name in shown)], rows)
    return 0


def _alone(
    args: argparse.Namespace, protocol: FewShot, model: Model, clips: list[ClipInfo], novel: set[str], dataset: str
) -> Callable[[str], dict[str, Any]] | None:
    """Return what measures a learner on each speaker by themselves, None if there is nobody."""
    from edgelearn.learning.evaluation import ClipReader, speaker_sets
    from edgelearn.runtime.protocols import SHOTS

    read = ClipReader(model, args.seed if args.condition == "hard" else None)
    subjects = list(speaker_sets(model, clips, read, novel, SHOTS[0], [dataset]))
    if not subjects:
        say(f"{dataset}: nobody that the model was not trained on says a novel word more than once")
        return None
    return lambda learner: protocol.measure(subjects, learner)


def _across(
    args: argparse.Namespace, protocol: FewShot, model: Model, clips: list[ClipInfo], novel: set[str], dataset: str
) -> Callable[[str], dict[str, Any]] | None:
    """Return what measures a learner across the people of the test split, None if there are too few."""
    from edgelearn.learning.evaluation import ClipReader, people_of
    from edgelearn.runtime.protocols import SHOTS_ACROSS

    read = ClipReader(model, args.seed if args.condition == "hard" else None)
    people = people_of(clips, read, novel, dataset, "test")
    for word, takes in people.words.items():
        if len({speaker for speaker, _ in takes}) <= SHOTS_ACROSS[0]:
            say(f"{dataset}: too few people of the test split say {word!r}")
            return None
    return lambda learner: protocol.measure_across(people, learner)


def _shown(shots: tuple[int, ...]) -> tuple[str, ...]:
    """Return the metrics of the table."""
    rates = [f"{metric}_k{k}" for metric in ("closed", "hit_at_5pct_fa", "hit_at_1pct_fa") for k in shots]
    return (*rates, f"hit_auto_k{shots[-1]}", f"fa_auto_k{shots[-1]}", "base_before", "base_after")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
