"""`edgelearn rename`: give a word another name."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import open_model, word_name

HELP = "Rename a word; what was learned of it stays."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the two names."""
    parser.add_argument("word", metavar="WORD", type=word_name)
    parser.add_argument("new_name", metavar="NEW", type=word_name)


def run(args: argparse.Namespace) -> int:
    """Rename the word and save the model."""
    from edgelearn.cli.remote import running_session, tell_session

    if (session := running_session(args)) is not None:
        tell_session(session, args, "rename", word=args.word, new_name=args.new_name)
        return 0
    from edgelearn.cli.events import print_renamed
    from edgelearn.cli.lessons import follow_words
    from edgelearn.runtime.model import save_model

    path, model = open_model(args)
    model = save_model(path, model.renamed(args.word, args.new_name))
    follow_words(path, model, (args.word, args.new_name))
    print_renamed({"word": args.word, "new_name": args.new_name}, bool(args.json))
    return 0
