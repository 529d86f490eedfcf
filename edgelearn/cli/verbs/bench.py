"""`edgelearn bench`: the speed of this machine, and of other runtimes on the same work in the same run."""

from __future__ import annotations

import argparse

from edgelearn.cli.arguments import open_model
from edgelearn.cli.output import emit, say, table
from edgelearn.errors import UsageError

HELP = "Time frames, utterances and learning steps, against PyTorch and ONNX Runtime where they are installed."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the peers and the time to take."""
    parser.add_argument(
        "--compare", metavar="PEER,...", help="torch, onnxruntime (default: both, where they are installed)"
    )
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="time for each comparison (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Run the comparisons and print a line for each."""
    if not 0 < args.seconds <= 60:
        raise UsageError(f"--seconds is {args.seconds:g}", "it must be above 0 and at most 60")
    from edgelearn.benchmarking import suite
    from edgelearn.benchmarking.peers import INSTALL, choose, missing

    peers = []
    for name in choose(args.compare):
        if packages := missing(name):
            say(f"not compared with {name}: {' and '.join(packages)} not installed; {INSTALL}")
        else:
            peers.append(name)
    _, model = open_model(args)
    machine = suite.describe()
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    say(f"{machine['machine']}; Python {machine['python']}, {versions}; {machine['date']}")
    rows = []
    for result in suite.run(model, peers, args.seconds):
        if args.json:
            emit(
                "bench", name=result.name, value=result.value, unit=result.unit, peer=result.peer, ratio=result.ratio,
                **result.extra, **machine,
            )  # fmt: skip
        else:
            say(f"{result.name}: {result.value:.3g} {result.unit}")
        extra = result.extra
        rows.append(
            (result.name, result.value, result.unit, result.peer, extra.get("peer_value"), result.ratio,
             extra.get("sparsity"), extra.get("ideal_share"))
        )  # fmt: skip
    if not args.json:
        table(["measure", "ours", "unit", "against", "theirs", "ratio", "sparsity", "of the ideal"], rows)
    return 0
