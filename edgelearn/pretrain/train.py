"""The training run: float epochs, epochs with the device's int8 weights and delta thresholds in the loop, and more with
the noise of each clip taken off its features, as the device hears it.  The last of these come in rounds, each of which
begins with the mean of the weights before and after the one before it.

In all of them embeddings are also drawn to what networks that know far more speech make of the same sounds
(`reference.py`).  From the end of the float epochs a second, float network goes on with the same epochs: it is what
the fixed-point one is compared with, and its teacher until the noise is taken off.
"""

from __future__ import annotations

import copy
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgelearn.audio.endpoint import EndpointConfig
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.pretrain.augment import USUAL, Conditions, other_voices
from edgelearn.pretrain.corpus import NO_CLASS, Corpus, Epoch
from edgelearn.pretrain.made_up import synthesise
from edgelearn.pretrain.model import BaseModel, movement, pool
from edgelearn.pretrain.reference import reference_units

LOGIT_SCALE = 16.0
WARM_UP_STEPS = 100
WORDS_WEIGHT = 2.0
MOVEMENT_WEIGHT = 8.0
TEACHER_WEIGHT = 8.0
LIKENESS_WEIGHT = 20.0
PROJECTION_WEIGHT = 3.0
# the default one loses the soft ends of words in noise
ENDPOINT = EndpointConfig(onset=200, release=150)


@dataclass(frozen=True)
class LateRound:
    """Epochs of the delta network alone; `share` of the weights after them is in their mean with those before.

    movement_weight: in the loss, of what the states move, which costs deltas; conditions: what the clips are heard in.
    """

    epochs: int
    share: float
    movement_weight: float = MOVEMENT_WEIGHT
    conditions: Conditions = USUAL


LATE = (
    LateRound(48, 0.35),
    # more of what a device hears in a living room, which costs clean clips little where the weights meet halfway
    LateRound(48, 0.4, 10.0, Conditions(room=0.45, microphone=0.5, noise=0.85)),
)


@dataclass(frozen=True)
class Recipe:
    """Everything that a base model depends on besides the data.

    theta_x_q13, theta_h_q13: delta thresholds; quiet_epochs: without noise, after the noisy ones; late: rounds of the
    same, of the delta network alone; joined_words: classes made of halves of two words; made_up_words: words in
    synthetic voices; passes: epochs made of each augmented version of the data, as making one takes longer than
    training on it; scenes: from which it is learned how speech is told from noise; with_reference: whether the
    reference networks are asked, without which made-up words are of no use.
    """

    seed: int = 1
    hidden: int = 128
    weight_shift: int = 6
    theta_x_q13: int = 2048
    theta_h_q13: int = 820
    float_epochs: int = 220
    delta_epochs: int = 88
    quiet_epochs: int = 12
    late: tuple[LateRound, ...] = LATE
    passes: int = 4
    batch: int = 128
    rate: float = 3e-3
    delta_rate: float = 1.2e-3
    quiet_rate: float = 1e-3
    late_rate: float = 1.2e-3
    joined_words: int = 300
    made_up_words: int = 4000
    scenes: int = 4000
    with_reference: bool = True
    frontend: FrontendConfig = field(default_factory=FrontendConfig)
    endpoint: EndpointConfig = ENDPOINT


class Phase(NamedTuple):
    """Epochs that are trained on in one way, by a cosine schedule from `rate` to 0.

    fixed_point: whether the int8 weights and the delta thresholds are in the loop; companion: whether the float network
    goes along; taught: whether the companion is the teacher; quiet, conditions: what the clips are heard in; goes_on:
    whether it goes on with the data of the phase before it; movement_weight: see `LateRound`; share: of the weights
    after the phase, in their mean with those before it, if they meet.
    """

    epochs: int
    rate: float
    fixed_point: bool = True
    companion: bool = False
    taught: bool = False
    quiet: bool = True
    conditions: Conditions = USUAL
    goes_on: bool = False
    movement_weight: float = MOVEMENT_WEIGHT
    share: float | None = None


def schedule(recipe: Recipe) -> list[Phase]:
    """Return the phases of a recipe in their order."""
    early = [
        Phase(recipe.float_epochs, recipe.rate, fixed_point=False, quiet=False),
        Phase(recipe.delta_epochs, recipe.delta_rate, companion=True, taught=True, quiet=False, goes_on=True),
        Phase(recipe.quiet_epochs, recipe.quiet_rate, companion=True),
    ]
    late = [
        Phase(
            late.epochs, recipe.late_rate, conditions=late.conditions, movement_weight=late.movement_weight,
            share=late.share,
        )
        for late in recipe.late
    ]  # fmt: skip
    return early + late


Sounds = list[NDArray[np.int16]]
_worker_corpus: Corpus | None = None


def corpus_of(data: Path, recipe: Recipe, made_up: Sounds) -> Corpus:
    """Return the corpus of a recipe with these made-up words."""
    return Corpus(data, recipe.frontend, recipe.endpoint, recipe.joined_words, recipe.seed, made_up)


def _start_worker(data: Path, recipe: Recipe, made_up: Sounds) -> None:
    global _worker_corpus  # one corpus a process: it is read once and serves every epoch
    _worker_corpus = corpus_of(data, recipe, made_up)


def _make_epoch(number: int, quiet: bool, conditions: Conditions) -> Epoch:
    if _worker_corpus is None:
        raise RuntimeError("the worker was not started")
    return _worker_corpus.epoch(number, quiet, conditions)


def epochs(data: Path, recipe: Recipe, made_up: Sounds, workers: int) -> Iterator[Epoch]:
    """Yield all epochs, made in `workers` processes ahead of their use; the order and the content never vary.

    Where a phase ends within the passes of a version of the data, one that goes on begins with the rest of them.
    """
    rounds: list[Phase] = []
    for phase in schedule(recipe):
        before = rounds.pop().epochs if phase.goes_on else 0
        rounds.append(phase._replace(epochs=before + phase.epochs))
    parts: list[tuple[int, bool, Conditions]] = []  # how many passes of what
    for phase in rounds:
        for at in range(0, phase.epochs, recipe.passes):
            parts.append((min(recipe.passes, phase.epochs - at), phase.quiet, phase.conditions))
    with ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (data, recipe, made_up)) as pool:
        waiting: deque[tuple[Future[Epoch], int]] = deque()
        for number, (passes, quiet, conditions) in enumerate(parts):
            waiting.append((pool.submit(_make_epoch, number, quiet, conditions), passes))
            if len(waiting) > 2 * workers:
                made, times = waiting.popleft()
                yield from repeat(made.result(), times)
        for made, times in waiting:
            yield from repeat(made.result(), times)


def batches_by_length(
    lengths: NDArray[np.int64], batch: int, rng: np.random.Generator, batches_a_pool: int = 16
) -> list[NDArray[np.int64]]:
    """Return whole batches in random order, each of utterances of like length: sorted in pools of `batches_a_pool`.

    Those that are left over for a whole batch are drawn at random.
    """
    order = rng.permutation(len(lengths))[: len(lengths) // batch * batch]
    batches = []
    for at in range(0, len(order), batches_a_pool * batch):
        part = order[at : at + batches_a_pool * batch]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[k : k + batch] for k in range(0, len(part), batch)]
    return [batches[k] for k in rng.permutation(len(batches))]


def in_drawn_voices(features: Tensor, lengths: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return a batch (int8 Q6 [B, T, bands], lengths [B]) spoken by other voices, as features and lengths."""
    count, steps, bands = features.shape
    voices = other_voices(count, bands, rng)
    spoken = torch.bmm(features.float(), torch.from_numpy(voices.formants)) + torch.from_numpy(voices.slope)
    most = max(1, int(steps / voices.tempo))
    at = (torch.arange(most) * voices.tempo).clamp(max=steps - 1)
    share = at.frac()[None, :, None]
    spoken = torch.lerp(spoken[:, at.long()], spoken[:, at.ceil().long()], share)
    return spoken.round().clamp(-128, 127).to(torch.int8), (lengths / voices.tempo).long().clamp(1, most)


class Trainer:
    """One network in training, over `total` batches, with a cosine schedule from `rate` to 0.

    words: how many of its classes, the first ones, are words; reference: unit vectors of the corpus's sources, float32
    [sources, dimensions]; teacher: a network of the same embedding, whose embeddings those of `model` are drawn to;
    movement_weight: see `LateRound`.
    """

    def __init__(
        self, model: BaseModel, words: int, rate: float, total: int,
        reference: Tensor | None = None, teacher: BaseModel | None = None,
        movement_weight: float = MOVEMENT_WEIGHT,
    ) -> None:  # fmt: skip
        self.model = model
        self._reference = reference
        self._teacher = teacher
        self._words = words
        self._rate = rate
        self._movement_weight = movement_weight
        self._total = total
        self._done = 0
        parameters = list(model.parameters())
        if reference is not None:
            self._projection = torch.nn.Linear(model.hidden, reference.shape[1], bias=False)
            parameters += self._projection.parameters()
        self._optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-4)

    def run(self, epoch: Epoch, batch: int, seed: list[int]) -> tuple[float, float]:
        """Train on an epoch in a seeded order, each time in other voices; return loss and accuracy.

        In half of the batches some neighbouring bands are masked.
        """
        rng = np.random.default_rng(seed)
        features, lengths, labels, sources = (
            torch.from_numpy(a) for a in (epoch.features, epoch.lengths, epoch.labels, epoch.sources)
        )
        losses, hits = [], []
        for members in batches_by_length(epoch.lengths, batch, rng):
            pick = torch.from_numpy(members)
            x, frames = in_drawn_voices(features[pick, : int(lengths[pick].max())], lengths[pick], rng)
            if rng.random() < 0.5:
                band = int(rng.integers(x.shape[2] - 3))
                x[:, :, band : band + int(rng.integers(1, 5))] = 0
            h = self.model.states(x)
            embedding = pool(h, frames)
            scores = self.model.scores(embedding)
            loss = torch.nn.functional.cross_entropy(LOGIT_SCALE * scores, labels[pick], ignore_index=NO_CLASS)
            # the words are also decided among themselves, without the classes that are there to train the embedding
            spoken = (labels[pick] != NO_CLASS) & (labels[pick] < self._words)
            among_words = torch.nn.functional.cross_entropy(
                LOGIT_SCALE * scores[spoken][:, : self._words], labels[pick][spoken], reduction="sum"
            )
            loss = loss + WORDS_WEIGHT * among_words / len(pick)
            if self._reference is not None:
                loss = loss + self._reference_loss(embedding, self._reference[sources[pick]])
            if self.model.theta_h > 0:
                loss = loss + self._movement_weight * movement(h, frames)
            if self._teacher is not None:
                with torch.no_grad():
                    taught = self._teacher.embed(x, frames)
                loss = loss + TEACHER_WEIGHT * (1 - (embedding * taught).sum(1)).mean()
            self._step(loss)
            losses.append(loss.item())
            known = labels[pick] != NO_CLASS
            hits.append((scores.argmax(1) == labels[pick])[known].float().mean().item())
        return float(np.mean(losses)), float(np.mean(hits))

    def _reference_loss(self, embedding: Tensor, wanted: Tensor) -> Tensor:
        """Draw pairs to be as alike as they are to the reference, and its units to be a linear map of the embedding."""
        likeness = (embedding @ embedding.t() - wanted @ wanted.t()).square().mean()
        projection = 1 - torch.nn.functional.cosine_similarity(self._projection(embedding), wanted).mean()
        return LIKENESS_WEIGHT * likeness + PROJECTION_WEIGHT * projection

    def _step(self, loss: Tensor) -> None:
        share = min(1.0, self._done / self._total)
        rate = self._rate * min(1.0, self._done / WARM_UP_STEPS) * (0.5 + 0.5 * math.cos(math.pi * share)) + 1e-5
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self.model.clip()
        self._done += 1


@dataclass(frozen=True)
class Trained:
    """The delta network as trained, its float companion, which has no late rounds, and the wall-clock seconds."""

    delta: BaseModel
    dense: BaseModel
    seconds: float


def train(data: Path, recipe: Recipe, words: int, workers: int, progress: Callable[[str], None]) -> Trained:
    """Run the recipe; the same seed and package versions give the same weights, however many workers make the data."""
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    started = time.monotonic()
    classes = 2 * words + recipe.joined_words
    model = BaseModel(recipe.frontend.bands, recipe.hidden, classes, recipe.weight_shift)
    reference: Tensor | None = None
    made_up: Sounds = []
    if recipe.with_reference:
        made_up = synthesise(recipe.made_up_words, recipe.seed, workers)
        reference = torch.from_numpy(reference_units(corpus_of(data, recipe, made_up)))
        progress(f"reference of {len(reference)} sounds  {time.monotonic() - started:.0f} s")
    phases = schedule(recipe)
    total = sum(phase.epochs for phase in phases)
    numbered = enumerate(epochs(data, recipe, made_up, workers))
    dense = model
    for phase in phases:
        if phase.fixed_point and not model.quantised:
            dense = copy.deepcopy(model)
            model.quantised, model.theta_x, model.theta_h = True, recipe.theta_x_q13 / 8192, recipe.theta_h_q13 / 8192
        before = copy.deepcopy(model.state_dict())
        trainer: Trainer | None = None
        companion: Trainer | None = None
        for number, epoch in islice(numbered, phase.epochs):
            if trainer is None:
                steps = phase.epochs * (len(epoch.labels) // recipe.batch)
                if phase.companion:
                    companion = Trainer(dense, words, phase.rate, steps, reference)
                teacher = dense if phase.taught else None
                trainer = Trainer(model, words, phase.rate, steps, reference, teacher, phase.movement_weight)
            line, seed = f"epoch {number + 1}/{total}", [recipe.seed, 3, number]
            if companion is not None:
                loss, accuracy = companion.run(epoch, recipe.batch, seed)
                line += f"  float companion {loss:.3f}  {100 * accuracy:.1f} %"
            loss, accuracy = trainer.run(epoch, recipe.batch, seed)
            progress(f"{line}  loss {loss:.3f}  accuracy {100 * accuracy:.1f} %  {time.monotonic() - started:.0f} s")
        if phase.share is not None:
            meet(model, before, phase.share)
    return Trained(model, dense, time.monotonic() - started)


def meet(model: BaseModel, before: dict[str, Tensor], share: float) -> None:
    """Replace the weights by their mean with those `before`, in which they have this share."""
    after = model.state_dict()
    model.load_state_dict(after | {name: torch.lerp(old, after[name], share) for name, old in before.items()})


def arrays(model: BaseModel, words: int) -> dict[str, NDArray[Any]]:
    """Return weights [N+H, 4H], bias [4H] and the classes of the words [words, H] as float64."""
    return {
        "weights": model.weights.detach().double().numpy(),
        "bias": model.bias.detach().double().numpy(),
        "classes": model.classes.detach()[:words].double().numpy(),
    }
