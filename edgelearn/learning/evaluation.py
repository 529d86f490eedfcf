"""The protocols that measure a model: base accuracy, and few-shot learning of words and speakers it has never heard.

Everything runs on the device model itself, in its budget: the same front end, end pointer, network and learner that a
user has.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.audio.endpoint import found_utterance
from edgelearn.audio.frontend import Frontend, frontend_bytes
from edgelearn.audio.noise import without_noise
from edgelearn.device.arena import Arena
from edgelearn.engine.counts import Counts
from edgelearn.engine.floating import dequantise_layer, forward
from edgelearn.learning.head import whitening_matrix
from edgelearn.learning.learner import LearnerConfig
from edgelearn.learning.learners import LEARNERS, WordLearner
from edgelearn.learning.variants import OWN_VOICE_WEIGHT, in_all_voices

if TYPE_CHECKING:
    from edgelearn.audio.datasets import ClipInfo
    from edgelearn.runtime.model import Model
    from edgelearn.runtime.voice import VoiceDevice

FALSE_ACCEPTS = (0.01, 0.05)
MEASURING = LearnerConfig(max_old_loss=1.0)  # a protocol measures what learning costs; it does not undo it
FEATURE_ONE = 64.0  # int8 features are Q6
Frames = NDArray[np.int8]
Units = NDArray[np.int64]


class ClipReader:
    """Clips to the feature frames of their word, through the device's front end and end pointer."""

    def __init__(self, model: Model, hard_seed: int | None = None) -> None:
        self._model = model
        self._frontend = Frontend(model.frontend, Arena(frontend_bytes(model.frontend) + 64))
        self._hard_seed = hard_seed

    def __call__(self, path: Path) -> Frames:
        """Return the utterance (int8 Q6, [T, bands]) in a sound file, with what is around it."""
        samples = read_clip(path)
        if self._hard_seed is not None:
            samples = hard_conditions(samples, self._hard_seed)
        self._frontend.reset()
        frames = self._frontend.push(samples)
        if len(frames) == 0:
            frames = np.full((8, self._model.frontend.bands), -128, np.int8)
        return found_utterance(frames, without_noise(frames, self._model.frontend), self._model.endpoint)


def hard_conditions(samples: NDArray[np.int16], seed: int) -> NDArray[np.int16]:
    """Return a clip as a band-limited microphone in a live, noisy room hears it.

    Fourth-order Butterworth 400-3000 Hz, a room of exponentially decaying noise (50 ms, direct path first), white noise
    at 12 dB SNR.
    """
    from scipy.signal import butter, fftconvolve, sosfilt

    rng = np.random.default_rng(seed)
    signal = sosfilt(butter(4, [400, 3000], "bandpass", fs=16000, output="sos"), samples.astype(np.float64))
    time = np.arange(4000) / 16000
    room = rng.standard_normal(4000) * np.exp(-time / 0.05)
    room /= np.sqrt((room**2).sum())
    room[0] = 1.0
    signal = fftconvolve(signal, room)[: len(samples)]
    signal += rng.standard_normal(len(signal)) * np.sqrt((signal**2).mean()) * 10 ** (-12 / 20)
    heard: NDArray[np.int16] = np.clip(np.rint(signal), -32768, 32767).astype(np.int16)
    return heard


def embed_all(device: VoiceDevice, utterances: Sequence[Frames]) -> tuple[Units, Counts]:
    """Return the unit embeddings (Q14, [n, H]) of utterances and what they cost."""
    units = np.zeros((len(utterances), device.network.config.hidden), np.int64)
    counts = Counts()
    for n, frames in enumerate(utterances):
        units[n], spent = device.hearing.embed(frames)
        counts += spent
    return units, counts


def base_accuracy(
    device: VoiceDevice, utterances: Sequence[Frames], rows: NDArray[np.int64], open_set_q14: int
) -> tuple[NDArray[np.bool_], Counts]:
    """Return which utterances are decided for their own row, against every base class and every taught word.

    A taught word takes an utterance from the base classes as it does on the device: by the nearest cosine, and a score
    of at least its own threshold, for which `open_set_q14` is the default.
    """
    units, counts = embed_all(device, utterances)
    classifier = device.classifier
    thresholds, _ = device.hearing.thresholds_q14(range(classifier.config.base_rows, classifier.rows), open_set_q14)
    decided = [classifier.decide(unit.astype(np.int16), thresholds) for unit in units]
    return np.array(decided, np.int64) == rows, counts


def base_clips(model: Model, clips: Sequence[ClipInfo], split: str) -> list[tuple[ClipInfo, int]]:
    """Return the clips of the shipped vocabulary in `split`, with the row of their word."""
    rows = {model.labels[word.row]: word.row for word in model.words if not word.taught}
    return [(c, rows[f"{c.dataset}:{c.word}"]) for c in clips if c.split == split and f"{c.dataset}:{c.word}" in rows]


@dataclass
class Trial:
    """One draw of takes: closed-set accuracy, hit rates at shares of false accepts (None: no other words).

    hit_auto, fa_auto: hit rate and share of false accepts at the words' own thresholds; tests: takes tested; counts,
    seconds: what learning a word cost here, on average.
    """

    closed: float
    hits: dict[float, float | None]
    hit_auto: float
    fa_auto: float | None
    tests: int
    counts: Counts = field(default_factory=Counts)
    seconds: float = 0.0


def score_trial(
    scores: NDArray[np.float64],
    truth: NDArray[np.int64],
    others: NDArray[np.float64],
    thresholds: NDArray[np.float64],
) -> Trial:
    """Judge a trial from the scores of the test takes [n, words] and of the other words [m, words]."""
    best = scores.max(axis=1)
    right = scores.argmax(axis=1) == truth
    hits: dict[float, float | None] = dict.fromkeys(FALSE_ACCEPTS)
    if len(others):
        best_other = np.sort(others.max(axis=1))[::-1]
        for share in FALSE_ACCEPTS:
            # at most `share` of the other words score above this
            hits[share] = float((right & (best > best_other[int(share * len(best_other))])).mean())
    return Trial(
        closed=float(right.mean()),
        hits=hits,
        hit_auto=float((right & accepted(scores, thresholds)).mean()),
        fa_auto=float(accepted(others, thresholds).mean()) if len(others) else None,
        tests=len(truth),
    )


def accepted(scores: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which utterances, by their scores [n, words], reach the threshold [words] of their best word."""
    reached: NDArray[np.bool_] = scores.max(axis=1) >= thresholds[scores.argmax(axis=1)]
    return reached


@dataclass(frozen=True)
class SpeakerClips:
    """The recordings of a speaker: of each novel word, and of everything else of the same data set."""

    dataset: str
    speaker: str
    novel: dict[str, list[Path]]
    others: list[Path]


@dataclass(frozen=True)
class SpeakerSet:
    """What a speaker said: takes of each novel word, and everything else of the same data set."""

    dataset: str
    speaker: str
    novel: dict[str, list[Frames]]
    others: list[Frames]


def speaker_clips(
    model: Model, clips: Sequence[ClipInfo], novel: set[str], least_takes: int, datasets: Sequence[str]
) -> Iterator[SpeakerClips]:
    """Yield the speakers unknown to the base model, with their novel words of more than `least_takes` takes.

    novel: `dataset:word` keys.  A speaker without such a word is left out.
    """
    trained = {label.split(":")[0] for label in model.labels}
    for dataset in datasets:
        mine = [c for c in clips if c.dataset == dataset and not (dataset in trained and c.split == "train")]
        for speaker in sorted({c.speaker for c in mine}):
            takes: dict[str, list[Path]] = {}
            rest = []
            for clip in mine:
                if clip.speaker != speaker:
                    continue
                if f"{dataset}:{clip.word}" in novel:
                    takes.setdefault(clip.word, []).append(clip.path)
                elif clip.word and not clip.word.startswith("_noise_"):
                    rest.append(clip.path)
            takes = {word: takes[word] for word in sorted(takes) if len(takes[word]) > least_takes}
            if takes:
                yield SpeakerClips(dataset, speaker, takes, rest)


def speaker_sets(
    model: Model,
    clips: Sequence[ClipInfo],
    read: ClipReader,
    novel: set[str],
    least_takes: int,
    datasets: Sequence[str],
) -> Iterator[SpeakerSet]:
    """Yield what `speaker_clips` finds, read through the device's front end and end pointer."""
    for one in speaker_clips(model, clips, novel, least_takes, datasets):
        takes = {word: [read(path) for path in paths] for word, paths in one.novel.items()}
        yield SpeakerSet(one.dataset, one.speaker, takes, [read(path) for path in one.others])


@dataclass(frozen=True)
class People:
    """What the people of a split said: takes of each word to learn, and everything else, as (speaker, frames)."""

    words: dict[str, list[tuple[str, Frames]]]
    others: list[tuple[str, Frames]]


def people_of(clips: Sequence[ClipInfo], read: ClipReader, novel: set[str], dataset: str, split: str) -> People:
    """Return the people of a split of a data set and what they said; novel: `dataset:word` keys of the words to learn.

    Clips of nobody in particular are left out.
    """
    people = People({key.partition(":")[2]: [] for key in sorted(novel) if key.startswith(f"{dataset}:")}, [])
    for clip in clips:
        if clip.dataset == dataset and clip.split == split and clip.speaker and clip.word and not clip.is_noise:
            people.words.get(clip.word, people.others).append((clip.speaker, read(clip.path)))
    return people


@dataclass(frozen=True)
class Draw:
    """Takes of each word to learn from, and takes to test on as (position of the word, frames).

    givers: who gave the takes; testers: who said each of the tests.
    """

    takes: list[list[Frames]]
    tests: list[tuple[int, Frames]]
    givers: set[str]
    testers: list[str]


def draw_takes(subject: SpeakerSet, shots: int, seed: int) -> Draw:
    """Draw `shots` takes of every novel word of a speaker; the rest is to test on."""
    rng = np.random.default_rng(seed)
    draw = Draw([], [], {subject.speaker}, [])
    for k, recordings in enumerate(subject.novel.values()):
        order = rng.permutation(len(recordings))
        draw.takes.append([recordings[n] for n in order[:shots]])
        draw.tests.extend((k, recordings[n]) for n in order[shots:])
    draw.testers.extend([subject.speaker] * len(draw.tests))
    return draw


def draw_people(words: dict[str, list[tuple[str, Frames]]], shots: int, seed: int) -> Draw:
    """Draw one take each of `shots` people for every word, given as (speaker, frames); test on everyone else."""
    rng = np.random.default_rng(seed)
    draw = Draw([], [], set(), [])
    for recordings in words.values():
        people = [str(name) for name in rng.permutation(sorted({speaker for speaker, _ in recordings}))[:shots]]
        first = dict(reversed(recordings))
        draw.takes.append([first[speaker] for speaker in people])
        draw.givers.update(people)
    for k, recordings in enumerate(words.values()):
        for speaker, frames in recordings:
            if speaker not in draw.givers:
                draw.tests.append((k, frames))
                draw.testers.append(speaker)
    return draw


def enrol_all(
    device: VoiceDevice, takes: Sequence[list[Frames]], learner: str, config: LearnerConfig
) -> tuple[list[int], Counts, float]:
    """Enrol words one after the other, as a user would; returns their rows, what learning cost, its seconds a word."""
    return _enrol_with(device, takes, LEARNERS[learner](device.learner, device.classifier, config))


def _enrol_with(
    device: VoiceDevice, takes: Sequence[list[Frames]], learner: WordLearner
) -> tuple[list[int], Counts, float]:
    rows: list[int] = []
    counts = Counts()
    started = time.perf_counter()
    for recordings in takes:
        rows.append(device.learner.enrol(recordings))
        counts += learner.learn(rows[-1])
    return rows, counts, (time.perf_counter() - started) / max(1, len(rows))


@dataclass(frozen=True)
class Scored:
    """A draw that was learned: what `score_trial` takes to judge it, and what learning cost, as in a `Trial`."""

    scores: NDArray[np.float64]
    truth: NDArray[np.int64]
    others: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    counts: Counts
    seconds: float


def run_trial(
    device: VoiceDevice, model: Model, draw: Draw, others: Sequence[Frames], learner: str, config: LearnerConfig
) -> Trial:
    """Learn the words of a draw with one learner and test on the rest; the device keeps what it learned."""
    result = score_draw(device, model, draw, others, learner, config)
    trial = score_trial(result.scores, result.truth, result.others, result.thresholds)
    trial.counts, trial.seconds = result.counts, result.seconds
    return trial


def score_draw(
    device: VoiceDevice, model: Model, draw: Draw, others: Sequence[Frames], learner: str, config: LearnerConfig
) -> Scored:
    """Learn the words of a draw with one learner and score the rest; the device keeps what it learned."""
    device.restore(model)
    way = LEARNERS[learner](device.learner, device.classifier, config)
    rows, counts, seconds = _enrol_with(device, draw.takes, way)
    truth = np.array([k for k, _ in draw.tests])
    where = np.array(rows, np.int64)
    scores = way.scores(embed_all(device, [frames for _, frames in draw.tests])[0], where)
    other_scores = way.scores(embed_all(device, others)[0], where)
    thresholds, _ = device.hearing.thresholds_q14(rows, model.open_set_q14)
    return Scored(scores, truth, other_scores, np.array(thresholds, np.float64), counts, seconds)


def bootstrap_interval(
    by_speaker: Sequence[float], seed: int, weights: Sequence[int] | None = None, draws: int = 2000
) -> tuple[float, float]:
    """Return the 95 % interval of the (weighted) mean over speakers, from the percentiles of resampled speakers."""
    values = np.asarray(by_speaker, np.float64)
    share = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    pick = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    means = (values[pick] * share[pick]).sum(axis=1) / share[pick].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def float_accuracy(model: Model, utterances: Sequence[Frames], rows: NDArray[np.int64]) -> float:
    """Return the base accuracy of the model's float twin: same weights, thresholds and voices, all else in float64."""
    layers = [
        dequantise_layer(model.params, k, layer.weight_shift, layer.theta_x_q13, layer.theta_h_q13)
        for k, layer in enumerate(model.network.layers)
    ]
    classes = model.prototypes[: model.base_classes].astype(np.float64)
    classes /= np.linalg.norm(classes, axis=1, keepdims=True)
    classes = classes @ whitening_matrix(model.whitening, classes.shape[1])  # for the product with a whitened pool
    around, right = model.endpoint.surroundings, 0
    for frames, row in zip(utterances, rows, strict=True):
        own, *others = (
            forward(layers, voice / FEATURE_ONE)[-1].h[1:].sum(axis=0) for voice in in_all_voices(frames, around)
        )
        pool = OWN_VOICE_WEIGHT * own + sum(others)
        right += int(np.argmax(classes @ pool)) == int(row)
    return right / len(rows)
