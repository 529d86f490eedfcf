"""`edgelearn add`: teach a new word, by microphone or from recordings."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, say
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
        "--while-listening", action="store_true", help="report the words heard while recording and learning"
    )
    add_settings(
        parser, "audio.device", "audio.rate", "device.budget", "device.board", "learning.steps", "learning.max_old_loss_percent",
        "learning.seed",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Learn the word, save the model, and print what it took."""
    if not 1 <= args.takes <= MOST_TAKES:
        raise UsageError(f"--takes is {args.takes}", f"it must be from 1 to {MOST_TAKES}")
    if args.files and args.while_listening:
        raise UsageError("--from and --while-listening do not go together", "recordings need no microphone")
    from edgelearn.cli.appliance import open_appliance

    appliance = open_appliance(args)
    appliance.device.check_new_word(args.word)
    appliance.device.warm_up()
    if args.files:
        takes, seconds, report = _from_files(appliance, args.word, args.files)
    else:
        takes, seconds, report = _from_microphone(appliance, args)
    appliance.save()
    fields = appliance.added_fields(args.word, takes, seconds, report)
    if args.json:
        emit("added", **fields)
    else:
        print(summary(appliance, fields), flush=True)
    return 0


def summary(appliance: Appliance, fields: dict[str, object]) -> str:
    """Return what learning a word took, for a person."""
    f = fields
    saved = 1 - float(str(f["macs"])) / max(1.0, float(str(f["macs_dense"])))
    return (
        f"learned {f['word']!r} from {f['takes']} takes: {f['updates']} updates in {f['seconds']} s here, "
        f"{f['board_seconds']} s and {f['energy_mj']} mJ on {appliance.board.title} (estimate)\n"
        f"  {100 * float(str(f['sparsity'])):.0f} % of the deltas were skipped, {100 * saved:.0f} % of the multiplications saved; "
        f"memory {f['peak_bytes']:,} of {f['budget_bytes']:,} bytes\n"
        f"  old words on their exemplars: {100 * float(str(f['old_words_before'])):.0f} % before, "
        f"{100 * float(str(f['old_words_after'])):.0f} % after; `edgelearn undo` takes it back"
    )


def _from_files(appliance: Appliance, word: str, files: list[Path]) -> tuple[int, float, TeachReport]:
    from edgelearn.audio.clips import read_clip
    from edgelearn.learning.learner import TeachReport
    from edgelearn.learning.takes import take_from_clip

    device = appliance.device
    takes = [take_from_clip(read_clip(path), device.frontend, appliance.model.endpoint, path.name) for path in files]
    report = TeachReport()
    started = time.perf_counter()
    for report in device.teach(word, takes, appliance.learner_config):
        pass
    return len(takes), time.perf_counter() - started, report


def _from_microphone(appliance: Appliance, args: argparse.Namespace) -> tuple[int, float, TeachReport]:
    from edgelearn.cli.sources import open_source
    from edgelearn.cli.verbs.listen import report as report_event
    from edgelearn.runtime.recognizer import Event
    from edgelearn.runtime.session import Session, TakeHeard, Taught

    session = Session(appliance.device, appliance.learner_config)
    session.ask_for(args.word, args.takes)
    say(f"say {args.word!r} {args.takes} times, with a second of silence after each")
    gaps = 0
    with open_source("mic", appliance.settings.audio) as source:
        for block in source:
            if source.gaps != gaps:
                gaps = source.gaps
                appliance.device.recognizer.gap()
            for happening in session.push(block):
                if isinstance(happening, Taught):
                    return happening.takes, happening.seconds, happening.report
                if isinstance(happening, TakeHeard):
                    say(f"  {happening.problem}" if happening.problem else f"  heard; {happening.missing} to go")
                elif isinstance(happening, Event) and args.while_listening:
                    report_event(happening, args.json)
    raise EdgelearnError("the microphone ended before the word was learned", "nothing was changed")
