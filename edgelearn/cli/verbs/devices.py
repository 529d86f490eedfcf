"""`edgelearn devices`: the microphones that PortAudio sees."""

from __future__ import annotations

import argparse

from edgelearn.cli.output import emit, say, table

HELP = "List the microphones; --device of other commands takes a number or a part of a name from this list."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the common flags are enough."""


def run(args: argparse.Namespace) -> int:
    """Print one line a microphone."""
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
