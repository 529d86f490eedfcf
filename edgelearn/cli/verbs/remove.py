"""`edgelearn remove`: forget a word."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import add_settings, undo_command, word_name

HELP = "Forget a word: it is no longer reported, and the takes of a taught word leave the rehearsal memory."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the word and the device's memory."""
    parser.add_argument("word", metavar="WORD", type=word_name)
    add_settings(parser, "device.budget", "device.board")


def run(args: argparse.Namespace) -> int:
    """Remove the word and save the model."""
    from edgelearn.cli.remote import running_session, tell_session

    if (session := running_session(args)) is not None:
        tell_session(session, args, "remove", word=args.word)
        return 0
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.cli.events import print_removed
    from edgelearn.cli.lessons import follow_words

    appliance = open_appliance(args)
    appliance.device.remove(args.word)
    appliance.save()
    follow_words(appliance.path, appliance.model)
    print_removed({"word": args.word}, bool(args.json), undo_command(appliance.path))
    return 0
