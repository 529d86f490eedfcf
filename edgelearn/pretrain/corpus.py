"""The clips a base model is trained on, and seeded epochs of augmented feature frames made from them.

Classes are the trained words of every data set, each of them played backwards, and words made of halves of two others:
the more kinds of sound the embedding must tell apart, the better it tells words that it has never heard.  Pieces of
running speech and made-up words (`made_up.py`) have no class; what they should be near to is only what the reference
says (`reference.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.audio.datasets import ClipInfo, read_manifest
from edgelearn.audio.endpoint import EndpointConfig, find_utterance, found_utterance
from edgelearn.audio.frontend import Frontend, frontend_bytes
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.audio.noise import without_noise
from edgelearn.device.arena import Arena
from edgelearn.pretrain.augment import SAMPLE_RATE_HZ, USUAL, Conditions, Samples, augment

SPEECH = ("speech_commands", "arabic_speech_commands", "dspspeech20")
FRAMES = 80
WIDER_SHARE = 0.3
WIDER_FRAMES = 16
LEAST_CLIPS_TO_JOIN = 40
JOINED_TAKES = 12
PIECES_A_MINUTE = 80
PIECE_SECONDS = (0.5, 1.1)
MADE_UP_SHARE = 1 / 3  # of the made-up words in an epoch
NO_CLASS = -1


@dataclass(frozen=True)
class Epoch:
    """An epoch: features int8 [n, FRAMES, bands] (Q6), lengths, labels and sources int64 [n].

    sources: of which of the corpus's `sources` an utterance is a version; labels: its class, or NO_CLASS.
    """

    features: NDArray[np.int8]
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    sources: NDArray[np.int64]


def trained_clips(clips: Sequence[ClipInfo]) -> list[ClipInfo]:
    """Return the clips that train a base model: train splits, without the words kept for learning on the device."""
    return [
        c for c in clips if c.dataset in SPEECH and c.split == "train" and c.word and not c.is_noise and not c.novel
    ]


def joinable_pairs(clips: Sequence[ClipInfo]) -> int:
    """Return how many ordered pairs of words there are to join: of one data set, with enough clips of both."""
    count = Counter((c.dataset, c.word) for c in clips)
    words = Counter(dataset for (dataset, _), clips_of_it in count.items() if clips_of_it >= LEAST_CLIPS_TO_JOIN)
    return sum(n * (n - 1) for n in words.values())


def running_speech(clip: ClipInfo) -> bool:
    """Return whether a clip is speech to train on that is not of one word."""
    return clip.split == "train" and not clip.word and not clip.is_noise


def cut_pieces(speech: Sequence[Samples], rng: np.random.Generator) -> list[Samples]:
    """Cut pieces as long as words out of running speech, anywhere."""
    pieces = []
    for clip in speech:
        for _ in range(int(PIECES_A_MINUTE * len(clip) / SAMPLE_RATE_HZ / 60)):
            length = min(len(clip), int(rng.uniform(*PIECE_SECONDS) * SAMPLE_RATE_HZ))
            at = int(rng.integers(len(clip) - length + 1))
            pieces.append(clip[at : at + length])
    return pieces


class FeatureMaker:
    """Clips to endpointed feature frames, through the very front end and end pointer of the device."""

    def __init__(self, frontend: FrontendConfig, endpoint: EndpointConfig) -> None:
        self.config = frontend
        self.endpoint = endpoint
        self._frontend = Frontend(frontend, Arena(frontend_bytes(frontend) + 256))

    def frames(self, samples: NDArray[np.int16]) -> NDArray[np.int8]:
        """Return all feature frames (int8 Q6, [T, bands]) of a clip."""
        self._frontend.reset()
        return self._frontend.push(samples)

    def utterance(
        self, samples: NDArray[np.int16], rng: np.random.Generator | None = None, quiet: bool = True
    ) -> NDArray[np.int8]:
        """Return the frames of the word in a clip, with `quiet` without its noise; with `rng` its ends are moved."""
        frames = self.frames(samples)
        start, stop, found = find_utterance(frames, self.endpoint)
        if rng is not None and found:
            start += int(rng.integers(-4, 5))
            stop += int(rng.integers(-4, 5))
            # end pointers fail in noise: the network has to bear with too much of the clip as well
            if rng.random() < WIDER_SHARE:
                start -= int(rng.integers(WIDER_FRAMES))
            if rng.random() < WIDER_SHARE:
                stop += int(rng.integers(WIDER_FRAMES))
            start = max(0, start)
            stop = min(len(frames), max(start + 8, stop))
        return (without_noise(frames, self.config) if quiet else frames)[start:stop]

    def take(self, samples: NDArray[np.int16]) -> NDArray[np.int8]:
        """Return the word in a clip, without its noise, with what is around it (int8 Q6, [T, bands])."""
        frames = self.frames(samples)
        return found_utterance(frames, without_noise(frames, self.config), self.endpoint)

    def whole(self, samples: NDArray[np.int16], quiet: bool) -> NDArray[np.int8]:
        """Return all frames (int8 Q6, [T, bands]) of a clip, with `quiet` without its noise."""
        frames = self.frames(samples)
        return without_noise(frames, self.config) if quiet else frames


class Corpus:
    """Training clips in memory, their classes, and the recipe of an epoch."""

    def __init__(
        self, data: Path, frontend: FrontendConfig, endpoint: EndpointConfig, halves: int, seed: int,
        made_up: Sequence[NDArray[np.int16]] = (),
    ) -> None:  # fmt: skip
        self.make = FeatureMaker(frontend, endpoint)
        everything = read_manifest(data)
        spoken = trained_clips(everything)
        self.noises = [read_clip(c.path).astype(np.float32) for c in everything if c.is_noise and c.split == "train"]
        self.clips: list[Samples] = [read_clip(c.path).astype(np.float32) for c in spoken]
        self.words = sorted({f"{c.dataset}:{c.word}" for c in spoken})
        index = {word: k for k, word in enumerate(self.words)}
        self.word_of = np.array([index[f"{c.dataset}:{c.word}"] for c in spoken])
        self._spans = [self._span(clip) for clip in self.clips]
        self._pairs = self._choose_pairs(spoken, halves, np.random.default_rng([seed, 1]))
        speech = [read_clip(c.path).astype(np.float32) for c in everything if running_speech(c)]
        self._pieces = cut_pieces(speech, np.random.default_rng([seed, 3]))
        self._made_up = made_up
        self.classes = 2 * len(self.words) + len(self._pairs)
        self.seed = seed

    def _span(self, clip: Samples) -> tuple[int, int]:
        start, stop, _ = find_utterance(self.make.frames(clip.astype(np.int16)), self.make.endpoint)
        config = self.make.config
        return start * config.hop, min(len(clip), stop * config.hop + config.frame - config.hop)

    def _choose_pairs(
        self, spoken: list[ClipInfo], halves: int, rng: np.random.Generator
    ) -> list[list[tuple[int, int]]]:
        """Pick `halves` ordered pairs of words of one data set, each as JOINED_TAKES pairs of clips.

        Both clips are of one speaker if there are enough.
        """
        by_word: dict[int, list[int]] = defaultdict(list)
        for n, word in enumerate(self.word_of):
            by_word[int(word)].append(n)
        plenty = [w for w, members in by_word.items() if len(members) >= LEAST_CLIPS_TO_JOIN]
        pairs: list[list[tuple[int, int]]] = []
        seen: set[tuple[int, int]] = set()
        while len(pairs) < halves:
            a, b = (int(w) for w in rng.choice(plenty, 2, replace=False))
            if (a, b) in seen or self.words[a].split(":")[0] != self.words[b].split(":")[0]:
                continue
            seen.add((a, b))
            second: dict[str, list[int]] = defaultdict(list)
            for n in by_word[b]:
                second[spoken[n].speaker].append(n)
            same = [(m, n) for m in by_word[a] for n in second.get(spoken[m].speaker, [])]
            if len(same) < 8:
                same += [(int(rng.choice(by_word[a])), int(rng.choice(by_word[b]))) for _ in range(24)]
            pairs.append([same[int(k)] for k in rng.choice(len(same), JOINED_TAKES, len(same) < JOINED_TAKES)])
        return pairs

    def _joined(self, first: int, second: int) -> Samples:
        """Join the first half of one clip's word to the second half of another's, with a 20 ms cross-fade."""
        a, b = self._spans[first], self._spans[second]
        fade = 320
        head = self.clips[first][: (a[0] + a[1]) // 2 + fade].copy()
        tail = self.clips[second][(b[0] + b[1]) // 2 :].copy()
        loudness = (np.abs(head).mean() + 1) / (np.abs(tail).mean() + 1)
        tail *= np.float32(np.clip(loudness, 0.25, 4))
        overlap = min(fade, len(head), len(tail))
        ramp = np.linspace(0, 1, overlap, dtype=np.float32)
        head[len(head) - overlap :] *= 1 - ramp
        tail[:overlap] *= ramp
        joined = np.zeros(len(head) + len(tail) - overlap, np.float32)
        joined[: len(head)] += head
        joined[len(head) - overlap :] += tail
        return joined

    @property
    def sources(self) -> int:
        """How many different sounds there are: clips, the same backwards, joined, running speech, made-up words."""
        return self._first_made_up + len(self._made_up)

    @property
    def _first_piece(self) -> int:
        return 2 * len(self.clips) + JOINED_TAKES * len(self._pairs)

    @property
    def _first_made_up(self) -> int:
        return self._first_piece + len(self._pieces)

    def source(self, number: int) -> Samples:
        """Return sound `number` as it was recorded, reversed, joined, cut or made up; float32 in int16 units."""
        clips = len(self.clips)
        if number < clips:
            return self.clips[number]
        if number < 2 * clips:
            return self.clips[number - clips][::-1]
        if number < self._first_piece:
            pair, take = divmod(number - 2 * clips, JOINED_TAKES)
            return self._joined(*self._pairs[pair][take])
        if number < self._first_made_up:
            return self._pieces[number - self._first_piece]
        return self._made_up[number - self._first_made_up].astype(np.float32)

    def label(self, number: int) -> int:
        """Return the class of sound `number`, or NO_CLASS."""
        clips, words = len(self.clips), len(self.words)
        if number < 2 * clips:
            return int(self.word_of[number % clips]) + words * (number // clips)
        return 2 * words + (number - 2 * clips) // JOINED_TAKES if number < self._first_piece else NO_CLASS

    def middle(self, number: int) -> int:
        """Return the sample in the middle of the word of sound `number`."""
        clip = self.source(number)
        if self.label(number) == NO_CLASS:
            return len(clip) // 2
        start, stop = self._spans[number] if number < len(self.clips) else self._span(clip)
        return (start + stop) // 2

    def heard_pieces(self, version: int) -> list[NDArray[np.int8]]:
        """Return the pieces of running speech, augmented and without their noise: int8 Q6 [T, bands] each."""
        rng = np.random.default_rng([self.seed, 7, version])
        return [self.make.whole(augment(piece, self.noises, rng), True)[:FRAMES] for piece in self._pieces]

    def epoch(self, number: int, quiet: bool, conditions: Conditions = USUAL) -> Epoch:
        """Make epoch `number`: every clip (rare words up to six times), half of them backwards, and all else once.

        Of the made-up words it is a third.  conditions: what they are heard in; quiet: whether noise is taken off then.
        """
        rng = np.random.default_rng([self.seed, 2, number])
        clips = len(self.clips)
        count = np.bincount(self.word_of, minlength=len(self.words))
        jobs: list[int] = []
        for n, word in enumerate(self.word_of):
            jobs += [n] * int(np.clip(60 // count[word], 1, 6))
            if rng.random() < 0.5:
                jobs.append(clips + n)
        jobs += range(2 * clips, self._first_made_up)
        made_up = np.flatnonzero(rng.random(len(self._made_up)) < MADE_UP_SHARE)
        jobs += (self._first_made_up + made_up).tolist()
        rng.shuffle(jobs)
        features = np.zeros((len(jobs), FRAMES, self.make.config.bands), np.int8)
        lengths = np.zeros(len(jobs), np.int64)
        labels = np.array([self.label(source) for source in jobs])
        for k, source in enumerate(jobs):
            heard = augment(self.source(source), self.noises, rng, conditions)
            piece = self._first_piece <= source < self._first_made_up
            frames = self.make.whole(heard, quiet) if piece else self.make.utterance(heard, rng, quiet)
            features[k, : len(frames[:FRAMES])] = frames[:FRAMES]
            lengths[k] = max(1, len(frames[:FRAMES]))
        return Epoch(features, lengths, labels, np.array(jobs))
