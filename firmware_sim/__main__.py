"""`python -m firmware_sim VERB`: finds the verb; errors end it as they end `edgelearn`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from edgelearn.cli.arguments import Parser
from edgelearn.cli.main import guarded
from edgelearn.errors import UsageError
from firmware_sim.verbs import VERBS


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's own) and return its exit code."""
    return guarded("firmware_sim", lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def _run(argv: list[str]) -> int:
    try:
        if argv and argv[0] in VERBS:
            module = importlib.import_module(f"firmware_sim.verbs.{argv[0]}")
            parser = Parser(prog=f"python -m firmware_sim {argv[0]}", description=module.HELP)
            module.add_arguments(parser)
            return int(module.run(parser.parse_known_or_refuse(argv[1:])))
        overview = Parser(
            prog="python -m firmware_sim", description="The device that edgelearn is made for, simulated."
        )
        verbs = overview.add_subparsers(metavar="VERB", required=True)
        for verb, about in VERBS.items():
            verbs.add_parser(verb, help=about)
        overview.parse_args(argv)
    except SystemExit:  # --help has printed what it has to say
        return 0
    raise UsageError("no verb was given")


if __name__ == "__main__":
    sys.exit(main())
