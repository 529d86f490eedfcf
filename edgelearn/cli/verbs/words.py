"""`edgelearn words`: the vocabulary and its provenance."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from edgelearn.cli.arguments import open_model
from edgelearn.cli.output import emit, table

HELP = "List the words: taught or shipped, from how many takes, since when, at which threshold."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the common flags are enough."""


def run(args: argparse.Namespace) -> int:
    """Print one line a word."""
    _, model = open_model(args)
    if args.json:
        for word in model.words:
            fields = asdict(word)
            name = fields.pop("name")
            emit("vocabulary", word=name, **(fields | {"threshold": word.threshold_q14 / 16384}))
    else:
        table(
            ["word", "origin", "takes", "updates", "since", "threshold"],
            [
                (
                    w.name,
                    "taught" if w.taught else "shipped",
                    w.takes or None,
                    w.updates or None,
                    w.added or None,
                    w.threshold_q14 / 16384,
                )
                for w in model.words
            ],
        )
    return 0
