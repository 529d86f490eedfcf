"""The frame of the command line: finds the verb, and turns every error into one message and an exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from edgelearn import __version__
from edgelearn.cli.arguments import Parser, add_common
from edgelearn.cli.output import say
from edgelearn.cli.verbs import VERBS, exists, load
from edgelearn.errors import EdgelearnError, UsageError

INTERRUPTED = 130  # what shells expect of a program that Ctrl-C ended

EPILOG = """\
exit codes:
  0 done   1 failed   2 usage, settings or input file   3 audio device   4 model file   5 memory budget

`edgelearn VERB --help` shows a verb's options.  EDGELEARN_DEBUG=1 shows tracebacks."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: this process's own) and return its exit code."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by who started this: what would go there goes nowhere else
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the end
    if hasattr(sys.stdout, "reconfigure"):
        # a file name or a word that the terminal has no letters for is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    return guarded("edgelearn", lambda: _run(list(sys.argv[1:] if argv is None else argv)))


def guarded(program: str, run: Callable[[], int]) -> int:
    """Return the exit code of `run`, or that of the error that ended it, told in one message."""
    try:
        code = run()
        print(end="", flush=True)
    except EdgelearnError as error:
        _show_traceback_if_asked()
        say(f"{program}: {error}")
        code = error.exit_code
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # the reader, such as `head`, has all it wanted; Python would complain again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except OSError as error:
        _show_traceback_if_asked()
        say(f"{program}: {error.strerror or error}" + (f": {error.filename}" if error.filename else ""))
        code = 1
    except Exception as error:
        _show_traceback_if_asked()
        say(
            f"{program}: unexpected {type(error).__name__}: {error}\n"
            "  this is a bug: please report it as CONTRIBUTING.md says, with what EDGELEARN_DEBUG=1 shows"
        )
        code = 1
    return code


def _run(argv: list[str]) -> int:
    parser = _overview()
    if not argv:
        parser.print_help(sys.stderr)
        return UsageError.exit_code
    verb = argv[0]
    try:
        if verb.startswith("-"):
            parser.parse_known_or_refuse(argv)
        if verb not in VERBS:
            from edgelearn.device.configfile import did_you_mean

            raise UsageError(f"no such command: {verb!r}", did_you_mean(verb, VERBS))
        module = load(verb)
        verb_parser = Parser(prog=f"edgelearn {verb}", description=module.HELP)
        module.add_arguments(verb_parser)
        add_common(verb_parser)
        args = verb_parser.parse_known_or_refuse(argv[1:])
    except SystemExit:  # --help and --version have printed what they have to say
        return 0
    args.verb = verb
    return module.run(args)


def _overview() -> Parser:
    width = max(map(len, VERBS))
    lines = [f"  {verb:{width}}  {text}{'' if exists(verb) else ' (not there yet)'}" for verb, text in VERBS.items()]
    parser = Parser(
        prog="edgelearn",
        usage="edgelearn VERB [options]",
        description="Teach a small device new spoken words, offline.\n\nverbs:\n" + "\n".join(lines),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgelearn {__version__}")
    return parser


def _show_traceback_if_asked() -> None:
    if os.environ.get("EDGELEARN_DEBUG"):
        import traceback

        traceback.print_exc()
