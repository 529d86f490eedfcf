"""`edgelearn profile`: the memory map against the budget, and time and energy on a board, from counts of real runs."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, table

if TYPE_CHECKING:
    from edgelearn.engine.counts import Counts
    from edgelearn.runtime.voice import VoiceDevice

HELP = "Show the memory map against the budget, and what a second of speech and a learned word cost on a board (estimates)."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the board and the budget."""
    add_settings(parser, "device.board", "device.budget", "learning.steps", "learning.seed")


def run(args: argparse.Namespace) -> int:
    """Run the device on the exemplars of its own rehearsal memory, and price what was counted."""
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.device.cost import cost, mean_power
    from edgelearn.device.plan import fit_board

    appliance = open_appliance(args)
    device, board = appliance.device, appliance.board
    steps = appliance.learner_config.steps
    heard = listening_counts(device)
    lesson = device.learner.rehearse(steps)
    a_second = device.frontend.config.frame_rate_hz / max(1, heard.frames)
    arena = device.arena
    fit = fit_board(arena.regions, board)
    parts = arena.parts()
    if args.json:
        for region in arena.regions:
            emit(
                "region",
                name=region.name,
                size_bytes=region.size_bytes,
                offset=region.offset,
                dtype=region.dtype,
                shape=region.shape,
            )
        emit("region", name="(padding)", size_bytes=sum(region.padding_bytes for region in arena.regions))
    else:
        print(arena.report())
        print()
    for what, counts, share in (("speech_second", heard, a_second), ("learned_word", lesson, 1.0)):
        spent = cost(counts, board) * share
        if args.json:
            for part in spent.breakdown:
                emit("cost", what=what, part=part.name, cycles=part.cycles.value, energy_mj=part.joules.value * 1e3)
            emit(
                "cost", what=what, part="total", cycles=spent.cycles, seconds=spent.seconds, energy_mj=spent.joules * 1e3,
                energy_mj_low=spent.joules_range.low * 1e3, energy_mj_high=spent.joules_range.high * 1e3,
                sparsity=counts.sparsity, macs=counts.macs_forward + counts.macs_backward + counts.macs_gradient,
                macs_dense=counts.macs_dense_training, counts=counts.as_dict(), share=share, assumptions=spent.assumptions,
            )  # fmt: skip
        else:
            name = "a second of speech" if what == "speech_second" else f"learning a word ({steps} updates)"
            print(
                f"{name} on {board.title}: {spent.seconds * 1e3:.3g} ms, {spent.joules * 1e3:.3g} mJ (estimate), ",
                end="",
            )
            print(f"{100 * counts.sparsity:.0f} % of the deltas skipped")
            print(spent.report())
            print()
    power = mean_power(cost(heard, board) * a_second, board, 1.0)
    if args.json:
        emit(
            "summary", board=board.name, used_bytes=arena.used_bytes, budget_bytes=arena.budget_bytes, peak_bytes=arena.high_water_bytes,
            parts={part.name: part.size_bytes for part in parts}, fits_board=fit.fits, board_bytes=fit.memory_bytes,
            tape_frames=device.tape.capacity_frames, mean_power_w=power.value,
        )  # fmt: skip
    else:
        table(
            ["board", "memory", "needed", "fits", "mean power W while speech lasts"],
            [(board.title, fit.memory_bytes, fit.needed_bytes, "yes" if fit.fits else "no", str(power))],
        )
    return 0


def listening_counts(device: VoiceDevice) -> Counts:
    """Return the counts of hearing every exemplar of the rehearsal memory once: front end and network."""
    from edgelearn.audio.frontend import frontend_ops
    from edgelearn.engine.counts import Counts

    heard = device.learner.hear_exemplars()
    return heard + Counts(frontend_ops=heard.frames * frontend_ops(device.frontend.config))
