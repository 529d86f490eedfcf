"""The device as a whole: one arena of the budget, and in it everything that listens and everything that learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.endpoint import Endpointer, endpoint_bytes
from edgelearn.audio.frontend import Frontend, frontend_bytes
from edgelearn.device.arena import Arena, region_bytes
from edgelearn.device.plan import fit_tape_frames
from edgelearn.device.sizes import KIB, format_size
from edgelearn.engine.network import Network, gradients_bytes, network_bytes, state_bytes, tape_bytes, warm_up
from edgelearn.errors import BudgetExceeded, ModelFileError, UsageError
from edgelearn.learning.classifier import Classifier, ClassifierConfig, classifier_bytes
from edgelearn.learning.learner import Learner, LearnerConfig, TeachReport
from edgelearn.learning.rehearsal import RehearsalMemory
from edgelearn.learning.rehearsal import rehearsal_bytes as memory_bytes
from edgelearn.runtime.model import Model, Word, check_word_name
from edgelearn.runtime.recognizer import Recognizer, listening_bytes, ring_frames

DEFAULT_BUDGET_BYTES = 256 * KIB
TAUGHT_ROWS = 16
REHEARSAL_BYTES = 16 * KIB
# the tape's pool of deltas is sized for this occupancy; what does not fit truncates BPTT and is reported
POOL_SHARE = 0.45
LEAST_TAPE_FRAMES = 8
MOST_TAPE_FRAMES = 64
SLACK_BYTES = 64  # more than alignment can cost


class VoiceDevice:
    """A model on a device of `budget_bytes`: `recognizer` listens, `teach` learns, `model` is what would be saved.

    Raises BudgetExceeded if listening and learning do not both fit.
    """

    def __init__(
        self, model: Model, budget_bytes: int = DEFAULT_BUDGET_BYTES, rehearsal_bytes: int = REHEARSAL_BYTES
    ) -> None:
        self.arena = Arena(budget_bytes)
        try:
            self._lay_out(model, rehearsal_bytes)
        except BudgetExceeded as error:
            enough = format_size(sufficient_budget(model, rehearsal_bytes))
            raise BudgetExceeded(
                error.region, error.asked_bytes, error.free_bytes, budget_bytes,
                f"this model listens and learns within {enough}: --budget {enough}, or a smaller model",
            ) from None  # fmt: skip
        self.endpoint = model.endpoint
        self._model = model
        self.restore(model)

    def _lay_out(self, model: Model, rehearsal_bytes: int) -> None:
        arena = self.arena
        self.network = Network(model.network, arena)
        self.classifier = Classifier(_classifier_config(model), arena)
        self.frontend = Frontend(model.frontend, arena)
        endpointer = Endpointer(model.endpoint, model.frontend.bands, arena)
        state = self.network.new_state("listening.state")
        self.recognizer = Recognizer(self.frontend, endpointer, self.network, state, self.classifier, arena)
        self.memory = RehearsalMemory(rehearsal_bytes, model.frontend.bands, model.network.layers[0].theta_x_q13, arena)
        gradients = self.network.new_backward("learning.gradients")
        state = self.network.new_state("learning.state")
        # what is left becomes the tape, but for the learner's own small buffers
        free = arena.free_bytes - _learner_bytes(model) - SLACK_BYTES
        frames = fit_tape_frames(
            free, lambda n: _tape_bytes(model, n), LEAST_TAPE_FRAMES, MOST_TAPE_FRAMES, arena.budget_bytes
        )
        self.tape = self.network.new_tape(frames, _pool_entries(model, frames), "tape")
        longest = ring_frames(model.endpoint)
        self.learner = Learner(self.network, self.classifier, self.memory, state, self.tape, gradients, longest, arena)

    def restore(self, model: Model) -> None:
        """Load a model of the same shapes over what the arena holds."""
        self.network.load(model.params)
        self.classifier.load(model.prototypes)
        self.memory.unpack(model.rehearsal)
        if any(record.row >= self.classifier.rows for record in self.memory.exemplars()):
            raise ModelFileError(
                "the rehearsal memory has takes of a word that is not there", "go back with `edgelearn undo`"
            )
        self._model = model
        self.recognizer.words = model.words
        self.recognizer.weights_changed()

    def model(self) -> Model:
        """Return the model as the arena holds it now."""
        return replace(
            self._model,
            params=self.network.params(),
            prototypes=self.classifier.prototypes(),
            rehearsal=self.memory.pack(),
        )

    def warm_up(self) -> None:
        """Compile, or load from the cache, all that listening and learning run: do it before a stream is open."""
        warm_up()
        self.recognizer.push(np.zeros(self.frontend.config.frame, np.int16))
        self.recognizer.reset()
        frames = np.zeros((1, self.frontend.config.bands), np.int8)
        memory = RehearsalMemory(KIB, frames.shape[1], self.memory.theta_x_q13, Arena(2 * KIB))
        memory.add(0, frames)
        memory.decode(memory.exemplars()[0], frames)
        unit, _ = self.learner.embed(frames)
        self.classifier.scores(unit, np.zeros(1, np.int64))
        self.classifier.head_step(np.ones(self.network.config.hidden, np.int32), 0)

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
        before = self._model
        self.check_new_word(name)
        self.learner.check_takes(takes, config.agreement_q14)
        done = False
        try:
            row = self.learner.enrol(takes)
            report = TeachReport()
            for report in self.learner.teach(row, config):
                self.recognizer.weights_changed()
                yield report
            today = datetime.now(UTC).date().isoformat()
            threshold = self.learner.threshold_q14(row, before.open_set_q14)
            word = Word(name, row, threshold, True, len(takes), today, report.updates)
            history = (*before.history, f"add {name}: {word.takes} takes, {word.updates} updates")
            self._model = replace(before, words=(*before.words, word), history=history)
            self.recognizer.words = self._model.words
            self._model = self.model()
            done = True
        finally:
            if not done:
                self.restore(before)

    def remove(self, name: str) -> None:
        """Take a word out of the vocabulary; a taught one goes with all kept of it, a base word stays as background."""
        model = self._model
        word = model.word(name)
        words = tuple(w for w in model.words if w is not word)
        if word.taught:
            self.classifier.remove_row(word.row)
            self.memory.remove_row(word.row)
            words = tuple(replace(w, row=w.row - 1) if w.row > word.row else w for w in words)
        self._model = replace(model, words=words, history=(*model.history, f"remove {name}"))
        self.recognizer.words = words
        self._model = self.model()


def device_bytes(model: Model, tape_frames: int, rehearsal_bytes: int = REHEARSAL_BYTES) -> int:
    """Return the arena bytes of a `VoiceDevice`, but for what the alignment of 64-bit numbers adds."""
    bands, network = model.frontend.bands, model.network
    return (
        network_bytes(network)
        + classifier_bytes(_classifier_config(model))
        + frontend_bytes(model.frontend)
        + endpoint_bytes(bands)
        + listening_bytes(model.endpoint, bands, network.hidden)
        + memory_bytes(rehearsal_bytes, bands)
        + gradients_bytes(network)
        + 2 * state_bytes(network)  # one listens, one learns
        + _learner_bytes(model)
        + _tape_bytes(model, tape_frames)
    )


def sufficient_budget(model: Model, rehearsal_bytes: int = REHEARSAL_BYTES) -> int:
    """Return a budget in whole KiB that a model listens and learns within, with its shortest tape."""
    return -(-(device_bytes(model, LEAST_TAPE_FRAMES, rehearsal_bytes) + 2 * SLACK_BYTES) // KIB) * KIB


def _classifier_config(model: Model) -> ClassifierConfig:
    return ClassifierConfig(model.network.hidden, len(model.labels), TAUGHT_ROWS)


def _learner_bytes(model: Model) -> int:
    frames = region_bytes((ring_frames(model.endpoint), model.frontend.bands), np.int8)
    return frames + 3 * region_bytes(model.network.hidden, np.int32)


def _tape_bytes(model: Model, frames: int) -> int:
    return tape_bytes(model.network, frames, _pool_entries(model, frames))


def _pool_entries(model: Model, frames: int) -> int:
    columns = sum(layer.inputs + layer.hidden for layer in model.network.layers)
    dense = any(layer.theta_x_q13 == 0 or layer.theta_h_q13 == 0 for layer in model.network.layers)
    return int(frames * columns * (1.0 if dense else POOL_SHARE))
