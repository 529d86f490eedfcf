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
    "update": Kernel("update_column", "byte", "weight_byte_written"),
    "frontend": Kernel("fft_packed", "multiplication", "frontend_op"),
}


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
        """Cycles of one MAC, stored byte or multiplication."""
        return self.cycles / self.work


def measure(ir: dict[str, str], llvm_mca: str) -> list[Row]:
    """Return the row of every kernel on every core."""
    rows = []
    for name, kernel in KERNELS.items():
        for core in CORES:
            candidates = []
            for loop in inner_loops(cross_compile(ir[kernel.function], core.cpu)):
                products = loop.vector_products + loop.scalar_products
                work = loop.stored_bytes if kernel.unit == "byte" else products
                if products and work and not loop.is_remainder:
                    candidates.append(Row(name, core, loop, work, cycles(loop, core, llvm_mca)))
            candidates = [row for row in candidates if row.loop.vector_products] or candidates
            rows.append(min(candidates, key=lambda row: row.per_unit))
    return rows


def table_toml(rows: Iterable[Row], mca_version: str) -> str:
    """Return the rows as TOML."""
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
            f"{'bytes' if kernel.unit == 'byte' else 'products'}_of_iteration = {row.work}",
            f'model = "{" ".join((row.core.model, *row.core.options))}"',
            f'instructions = "{row.loop.histogram}"',
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table beside the figures that the boards use, and write it."""
    parser = argparse.ArgumentParser(description="cycles of the kernels' inner loops on ARM, by llvm-mca")
    parser.add_argument("-o", "--output", type=Path, default=TABLE, help=f"default: {TABLE}")
    output = parser.parse_args().output
    llvm_mca, mca_version = find_llvm_mca()
    if not has_aarch64():
        raise SystemExit(
            "this llvmlite cannot compile for AArch64; the wheels on PyPI can:  pip install llvmlite"
        )
    rows = measure(unoptimised_ir([kernel.function for kernel in KERNELS.values()]), llvm_mca)
    print(f"{'kernel':20} {'core':11} {'cycles':>8} {'work':>5} {'cycles per':>18}   board")
    for row in rows:
        kernel = KERNELS[row.kernel]
        figure = getattr(load_board(row.core.board).cycles, kernel.figure)
        per_unit = f"{row.per_unit:.3f} {kernel.unit[:8]}"
        print(
            f"{kernel.function:20} {row.core.cpu:11} {row.cycles:8.1f} {row.work:5} {per_unit:>18}   "
            f"{figure.value:g} ({figure.low:g} to {figure.high:g})"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(table_toml(rows, mca_version), encoding="utf-8")
    print(f"written: {output}")


if __name__ == "__main__":
    main()
