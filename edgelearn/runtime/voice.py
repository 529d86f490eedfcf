"""The device as a whole: one arena of the budget, and in it everything that listens and everything that learns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.endpoint import Endpointer
from edgelearn.audio.frontend import Frontend
from edgelearn.device.arena import Arena
from edgelearn.engine.network import Network, tape_bytes, warm_up
from edgelearn.errors import BudgetExceeded, UsageError
from edgelearn.learning.classifier import Classifier, ClassifierConfig
from edgelearn.learning.learner import Learner, LearnerConfig, TeachReport
from edgelearn.learning.rehearsal import RehearsalMemory
from edgelearn.runtime.model import Model, Word, check_word_name
from edgelearn.runtime.recognizer import Recognizer

DEFAULT_BUDGET_BYTES = 256 * 1024
TAUGHT_ROWS = 16
REHEARSAL_BYTES = 16 * 1024
POOL_SHARE = (
    0.3  # the tape's pool of deltas is sized for this occupancy; what does not fit truncates BPTT and is reported
)
LEAST_TAPE_FRAMES = 8
MOST_TAPE_FRAMES = 64


class VoiceDevice:
    """A model on a device of `budget_bytes`: `recognizer` listens, `teach` learns, `model` is what would be saved.

    Raises BudgetExceeded if listening and learning do not both fit.
    """

    def __init__(
        self, model: Model, budget_bytes: int = DEFAULT_BUDGET_BYTES, rehearsal_bytes: int = REHEARSAL_BYTES
    ) -> None:
        self.arena = Arena(budget_bytes)
        arena = self.arena
        self.network = Network(model.network, arena)
        self.classifier = Classifier(ClassifierConfig(model.network.hidden, len(model.labels), TAUGHT_ROWS), arena)
        self.frontend = frontend = Frontend(model.frontend, arena)
        endpointer = Endpointer(model.endpoint, model.frontend.bands, arena)
        self.recognizer = Recognizer(
            frontend, endpointer, self.network, self.network.new_state("listening.state"), self.classifier, arena
        )
        self.memory = RehearsalMemory(rehearsal_bytes, model.frontend.bands, model.network.layers[0].theta_x_q13, arena)
        gradients = self.network.new_backward("learning.gradients")
        state = self.network.new_state("learning.state")
        # what is left becomes the tape; the learner's own small buffers come first
        longest = model.endpoint.longest + model.endpoint.lag_frames + model.endpoint.post_frames
        reserve = longest * model.frontend.bands + 4 * model.network.hidden + 64
        frames = self._tape_frames(model, arena.free_bytes - reserve)
        self.tape = self.network.new_tape(frames, self._pool_entries(model, frames), "tape")
        self.learner = Learner(self.network, self.classifier, self.memory, state, self.tape, gradients, longest, arena)
        self.longest = model.endpoint.longest
        self._model = model
        self.restore(model)

    @staticmethod
    def _pool_entries(model: Model, frames: int) -> int:
        columns = sum(layer.inputs + layer.hidden for layer in model.network.layers)
        dense = any(layer.theta_x_q13 == 0 or layer.theta_h_q13 == 0 for layer in model.network.layers)
        return int(frames * columns * (1.0 if dense else POOL_SHARE))

    def _tape_frames(self, model: Model, free_bytes: int) -> int:
        """Return the longest tape that fits what is left, at most what an utterance needs."""
        for frames in range(MOST_TAPE_FRAMES, LEAST_TAPE_FRAMES - 1, -1):
            if tape_bytes(model.network, frames, self._pool_entries(model, frames)) <= free_bytes:
                return frames
        needed = tape_bytes(model.network, LEAST_TAPE_FRAMES, self._pool_entries(model, LEAST_TAPE_FRAMES))
        raise BudgetExceeded(
            "tape", needed, max(0, free_bytes), self.arena.budget_bytes,
            f"a tape of {LEAST_TAPE_FRAMES} frames fits a budget of {self.arena.budget_bytes + needed - free_bytes:,} bytes",
        )  # fmt: skip

    def restore(self, model: Model) -> None:
        """Load a model of the same shapes over what the arena holds."""
        self.network.load(model.params)
        self.classifier.load(model.prototypes)
        self.memory.unpack(model.rehearsal)
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
        """Compile, or load from the cache, everything that listening and learning run: do it before a stream is open."""
        warm_up()
        self.recognizer.push(np.zeros(self.frontend.config.frame, np.int16))
        self.recognizer.reset()
        unit, _ = self.learner.embed(np.zeros((1, self.frontend.config.bands), np.int8))
        self.classifier.scores(unit, np.zeros(1, np.int64))
        self.classifier.head_step(np.ones(self.network.config.hidden, np.int32), 0)

    def check_new_word(self, name: str) -> None:
        """Raise UsageError for a name that is no name or is taken, BudgetExceeded if there is no room for one more word."""
        check_word_name(name)
        if any(word.name == name for word in self._model.words):
            raise UsageError(f"there is a word {name!r} already", "remove it first, or choose another name")
        self.classifier.check_room()

    def teach(self, name: str, takes: list[NDArray[np.int8]], config: LearnerConfig) -> Iterator[TeachReport]:
        """Learn a new word from takes (int8 Q6, [T, bands] each): yields after every gradient step, adds the word at the end.

        Everything is put back as it was if learning is refused (TakeRejected, LearningRejected, BudgetExceeded) or abandoned.
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
            word = Word(name, row, before.open_set_q14, True, len(takes), today, report.updates)
            history = (*before.history, f"add {name}: {word.takes} takes, {word.updates} updates")
            self._model = replace(before, words=(*before.words, word), history=history)
            self.recognizer.words = self._model.words
            self._model = self.model()
            done = True
        finally:
            if not done:
                self.restore(before)

    def remove(self, name: str) -> None:
        """Take a word out of the vocabulary; a taught word loses its prototype and its exemplars, a base word stays background."""
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
