"""`edgelearn confirm`: teach from a word that was just missed."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import word_name
from edgelearn.cli.lessons import add_lesson, last_of, learn

HELP = (
    "Teach from what `edgelearn listen` just missed: the last utterance that was not heard as WORD becomes one more "
    "take of it. A `listen` that is running with this model learns it while it listens."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the word and what lessons share."""
    parser.add_argument("word", metavar="WORD", type=word_name, help="the word that was said")
    add_lesson(parser)


def run(args: argparse.Namespace) -> int:
    """Learn the utterance as a take of the word, save the model, and print what it took."""
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.cli.remote import learning_flags, running_session, tell_session

    if (session := running_session(args)) is not None:
        tell_session(session, args, "confirm", word=args.word, **learning_flags(args))
        return 0
    appliance = open_appliance(args)
    appliance.model.word(args.word)
    past = last_of(appliance, lambda past: past.heard != args.word, f"anything else than {args.word!r}")
    lesson = appliance.device.confirm(args.word, past.frames, appliance.learner_config)
    learn(appliance, args.word, past, lesson, bool(args.json))
    return 0
