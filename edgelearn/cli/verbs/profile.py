"""`edgelearn profile`: the memory map against the budget, and time and energy on a board, from counts of real runs."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, say, table

if TYPE_CHECKING:
    from edgelearn.cli.appliance import Appliance
    from edgelearn.device.cost import Cost
    from edgelearn.engine.counts import Counts
    from edgelearn.runtime.voice import VoiceDevice

HELP = (
    "Show the memory map against the budget, "
    "and what a frame, a second of speech and a learned word cost on a board (estimates)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the board, the budget and the picture."""
    add_settings(parser, "device.board", "device.budget", "learning.steps")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw it, too (.png, .svg, .pdf; needs matplotlib)")


@dataclass(frozen=True)
class Job:
    """Work that is priced: its key, its name for a person, what was counted, and the share of that it is."""

    key: str
    title: str
    counts: Counts
    share: float
    cost: Cost


def run(args: argparse.Namespace) -> int:
    """Run the device on the exemplars of its own rehearsal memory, and price what was counted."""
    from edgelearn.cli.appliance import open_appliance

    appliance = open_appliance(args)
    jobs = price(appliance)
    if args.plot is not None:
        from edgelearn.cli.plot import plot_profile

        costs = {job.title: job.cost for job in jobs[1:]}
        plot_profile(args.plot, appliance.device.arena, costs, appliance.board.title)
        say(f"drawn: {args.plot}")
    (_emit if args.json else _print)(appliance, jobs)
    return 0


def price(appliance: Appliance) -> list[Job]:
    """Return a frame, a second of speech and a learned word, from what the device's own exemplars cost."""
    from edgelearn.device.cost import cost

    device, board = appliance.device, appliance.board
    steps = appliance.learner_config.steps
    heard = listening_counts(device)
    lesson = device.learner.rehearse(steps)
    frame = 1 / max(1, heard.frames)
    second = frame * device.frontend.config.frame_rate_hz
    return [
        Job("speech_frame", "a frame of speech", heard, frame, cost(heard, board) * frame),
        Job("speech_second", "a second of speech", heard, second, cost(heard, board) * second),
        Job("learned_word", f"learning a word ({steps} updates)", lesson, 1.0, cost(lesson, board)),
    ]


def listening_counts(device: VoiceDevice) -> Counts:
    """Return the counts of hearing every exemplar of the rehearsal memory once: front end and network."""
    from edgelearn.audio.frontend import frontend_ops
    from edgelearn.engine.counts import Counts

    heard = device.learner.hear_exemplars()
    return heard + Counts(frontend_ops=heard.frames * frontend_ops(device.frontend.config))


def _emit(appliance: Appliance, jobs: list[Job]) -> None:
    from edgelearn.device.cost import mean_power
    from edgelearn.device.plan import fit_board

    device, board, arena = appliance.device, appliance.board, appliance.device.arena
    for region in arena.regions:
        fields = asdict(region)
        emit("region", **{name: fields[name] for name in ("name", "size_bytes", "offset", "dtype", "shape")})
    emit("region", name="(padding)", size_bytes=sum(region.padding_bytes for region in arena.regions))
    for job in jobs:
        for part in job.cost.breakdown:
            emit("cost", what=job.key, part=part.name, cycles=part.cycles.value, energy_mj=part.joules.value * 1e3)
        counts, joules = job.counts, job.cost.joules_range
        emit(
            "cost", what=job.key, part="total", cycles=job.cost.cycles, seconds=job.cost.seconds,
            energy_mj=joules.value * 1e3, energy_mj_low=joules.low * 1e3, energy_mj_high=joules.high * 1e3,
            sparsity=counts.sparsity, macs=counts.macs_forward + counts.macs_backward + counts.macs_gradient,
            macs_dense=counts.macs_dense_training, counts=counts.as_dict(), share=job.share,
            assumptions=job.cost.assumptions,
        )  # fmt: skip
    fit = fit_board(arena.regions, board)
    emit(
        "summary", board=board.name, used_bytes=arena.used_bytes, budget_bytes=arena.budget_bytes,
        peak_bytes=arena.high_water_bytes, parts={part.name: part.size_bytes for part in arena.parts()},
        fits_board=fit.fits, board_bytes=fit.memory_bytes, tape_frames=device.tape.capacity_frames,
        rehearsal_bytes=device.memory.capacity_bytes, rehearsal_used_bytes=device.memory.used_bytes,
        words_left=device.words_left, mean_power_w=mean_power(jobs[1].cost, board, 1.0).value,
    )  # fmt: skip


def _print(appliance: Appliance, jobs: list[Job]) -> None:
    from edgelearn.device.cost import mean_power
    from edgelearn.device.plan import fit_board

    device, board, arena = appliance.device, appliance.board, appliance.device.arena
    print(arena.report())
    memory = device.memory
    hop_ms = 1000 / device.frontend.config.frame_rate_hz
    print(
        f"\nroom for {device.words_left} more words; {len(memory.exemplars())} exemplars in {memory.used_bytes:,} of "
        f"{memory.capacity_bytes:,} bytes; gradients reach back over {device.tape.capacity_frames} frames "
        f"({device.tape.capacity_frames * hop_ms:.0f} ms)\n"
    )
    table(
        [f"on {board.title}", "milliseconds", "millijoules (estimate)", "deltas skipped %"],
        [
            (job.title, f"{job.cost.seconds_range * 1e3}", f"{job.cost.joules_range * 1e3}", 100 * job.counts.sparsity)
            for job in jobs
        ],
    )
    for job in jobs[1:]:
        print(f"\n{job.title}\n{job.cost.report()}")
    fit = fit_board(arena.regions, board)
    power = mean_power(jobs[1].cost, board, 1.0)
    print()
    table(
        ["board", "memory", "needed", "fits", "mean power W while speech lasts"],
        [(board.title, fit.memory_bytes, fit.needed_bytes, "yes" if fit.fits else "no", str(power))],
    )
