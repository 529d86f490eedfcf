"""The cost model beside published measurements that it was not fitted to: one table in docs/cost_model.md.

    python -m benchmarks.published            prints the table
    python -m benchmarks.published --write    and writes it into docs/cost_model.md

Every row prices counts with `edgelearn.device.cost`, the way a profile does. What a row assumes beyond the published
shape of the machine is said in its last column; [U] marks figures from general knowledge that nobody checked.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pages import with_block
from edgelearn.device.board import OPERATIONS, Board, Figure, PerOperation, load_board
from edgelearn.device.configfile import configs_dir, read_toml
from edgelearn.device.cost import Cost, cost
from edgelearn.engine.counts import Counts, count_backward, count_forward, count_gradient

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "cost_model.md"
BEGIN = "<!-- published: written by python -m benchmarks.published --write -->\n"
END = "<!-- end of published -->\n"
KWS_MACS = 2_656_768  # MLPerf Tiny keyword spotting, int8


@dataclass(frozen=True)
class Row:
    """One comparison: published and modelled in `unit`; bar: largest error in percent, None where there is a reason."""

    what: str
    unit: str
    published: float
    modelled: float
    bar: float | None
    why: str

    @property
    def error(self) -> float:
        """Percent that the model is off."""
        return 100 * (self.modelled / self.published - 1)

    @property
    def holds(self) -> bool:
        """Whether the row is within its bar, where it has one."""
        return self.bar is None or abs(self.error) <= self.bar


@dataclass(frozen=True)
class Micro:
    """A microcontroller by its data sheet: clock, CoreMark per MHz of its core, microwatts per MHz in run mode."""

    clock_hz: float
    coremark: float
    uw_per_mhz: float


# CoreMark per MHz: M4 3.40 and M7 5.01 (read in a textbook's table), M33 4.02 [U].  Run mode with the switching
# regulator, all [U]: 43, 19.5, 10 and 32 uA per MHz at 3.3 V.
MICROS = {
    "STM32L4R5 (M4, 120 MHz)": Micro(120e6, 3.40, 43 * 3.3),
    "STM32U575 (M33, 160 MHz)": Micro(160e6, 4.02, 19.5 * 3.3),
    "STM32U385 (M33, 96 MHz)": Micro(96e6, 4.02, 10 * 3.3),
    "STM32H7A3 (M7, 280 MHz)": Micro(280e6, 5.01, 32 * 3.3),
    "STM32F746 (M7, 216 MHz)": Micro(216e6, 5.01, 0.0),
    "nRF5340 (M33, 128 MHz)": Micro(128e6, 4.02, 0.0),
    "RA8D1 (M85, 480 MHz)": Micro(480e6, 6.28, 0.0),
}
FITTED = ("STM32U575 (M33, 160 MHz)", 29.1e-3, 656e-6)
LATENCY_MS = {
    "STM32L4R5 (M4, 120 MHz)": 43.2,
    "STM32U385 (M33, 96 MHz)": 48.3,
    "STM32H7A3 (M7, 280 MHz)": 11.3,
    "STM32F746 (M7, 216 MHz)": 1000 / 56.3,
    "nRF5340 (M33, 128 MHz)": 1000 / 13.07,
    "RA8D1 (M85, 480 MHz)": 1000 / 288.6,
}
ENERGY_UJ = {"STM32L4R5 (M4, 120 MHz)": 1820, "STM32U385 (M33, 96 MHz)": 245, "STM32H7A3 (M7, 280 MHz)": 1376}
BEYOND = {
    "nRF5340 (M33, 128 MHz)": "same core and model at half the speed: waits for flash, or another inference engine",
    "RA8D1 (M85, 480 MHz)": "vector instructions (Helium), which CoreMark does not use: beyond the model; clock [U]",
}


def rows() -> Iterator[Row]:
    """Yield every comparison."""
    yield from microcontrollers()
    yield from training_accelerator()
    yield from keyword_chip()
    yield from edge_accelerator()
    yield from raspberry_pis()


def microcontrollers() -> Iterator[Row]:
    """MLPerf Tiny: cycles and energy of a MAC fitted on one board, predicted for the others from their data sheets."""
    counts = Counts(macs_forward=KWS_MACS)
    name, seconds, joules = FITTED
    fitted = MICROS[name]
    cycles_per_mac = seconds * fitted.clock_hz / KWS_MACS
    pj_per_cycle = joules * 1e12 / (seconds * fitted.clock_hz)
    for other, measured in LATENCY_MS.items():
        micro = MICROS[other]
        predicted = cost(
            counts,
            machine(
                micro.clock_hz,
                {"mac_forward": cycles_per_mac * fitted.coremark / micro.coremark},
                pj_per_cycle * micro.uw_per_mhz / fitted.uw_per_mhz,
            ),
        )
        why = BEYOND.get(other, "fitted on STM32U575; cycles scaled by CoreMark per MHz")
        yield Row(f"MLPerf Tiny keyword, {other}, latency", "ms", measured, predicted.seconds * 1e3,
                  None if other in BEYOND else 30, why)  # fmt: skip
        if other in ENERGY_UJ:
            yield Row(
                f"MLPerf Tiny keyword, {other}, energy", "µJ", ENERGY_UJ[other], predicted.joules * 1e6, 50,
                "fitted on STM32U575; energy of a cycle scaled by run-mode current [U]: other process, other memory",
            )  # fmt: skip


def training_accelerator() -> Iterator[Row]:
    """RENETA's design sheet: our engine's counts of a step, P operations a cycle, nothing else."""
    sheet = machine(
        1e8, dict.fromkeys(("mac_forward", "mac_backward", "mac_gradient", "elementwise", "activation"), 1 / 64)
    )
    forward, backward = learning_step(((32, 128), (128, 128)), 0.2)
    why = "our engine's counts of a step (its element-wise work is another sum than the sheet's)"
    yield Row("RENETA sheet, 64 PEs, s = 0.8, forward step", "cycles", 725.6, cost(forward, sheet).cycles, 5, why)
    why += "; ours computes no dx for the lowest layer"
    yield Row("RENETA sheet, 64 PEs, s = 0.8, backward step", "cycles", 1421.2, cost(backward, sheet).cycles, 5, why)
    board = load_board("reneta")
    for sparsity, published in ((0.5, 2.0), (0.9, 10.0)):
        dense = sum_cost(learning_step(((256, 256),), 1.0), board)
        sparse = sum_cost(learning_step(((256, 256),), 1.0 - sparsity), board)
        yield Row(
            f"RENETA, whole learning step, s = {sparsity}, speed-up", "x", published, dense.cycles / sparse.cycles,
            None, "published: the three products alone, ideal memory; modelled: also gates, state and step overhead",
        )  # fmt: skip


def keyword_chip() -> Iterator[Row]:
    """DeltaKWS: a GRU of 64 units on 10 channels and 12 classes, dense and at 87 % sparsity."""
    chip = machine(
        125e3,
        {"mac_forward": 1 / 8, "elementwise": 1.0, "activation": 1.0},
        operations_pj={
            "mac_forward": 0.9,
            "weight_byte_read": 2.5,
            "elementwise": 0.9,
            "activation": 11,
            "state_byte": 1.25,
        },
    )
    dense, sparse = (cost(gru_step(10, 64, 12, occupancy), chip) for occupancy in (1.0, 0.13))
    why = "8 products and one other operation a cycle, 10 channels [U]"
    yield Row("DeltaKWS, latency, dense : 87 % sparse", "x", 2.4, dense.cycles / sparse.cycles, 20, why)
    why = "operations at 45 nm (Horowitz), weights in 32 kB of SRAM, state in 8 kB; no front end, no leakage"
    yield Row("DeltaKWS, energy, dense : 87 % sparse", "x", 3.4, dense.joules / sparse.joules, 20, why)
    yield Row(
        "DeltaKWS, a decision", "nJ", 36.0, sparse.joules * 1e9, None,
        "the front end, clock tree and leakage of 65 nm are in the published figure and not in the model",
    )  # fmt: skip


def edge_accelerator() -> Iterator[Row]:
    """EdgeDRNN: a GRU of 2 x 768 units on 40 inputs, 8 products a cycle at 125 MHz, weights from DRAM."""
    pipeline = machine(
        125e6,
        {"mac_forward": 1 / 8, "elementwise": 1 / 8, "activation": 1 / 8},
        operations_pj={"mac_forward": 0.9, "weight_byte_read": 160.0},
    )
    counts = gru_step(40, 768, 0, 0.1) + gru_step(768, 768, 0, 0.1)
    spent = cost(counts, pipeline)
    dense_macs = 3 * 768 * (40 + 768 + 768 + 768)
    why = "8 PEs at 125 MHz, a tenth of the columns active (published: up to 10x fewer accesses); an average is slower"
    yield Row("EdgeDRNN, 2 x 768 GRU, a step", "ms", 0.5, spent.seconds * 1e3, 30, why)
    yield Row("EdgeDRNN, effective throughput", "GOp/s", 20.2, 2e-9 * dense_macs / spent.seconds, 30, why)
    yield Row(
        "EdgeDRNN, energy of a step", "µJ", 2.42 * 500, spent.joules * 1e6, None,
        "published: 2.42 W at the wall, the whole board; modelled: MACs and DRAM accesses alone",
    )  # fmt: skip


def raspberry_pis() -> Iterator[Row]:
    """The boards' figures against the compiled kernels that they are of."""
    table = read_toml(configs_dir() / "kernels" / "arm_cycles.toml")
    cores = {"cortex-a53": "raspberry_pi_zero_2w", "cortex-a72": "raspberry_pi_4", "cortex-a76": "raspberry_pi_5"}
    for core, board in cores.items():
        cycles = load_board(board).cycles
        for kernel, figure in (("forward", cycles.mac_forward), ("backward", cycles.mac_backward),
                               ("gradient", cycles.mac_gradient), ("gates", cycles.activation),
                               ("update", cycles.weight_byte_written)):  # fmt: skip
            found = table[core][kernel]
            yield Row(
                f"{board}, {kernel}", found["unit"], found["value"], figure.value, 10,
                "published: llvm-mca of the cross-compiled loop, no cache misses; modelled: the board's figure",
            )  # fmt: skip


def machine(
    clock_hz: float,
    cycles: dict[str, float],
    pj_per_cycle: float | None = None,
    operations_pj: dict[str, float] | None = None,
) -> Board:
    """Return a board of exact figures: operations that are not named cost nothing."""
    energy = None if operations_pj is None else _operations(operations_pj, "pJ")
    return Board(
        "published", "a published machine", "made up of its publication", _exact(clock_hz, "Hz"), _exact(1, "byte"),
        None, _operations(cycles, "cycle"), None if energy is not None else _exact(pj_per_cycle or 0.0, "pJ/cycle"),
        energy, True, None,
    )  # fmt: skip


def _operations(values: dict[str, float], unit: str) -> PerOperation:
    return PerOperation(**{name: _exact(values.get(name, 0.0), unit) for name in OPERATIONS})


def _exact(value: float, unit: str) -> Figure:
    return Figure(value, value, value, unit, "the publication", True)


def learning_step(layers: tuple[tuple[int, int], ...], occupancy: float) -> tuple[Counts, Counts]:
    """Return the counts of one step inside a long utterance, forward and backward, as our engine counts them.

    A hundred steps, divided: what happens once an utterance (first frame, update) is next to nothing of a step.
    """
    steps = 100
    forward, backward = Counts(), Counts()
    for k, (inputs, hidden) in enumerate(layers):
        active = round(occupancy * (inputs + hidden) * steps)
        forward += count_forward(
            inputs, hidden, 1 if k == 0 else 2, steps, active, active // 8 + steps, 0, 0, 0, k == 0
        )
        dense = (hidden + (inputs if k > 0 else 0)) * steps
        backward += count_backward(hidden, steps, round(occupancy * dense), dense)
        backward += count_gradient(inputs, hidden, steps, active)
    return _share(forward, steps), _share(backward, steps)


def sum_cost(step: tuple[Counts, Counts], board: Board) -> Cost:
    """Return the cost of a step forward and backward."""
    return cost(step[0], board) + cost(step[1], board)


def gru_step(inputs: int, hidden: int, classes: int, occupancy: float) -> Counts:
    """Return the counts of a frame of a Delta GRU with a dense layer of classes on it."""
    macs = round(3 * hidden * (inputs + hidden) * occupancy) + hidden * classes
    return Counts(
        frames=1,
        macs_forward=macs,
        weight_bytes_read=macs,
        state_bytes=2 * (inputs + hidden) + 8 * 3 * hidden + 6 * hidden,
        activations=3 * hidden,
        elementwise_ops=inputs + hidden + 3 * hidden + 5 * hidden,
    )


def _share(counts: Counts, steps: int) -> Counts:
    return Counts(*(round(value / steps) for value in vars(counts).values()))


def render() -> str:
    """Return the table as Markdown."""
    lines = ["| what | unit | published | modelled | error | bar | why |", "|---|---|---|---|---|---|---|"]
    for row in rows():
        bar = "" if row.bar is None else f"±{row.bar:.0f} %"
        lines.append(
            f"| {row.what} | {row.unit} | {_short(row.published)} | {_short(row.modelled)} | {row.error:+.1f} % "
            f"| {bar} | {row.why} |"
        )
    return "\n".join(lines) + "\n"


def document(text: str) -> str:
    """Return the text of docs/cost_model.md with the table as it is now."""
    return with_block(text, BEGIN, END, render())


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.1f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="the cost model beside published measurements")
    parser.add_argument("--write", action="store_true", help="write the table into docs/cost_model.md")
    if parser.parse_args().write:
        DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    print(render(), end="")
