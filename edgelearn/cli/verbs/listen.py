"""`edgelearn listen`: the words in a microphone, a file or a stream."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, say
from edgelearn.errors import UsageError

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event

HELP = "Report the words in a sound file, in raw 16 kHz samples on stdin, or at a microphone; the same sound gives the same events."


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
        "device.budget",
        "device.board",
        "decision.sensitivity",
        "decision.refractory_ms",
    )


def run(args: argparse.Namespace) -> int:
    """Listen until the sound ends or Ctrl-C, then print what was done."""
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.cli.sources import open_source
    from edgelearn.runtime.recognizer import Event
    from edgelearn.runtime.session import SAMPLE_RATE_HZ, Session

    command = _command(args.exec)
    appliance = open_appliance(args)
    appliance.device.warm_up()  # nothing compiles while a stream is open
    session = Session(appliance.device, appliance.learner_config)
    recognizer = appliance.device.recognizer
    busy = 0.0
    running: subprocess.Popen[bytes] | None = None
    gaps = 0
    with open_source(args.input, appliance.settings.audio) as source:
        if source.live:
            say(f"listening for {', '.join(word.name for word in recognizer.words)} (Ctrl-C ends it)")
        try:
            for block in source:
                if source.gaps != gaps:
                    gaps = source.gaps
                    recognizer.gap()
                started = time.perf_counter()
                happened = session.push(block)
                busy += time.perf_counter() - started
                for event in happened:
                    if isinstance(event, Event):
                        report(event, args.json)
                        running = _act(command, event, running)
        except KeyboardInterrupt:
            say("")
        started = time.perf_counter()
        samples = session.samples
        happened = session.finish()
        busy += time.perf_counter() - started
        for event in happened:
            if isinstance(event, Event):
                report(event, args.json)
                running = _act(command, event, running)
        gaps = source.gaps
    if running is not None:
        running.wait()
    seconds = samples / SAMPLE_RATE_HZ
    factor = busy / seconds if seconds else 0.0
    energy = appliance.energy_mj(recognizer.counts)
    if args.json:
        emit(
            "end", frames=recognizer.frames, overruns=gaps, realtime_factor=round(factor, 5), energy_mj=round(energy, 4),
            seconds=round(seconds, 3), sparsity=round(recognizer.counts.sparsity, 4), board=appliance.board.name,
        )  # fmt: skip
    else:
        say(
            f"{seconds:.1f} s of sound, {recognizer.frames} frames, {gaps} overruns, real-time factor {factor:.4f}, "
            f"{energy:.3g} mJ of computing on {appliance.board.title} (estimate)"
        )
    return 0


def report(event: Event, as_json: bool) -> None:
    """Print a word that was heard."""
    if as_json:
        emit("word", **(asdict(event) | {"score": round(event.score, 4)}))
    else:
        print(
            f"{event.start_s:9.2f} s  {event.word:16} score {event.score:.2f}  sparsity {100 * event.sparsity:.0f} %",
            flush=True,
        )


def _command(text: str | None) -> list[str]:
    if not text:
        return []
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"--exec {text!r}: {error}", "quote it as for a shell") from None


def _act(command: list[str], event: Event, running: subprocess.Popen[bytes] | None) -> subprocess.Popen[bytes] | None:
    """Start the command for a word, unless the last one still runs; a failure is told and harms nothing."""
    if not command:
        return running
    if running is not None and running.poll() is None:
        say(f"{command[0]} is still running: not started again")
        return running
    environment = os.environ | {"EDGELEARN_WORD": event.word, "EDGELEARN_SCORE": f"{event.score:.4f}"}
    try:
        return subprocess.Popen(command, env=environment, stdout=2)
    except OSError as error:
        say(f"cannot run {command[0]}: {error.strerror}")
        return None
