"""`edgelearn export`: the model as C for firmware, with the engine's sources, memory map and golden vectors."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgelearn.cli.arguments import add_settings, open_model
from edgelearn.cli.output import emit, say, table

HELP = (
    "Write the model as C for firmware: the sources of the engine, and headers with sizes, memory map, tables, model "
    "and golden vectors. The memory budget is that of the whole program: arena, other variables and stack."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the format, the folder and the budget."""
    parser.add_argument("--format", choices=["c"], required=True, help="c: C99 sources and headers")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="the folder to write to")
    add_settings(parser, "device.budget")


def run(args: argparse.Namespace) -> int:
    """Plan the device, and write it."""
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.device.sizes import format_size
    from edgelearn.errors import BudgetExceeded
    from edgelearn.firmware.export import export_c, firmware_device, sufficient_firmware_budget
    from edgelearn.firmware.golden import first_recording
    from edgelearn.runtime.rehearsed import script

    recordings = [first_recording([str(line.path) for line in script() if line.role == "base"])]
    try:
        appliance = open_appliance(args)
        listening = appliance.device.recognizer
        done = export_c(
            args.out,
            appliance.model,
            lambda: firmware_device(
                appliance.model, appliance.settings.device.budget_bytes, listening.bias_q14, listening.refractory_frames
            ),
            recordings,
        )
    except BudgetExceeded as error:
        enough = format_size(sufficient_firmware_budget(open_model(args)[1]))
        error.hint = f"as firmware this model listens and learns within {enough}: --budget {enough}"
        raise
    if args.json:
        for path in done.files:
            emit("file", path=str(path), bytes=path.stat().st_size)
        emit("summary", arena_bytes=done.arena_bytes, image_bytes=done.image_bytes, tape_frames=done.tape_frames)
    else:
        table(["file", "bytes"], [(str(path), path.stat().st_size) for path in done.files])
        say(
            f"arena {done.arena_bytes:,} bytes of RAM, model {done.image_bytes:,} bytes of flash; gradients reach back "
            f"over {done.tape_frames} frames"
        )
    return 0
