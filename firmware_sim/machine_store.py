"""The flash of a simulated machine: code, and the journal of its models, written operation by operation."""

from __future__ import annotations

from collections import deque

import numpy as np

from edgelearn.device.board import Board
from edgelearn.errors import BudgetExceeded, ModelFileError
from edgelearn.firmware.image import encode_image, image_generation, shape_digest, taught_word_bytes
from edgelearn.runtime.layout import TAUGHT_ROWS
from edgelearn.runtime.model import Model
from firmware_sim.flash import Flash, FlashConfig, Operation
from firmware_sim.journal import SLOTS, Journal
from firmware_sim.machine_meter import AJ_PER_UJ

CODE_BYTES = 64 * 1024  # what the firmware may take beside the weights


class ModelStore:
    """Where a machine keeps its model, from `model` on, which is programmed before it is switched on at all.

    operations: those of a commit that are still to be done. The names of words are not in an image: they are the
    host's, as they are in a firmware without a screen, and are found again by the generation. Raises BudgetExceeded if
    the board's flash has no room for the code and the journal.
    """

    def __init__(self, board: Board, model: Model, rehearsal_bytes: int) -> None:
        config = FlashConfig()
        self._digest = shape_digest(model, TAUGHT_ROWS)
        image = encode_image(model, self._digest, 1)
        words = TAUGHT_ROWS * taught_word_bytes(model.network.hidden)
        most = len(image) + words + rehearsal_bytes - model.rehearsal.nbytes
        slot_pages = -(-(most + config.unit_bytes) // config.page_bytes)
        self.size_bytes = CODE_BYTES + SLOTS * slot_pages * config.page_bytes
        flash_bytes = board.flash_bytes
        if flash_bytes is not None and self.size_bytes > flash_bytes.value:
            size = int(flash_bytes.value)
            raise BudgetExceeded("flash", self.size_bytes, size, size, "choose a board with more flash")
        self.flash = Flash(SLOTS * slot_pages, config)
        self.operations: deque[Operation] = deque()
        self.generation = 1
        self._models = {1: model}
        Journal(self.flash).commit(image)
        self.flash.busy_us = self.flash.energy_uj = 0.0  # that was done in the factory

    def begin_commit(self, model: Model) -> None:
        """Plan the operations that write a model as the next generation; what was planned before must be done."""
        self.generation += 1
        self._models[self.generation] = model
        planned = Flash(self.flash.pages, self.flash.config)
        planned.memory[:] = self.flash.memory
        planned.observe = lambda _, operation: self.operations.append(operation)
        Journal(planned).commit(encode_image(model, self._digest, self.generation))

    def cost(self) -> tuple[int, int]:
        """Return nanoseconds and attojoules of the next operation."""
        config, erase = self.flash.config, self.operations[0].kind == "erase"
        us, uj = (config.erase_us, config.erase_uj) if erase else (config.program_us, config.program_uj)
        return round(us * 1000), round(uj * AJ_PER_UJ)

    def finish_operation(self) -> bool:
        """Do the next operation; returns whether it was the last of its commit."""
        operation = self.operations.popleft()
        if operation.kind == "erase":
            self.flash.erase(operation.at // self.flash.config.page_bytes)
        else:
            self.flash.program(operation.at, operation.data)
        return not self.operations

    def cut(self, torn: bool, rng: np.random.Generator) -> None:
        """Let the power fail: the operation under way is torn, those after it are never done."""
        if torn:
            left = [self.flash.memory.copy() for _ in self.flash.torn(self.operations[0], rng)]
            self.flash.memory[:] = left[int(rng.integers(len(left)))]
        self.operations.clear()

    def recover(self) -> tuple[Model, int]:
        """Return the newest model that is whole, and the bytes of its image; they are compared bit for bit."""
        image = Journal(self.flash).recover()
        if image is None:
            raise ModelFileError("no whole model is left in the simulated flash")
        self.generation = image_generation(image)
        model = self._models[self.generation]
        if encode_image(model, self._digest, self.generation) != image:
            raise ModelFileError(f"generation {self.generation} in the simulated flash is not the one that was written")
        return model, len(image)
