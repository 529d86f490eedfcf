"""`edgelearn config show`: every setting, its value, and where that came from."""

from __future__ import annotations

import argparse
import json

from edgelearn.cli.arguments import add_settings, settings
from edgelearn.cli.output import emit, table
from edgelearn.config import KEYS, default_model
from edgelearn.device.sizes import format_size
from edgelearn.values import Plain

HELP = "Show every setting and where its value comes from: flag, environment, file or default."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `show` and the flag of every setting."""
    parser.add_argument("action", choices=["show"], help="print the settings")
    add_settings(parser, *KEYS)


def run(args: argparse.Namespace) -> int:
    """Print one line a setting, and the path of the model."""
    current = settings(args)
    model, model_origin = (args.model, "flag --model") if args.model is not None else default_model()
    values = {name: current.value(name) for name in current.origins} | {"model": str(model)}
    origins = {**current.origins, "model": model_origin}
    if args.json:
        for name, value in values.items():
            emit("setting", key=name, value=value, origin=origins[name])
        return 0
    table(
        ["setting", "value", "from"],
        [(name, _shown(name, value), origins[name]) for name, value in values.items()],
    )
    return 0


def _shown(name: str, value: Plain) -> str:
    """Return a value as a settings file would have it, with sizes in their largest unit."""
    if name == "device.budget":
        return format_size(int(str(value)))
    if isinstance(value, tuple):
        return "[" + ", ".join(map(json.dumps, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'
