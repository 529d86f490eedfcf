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
from edgelearn.learning.takes import check_likeness, variance
from edgelearn.learning.thresholds import ABOVE_BACKGROUND_Q14, SCORE_FLOOR_Q14, thresholds_q14
from edgelearn.learning.variants import ALTERED, FAR_Q14, altered, hear_in_other_voices

if TYPE_CHECKING:
    from edgelearn.device.arena import Arena
    from edgelearn.engine.network import Gradients, Network, State, WeightGradients
    from edgelearn.engine.tape import Tape
    from edgelearn.learning.classifier import Classifier
    from edgelearn.learning.rehearsal import Exemplar, RehearsalMemory

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
    """Owns nothing but working buffers in the arena: network, table and memory are the listening device's own.

    Utterances (int8 Q6, [T, bands]) have around them what those of the memory have. weights: a dense gradient of all
    weights, which a tape with checkpoints needs; without it the tape gives the sums.

    Between two steps of BPTT the gates on the tape (with checkpoints: the dense gradient) are idle. The sweeps keep
    there, first, a gradient of each taught row, int32 [rows, H]; then as many unit embeddings of exemplars, int16
    [n, H], as have room. Enrolment has the vectors there that become a word's directions. Raises UsageError for a tape
    too short for the gradients of a full table: R rows need R / 2 frames of gates.
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
        self._theta_q8 = LearnerConfig().theta_q8
        self._rough = state.at_thresholds(self._theta_q8)
        self._around = memory.around
        self._tape = tape
        self._gradients = gradients
        self._weights = weights
        idle = tape.layers[-1].gates if weights is None else weights.layers[-1]
        self._idle: NDArray[np.int32] = idle.reshape(-1).view(np.int32)
        vectors = max(classifier.config.taught_rows, DIRECTIONS + 1)
        if len(self._idle) < vectors * network.config.hidden:
            raise UsageError(
                f"a tape of {len(tape.layers[-1].gates)} frames has no room for {classifier.config.taught_rows} taught "
                f"rows: it needs {-(-vectors // 2)}"
            )
        self._pool: NDArray[np.int32] = arena.alloc(f"{name}.pool", network.config.hidden, np.int32)
        self._frames: NDArray[np.int8] = arena.alloc(f"{name}.frames", (longest, network.config.inputs), np.int8)
        # the newest word: sum of its takes' embeddings at enrolment, and of those that were kept
        self._enrolled: NDArray[np.int32] = arena.alloc(f"{name}.enrolled", network.config.hidden, np.int32)
        self._kept: NDArray[np.int32] = arena.alloc(f"{name}.kept", network.config.hidden, np.int32)
        self._takes = 0

    def embed(self, frames: NDArray[np.int8]) -> tuple[NDArray[np.int16], Counts]:
        """Return the unit embedding (int16 Q14) of an utterance (int8 Q6, [T, bands]) in all voices."""
        counts = self._pool_of(self._around.own(frames), self._state)
        counts += self._hear_others(frames)
        return self._classifier.embed(self._pool), counts

    def _hear_others(self, frames: NDArray[np.int8]) -> Counts:
        """Let the pool of an utterance, in its own voice, become that of all voices."""
        return hear_in_other_voices(self._network, self._state, self._around.sounding(frames), self._pool)

    def _own(self, record: Exemplar) -> NDArray[np.int8]:
        """Return what its own voice hears of an exemplar."""
        return self._around.own(self._memory.decode(record, self._frames))

    def embed_roughly(self, frames: NDArray[np.int8]) -> tuple[NDArray[np.int16], Counts]:
        """Return that of its own voice alone, at the thresholds of a lesson: to see what a lesson changed.

        frames: what that voice hears.
        """
        counts = self._pool_of(frames, self._rough)
        return self._classifier.embed(self._pool), counts

    def _rough_at(self, theta_q8: int) -> None:
        """Let steps and checks run at thresholds that are so many times (Q8) the network's."""
        if theta_q8 != self._theta_q8:
            self._theta_q8, self._rough = theta_q8, self._state.at_thresholds(theta_q8)

    def _pool_of(self, frames: NDArray[np.int8], state: State) -> Counts:
        """Let the pool be the sum of h over an utterance."""
        state.reset()
        self._pool[:] = 0
        return self._network.forward(state, frames, self._pool)

    def embed_takes(self, takes: list[NDArray[np.int8]]) -> tuple[NDArray[np.int64], Counts]:
        """Return the unit embeddings (Q14, [n, H]) of takes in all voices, and what hearing them cost."""
        units = np.zeros((len(takes), self._network.config.hidden), np.int64)
        total = Counts()
        for unit, take in zip(units, takes, strict=True):
            unit[:], counts = self.embed(take)
            total += counts
        return units, total

    def check_takes(self, takes: list[NDArray[np.int8]], least_q14: int) -> None:
        """Raise TakeRejected for the take that is most unlike the others, if it is too unlike; see `check_likeness`."""
        if len(takes) > 1:
            check_likeness(self.embed_takes(takes)[0], least_q14)

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
            frames = self._own(record)
            mine = record.row == row
            for heard in (frames, *altered(frames)) if mine else (frames,):
                unit, counts = self.embed_roughly(heard)
                report.counts += counts
                score = int(self._classifier.scores(unit, where)[0][0])
                if mine:
                    own.append(score)
                    continue
                best_other = max(best_other, score)
                right += self._is_nearest(unit, record.row)
                old += 1
        return Check(right, old, sum(own) // max(1, len(own)) - best_other)

    def enrol(self, takes: list[NDArray[np.int8]], report: TeachReport | None = None) -> int:
        """Give a new word a row, the mean of its takes, keep them as exemplars, and return the row.

        report: of the lesson that begins with it, as in `enrol_more`, `teach` and `threshold_q14`.
        """
        self._classifier.check_room()
        self._enrolled[:] = 0
        self._join(self._classifier.rows, takes, report or TeachReport())
        self._takes = len(takes)
        row = self._classifier.add_row(self._enrolled)
        for take in takes:
            self._memory.add(row, take[: len(self._frames)])
        return row

    def enrol_more(
        self, row: int, takes: list[NDArray[np.int8]], weight: int, report: TeachReport | None = None
    ) -> None:
        """Let takes join a row that stands for `weight` takes already, and keep them as exemplars."""
        self._enrolled[:] = weight * self._classifier.unit_row(row).astype(np.int32)
        self._join(row, takes, report or TeachReport())
        self._takes = weight + len(takes)
        self._classifier.set_row(row, self._enrolled)
        for take in takes:
            self._memory.add(row, take[: len(self._frames)])

    def _join(self, row: int, takes: list[NDArray[np.int8]], report: TeachReport) -> None:
        """Let takes of the word at `row` join the sum of their embeddings, and the directions in which they differ."""
        for take in takes:
            unit, counts = self.embed(take)
            report.counts += counts
            self._classifier.add_take(row, unit, self._enrolled, self._idle)
            self._enrolled += unit

    def teach(self, row: int, config: LearnerConfig, report: TeachReport | None = None) -> Iterator[TeachReport]:
        """Learn the word at `row`, the last one with takes: yields the running report after every step.

        Takes and rehearsal exemplars alternate.  The new word's prototype follows the weights; those of the other words
        stand still, and their exemplars are what holds the weights to them, until sweeps move some (`rows_to_move`).
        Weights and prototypes are put back unless the new word is LEAST_GAIN_Q14 further from everything else than
        before.  Raises LearningRejected, after the last step, if the old words lost more than `max_old_loss`; whoever
        keeps the model undoes the update then.
        """
        report = report or TeachReport()
        self._rough_at(config.theta_q8)
        before = self.check(row, report)
        total = before.old
        report.old_before = before.right / total if total else 1.0
        # a device has these in its model file: they count against no budget of RAM
        weights, prototypes = self._network.params(), self._classifier.prototypes()
        self._kept[:] = self._sum_roughly(row, report)[0]
        rng = np.random.default_rng(config.seed)
        records = self._memory.exemplars()
        new = [n for n, record in enumerate(records) if record.row == row]
        old = [n for n, record in enumerate(records) if record.row != row]
        queues: dict[bool, list[int]] = {True: [], False: []}
        clear = self._is_clear([records[n] for n in new], config.least_spread)
        for number in range(config.steps if clear and len(new) >= config.least_takes else 0):
            fresh = number % 2 == 0 or not old
            if not queues[fresh]:
                queues[fresh] = list(rng.permutation(new if fresh else old))
                if fresh and number:
                    self._follow(row, report)
            record = records[queues[fresh].pop()]
            self.step(self._memory.decode(record, self._frames), record.row, int(rng.integers(2**32)), config, report)
            yield report
        self._follow(row, report)
        kept = Counter(record.row for record in records)
        moved = rows_to_move(self._classifier, kept, config.least_takes, config.many_takes, config.alike_q14, clear)
        if moved:
            units = self.embed_exemplars(report)
            for _ in range(config.sweeps):
                self.adapt_rows(units, config.row_rate_q16, moved, report)
                yield report
        if not moved and not report.losses:  # nothing has changed, which no second check has to find
            report.gained, report.old_after = False, report.old_before
            self._settle(row)
            yield report
            return
        after = self.check(row, report)
        lost = before.right - after.right
        report.old_after = after.right / total if total else 1.0
        if lost > config.max_old_loss * total:
            raise LearningRejected(
                f"learning would cost the old words {100 * lost / total:.1f} % of their exemplars "
                f"(limit {100 * config.max_old_loss:g} %): undone",
                "try clearer takes, more of them, or a word that sounds less like an old one",
            )
        report.gained = after.separation_q14 > before.separation_q14 + LEAST_GAIN_Q14
        if not report.gained:
            self._network.load(weights)
            self._classifier.load(prototypes)
            report.old_after = report.old_before
        else:
            self._settle(row)
        yield report

    def _settle(self, row: int) -> None:
        """Let all rows know that a base row has moved."""
        if row < self._classifier.config.base_rows:
            self._classifier.refresh_nearness()

    def _is_clear(self, takes: list[Exemplar], least_spread: int) -> bool:
        """Return whether no noise fills what is soft in these takes: that is what gradients would learn."""
        spread = sum(variance(self._own(record)) for record in takes)
        return spread >= least_spread**2 * len(takes)

    def embed_exemplars(self, report: TeachReport) -> NDArray[np.int16]:
        """Return the unit embeddings (int16 Q14, [n, H]) of the first exemplars, all that the idle tape has room for.

        They are what they are until weights, exemplars or tape change; no sweep changes those.
        """
        sums, records = self._row_sums(), self._memory.exemplars()
        units = self._idle[sums.size :].view(np.int16)
        units = units[: len(units) // sums.shape[1] * sums.shape[1]].reshape(-1, sums.shape[1])[: len(records)]
        for unit, record in zip(units, records, strict=False):
            unit[:], counts = self.embed(self._memory.decode(record, self._frames))
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
                unit, counts = self.embed(self._memory.decode(record, self._frames))
                report.counts += counts
                yield unit, record.row

    def _row_sums(self) -> NDArray[np.int32]:
        """Return where a sweep sums the gradients of the taught rows in use (int32 [rows, H], Q29)."""
        config = self._classifier.config
        rows = self._classifier.rows - config.base_rows
        return self._idle[: rows * config.hidden].reshape(rows, config.hidden)

    def threshold_q14(self, row: int, default_q14: int, report: TeachReport | None = None) -> int:
        """Return the score (Q14) from which the word at `row` counts as said; see `thresholds_q14`."""
        return self.thresholds_q14([row], default_q14, report)[0]

    def thresholds_q14(self, rows: Sequence[int], default_q14: int, report: TeachReport | None = None) -> list[int]:
        """Return the scores (Q14) from which the words at `rows` count as said, by the exemplars."""
        heard = self._heard_by(rows, default_q14, report or TeachReport())
        return thresholds_q14(self._classifier, heard, rows, default_q14)

    def _heard_by(
        self, rows: Sequence[int], default_q14: int, report: TeachReport
    ) -> Iterator[tuple[NDArray[np.int16], int]]:
        """Yield unit embeddings (int16 Q14 [H]) and rows of all exemplars, as the words at `rows` would hear them.

        Of other words the other voices are heard as in a stream: unless one's own is far from raising a threshold.
        """
        where = np.array(rows, np.int64)
        near = default_q14 - ABOVE_BACKGROUND_Q14 - FAR_Q14
        for record in self._memory.exemplars():
            frames = self._memory.decode(record, self._frames)
            report.counts += self._pool_of(self._around.own(frames), self._state)
            unit = self._classifier.embed(self._pool)
            if record.row in rows or self._classifier.scores(unit, where)[0].max() >= near:
                report.counts += self._hear_others(frames)
                unit = self._classifier.embed(self._pool)
            yield unit, record.row

    def _is_nearest(self, unit: NDArray[np.int16], row: int) -> bool:
        """Return whether no row is nearer to an embedding."""
        return int(np.argmax(self._classifier.cosines(unit))) == row

    def hear_exemplars(self) -> tuple[int, Counts]:
        """Return how many exemplars of the rehearsal memory are nearest to their own row, and what hearing all cost."""
        right, total = 0, Counts()
        for record in self._memory.exemplars():
            unit, counts = self.embed(self._memory.decode(record, self._frames))
            right += self._is_nearest(unit, record.row)
            total += counts
        return right, total

    def rehearse(self, steps: int) -> Counts:
        """Return the counts of a lesson of `steps` gradient steps on the rehearsal memory: the work and no change.

        The steps are taken at rate 0. Besides them all exemplars are heard for the checks before and after, and once
        more for the threshold, `least_takes` of them as takes of the word are: in all voices to see whether they are
        alike and to enrol them, altered as well in the checks, and before the steps, after them, and in between
        whenever all were stepped on. So few takes are not swept.
        """
        report = TeachReport()
        still = LearnerConfig(steps=steps, rate_q16=0)
        records = self._memory.exemplars()
        takes = still.least_takes
        self._rough_at(still.theta_q8)
        for number in range(steps if records else 0):
            record = records[number % len(records)]
            self.step(self._memory.decode(record, self._frames), record.row, number, still, report)
        followed = [records[n % len(records)] for n in range(steps // 2 + 2 * takes if records else 0)]
        for record in [*followed, *(CHECKS * [*records, *(ALTERED * records[:takes])])]:
            report.counts += self.embed_roughly(self._own(record))[1]
        for record in records:
            report.counts += self._pool_of(self._own(record), self._state)
        for record in 2 * records[:takes]:
            report.counts += self.embed(self._memory.decode(record, self._frames))[1]
        return report.counts

    def step(self, frames: NDArray[np.int8], row: int, seed: int, config: LearnerConfig, report: TeachReport) -> None:
        """Take one gradient step on one utterance in its own voice: tape, head, sparse BPTT, update."""
        network, tape, frames = self._network, self._tape, self._around.own(frames)
        self._rough_at(config.theta_q8)
        tape.reset()
        # the last frames are the ones that are taped: truncated BPTT with the state carried in
        before = max(0, len(frames) - tape.capacity_frames)
        report.counts += self._pool_of(frames[:before], self._rough)
        report.counts += network.forward(self._rough, frames[before:], self._pool, tape)
        report.truncated_frames += before + tape.frames_left_out
        head = self._classifier.head_step(self._pool, row)
        report.losses.append(head.loss_q10 / 1024)
        if head.magnitude_q23 == 0:
            return
        report.counts += network.backward(tape, self._gradients, self._classifier.gradient, self._weights)
        mult, shift = head.rate(config.rate_q16, network.config.layers[0].weight_shift)
        report.counts += network.update(tape, self._gradients, mult, shift, seed, weights=self._weights)

    def exemplar_units(self, row: int) -> list[NDArray[np.int16]]:
        """Return the unit embeddings (int16 Q14) of the exemplars of a row."""
        kept = [record for record in self._memory.exemplars() if record.row == row]
        return [self.embed(self._memory.decode(record, self._frames))[0] for record in kept]

    def _sum_roughly(self, row: int, report: TeachReport) -> tuple[NDArray[np.int64], int]:
        """Return the sum of the rough unit embeddings (Q14) of the exemplars of a row, and how many there are."""
        kept = [record for record in self._memory.exemplars() if record.row == row]
        total = np.zeros(self._network.config.hidden, np.int64)
        for record in kept:
            unit, counts = self.embed_roughly(self._own(record))
            total += unit
            report.counts += counts
        return total, len(kept)

    def _follow(self, row: int, report: TeachReport) -> None:
        """Let the row follow the weights: the mean of all its takes, moved as those moved that the memory still has."""
        total, kept = self._sum_roughly(row, report)
        self._classifier.set_row(row, self._enrolled.astype(np.int64) * kept + self._takes * (total - self._kept))
