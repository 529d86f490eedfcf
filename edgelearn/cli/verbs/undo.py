"""`edgelearn undo`: go back to the model before the last change."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import model_path

HELP = (
    "Take back the last change of the model (an added, renamed or removed word); a second undo takes that back. "
    "A `listen` that is running with this model goes back with it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the common flags are enough."""


def run(args: argparse.Namespace) -> int:
    """Swap the model with the generation before it."""
    from edgelearn.cli.remote import running_session, tell_session

    if (session := running_session(args)) is not None:
        tell_session(session, args, "undo")
        return 0
    from edgelearn.cli.events import print_undone
    from edgelearn.cli.lessons import follow_words
    from edgelearn.runtime.model import go_back

    path = model_path(args)
    model = go_back(path)
    follow_words(path, model)
    last_change = model.history[-1] if model.history else None
    print_undone({"words": [word.name for word in model.words], "last_change": last_change}, bool(args.json))
    return 0
