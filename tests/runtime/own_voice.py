"""What an utterance is in its own voice alone, as a stream hears it first."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts
from edgelearn.runtime.voice import VoiceDevice


def own_voice(device: VoiceDevice, frames: NDArray[np.int8]) -> tuple[NDArray[np.int16], Counts]:
    """The unit embedding of an utterance in its own voice, and what it costs; no utterance may be under way."""
    pool = np.zeros(device.network.config.hidden, np.int32)
    state = device.recognizer._state
    state.reset()
    counts = device.network.forward(state, device.endpoint.surroundings.own(frames), pool)
    return device.classifier.embed(pool).copy(), counts
