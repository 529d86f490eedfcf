"""`evaluate incremental`: base words first, then a few new ones at a time, batch 1, with bounded memories of the old.

The experiment of Chen et al., AAAI 2024 (arXiv 2312.09391), on the device: each new word gets a row from all its
training clips, then every clip is a gradient step of its own. What is remembered of words, within so many bytes, are
the directions in which their clips differ; to compare with, embeddings, and gradient steps on the rows of all words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts
from edgelearn.errors import UsageError
from edgelearn.learning.evaluation import ClipReader, Frames, Units, bootstrap_interval, embed_all
from edgelearn.learning.learner import LearnerConfig, TeachReport
from edgelearn.runtime.course_memory import MEMORIES, Embeddings, Means
from edgelearn.runtime.voice import MOST_TAPE_FRAMES, VoiceDevice, device_bytes

if TYPE_CHECKING:
    from edgelearn.audio.datasets import ClipInfo
    from edgelearn.runtime.model import Model

BASE_WORDS, STEPS, WORDS_A_STEP = 20, 5, 3
NO_FRAMES = 0  # bytes of utterances to run again


def key_of(clip: ClipInfo) -> str:
    """Return `dataset:word`, which is what a word is: the same text in two data sets is two words."""
    return f"{clip.dataset}:{clip.word}"


@dataclass(frozen=True)
class Course:
    """Which words there are from the beginning, and which ones each step adds, as `dataset:word`."""

    base: tuple[str, ...]
    steps: tuple[tuple[str, ...], ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All of them, in the order in which they are learned."""
        return (*self.base, *(word for step in self.steps for word in step))


def plan_course(clips: Sequence[ClipInfo], seed: int) -> Course:
    """Return a course of the words with most training clips, in a seeded order; words kept as novel take no part.

    Raises UsageError if there are too few words.
    """
    count = Counter(key_of(c) for c in clips if c.split == "train" and c.word and not c.is_noise and not c.novel)
    wanted = BASE_WORDS + STEPS * WORDS_A_STEP
    if len(count) < wanted:
        raise UsageError(f"the data has training clips of {len(count)} words", f"incremental learns {wanted}")
    most = sorted(count, key=lambda word: (-count[word], word))[:wanted]
    order = [str(word) for word in np.random.default_rng(seed).permutation(most)]
    later = order[BASE_WORDS:]
    steps = tuple(tuple(later[n : n + WORDS_A_STEP]) for n in range(0, len(later), WORDS_A_STEP))
    return Course(tuple(sorted(order[:BASE_WORDS])), steps)


class Incremental:
    """The protocol on one data folder: what to learn, and what to test on (all that is not for training).

    Raises UsageError if a word of the course has no clip to test on.
    """

    def __init__(
        self, clips: Sequence[ClipInfo], course: Course, rehearsal_bytes: int, config: LearnerConfig, seed: int
    ) -> None:
        self.course = course
        self._rehearsal_bytes = rehearsal_bytes
        self._config = config
        self._seed = seed
        wanted = set(course.words)
        mine = [clip for clip in clips if key_of(clip) in wanted]
        self._train = {word: [c for c in mine if key_of(c) == word and c.split == "train"] for word in course.words}
        self._tests = [clip for clip in mine if clip.split != "train"]
        untested = wanted - {key_of(clip) for clip in self._tests}
        if untested:
            raise UsageError(f"no val or test clip of {sorted(untested)[0]!r}", "every word needs clips to test on")

    def joint(self, model: Model) -> list[float]:
        """Return the accuracy after each step of a model that was trained on all words together.

        Raises UsageError for a model of other words.
        """
        _check_words(model, self.course.words)
        device = self._device(model)
        units, _ = embed_all(device, self._utterances(model, self._tests))
        rows = {word: row for row, word in enumerate(model.labels)}
        return [float(np.mean(self._right(device.classifier.cosines, units, rows, words))) for words in self._so_far()]

    def run(self, base: Model, learner: str) -> Iterator[dict[str, Any]]:
        """Learn the course on a model of its base words: yields the result of each step, the base's first.

        learner: sparse_bptt, directions for no gradient steps, sweeps for gradient steps on rows only and a memory of
        embeddings, or prototype for neither (and no memory).  Raises UsageError for a model of other words.
        """
        _check_words(base, self.course.base)
        device = self._device(base)
        memory = MEMORIES[learner](self._rehearsal_bytes, len(self.course.words), device.classifier)
        rng = np.random.default_rng(self._seed)
        rows = {word: row for row, word in enumerate(base.labels)}
        tests = self._utterances(base, self._tests)
        speakers = [clip.speaker for clip in self._tests]
        if learner != "prototype":
            heard = self._hear(device, self._takes(base, self.course.base), TeachReport())
            memory.begin({rows[word]: units for word, units in heard.items()}, rng)
        for step, words in enumerate(self._so_far()):
            counts, remembered, updates = Counts(), Counts(), 0
            if step:
                takes = self._takes(base, self.course.steps[step - 1])
                counts, remembered, updates = self._learn(device, memory, takes, rows, learner, rng)
            units, spent = embed_all(device, tests)
            right = self._right(memory.cosines, units, rows, words)
            known = [speaker for speaker, clip in zip(speakers, self._tests, strict=True) if key_of(clip) in words]
            yield {
                "step": step,
                "classes": len(words),
                "accuracy": float(np.mean(right)),
                "accuracy_ci95": _interval(right, known, self._seed),
                "n": len(right),
                "rehearsal_bytes": self._rehearsal_bytes,
                "rehearsal_used_bytes": memory.used_bytes,
                "updates": updates,
                "sparsity": counts.sparsity,
                **_work(device, counts, remembered, updates),
                "macs_inference": spent.macs_forward,
                "macs_inference_dense": spent.macs_dense_forward,
                "memory_accesses_inference": spent.weight_bytes_read,
                "memory_accesses_inference_dense": spent.macs_dense_forward,
                "saturations": counts.saturations,
            }

    def _learn(
        self, device: VoiceDevice, memory: Means, takes: dict[str, list[Frames]], rows: dict[str, int],
        learner: str, rng: np.random.Generator,
    ) -> tuple[Counts, Counts, int]:  # fmt: skip
        """Learn the words of a step and add their rows; returns what network and memory cost, and gradient steps."""
        report, updates = TeachReport(), 0
        heard = self._hear(device, takes, report)
        for word, units in heard.items():
            rows[word] = device.classifier.add_row(units.sum(axis=0, dtype=np.int64))
        if learner == "sparse_bptt":
            fresh = [(rows[word], frames) for word, utterances in takes.items() for frames in utterances]
            for n in rng.permutation(len(fresh)):
                row, frames = fresh[n]
                updates += self._step(device, frames, row, rng, report)
            heard = self._hear(device, takes, report)
            for word, units in heard.items():
                device.classifier.set_row(rows[word], units.sum(axis=0, dtype=np.int64))
        spent = memory.learn({rows[word]: units for word, units in heard.items()}, rng)
        return report.counts, spent, updates

    def _hear(self, device: VoiceDevice, takes: dict[str, list[Frames]], report: TeachReport) -> dict[str, Embeddings]:
        """Return the unit embeddings of utterances, by word; what that cost goes to the report."""
        heard = {}
        for word, utterances in takes.items():
            units, counts = embed_all(device, utterances)
            heard[word] = units.astype(np.int16)
            report.counts += counts
        return heard

    def _step(
        self, device: VoiceDevice, frames: Frames, row: int, rng: np.random.Generator, report: TeachReport
    ) -> int:
        """Take a gradient step; returns 1 if it changed weights, 0 if the utterance was known too well for that."""
        before = report.counts.weight_bytes_written
        device.learner.step(frames, row, int(rng.integers(2**32)), self._config, report)
        return int(report.counts.weight_bytes_written > before)

    def _device(self, model: Model) -> VoiceDevice:
        """Return a device with room for the longest tape; exemplars are kept beside it, see `EmbeddingMemory`."""
        return VoiceDevice(model, device_bytes(model, MOST_TAPE_FRAMES, NO_FRAMES), NO_FRAMES)

    def _takes(self, model: Model, words: Sequence[str]) -> dict[str, list[Frames]]:
        """Return the training clips of words."""
        return {word: self._utterances(model, self._train[word]) for word in words}

    def _utterances(self, model: Model, clips: Sequence[ClipInfo]) -> list[Frames]:
        read = ClipReader(model)
        return [read(clip.path) for clip in clips]

    def _so_far(self) -> Iterator[set[str]]:
        """Yield the words known before the first step and after each."""
        for step in range(len(self.course.steps) + 1):
            yield set(self.course.base).union(*self.course.steps[:step])

    def _right(
        self, cosines: Callable[[NDArray[np.int16]], NDArray[np.int32]], units: Units, rows: dict[str, int],
        words: set[str],
    ) -> NDArray[np.bool_]:  # fmt: skip
        """Return which of the test clips of `words` are nearest to their own row, of the rows of these words."""
        names = sorted(words)
        where = np.array([rows[word] for word in names])
        mine = [n for n, clip in enumerate(self._tests) if key_of(clip) in words]
        found = [names[int(np.argmax(cosines(units[n].astype(np.int16))[where]))] for n in mine]
        return np.array([word == key_of(self._tests[n]) for word, n in zip(found, mine, strict=True)])


def _check_words(model: Model, wanted: Sequence[str]) -> None:
    if set(model.labels) != set(wanted):
        missing = sorted(set(wanted) ^ set(model.labels))[0]
        raise UsageError(f"the model was not trained on the words of this course: {missing!r}", "see --models")


def _interval(right: NDArray[np.bool_], speakers: Sequence[str], seed: int) -> tuple[float, float]:
    by_speaker: dict[str, list[bool]] = {}
    for one, speaker in zip(right, speakers, strict=True):
        by_speaker.setdefault(speaker, []).append(bool(one))
    means = [float(np.mean(mine)) for mine in by_speaker.values()]
    return bootstrap_interval(means, seed, [len(mine) for mine in by_speaker.values()])


def _work(device: VoiceDevice, counts: Counts, swept: Counts, updates: int) -> dict[str, int]:
    """Return multiply-accumulates, and bytes of weights read and written, as they were and with every column active.

    counts: of the network; swept: of the sweeps, which skip nothing.
    """
    layers = device.network.config.layers
    weights = sum(4 * layer.hidden * (layer.inputs + layer.hidden) for layer in layers)
    biases = sum(16 * layer.hidden for layer in layers)
    # nothing is passed back to the features, nor to what was before the first frame
    passed_back = weights - 4 * layers[0].hidden * layers[0].inputs
    first = updates * sum(4 * layer.hidden * layer.hidden for layer in layers)
    frames = (counts.macs_dense_training - counts.macs_dense_forward + first) // (passed_back + weights)
    backward = frames * passed_back - first
    return {
        "macs": counts.macs_forward + counts.macs_backward + counts.macs_gradient + swept.macs_forward,
        "macs_dense": counts.macs_dense_training + swept.macs_forward,
        "memory_accesses": counts.weight_bytes_read + counts.weight_bytes_written + swept.state_bytes,
        # forward and backward read a weight once a frame, an update reads and writes both planes of all of them
        "memory_accesses_dense": counts.macs_dense_forward
        + backward
        + updates * 2 * (2 * weights + biases)
        + swept.state_bytes,
    }
