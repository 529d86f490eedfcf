"""The device as a whole: one arena of the budget, and in it everything that listens and everything that learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.endpoint import Endpointer
from edgelearn.audio.frontend import Frontend
from edgelearn.audio.noise import subtract_floor, subtraction_table
from edgelearn.device.arena import Arena
from edgelearn.device.plan import Choice, Plan, needed_bytes
from edgelearn.device.sizes import KIB
from edgelearn.engine.counts import Counts
from edgelearn.engine.network import Network, warm_up
from edgelearn.errors import TakeRejected, UsageError
from edgelearn.learning.adaptation import descend
from edgelearn.learning.classifier import Classifier, ClassifierConfig
from edgelearn.learning.directions import DIRECTIONS, Directions
from edgelearn.learning.hearing import Hearing
from edgelearn.learning.learner import Learner, LearnerConfig, TeachReport
from edgelearn.learning.rehearsal import RehearsalMemory
from edgelearn.learning.takes import check_likeness
from edgelearn.runtime.last_utterances import LAST_BYTES, LastUtterances
from edgelearn.runtime.layout import (
    LEAST_TAPE_FRAMES,
    MOST_TAPE_FRAMES,
    REHEARSAL_BYTES,
    TAUGHT_ROWS,
    device_regions,
    pool_entries,
    shape_of,
)
from edgelearn.runtime.model import Model, Word, check_word_name, rejected_name
from edgelearn.runtime.planner import plan_device, sufficient_bytes
from edgelearn.runtime.recognizer import Recognizer

__all__ = [
    "DEFAULT_BUDGET_BYTES",
    "LEAST_TAPE_FRAMES",
    "MOST_TAPE_FRAMES",
    "REHEARSAL_BYTES",
    "SLACK_BYTES",
    "TAUGHT_ROWS",
    "VoiceDevice",
    "device_bytes",
    "sufficient_budget",
]

DEFAULT_BUDGET_BYTES = 256 * KIB
# a shipped word was trained on hundreds of recordings: it moves as if it had been taught with this many takes
SHIPPED_WEIGHT = 20
CONFUSABLE_Q14 = 9830  # 0.6
SLACK_BYTES = 64  # more than alignment can cost


class VoiceDevice:
    """A model on a device of `budget_bytes`: `recognizer` listens, `teach` learns, `model` is what would be saved.

    How it learns within its budget is the planner's choice, or that of a `plan` for the model's shape. Raises
    BudgetExceeded if listening and learning do not both fit.
    """

    def __init__(
        self,
        model: Model,
        budget_bytes: int = DEFAULT_BUDGET_BYTES,
        rehearsal_bytes: int | None = None,
        plan: Plan | None = None,
    ) -> None:
        self.plan = plan or plan_device(shape_of(model), budget_bytes, rehearsal_bytes)
        self.arena = Arena(self.plan.budget_bytes)
        self._lay_out(model, self.plan)
        self.endpoint = model.endpoint
        self.confusable: tuple[tuple[str, float], ...] = ()
        self._model = model
        self.restore(model)

    def _lay_out(self, model: Model, plan: Plan) -> None:
        """Allocate what the plan says, in the order of `device_regions`."""
        arena, choice = self.arena, plan.choice
        self.network = Network(model.network, arena)
        self.classifier = Classifier(_classifier_config(model), arena, whitening=model.whitening)
        self.frontend = Frontend(model.frontend, arena)
        endpointer = Endpointer(model.endpoint, model.frontend.bands, arena)
        state = self.network.new_state("listening.state")
        self.recognizer = Recognizer(
            self.frontend, endpointer, self.network, state, self.classifier, model.activity, arena
        )
        theta = model.network.layers[0].theta_x_q13
        around, bands = model.endpoint.surroundings, model.frontend.bands
        self.memory = RehearsalMemory(choice.rehearsal_bytes, bands, theta, arena, around=around)
        self.last = LastUtterances(LAST_BYTES, bands, theta, arena, around=around)
        self.recognizer.last = self.last
        gradients = self.network.new_backward("learning.gradients")
        state = self.network.new_state("learning.state")
        every = choice.checkpoint_every
        weights = self.network.new_weight_gradients("learning.weights") if every else None
        self.tape = self.network.new_tape(
            choice.tape_frames, pool_entries(model.network, choice), "tape", checkpoint_every=every
        )
        self.hearing = Hearing(self.network, self.classifier, self.memory, state, model.endpoint.most_frames, arena)
        self.learner = Learner(self.hearing, self.tape, gradients, arena, weights=weights)

    def restore(self, model: Model) -> None:
        """Load a model of the same shapes over what the arena holds; raises as `check` does, and loads nothing then."""
        self.check(model)
        self.network.load(model.params)
        self.classifier.load(model.prototypes)
        self.classifier.directions.unpack(model.directions)
        self.memory.unpack(model.rehearsal)
        self._model = model
        self.recognizer.words = model.words
        self.recognizer.weights_changed()

    def check(self, model: Model) -> None:
        """Raise what forbids to load a model of the same shapes.

        That is BudgetExceeded where it has more words or more takes than there is room for, ModelFileError for a part
        that is not whole.
        """
        self.network.check(model.params)
        self.classifier.check(model.prototypes)
        self.memory.check(model.rehearsal, len(model.prototypes))

    def model(self) -> Model:
        """Return the model as the arena holds it now."""
        return replace(
            self._model,
            params=self.network.params(),
            prototypes=self.classifier.prototypes(),
            rehearsal=self.memory.pack(),
            directions=self.classifier.directions.pack(self.classifier.rows - self.classifier.config.base_rows),
        )

    def warm_up(self) -> None:
        """Compile, or load from the cache, all that listening and learning run: do it before a stream is open."""
        warm_up()
        self.recognizer.push(np.zeros(self.frontend.config.frame, np.int16))
        self.recognizer.reset()
        frames = np.zeros((1 + sum(self.endpoint.surroundings), self.frontend.config.bands), np.int8)
        subtract_floor(frames, 0, 1, frames[0], subtraction_table(self.frontend.config.gain_q20))
        theta, around = self.memory.theta_x_q13, self.memory.around
        memory = RehearsalMemory.apart(KIB, frames.shape[1], theta, around)
        memory.add(0, frames)
        memory.decode(memory.exemplars()[0], frames)
        unit, _ = self.hearing.embed(frames)
        self.classifier.scores(unit, np.zeros(1, np.int64))
        hidden = self.network.config.hidden
        directions = Directions(1, DIRECTIONS, hidden, Arena(4 * KIB))
        directions.add(0, unit, np.zeros(hidden, np.int32), np.empty((DIRECTIONS + 1) * hidden, np.int32))
        self.classifier.head_step(np.ones(hidden, np.int32), 0)
        sums = np.zeros((1, hidden), np.int32)
        self.classifier.add_row_gradient(unit, 0, 0, 0, sums)
        descend(np.zeros(len(unit), np.int8), np.int32(1), sums[0], 0, np.empty(len(unit), np.int64))

    @property
    def words_left(self) -> int:
        """How many more words can be taught."""
        return self.classifier.config.rows - self.classifier.rows

    def check_new_word(self, name: str) -> None:
        """Raise UsageError for a name that is no name or is taken, BudgetExceeded if one more word has no room."""
        check_word_name(name)
        if any(word.name == name for word in self._model.words):
            raise UsageError(f"there is a word {name!r} already", "remove it first, or choose another name")
        self.classifier.check_room()

    def teach(self, name: str, takes: list[NDArray[np.int8]], config: LearnerConfig) -> Iterator[TeachReport]:
        """Learn a new word from takes (int8 Q6, [T, bands] each): yields after every step, adds the word at the end.

        Everything is put back as it was if learning is refused (TakeRejected, LearningRejected, BudgetExceeded) or
        abandoned.
        """
        self.check_new_word(name)
        units, heard = self.hearing.embed_takes(takes)
        if len(takes) > 1:
            check_likeness(units, config.agreement_q14)
        self.confusable = self._sounds_like(units)
        yield from self._lesson(Word(name, -1, 0, True), takes, heard, config, f"add {name}")

    def confirm(self, name: str, take: NDArray[np.int8], config: LearnerConfig) -> Iterator[TeachReport]:
        """Learn a word better from an utterance (int8 Q6, [T, bands]) of it that was missed; yields as `teach` does.

        Raises TakeRejected for an utterance that is unlike the word.
        """
        word = self._model.word(name)
        self.confusable = ()
        unit, heard = self.hearing.embed(take)
        cosine = int(self.classifier.cosines(unit)[word.row])
        if cosine < config.agreement_q14:
            raise TakeRejected(
                f"what was heard is unlike {name!r} (cosine {cosine / 16384:.2f})",
                "say it again and confirm that, or teach another word with `edgelearn add`",
            )
        yield from self._lesson(word, [take], heard, config, f"confirm {name}")

    def reject(self, name: str, take: NDArray[np.int8], config: LearnerConfig) -> Iterator[TeachReport]:
        """Learn that an utterance (int8 Q6, [T, bands]) was not the word it was heard as; yields as `teach` does.

        The false alarms of a word are a class of their own, which takes what resembles them and is never reported.
        """
        self._model.word(name)
        self.confusable = ()
        known = [word for word in self._model.words if word.rejects == name]
        word = known[0] if known else Word(rejected_name(name), -1, 0, True, rejects=name)
        if not known:
            self.classifier.check_room()
        yield from self._lesson(word, [take], Counts(), config, f"reject {name}")

    def _sounds_like(self, units: NDArray[np.int64]) -> tuple[tuple[str, float], ...]:
        """Return the words that takes (Q14 [n, H]) are close to, the closest first, with the cosine to their mean."""
        cosines = self.classifier.cosines(self.classifier.direction(units.sum(axis=0).astype(np.int32)))
        near = [(w.name, int(cosines[w.row])) for w in self._model.words if not w.rejects]
        near = sorted((pair for pair in near if pair[1] >= CONFUSABLE_Q14), key=lambda pair: -pair[1])
        return tuple((name, cosine / 16384) for name, cosine in near)

    def _lesson(
        self, word: Word, takes: list[NDArray[np.int8]], heard: Counts, config: LearnerConfig, change: str
    ) -> Iterator[TeachReport]:
        """Learn takes of a word, which is a new one if its row is -1; heard: what hearing them has cost so far."""
        before = self._model
        new = word.row < 0
        done = False
        report = TeachReport(heard)
        try:
            if new:
                row = self.learner.enrol(takes, report)
            else:
                row = word.row
                self.learner.enrol_more(row, takes, word.takes if word.taught else SHIPPED_WEIGHT, report)
            for _ in self.learner.teach(row, config, report):
                self.recognizer.weights_changed()
                yield report
            least = before.open_set_q14 if word.taught else word.threshold_q14
            threshold = self.learner.threshold_q14(row, least, report)
            learned = replace(
                word,
                row=row,
                # a word that was missed is never harder to say afterwards
                threshold_q14=threshold if new else min(threshold, word.threshold_q14),
                takes=word.takes + len(takes),
                added=word.added or datetime.now(UTC).date().isoformat(),
                updates=word.updates + (report.updates if report.gained else 0),
            )
            words = (*before.words, learned) if new else tuple(learned if w is word else w for w in before.words)
            steps = f"{report.updates} updates" + ("" if report.gained else " put back")
            history = (*before.history, f"{change}: {len(takes)} takes, {steps}")
            self._model = replace(before, words=words, history=history)
            self.recognizer.words = self._model.words
            self._model = self.model()
            done = True
        finally:
            if not done:
                self.restore(before)

    def remove(self, name: str) -> None:
        """Take a word out of the vocabulary; a taught one goes with all kept of it, a base word stays as background.

        What collects a word's false alarms goes with it.
        """
        self._model.word(name)
        model = self._model
        for word in sorted(model.words, key=lambda w: w.row, reverse=True):
            if name not in (word.name, word.rejects):
                continue
            words = tuple(w for w in model.words if w.name != word.name)
            if word.taught:
                self.classifier.remove_row(word.row)
                self.memory.remove_row(word.row)
                words = tuple(replace(w, row=w.row - 1) if w.row > word.row else w for w in words)
            model = replace(model, words=words)
        self._model = replace(model, history=(*model.history, f"remove {name}"))
        self.recognizer.words = model.words
        self._model = self.model()


def device_bytes(model: Model, tape_frames: int, rehearsal_bytes: int = REHEARSAL_BYTES) -> int:
    """Return the arena bytes of a `VoiceDevice` whose tape keeps the gates of so many frames."""
    return needed_bytes(device_regions(shape_of(model), Choice(tape_frames, 0, rehearsal_bytes)))


def sufficient_budget(model: Model, rehearsal_bytes: int | None = None) -> int:
    """Return a budget in whole KiB that a model listens and learns within, with its shortest tape."""
    return sufficient_bytes(shape_of(model), rehearsal_bytes)


def _classifier_config(model: Model) -> ClassifierConfig:
    return ClassifierConfig(model.network.hidden, len(model.labels), TAUGHT_ROWS, model.background_rows)
