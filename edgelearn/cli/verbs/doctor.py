"""`edgelearn doctor`: what is wrong on this machine, and how to mend it."""

from __future__ import annotations

import argparse
import textwrap
from collections import Counter

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, say

HELP = (
    "Look at system, Python, PortAudio, microphones, settings, model, compiled kernels, speed, memory and heat, and "
    "say what to do about what is wrong. It listens to the microphone for two seconds and changes nothing."
)
NAME_WIDTH = 14
LINE_WIDTH = 79


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which microphone is looked at."""
    add_settings(parser, "audio.device", "audio.rate", "audio.channel")


def run(args: argparse.Namespace) -> int:
    """Print one line a check; 1 if one has failed."""
    from edgelearn.cli.checks import all_checks

    statuses: Counter[str] = Counter()
    for check in all_checks(args):
        statuses[check.status] += 1
        if args.json:
            emit("check", name=check.name, status=check.status, detail=check.detail, advice=check.advice)
        else:
            print(_line(check.status, check.name, check.detail), flush=True)
            if check.advice:
                print(_line("", "", f"-> {check.advice}"), flush=True)
    say(f"{statuses['fail']} failed, {statuses['warn']} warnings, {statuses['ok']} fine")
    return 1 if statuses["fail"] else 0


def _line(status: str, name: str, text: str) -> str:
    """Return one check as text: name and status stand in columns, the rest is wrapped beside them."""
    head = f"{status:5}{name:{NAME_WIDTH}}"
    return textwrap.fill(
        text, LINE_WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
