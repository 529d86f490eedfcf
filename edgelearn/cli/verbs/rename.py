"""`edgelearn rename`: give a word another name."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import open_model
from edgelearn.cli.output import emit, say

HELP = "Rename a word; what was learned of it stays."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two names."""
    parser.add_argument("word", metavar="WORD")
    parser.add_argument("new_name", metavar="NEW")


def run(args: argparse.Namespace) -> int:
    """Rename the word and save the model."""
    from edgelearn.runtime.model import save_model

    path, model = open_model(args)
    save_model(path, model.renamed(args.word, args.new_name))
    if args.json:
        emit("renamed", word=args.word, new_name=args.new_name)
    else:
        say(f"{args.word!r} is now {args.new_name!r}")
    return 0
