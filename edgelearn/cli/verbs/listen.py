"""`edgelearn listen`: the words in a microphone, a file or a stream."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from edgelearn.cli.arguments import add_settings, settings
from edgelearn.cli.output import emit, say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgelearn.cli.appliance import Appliance
    from edgelearn.cli.listening import Terminal
    from edgelearn.cli.sources import Source
    from edgelearn.runtime.control import ControlServer
    from edgelearn.runtime.session import Session

HELP = (
    "Report the words in a sound file, in raw 16 kHz samples on stdin, or at a microphone; "
    "the same sound gives the same events. With a microphone or stdin, `edgelearn add` and the other verbs that change "
    "words, typed in another terminal, change the running session too."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the source, the action and the settings."""
    parser.add_argument(
        "--input",
        default="mic",
        metavar="mic|FILE|-",
        help="the sound (default: mic; - is raw 16-bit 16 kHz mono on stdin)",
    )
    parser.add_argument(
        "--exec", metavar="CMD", help="run this for each word, without a shell; EDGELEARN_WORD and _SCORE tell which"
    )
    add_settings(
        parser,
        "audio.device",
        "audio.rate",
        "audio.channel",
        "device.budget",
        "device.board",
        "decision.sensitivity",
        "decision.refractory_ms",
    )


def run(args: argparse.Namespace) -> int:
    """Listen until the sound ends or Ctrl-C, then print what was done."""
    from edgelearn.cli.action import actions_of, say_unheard
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.cli.listening import LEARNING_SHARE, Listening
    from edgelearn.cli.sources import open_source
    from edgelearn.runtime.session import Session

    live = args.input in ("mic", "-")
    with ExitStack() as stack:
        actions = stack.enter_context(actions_of(args.exec, settings(args).actions, patient=not live))
        appliance = open_appliance(args)
        server = stack.enter_context(_control(appliance.path)) if live else None
        say_unheard(actions, [word.name for word in appliance.model.words])
        appliance.device.warm_up()  # nothing compiles while a stream is open
        source = stack.enter_context(open_source(args.input, appliance.settings.audio, bool(args.json)))
        session = Session(appliance.device, appliance.learner_config, share=LEARNING_SHARE if live else None)
        terminal = _terminal(appliance, session, source, bool(args.json))
        if source.live:
            words = ", ".join(word.name for word in appliance.model.words if not word.rejects)
            say(f"listening for {words or 'nothing: the model has no words'} (Ctrl-C ends it)")
        listening = Listening(appliance, session, source, actions, terminal, server)
        listening.run()
        with suppress(KeyboardInterrupt):  # there is nothing left that it would cut short
            _print_end(listening.summary(), appliance.board.title, bool(args.json))
            actions.wait()
    return 0


def _print_end(fields: dict[str, Any], board: str, as_json: bool) -> None:
    """Print what was done."""
    if as_json:
        emit("end", **fields)
        return
    away = f"microphone lost {fields['reopens']} times, " * (fields["reopens"] > 0)
    say(
        f"{fields['seconds']:.1f} s of sound, {fields['frames']} frames, {fields['overruns']} overruns, {away}"
        f"real-time factor {fields['realtime_factor']:.4f}, "
        f"{fields['energy_mj']:.3g} mJ of computing on {board} (estimate)"
    )


@contextmanager
def _control(model: Path) -> Iterator[ControlServer | None]:
    """Open the control socket of this session; without a place for it, the session does without, and says so."""
    from edgelearn.runtime.control import ControlServer

    try:
        server = ControlServer(model)
    except OSError as error:
        say(f"`edgelearn add` in another terminal cannot reach this session: {error.strerror or error}")
        yield None
        return
    try:
        yield server
    finally:
        server.close()


def _terminal(appliance: Appliance, session: Session, source: Source, as_json: bool) -> Terminal:
    """Return the live view where a person looks at it, else plain lines."""
    from edgelearn.cli.guide import PlainLines

    watched = source.live and not as_json and sys.stdout.isatty() and sys.stderr.isatty()
    if not watched or os.environ.get("TERM", "dumb") == "dumb":
        return PlainLines(as_json, guided=False)
    if importlib.util.find_spec("rich") is None:
        say("a live view of the session needs one more package: pip install 'edgelearn[live]'")
        return PlainLines(as_json, guided=False)
    from edgelearn.cli.live_view import LiveView

    return LiveView(appliance, session, source)
