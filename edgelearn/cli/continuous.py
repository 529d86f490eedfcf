"""`evaluate stream` and `evaluate incremental`: the protocols over hours of sound and over whole trainings."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgelearn.cli.output import emit, say, table
from edgelearn.errors import EdgelearnError, UsageError

if TYPE_CHECKING:
    from edgelearn.audio.datasets import ClipInfo
    from edgelearn.cli.appliance import Appliance
    from edgelearn.runtime.incremental import Course
    from edgelearn.runtime.model import Model


def evaluate_stream(args: argparse.Namespace, appliance: Appliance, clips: list[ClipInfo]) -> int:
    """Print misses, false accepts and latency for every data set with novel words."""
    from edgelearn.runtime.protocols import novel_words
    from edgelearn.runtime.streaming_evaluation import SHOTS, StreamProtocol

    model = appliance.model
    novel = novel_words(model.labels, clips, args.novel)
    datasets = sorted({key.split(":")[0] for key in novel})
    if unknown := sorted(set(args.dataset or ()) - set(datasets)):
        raise UsageError(f"no novel words of {unknown[0]!r}", f"there are: {', '.join(datasets) or 'none'}")
    say("finding the utterances in the speech and the noise that hold none of the words")
    protocol = StreamProtocol(appliance.device, model, clips, args.draws, args.seed, appliance.learner_config)
    rows = []
    for dataset in args.dataset or datasets:
        for fields in protocol.measure(dataset, novel):
            if args.json:
                emit(
                    "result", protocol="stream", model=appliance.path, dataset=dataset, shots=SHOTS, **fields,
                )  # fmt: skip
            rows.append(_stream_row(dataset, fields))
    if not rows:
        raise UsageError(
            f"{args.data} has nobody with more than {SHOTS} takes of a novel word", "stream learns from five takes"
        )
    if not args.json:
        table(
            ["data set", "SNR dB", "noise", "missed %", "95 %", "false/h", "at most", "latency ms", "hours",
             "missed % at 1/h", "at 1/h everywhere"],
            rows,
        )  # fmt: skip
        say("at 1/h: with a threshold that lets one false accept an hour through, in this condition, in all of them")
    return 0


def _stream_row(dataset: str, fields: dict[str, Any]) -> tuple[object, ...]:
    low, high = fields["miss_rate_ci95"]
    latency = fields["latency_ms_median"]
    return (
        dataset,
        fields["snr_db"],
        fields["noise"],
        f"{100 * fields['miss_rate']:.1f}",
        f"{100 * low:.1f}-{100 * high:.1f}",
        f"{fields['false_accepts_per_hour']:.2f}",
        f"{fields['false_accepts_per_hour_upper95']:.2f}",
        None if latency is None else round(latency),
        round(fields["hours"], 2),
        f"{100 * fields['miss_rate_at_1_fa_per_hour']:.1f}",
        f"{100 * fields['miss_rate_at_1_fa_per_hour_everywhere']:.1f}",
    )


def evaluate_incremental(args: argparse.Namespace, clips: list[ClipInfo]) -> int:
    """Print every step of the course: with thresholds and without, with a frozen network three ways."""
    from edgelearn.device.sizes import parse_size
    from edgelearn.learning.learner import LearnerConfig
    from edgelearn.runtime.incremental import Incremental, plan_course

    try:
        rehearsal_bytes = parse_size(args.rehearsal)
    except ValueError:
        raise UsageError(f"--rehearsal is {args.rehearsal!r}", "it must be a size such as 64KiB") from None
    course = plan_course(clips, args.seed)
    # the paper's experiment has one pair of thresholds; hundreds of steps a word take smaller ones than a lesson
    config = LearnerConfig(seed=args.seed, rate_q16=4, theta_q8=256)
    protocol = Incremental(clips, course, rehearsal_bytes, config, args.seed)
    delta, dense, joint = _models(args, clips, course)
    together = protocol.joint(joint)
    rows = []
    for thresholds, learner, model in (
        ("shipped", "sparse_bptt", delta), ("zero", "sparse_bptt", dense), ("shipped", "directions", delta),
        ("shipped", "sweeps", delta), ("shipped", "prototype", delta),
    ):  # fmt: skip
        for fields, accuracy_joint in zip(protocol.run(model, learner), together, strict=True):
            if args.json:
                emit(
                    "result", protocol="incremental", thresholds=thresholds, learner=learner, seed=args.seed,
                    accuracy_joint=accuracy_joint, **fields,
                )  # fmt: skip
            rows.append(_step_row(thresholds, learner, fields, accuracy_joint))
    if not args.json:
        table(
            ["thresholds", "learner", "step", "classes", "right %", "together %", "updates", "M MACs", "of dense %",
             "MB of weights", "of dense %"],
            rows,
        )  # fmt: skip
    return 0


def _models(args: argparse.Namespace, clips: list[ClipInfo], course: Course) -> tuple[Model, Model, Model]:
    """Return the networks of the base words, with thresholds and without, and that of all words: read or trained."""
    from edgelearn.runtime.model import load_model, save_model

    if args.models is None:
        raise UsageError(
            "incremental starts from a network of its base words, which takes long to train",
            "name a folder for it with --models: what is not there yet is trained (half an hour or more) and kept",
        )
    places = [args.models / f"{name}.npz" for name in ("base", "dense", "joint")]
    if not all(place.exists() for place in places):
        try:
            from edgelearn.pretrain.incremental import train_on_words
            from edgelearn.pretrain.train import Recipe
        except ImportError as missing:
            raise EdgelearnError(f"training needs {missing.name}", "pip install 'edgelearn[pretrain]'") from None

        epochs = {name: getattr(args, name) for name in ("float_epochs", "delta_epochs")}
        recipe = replace(Recipe(), **{name: number for name, number in epochs.items() if number is not None})
        try:
            args.models.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make {args.models}: {error.strerror}") from None
        if not (places[0].exists() and places[1].exists()):
            say(f"training on {len(course.base)} base words: {', '.join(course.base)}")
            trained = train_on_words(clips, course.base, recipe, args.workers, say)
            for place, model in zip(places, trained, strict=False):
                save_model(place, model)
        if not places[2].exists():
            say(f"training on all {len(course.words)} words together")
            save_model(places[2], train_on_words(clips, course.words, recipe, args.workers, say)[0])
    base, dense, joint = (load_model(place) for place in places)
    return base, dense, joint


def _step_row(thresholds: str, learner: str, fields: dict[str, Any], together: float) -> tuple[object, ...]:
    macs, accesses = fields["macs_dense"], fields["memory_accesses_dense"]
    return (
        thresholds,
        learner,
        fields["step"],
        fields["classes"],
        f"{100 * fields['accuracy']:.1f}",
        f"{100 * together:.1f}",
        fields["updates"],
        round(fields["macs"] / 1e6, 1),
        round(100 * fields["macs"] / macs, 1) if macs else None,
        round(fields["memory_accesses"] / 1e6, 1),
        round(100 * fields["memory_accesses"] / accesses, 1) if accesses else None,
    )
