"""Instructions of the firmware on Cortex-M cores, counted exactly under QEMU: a frame, an utterance, a lesson, a step.

`python benchmarks/firmware.py` prints the tables of docs/firmware.md. It needs gcc, gcc-arm-none-eabi and
qemu-system-arm. A board's time is instructions times an assumed number of cycles for each, which QEMU does not know.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgelearn.audio.clips import read_clip
from edgelearn.audio.frontend import Frontend
from edgelearn.cli.output import say, table
from edgelearn.device.arena import Arena
from edgelearn.device.board import load_board
from edgelearn.device.cost import cost
from edgelearn.engine.counts import Counts
from edgelearn.errors import EdgelearnError
from edgelearn.firmware.export import export_c, firmware_device
from edgelearn.firmware.golden import device_longest, sound
from edgelearn.learning.learner import LearnerConfig, TeachReport
from edgelearn.learning.takes import take_from_clip
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from edgelearn.runtime.rehearsed import script
from edgelearn.runtime.voice import VoiceDevice
from firmware_sim.toolchain import CORES, RAM_BYTES, Core, build_core, build_counter, command, run_core, sizes

SPARSITIES = (0.0, 0.5, 0.8, 0.9)
WIDE_BYTES = 480 * 1024  # room for a tape that holds a whole utterance, dense or sparse
SILENT_FRAMES = 20
CYCLES_PER_INSTRUCTION = {"cortex-m4": 1.25, "cortex-m33": 1.2, "cortex-m7": 0.75}
"""Assumed, for integer loops in zero-wait memory: loads take two cycles now and then; the M7 issues two at a time."""
BOARDS = {"cortex-m4": "stm32l4r5", "cortex-m33": "stm32u575", "cortex-m7": "stm32h7a3"}


def main() -> int:
    """Build, run and print."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            report(Path(folder))
    except EdgelearnError as error:
        say(str(error))
        return error.exit_code
    return 0


def report(folder: Path) -> None:
    """Print sizes, listening, and learning at several sparsities."""
    model = load_model(BASE_MODEL)
    counter = build_counter(folder / "icount.so")
    clip = read_clip(next(line.path for line in script() if line.role == "base"))
    shipped = export(folder / "shipped", model, 256 * 1024, clip)
    programs = {core: build_core(shipped, core, folder / f"{core.name}.elf") for core in CORES}
    print_sizes(programs, clip)
    print_listening(programs, counter, clip)
    print_lesson(programs, counter, model)
    print_learning(folder, model, counter, clip)


def export(folder: Path, model: Model, budget_bytes: int, clip: np.ndarray) -> Path:
    """Export a model for a memory budget."""
    export_c(folder, model, lambda: firmware_device(model, budget_bytes), [clip])
    return folder


def print_sizes(programs: dict[Core, Path], clip: np.ndarray) -> None:
    """Print flash and RAM of the program for 256 KiB, with the stack of self-test, lesson, word and gradient steps."""
    samples = sound([clip])
    work = command("g") + command("h", len(samples), data=samples.astype("<i2").tobytes())
    work += command("s", 0, 1, 60) * 2 + command("k")
    rows = []
    for core, program in programs.items():
        found = sizes(program)
        stack = int(run_core(program, core, work)[0].split()[-1])
        arena = found.symbols["el_memory"]
        tables = found.constants - found.symbols["el_model_image"] - found.symbols["el_golden_samples"]
        total = found.variables + stack
        rows.append((core.name, found.code, tables, arena, found.variables - arena, stack, total, RAM_BYTES - total))
    table(["core", "code", "tables", "arena", "other variables", "stack", "RAM in all", "free of 256 KiB"], rows)
    print()


def print_listening(programs: dict[Core, Path], counter: Path, clip: np.ndarray) -> None:
    """Print instructions of a frame of silence and of an utterance."""
    device = firmware_device(load_model(BASE_MODEL), 256 * 1024)
    hop = device.frontend.config.hop
    samples = sound([clip])
    silence = np.zeros(SILENT_FRAMES * hop, np.int16)
    marked = command("h", 512, data=bytes(1024)) + command("m")
    marked += command("h", len(silence), data=silence.astype("<i2").tobytes()) + command("m")
    marked += command("h", len(samples), data=samples.astype("<i2").tobytes()) + command("m")
    device.recognizer.push(np.zeros(512, np.int16))
    device.recognizer.push(silence)
    before = device.recognizer.frames
    spoken: list[int] = []
    device.recognizer.on_utterance = lambda u: spoken.append(u.stop - u.start)
    device.recognizer.push(samples)
    frames, run = device.recognizer.frames - before, device.recognizer.counts.frames
    rows = []
    for core, program in programs.items():
        _, (first, second, third, _) = run_core(program, core, marked, counter)
        quiet = (second - first) / SILENT_FRAMES
        utterance = third - second - frames * quiet
        rows.append((core.name, round(quiet), sum(spoken), run, round(utterance), round(utterance / run)))
    table(["core", "frame of silence", "frames of an utterance", "of the network", "more for them", "for each"], rows)
    print()


def print_lesson(programs: dict[Core, Path], counter: Path, model: Model) -> None:
    """Print instructions of a whole lesson from three takes, and of its slices."""
    frontend, config = Frontend(model.frontend, Arena(1 << 16)), LearnerConfig()
    files = [line.path for line in script() if line.role == "take"][:3]
    work = command("b")
    for path in files:
        take = take_from_clip(read_clip(path), frontend, model.endpoint, path.name)
        work += command("t", len(take), data=take.tobytes())
    work += command("e") + command(
        "L", config.steps, config.sweeps, config.many_takes, round(65536 * config.max_old_loss)
    )
    rows = []
    for core, program in programs.items():
        said, marks = run_core(program, core, work, counter)
        slices = np.diff(marks[:-1])  # the last one is the end of the program
        gained = "kept" if "gained 1" in said.splitlines() else "put back"
        longest = [int(slices.max()), int(np.percentile(slices, 99)), int(np.median(slices))]
        rows.append((core.name, marks[-2] - marks[0], len(slices) + 1, *longest, gained))
    table(["core", "a lesson", "slices", "the longest", "99 % are below", "median", "what was learned"], rows)
    print()


def print_learning(folder: Path, model: Model, counter: Path, clip: np.ndarray) -> None:
    """Print instructions of a learning step on one exemplar, at thresholds that give several sparsities."""
    counts: dict[Core, list[int]] = {core: [] for core in CORES}
    work: list[Counts] = []
    for target in SPARSITIES:
        chosen, counted = at_sparsity(model, target)
        work.append(counted)
        exported = export(folder / f"s{target}", chosen, WIDE_BYTES, clip)
        for core in CORES:
            program = build_core(exported, core, folder / f"{core.name}_{target}.elf", ram_bytes=WIDE_BYTES)
            step = command("m") + command("s", 0, 1, 60) + command("m")
            _, marks = run_core(program, core, step, counter)
            counts[core].append(marks[1] - marks[0])
    measured = [f"{counted.sparsity:.3f}" for counted in work]
    rows = [(core.name, *found, f"{100 * found[2] / found[0]:.1f} %") for core, found in counts.items()]
    table(["learning step, sparsity", *measured, "80 % / dense"], rows)
    print()
    rows = []
    for core, found in counts.items():
        if core.name in BOARDS:
            board, cycles = load_board(BOARDS[core.name]), CYCLES_PER_INSTRUCTION[core.name]
            for target, instructions, counted in zip(SPARSITIES, found, work, strict=True):
                own = instructions * cycles / board.clock_hz.value * 1e3
                model_ms = cost(counted, board).seconds_range * 1e3
                rows.append((board.name, f"{target:.1f}", cycles, f"{own:.1f}", str(model_ms)))
    table(["board", "sparsity", "cycles an instruction", "ms from instructions", "ms of the cost model"], rows)


def at_sparsity(model: Model, target: float) -> tuple[Model, Counts]:
    """Return the model with both thresholds scaled until the first exemplar has this sparsity, and a step's counts."""
    low, high = 0.0, 4.0
    if target == 0.0:
        return scaled(model, 0.0), step_counts(scaled(model, 0.0))
    for _ in range(14):
        middle = (low + high) / 2
        if step_counts(scaled(model, middle)).sparsity < target:
            low = middle
        else:
            high = middle
    return scaled(model, high), step_counts(scaled(model, high))


def scaled(model: Model, factor: float) -> Model:
    """Return a model whose thresholds are `factor` times as large."""
    layers = tuple(
        replace(n, theta_x_q13=round(n.theta_x_q13 * factor), theta_h_q13=round(n.theta_h_q13 * factor))
        for n in model.network.layers
    )
    return replace(model, network=replace(model.network, layers=layers))


def step_counts(model: Model) -> Counts:
    """Return the counts of a learning step on the first exemplar."""
    device: VoiceDevice = firmware_device(model, WIDE_BYTES)
    frames = np.empty((device_longest(device), device.frontend.config.bands), np.int8)
    record, report = device.memory.exemplars()[0], TeachReport()
    device.learner.step(device.memory.decode(record, frames), record.row, 1, LearnerConfig(rate_q16=60), report)
    return report.counts


if __name__ == "__main__":
    sys.exit(main())
