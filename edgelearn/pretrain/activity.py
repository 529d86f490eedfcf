"""The readout that tells speech from noise: logistic regression on the states of a finished network in noisy scenes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from edgelearn.audio.activity import LAG_FRAMES, MOST_BIAS_Q18, SCORE_BITS, WEIGHT_BITS, ActivityReadout
from edgelearn.audio.endpoint import END, ONSET, TOO_LONG, Endpointer
from edgelearn.audio.noise import subtract_floor, subtraction_table
from edgelearn.device.arena import Arena
from edgelearn.device.sizes import KIB
from edgelearn.engine.fixedpoint import ACTIVATION_BITS
from edgelearn.engine.network import Network
from edgelearn.pretrain.noisy_scenes import ARENA_BYTES, Scenes

if TYPE_CHECKING:
    from edgelearn.runtime.model import Model

EVERY = 3
"""Of three frames one is looked at: the ones beside it say nearly the same."""
ITERATIONS = 60

States = tuple[NDArray[np.int16], NDArray[np.bool_]]


def fit_activity(model: Model, scenes: Scenes, count: int) -> ActivityReadout:
    """Return the readout for a model's network, from `count` scenes."""
    parts = [(hidden[::EVERY], spoken[::EVERY]) for hidden, spoken in heard(model, scenes, count)]
    hidden = np.concatenate([part for part, _ in parts])
    weights, bias = logistic(
        hidden.astype(np.float32) / 2**ACTIVATION_BITS, np.concatenate([part for _, part in parts])
    )
    weights_q5 = np.clip(np.rint(weights * 2**WEIGHT_BITS), -127, 127).astype(np.int8)
    return ActivityReadout(weights_q5, int(np.clip(round(bias * 2**SCORE_BITS), -MOST_BIAS_Q18, MOST_BIAS_Q18)))


def heard(model: Model, scenes: Scenes, count: int) -> Iterator[States]:
    """Yield for each utterance of the end pointer h (int16 Q13, [T, H]), and whether somebody spoke LAG_FRAMES ago."""
    network = Network(model.network, Arena(512 * KIB))
    network.load(model.params)
    state = network.new_state("state")
    table = subtraction_table(model.frontend.gain_q20)
    endpointer = Endpointer(model.endpoint, model.frontend.bands, Arena(ARENA_BYTES))
    for frames, spoken in scenes(count):
        late = np.concatenate((np.zeros(LAG_FRAMES, bool), spoken))[: len(frames)]
        for start, stop, floor in _utterances(frames, endpointer):
            piece = frames[start:stop].copy()
            subtract_floor(piece, 0, len(piece), floor, table)
            hidden = np.empty((len(piece), model.network.hidden), np.int16)
            state.reset()
            network.advance(state, piece, hidden_out=hidden)
            yield hidden, late[start:stop]


def _utterances(frames: NDArray[np.int8], endpointer: Endpointer) -> Iterator[tuple[int, int, NDArray[np.int8]]]:
    """Yield first frame, last frame (excluded) and noise floor at the onset of all that the end pointer takes up."""
    endpointer.reset()
    start, floor = -1, frames[0]
    for now, frame in enumerate(frames):
        code = endpointer.push(frame)
        if code in (ONSET, END, TOO_LONG):
            if start >= 0:
                yield start, now, floor
            start = max(0, now - endpointer.config.lag_frames + 1) if code == ONSET else -1
            floor = endpointer.floor
    if start >= 0:
        yield start, len(frames), floor


def logistic(features: NDArray[np.float32], labels: NDArray[np.bool_]) -> tuple[NDArray[np.float32], float]:
    """Return weights and bias for which `features @ weights + bias` are the log odds of the labels (L-BFGS)."""
    x, y = torch.from_numpy(features), torch.from_numpy(labels.astype(np.float32))
    weights, bias = torch.zeros(x.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(x @ weights + bias, y) + 1e-6 * (weights**2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weights.detach().numpy(), float(bias.item())
