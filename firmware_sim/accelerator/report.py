"""What is printed of a simulation: tables whose parts sum to the total, and the same as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgelearn.errors import UsageError
from edgelearn.runtime.model import BASE_MODEL, load_model
from firmware_sim.accelerator.config import AcceleratorConfig
from firmware_sim.accelerator.products import ideal_cycles, multiply, multiply_transposed, outer_products
from firmware_sim.accelerator.sparse import VALUE_LIMIT, random_steps
from firmware_sim.accelerator.step import KINDS, PHASES, Comparison, compare
from firmware_sim.accelerator.trace import Trace, random_trace, utterance_trace

MEANINGS = {
    "multiply": "pairs of weights and a delta, P MACs each",
    "hazard": "a column of CM (x) d repeats too soon",
    "drain": "the core empties before the next step",
    "start": "command and descriptor",
    "refill": "the multiplexer fills",
    "weights": "DRAM latency and bandwidth",
    "lists": "the first list entries of a step",
    "writes": "results go before list entries",
    "elementwise": "sum of M, gates, c, h; backward the same",
    "encode": "what changed, and its list",
    "update": "weights read and written back",
    "accumulators": "gradients cleared and read out",
}
"""Each kind of cycle in words."""
RANDOM_FRAMES = 50
PRODUCT_NAMES = ("M += W d", "W^T CM", "CM (x) d")


@dataclass(frozen=True)
class ProductsReport:
    """The three products at some sparsities: a table, and a line of values for each product and sparsity."""

    title: str
    headers: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    lines: list[dict[str, Any]]


@dataclass(frozen=True)
class StepReport:
    """A learning step: a table of cycles by kind and phase with what is lost, one sentence, and the same as values."""

    title: str
    headers: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    summary: str
    lines: list[dict[str, Any]]
    figures: dict[str, Any]


def products_report(
    config: AcceleratorConfig, columns: int, rows: int, steps: int, sparsities: Sequence[float], seed: int
) -> ProductsReport:
    """Step the three products of random masks, and compare each with the same product of every column.

    Raises UsageError for a sparsity that cannot be, or too many columns for the accumulators.
    """
    rng = np.random.default_rng(seed)
    weights = rng.integers(-128, 128, (rows, columns))
    gradients = rng.integers(-VALUE_LIMIT, VALUE_LIMIT, (steps, rows))

    def cycles(sparsity: float) -> list[tuple[int, int]]:
        deltas = random_steps(steps, columns, sparsity, seed)
        runs = (
            multiply(config, weights, deltas),
            multiply_transposed(config, weights, deltas, gradients),
            outer_products(config, deltas, gradients),
        )
        return [(run.cycles, run.macs) for run in runs]

    dense = cycles(0.0)
    dense_sum = sum(taken for taken, _ in dense)
    table, lines = [], []
    for sparsity in sparsities:
        found = cycles(sparsity)
        total = sum(taken for taken, _ in found)
        speed_up = dense_sum / total
        share = speed_up * sum(macs for _, macs in found) / sum(macs for _, macs in dense)
        table.append((sparsity, *(taken for taken, _ in found), total, f"{speed_up:.3f}", f"{100 * share:.1f}"))
        for name, (taken, macs), (before, _) in zip(PRODUCT_NAMES, found, dense, strict=True):
            lines.append(
                {
                    "product": name,
                    "sparsity": sparsity,
                    "cycles": taken,
                    "macs": macs,
                    "ideal_cycles": ideal_cycles(config, macs),
                    "speed_up": before / taken,
                    "config": config.name,
                    "processing_elements": config.array.processing_elements,
                    "columns": columns,
                    "rows": rows,
                    "steps": steps,
                    "seed": seed,
                }
            )
    return ProductsReport(
        f"{config.title}\n{columns} columns, {rows} rows, {steps} steps, random masks, seed {seed}; cycles",
        ("sparsity", *PRODUCT_NAMES, "all three", "speed-up", "% of ideal"),
        table,
        lines,
    )


def step_report(
    config: AcceleratorConfig, model: Path | None, utterance: Path | None, sparsity: float | None, seed: int
) -> StepReport:
    """Step a learning step of a model's network (None: the shipped one), from a recording or from random masks.

    sparsity: of the recording by other thresholds (None: the model's own), or of the random masks.
    """
    loaded = load_model(model if model is not None else BASE_MODEL)
    if utterance is not None:
        trace = utterance_trace(loaded, utterance, sparsity)
    elif sparsity is not None:
        shapes = [(layer.inputs, layer.hidden) for layer in loaded.network.layers]
        trace = random_trace(shapes, RANDOM_FRAMES, sparsity, seed, all_inputs=False)
    else:
        raise UsageError("neither a recording nor a sparsity was given")
    return describe(config, trace, compare(config, trace))


def describe(config: AcceleratorConfig, trace: Trace, found: Comparison) -> StepReport:
    """Put a comparison into words and numbers."""
    sparse, dense = found.sparse, found.dense
    losses = found.losses()
    rows: list[tuple[Any, ...]] = []
    lines = []
    for k, kind in enumerate(KINDS):
        by_phase = [int(c) for c in sparse.cycles[:, k]]
        before = int(dense.cycles[:, k].sum())
        lines.append(
            {"kind": kind, "cycles": sum(by_phase), "cycles_dense": before, "lost": losses[kind]}
            | dict(zip(PHASES, by_phase, strict=True))
        )
        if sum(by_phase) or before:
            rows.append((kind, MEANINGS[kind], *by_phase, sum(by_phase), before, round(losses[kind])))
    lost = sparse.total - found.occupancy * dense.total
    phases = [sparse.phase(name) for name in PHASES]
    rows.append(("total", "", *phases, sparse.total, dense.total, round(lost)))
    milliseconds = 1e3 * sparse.total / config.array.clock_hz
    return StepReport(
        f"{config.title}\n{trace.what}: {trace.frames} frames, {100 * trace.sparsity:.1f} % of the deltas skipped",
        ("cycles", "", *PHASES, "all", "dense", "lost"),
        rows,
        f"{found.speed_up:.2f} times faster than dense, {100 * found.ideal_share:.0f} % of the ideal "
        f"{found.ideal_speed_up:.2f} (multiplications left: {100 * found.occupancy:.1f} %); "
        f"{milliseconds:.2f} ms at {config.array.clock_hz / 1e6:g} MHz",
        lines,
        {
            "config": config.name,
            "processing_elements": config.array.processing_elements,
            "what": trace.what,
            "frames": trace.frames,
            "sparsity": trace.sparsity,
            "cycles": sparse.total,
            "cycles_dense": dense.total,
            "macs": sparse.macs,
            "macs_dense": dense.macs,
            "lost": lost,
            "speed_up": found.speed_up,
            "ideal_speed_up": found.ideal_speed_up,
            "ideal_share": found.ideal_share,
        },
    )
