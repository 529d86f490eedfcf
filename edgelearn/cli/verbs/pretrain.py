"""`edgelearn pretrain`: a base model on a workstation."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from edgelearn.cli.output import emit, say, table
from edgelearn.errors import EdgelearnError, ModelFileError, UsageError

HELP = "Train a base model on a workstation (needs the pretrain extra: PyTorch); the same seed makes the same model."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the data, the result and the parts of the recipe that people change."""
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="recordings: manifest.csv, or Google's layout"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="MODEL", help="the model file to write")
    parser.add_argument("--seed", type=int, default=1, help="seed of everything random (default: 1)")
    parser.add_argument("--float-epochs", type=int, metavar="N", help="epochs without quantisation and thresholds")
    parser.add_argument("--delta-epochs", type=int, metavar="N", help="epochs with them")
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that make the features (default: 1)"
    )


def run(args: argparse.Namespace) -> int:
    """Train, calibrate, write the model, print its metrics."""
    from dataclasses import replace

    try:
        from edgelearn.pretrain.run import pretrain
        from edgelearn.pretrain.train import Recipe
    except ImportError as missing:
        raise EdgelearnError(f"pretraining needs {missing.name}", "pip install 'edgelearn[pretrain]'") from None

    if args.seed < 0:
        raise UsageError(f"--seed is {args.seed}", "it must be 0 or more")
    _check_place(args.out)
    recipe = replace(Recipe(), seed=args.seed)
    for field in ("float_epochs", "delta_epochs"):
        value = getattr(args, field)
        if value is not None:
            if value < 1:
                raise UsageError(f"--{field.replace('_', '-')} is {value}", "it must be at least 1")
            recipe = replace(recipe, **{field: value})
    if args.workers < 1:
        raise UsageError(f"--workers is {args.workers}", "it must be at least 1")
    started = time.monotonic()
    metrics = pretrain(args.data, args.out, recipe, args.workers, say)
    metrics["total_seconds"] = round(time.monotonic() - started, 1)
    if args.json:
        emit("pretrained", model=args.out, **metrics)
    else:
        table(["metric", ""], list(metrics.items()))
    return 0


def _check_place(out: Path) -> None:
    """Raise ModelFileError for a place that the model could not be written to hours later."""
    from edgelearn.store.model_file import read_model

    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK | os.X_OK):
        raise ModelFileError(f"{out.parent} is no folder that can be written", "make it first, or name another --out")
    if out.exists():
        read_model(out)  # what is no model is never replaced
