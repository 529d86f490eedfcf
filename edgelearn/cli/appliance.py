"""What the verbs that need a device share: settings, model and device from a command line, energy, saving."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import open_model, settings
from edgelearn.config import Settings
from edgelearn.device.board import Board, load_board
from edgelearn.device.cost import cost
from edgelearn.errors import ModelFileError
from edgelearn.learning.learner import LearnerConfig, TeachReport
from edgelearn.runtime.model import Model, load_model, save_model
from edgelearn.runtime.voice import VoiceDevice

if TYPE_CHECKING:
    from edgelearn.engine.counts import Counts


@dataclass
class Appliance:
    """A device with the user's model on it, the board it is priced on, and where the model is kept."""

    path: Path
    model: Model
    device: VoiceDevice
    board: Board
    settings: Settings

    @property
    def learner_config(self) -> LearnerConfig:
        """How words are learned, from the settings."""
        learning = self.settings.learning
        return LearnerConfig(steps=learning.steps, max_old_loss=learning.max_old_loss_percent / 100, seed=learning.seed)

    def energy_mj(self, counts: Counts) -> float:
        """Return what work costs on the board, in millijoules."""
        return cost(counts, self.board).joules * 1e3

    def save(self) -> None:
        """Write the model as the device holds it now."""
        self.model = save_model(self.path, replace(self.device.model(), generation=self.model.generation))

    def catch_up(self) -> bool:
        """Go on with the model file as another program has left it; return whether one had changed it.

        Raises ModelFileError or BudgetExceeded, and changes nothing, if the device cannot go on with what is there now.
        """
        model = load_model(self.path)
        if model.generation == self.model.generation:
            return False
        self.check(model)
        self.device.restore(model)
        self.model = model
        return True

    def check(self, model: Model) -> None:
        """Raise ModelFileError or BudgetExceeded if the device, as it listens, cannot go on with a model."""
        if not self.model.is_like(model):
            raise ModelFileError("that model is of another kind than the running session's", "start the session anew")
        self.device.check(model)

    def added_fields(self, word: str, takes: int, seconds: float, report: TeachReport) -> dict[str, object]:
        """Return the fields of the event `added`."""
        counts = report.counts
        spent = cost(counts, self.board)
        return {
            "word": word,
            "takes": takes,
            "seconds": round(seconds, 4),
            "updates": report.updates,
            "sparsity": round(counts.sparsity, 4),
            "macs": counts.macs_forward + counts.macs_backward + counts.macs_gradient,
            "macs_dense": counts.macs_dense_training,
            "energy_mj": round(spent.joules * 1e3, 4),
            "board": self.board.name,
            "board_seconds": round(spent.seconds, 4),
            "truncated_frames": report.truncated_frames,
            "saturations": counts.saturations,
            "peak_bytes": self.device.arena.high_water_bytes,
            "budget_bytes": self.device.arena.budget_bytes,
            "old_words_before": round(report.old_before, 4),
            "old_words_after": round(report.old_after, 4),
            "gained": report.gained,
            "confusable": self._confusable(),
        }

    def _confusable(self) -> list[dict[str, object]]:
        """Return the words that the last new word sounds like."""
        return [{"word": word, "score": round(score, 4)} for word, score in self.device.confusable]


def open_appliance(args: argparse.Namespace) -> Appliance:
    """Return the device that a command line asks for; `args` has --model, --config and the flags of settings."""
    chosen = settings(args)
    path, model = open_model(args)
    board = load_board(chosen.device.board)
    device = VoiceDevice(model, chosen.device.budget_bytes)
    # half the range of scores is a whole threshold: 0.5 is the model's own, 1 accepts nearly everything
    device.recognizer.bias_q14 = round((chosen.decision.sensitivity - 0.5) * 8192)
    hop_ms = 1000 / model.frontend.frame_rate_hz
    device.recognizer.refractory_frames = round(chosen.decision.refractory_ms / hop_ms)
    return Appliance(path, model, device, board, chosen)
