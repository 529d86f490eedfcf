"""`edgelearn devices`: the microphones that PortAudio sees, and how loud one of them is."""

from __future__ import annotations

import argparse
import sys

from edgelearn.cli.arguments import add_settings, settings
from edgelearn.cli.output import emit, say, table

HELP = (
    "List the microphones; --device of other commands takes a number or a part of a name from this list. "
    "With --test, listen to one of them for three seconds and say whether its level will do."
)
TEST_SECONDS = 3.0
METER_WIDTH = 40
METER_RANGE_DB = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the test, and which microphone it is of."""
    parser.add_argument("--test", action="store_true", help="measure the level of a microphone")
    add_settings(parser, "audio.device", "audio.rate", "audio.channel")


def run(args: argparse.Namespace) -> int:
    """Print one line a microphone, or the level of one."""
    if args.test:
        return _test(args)
    from edgelearn.audio.capture import list_inputs

    devices = list_inputs()
    if args.json:
        for device in devices:
            emit(
                "device",
                index=device.index,
                name=device.name,
                host_api=device.host_api,
                channels=device.channels,
                rate_hz=device.rate_hz,
                default=device.is_default,
            )
    elif devices:
        table(
            ["number", "name", "system", "channels", "rate Hz", ""],
            [
                (d.index, d.name, d.host_api, d.channels, str(d.rate_hz), "default" if d.is_default else "")
                for d in devices
            ],
        )
    if not devices:
        say("no microphone is connected; `edgelearn listen --input FILE` and `--input -` work without one")
    return 0


def _test(args: argparse.Namespace) -> int:
    from edgelearn.audio.capture import PROBLEMS, Microphone
    from edgelearn.audio.level import dbfs, measure

    audio = settings(args).audio
    with Microphone(audio.device, audio.rate_hz, audio.channel) as microphone:
        say(f"{microphone.device.name}: say something, for {TEST_SECONDS:.0f} seconds")
        live = sys.stderr.isatty()
        level = measure(microphone, TEST_SECONDS, _show_meter if live else lambda _: None)
        if live:
            say()
    message, advice = PROBLEMS.get(level.problem, ("has a good level", ""))
    if args.json:
        emit(
            "level", index=microphone.device.index, name=microphone.device.name, rate_hz=microphone.rate_hz,
            seconds=level.seconds, peak_dbfs=round(dbfs(level.peak), 1), rms_dbfs=round(dbfs(level.rms), 1),
            clipped=round(level.clipped, 4), overruns=microphone.overruns, problem=level.problem, advice=advice,
        )  # fmt: skip
    else:
        print(
            f"{microphone.device.name} {message}: peak {dbfs(level.peak):.0f} dB, mean {dbfs(level.rms):.0f} dB "
            f"of full scale, at {microphone.rate_hz} Hz" + (f"\n  {advice}" if advice else ""),
            flush=True,
        )
    return 0


def _show_meter(peak: int) -> None:
    from edgelearn.audio.level import dbfs

    filled = round(METER_WIDTH * max(0.0, 1 + dbfs(peak) / METER_RANGE_DB))
    print(f"\r[{'#' * filled:{METER_WIDTH}}]", end="", file=sys.stderr, flush=True)
