"""The shipped model, its device, and the sound of the demonstration: what the tests of listening and teaching share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.learning.takes import take_from_clip
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.voice import VoiceDevice

Sound = NDArray[np.int16]


@pytest.fixture(scope="session")
def model() -> Model:
    return load_model(BASE_MODEL)


@pytest.fixture
def device(model: Model) -> VoiceDevice:
    return VoiceDevice(model)


@pytest.fixture(scope="session")
def takes(model: Model) -> list[NDArray[np.int8]]:
    """Feature frames of seven takes of a word that is not in the shipped model."""
    frontend = VoiceDevice(model).frontend
    paths = sorted(RECORDINGS.glob("computer_*.wav"))
    return [take_from_clip(read_clip(path), frontend, model.endpoint, path.name) for path in paths]


@pytest.fixture(scope="session")
def stream() -> Callable[..., Sound]:
    """A maker of streams: the shipped recordings with these names in a quiet room, 0.7 s apart."""

    def make(*names: str) -> Sound:
        rng = np.random.default_rng(1)
        parts = [np.zeros(4000)]
        for name in names:
            (path,) = RECORDINGS.glob(f"{name}*.wav")
            parts += [read_clip(path).astype(np.float64), np.zeros(11200)]
        sound = np.concatenate(parts)
        return np.clip(np.rint(sound + 12 * rng.standard_normal(len(sound))), -32768, 32767).astype(np.int16)

    return make
