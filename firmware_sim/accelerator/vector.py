"""The vector work between the products: element-wise passes, the delta encoder, and the update of the weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgelearn.jit import kernel
from firmware_sim.accelerator.config import AcceleratorConfig
from firmware_sim.accelerator.core import Scalar
from firmware_sim.accelerator.machine import CYCLE_KINDS, DRAIN, REFILL, START, WEIGHTS
from firmware_sim.accelerator.sparse import IntArray

ELEMENTWISE, ENCODE, UPDATE = range(len(CYCLE_KINDS), len(CYCLE_KINDS) + 3)
VECTOR_KINDS = ("elementwise", "encode", "update")
"""What cycles go on besides those of `CYCLE_KINDS`, and follow them in a ledger: an operation on P elements, P
elements compared or a delta written, a word of weights read or written back."""


def elementwise_cycles(config: AcceleratorConfig, passes: Sequence[int]) -> IntArray:
    """Cycles by kind of element-wise operations, each on so many elements, each on the results of the one before.

    P elements enter the pipeline in a cycle; an element's next operation can enter when the one before has left it.
    """
    ledger = _ledger()
    lanes = config.array.processing_elements
    words = np.array([-(-elements // lanes) for elements in passes], np.int64)
    run_passes(words, config.pipeline.start_cycles, config.pipeline.core_stages, ledger)
    return ledger


def encoder_cycles(config: AcceleratorConfig, width: int, columns: IntArray) -> IntArray:
    """Cycles by kind to compare a vector of `width` elements with what was transmitted, and to list active `columns`.

    P elements are compared in a cycle, and `encoder_entries` deltas written.
    """
    ledger = _ledger()
    lanes = config.array.processing_elements
    active = np.bincount(columns // lanes, minlength=-(-width // lanes))
    ledger[START] = config.pipeline.start_cycles
    ledger[ENCODE] = np.maximum(1, -(-active // config.work.encoder_entries)).sum()
    ledger[DRAIN] = config.work.encoder_stages
    return ledger


def update_cycles(config: AcceleratorConfig, rows: int, columns: int) -> IntArray:
    """Cycles by kind to add the gradient to every weight [rows, columns]: each word is read and written back."""
    ledger = _ledger()
    words = -(-rows // config.array.processing_elements) * columns
    ledger[START] = config.pipeline.start_cycles
    ledger[WEIGHTS] = config.memory.latency_cycles
    ledger[UPDATE] = 2 * words * config.vector_cycles
    ledger[DRAIN] = config.pipeline.core_stages
    return ledger


@kernel
def run_passes(words: Scalar, start_cycles: Scalar, depth: Scalar, ledger: Scalar) -> None:
    """Step passes of words[k] words (int64 [K]) through a pipeline of `depth` registers; `ledger` grows.

    One word enters a cycle. Word w of a pass waits until word w of the pass before has come out.
    """
    ledger[START] += start_cycles
    longest = 0
    for k in range(words.shape[0]):
        longest = max(longest, words[k])
    out_at = np.zeros(longest, np.int64)
    now = np.int64(0)
    for k in range(words.shape[0]):
        w = np.int64(0)
        while w < words[k]:
            now += 1
            if now > out_at[w]:
                out_at[w] = now + depth
                ledger[ELEMENTWISE] += 1
                w += 1
            else:
                ledger[REFILL] += 1
    ledger[DRAIN] += depth


def _ledger() -> IntArray:
    return np.zeros(len(CYCLE_KINDS) + len(VECTOR_KINDS), np.int64)
