"""Learning words on the device: sparse BPTT on takes and rehearsal, one utterance at a time, weights changed in place.

The steps of BPTT are followed by sweeps, gradient steps on the prototypes of words that have many takes or are alike.
The result is kept if it separates the new word better from everything else than the plain prototype did.
`Learner.teach` is a generator that yields after every step, so that its caller can go on listening between two steps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts
from edgelearn.errors import LearningRejected, UsageError
from edgelearn.learning.adaptation import WEIGHT_ONE, rows_to_move, sweep
from edgelearn.learning.directions import DIRECTIONS
from edgelearn.learning.takes import variance
from edgelearn.learning.thresholds import SCORE_FLOOR_Q14
from edgelearn.learning.variants import ALTERED, altered

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena
    from edgelearn.engine.network import Gradients, WeightGradients
    from edgelearn.engine.tape import Tape
    from edgelearn.learning.hearing import Hearing
    from edgelearn.learning.rehearsal import Exemplar

LEAST_GAIN_Q14 = 82  # 0.005: less than that says nothing of takes to come
CHECKS = 2
"""How often a lesson hears about all exemplars, in their own voice, to check it: before its steps and after."""


@dataclass(frozen=True)
class LearnerConfig:
    """How a word is learned.

    steps: gradient steps, takes and rehearsal in turn; rate_q16: their learning rate, Q16; theta_q8: delta thresholds
    of steps and checks, as a multiple (Q8) of those words are heard at; least_takes: of a word, below which there are
    no steps: one or two takes say nothing of what varies; least_spread: standard deviation of the takes' features
    (steps of 0.27 dB), below which there are none either: noisy takes teach the network noise; sweeps: gradient steps
    on prototypes after that; many_takes, alike_q14: of the words that they move, of fewer if the takes are noisy, see
    `rows_to_move`; row_rate_q16: their learning rate, Q16; max_old_loss: share of the old words' exemplars that may be
    lost before the update is undone; agreement_q14: least cosine of a take to the mean of the others; seed: of the
    order of examples and of the rounding.
    """

    steps: int = 40
    rate_q16: int = 5
    theta_q8: int = 416  # 1.625
    least_takes: int = 3
    least_spread: int = 48
    sweeps: int = 20
    many_takes: int = 16
    alike_q14: int = 8192  # 0.5
    row_rate_q16: int = 19661  # 0.3
    max_old_loss: float = 0.1
    agreement_q14: int = 6554
    seed: int = 0


class Check(NamedTuple):
    """What the exemplars say of a word: how many of the `old` of other rows are `right`, nearest to their own row.

    separation_q14: how far the word's own score above the best of all others, on average.
    """

    right: int
    old: int
    separation_q14: int

    @property
    def share(self) -> float:
        """Share of `old` that is right."""
        return self.right / self.old if self.old else 1.0


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


class Learner:
    """Takes the steps of lessons on what `hearing` hears: all it changes is the listening device's own.

    weights: a dense gradient of all weights, which a tape with checkpoints needs; without it the tape gives the sums.

    Between two steps of BPTT the gates on the tape (with checkpoints: the dense gradient) are idle. The sweeps keep
    there, first, a gradient of each taught row, int32 [rows, H]; then as many unit embeddings of exemplars, int16
    [n, H], as have room. Enrolment has the vectors there that become a word's directions. Raises UsageError for a tape
    too short for the gradients of a full table: R rows need R / 2 frames of gates.
    """

    def __init__(
        self, hearing: Hearing, tape: Tape, gradients: Gradients, arena: Arena, name: str = "learning",
        weights: WeightGradients | None = None,
    ) -> None:  # fmt: skip
        self.hearing = hearing
        self._network, self._classifier, self._memory = hearing.network, hearing.classifier, hearing.memory
        hearing.rough_at(LearnerConfig().theta_q8)
        self._tape = tape
        self._gradients = gradients
        self._weights = weights
        idle = tape.layers[-1].gates if weights is None else weights.layers[-1]
        self._idle: NDArray[np.int32] = idle.reshape(-1).view(np.int32)
        hidden, rows = self._network.config.hidden, self._classifier.config.taught_rows
        vectors = max(rows, DIRECTIONS + 1)
        if len(self._idle) < vectors * hidden:
            raise UsageError(
                f"a tape of {len(tape.layers[-1].gates)} frames has no room for {rows} taught rows: "
                f"it needs {-(-vectors // 2)}"
            )
        # the newest word: sum of its takes' embeddings at enrolment, and of those that were kept
        self._enrolled: NDArray[np.int32] = arena.alloc(f"{name}.enrolled", hidden, np.int32)
        self._kept: NDArray[np.int32] = arena.alloc(f"{name}.kept", hidden, np.int32)
        self._takes = 0

    def check(self, row: int, report: TeachReport) -> Check:
        """Hear all exemplars for what a lesson of the word at `row` is to change, and for what it must not.

        Each of its takes counts four times: as it is, late by two frames, quieter, and with what is soft in it covered.
        The first is what was learned from; the others stand for takes to come.
        """
        where = np.array([row], np.int64)
        own: list[int] = []
        best_other = SCORE_FLOOR_Q14
        right = old = 0
        for record in self._memory.exemplars():
            frames = self.hearing.decode_own(record)
            mine = record.row == row
            for heard in (frames, *altered(frames)) if mine else (frames,):
                unit, counts = self.hearing.embed_roughly(heard)
                report.counts += counts
                score = int(self._classifier.scores(unit, where)[0][0])
                if mine:
                    own.append(score)
                    continue
                best_other = max(best_other, score)
                right += self.hearing.is_nearest(unit, record.row)
                old += 1
        return Check(right, old, sum(own) // max(1, len(own)) - best_other)

    def enrol(self, takes: list[NDArray[np.int8]], report: TeachReport | None = None) -> int:
        """Give a new word a row, the mean of its takes, keep them as exemplars, and return the row.

        report: of the lesson that begins with it, as in `enrol_more`, `teach` and `threshold_q14`.  Raises
        BudgetExceeded if the table has no room for a word, or the memory none for a take.
        """
        self._classifier.check_room()
        self._enrolled[:] = 0
        self._join(self._classifier.rows, takes, report or TeachReport())
        self._takes = len(takes)
        row = self._classifier.add_row(self._enrolled)
        for take in takes:
            self._memory.add(row, self.hearing.cut(take))
        return row

    def enrol_more(
        self, row: int, takes: list[NDArray[np.int8]], weight: int, report: TeachReport | None = None
    ) -> None:
        """Let takes join a row that stands for `weight` takes already, and keep them as exemplars.

        Raises BudgetExceeded if the memory has no room for a take.
        """
        self._enrolled[:] = weight * self._classifier.unit_row(row).astype(np.int32)
        self._join(row, takes, report or TeachReport())
        self._takes = weight + len(takes)
        self._classifier.set_row(row, self._enrolled)
        for take in takes:
            self._memory.add(row, self.hearing.cut(take))

    def _join(self, row: int, takes: list[NDArray[np.int8]], report: TeachReport) -> None:
        """Let takes of the word at `row` join the sum of their embeddings, and the directions in which they differ."""
        for take in takes:
            unit, counts = self.hearing.embed(take)
            report.counts += counts
            self._classifier.add_take(row, unit, self._enrolled, self._idle)
            self._enrolled += unit

    def teach(self, row: int, config: LearnerConfig, report: TeachReport | None = None) -> Iterator[TeachReport]:
        """Learn the word at `row`, the last one with takes: yields the running report after every step.

        Steps move the weights, and the new word's prototype follows them; those of the other words stand still, and
        their exemplars are what holds the weights to them, until sweeps move some (`rows_to_move`).  Weights and
        prototypes are put back unless the new word is LEAST_GAIN_Q14 further from everything else than before.  Raises
        LearningRejected, after the last step, if the old words lost more than `max_old_loss`; whoever keeps the model
        undoes the update then.
        """
        report = report or TeachReport()
        self.hearing.rough_at(config.theta_q8)
        before = self.check(row, report)
        report.old_before = before.share
        # a device has these in its model file: they count against no budget of RAM
        weights, prototypes = self._network.params(), self._classifier.prototypes()
        self._kept[:] = self._sum_roughly(row, report)[0]
        takes = self.hearing.exemplars_of(row)
        clear = self._is_clear(takes, config.least_spread)
        if clear and len(takes) >= config.least_takes:
            yield from self._steps(row, config, report)
        self._follow(row, report)
        kept = Counter(record.row for record in self._memory.exemplars())
        moved = rows_to_move(self._classifier, kept, config.least_takes, config.many_takes, config.alike_q14, clear)
        if moved:
            yield from self._sweeps(moved, config, report)
        if not moved and not report.losses:  # nothing has changed, which no second check has to find
            report.gained, report.old_after = False, report.old_before
            self._settle(row)
        elif self._judge(row, before, config.max_old_loss, report):
            self._settle(row)
        else:
            self._network.load(weights)
            self._classifier.load(prototypes)
            report.old_after = report.old_before
        yield report

    def _steps(self, row: int, config: LearnerConfig, report: TeachReport) -> Iterator[TeachReport]:
        """Take the gradient steps, on takes and exemplars of other words in turn: yields after each.

        The order of either is drawn anew whenever all had their turn; after all takes the word follows the weights.
        """
        rng = np.random.default_rng(config.seed)
        records = self._memory.exemplars()
        new = [n for n, record in enumerate(records) if record.row == row]
        old = [n for n, record in enumerate(records) if record.row != row]
        queues: dict[bool, list[int]] = {True: [], False: []}
        for number in range(config.steps):
            fresh = number % 2 == 0 or not old
            if not queues[fresh]:
                queues[fresh] = list(rng.permutation(new if fresh else old))
                if fresh and number:
                    self._follow(row, report)
            record = records[queues[fresh].pop()]
            self.step(self.hearing.decode(record), record.row, int(rng.integers(2**32)), config, report)
            yield report

    def _sweeps(self, moved: Sequence[int], config: LearnerConfig, report: TeachReport) -> Iterator[TeachReport]:
        """Take the gradient steps on the prototypes at the rows `moved`: yields after each."""
        units = self.embed_exemplars(report)
        for _ in range(config.sweeps):
            self.adapt_rows(units, config.row_rate_q16, moved, report)
            yield report

    def _judge(self, row: int, before: Check, max_old_loss: float, report: TeachReport) -> bool:
        """Check the word at `row` again and return whether it gained; raises LearningRejected as `teach` does."""
        after = self.check(row, report)
        report.old_after = after.share
        lost = before.right - after.right
        if lost > max_old_loss * before.old:
            raise LearningRejected(
                f"learning would cost the old words {100 * lost / before.old:.1f} % of their exemplars "
                f"(limit {100 * max_old_loss:g} %): undone",
                "try clearer takes, more of them, or a word that sounds less like an old one",
            )
        report.gained = after.separation_q14 > before.separation_q14 + LEAST_GAIN_Q14
        return report.gained

    def _settle(self, row: int) -> None:
        """Let all rows know that a base row has moved."""
        if row < self._classifier.config.base_rows:
            self._classifier.refresh_nearness()

    def _is_clear(self, takes: list[Exemplar], least_spread: int) -> bool:
        """Return whether no noise fills what is soft in these takes: that is what gradients would learn."""
        spread = sum(variance(self.hearing.decode_own(record)) for record in takes)
        return spread >= least_spread**2 * len(takes)

    def embed_exemplars(self, report: TeachReport) -> NDArray[np.int16]:
        """Return the unit embeddings (int16 Q14, [n, H]) of the first exemplars, all that the idle tape has room for.

        They are what they are until weights, exemplars or tape change; no sweep changes those.
        """
        sums, records = self._row_sums(), self._memory.exemplars()
        units = self._idle[sums.size :].view(np.int16)
        units = units[: len(units) // sums.shape[1] * sums.shape[1]].reshape(-1, sums.shape[1])[: len(records)]
        for unit, record in zip(units, records, strict=False):
            unit[:], counts = self.hearing.embed(self.hearing.decode(record))
            report.counts += counts
        return units

    def adapt_rows(self, units: NDArray[np.int16], rate_q16: int, moved: Sequence[int], report: TeachReport) -> None:
        """Take one gradient step on the prototypes of the taught words at the rows `moved`, see `adaptation`.

        units: of `embed_exemplars`; the exemplars after these are embedded here.
        """
        classifier, records = self._classifier, self._memory.exemplars()
        base = classifier.config.base_rows
        taught = sum(record.row >= base for record in records)
        half = WEIGHT_ONE // 2
        of_base, of_taught = half // (len(records) - taught + base), half // max(1, taught)
        # a sum of its own: the counts of what is embedded meanwhile go to the report too
        heard = self._all_units(units, report)
        weighted = ((unit, row, of_taught if row >= base else of_base) for unit, row in heard)
        swept = sweep(classifier, weighted, [of_base] * base, moved, rate_q16, self._row_sums())
        report.counts += swept

    def _all_units(self, units: NDArray[np.int16], report: TeachReport) -> Iterator[tuple[NDArray[np.int16], int]]:
        """Yield unit embeddings (int16 Q14 [H]) and rows of all exemplars: `units` of the first, the others anew."""
        for n, record in enumerate(self._memory.exemplars()):
            if n < len(units):
                yield units[n], record.row
            else:
                unit, counts = self.hearing.embed(self.hearing.decode(record))
                report.counts += counts
                yield unit, record.row

    def _row_sums(self) -> NDArray[np.int32]:
        """Return where a sweep sums the gradients of the taught rows in use (int32 [rows, H], Q29)."""
        config = self._classifier.config
        rows = self._classifier.rows - config.base_rows
        return self._idle[: rows * config.hidden].reshape(rows, config.hidden)

    def threshold_q14(self, row: int, default_q14: int, report: TeachReport | None = None) -> int:
        """Return the score (Q14) from which the word at `row` counts as said; see `thresholds_q14`."""
        (threshold,), counts = self.hearing.thresholds_q14([row], default_q14)
        if report is not None:
            report.counts += counts
        return threshold

    def dry_run(self, steps: int) -> Counts:
        """Do the work of a lesson of `steps` gradient steps on the rehearsal memory, change nothing, return the counts.

        The steps are taken at rate 0. Besides them all exemplars are heard for the checks before and after, and once
        more for the threshold, `least_takes` of them as takes of the word are: in all voices to see whether they are
        alike and to enrol them, altered as well in the checks, and before the steps, after them, and in between
        whenever all were stepped on. So few takes are not swept.
        """
        hearing, report = self.hearing, TeachReport()
        still = LearnerConfig(steps=steps, rate_q16=0)
        records = self._memory.exemplars()
        takes = still.least_takes
        hearing.rough_at(still.theta_q8)
        for number in range(steps if records else 0):
            record = records[number % len(records)]
            self.step(hearing.decode(record), record.row, number, still, report)
        followed = [records[n % len(records)] for n in range(steps // 2 + 2 * takes if records else 0)]
        for record in [*followed, *(CHECKS * [*records, *(ALTERED * records[:takes])])]:
            report.counts += hearing.embed_roughly(hearing.decode_own(record))[1]
        for record in records:
            report.counts += hearing.pool_of(hearing.decode_own(record))
        for record in 2 * records[:takes]:
            report.counts += hearing.embed(hearing.decode(record))[1]
        return report.counts

    def step(self, frames: NDArray[np.int8], row: int, seed: int, config: LearnerConfig, report: TeachReport) -> None:
        """Take one gradient step on one utterance in its own voice: tape, head, sparse BPTT, update."""
        hearing, network, tape = self.hearing, self._network, self._tape
        frames = self._memory.around.own(frames)
        hearing.rough_at(config.theta_q8)
        tape.reset()
        # the last frames are the ones that are taped: truncated BPTT with the state carried in
        before = max(0, len(frames) - tape.capacity_frames)
        report.counts += hearing.pool_of(frames[:before], rough=True)
        report.counts += network.forward(hearing.rough, frames[before:], hearing.pool, tape)
        report.truncated_frames += before + tape.frames_left_out
        head = self._classifier.head_step(hearing.pool, row)
        report.losses.append(head.loss_q10 / 1024)
        if head.magnitude_q23 == 0:
            return
        report.counts += network.backward(tape, self._gradients, self._classifier.gradient, self._weights)
        mult, shift = head.rate(config.rate_q16, network.config.layers[0].weight_shift)
        report.counts += network.update(tape, self._gradients, mult, shift, seed, weights=self._weights)

    def _sum_roughly(self, row: int, report: TeachReport) -> tuple[NDArray[np.int64], int]:
        """Return the sum of the rough unit embeddings (Q14) of the exemplars of a row, and how many there are."""
        total, kept, counts = self.hearing.sum_roughly(row)
        report.counts += counts
        return total, kept

    def _follow(self, row: int, report: TeachReport) -> None:
        """Let the row follow the weights: the mean of all its takes, moved as those moved that the memory still has."""
        total, kept = self._sum_roughly(row, report)
        self._classifier.set_row(row, self._enrolled.astype(np.int64) * kept + self._takes * (total - self._kept))
