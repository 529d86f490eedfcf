"""Telling the session that listens with a model to do something, from another terminal."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgelearn.cli.arguments import model_path, settings
from edgelearn.cli.guide import TAKE_HINT, PlainLines, typed_request, typing_descriptor
from edgelearn.cli.output import say
from edgelearn.errors import EdgelearnError
from edgelearn.runtime.control import Connection, connect

ANSWER_S = 10.0  # a session answers between two blocks of sound
ENDINGS = ("added", "undone", "removed", "renamed")


def running_session(args: argparse.Namespace) -> Connection | None:
    """Return a connection to the session that listens with the model of a command line, None if there is none."""
    settings(args)  # a mistake in them is told, whoever makes the change
    return connect(Path(model_path(args)))


def tell_session(session: Connection, args: argparse.Namespace, do: str, **fields: Any) -> None:
    """Have a session do something, and print what it tells until that is done; raises the error that it tells."""
    lines = PlainLines(bool(args.json))
    keyboard = typing_descriptor() if do == "add" else None
    if keyboard is not None:
        say(TAKE_HINT)
    try:
        session.ask(do, **fields)
        with lines:
            for reply in session.replies(ANSWER_S, keyboard):
                if reply is None:
                    if request := typed_request(keyboard):
                        session.ask(request)
                elif reply["event"] == "error":
                    raise _error(reply)
                else:
                    event = str(reply.pop("event"))
                    lines.tell(event, reply)
                    if event in ENDINGS:
                        return
    finally:
        session.close()
    raise EdgelearnError("the session that listens ended before this was done", "do it again")


def learning_flags(args: argparse.Namespace) -> dict[str, object]:
    """Return how to learn, as far as the command line says; for the rest the session's own settings hold."""
    learning = settings(args).learning
    names = ("steps", "max_old_loss_percent", "seed")
    return {name: getattr(learning, name) for name in names if getattr(args, f"learning.{name}", None) is not None}


def _error(reply: dict[str, Any]) -> EdgelearnError:
    error = EdgelearnError(str(reply.get("message", "")), str(reply.get("hint", "")))
    error.exit_code = int(reply.get("exit_code", EdgelearnError.exit_code))
    return error
