"""`edgelearn config show`: every setting, its value, and where that came from."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import add_settings, settings
from edgelearn.cli.output import emit, table
from edgelearn.config import KEYS, default_model
from edgelearn.device.sizes import format_size

HELP = "Show every setting and where its value comes from: flag, environment, file or default."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `show` and the flag of every setting."""
    parser.add_argument("action", choices=["show"], help="print the settings")
    add_settings(parser, *KEYS)


def run(args: argparse.Namespace) -> int:
    """Print one line a setting, and the path of the model."""
    current = settings(args)
    model, model_origin = (args.model, "flag --model") if args.model is not None else default_model()
    values = {name: current.value(name) for name in KEYS} | {"model": str(model)}
    origins = {**current.origins, "model": model_origin}
    if args.json:
        for name, value in values.items():
            emit("setting", key=name, value=value, origin=origins[name])
        return 0
    shown = {name: format_size(int(value)) if name == "device.budget" else value for name, value in values.items()}
    table(
        ["setting", "value", "from"],
        [(name, str(value) or '""', origins[name]) for name, value in shown.items()],
    )
    return 0
