"""The verbs of the command line.

A verb is one module with the verb's name, imported only when it is typed: HELP (a sentence or more),
add_arguments(parser), run(args) -> exit code.  A verb of the table without a module is planned, and says so
when it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
from argparse import ArgumentParser, Namespace
from typing import Protocol, cast

from edgelearn import __version__
from edgelearn.errors import UsageError

VERBS = {
    "demo": "the whole loop on shipped recordings: listen, add a word, hear it",
    "listen": "report the words in a microphone, a file or a stream",
    "add": "teach a new word, by microphone or from files",
    "confirm": "teach from a word that was just missed",
    "reject": "teach from a word that was just heard and not said",
    "words": "list the words",
    "rename": "rename a word",
    "remove": "forget a word",
    "undo": "take back the last change of the model",
    "info": "what is in the model file, and where it came from",
    "devices": "list the microphones",
    "doctor": "what is wrong on this machine and how to mend it",
    "profile": "memory map, time and energy on a board, what fits a budget",
    "evaluate": "accuracy, forgetting and false alarms on your own data",
    "pretrain": "train a base model on a workstation",
    "export": "the model as C for firmware",
    "bench": "speed of this machine, and against other runtimes",
    "wyoming": "wake words for Home Assistant",
    "service": "start with the machine, under systemd",
    "config": "show every setting and where its value comes from",
}


class Verb(Protocol):
    """What a verb's module looks like from outside."""

    HELP: str

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add the verb's own arguments."""

    def run(self, args: Namespace) -> int:
        """Do it, and return the exit code."""


def exists(verb: str) -> bool:
    """Return whether the verb has a module, without importing it."""
    return importlib.util.find_spec(f"{__name__}.{verb}") is not None


def load(verb: str) -> Verb:
    """Import and return the module of a verb of the table; raises UsageError if there is none yet."""
    if not exists(verb):
        raise UsageError(
            f"`edgelearn {verb}` is not there yet in version {__version__}",
            "`edgelearn --help` marks what is missing",
        )
    return cast(Verb, importlib.import_module(f"{__name__}.{verb}"))
