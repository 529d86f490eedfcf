"""The device's lesson in float: a plain LSTM in PyTorch, without thresholds, taught as `Learner.teach` teaches.

The same takes in the same three voices, the same order, rate and loss, the same sweeps, and the same check that puts
everything back. Exemplars are the plain frames of takes, not what the network was sent of them. There are no int8
prototypes, no rounding and no limits of any number, but for features, which are int8 (Q6) as they are on the device.

Where an utterance is longer than the tape the two gradients differ by more than rounding: a plain LSTM counts the
values of every frame that it goes back over, deltas count what has changed since the frame before the tape.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from edgelearn.device.sizes import KIB
from edgelearn.engine.floating import FloatArray, dequantise_layer
from edgelearn.learning.directions import COMPARED_Q28, DIRECTIONS, LEAST_TAKES
from edgelearn.learning.evaluation import FEATURE_ONE, Frames
from edgelearn.learning.head import LOGIT_SCALE, whitening_matrix
from edgelearn.learning.learner import LEAST_GAIN_Q14, LearnerConfig
from edgelearn.learning.takes import variance
from edgelearn.learning.variants import OWN_VOICE_WEIGHT, VOICES_Q8, altered, in_all_voices
from edgelearn.runtime.model import Model
from edgelearn.runtime.voice import VoiceDevice

Q14, Q16 = 1 << 14, 1 << 16
BACKGROUND_SHARE = 7 / 8  # of its cosine is what a background row has, see `Classifier.set_row`
BATCH = 256


def unit(vectors: FloatArray) -> FloatArray:
    """Return vectors [..., H] at length 1."""
    units: FloatArray = vectors / np.maximum(1e-12, np.linalg.norm(vectors, axis=-1, keepdims=True))
    return units


def transmitted(frames: Frames, model: Model) -> Frames:
    """Return what the first layer is sent of frames (int8 Q6, [T, bands]): what `RehearsalMemory` keeps of them."""
    memory = model.rehearsal_memory(2 * frames.nbytes + KIB)
    memory.add(0, frames)
    return memory.decode(memory.exemplars()[0], np.empty_like(frames))


class FloatLearner:
    """The device's lesson in float: a plain LSTM, prototypes as unit vectors, exemplars as plain frames.

    The device lends its rehearsal memory, which says what is kept. plain: the frames of exemplars that the model came
    with, by the bytes of what the network was sent of them; of one that is not among them that is taken instead; tape:
    frames that a gradient reaches back over, None for as many as the device's does.
    """

    def __init__(
        self, device: VoiceDevice, model: Model, config: LearnerConfig, plain: dict[bytes, Frames],
        tape: int | None = None,
    ) -> None:  # fmt: skip
        device.restore(model)
        self._model, self._memory, self._around = model, device.memory, model.endpoint.surroundings
        self._tape = tape or device.tape.capacity_frames
        self._config, self._plain = config, dict(plain)
        self._scratch = np.empty((255, model.frontend.bands), np.int8)
        layer = dequantise_layer(model.params, 0, model.network.layers[0].weight_shift, masters=True)
        weights, bias = (torch.from_numpy(array).float() for array in (layer.weights, layer.bias))
        self.lstm: Any = torch.nn.LSTM(layer.inputs, layer.hidden)
        self.lstm.load_state_dict(
            {
                "weight_ih_l0": weights[: layer.inputs].T,
                "weight_hh_l0": weights[layer.inputs :].T,
                "bias_ih_l0": bias,
                "bias_hh_l0": torch.zeros_like(bias),
            }
        )
        self.lstm.bias_hh_l0.requires_grad_(False)  # a second bias would double the steps of the first
        self._parameters = [p for p in self.lstm.parameters() if p.requires_grad]
        self._base = len(model.labels)
        self._share = np.where(np.arange(self._base) < model.base_classes, 1.0, BACKGROUND_SHARE)
        self.rows = unit(model.prototypes.astype(np.float64))
        self._whitening = whitening_matrix(model.whitening, layer.hidden)
        self._directions: dict[int, tuple[FloatArray, FloatArray]] = {}
        self.kept: list[bool] = []
        """Of each lesson, whether its steps were kept."""

    def embed(self, sounds: Sequence[Frames], other_voices: bool = True) -> FloatArray:
        """Return the unit embeddings [n, H] of utterances in all voices, or of what their own hears in that alone."""
        if not other_voices:
            return unit(self._pools(sounds) @ self._whitening)
        heard = [in_all_voices(frames, self._around) for frames in sounds]
        pools = OWN_VOICE_WEIGHT * self._pools([own for own, *_ in heard])
        for voice in range(len(VOICES_Q8)):
            pools += self._pools([others[voice] for _, *others in heard])
        return unit(pools @ self._whitening)

    def _pools(self, sounds: Sequence[Frames]) -> FloatArray:
        """Return the sum of h [n, H] over each utterance."""
        pools = np.empty((len(sounds), self.lstm.hidden_size))
        order = sorted(range(len(sounds)), key=lambda n: len(sounds[n]))
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            lengths = torch.tensor([len(sounds[n]) for n in some])
            with torch.no_grad():
                h, _ = self.lstm(torch.nn.utils.rnn.pad_sequence([_features(sounds[n]) for n in some]))
            h *= (torch.arange(len(h))[:, None] < lengths)[:, :, None]
            pools[some] = h.sum(0).numpy()
        return pools

    def cosines(self, units: FloatArray) -> FloatArray:
        """Return the cosines [n, rows] of unit embeddings [n, H] to all rows."""
        return units @ self.rows.T * self._shares()

    def _shares(self) -> FloatArray:
        """Return what each row has of its cosine [rows]."""
        return np.pad(self._share, (0, len(self.rows) - self._base), constant_values=1.0)

    def scores(self, units: FloatArray, rows: Iterable[int]) -> FloatArray:
        """Return the scores [n, words] of the taught words at `rows` for unit embeddings [n, H], see `classifier`."""
        cosines = self.cosines(units)
        for row, (ways, shares) in self._directions.items():  # see `directions`
            cosines[:, row] += 0.5 * ((units - self.rows[row]) @ ways.T) ** 2 @ shares
        rival = cosines[:, : self._base].max(axis=1)
        taught = cosines[:, self._base :]
        columns = []
        for row in rows:
            near = float((self.rows[row] @ self.rows[: self._base].T * self._share).max())
            other = np.delete(taught, row - self._base, axis=1).max(axis=1, initial=0.0)
            columns.append(cosines[:, row] - 0.75 * rival - 0.25 * near - 0.25 * other)
        return np.stack(columns, axis=1)

    def learn(self, takes: Sequence[Frames]) -> int:
        """Enrol a word as the mean of its takes, keep these as exemplars, learn it, and return its row."""
        row, units = len(self.rows), self.embed(takes)
        enrolled = units.sum(axis=0)
        self.rows = np.vstack((self.rows, unit(enrolled)))
        if len(takes) >= LEAST_TAKES:
            _, lengths, ways = np.linalg.svd(units - units.mean(axis=0), full_matrices=False)
            squares = lengths[:DIRECTIONS] ** 2
            self._directions[row] = ways[:DIRECTIONS], squares / (squares + COMPARED_Q28 / 2**28)
        for take in takes:
            frames = take[: self._model.endpoint.most_frames]
            self._plain[transmitted(frames, self._model).tobytes()] = frames
            self._memory.add(row, frames)
        self._teach(row, enrolled, len(takes))
        return row

    def exemplars(self) -> list[tuple[int, Frames]]:
        """Return row and plain frames of all that the device's memory keeps, in order of arrival."""
        sent = [(record.row, self._memory.decode(record, self._scratch).copy()) for record in self._memory.exemplars()]
        return [(row, self._plain.get(frames.tobytes(), frames)) for row, frames in sent]

    def _teach(self, row: int, enrolled: FloatArray, takes: int) -> None:
        """Take the steps and the sweeps of a lesson, and put all back that did not gain; see `Learner.teach`."""
        config, exemplars = self._config, [(owner, self._around.own(frames)) for owner, frames in self.exemplars()]
        weights, rows = [p.detach().clone() for p in self._parameters], self.rows.copy()
        mine = [frames for owner, frames in exemplars if owner == row]
        before, kept = self.separation(row, exemplars), self.embed(mine, False).sum(axis=0)

        def follow() -> None:
            self.rows[row] = unit(enrolled * len(mine) + takes * (self.embed(mine, False).sum(axis=0) - kept))

        rng = np.random.default_rng(config.seed)
        owners = np.array([owner for owner, _ in exemplars])
        where = {fresh: np.flatnonzero((owners == row) == fresh) for fresh in (True, False)}
        queues: dict[bool, list[int]] = {True: [], False: []}
        clear = sum(map(variance, mine)) >= config.least_spread**2 * len(mine)
        for number in range(config.steps if clear and len(mine) >= config.least_takes else 0):
            fresh = number % 2 == 0 or len(where[False]) == 0
            if not queues[fresh]:
                queues[fresh] = list(rng.permutation(where[fresh]))
                if fresh and number:
                    follow()
            owner, frames = exemplars[queues[fresh].pop()]
            self.step(frames, owner)
            rng.integers(2**32)  # the device's seed of its rounding: drawn, so that the order stays the same
        follow()
        self._sweep(clear)
        self.kept.append(self.separation(row, exemplars) > before + LEAST_GAIN_Q14 / Q14)
        if not self.kept[-1]:
            self.rows = rows
            with torch.no_grad():
                for parameter, old in zip(self._parameters, weights, strict=True):
                    parameter.copy_(old)

    def step(self, frames: Frames, row: int) -> float:
        """Take one gradient step on what its own voice hears of an utterance; returns its loss (nats)."""
        x, state = _features(frames), None
        before = max(0, len(x) - self._tape)
        pool: Any = 0.0
        if before:
            with torch.no_grad():
                early, state = self.lstm(x[:before])
            pool = early.sum(0)
        h, _ = self.lstm(x[before:], state)
        whitened = torch.from_numpy(self._whitening).float() @ (pool + h.sum(0))
        embedding = torch.nn.functional.normalize(whitened, dim=0)
        table = torch.from_numpy(self.rows * self._shares()[:, None]).float()
        loss = torch.nn.functional.cross_entropy(LOGIT_SCALE * (table @ embedding), torch.tensor(row))
        gradients = torch.autograd.grad(loss, self._parameters)
        with torch.no_grad():
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                parameter -= self._config.rate_q16 / Q16 * gradient
        return float(loss.detach())

    def _sweep(self, clear: bool) -> None:
        """Take all sweeps: gradient steps on the prototypes of the taught words, see `adaptation`."""
        exemplars = self.exemplars()
        base, counts = self._base, Counter(owner for owner, _ in exemplars)
        units = np.concatenate((self.embed([frames for _, frames in exemplars]), self.rows[:base]))
        owners = np.array([owner for owner, _ in exemplars] + list(range(base)))
        taught = int((owners >= base).sum())
        weights = np.where(owners < base, 0.5 / (len(owners) - taught), 0.5 / max(1, taught))
        moved = [row for row in range(base, len(self.rows)) if self._is_moved(row, counts[row], clear)]
        for _ in range(self._config.sweeps):
            logits = LOGIT_SCALE * self.cosines(units)
            errors = np.exp(logits - logits.max(axis=1, keepdims=True))
            errors /= errors.sum(axis=1, keepdims=True)
            errors[np.arange(len(owners)), owners] -= 1.0
            gradient = LOGIT_SCALE * (errors * weights[:, None]).T @ units
            self.rows[moved] = unit(self.rows[moved] - self._config.row_rate_q16 / Q16 * gradient[moved])

    def _is_moved(self, row: int, kept: int, clear: bool) -> bool:
        """Return whether sweeps are for a word with so many exemplars; see `rows_to_move`."""
        if not clear and row in self._directions:
            return False
        cosines = self.rows @ self.rows[row]
        cosines[row] = -1.0
        cosines[: self._base][self._share < 1] = -1.0
        config = self._config
        some, many = kept >= config.least_takes, kept >= config.many_takes
        return bool(many or (some and cosines.max() >= config.alike_q14 / Q14))

    def separation(self, row: int, exemplars: Sequence[tuple[int, Frames]]) -> float:
        """Return how far a word's takes, each also altered, score above the best of all other exemplars, on average."""
        own = [heard for owner, frames in exemplars if owner == row for heard in (frames, *altered(frames))]
        others = [frames for owner, frames in exemplars if owner != row]
        mine, against = (self.scores(self.embed(sounds, False), [row]) for sounds in (own, others))
        return float(mine.mean() - against.max(initial=-1.0))


def _features(frames: Frames) -> Any:
    """Return frames (int8 Q6, [T, bands]) as a float tensor."""
    return torch.from_numpy(np.ascontiguousarray(frames)).float() / FEATURE_ONE
