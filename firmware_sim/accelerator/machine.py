"""The accelerator's clock: one kernel that steps every unit of it, edge by edge, through one sparse product.

The units are those of the published RTL (github.com/SensorsINI/RENETA, Chen et al., AAAI 2024), and so are their
registers and queues. A step's command goes to the descriptor unit; it starts an index reader, a value reader, the
operand multiplexer and the core. Indices ask the DRAM for a word of weights each (P operands, one for each
processing element); values come from the other bank of the activation memory. The multiplexer pairs the two
streams, and the core takes one pair a cycle: a pair is a row block of one active column. While the core drains, the
multiplexer stands still, but the readers already run for the next step: that is the double buffer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgelearn.jit import kernel
from firmware_sim.accelerator.core import BLOCK, ENTRY, MTXV, MXV, STEP, VXV, Scalar, next_step, take_pair

MULTIPLY, HAZARD, DRAIN, START, REFILL, WEIGHTS, LISTS, WRITES = range(8)
CYCLE_KINDS = ("multiply", "hazard", "drain", "start", "refill", "weights", "lists", "writes")
"""What the core does in a cycle: it takes a pair, waits for a column it has just used, empties its pipeline, waits
for a command and its descriptor, for its multiplexer to fill, for weights from the DRAM, for a step's first list
entries, or for later ones whose turn at the memory a result took that was written."""

NEVER = 1 << 60


class Timing(NamedTuple):
    """What the clock needs to know of a machine; counts of elements, registers or cycles, see `config.py`."""

    lanes: int
    descriptor_cycles: int
    start_cycles: int
    mux_stages: int
    core_stages: int
    chain_stages: int
    hazard_cycles: int
    request_queue: int
    value_queue: int
    weight_queue: int
    requests_in_flight: int
    latency_cycles: int
    word_cycles: int
    mxv_wait_cycles: int
    mtxv_wait_cycles: int
    write_back: int


@kernel
def run_product(
    product: Scalar, timing: Scalar, starts: Scalar, columns: Scalar, values: Scalar, vectors: Scalar,
    weights: Scalar, out: Scalar, ledger: Scalar,
) -> Scalar:  # fmt: skip
    """Step one product over T sparse vectors; returns its cycles, from the first command to the core's last result.

    starts int64 [T+1], columns int64 [E], values int64 [E]: entries of step t are starts[t]..starts[t+1]; a step
    without any costs the reading of its descriptor. vectors int64 [T, B*P]: CM of each step (MTXV, VXV). weights
    int64 [B, N, P]; VXV only asks for its shape. out int64, flat: [T, B*P] sums for MXV, [E] dot products for MTXV,
    [B, N, P] accumulators for VXV. ledger int64 [len(CYCLE_KINDS)] grows by the cycles of each kind; they add up to
    what is returned.
    """
    lanes = timing.lanes
    blocks = weights.shape[0]
    steps = starts.shape[0] - 1
    entries = starts[steps]
    drain = timing.core_stages + (lanes + timing.chain_stages if product == MTXV else 0)
    wait = timing.mxv_wait_cycles if product == MXV else 0

    # sequencer and readers: `front` is the step whose lists are read, its queues hold a command from `ready_at` on
    front = next_step(starts, -1)
    if entries == 0:
        return 0
    ready_at = 1 + (front + 1) * timing.descriptor_cycles
    todo = entries * blocks if product == VXV else (starts[front + 1] - starts[front]) * blocks
    indices_left = todo
    values_left = todo
    indices_done: Scalar = np.int64(NEVER)
    values_done: Scalar = np.int64(NEVER)
    core_taken: Scalar = np.int64(NEVER)
    mux_taken: Scalar = np.int64(NEVER)

    # registers of the value reader: request, queue, out of the queue, at the memory, out of it, output
    request: Scalar = False
    queued: Scalar = np.int64(0)
    asked: Scalar = False
    reading: Scalar = False
    read: Scalar = False
    given: Scalar = False

    # DRAM: when each word that was asked for can be there, and how far it has got
    arrive = np.zeros(timing.requests_in_flight, np.int64)
    words_asked: Scalar = np.int64(0)
    words_given: Scalar = np.int64(0)
    bus_free: Scalar = np.int64(0)
    live_steps: Scalar = np.int64(0)
    for t in range(steps):
        live_steps += np.int64(starts[t + 1] > starts[t])
    words_in_all = live_steps * blocks if product == VXV else np.int64(NEVER)
    words_popped: Scalar = np.int64(0)
    weights_held: Scalar = np.int64(0)
    values_held: Scalar = np.int64(0)

    # multiplexer
    mux_todo: Scalar = np.int64(0)
    mux_left: Scalar = np.int64(0)
    mux_from: Scalar = np.int64(NEVER)
    mux_free_from: Scalar = np.int64(0)
    feeding: Scalar = False
    popping: Scalar = False
    # a stage holds a pair, which is to be multiplied, or the reason why it holds none
    stages = np.full(timing.mux_stages + 1, REFILL, np.int64)
    pop_step = front
    in_word: Scalar = np.int64(0)

    # core
    at = np.array([front, 0, starts[front]], np.int64)
    core_left: Scalar = np.int64(0)
    open_from: Scalar = np.int64(NEVER)
    idle_from: Scalar = np.int64(0)
    history = np.full(timing.hazard_cycles, -1, np.int64)
    sums = np.zeros(lanes, np.int64)
    accumulators = np.zeros((weights.shape[1], lanes), np.int64)

    # results on their way to the activation memory, where a write goes before a read
    writing = np.zeros(drain, np.bool_)

    now: Scalar = np.int64(0)
    last_edge: Scalar = np.int64(NEVER)
    while now < last_edge:
        now += 1
        # ---- what the wires say before this edge
        opened = now >= open_from and core_left > 0
        at_core = stages[timing.mux_stages] == MULTIPLY
        clash = False
        if product == VXV and at_core:
            for k in range(timing.hazard_cycles):
                clash = clash or history[k] == columns[at[ENTRY]]
        ready = opened and not clash
        accept = ready and at_core
        have_weights = weights_held > 0 or words_popped == words_in_all
        paired = have_weights and values_held > 0
        counting = now >= mux_from and feeding and paired
        popping_now = popping and paired
        value_room = values_held < timing.value_queue
        weight_room = weights_held < timing.weight_queue
        pending = read and not value_room
        bank_busy = timing.write_back != 0 and writing[now % drain]
        writing[now % drain] = False

        # ---- ledger
        if opened and clash:
            ledger[HAZARD] += 1
        elif opened:
            ledger[stages[timing.mux_stages]] += 1
        elif now < idle_from:
            ledger[DRAIN] += 1
        else:
            ledger[START] += 1

        # ---- core
        if product == VXV and opened:
            for k in range(timing.hazard_cycles - 1, 0, -1):
                history[k] = history[k - 1]
            history[0] = columns[at[ENTRY]] if accept else -1
        if accept:
            result = take_pair(
                product, at, starts, columns, values, vectors, weights, sums, accumulators, out
            )  # fmt: skip
            # gradients leave for the DRAM, only the other two go back to the activation memory
            writing[(now + drain) % drain] = result and product != VXV
            core_left -= 1
            if core_left == 0:
                idle_from = now + drain + 1
                open_from = NEVER
                mux_free_from = now + 1
                if product != VXV:
                    at[STEP] = next_step(starts, at[STEP])
                    at[ENTRY] = starts[min(at[STEP], steps)]
                    at[BLOCK] = 0
                if product == VXV or at[STEP] == steps:
                    last_edge = idle_from

        # ---- multiplexer
        if ready:
            for k in range(timing.mux_stages, 2, -1):
                stages[k] = stages[k - 1]
            if popping_now:
                stages[2] = MULTIPLY
            elif paired or not (feeding or popping):
                stages[2] = REFILL
            elif values_held > 0:
                stages[2] = WEIGHTS
            elif mux_left < mux_todo:
                stages[2] = WRITES
            else:
                stages[2] = LISTS
            if counting or popping_now:
                popping = counting
            if popping_now:
                values_held -= 1
                if product != VXV:
                    weights_held -= 1
                else:
                    if in_word == 0:
                        weights_held -= 1
                        words_popped += 1
                    in_word += 1
                    if in_word == starts[pop_step + 1] - starts[pop_step]:
                        in_word = 0
                        pop_step = next_step(starts, pop_step)
                        if pop_step == steps:
                            pop_step = next_step(starts, -1)
            if counting:
                mux_left -= 1
                feeding = mux_left > 0

        # ---- commands that wait in the queues of multiplexer and core
        if mux_taken == NEVER and now > ready_at and now >= mux_free_from:
            mux_taken = now
            mux_from = now + timing.start_cycles
            mux_free_from = NEVER
            mux_todo = todo
            mux_left = todo
            feeding = True
        if core_taken == NEVER and now > ready_at and core_left == 0 and now >= idle_from:
            core_taken = now
            open_from = now + timing.start_cycles
            core_left = todo

        # ---- value reader, from its output back to its request
        if given and value_room:
            values_held += 1
        if value_room:
            given = read
        if not pending:
            read = reading
            reading = asked and not bank_busy
        held_back = asked and (pending or bank_busy)
        room = queued < timing.request_queue
        pop = queued > 0 and not held_back
        if not held_back:
            asked = queued > 0
        queued += np.int64(request and room) - np.int64(pop)
        if request and room and values_left == 0 and values_done == NEVER:
            values_done = now + 1
        if room:
            request = now > ready_at + timing.start_cycles and values_left > 0
            values_left -= np.int64(request)

        # ---- DRAM and index reader
        if product == VXV:
            # CM streams in as one burst
            in_time = now >= ready_at + 1 + timing.latency_cycles
        else:
            in_time = words_given < words_asked and now >= arrive[words_given % timing.requests_in_flight]
        if in_time and words_given < words_in_all and weight_room:
            if bus_free == 0:
                bus_free = now + timing.word_cycles - 1
            if now >= bus_free:
                weights_held += 1
                words_given += 1
                bus_free = 0
        may_ask = product == VXV or words_asked - words_given < timing.requests_in_flight
        if indices_left > 0 and now > ready_at + timing.start_cycles and may_ask:
            # six registers between the request for an index and the DRAM's queue, as in the value reader
            arrive[words_asked % timing.requests_in_flight] = now + 6 + timing.latency_cycles
            words_asked += 1
            indices_left -= 1
        if indices_left == 0 and indices_done == NEVER:
            indices_done = now + 2

        # ---- sequencer: the next step's command, when the readers are through and this step has begun
        if product != VXV and front < steps and core_taken != NEVER and mux_taken != NEVER:
            free = now >= indices_done and now >= values_done + wait
            if product == MTXV:
                free = free and now >= mux_free_from + timing.mtxv_wait_cycles
            following = next_step(starts, front)
            if free and following < steps:
                ready_at = now + 1 + (following - front) * timing.descriptor_cycles
                front = following
                todo = (starts[front + 1] - starts[front]) * blocks
                indices_left = todo
                values_left = todo
                indices_done = NEVER
                values_done = NEVER
                core_taken = NEVER
                mux_taken = NEVER
    return now
