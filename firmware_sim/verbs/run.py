"""`python -m firmware_sim run`: the device as a machine, through a script; deadlines, energy, flash, power cuts."""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace
from pathlib import Path

from edgelearn.audio.clips import read_clip
from edgelearn.cli.output import say
from edgelearn.cli.plot import PAGE, check_format
from edgelearn.device.board import load_board
from edgelearn.device.sizes import parse_size
from edgelearn.errors import UsageError
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import BASE_MODEL, load_model
from firmware_sim.machine_loop import Machine, MachineConfig
from firmware_sim.machine_report import emit_report, plot_report, print_report
from firmware_sim.scenario import LONGEST_S, SAMPLE_RATE_HZ, Scenario, Sound, load_scenario

HELP = (
    "Run the device on a virtual clock: microphone, main loop, learning in slices, sleep, flash and power cuts. It "
    "says whether a deadline of listening was missed, and by how much, and what the energy went on."
)
LONGEST_PLOT_CELLS = 4000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the board, the sound, the script and the slices."""
    parser.add_argument("--board", default="stm32u575", help="a board of configs/boards, or a .toml file")
    parser.add_argument(
        "--audio", type=Path, metavar="FILE", help="what is to be heard, over and over (default: a quiet room)"
    )
    parser.add_argument("--script", type=Path, metavar="FILE", help="a .toml file: what happens when")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="length of the run (default: the script's, or --audio's)"
    )
    parser.add_argument("--model", type=Path, metavar="PATH", help="the model in flash (default: the shipped one)")
    parser.add_argument("--budget", default="256KiB", metavar="SIZE", help="SRAM of the device (default: 256KiB)")
    parser.add_argument("--steps", type=int, default=LearnerConfig().steps, help="gradient steps for a word")
    parser.add_argument(
        "--returns",
        choices=("piece", "call", "step"),
        default="piece",
        help="how much learning is done before it may return to the main loop (default: piece)",
    )
    parser.add_argument(
        "--slice-us", type=float, default=1000.0, metavar="US", help="with pieces: a slice of them (default: 1000)"
    )
    parser.add_argument("--worst", action="store_true", help="take the high end of every figure of the board")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw power over time and energy (needs matplotlib)")
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of tables")


def run(args: argparse.Namespace) -> int:
    """Run the machine and print its report; 1 if a deadline was missed."""
    if not 0 <= args.slice_us < math.inf or not 1 <= args.steps <= 100_000:
        raise UsageError("--slice-us takes 0 or more, --steps 1 to 100000")
    if args.plot is not None:
        if args.plot.suffix == PAGE:
            raise UsageError(f"cannot draw {args.plot}", "name a .png, .svg or .pdf file")
        check_format(args.plot)
    background = read_clip(args.audio) if args.audio is not None else None
    scenario = load_scenario(args.script) if args.script is not None else Scenario(0.0)
    heard_s = len(background) / SAMPLE_RATE_HZ if background is not None else 0.0
    seconds = scenario.seconds or heard_s if args.seconds is None else args.seconds
    if not 0 < seconds <= LONGEST_S:
        raise UsageError("how long is the run?", "give --seconds, up to a day, or --script or --audio")
    scenario = replace(scenario, seconds=seconds)
    timeline_ms = 20 * max(1, math.ceil(seconds * 50 / LONGEST_PLOT_CELLS))
    config = MachineConfig(parse_size(args.budget), args.returns, args.slice_us, args.worst, timeline_ms)
    model, board = load_model(args.model or BASE_MODEL), load_board(args.board)
    started = time.perf_counter()
    machine = Machine(model, board, scenario, Sound(scenario, background), LearnerConfig(steps=args.steps), config)
    tally = machine.run()
    speed = seconds / (time.perf_counter() - started)
    (emit_report if args.json else print_report)(machine, speed)
    if args.plot is not None:
        plot_report(args.plot, machine)
        say(f"drawn: {args.plot}")
    return 1 if tally.missed else 0
