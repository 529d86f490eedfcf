"""A small device that learns: network, table, memory and learner in one arena, and words that it can tell apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgelearn.device.arena import Arena
from edgelearn.engine.network import LayerConfig, Network, NetworkConfig
from edgelearn.learning.classifier import Classifier, ClassifierConfig
from edgelearn.learning.head import NO_WHITENING
from edgelearn.learning.hearing import Hearing
from edgelearn.learning.learner import Learner
from edgelearn.learning.rehearsal import RehearsalMemory
from edgelearn.learning.variants import VOICES_Q8
from tests.engine.engine_cases import random_params

BANDS, HIDDEN, LONGEST = 12, 16, 40
THETA_X = 19 << 7


@dataclass
class Toy:
    """The parts of the device."""

    network: Network
    classifier: Classifier
    memory: RehearsalMemory
    hearing: Hearing
    learner: Learner

    def snapshot(self) -> tuple[bytes, ...]:
        """Everything that learning may change."""
        weights = [array.tobytes() for array in self.network.params().values()]
        return (*weights, self.classifier.prototypes().tobytes(), self.memory.pack().tobytes())


def make_toy(
    seed: int, tape_frames: int = LONGEST, base: int = 3, takes: int = 3, capacity: int = 8000,
    checkpoint_every: int = 0, whitened: bool = False,
) -> Toy:  # fmt: skip
    """A random network whose `base` words are what it makes of their first takes, all of which it remembers."""
    rng = np.random.default_rng(seed)
    arena = Arena(1 << 17)
    config = NetworkConfig((LayerConfig(BANDS, HIDDEN, 6, THETA_X, 300),))
    network = Network(config, arena)
    network.load(random_params(config, rng, 3000.0))
    whitening = some_whitening(HIDDEN, np.random.default_rng([seed, 1])) if whitened else NO_WHITENING
    classifier = Classifier(ClassifierConfig(HIDDEN, base, 4), arena, whitening=whitening)
    memory = RehearsalMemory(capacity, BANDS, THETA_X, arena)
    entries = tape_frames * (BANDS + HIDDEN)
    tape = network.new_tape(tape_frames, entries, "tape", checkpoint_every=checkpoint_every)
    state, gradients = network.new_state("state"), network.new_backward("gradients")
    weights = network.new_weight_gradients("weights") if checkpoint_every else None
    hearing = Hearing(network, classifier, memory, state, LONGEST, arena)
    learner = Learner(hearing, tape, gradients, arena, weights=weights)
    words = [takes_of(rng, takes) for _ in range(base)]
    rows = [np.sum([hearing.embed(take)[0].astype(int) for take in word], axis=0) for word in words]
    peak = np.abs(rows).max(axis=1, keepdims=True)
    classifier.load(np.rint(np.array(rows) * 127 / peak).astype(np.int8))
    for row, word in enumerate(words):
        for take in word:
            memory.add(row, take)
    return Toy(network, classifier, memory, hearing, learner)


def some_whitening(hidden: int, rng: np.random.Generator) -> np.ndarray:
    """A whitening (int8 [H, H]) like that of a model: symmetric, near a multiple of the identity."""
    mixing = rng.normal(0, 5, (hidden, hidden)) / np.sqrt(hidden / 16) + np.diag(rng.uniform(70, 120, hidden))
    return np.clip(np.rint((mixing + mixing.T) / 2), -127, 127).astype(np.int8)


def takes_of(rng: np.random.Generator, count: int, noise: float = 12.0, frames: int = 24) -> list[np.ndarray]:
    """Takes of one word: a random path through the bands, played a little differently each time."""
    knots = rng.uniform(-110, 110, (5, BANDS))
    takes = []
    for _ in range(count):
        length = frames + int(rng.integers(-3, 4))
        at = np.linspace(0, 4, length)
        path = np.stack([np.interp(at, np.arange(5), knots[:, b]) for b in range(BANDS)], axis=1)
        takes.append(np.clip(np.rint(path + rng.normal(0, noise, path.shape)), -128, 127).astype(np.int8))
    return takes


def frames_in_all_voices(frames: int) -> int:
    """How many frames the network runs to embed an utterance."""
    return frames + sum((frames - 1) * 256 // tempo_q8 + 1 for tempo_q8, _ in VOICES_Q8)
