"""`edgelearn add`: teach a new word, by microphone or from recordings."""

from __future__ import annotations

import argparse
import base64
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings, undo_command, word_name
from edgelearn.cli.output import say
from edgelearn.errors import EdgelearnError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgelearn.audio.endpoint import EndpointConfig
    from edgelearn.audio.frontend import Frontend
    from edgelearn.cli.appliance import Appliance
    from edgelearn.learning.learner import TeachReport
    from edgelearn.runtime.control import Connection

HELP = (
    "Teach a new word from a few takes, spoken now or read from sound files; the network's own weights change. "
    "If `edgelearn listen` is running with this model, it learns the word while it listens, with its own microphone."
)
MOST_TAKES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the word, where its takes come from, and the settings."""
    parser.add_argument("word", metavar="WORD", type=word_name, help="the name of the new word")
    parser.add_argument(
        "--takes", type=int, default=5, metavar="N", help="takes to record (default: 5; 3 will do, 1 can)"
    )
    parser.add_argument(
        "--from", dest="files", nargs="+", type=Path, metavar="FILE", help="learn from these recordings"
    )
    parser.add_argument(
        "--while-listening", action="store_true", help="go on reporting words; what is heard as one is no take"
    )
    add_settings(
        parser, "audio.device", "audio.rate", "audio.channel", "device.budget", "device.board", "learning.steps",
        "learning.max_old_loss_percent", "learning.seed",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Learn the word, save the model, and print what it took."""
    if not 1 <= args.takes <= MOST_TAKES:
        raise UsageError(f"--takes is {args.takes}", f"it must be from 1 to {MOST_TAKES}")
    if args.files and args.while_listening:
        raise UsageError("--from and --while-listening do not go together", "recordings need no microphone")
    from edgelearn.cli.remote import running_session

    if (session := running_session(args)) is not None:
        _tell(session, args)
        return 0
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.cli.events import print_added

    appliance = open_appliance(args)
    appliance.device.check_new_word(args.word)
    appliance.device.warm_up()
    if args.files:
        takes, seconds, report = _from_files(appliance, args.word, args.files)
    else:
        takes, seconds, report = _from_microphone(appliance, args)
    appliance.save()
    fields = appliance.added_fields(args.word, takes, seconds, report)
    print_added(fields, appliance.board.title, bool(args.json), f"; `{undo_command(appliance.path)}` takes it back")
    return 0


def _tell(session: Connection, args: argparse.Namespace) -> None:
    """Let a running session learn the word."""
    from edgelearn.cli.remote import learning_flags, running_session, tell_session

    if args.files:
        session.close()  # it waits a few seconds for a request, and what follows may take longer
        frames = _encoded_takes(args)
        again = running_session(args)
        if again is None:
            raise EdgelearnError("the session that listens ended before this was done", "do it again")
        tell_session(again, args, "teach", word=args.word, frames=frames, **learning_flags(args))
    else:
        say(f"the running session learns it: say {args.word!r} {args.takes} times at its microphone, when asked to")
        tell_session(
            session, args, "add",
            word=args.word, takes=args.takes, aside=args.while_listening, **learning_flags(args),
        )  # fmt: skip


def _encoded_takes(args: argparse.Namespace) -> list[str]:
    """Return the takes of the recordings as a session is told of them: feature frames in base64."""
    from edgelearn.audio.frontend import Frontend, frontend_bytes
    from edgelearn.cli.arguments import open_model
    from edgelearn.device.arena import Arena
    from edgelearn.runtime.voice import SLACK_BYTES

    model = open_model(args)[1]
    frontend = Frontend(model.frontend, Arena(frontend_bytes(model.frontend) + SLACK_BYTES))
    takes = _takes(args.files, frontend, model.endpoint)
    return [base64.b64encode(take.tobytes()).decode() for take in takes]


def _takes(files: list[Path], frontend: Frontend, endpoint: EndpointConfig) -> list[NDArray[np.int8]]:
    from edgelearn.audio.clips import read_clip
    from edgelearn.learning.takes import take_from_clip

    return [take_from_clip(read_clip(path), frontend, endpoint, path.name) for path in files]


def _from_files(appliance: Appliance, word: str, files: list[Path]) -> tuple[int, float, TeachReport]:
    device = appliance.device
    takes = _takes(files, device.frontend, appliance.model.endpoint)
    started = time.perf_counter()
    report = deque(device.teach(word, takes, appliance.learner_config), maxlen=1).pop()
    return len(takes), time.perf_counter() - started, report


def _from_microphone(appliance: Appliance, args: argparse.Namespace) -> tuple[int, float, TeachReport]:
    import numpy as np

    from edgelearn.audio.level import dbfs
    from edgelearn.cli.guide import TAKE_HINT, PlainLines, typed_request, typing_descriptor
    from edgelearn.cli.live_teaching import COUNTDOWN_S
    from edgelearn.cli.sources import open_source
    from edgelearn.cli.take_player import TakePlayer
    from edgelearn.runtime.recognizer import Event
    from edgelearn.runtime.session import Countdown, Session, TakeHeard, Taught

    session = Session(appliance.device, appliance.learner_config)
    session.ask_for(args.word, args.takes, args.while_listening, COUNTDOWN_S)
    keyboard = typing_descriptor()
    gaps = 0
    lines = PlainLines(bool(args.json))
    with (
        open_source("mic", appliance.settings.audio, bool(args.json)) as source,
        TakePlayer(session.takes, lambda problem: lines.tell("play", {"problem": problem})) as player,
        lines,
    ):
        say(f"say {args.word!r} {args.takes} times, with a second of silence after each")
        if keyboard is not None:
            say(TAKE_HINT)
        for block in source:
            if source.gaps != gaps:
                gaps = source.gaps
                session.gap()
            request = typed_request(keyboard)
            if request == "redo" and session.takes.redo():
                lines.tell("take", {"problem": "", "missing": session.takes.missing, "redo": True})
            elif request == "play":
                player.play()
            player.follow()
            for happening in session.push(block):
                if isinstance(happening, Taught):
                    return happening.takes, happening.seconds, happening.report
                if isinstance(happening, TakeHeard):
                    lines.tell("take", {"problem": happening.problem, "missing": happening.missing, "redo": False})
                elif isinstance(happening, Countdown):
                    lines.tell("count", {"word": happening.word, "seconds": happening.seconds})
                elif isinstance(happening, Event) and args.while_listening:
                    lines.heard(happening)
            if len(block):
                lines.tell("level", {"dbfs": max(-99.0, dbfs(float(np.abs(block.astype(np.int32)).max())))})
    raise EdgelearnError("the microphone ended before the word was learned", "nothing was changed")
