"""The comparisons, one after the other, as lines of results."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from edgelearn.audio.frontend import Frontend
from edgelearn.benchmarking.kernels import MatrixPart, Peak
from edgelearn.benchmarking.timing import Pair, paired
from edgelearn.benchmarking.workload import Runner, Workload, make_workload, speech
from edgelearn.device.arena import Arena

if TYPE_CHECKING:
    from edgelearn.benchmarking.peers import OnnxPeer, TorchPeer
    from edgelearn.runtime.model import Model

SPARSITIES = (50, 80, 90)
SHAPES = (32, 16)
"""Inputs of the networks that are timed; the first gives the lines their plain names, `_16` marks the other."""


@dataclass(frozen=True)
class Result:
    """One line: value in `unit`; ratio above 1: ours is faster than the peer."""

    name: str
    value: float
    unit: str
    peer: str
    ratio: float | None
    extra: dict[str, Any] = field(default_factory=dict)


def run(model: Model, peers: list[str], seconds: float) -> Iterator[Result]:
    """Yield every comparison, each over about `seconds`, on one core where the system lets a process choose."""
    with one_core():
        for inputs in SHAPES:
            work = make_workload(model, inputs)
            dense, sparse = work.at(0), work.at_sparsity(0.8)
            mark = "" if inputs == SHAPES[0] else f"_{inputs}"
            if "onnxruntime" in peers:
                yield from _against_onnx(work, seconds, mark)
            if "torch" in peers:
                yield from _against_torch(work, dense, sparse, seconds, mark)
            yield from _own(work, seconds, mark)
        yield _frontend(make_workload(model, SHAPES[0]), seconds)


def describe() -> dict[str, Any]:
    """Return what a table of times must be read with: the machine, the versions, the date."""
    packages = ("numpy", "numba", "llvmlite", "torch", "onnxruntime", "python_speech_features")
    versions: dict[str, str | None] = {}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "machine": f"{_cpu_name()}, {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "date": datetime.now(UTC).date().isoformat(),
    }


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith(("model name", "Model"))]
    except OSError:
        names = []
    # the core by the name that its instructions were chosen for: "AMD EPYC" alone says little
    core = importlib.import_module("llvmlite.binding").get_host_cpu_name()
    return f"{names[0]} ({core})" if names else f"{platform.processor() or 'unknown'} ({core})"


@contextmanager
def one_core() -> Iterator[None]:
    """Stay on the core that this process is on, if the system has a call for it."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _line(name: str, pair: Pair, peer: str, unit: str = "us", scale: float = 1e6, **extra: Any) -> Result:
    return Result(name, pair.ours_s * scale, unit, peer, pair.ratio, {"peer_value": pair.theirs_s * scale} | extra)


def _against_onnx(work: Workload, seconds: float, mark: str) -> Iterator[Result]:
    from edgelearn.benchmarking.peers import OnnxPeer

    ours, sparsity = Runner(work), work.sparsity()
    peer = OnnxPeer(work)
    agreement = _agreement(work.at(0), peer)
    for name, theirs, title in (
        ("frame_vs_onnxruntime", peer.frame(), "onnxruntime"),
        ("frame_vs_onnxruntime_io_binding", peer.bound_frame(), "onnxruntime, IO binding"),
        ("frame_vs_onnxruntime_int8", OnnxPeer(work, int8=True).frame(), "onnxruntime, int8 dynamic"),
    ):
        pair = paired(ours.frame, theirs, seconds)
        yield _line(name + mark, pair, title, sparsity=sparsity, dense_difference=agreement)


def _against_torch(work: Workload, dense: Workload, sparse: Workload, seconds: float, mark: str) -> Iterator[Result]:
    from edgelearn.benchmarking.peers import TorchPeer

    peer = TorchPeer(work)
    agreement = _agreement(dense, peer)
    ours = Runner(work)
    for name, theirs, title in (
        ("frame_vs_torch", peer.frame(), "torch nn.LSTM, a step"),
        ("frame_vs_torch_cell", peer.cell_frame(), "torch nn.LSTMCell"),
    ):
        pair = paired(ours.frame, theirs, seconds)
        yield _line(name + mark, pair, title, sparsity=work.sparsity(), dense_difference=agreement)
    for label, chosen in (("dense", dense), ("s80", sparse)):
        runner, sparsity = Runner(chosen), chosen.sparsity()
        for name, mine, theirs, title in (
            ("sequence_vs_torch", runner.sequence, peer.sequence(), "torch nn.LSTM, fused sequence"),
            ("sequence_vs_torch_int8", runner.sequence, peer.int8_sequence(), "torch int8 dynamic, sequence"),
            ("learn_vs_torch", runner.learn, peer.learn, "torch forward, backward, SGD"),
        ):
            pair = paired(mine, theirs, seconds)
            yield _line(f"{name}_{label}{mark}", pair, title, frames=len(work.frames), sparsity=sparsity)


def _agreement(dense: Workload, peer: TorchPeer | OnnxPeer) -> float:
    """Return the mean difference of |h| <= 1 between ours without thresholds and the peer's: it is the same network."""
    network = dense.network()
    hidden = np.zeros((len(dense.frames), dense.layer.hidden), np.int16)
    network.forward(network.new_state("state"), dense.frames, hidden_out=hidden)
    return float(np.abs(hidden / 2.0**13 - peer.hidden()).mean())


def _own(work: Workload, seconds: float, mark: str) -> Iterator[Result]:
    """Our own speed-up by sparsity, and the share of the core's peak."""
    dense = Runner(work.at(0))
    dense_matrix = MatrixPart(dense)
    for percent in SPARSITIES:
        chosen = work.at_sparsity(percent / 100)
        sparse = Runner(chosen)
        matrix = MatrixPart(sparse)
        part = paired(matrix, dense_matrix, seconds)
        whole = paired(sparse.learn, dense.learn, seconds)
        ideal = dense_matrix.macs / matrix.macs
        yield Result(
            f"sparse_speedup_s{percent}{mark}", part.ratio, "x", "edgelearn, dense", part.ratio,
            {
                "ideal": ideal, "ideal_share": part.ratio / ideal, "sparsity": chosen.sparsity(),
                "whole_step": whole.ratio, "whole_step_us": whole.ours_s * 1e6, "matrix_us": part.ours_s * 1e6,
            },
        )  # fmt: skip
    peak = Peak()
    forward = paired(dense.sequence, peak, seconds)
    matrix_pair = paired(dense_matrix, peak, seconds)
    layer = work.layer
    macs = 4 * layer.hidden * (layer.inputs + layer.hidden) * len(work.frames)
    # work a second of ours over that of the peak, from the ratio of the two times in the same round
    share = macs / peak.macs * forward.ratio
    yield Result(
        f"peak_share{mark}", share, "share", "this core, int8 * int16 -> int32 in L1", None,
        {
            "peak_gmac_s": peak.macs / forward.theirs_s / 1e9, "forward_gmac_s": macs / forward.ours_s / 1e9,
            "matrix_part_share": dense_matrix.macs / peak.macs * matrix_pair.ratio,
        },
    )  # fmt: skip


def _frontend(work: Workload, seconds: float) -> Result:
    """A second of sound in one call a frame, against the definition of the features called frame by frame."""
    from python_speech_features import logfbank

    config = work.frontend
    sound = speech()[: config.sample_rate_hz]
    frontend = Frontend(config, Arena(1 << 20))
    starts = range(0, len(sound) - config.frame + 1, config.hop)
    hops = [sound[k : k + config.hop] for k in range(0, len(sound) - config.hop + 1, config.hop)]

    def theirs() -> None:
        for start in starts:
            logfbank(
                sound[start : start + config.frame], config.sample_rate_hz, config.frame / config.sample_rate_hz,
                config.hop / config.sample_rate_hz, config.bands, config.frame, config.low_hz, config.high_hz,
                config.preemphasis,
            )  # fmt: skip

    def ours() -> None:
        for hop in hops:
            frontend.push(hop)

    return _line(
        "frontend_vs_python_speech_features", paired(ours, theirs, seconds), "python_speech_features", frames=len(hops)
    )
