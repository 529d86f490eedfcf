"""`edgelearn reject`: teach from a word that was just heard and not said."""

from __future__ import annotations

import argparse

from edgelearn.cli.lessons import add_lesson, last_of, learn

HELP = (
    "Teach from a false alarm of `edgelearn listen`: what was last heard as a word becomes an example of what that "
    "word is not, and what resembles it is no longer reported. A `listen` that is running with this model learns it "
    "while it listens."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what lessons share."""
    add_lesson(parser)


def run(args: argparse.Namespace) -> int:
    """Learn what the word is not, save the model, and print what it took."""
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.cli.remote import learning_flags, running_session, tell_session

    if (session := running_session(args)) is not None:
        tell_session(session, args, "reject", **learning_flags(args))
        return 0
    appliance = open_appliance(args)
    past = last_of(appliance, lambda past: past.heard != "", "heard as a word")
    lesson = appliance.device.reject(past.heard, past.frames, appliance.learner_config)
    learn(appliance, past.heard, past, lesson, bool(args.json))
    return 0
