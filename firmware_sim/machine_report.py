"""What a simulated machine has to say: its verdict, memory, energy and power over time, as data, text and plot."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from edgelearn.cli.output import emit, table
from edgelearn.cli.plot import write_whole
from firmware_sim.machine_loop import Machine
from firmware_sim.machine_meter import AJ_PER_J, NS_PER_S, STATES, Logged

MS = 1e-6  # of a nanosecond


def verdict(machine: Machine) -> dict[str, Any]:
    """Return the numbers of a run; times in milliseconds, sizes in bytes."""
    tally, flash = machine.tally, machine.store.flash
    return {
        "board": machine.board.name,
        "seconds": machine.meter.now_ns / NS_PER_S,
        "frames": tally.frames,
        "deadlines_missed": tally.missed,
        "halves_lost": tally.lost,
        "period_ms": machine.period_ns * MS,
        "frontend_ms": tally.frontend_ns * MS,
        "worst_response_ms": tally.worst_response_ns * MS,
        "worst_late_ms": max(0, tally.worst_response_ns - machine.period_ns) * MS,
        "worst_frame_ms": tally.worst_frame_ns * MS,
        "longest_slice_ms": tally.longest_slice_ns * MS,
        "longest_piece_ms": tally.longest_piece_ns * MS,
        "longest_piece_of": tally.longest_call,
        "slice_that_does_ms": machine.slice_that_does * MS,
        "words": sum(one.what == "word" for one in tally.log),
        "taught": tally.taught,
        "updates": tally.updates,
        "commits": tally.commits,
        "power_cuts": tally.power_cuts,
        "lessons_lost": tally.lessons_lost,
        "flash_bytes": machine.store.size_bytes,
        "flash_worst_wear": int(flash.wear.max()),
        "arena_high_water_bytes": machine.device.arena.high_water_bytes,
        "sram_free_bytes": machine.sram["free"],
        "joules": machine.meter.total_aj / AJ_PER_J,
    }


def emit_report(machine: Machine, speed: float) -> None:
    """Print JSON lines: what happened, SRAM, states, power over time, the verdict."""
    for one in machine.tally.log:
        kind = "word" if one.what in ("word", "take", "taught") else "message"
        emit(one.what, at_s=one.at_s, **{kind: one.text}, **_event_fields(one))
    for region, size in machine.sram.items():
        emit("sram", region=region, bytes=size)
    for state in STATES:
        emit("state", state=state, **_state(machine, state))
    for step, watts in enumerate(machine.meter.watts()):
        emit("power", at_s=step * machine.meter.step_ns / NS_PER_S, watts=watts)
    emit("summary", **verdict(machine), realtime_factor=1 / speed)


def print_report(machine: Machine, speed: float) -> None:
    """Print the same as text; power over time is for the plot."""
    for one in machine.tally.log:
        print(f"{one.at_s:10.3f} s  {one.what:9} {one.text}")
    print()
    rows = [(state, *_state(machine, state).values()) for state in STATES if machine.meter.ns[state]]
    table(["state", "seconds", "joules", "mean mW"], rows)
    print()
    table(["SRAM", "bytes"], machine.sram.items())
    found = verdict(machine)
    print(f"\n{sentence(found)}")
    print(
        f"{found['taught']} words learned in {found['updates']} updates, {found['commits']} models saved (most worn "
        f"page: {found['flash_worst_wear']} erases), {found['power_cuts']} power cuts, {found['lessons_lost']} "
        f"lessons lost; {found['joules']:.4g} J; simulated {speed:.0f} times as fast as it would take"
    )


def sentence(found: Mapping[str, Any]) -> str:
    """Return the verdict on the deadlines in words."""
    lost = f" and {found['halves_lost']:,} blocks of sound lost" if found["halves_lost"] else ""
    text = (
        f"{found['board']}: {found['frames']:,} frames, {found['deadlines_missed']:,} deadlines missed{lost}; features "
        f"at most {found['worst_response_ms']:.3g} ms after their sound (deadline {found['period_ms']:.3g} ms), the "
        f"network {found['worst_frame_ms']:.3g} ms; longest slice {found['longest_slice_ms']:.3g} ms"
    )
    if found["deadlines_missed"]:
        enough = found["slice_that_does_ms"]
        text += f"; late by up to {found['worst_late_ms']:.3g} ms: " + (
            f"slices of up to {enough:.3g} ms would do" if enough else "the front end alone takes too long"
        )
    return text


def plot_report(path: Path, machine: Machine) -> None:
    """Draw power by state over time, with what happened, and energy by state; written in one step."""
    from matplotlib.figure import Figure

    meter = machine.meter
    figure = Figure(figsize=(11, 5), layout="constrained")
    power, energy = figure.subplots(2, 1, height_ratios=(3, 1))
    shown = [state for state in STATES if meter.ns[state]]
    step_s = meter.step_ns / NS_PER_S
    edges = [cell * step_s for cell in range(len(meter.timeline_aj["idle"]) + 1)]
    below = [0.0] * (len(edges) - 1)
    for state in shown:
        above = [b + aj / meter.step_ns / 1e6 for b, aj in zip(below, meter.timeline_aj[state], strict=True)]
        power.stairs(above, edges, baseline=below, fill=True, label=state)
        below = above
    for one in machine.tally.log:
        if one.what in ("taught", "saved", "power_on", "power_cut"):
            power.axvline(one.at_s, color="0.4", linestyle=":", linewidth=0.8)
            power.text(one.at_s, 1.01, one.what, rotation=45, fontsize="x-small", transform=power.get_xaxis_transform())
    power.set_xlabel("seconds")
    power.set_ylabel("mW (estimate)")
    power.set_xlim(0, edges[-1])
    power.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    energy.barh(
        shown, [meter.aj[state] / AJ_PER_J * 1e3 for state in shown], color=[f"C{n}" for n, _ in enumerate(shown)]
    )
    energy.set_xlabel("mJ (estimate)")
    drawing = BytesIO()
    figure.savefig(drawing, format=path.suffix[1:], dpi=110)
    write_whole(path, drawing.getvalue())


def _state(machine: Machine, state: str) -> dict[str, float]:
    ns, aj = machine.meter.ns[state], machine.meter.aj[state]
    return {"seconds": ns / NS_PER_S, "joules": aj / AJ_PER_J, "mean_mw": aj / ns * 1e-6 if ns else 0.0}


def _event_fields(one: Logged) -> dict[str, Any]:
    if one.event is None:
        return {}
    return {name: getattr(one.event, name) for name in ("score", "start_s", "end_s", "latency_ms", "sparsity")}
