"""Everything that a firmware build needs, written to one folder: the C sources, and the model as headers for them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.device.sizes import KIB, format_size
from edgelearn.errors import UsageError
from edgelearn.firmware.golden import golden_header, make_golden
from edgelearn.firmware.headers import config_header, model_header, tables_header
from edgelearn.firmware.image import encode_image, shape_digest
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.voice import VoiceDevice, sufficient_budget

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgelearn.runtime.model import Model

# firmware_sim lies beside edgelearn, in the repository as in an installed package; it is data here, never imported
SOURCES = Path(__file__).resolve().parent.parent.parent / "firmware_sim" / "firmware"
RESERVE_BYTES = 3712  # of the budget, for the stack and for what the firmware keeps outside of its arena


@dataclass(frozen=True)
class Export:
    """What was planned for the device: bytes of its arena and of the image in flash, frames of its tape; the files."""

    files: tuple[Path, ...]
    arena_bytes: int
    image_bytes: int
    tape_frames: int


def firmware_device(model: Model, budget_bytes: int, bias_q14: int = 0, refractory_frames: int = 0) -> VoiceDevice:
    """Return the device that firmware of this memory budget is: the arena is what stack and statics leave of it.

    Raises BudgetExceeded if the model does not listen and learn in that, UsageError if it would learn with checkpoints,
    which the firmware does not do.
    """
    device = VoiceDevice(model, max(1, budget_bytes - RESERVE_BYTES))
    if device.tape.checkpoint_every:
        raise UsageError(
            f"with a budget of {format_size(budget_bytes)} it would learn with checkpoints, which firmware cannot",
            "choose a smaller --budget, or one that has room for a whole tape",
        )
    device.recognizer.bias_q14 = bias_q14
    device.recognizer.refractory_frames = refractory_frames
    return device


def sufficient_firmware_budget(model: Model) -> int:
    """Return the least budget in whole KiB that firmware of a model listens and learns within."""
    return -(-(sufficient_budget(model) + RESERVE_BYTES) // KIB) * KIB


def export_c(
    folder: Path, model: Model, make_device: Callable[[], VoiceDevice], recordings: list[NDArray[np.int16]]
) -> Export:
    """Write sources, memory map, tables, model and golden vectors for a device to `folder`: all of it, or nothing.

    make_device: a fresh device, as `firmware_device` returns it; recordings: int16 sound of the golden vectors.
    Raises UsageError if the sources are not installed or the folder cannot be written.
    """
    sources = sorted(path for path in SOURCES.glob("*.[ch]")) if SOURCES.is_dir() else []
    if not sources:
        raise UsageError(
            f"the C sources are not at {SOURCES}", "they come with the package firmware_sim: install edgelearn anew"
        )
    device = make_device()
    image = encode_image(model, shape_digest(model, device.classifier.config.taught_rows), model.generation or 0)
    texts = {path.name: path.read_text(encoding="utf-8") for path in sources}
    texts["edgelearn_config.h"] = config_header(device, model, LearnerConfig())
    texts["edgelearn_tables.h"] = tables_header(model)
    texts["edgelearn_model.h"] = model_header(model, image)
    texts["edgelearn_golden.h"] = golden_header(make_golden(make_device(), recordings))
    try:
        _write_folder(folder.resolve(), texts)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror}", "name a folder that can be written") from None
    return Export(
        files=tuple(folder / name for name in texts),
        arena_bytes=device.arena.used_bytes,
        image_bytes=len(image),
        tape_frames=device.tape.capacity_frames,
    )


def _write_folder(folder: Path, texts: dict[str, str]) -> None:
    """Write files of these names; a new folder appears with all of them, in one there is what else is in it stays."""
    there = folder.is_dir()
    place = folder if there else folder.parent
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".edgelearn-", dir=place) as name:
        new = Path(name) / "new"  # with the permissions of any new folder, which the temporary one has not
        new.mkdir()
        for file, text in texts.items():
            (new / file).write_text(text, encoding="utf-8")
        if there:
            for file in texts:
                os.replace(new / file, folder / file)
        else:
            new.rename(folder)
