"""The device as a machine on a virtual clock: microphone, interrupts, a main loop, learning in slices, flash, power.

The microphone fills one half of a double buffer while the program works on the other; every full half is an interrupt.
The main loop takes the first of these that there is to do, and looks again after each piece of it:

1. the front end and the end pointer for a half that is full: done before the other half is full too, or the deadline is
   missed; not begun by then, its sound is lost;
2. the network for frames of an utterance, and the decision;
3. learning, one slice; an update that has begun ends before the network listens on, as its weights are half changed;
4. one operation of the flash, for a model that was learned;
5. sleep, until the next interrupt.

What is computed is computed by the real engine on its own arena, in this order; only time and hardware are simulated.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from edgelearn.audio.frontend import frontend_ops
from edgelearn.device.board import Board
from edgelearn.engine.counts import Counts
from edgelearn.errors import BudgetExceeded, EdgelearnError, UsageError
from edgelearn.firmware.export import RESERVE_BYTES, firmware_device
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import Model
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.session import Countdown, Happening, Session, TakeHeard, Taught
from edgelearn.runtime.voice import VoiceDevice
from firmware_sim.machine_lesson import PausedLesson
from firmware_sim.machine_meter import NS_PER_S, Logged, Meter, Price, Tally
from firmware_sim.machine_probe import Piece, Probe
from firmware_sim.machine_store import ModelStore
from firmware_sim.scenario import SAMPLE_RATE_HZ, Deed, Scenario, Sound

Returns = Literal["piece", "call", "step"]
ENDPOINT_OPS = 8  # of a band: least of block and of all, excess, limit and sum, the floor's error, step and limit
BLOCK_HALVES = 64  # that are heard at once, as nothing else is going on


@dataclass(frozen=True)
class MachineConfig:
    """budget_bytes: of SRAM, for arena, buffers, stack; worst: every figure of the board at its high end.

    returns: where learning returns to the main loop: after a piece (a frame of a pass, a column of an update), a call
    of the engine (a pass, an update), or a gradient step; slice_us: of pieces, how much is done before it looks again;
    timeline_ms: a step of the power over time.
    """

    budget_bytes: int = 256 * 1024
    returns: Returns = "piece"
    slice_us: float = 1000.0
    worst: bool = False
    timeline_ms: int = 20


@dataclass
class _Half:
    """A half buffer as the engine heard it: whether a frame came of it, the network's work, what it led to."""

    framed: bool
    pieces: list[Piece]
    happened: list[Happening]


@dataclass(frozen=True)
class _Job:
    """Work of the network on a frame of the half that was full at `full_ns`; `happened` is known when it is done."""

    ns: int
    aj: int
    full_ns: int
    happened: tuple[Happening, ...] = ()


class _PowerCut(Exception):
    """The power fails now."""


class Machine:
    """A board with a model in its flash, which lives through a scenario in `run`; what came of it is in its fields.

    Raises BudgetExceeded for what does not fit the board's SRAM or flash.
    """

    def __init__(
        self, model: Model, board: Board, scenario: Scenario, sound: Sound, learner: LearnerConfig,
        config: MachineConfig,
    ) -> None:  # fmt: skip
        self.board, self.config, self.tally = board, config, Tally()
        self.hop = model.frontend.hop
        self.period_ns = self.hop * NS_PER_S // SAMPLE_RATE_HZ
        self.dma_bytes = 2 * 2 * self.hop
        ram = int(board.ram_bytes.value)
        if config.budget_bytes > ram:
            raise BudgetExceeded("SRAM", config.budget_bytes, ram, ram, "choose a smaller --budget")
        self._halves = round(scenario.seconds * SAMPLE_RATE_HZ) // self.hop
        self.meter = Meter(board, scenario.seconds, config.timeline_ms * 1_000_000, config.worst)
        layers = model.network.layers
        weights_bytes = sum((layer.inputs + layer.hidden) * 4 * layer.hidden for layer in layers)
        self._price = Price(board, weights_bytes, config.worst)
        frame = Counts(frames=1, frontend_ops=frontend_ops(model.frontend))
        self._frontend = replace(frame, elementwise_ops=ENDPOINT_OPS * model.frontend.bands)
        self.tally.frontend_ns, self._frontend_aj = self._price(self._frontend)
        self._learner, self._sound = learner, sound
        self._lessons = deque(deed for deed in scenario.deeds if deed.do == "teach")
        self._cuts = deque(deed for deed in scenario.deeds if deed.do == "power_cut")
        self._rng = np.random.default_rng(scenario.seed)
        self._next_half = 0
        self._lesson: PausedLesson | None = None
        self._done: list[Taught] = []
        self.device = self._new_device(model)
        self.store = ModelStore(board, model, self.device.memory.capacity_bytes)
        self._power_on()

    @property
    def sram(self) -> dict[str, int]:
        """Bytes of the regions of the SRAM; stack and statics are what is reserved: only a build can measure them."""
        arena = self.device.arena.high_water_bytes
        used = {"arena": arena, "DMA double buffer": self.dma_bytes, "stack and statics (reserved)": RESERVE_BYTES}
        return used | {"free": int(self.board.ram_bytes.value) - sum(used.values())}

    @property
    def slice_that_does(self) -> int:
        """Nanoseconds of the longest slice with which none is missed; 0 if the front end alone takes too long."""
        return max(0, self.period_ns - self.tally.frontend_ns)

    def run(self) -> Tally:
        """Live through the scenario to its end."""
        end_ns = self._halves * self.period_ns
        while self.meter.now_ns < end_ns:
            try:
                self._loop_once(end_ns)
            except _PowerCut:
                self._power_off()
        self._let_go()
        return self.tally

    # -- the main loop

    def _loop_once(self, end_ns: int) -> None:
        full_ns = (self._next_half + 1) * self.period_ns
        self._obey()
        if self._next_half < self._halves and full_ns <= self.meter.now_ns:
            self._take_half(full_ns)
        elif self._jobs and not (self._pieces and self._pieces[0].writes):
            self._run_job(self._jobs[0])
        elif self._pieces or self._go_on_learning():
            self._learn_slice()
        elif self.store.operations:
            self._write_flash()
        else:
            self._spend("idle", min(full_ns, end_ns, *map(_ns, list(self._lessons)[:1])) - self.meter.now_ns)

    def _take_half(self, full_ns: int) -> None:
        """Work on a full half: its features, and whether they belong to an utterance."""
        tally, self._next_half = self.tally, self._next_half + 1
        deadline_ns = full_ns + self.period_ns
        tally.halves += 1
        if self.meter.now_ns >= deadline_ns:  # the microphone has written over it
            tally.lost += 1
            tally.missed += 1
            tally.worst_response_ns = max(tally.worst_response_ns, self.meter.now_ns - full_ns)
            if self._heard:
                self._heard.popleft()
            else:
                self._sound.next(self.hop)
            self._gap = True
            return
        half = self._hear()
        if half.framed:
            tally.frames += 1
            tally.counts["listening"] += self._frontend
            self._spend("listening", tally.frontend_ns, self._frontend_aj)
        took_ns = self.meter.now_ns - full_ns
        tally.worst_response_ns = max(tally.worst_response_ns, took_ns)
        tally.missed += took_ns > self.period_ns
        jobs = [_Job(*self._price(piece.counts), full_ns) for piece in half.pieces]
        if half.happened:
            jobs.append(_Job(0, 0, full_ns, tuple(half.happened)))
        for piece in half.pieces:
            tally.counts["listening"] += piece.counts
        self._jobs += jobs
        if not jobs:
            tally.worst_frame_ns = max(tally.worst_frame_ns, took_ns)

    def _hear(self) -> _Half:
        """Return the next half as the engine hears it; where nothing else can happen many are heard at once."""
        if self._heard:
            return self._heard.popleft()
        if self._gap:
            self._session.gap()
            self._gap = False
        count = 1
        if not (self._session.busy or self._lesson or self._pieces or self.store.operations):
            count = min(BLOCK_HALVES, self._halves - self._next_half + 1)
            for deeds in (self._lessons, self._cuts):
                if deeds:
                    count = min(count, max(1, _ns(deeds[0]) // self.period_ns - self._next_half))
        recognizer = self.device.recognizer
        before = recognizer.frames
        happened = self._session.hear(self._sound.next(self.hop * count))
        self._pieces += self.probe.take_learned()  # whether a take will do
        frames = recognizer.frames - before
        halves = [_Half(n >= count - frames, [], []) for n in range(count)]
        first = recognizer.frames - count  # the frame that the first half would have completed
        for frame, piece in self.probe.take_heard():
            halves[frame - first].pieces.append(piece)
        for one in happened:
            at = one.decided_frame - first if isinstance(one, Event) else -1
            halves[at].happened.append(one)
        self._heard.extend(halves)
        return self._heard.popleft()

    def _run_job(self, job: _Job) -> None:
        self._spend("listening", job.ns, job.aj)
        self._jobs.popleft()
        self.tally.worst_frame_ns = max(self.tally.worst_frame_ns, self.meter.now_ns - job.full_ns)
        for happening in job.happened:
            self._note(happening)

    # -- learning

    def _go_on_learning(self) -> bool:
        """Compute the next of a lesson's work, if there is a lesson, and return whether it is to be waited for."""
        if self._lesson is None:
            for one in self._done:
                self._note(one)
            self._done = []
            if not self._session.learning or self.store.operations:
                return False
            self._lesson = PausedLesson(self._teach)
        self.probe.pause = None if self.config.returns == "step" else self._lesson.pause
        self.probe.pauses_often = self.config.returns == "call"
        try:
            self._lesson.resume()
        except EdgelearnError as error:
            self._log("refused", error.message)
        self.probe.pause = None
        self._pieces += self.probe.take_learned()
        if self._lesson.ended:
            self._lesson = None
        return True

    def _teach(self) -> None:
        """The lesson itself, on its own thread."""
        while self._session.learning:
            self._done += self._session.work(0.0)
            if self._lesson is not None:
                self._lesson.pause()

    def _learn_slice(self) -> None:
        """Do pieces of what is computed already, without looking for an interrupt before their time is over."""
        whole = self.config.returns != "piece"
        limit_ns = round(self.config.slice_us * 1000)
        spent = 0
        while self._pieces:
            piece = self._pieces[0]
            ns, aj = self._price(piece.counts)
            if spent and not whole and spent + ns > limit_ns:
                break
            self._pieces.popleft()
            self.tally.counts["learning"] += piece.counts
            if ns > self.tally.longest_piece_ns:
                self.tally.longest_piece_ns, self.tally.longest_call = ns, piece.call
            spent += ns
            self._spend("learning", ns, aj)
            if self._pieces and whole and self.config.returns == "call" and self._pieces[0].call != piece.call:
                break
        self.tally.longest_slice_ns = max(self.tally.longest_slice_ns, spent)

    def _write_flash(self) -> None:
        """Do one operation of the flash; the core waits for it."""
        ns, aj = self.store.cost()
        self.tally.longest_slice_ns = max(self.tally.longest_slice_ns, ns)
        self._spend("flash", ns, aj)
        if self.store.finish_operation():
            self.tally.commits += 1
            self._log("saved", f"generation {self.store.generation} is in flash")

    # -- what happens to it

    def _obey(self) -> None:
        """Begin what the script says is due."""
        while self._lessons and _ns(self._lessons[0]) <= self.meter.now_ns:
            deed = self._lessons.popleft()
            try:
                if self._session.busy:
                    raise UsageError(f"{deed.word!r} is asked for while {self._session.word!r} is being learned")
                self._session.ask_for(deed.word, len(deed.files))
            except EdgelearnError as error:
                self._log("refused", error.message)

    def _spend(self, state: str, ns: int, aj: int = 0) -> None:
        """Let time pass, up to a power cut."""
        if self._cuts and _ns(self._cuts[0]) < self.meter.now_ns + ns:
            left = max(0, _ns(self._cuts[0]) - self.meter.now_ns)
            self.meter.spend(state, left, aj * left // ns)
            self._torn = state == "flash"
            raise _PowerCut
        self.meter.spend(state, ns, aj)

    def _power_off(self) -> None:
        """Lose all of the memory; what is said meanwhile nobody hears."""
        deed, tally, generation = self._cuts.popleft(), self.tally, self.store.generation
        tally.power_cuts += 1
        tally.lessons_lost += self._session.busy or bool(self._done)
        self._log("power_cut", f"fails for {deed.off_s:g} s" + (" in the middle of writing" if self._torn else ""))
        self._let_go()
        self.store.cut(self._torn, self._rng)
        end_ns = min(self._halves * self.period_ns, self.meter.now_ns + max(1, round(deed.off_s * NS_PER_S)))
        self.meter.spend("off", end_ns - self.meter.now_ns)
        ahead = len(self._heard)
        missed = -(-end_ns // self.period_ns) - self._next_half - ahead  # the half being filled then is not whole
        if missed > 0:
            self._sound.next(self.hop * missed)
        self._next_half += ahead + max(0, missed)
        self._power_on()
        tally.lessons_lost += self.store.generation < generation  # what was being written

    def _power_on(self) -> None:
        """Start from the newest whole model in flash."""
        model, size = self.store.recover()
        self.device = self._new_device(model)
        self.probe = Probe(self.device)
        self._session = Session(self.device, self._learner, steps_per_block=1)
        self._heard: deque[_Half] = deque()
        self._jobs: deque[_Job] = deque()
        self._pieces: deque[Piece] = deque()
        self._done = []
        self._gap = self._torn = False
        # read once, checked, and copied to where it is used
        self.meter.spend("boot", *self._price(Counts(state_bytes=3 * size, elementwise_ops=size)))
        self._log("power_on", f"with generation {self.store.generation}")

    def _new_device(self, model: Model) -> VoiceDevice:
        return firmware_device(model, self.config.budget_bytes - self.dma_bytes)

    def _let_go(self) -> None:
        """Drop a lesson under way."""
        if self._lesson is not None:
            self._lesson.drop()
            self._lesson = None

    def _note(self, happening: Happening) -> None:
        """Log what the session reported, now that the work for it is done."""
        if isinstance(happening, Event):
            self._log("word", happening.word, happening)
        elif isinstance(happening, TakeHeard):
            self._log("refused" if happening.problem else "take", happening.problem or happening.word)
        elif isinstance(happening, Taught):
            self.tally.taught += 1
            self.tally.updates += happening.report.updates
            self._log("taught", happening.word)
            self.store.begin_commit(self.device.model())
        elif isinstance(happening, Countdown):
            self._log("take", f"{happening.word} in {happening.seconds} s")

    def _log(self, what: str, text: str, event: Event | None = None) -> None:
        self.tally.log.append(Logged(self.meter.now_ns / NS_PER_S, what, text, event))


def _ns(deed: Deed) -> int:
    return round(deed.at_s * NS_PER_S)
