"""`edgelearn undo`: go back to the model before the last change."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import model_path
from edgelearn.cli.output import emit, say

HELP = "Take back the last change of the model (an added, renamed or removed word); a second undo takes that back."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the common flags are enough."""


def run(args: argparse.Namespace) -> int:
    """Swap the model with the generation before it."""
    from edgelearn.runtime.model import load_model
    from edgelearn.store.model_file import undo_model

    path = model_path(args)
    undo_model(path)
    model = load_model(path)
    words = [word.name for word in model.words]
    if args.json:
        emit("undone", words=words, last_change=model.history[-1] if model.history else None)
    else:
        say(f"back to: {', '.join(words)}")
    return 0
