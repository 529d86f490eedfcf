"""How the cost of a forward pass and of a learning step grows with hidden units and with seconds of sound.

    python benchmarks/scaling.py

Random weights and a random walk as input, thresholds 0: the matrix products are all there. Times are processor
time; the last two columns should stay level (GMAC/s) as the network grows and as the utterance does.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from edgelearn.cli.output import table
from edgelearn.device.arena import Arena
from edgelearn.engine.network import LayerConfig, Network, NetworkConfig

INPUTS, FRAME_RATE = 32, 50
ARENA_BYTES = 1 << 26


def median_s(work: Callable[[], object], times: int = 9) -> float:
    """Return the median processor time of `work` in seconds, after warming it up."""
    work()
    seconds = []
    for _ in range(times):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def measure(hidden: int, seconds: int) -> tuple[object, ...]:
    """Return a row of the table."""
    rng = np.random.default_rng(1)
    network = Network(NetworkConfig((LayerConfig(INPUTS, hidden, 6),)), Arena(ARENA_BYTES))
    shape = (INPUTS + hidden, 4 * hidden)
    network.load(
        {
            "layer0.weights_hi": rng.integers(-20, 21, shape).astype(np.int8),
            "layer0.weights_lo": np.zeros(shape, np.int8),
            "layer0.bias": np.zeros(4 * hidden, np.int32),
        }
    )
    total = seconds * FRAME_RATE
    frames = np.clip(np.cumsum(rng.normal(0, 9, (total, INPUTS)), axis=0), -128, 127).astype(np.int8)
    state, gradients = network.new_state("state"), network.new_backward("gradients")
    tape = network.new_tape(total, total * shape[0], "tape")
    grad_h = rng.integers(-(2**15), 2**15, hidden).astype(np.int32)

    def forward() -> None:
        state.reset()
        network.advance(state, frames)

    def learn() -> None:
        state.reset()
        tape.reset()
        network.advance(state, frames, tape=tape)
        network.backward(tape, gradients, grad_h)
        network.update(tape, gradients, 1, 31, 1)

    forward_s, learn_s = median_s(forward), median_s(learn)
    macs = shape[0] * shape[1] * total
    training = macs + total * shape[1] * (2 * shape[0] - INPUTS) - shape[1] * hidden
    return hidden, seconds, 1e3 * forward_s, 1e3 * learn_s, macs / forward_s / 1e9, training / learn_s / 1e9


if __name__ == "__main__":
    sizes = [(64, 1), (128, 1), (256, 1), (512, 1), (128, 2), (128, 5), (128, 10)]
    table(
        ["hidden", "seconds", "forward ms", "learning step ms", "forward GMAC/s", "learning GMAC/s"],
        [measure(hidden, seconds) for hidden, seconds in sizes],
    )
