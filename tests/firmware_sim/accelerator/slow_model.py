"""The accelerator once more, slow and obvious: objects with registers, clocked one edge at a time, real operands.

Every unit reads what the others held before the edge (`before`), and then all of them change. The processing elements
are pipelines that read an accumulator at one stage and write it at a later one, so a hazard that is not waited for
gives a wrong sum.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from firmware_sim.accelerator.machine import Timing

PAIRS = {"mxv": lambda n, b: [(i, k) for k in range(b) for i in range(n)],
         "mtxv": lambda n, b: [(i, k) for i in range(n) for k in range(b)]}  # fmt: skip


@dataclass
class Step:
    """What a command asks for: pairs of (entry, row block) in the order in which the core takes them."""

    number: int
    pairs: list[tuple[int, int]]
    ready_at: int  # the edge after which its command lies in the queues of the units


@dataclass
class Reader:
    """A read port of the activation memory: six registers, of which one is a queue."""

    depth: int
    request: Any = None
    queue: deque = field(default_factory=deque)
    asked: Any = None
    reading: Any = None
    read: Any = None
    given: Any = None

    def clock(self, wanted: Any, take_output: bool, bank_busy: bool) -> tuple[Any, bool]:
        """Move one edge; returns (what has left the output register, whether `wanted` was taken)."""
        left = self.given if take_output else None
        stuck = self.read is not None and not take_output
        if take_output:
            self.given = self.read
        held = self.asked is not None and (stuck or bank_busy)
        if not stuck:
            self.read = self.reading
            self.reading = None if held else self.asked
        room = len(self.queue) < self.depth
        arriving = self.request if room else None
        if not held:
            self.asked = self.queue.popleft() if self.queue else None
        if arriving is not None:
            self.queue.append(arriving)
        if room:
            self.request = wanted
        return left, room


class SlowAccelerator:
    """Steps one product; `run` returns its cycles, and `results` has what came out of the core."""

    def __init__(self, product: str, timing: Timing, lists, vectors, weights, *, wait_for_hazards: bool = True):
        self.product, self.timing, self.lists, self.vectors, self.weights = product, timing, lists, vectors, weights
        self.blocks = -(-(vectors if product == "vxv" else weights.T).shape[1] // timing.lanes)
        self.wait_for_hazards = wait_for_hazards
        self.results: list[tuple[Any, np.ndarray]] = []
        columns = max((max(c) for c, _ in lists if len(c)), default=0) + 1
        self.memory = np.zeros((self.blocks, columns, timing.lanes), np.int64)

    def rows(self, block: int) -> slice:
        return slice(block * self.timing.lanes, (block + 1) * self.timing.lanes)

    def padded(self, vector) -> np.ndarray:
        whole = np.zeros(self.blocks * self.timing.lanes, np.int64)
        whole[: len(vector)] = vector
        return whole

    def steps(self) -> list[Step]:
        """All commands with something to do; the descriptors of the others are read, too."""
        live = [t for t, (columns, _) in enumerate(self.lists) if len(columns)]
        if self.product == "vxv":
            pairs = [((t, i), k) for k in range(self.blocks) for t in live for i in range(len(self.lists[t][0]))]
            return [Step(live[0], pairs, 0)] if live else []
        return [Step(t, [((t, i), k) for i, k in PAIRS[self.product](len(self.lists[t][0]), self.blocks)], 0)
                for t in live]  # fmt: skip

    def run(self) -> int:
        timing, steps = self.timing, deque(self.steps())
        if not steps:
            return 0
        drain = timing.core_stages + (timing.lanes + timing.chain_stages if self.product == "mtxv" else 0)
        front = steps.popleft()
        front.ready_at = 1 + (front.number + 1) * timing.descriptor_cycles
        values, words = deque(front.pairs), deque(front.pairs)
        reader = Reader(timing.request_queue)
        values_done = words_done = None
        dram: deque = deque()  # (edge at which the word can be there, pair)
        burst = deque(self.burst()) if self.product == "vxv" else None
        transfer = 0
        value_queue: deque = deque()
        weight_queue: deque = deque()
        mux, mux_idle_from, mux_open, counted = None, 0, None, 0
        popping = False
        stages: list[Any] = [None] * (timing.mux_stages + 1)
        core, core_idle_from, core_open, taken = None, 0, None, 0
        recent: deque = deque([None] * timing.hazard_cycles, timing.hazard_cycles)
        # read at one stage, written so much later that as many cycles are a hazard
        pipeline: deque = deque([None] * (timing.hazard_cycles + 1))
        writes: deque = deque([False] * drain, drain)
        front_in_mux = front_in_core = None
        now, end = 0, None
        while end is None or now < end:
            now += 1
            before = copy.copy(stages)
            open_now = core is not None and now >= core_open
            pair = before[-1]
            clash = (self.product == "vxv" and pair is not None and self.wait_for_hazards
                     and self.column(pair) in [self.column(p) for p in recent if p is not None])  # fmt: skip
            ready = open_now and not clash
            room_for_value = len(value_queue) < timing.value_queue
            room_for_word = len(weight_queue) < timing.weight_queue
            paired = bool(value_queue) and bool(weight_queue or (burst is not None and not burst))
            counting = mux is not None and now >= mux_open and counted < len(mux.pairs) and paired
            pop = popping and paired
            busy = writes[0] and bool(timing.write_back)
            writing = False

            # core
            self.retire(pipeline.popleft())
            entering = None
            if open_now and self.product == "vxv":
                recent.appendleft(pair if ready else None)
            if ready and pair is not None:
                entering = pair
                taken += 1
                writing = self.completes(core, taken)
                if taken == len(core.pairs):
                    core_idle_from, mux_idle_from = now + drain + 1, now + 1
                    core = mux = None
                    if not steps and front_in_core is front:
                        end = core_idle_from
            pipeline.append(self.multiply(entering))
            writes.append(writing)

            # multiplexer
            if ready:
                stages[3:] = before[2:-1]
                stages[2] = None
                if counting or pop:
                    popping = counting
                if pop:
                    stages[2] = value_queue.popleft()
                    if burst is None or self.first_of_step(stages[2]):
                        weight_queue.popleft()
                if counting:
                    counted += 1
            if front_in_mux is not front and now > front.ready_at and now >= mux_idle_from and mux is None:
                mux, front_in_mux, mux_open, counted = front, front, now + timing.start_cycles, 0
            if front_in_core is not front and now > front.ready_at and now >= core_idle_from and core is None:
                core, front_in_core, core_open, taken = front, front, now + timing.start_cycles, 0
                core_taken_at = now

            # readers
            running = now > front.ready_at + timing.start_cycles
            last_request = reader.request is not None and not values and len(reader.queue) < reader.depth
            left, took = reader.clock(values[0] if running and values else None, room_for_value, busy)
            if left is not None:
                value_queue.append(left)
            if last_request and values_done is None:
                values_done = now + 1
            if took and running and values:
                values.popleft()

            # DRAM
            if burst is not None and burst and now >= front.ready_at + 1 + timing.latency_cycles:
                transfer = self.move(transfer, room_for_word, burst, weight_queue)
            if burst is None and dram and now >= dram[0][0]:
                transfer = self.move(transfer, room_for_word, dram, weight_queue)
            if running and words and len(dram) < timing.requests_in_flight:
                item = words.popleft()
                if burst is None:
                    dram.append((now + 6 + timing.latency_cycles, item))
            if not words and words_done is None:
                words_done = now + 2

            # sequencer
            if steps and front_in_mux is front and front_in_core is front and values_done and words_done:
                waits = [words_done, values_done + (timing.mxv_wait_cycles if self.product == "mxv" else 0)]
                if self.product == "mtxv":
                    waits.append(now + 1 if mux is not None else mux_idle_from + timing.mtxv_wait_cycles)
                if now >= max(*waits, core_taken_at):
                    following = steps.popleft()
                    following.ready_at = now + 1 + (following.number - front.number) * timing.descriptor_cycles
                    front = following
                    values, words = deque(front.pairs), deque(front.pairs)
                    values_done = words_done = None
        while pipeline:
            self.retire(pipeline.popleft())
        return now

    def move(self, transfer: int, room: bool, source: deque, target: deque) -> int:
        """Move a beat of the DRAM's next word; returns the beats that are done of it."""
        if transfer == 0 and not room:
            return 0
        transfer += 1
        if transfer < self.timing.word_cycles or not room:
            return min(transfer, self.timing.word_cycles - 1)
        target.append(source.popleft())
        return 0

    def burst(self) -> list[tuple[int, int]]:
        return [(t, k) for k in range(self.blocks) for t, (columns, _) in enumerate(self.lists) if len(columns)]

    def first_of_step(self, pair) -> bool:
        return pair[0][1] == 0

    def column(self, pair) -> int:
        (t, i), _ = pair
        return int(self.lists[t][0][i])

    def completes(self, step: Step, taken: int) -> bool:
        """Whether this pair is the last of a result that goes back to the activation memory."""
        n = len(self.lists[step.number][0])
        return {"mxv": taken % n == 0, "mtxv": taken % self.blocks == 0, "vxv": False}[self.product]

    def multiply(self, pair):
        """What enters the pipeline: the products, and for CM (x) d the accumulators as they are now."""
        if pair is None:
            return None
        (t, i), k = pair
        column, value = self.column(pair), int(self.lists[t][1][i])
        if self.product == "vxv":
            products = self.padded(self.vectors[t])[self.rows(k)] * value
            return pair, products, self.memory[k, column].copy()
        weights = self.padded(self.weights[:, column])[self.rows(k)]
        other = value if self.product == "mxv" else self.padded(self.vectors[t])[self.rows(k)]
        return pair, weights * other, None

    def retire(self, item) -> None:
        """What leaves the pipeline: sums go to the results, accumulators are written back."""
        if item is None:
            return
        pair, products, old = item
        if self.product == "vxv":
            self.memory[pair[1], self.column(pair)] = old + products
        else:
            self.results.append((pair, products))
