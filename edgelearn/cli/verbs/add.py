"""`edgelearn add`: teach a new word, by microphone or from recordings."""

from __future__ import annotations

import argparse
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import say
from edgelearn.errors import EdgelearnError, UsageError

if TYPE_CHECKING:
    from edgelearn.cli.appliance import Appliance
    from edgelearn.learning.learner import TeachReport

HELP = "Teach a new word from a few takes, spoken now or read from sound files; the network's own weights change."
MOST_TAKES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the word, where its takes come from, and the settings."""
    parser.add_argument("word", metavar="WORD", help="the name of the new word")
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
        parser, "audio.device", "audio.rate", "device.budget", "device.board", "learning.steps",
        "learning.max_old_loss_percent", "learning.seed",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Learn the word, save the model, and print what it took."""
    if not 1 <= args.takes <= MOST_TAKES:
        raise UsageError(f"--takes is {args.takes}", f"it must be from 1 to {MOST_TAKES}")
    if args.files and args.while_listening:
        raise UsageError("--from and --while-listening do not go together", "recordings need no microphone")
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
    print_added(fields, appliance.board.title, bool(args.json), "; `edgelearn undo` takes it back")
    return 0


def _from_files(appliance: Appliance, word: str, files: list[Path]) -> tuple[int, float, TeachReport]:
    from edgelearn.audio.clips import read_clip
    from edgelearn.learning.takes import take_from_clip

    device = appliance.device
    takes = [take_from_clip(read_clip(path), device.frontend, appliance.model.endpoint, path.name) for path in files]
    started = time.perf_counter()
    report = deque(device.teach(word, takes, appliance.learner_config), maxlen=1).pop()
    return len(takes), time.perf_counter() - started, report


def _from_microphone(appliance: Appliance, args: argparse.Namespace) -> tuple[int, float, TeachReport]:
    from edgelearn.cli.events import print_word
    from edgelearn.cli.sources import open_source
    from edgelearn.runtime.recognizer import Event
    from edgelearn.runtime.session import Session, TakeHeard, Taught

    session = Session(appliance.device, appliance.learner_config)
    session.ask_for(args.word, args.takes, aside=args.while_listening)
    gaps = 0
    with open_source("mic", appliance.settings.audio) as source:
        say(f"say {args.word!r} {args.takes} times, with a second of silence after each")
        for block in source:
            if source.gaps != gaps:
                gaps = source.gaps
                session.gap()
            for happening in session.push(block):
                if isinstance(happening, Taught):
                    return happening.takes, happening.seconds, happening.report
                if isinstance(happening, TakeHeard):
                    say(f"  {happening.problem}" if happening.problem else f"  heard; {happening.missing} to go")
                elif isinstance(happening, Event) and args.while_listening:
                    print_word(happening, args.json)
    raise EdgelearnError("the microphone ended before the word was learned", "nothing was changed")
