"""Cycles of the kernels' inner loops on the cores of three Raspberry Pis, by llvm-mca.

    python -m benchmarks.arm_kernels        prints the table and writes configs/kernels/arm_cycles.toml

llvm-mca simulates a loop, whose loads all hit the first-level cache, on LLVM's model of the core: a lower bound, not
a measurement.
"""

from __future__ import annotations

import argparse
import datetime
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cross_compile import (
    TRIPLE,
    Loop,
    compiler,
    cross_compile,
    has_aarch64,
    inner_loops,
    unoptimised_ir,
)
from edgelearn.audio.frontend import frontend_ops
from edgelearn.audio.melbank import TWIDDLED_PASSES, FrontendConfig, make_tables
from edgelearn.device.board import load_board

TABLE = Path(__file__).resolve().parent.parent / "configs" / "kernels" / "arm_cycles.toml"
OLDEST_LLVM = 17
"""Older ones simulate the Neoverse N1, the server twin of the Cortex-A76, as a Cortex-A57."""
ITERATIONS = 1000


@dataclass(frozen=True)
class Core:
    """A processor core: LLVM's name, llvm-mca's model and options, and the board that is built on it."""

    cpu: str
    model: str
    options: tuple[str, ...]
    board: str


CORES = (
    Core("cortex-a53", "cortex-a53", (), "raspberry_pi_zero_2w"),
    Core("cortex-a72", "cortex-a72", (), "raspberry_pi_4"),
    # Both cores decode 4 instructions a cycle. The model's own figure serves LLVM's scheduler and moves: 8 in
    # LLVM 19, 3 in LLVM 22.
    Core("cortex-a76", "neoverse-n1", ("-dispatch=4",), "raspberry_pi_5"),
)


@dataclass(frozen=True)
class Kernel:
    """A kernel: its function, what its cycles are counted per, and the figure of a board that they are."""

    function: str
    unit: str
    figure: str


KERNELS = {
    "forward": Kernel("accumulate_columns", "MAC", "mac_forward"),
    "backward": Kernel("backward_columns", "MAC", "mac_backward"),
    "gradient": Kernel("accumulate_gradient", "MAC", "mac_gradient"),
    "gates": Kernel("open_gates", "activation", "activation"),
    "update": Kernel("update_column", "byte", "weight_byte_written"),
    "window": Kernel("window_frame", "multiplication", "frontend_op"),
    "transform": Kernel("two_stages", "multiplication", "frontend_op"),
    "spectrum": Kernel("power_spectrum", "multiplication", "frontend_op"),
    "bank": Kernel("band_energy", "multiplication", "frontend_op"),
}

WORK = {"byte": "bytes", "activation": "gates"}


@dataclass(frozen=True)
class FramePart:
    """What one frame multiplies, or stores where nothing is multiplied, in an inner loop of a front end function."""

    function: str
    products: int = 0
    bytes: int = 0
    scalar: bool = False


def frame_parts(config: FrontendConfig) -> tuple[FramePart, ...]:
    """Return the parts of a frame, all but the copying of its samples; a vector of the bank holds eight bins."""
    half = config.frame // 2
    widths = make_tables(config).width
    return (
        FramePart("window_frame", products=2 * config.frame),
        FramePart("first_two_stages", bytes=8 * half),
        FramePart("two_stages", products=TWIDDLED_PASSES * 4 * half),
        FramePart("power_spectrum", products=4 * half),
        FramePart("band_energy", products=2 * int((widths - widths % 8).sum())),
        FramePart("band_energy", products=2 * int((widths % 8).sum()), scalar=True),
        FramePart("log_features", bytes=5 * config.bands),
    )


FRAME = FrontendConfig()


def find_llvm_mca() -> tuple[str, str]:
    """Return the path and the version of the newest llvm-mca; raises SystemExit with what to install."""
    for name in (*(f"llvm-mca-{number}" for number in range(40, OLDEST_LLVM - 1, -1)), "llvm-mca"):
        path = shutil.which(name)
        if path:
            told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True).stdout
            found = re.search(r"LLVM version (\d+)\S*", told)
            if found and int(found[1]) >= OLDEST_LLVM:
                return path, found[0].split()[-1]
    raise SystemExit(
        f"no llvm-mca of LLVM {OLDEST_LLVM} or newer, type:  sudo apt install llvm-19\n"
        "(Debian 13's package llvm is that one; Debian 12's is LLVM 14, too old to know the Cortex-A76)"
    )


def cycles(loop: Loop, core: Core, llvm_mca: str) -> float:
    """Return the cycles of one iteration, on average; a loop of several blocks counts as one that never jumps."""
    done = subprocess.run(
        [
            llvm_mca,
            f"-mtriple={TRIPLE}",
            f"-mcpu={core.model}",
            f"-iterations={ITERATIONS}",
            *core.options,
            "-",
        ],
        input="\n".join(loop.instructions),
        capture_output=True,
        text=True,
        check=True,
    )
    total = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    if total is None:
        raise RuntimeError(f"llvm-mca did not print its cycles:\n{done.stdout}")
    return int(total[1]) / ITERATIONS


@dataclass(frozen=True)
class Row:
    """The cheapest loop of a kernel on a core: the one it spends its time in when there is a lot to do."""

    kernel: str
    core: Core
    loop: Loop
    work: int
    cycles: float

    @property
    def per_unit(self) -> float:
        """Cycles of one MAC, gate, stored byte or multiplication."""
        return self.cycles / self.work


def _work(kernel: Kernel, loop: Loop) -> int:
    """Return the units of one iteration: stored bytes, gates (of two bytes) or products."""
    if kernel.unit in ("byte", "activation"):
        return loop.stored_bytes // (2 if kernel.unit == "activation" else 1)
    return loop.vector_products + loop.scalar_products


def measure(ir: dict[str, str], llvm_mca: str) -> list[Row]:
    """Return the row of every kernel on every core."""
    rows = []
    for name, kernel in KERNELS.items():
        for core in CORES:
            candidates = []
            for loop in inner_loops(cross_compile(ir[kernel.function], core.cpu)):
                products = loop.vector_products + loop.scalar_products
                work = _work(kernel, loop)
                if products and work and not loop.is_remainder:
                    candidates.append(Row(name, core, loop, work, cycles(loop, core, llvm_mca)))
            candidates = [row for row in candidates if row.loop.vector_products] or candidates
            rows.append(min(candidates, key=lambda row: row.per_unit))
    return rows


def frame_cycles(ir: dict[str, str], core: Core, llvm_mca: str) -> dict[str, float]:
    """Return the cycles of a frame of the front end, by function; a part's loop is the cheapest that does its work."""
    spent: dict[str, float] = {}
    for part in frame_parts(FRAME):
        loops = inner_loops(cross_compile(ir[part.function], core.cpu))
        costs = []
        for loop in loops:
            products = loop.scalar_products if part.scalar else loop.vector_products
            work = products if part.products else loop.stored_bytes
            if work and not loop.is_remainder:
                costs.append(cycles(loop, core, llvm_mca) / work)
        spent[part.function] = spent.get(part.function, 0) + min(costs) * (part.products or part.bytes)
    return spent


def table_toml(rows: Iterable[Row], frames: dict[Core, dict[str, float]], mca_version: str) -> str:
    """Return the rows, and the cycles of frames, as TOML."""
    lines = [
        "# Cycles of the kernels' inner loops on ARM; made by: python -m benchmarks.arm_kernels",
        "# A lower bound: llvm-mca knows no cache misses, no mispredicted branches and nothing outside of the loop.",
        "schema = 1",
        f"date = {datetime.datetime.now(datetime.UTC).date().isoformat()}",
        f'llvm_mca = "{mca_version}"',
        f'compiler = "{compiler()}"',
    ]
    for row in rows:
        kernel = KERNELS[row.kernel]
        lines += [
            "",
            f"[{row.core.cpu}.{row.kernel}]",
            f'function = "{kernel.function}"',
            f'unit = "cycles per {kernel.unit}"',
            f"value = {row.per_unit:.3f}",
            f"cycles_of_iteration = {row.cycles:.1f}",
            f"{WORK.get(kernel.unit, 'products')}_of_iteration = {row.work}",
            f'model = "{" ".join((row.core.model, *row.core.options))}"',
            f'instructions = "{row.loop.histogram}"',
        ]
    for core, spent in frames.items():
        total = sum(spent.values())
        lines += [
            "",
            f"[{core.cpu}.frame]",
            'unit = "cycles per frame of the front end"',
            f"value = {total:.0f}",
            f"multiplications = {frontend_ops(FRAME)}",
            f"cycles_per_multiplication = {total / frontend_ops(FRAME):.3f}",
            f"parts = {{ {', '.join(f'{function} = {value:.0f}' for function, value in spent.items())} }}",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table beside the figures that the boards use, and write it."""
    parser = argparse.ArgumentParser(description="cycles of the kernels' inner loops on ARM, by llvm-mca")
    parser.add_argument("-o", "--output", type=Path, default=TABLE, help=f"default: {TABLE}")
    output = parser.parse_args().output
    llvm_mca, mca_version = find_llvm_mca()
    if not has_aarch64():
        raise SystemExit("this llvmlite cannot compile for AArch64; the wheels on PyPI can:  pip install llvmlite")
    functions = {kernel.function for kernel in KERNELS.values()} | {part.function for part in frame_parts(FRAME)}
    ir = unoptimised_ir(sorted(functions))
    rows = measure(ir, llvm_mca)
    frames = {core: frame_cycles(ir, core, llvm_mca) for core in CORES}
    print(f"{'kernel':20} {'core':11} {'cycles':>8} {'work':>5} {'cycles per':>18}   board")
    for row in rows:
        kernel = KERNELS[row.kernel]
        figure = getattr(load_board(row.core.board).cycles, kernel.figure)
        per_unit = f"{row.per_unit:.3f} {kernel.unit[:8]}"
        print(
            f"{kernel.function:20} {row.core.cpu:11} {row.cycles:8.1f} {row.work:5} {per_unit:>18}   "
            f"{figure.value:g} ({figure.low:g} to {figure.high:g})"
        )
    for core, spent in frames.items():
        print(f"{'a frame':20} {core.cpu:11} {sum(spent.values()):8.0f}")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(table_toml(rows, frames, mca_version), encoding="utf-8")
    print(f"written: {output}")


if __name__ == "__main__":
    main()
