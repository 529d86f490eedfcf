"""`python -m firmware_sim accelerator`: cycles of a learning step, or of the three products, on the accelerator."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgelearn.cli.output import emit, table
from edgelearn.errors import UsageError
from firmware_sim.accelerator.config import AcceleratorConfig, load_accelerator, with_processing_elements
from firmware_sim.accelerator.report import ProductsReport, StepReport, products_report, step_report

HELP = (
    "Step the training accelerator cycle by cycle: a whole learning step with its losses itemised (the default), "
    "or the three sparse products by themselves (--products)."
)
PUBLISHED_SPARSITIES = [0.0, 0.5, 0.8, 0.9]
PUBLISHED_SIZE = [256, 256, 256]
LARGEST_SIZE = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the machine, the work, and how it is printed."""
    parser.add_argument(
        "--config",
        metavar="NAME|FILE",
        help="of configs/accelerators, or a .toml file (default: reneta_dram; with --products reneta_rtl)",
    )
    parser.add_argument("--pes", type=int, metavar="P", help="processing elements; the DRAM word grows with them")
    parser.add_argument(
        "--utterance", type=Path, metavar="FILE", help="learn from this recording: the masks are its own"
    )
    parser.add_argument(
        "--sparsity",
        type=float,
        metavar="S",
        action="append",
        help="share of deltas that are zero: of random masks, or of --utterance by other thresholds; can be repeated",
    )
    parser.add_argument("--model", type=Path, metavar="PATH", help="whose network learns (default: the shipped one)")
    parser.add_argument("--products", action="store_true", help="only M += W d, W^T CM and CM (x) d, random masks")
    parser.add_argument(
        "--size",
        type=int,
        nargs=3,
        metavar=("COLUMNS", "ROWS", "STEPS"),
        help="of --products (default: 256 256 256)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of random masks (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON lines instead of tables")


def run(args: argparse.Namespace) -> int:
    """Step what was asked for and print it."""
    config = load_accelerator(args.config or ("reneta_rtl" if args.products else "reneta_dram"))
    if args.pes is not None:
        config = with_processing_elements(config, args.pes)
    if args.products:
        _run_products(args, config)
    else:
        _run_steps(args, config)
    return 0


def _run_products(args: argparse.Namespace, config: AcceleratorConfig) -> None:
    if args.utterance is not None or args.model is not None:
        raise UsageError("--products takes random masks only", "leave out --utterance and --model, or --products")
    size = args.size or PUBLISHED_SIZE
    if not all(1 <= number <= LARGEST_SIZE for number in size):
        raise UsageError(f"--size {' '.join(map(str, size))}: not all from 1 to {LARGEST_SIZE}")
    columns, rows, steps = size
    sparsities = args.sparsity or PUBLISHED_SPARSITIES
    report = products_report(config, columns, rows, steps, sparsities, args.seed)
    (_emit_products if args.json else _print_products)(report)


def _run_steps(args: argparse.Namespace, config: AcceleratorConfig) -> None:
    if args.size is not None:
        raise UsageError("--size is of --products", "a learning step has the size of its model and recording")
    if args.utterance is None and args.sparsity is None:
        raise UsageError(
            "what is to be learned?", "give --utterance FILE, --sparsity S, or both; or --products for the products"
        )
    for number, sparsity in enumerate(args.sparsity or [None]):
        report = step_report(config, args.model, args.utterance, sparsity, args.seed)
        if args.json:
            _emit_step(report)
        else:
            if number:
                print()
            _print_step(report)


def _print_products(report: ProductsReport) -> None:
    print(report.title)
    table(report.headers, report.rows)


def _emit_products(report: ProductsReport) -> None:
    for line in report.lines:
        emit("product", **line)


def _print_step(report: StepReport) -> None:
    print(report.title)
    table(report.headers, report.rows)
    print(report.summary)


def _emit_step(report: StepReport) -> None:
    for line in report.lines:
        emit("cycles", **line)
    emit("step", **report.figures)
