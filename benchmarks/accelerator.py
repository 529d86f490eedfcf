"""The study of the training accelerator in docs/accelerator.md: published, modelled, error; a learning step itemised.

    python benchmarks/accelerator.py            # print it
    python benchmarks/accelerator.py --write    # put it into docs/accelerator.md

Every number is a count of simulated cycles or made of such counts: the same on every machine.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.pages import with_block
from edgelearn.cli.output import say
from edgelearn.runtime.model import BASE_MODEL, load_model
from firmware_sim.accelerator import sheet
from firmware_sim.accelerator.config import AcceleratorConfig, load_accelerator, with_processing_elements
from firmware_sim.accelerator.products import ProductRun, multiply, multiply_transposed, outer_products
from firmware_sim.accelerator.report import MEANINGS, describe
from firmware_sim.accelerator.sparse import VALUE_LIMIT, random_steps
from firmware_sim.accelerator.step import KINDS, PHASES, Comparison, compare
from firmware_sim.accelerator.trace import random_trace, utterance_trace

PAGE = Path(__file__).resolve().parent.parent / "docs" / "accelerator.md"
BEGIN, END = "<!-- study: written by benchmarks/accelerator.py -->\n", "<!-- end of study -->\n"
TAKE = BASE_MODEL.parent / "demo" / "computer_flite-slt_take1.wav"
EXAMPLE: Sequence[sheet.Shape] = [(32, 128), (128, 128)]
NAMES = ("M += W d", "Wᵀ CM", "CM ⊗ d")
PUBLISHED = {
    0.0: (1_051_917, 1_056_781, 1_048_602),
    0.5: (527_629, 532_493, 524_314),
    0.8: (213_069, 217_933, 209_754),
    0.9: (108_205, 113_069, 104_890),
}
DELTA_KWS_SPARSITY, DELTA_KWS_RATIO = 0.87, 2.4
SEED = 0


def render() -> str:
    """Return the study in Markdown."""
    parts = [
        published(),
        beyond_the_test_bench(),
        design_sheet(),
        other_machines(),
        learning_steps(),
        bandwidth(),
        delta_kws(),
    ]
    return "\n\n".join(parts)


def products(config: AcceleratorConfig, columns: int, rows: int, steps: int, sparsity: float) -> list[ProductRun]:
    """Step the three products on random integers."""
    rng = np.random.default_rng(SEED)
    weights = rng.integers(-128, 128, (rows, columns))
    gradients = rng.integers(-VALUE_LIMIT, VALUE_LIMIT, (steps, rows))
    deltas = random_steps(steps, columns, sparsity, SEED)
    return [
        multiply(config, weights, deltas),
        multiply_transposed(config, weights, deltas, gradients),
        outer_products(config, deltas, gradients),
    ]


def published() -> str:
    """Return the published cycles beside the simulated ones."""
    rtl = load_accelerator("reneta_rtl")
    rows = []
    for sparsity, cycles in PUBLISHED.items():
        runs = products(rtl, 256, 256, 256, sparsity)
        for name, there, run in zip(NAMES, cycles, runs, strict=True):
            error = run.cycles / there - 1
            rows.append((f"{sparsity:g}", name, f"{there:,}", f"{run.cycles:,}", f"{100 * error:.2f} %"))
    text = "### The published RTL in its own test bench: 16 PEs, 256 columns, 256 rows, 256 steps\n\n"
    return text + markdown(("sparsity", "product", "published cycles", "modelled", "error"), rows)


def beyond_the_test_bench() -> str:
    """Return what latency and accumulators make of the speed-up at 90 %, beside what is known of it."""
    rtl = load_accelerator("reneta_rtl")
    late = replace(rtl, memory=replace(rtl.memory, latency_cycles=80))
    full = replace(rtl, work=replace(rtl.work, dense_accumulators=True))
    slow = [(products(late, 256, 256, 256, s)) for s in (0.0, 0.9)]
    read = products(full, 256, 256, 256, 0.9)[2]
    rows = []
    for k, (known, text) in enumerate((("8.6", "80 cycles of DRAM latency"), ("8.1", "the same"))):
        ratio = slow[0][k].cycles / slow[1][k].cycles
        rows.append((NAMES[k], text, known, f"{ratio:.2f}", f"{100 * (ratio / float(known) - 1):+.1f} %"))
    ratio = PUBLISHED[0.0][2] / read.cycles
    rows.append(
        (NAMES[2], "accumulators cleared and read", "9.34", f"{ratio:.2f}", f"{100 * (ratio / 9.34 - 1):+.1f} %")
    )
    return "### Speed-up at 90 % with what that test bench leaves out\n\n" + markdown(
        ("product", "with", "known", "modelled", "error"), rows
    )


def design_sheet() -> str:
    """Return the design sheet's example by its formulas and by the clock."""
    config, frames = load_accelerator("reneta_sheet"), 64
    found = compare(config, random_trace(EXAMPLE, frames, 0.8, SEED, all_inputs=True)).sparse
    kind = {name: found.cycles[:, k] / frames for k, name in enumerate(KINDS)}
    forward, learning = slice(0, 1), slice(1, 3)
    rows = []
    for name, known, formula, phases in (
        ("forward", 725.6, sheet.forward_cycles(EXAMPLE, 64, 0.2), forward),
        ("backward with gradients", 1421.2, sheet.backward_cycles(EXAMPLE, 64, 0.2), learning),
    ):
        counted = float(kind["multiply"][phases].sum() + kind["elementwise"][phases].sum())
        whole = float(found.cycles[phases].sum()) / frames
        rows.append(
            (
                name,
                f"{known}",
                f"{formula:.1f}",
                f"{100 * (formula / known - 1):.2f} %",
                f"{counted:.1f}",
                f"{100 * (counted / known - 1):+.1f} %",
                f"{whole:.1f}",
            )
        )
    others = {n: float(kind[n][:3].sum()) for n in KINDS if n not in ("multiply", "elementwise")}
    listed = ", ".join(f"{name} {cycles:.0f}" for name, cycles in others.items() if cycles >= 0.5)
    return (
        "### The design sheet's example: N 32, two layers of 128, 64 PEs, sparsity 0.8; cycles a step\n\n"
        + markdown(
            (
                "part",
                "published",
                "by its formulas",
                "error",
                "clock: multiply and elementwise",
                "error",
                "clock: everything",
            ),
            rows,
        )
        + f"\n\nWhat the sheet leaves out, forward and backward together, cycles a step: {listed}."
    )


def other_machines() -> str:
    """Return other numbers of elements and other sizes, for whoever has the RTL at hand."""
    rows = []
    for elements in (4, 8, 16, 32, 64):
        config = with_processing_elements(load_accelerator("reneta_rtl"), elements)
        for columns, height, steps, sparsity in ((64, 64, 64, 0.8), (128, 256, 40, 0.5)):
            cycles = [f"{run.cycles:,}" for run in products(config, columns, height, steps, sparsity)]
            rows.append((f"{elements}", f"{columns} × {height}", f"{steps}", f"{sparsity:g}", *cycles))
    return (
        "### Other numbers of PEs and other sizes, random masks of `--seed 0`\n\n"
        + markdown(("PEs", "columns × rows", "steps", "sparsity", *NAMES), rows)
        + "\n\nWhere a step has fewer than four active columns, CM ⊗ d depends on which they are."
    )


def learning_steps() -> str:
    """Return whole learning steps on a real utterance, itemised."""
    model = load_model(BASE_MODEL)
    texts, rows = [], []
    for wanted in (None, 0.5, 0.8, 0.9):
        trace = utterance_trace(model, TAKE, wanted)
        ideal, real = (compare(load_accelerator(name), trace) for name in ("reneta_rtl", "reneta_dram"))
        shapes = [(layer.inputs, layer.hidden) for layer in trace.layers]
        random = compare(
            load_accelerator("reneta_dram"), random_trace(shapes, trace.frames, trace.sparsity, SEED, all_inputs=False)
        )
        rows.append(
            (
                f"{100 * trace.sparsity:.1f} %",
                f"{real.ideal_speed_up:.2f}",
                f"{ideal.speed_up:.2f}",
                f"{real.speed_up:.2f}",
                f"{100 * real.ideal_share:.0f} %",
                f"{phase_ratio(real, 'forward'):.2f}",
                f"{random.speed_up:.2f}",
            )
        )
        if wanted is not None:
            texts.append(itemised(real, describe(load_accelerator("reneta_dram"), trace, real).title.splitlines()[1]))
    summary = markdown(
        (
            "deltas skipped",
            "ideal",
            "ideal DRAM, nothing written back",
            "everything counted",
            "of the ideal",
            "forward pass only",
            "random masks",
        ),
        rows,
    )
    return (
        f"### A whole learning step on a real utterance (`{TAKE.name}`, the shipped network), speed-up over dense\n\n"
        + "\n\n".join([summary, *texts])
    )


def itemised(found: Comparison, title: str) -> str:
    """Return a table of cycles by kind and phase, which sums to the total, with what each kind loses."""
    losses = found.losses()
    rows = []
    for k, kind in enumerate(KINDS):
        cycles, dense = found.sparse.cycles[:, k], int(found.dense.cycles[:, k].sum())
        if cycles.any() or dense:
            phases = [f"{c:,}" for c in cycles]
            rows.append((kind, MEANINGS[kind], *phases, f"{cycles.sum():,}", f"{dense:,}", f"{losses[kind]:,.0f}"))
    phases = [f"**{found.sparse.phase(name):,}**" for name in PHASES]
    lost = sum(losses.values())
    rows.append(
        ("**total**", "", *phases, f"**{found.sparse.total:,}**", f"**{found.dense.total:,}**", f"**{lost:,.0f}**")
    )
    text = (
        f"**{title}**: {found.speed_up:.2f} times faster, the ideal is {found.ideal_speed_up:.2f} "
        f"({100 * found.occupancy:.1f} % of the multiplications are left).\n\n"
    )
    largest = sorted(losses.items(), key=lambda item: -item[1])[:5]
    shares = ", ".join(f"{kind} {100 * cycles / lost:.0f} %" for kind, cycles in largest)
    return text + markdown(("cycles", "", *PHASES, "all", "dense", "lost"), rows) + f"\n\nOf what is lost: {shares}."


def bandwidth() -> str:
    """Return what a narrower memory makes of the learning step at 80 %."""
    base, trace = load_accelerator("reneta_dram"), utterance_trace(load_model(BASE_MODEL), TAKE, 0.8)
    rows = []
    for bits in (256, 128, 64):
        found = compare(replace(base, memory=replace(base.memory, word_bits=bits)), trace)
        rate = bits / 8 * base.array.clock_hz / 1e9
        rows.append(
            (f"{bits}", f"{rate:.1f}", f"{found.sparse.total:,}", f"{found.dense.total:,}", f"{found.speed_up:.2f}")
        )
    return "### The same at 80 % with a narrower memory\n\n" + markdown(
        ("bits a cycle", "GB/s at 100 MHz", "cycles", "dense", "speed-up"), rows
    )


def delta_kws() -> str:
    """Return the forward pass at 87 %, beside a chip that has another machine for it."""
    trace = utterance_trace(load_model(BASE_MODEL), TAKE, DELTA_KWS_SPARSITY)
    rows = []
    for name in ("reneta_rtl", "reneta_dram"):
        config = load_accelerator(name)
        ratio = phase_ratio(compare(config, trace), "forward")
        error = 100 * (ratio / DELTA_KWS_RATIO - 1)
        rows.append(
            (config.title, f"{100 * trace.sparsity:.1f} %", f"{DELTA_KWS_RATIO}", f"{ratio:.2f}", f"{error:+.0f} %")
        )
    fixed = (1 / DELTA_KWS_RATIO - (1 - DELTA_KWS_SPARSITY)) / DELTA_KWS_SPARSITY
    return (
        "### The forward pass at 87 %, beside DeltaKWS (65 nm, arXiv 2405.03905)\n\n"
        + markdown(("machine", "deltas skipped", "DeltaKWS: times faster", "modelled", "error"), rows)
        + f"\n\nThe chip is another machine, of which no cycle count is published: 2.4 times at 87 % means that "
        f"{100 * fixed:.0f} % of its dense time is not skipped with the deltas, or that what it is compared with skips "
        "some already; neither can be derived here."
    )


def phase_ratio(found: Comparison, phase: str) -> float:
    """Return how many times faster a phase is."""
    return found.dense.phase(phase) / found.sparse.phase(phase)


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (headers, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(headers), *lines[1:]])


def with_study(page: str, study: str) -> str:
    """Return the page with the study between its marks."""
    return with_block(page, BEGIN, END, f"{study}\n")


def main() -> None:
    """Print the study, or write it into the page."""
    if sys.argv[1:] == ["--write"]:
        page = with_study(PAGE.read_text(encoding="utf-8"), render())
        PAGE.with_suffix(".new").write_text(page, encoding="utf-8")
        PAGE.with_suffix(".new").replace(PAGE)
        say(f"written: {PAGE}")
    elif sys.argv[1:]:
        sys.exit(f"usage: {sys.argv[0]} [--write]")
    else:
        print(render())


if __name__ == "__main__":
    main()
