"""Learning words on the device: sparse BPTT on takes and rehearsal, one utterance at a time, weights changed in place.

After the steps of BPTT come sweeps, gradient steps on the prototypes of all taught words. What all of it did is kept if
the new word is further from everything else than it was as a plain prototype. `Learner.teach` is a generator that stops
after every step, so that whoever drives it can go on listening between two steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts
from edgelearn.engine.optimizer import SHIFT_RANGE
from edgelearn.errors import LearningRejected, TakeRejected
from edgelearn.learning.adaptation import WEIGHT_ONE
from edgelearn.learning.classifier import HeadStep
from edgelearn.learning.head import LOGIT_SCALE

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena
    from edgelearn.engine.network import Gradients, Network, State, WeightGradients
    from edgelearn.engine.tape import Tape
    from edgelearn.learning.classifier import Classifier
    from edgelearn.learning.rehearsal import RehearsalMemory

ABOVE_BACKGROUND_Q14 = 328  # 0.02
BELOW_TAKES_Q14 = 1638  # 0.1
CHECKS = 4
"""How often a lesson hears all exemplars besides its steps and sweeps."""


@dataclass(frozen=True)
class LearnerConfig:
    """How a word is learned.

    steps: gradient steps, takes and rehearsal in turn; rate_q16: their learning rate, Q16; least_takes: of a word,
    below which there are none: one or two takes say nothing of what varies; sweeps: gradient steps on the prototypes
    of all taught words after that; row_rate_q16: their learning rate, Q16; max_old_loss: share of the old words'
    exemplars that may be lost before the update is undone; agreement_q14: least cosine of a take to the mean of the
    others; seed: of the order of examples and of the rounding.
    """

    steps: int = 40
    rate_q16: int = 30
    least_takes: int = 3
    sweeps: int = 20
    row_rate_q16: int = 9830  # 0.15
    max_old_loss: float = 0.1
    agreement_q14: int = 6554
    seed: int = 0


@dataclass
class TeachReport:
    """What learning did: operation counts, losses (nats) of the steps, frames beyond the tape, old words' accuracy.

    gained: whether the gradient steps were kept; if not, the word is the plain prototype of its takes.
    """

    counts: Counts = field(default_factory=Counts)
    losses: list[float] = field(default_factory=list)
    truncated_frames: int = 0
    old_before: float = 1.0
    old_after: float = 1.0
    gained: bool = True

    @property
    def updates(self) -> int:
        """Gradient steps taken."""
        return len(self.losses)


def step_rate(rate_q16: int, step: HeadStep, weight_shift: int) -> tuple[int, int]:
    """Return (mult, shift) for `Network.update`: the learning rate in the units of this step's normalised gradient.

    The head hands over dL/dh with its largest magnitude at 2^15; what that stands for is 16 m / |S|, with m in Q23 and
    |S| in Q13, and a master is in Q(s+8): the factor is rate * 16 m / |S| * 2^(s-9), of the integers m and |S|, at
    most the 2^11 that an update can take.
    """
    mult = ((rate_q16 * LOGIT_SCALE * step.magnitude_q23) << 12) // max(1, step.length)
    shift = 37 - weight_shift
    while mult > 32767 and shift > SHIFT_RANGE[0]:
        mult = (mult + 1) >> 1
        shift -= 1
    return min(mult, 32767), shift


def altered(frames: NDArray[np.int8]) -> tuple[NDArray[np.int8], ...]:
    """Return an utterance (int8 Q6, [T, bands]) late by two frames, quieter, and with its softest third covered."""
    quieter = np.maximum(frames.astype(np.int16) - 8, -128).astype(np.int8)
    floor = np.sort(frames, axis=None)[frames.size // 3]
    return frames[2:] if len(frames) > 2 else frames, quieter, np.maximum(frames, floor)


class Learner:
    """Owns nothing but working buffers in the arena: network, table and memory are the listening device's own.

    weights: a dense gradient of all weights, which a tape with checkpoints needs; without it the tape gives the sums.
    """

    def __init__(
        self, network: Network, classifier: Classifier, memory: RehearsalMemory, state: State, tape: Tape,
        gradients: Gradients, longest: int, arena: Arena, name: str = "learning",
        weights: WeightGradients | None = None,
    ) -> None:  # fmt: skip
        self._network = network
        self._classifier = classifier
        self._memory = memory
        self._state = state
        self._tape = tape
        self._gradients = gradients
        self._weights = weights
        self._pool: NDArray[np.int32] = arena.alloc(f"{name}.pool", network.config.hidden, np.int32)
        self._frames: NDArray[np.int8] = arena.alloc(f"{name}.frames", (longest, network.config.inputs), np.int8)
        # the newest word: sum of its takes' embeddings at enrolment, and of those takes that the memory kept
        self._enrolled: NDArray[np.int32] = arena.alloc(f"{name}.enrolled", network.config.hidden, np.int32)
        self._kept: NDArray[np.int32] = arena.alloc(f"{name}.kept", network.config.hidden, np.int32)
        self._takes = 0

    def embed(self, frames: NDArray[np.int8]) -> tuple[NDArray[np.int16], Counts]:
        """Return the unit embedding (int16 Q14) of an utterance (int8 Q6, [T, bands]) from the network's zero state."""
        self._state.reset()
        self._pool[:] = 0
        counts = self._network.forward(self._state, frames, self._pool)
        return self._classifier.embed(self._pool), counts

    def check_takes(self, takes: list[NDArray[np.int8]], least_q14: int) -> None:
        """Raise TakeRejected if a take is too unlike the mean of the others (cosine in Q14)."""
        units = [self.embed(take)[0].astype(np.int64) for take in takes]
        for n, unit in enumerate(units):
            others = sum((u for m, u in enumerate(units) if m != n), np.zeros_like(unit))
            length = float(np.sqrt((others**2).sum()))
            if len(units) > 1 and int((unit * others).sum()) < least_q14 * length:
                rest = "the other one" if len(units) == 2 else f"the other {len(units) - 1}"
                raise TakeRejected(
                    f"take {n + 1} is unlike {rest}",
                    "say the same word in each take; leave this one out or repeat it",
                )

    def old_accuracy(self, but_row: int) -> float:
        """Return the share of exemplars of all rows but one that are nearest to their own row; 1 of none."""
        right = total = 0
        for record in self._memory.exemplars():
            if record.row != but_row:
                unit, _ = self.embed(self._memory.decode(record, self._frames))
                right += int(np.argmax(self._classifier.cosines(unit))) == record.row
                total += 1
        return right / total if total else 1.0

    def enrol(self, takes: list[NDArray[np.int8]]) -> int:
        """Give a new word a row, the mean of its takes, keep them as exemplars, and return the row."""
        self._classifier.check_room()
        self._enrolled[:] = 0
        for take in takes:
            self._enrolled += self.embed(take)[0]
        self._takes = len(takes)
        row = self._classifier.add_row(self._enrolled)
        for take in takes:
            self._memory.add(row, take[: len(self._frames)])
        return row

    def enrol_more(self, row: int, takes: list[NDArray[np.int8]], weight: int) -> None:
        """Let takes join a row that stands for `weight` takes already, and keep them as exemplars."""
        known = self._classifier.embed(self._classifier.prototypes()[row].astype(np.int32) << 12)
        self._enrolled[:] = weight * known.astype(np.int32)
        for take in takes:
            self._enrolled += self.embed(take)[0]
        self._takes = weight + len(takes)
        self._classifier.set_row(row, self._enrolled)
        for take in takes:
            self._memory.add(row, take[: len(self._frames)])

    def teach(self, row: int, config: LearnerConfig) -> Iterator[TeachReport]:
        """Learn the word at `row`, the last one with takes: yields the running report after every step.

        Takes and rehearsal exemplars alternate.  The new word's prototype follows the weights; those of the other words
        stand still, and their exemplars are what holds the weights to them, until the sweeps move all taught words.
        Weights and prototypes are put back if the new word is no further from everything else than before.  Raises
        LearningRejected, after the last step, if the old words lost more than `max_old_loss`; whoever keeps the model
        undoes the update then.
        """
        report = TeachReport(old_before=self.old_accuracy(row))
        # a device has these in its model file: they count against no budget of RAM
        weights, prototypes = self._network.params(), self._classifier.prototypes()
        before = self.separation_q14(row, report)
        self._kept[:] = np.sum(self.exemplar_units(row, report), axis=0, dtype=np.int32)
        rng = np.random.default_rng(config.seed)
        records = self._memory.exemplars()
        new = [n for n, record in enumerate(records) if record.row == row]
        old = [n for n, record in enumerate(records) if record.row != row]
        queues: dict[bool, list[int]] = {True: [], False: []}
        for number in range(config.steps if len(new) >= config.least_takes else 0):
            fresh = number % 2 == 0 or not old
            if not queues[fresh]:
                queues[fresh] = list(rng.permutation(new if fresh else old))
                if fresh and number:
                    self._follow(row, report)
            record = records[queues[fresh].pop()]
            self.step(self._memory.decode(record, self._frames), record.row, int(rng.integers(2**32)), config, report)
            yield report
        self._follow(row, report)
        for _ in range(config.sweeps):
            self.adapt_rows(config.row_rate_q16, config.least_takes, report)
            yield report
        report.old_after = self.old_accuracy(row)
        if report.old_before - report.old_after > config.max_old_loss:
            lost = 100 * (report.old_before - report.old_after)
            raise LearningRejected(
                f"learning would cost the old words {lost:.1f} % of their exemplars "
                f"(limit {100 * config.max_old_loss:g} %): undone",
                "try clearer takes, more of them, or a word that sounds less like an old one",
            )
        report.gained = self.separation_q14(row, report) > before
        if not report.gained:
            self._network.load(weights)
            self._classifier.load(prototypes)
            report.old_after = report.old_before
        yield report

    def separation_q14(self, row: int, report: TeachReport) -> int:
        """Return how far (Q14) a word's takes score above the best of all other exemplars, on average.

        Each take counts four times: as it is, late by two frames, quieter, and with what is soft in it covered. The
        first is what was learned from; the others stand for takes to come.
        """
        where = np.array([row], np.int64)
        own: list[int] = []
        best_other = -(1 << 14)
        for record in self._memory.exemplars():
            frames = self._memory.decode(record, self._frames)
            for heard in (frames, *altered(frames)) if record.row == row else (frames,):
                unit, counts = self.embed(heard)
                report.counts += counts
                score = int(self._classifier.scores(unit, where)[0][0])
                if record.row == row:
                    own.append(score)
                else:
                    best_other = max(best_other, score)
        return sum(own) // max(1, len(own)) - best_other

    def adapt_rows(self, rate_q16: int, least_takes: int, report: TeachReport) -> None:
        """Take one gradient step on the prototypes of all taught words with so many exemplars, see `adaptation`."""
        classifier, records = self._classifier, self._memory.exemplars()
        base, rows = classifier.config.base_rows, classifier.rows
        kept = Counter(record.row for record in records)
        taught = sum(record.row >= base for record in records)
        weights = {
            True: (WEIGHT_ONE // 2) // max(1, taught),
            False: (WEIGHT_ONE // 2) // (len(records) - taught + base),
        }
        # between two steps of BPTT the tape is free; it holds the sums of so many rows
        room = self._tape.layers[0].gates.reshape(-1).view(np.int32)
        at_once = len(room) // classifier.config.hidden
        prototypes = classifier.prototypes()
        for first in range(base, rows, at_once):
            count = min(at_once, rows - first)
            sums = room[: count * classifier.config.hidden].reshape(count, -1)
            sums[:] = 0
            for record in records:
                unit, counts = self.embed(self._memory.decode(record, self._frames))
                report.counts += counts
                classifier.add_row_gradient(unit, record.row, first, weights[record.row >= base], sums)
            for row in range(base):
                unit = classifier.embed(prototypes[row].astype(np.int32) << 12)
                classifier.add_row_gradient(unit, row, first, weights[False], sums)
            for n in range(count):
                # a word whose takes gave way to others knows more in its mean than the memory does
                if kept[first + n] >= least_takes:
                    classifier.move_row(first + n, sums[n], rate_q16)

    def threshold_q14(self, row: int, default_q14: int) -> int:
        """Return the score (Q14) from which the word at `row` counts as said; see `thresholds_q14`."""
        return self.thresholds_q14([row], default_q14)[0]

    def thresholds_q14(self, rows: Sequence[int], default_q14: int) -> list[int]:
        """Return the scores (Q14) from which the words at `rows` count as said.

        Each is the base model's, raised above what the exemplars of the other words score for this one (the
        background), and kept below what its own takes score.
        """
        where = np.array(rows, np.int64)
        own: list[list[int]] = [[] for _ in rows]
        background = [[-(1 << 14)] for _ in rows]
        for record in self._memory.exemplars() if rows else ():
            unit, _ = self.embed(self._memory.decode(record, self._frames))
            for n, score in enumerate(self._classifier.scores(unit, where)[0].tolist()):
                (own if record.row == rows[n] else background)[n].append(score)
        thresholds = []
        for mine, others in zip(own, background, strict=True):
            threshold = max(default_q14, max(others) + ABOVE_BACKGROUND_Q14)
            thresholds.append(min(threshold, sum(mine) // len(mine) - BELOW_TAKES_Q14) if mine else threshold)
        return thresholds

    def hear_exemplars(self) -> Counts:
        """Return the counts of running every exemplar of the rehearsal memory through the network once."""
        counts = Counts()
        for record in self._memory.exemplars():
            counts += self.embed(self._memory.decode(record, self._frames))[1]
        return counts

    def rehearse(self, steps: int) -> Counts:
        """Return the counts of a lesson of `steps` gradient steps on the rehearsal memory: the work and no change.

        The steps are taken at rate 0. Sweeps and checks hear every exemplar once each: the checks are of the old words,
        and of how well the new one separates, before and after.
        """
        report = TeachReport()
        still = LearnerConfig(steps=steps, rate_q16=0)
        records = self._memory.exemplars()
        for number in range(steps if records else 0):
            record = records[number % len(records)]
            self.step(self._memory.decode(record, self._frames), record.row, number, still, report)
        for _ in range(still.sweeps + CHECKS):
            report.counts += self.hear_exemplars()
        return report.counts

    def step(self, frames: NDArray[np.int8], row: int, seed: int, config: LearnerConfig, report: TeachReport) -> None:
        """Take one gradient step on one utterance: forward with a tape, head, sparse BPTT, update."""
        network, tape = self._network, self._tape
        self._state.reset()
        tape.reset()
        self._pool[:] = 0
        # the last frames are the ones that are taped: truncated BPTT with the state carried in
        before = max(0, len(frames) - tape.capacity_frames)
        if before:
            report.counts += network.forward(self._state, frames[:before], self._pool)
        report.counts += network.forward(self._state, frames[before:], self._pool, tape)
        report.truncated_frames += before + tape.frames_left_out
        head = self._classifier.head_step(self._pool, row)
        report.losses.append(head.loss_q10 / 1024)
        if head.magnitude_q23 == 0:
            return
        report.counts += network.backward(tape, self._gradients, self._classifier.gradient, self._weights)
        mult, shift = step_rate(config.rate_q16, head, network.config.layers[0].weight_shift)
        report.counts += network.update(tape, self._gradients, mult, shift, seed, weights=self._weights)

    def exemplar_units(self, row: int, report: TeachReport | None = None) -> list[NDArray[np.int16]]:
        """Return the unit embeddings (int16 Q14) of the exemplars of a row under the weights as they are now."""
        units = []
        for record in self._memory.exemplars():
            if record.row == row:
                unit, counts = self.embed(self._memory.decode(record, self._frames))
                units.append(unit)
                if report is not None:
                    report.counts += counts
        return units

    def _follow(self, row: int, report: TeachReport) -> None:
        """Let the row follow the weights: the mean of all its takes, moved as those moved that the memory still has."""
        units = self.exemplar_units(row, report)
        moved = sum((unit.astype(np.int64) for unit in units), -self._kept.astype(np.int64))
        self._classifier.set_row(row, self._enrolled.astype(np.int64) * len(units) + self._takes * moved)
