"""`edgelearn remove`: forget a word."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, say

HELP = "Forget a word: it is no longer reported, and its takes leave the rehearsal memory."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the word and the device's memory."""
    parser.add_argument("word", metavar="WORD")
    add_settings(parser, "device.budget", "device.board")


def run(args: argparse.Namespace) -> int:
    """Remove the word and save the model."""
    from edgelearn.cli.appliance import open_appliance

    appliance = open_appliance(args)
    appliance.device.remove(args.word)
    appliance.save()
    if args.json:
        emit("removed", word=args.word)
    else:
        say(f"{args.word!r} is forgotten; `edgelearn undo` brings it back")
    return 0
