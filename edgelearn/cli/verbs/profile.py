"""`edgelearn profile`: the plan of the device's memory, and time and energy on a board, from counts of real runs."""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, format_table, say, table
from edgelearn.errors import UsageError

if TYPE_CHECKING:
    from edgelearn.benchmarking.measured import Measurement
    from edgelearn.cli.appliance import Appliance
    from edgelearn.device.day import Day
    from edgelearn.runtime.profiling import Job, Priced, Run

HELP = (
    "Show the memory map against the budget, the ways to learn that fit, "
    "and what a frame, a second of speech and a learned word cost on a board (estimates)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the board, the budget, the battery, the picture and the measurement."""
    add_settings(parser, "device.board", "device.budget", "learning.steps")
    parser.add_argument(
        "--battery", type=float, metavar="WH", help="how many days a battery of so many watt-hours lasts"
    )
    parser.add_argument("--hours", type=float, metavar="H", help="with --battery: hours a day it listens (default: 24)")
    parser.add_argument("--words", type=float, metavar="N", help="with --battery: words learned a day (default: 1)")
    parser.add_argument("--measure", action="store_true", help="time it on this machine, too, with its power sensor")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw it, too: a page (.html) or .png, .svg, .pdf; needs matplotlib"
    )


@dataclass(frozen=True)
class Findings:
    """What is printed: the run, its jobs on the board, the ways to learn; day and measurement if asked for."""

    run: Run
    jobs: list[Job]
    ways: list[Priced]
    day: Day | None
    battery_wh: float | None
    measured: Measurement | None


def run(args: argparse.Namespace) -> int:
    """Run the device on the exemplars of its own rehearsal memory, and price what was counted."""
    if args.battery is None and (args.hours is not None or args.words is not None):
        raise UsageError("--hours and --words need a battery", "add --battery with its watt-hours, such as 10")
    if args.plot is not None:
        from edgelearn.cli.plot import check_format

        check_format(args.plot)
    from edgelearn.cli.appliance import open_appliance

    appliance = open_appliance(args)
    found = _find(appliance, args)
    if args.plot is not None:
        _draw(args.plot, appliance, found)
        say(f"drawn: {args.plot}")
    (_emit if args.json else _print)(appliance, found)
    return 0


def _find(appliance: Appliance, args: argparse.Namespace) -> Findings:
    from edgelearn.benchmarking.measured import measure
    from edgelearn.device.day import Use, day
    from edgelearn.runtime.profiling import priced_options, run_of

    device, board = appliance.device, appliance.board
    steps = appliance.learner_config.steps
    of_day = None
    done = run_of(device, steps)
    if args.battery is not None:
        use = Use(24.0 if args.hours is None else args.hours, 1.0 if args.words is None else args.words)
        of_day = day(done.work(board), board, use)
        of_day.battery_days(args.battery)  # refuses what is no battery before anything is printed
    measured = None
    if args.measure:
        say("measuring: idle, listening, learning")
        measured = measure(device, steps)
    ways = priced_options(device, appliance.model, done, board)
    return Findings(done, done.jobs(board), ways, of_day, args.battery, measured)


def _draw(path: Path, appliance: Appliance, found: Findings) -> None:
    from edgelearn.cli.plot import PAGE, Picture, draw
    from edgelearn.cli.report import write_page
    from edgelearn.device.board import list_boards, load_board
    from edgelearn.runtime.profiling import sweep, timeline

    board, plan = appliance.board, appliance.device.plan
    jobs = {board.title: found.jobs}
    for other in map(load_board, list_boards()):
        jobs.setdefault(other.title, found.run.jobs(other))
    points = sweep(appliance.model, plan.budget_bytes, board)
    picture = Picture(plan, jobs, points, timeline(found.run, board))
    if path.suffix == PAGE:
        write_page(path, picture, found.ways, board, found.day, found.battery_wh)
    else:
        draw(path, picture)


def _emit(appliance: Appliance, found: Findings) -> None:
    from edgelearn.device.cost import mean_power
    from edgelearn.device.plan import fit_board
    from edgelearn.runtime.layout import LEARNING_PARTS

    device, board, arena, plan = appliance.device, appliance.board, appliance.device.arena, appliance.device.plan
    for region in arena.regions:
        fields = asdict(region)
        fields = {name: fields[name] for name in ("name", "size_bytes", "offset", "dtype", "shape")}
        emit("region", **fields, listening=region.part not in LEARNING_PARTS)
    padding = sum(region.padding_bytes for region in arena.regions)
    emit("region", name="(padding)", size_bytes=padding, listening=True)
    for job in found.jobs:
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
    for way in found.ways:
        option = way.option
        emit(
            "option", **asdict(option.choice), needed_bytes=option.needed_bytes, fits=option.fits, chosen=option.chosen,
            update_seconds=way.cost.seconds, update_energy_mj=way.cost.joules * 1e3, time_ratio=way.time_ratio,
        )  # fmt: skip
    if found.day is not None and found.battery_wh is not None:
        for row in found.day.parts:
            emit("day", part=row.name, seconds=row.seconds.value, energy_j=row.joules.value,
                 energy_j_low=row.joules.low, energy_j_high=row.joules.high)  # fmt: skip
        days, whole = found.day.battery_days(found.battery_wh), found.day.joules
        emit(
            "battery", watt_hours=found.battery_wh, days=days.value, days_low=days.low, days_high=days.high,
            energy_j=whole.value, mean_power_w=found.day.mean_watts.value, busy_share=found.day.busy_share.value,
            assumptions=found.day.assumptions,
        )  # fmt: skip
    if found.measured is not None:
        _emit_measured(found.measured)
    fit = fit_board(arena.regions, board)
    listening = sum(part.size_bytes for part in plan.parts() if part.name not in LEARNING_PARTS)
    emit(
        "summary", board=board.name, used_bytes=arena.used_bytes, budget_bytes=arena.budget_bytes,
        peak_bytes=arena.high_water_bytes, listening_bytes=listening,
        parts={part.name: part.size_bytes for part in arena.parts()},
        fits_board=fit.fits, board_bytes=fit.memory_bytes, tape_frames=device.tape.capacity_frames,
        checkpoint_every=plan.choice.checkpoint_every,
        rehearsal_bytes=device.memory.capacity_bytes, rehearsal_used_bytes=device.memory.used_bytes,
        words_left=device.words_left, mean_power_w=mean_power(found.jobs[1].cost, board, 1.0).value,
    )  # fmt: skip


def _emit_measured(measured: Measurement) -> None:
    for job in measured.jobs:
        energy = job.joules * 1e3 if job.joules is not None else None
        emit("measured", what=job.key, seconds=job.seconds, runs=job.runs, busy_w=job.busy_w, energy_mj=energy)
    emit(
        "machine", sensor=measured.sensor or None, idle_w=measured.idle_w, before=asdict(measured.before),
        after=asdict(measured.after), missing=measured.missing,
    )  # fmt: skip


def _print(appliance: Appliance, found: Findings) -> None:
    from edgelearn.device.cost import mean_power
    from edgelearn.device.plan import fit_board
    from edgelearn.runtime.layout import LEARNING_PARTS

    device, board, arena = appliance.device, appliance.board, appliance.device.arena
    print(arena.report())
    memory = device.memory
    hop_ms = 1000 / device.frontend.config.frame_rate_hz
    idle = sum(part.size_bytes for part in arena.parts() if part.name in LEARNING_PARTS)
    print(
        f"\nroom for {device.words_left} more words; {len(memory.exemplars())} exemplars in {memory.used_bytes:,} of "
        f"{memory.capacity_bytes:,} bytes; gradients reach back over {device.tape.capacity_frames} frames "
        f"({device.tape.capacity_frames * hop_ms:.0f} ms)\n"
        f"while nothing is learned {arena.used_bytes - idle:,} bytes are in use, while it learns all of them\n"
    )
    table(
        ["tape", "bytes needed", "fits", f"ms an update on {board.name}", "mJ an update", "time"],
        [
            (
                ("> " if way.option.chosen else "  ") + way.option.choice.tape, way.option.needed_bytes,
                "yes" if way.option.fits else "no", str(way.cost.seconds_range * 1e3),
                str(way.cost.joules_range * 1e3), f"x {way.time_ratio:.2f}",
            )
            for way in found.ways
        ],
    )  # fmt: skip
    print()
    table(
        [f"on {board.title}", "milliseconds", "millijoules (estimate)", "deltas skipped %"],
        [
            (job.title, f"{job.cost.seconds_range * 1e3}", f"{job.cost.joules_range * 1e3}", 100 * job.counts.sparsity)
            for job in found.jobs
        ],
    )
    for job in found.jobs[1:]:
        print(f"\n{job.title}\n{job.cost.report()}")
    fit = fit_board(arena.regions, board)
    power = mean_power(found.jobs[1].cost, board, 1.0)
    print()
    table(
        ["board", "memory", "needed", "fits", "mean power W while speech lasts"],
        [(board.title, fit.memory_bytes, fit.needed_bytes, "yes" if fit.fits else "no", str(power))],
    )
    if found.day is not None and found.battery_wh is not None:
        print(f"\n{found.day.report()}")
        print(f"a battery of {found.battery_wh:g} Wh lasts {found.day.battery_days(found.battery_wh)} days")
    if found.measured is not None:
        print(f"\n{_measured(found.measured, found.jobs, board.title)}")


def _measured(measured: Measurement, jobs: list[Job], board: str) -> str:
    estimates = {job.key: job.cost for job in jobs}
    rows = [
        (job.title, job.seconds * 1e3, job.joules * 1e3 if job.joules is not None else None,
         f"{estimates[job.key].seconds_range * 1e3}", f"{estimates[job.key].joules_range * 1e3}")
        for job in measured.jobs
    ]  # fmt: skip
    lines = [
        format_table(
            ["measured here", "ms", "mJ above idle", f"estimate for {board}: ms", "estimate: mJ"], rows
        )
    ]  # fmt: skip
    if measured.idle_w is not None:
        busy = ", ".join(f"{job.busy_w:.3g} W {job.key}" for job in measured.jobs if job.busy_w is not None)
        lines.append(f"sensor: {measured.sensor}; {measured.idle_w:.3g} W idle, {busy}")
    for name, state in (("before", measured.before), ("after", measured.after)):
        told = [
            f"{state.clock_mhz:,.0f} MHz ({state.governor})" if state.clock_mhz is not None else "",
            f"{state.temperature_c:.1f} °C" if state.temperature_c is not None else "",
            ", ".join(state.throttled) or "not throttled" if state.throttled is not None else "",
        ]
        if any(told):
            lines.append(f"{name}: {', '.join(text for text in told if text)}")
    lines += [f"not measured: {text}" for text in measured.missing]
    return "\n".join(lines)
