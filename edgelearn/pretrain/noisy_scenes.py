"""Ten seconds of a room at a time: speech, noises that stay, noises that pass; it is known when somebody speaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.audio.datasets import NOISE, ClipInfo
from edgelearn.audio.endpoint import ONSET, SPEECH, EndpointConfig, Endpointer, strongest_utterance
from edgelearn.device.arena import Arena
from edgelearn.pretrain.augment import (
    SAMPLE_RATE_HZ,
    Samples,
    change_speed,
    in_room,
    some_noise,
    synthetic_noise,
    through_microphone,
)
from edgelearn.pretrain.corpus import FeatureMaker, running_speech, trained_clips
from edgelearn.runtime.scenes import FADE, ROOM_LEVEL, in_its_room, rms

FRAMES = 512
RUNNING_SHARE = 0.12
ARENA_BYTES = 4096


@dataclass(frozen=True)
class Said:
    """A recording (float32 in int16 units), and whether somebody speaks in each of its hops (bool)."""

    samples: Samples
    spoken: NDArray[np.bool_]


class Scenes:
    """Scenes made of the clips of the train split; the same ones for the same seed."""

    def __init__(self, clips: Sequence[ClipInfo], make: FeatureMaker, seed: int) -> None:
        self._make, self._seed, self._hop = make, seed, make.config.hop
        self._words = [said for clip in trained_clips(clips) if (said := self._word(_read(clip)))]
        self._running = [self._speech(_read(clip)) for clip in clips if running_speech(clip)]
        noises = [clip for clip in clips if clip.is_noise and clip.split == "train"]
        self._steady = [_level(_read(clip)) for clip in noises if clip.word == NOISE]
        self._single = [_level(_read(clip)) for clip in noises if clip.word != NOISE]

    def __call__(self, count: int) -> Iterator[tuple[NDArray[np.int8], NDArray[np.bool_]]]:
        """Yield scenes: frames (int8 Q6, [FRAMES, bands]), and in which of them somebody speaks (bool [FRAMES])."""
        for number in range(count):
            yield self._scene(np.random.default_rng([self._seed, 9, number]))

    def _word(self, samples: Samples) -> Said | None:
        """Return a clip of a word with where it is said; None if it is too soft to be found."""
        config = self._make.endpoint
        frames = self._make.frames(samples.astype(np.int16))
        start, stop, weight = strongest_utterance(frames, config)
        spoken = np.zeros(len(samples) // self._hop, bool)
        spoken[max(0, start + config.pre_frames) : max(0, stop - config.post_frames)] = True
        return Said(samples, spoken) if weight and spoken.any() else None

    def _speech(self, samples: Samples) -> Said:
        """Return running speech with where somebody speaks: what the end pointer finds in a quiet room."""
        lead = SAMPLE_RATE_HZ // 2 // self._hop
        quiet = np.concatenate((np.zeros(lead * self._hop, np.float32), samples))
        quiet += ROOM_LEVEL * np.random.default_rng(self._seed).standard_normal(len(quiet)).astype(np.float32)
        frames = self._make.frames(np.clip(np.rint(quiet), -32768, 32767).astype(np.int16))
        return Said(samples, _active(frames, self._make.endpoint)[lead:])

    def _scene(self, rng: np.random.Generator) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
        length = FRAMES * self._hop + self._make.config.frame
        level = 10 ** rng.uniform(2.5, 3.7)  # RMS of the speech
        sound, spoken = self._talk(length, level, rng) if rng.random() < 0.9 else _silence(length, self._hop)
        if rng.random() < 0.3:
            sound = in_room(sound, rng)
        if rng.random() < 0.35:
            sound = through_microphone(sound, rng)
        sound += np.float32(10 ** rng.uniform(0.3, 1.6)) * rng.standard_normal(length).astype(np.float32)
        if rng.random() < 0.75:
            sound += np.float32(level * 10 ** (-rng.uniform(0, 30) / 20)) * self._noise_that_stays(length, rng)
        if rng.random() < 0.45:
            for _ in range(int(rng.integers(1, 7))):
                noise = self._noise_that_passes(rng) * np.float32(level * 10 ** (-rng.uniform(-5, 25) / 20))
                _lay(noise, int(rng.integers(length)), sound)
        sound *= np.float32(min(10 ** (rng.uniform(-10, 6) / 20), 32000 / (np.abs(sound).max() + 1e-9)))
        return self._make.frames(np.rint(sound).astype(np.int16))[:FRAMES], spoken[:FRAMES]

    def _talk(self, length: int, level: float, rng: np.random.Generator) -> tuple[Samples, NDArray[np.bool_]]:
        """Return words in their rooms and stretches of running speech, one after the other."""
        sound, spoken = _silence(length, self._hop)
        at = int(rng.uniform(0, 1.5) * SAMPLE_RATE_HZ) // self._hop
        while at < FRAMES:
            pause = int(rng.uniform(0.2, 1.2) * SAMPLE_RATE_HZ) // self._hop
            if self._running and rng.random() < RUNNING_SHARE:
                said = self._stretch(rng)
                said_sound = said.samples * np.float32(level / rms(said.samples.astype(np.float64)))
                lead = 0
            else:
                said = self._words[int(rng.integers(len(self._words)))]
                if rng.random() < 0.4:
                    said = _faster(said, float(np.exp(rng.uniform(-0.14, 0.14))))
                where = np.flatnonzero(said.spoken)
                start, stop = int(where[0]) * self._hop, int(where[-1] + 1) * self._hop
                gain = level * 10 ** (rng.uniform(-5, 5) / 20) / rms(said.samples[start:stop].astype(np.float64))
                before, after = pause * self._hop, int(rng.uniform(0.1, 1.2) * SAMPLE_RATE_HZ)
                roomy, _ = in_its_room(said.samples.astype(np.float64) * gain, start, stop, before, after)
                said_sound, lead = roomy.astype(np.float32), pause
            _lay(said_sound, at * self._hop, sound)
            there = spoken[at + lead :][: len(said.spoken)]
            there |= said.spoken[: len(there)]
            at += max(1, (len(said_sound) - FADE) // self._hop) + (0 if lead else 20 + pause)
        return sound, spoken

    def _stretch(self, rng: np.random.Generator) -> Said:
        """Return half a second to four of running speech, faded at both ends."""
        said = self._running[int(rng.integers(len(self._running)))]
        at = int(rng.integers(max(1, len(said.spoken) - 25)))
        spoken = said.spoken[at : at + int(rng.uniform(25, 200))]
        samples = said.samples[at * self._hop : (at + len(spoken)) * self._hop]
        beside = np.minimum(np.arange(len(samples)), np.arange(len(samples))[::-1])
        return Said(samples * np.minimum(1, beside / 400).astype(np.float32), spoken)

    def _noise_that_stays(self, length: int, rng: np.random.Generator) -> Samples:
        """Return noise of RMS 1: steady, or of passing noises one after the other; a quarter begins later."""
        kind = self._steady if rng.random() < 0.6 else self._single
        source = kind[int(rng.integers(len(kind)))] if kind and rng.random() < 0.65 else _modulated(length, rng)
        noise = np.resize(np.roll(source, -int(rng.integers(len(source)))), length).astype(np.float32)
        if rng.random() < 0.25:
            begun = (np.arange(length) - int(rng.integers(length))) / (SAMPLE_RATE_HZ * rng.uniform(0.001, 0.5))
            noise *= np.clip(begun, 0, 1).astype(np.float32)
        return noise / np.float32(rms(noise.astype(np.float64)))

    def _noise_that_passes(self, rng: np.random.Generator) -> Samples:
        """Return a noise of RMS 1 that passes: a piece of a recorded one, or a synthetic one."""
        if not self._single or rng.random() < 0.5:
            noise = _synthetic(rng)
        else:
            source = self._single[int(rng.integers(len(self._single)))]
            length = int(rng.uniform(0.1, 3) * SAMPLE_RATE_HZ)
            at = int(rng.integers(max(1, len(source) - length)))
            noise = source[at : at + length]
        return noise / np.float32(rms(noise.astype(np.float64)))


def _synthetic(rng: np.random.Generator) -> Samples:
    """Return a knock, a beep, a sweep, a hum or a rattle."""
    seconds = np.arange(int(rng.uniform(0.03, 1.5) * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    kind = int(rng.integers(5))
    if kind == 0:
        sound = some_noise(len(seconds), (), rng) * np.exp(-seconds / rng.uniform(0.005, 0.3))
    elif kind == 1:
        sound = np.sin(2 * np.pi * rng.uniform(100, 5000) * seconds)
    elif kind == 2:
        pitch = rng.uniform(100, 5000) * np.exp(rng.uniform(-2, 2) * seconds)
        sound = np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE_HZ)
    elif kind == 3:
        harmonics = np.arange(1, 12)[:, None]
        phases = rng.uniform(0, 6, (11, 1))
        waves = np.sin(2 * np.pi * rng.uniform(60, 600) * harmonics * seconds + phases)
        sound = (waves * harmonics ** -rng.uniform(0, 2)).sum(axis=0)
    else:
        gate = np.sin(2 * np.pi * rng.uniform(2, 40) * seconds) > rng.uniform(-0.5, 0.8)
        sound = some_noise(len(seconds), (), rng) * gate
    return sound.astype(np.float32)


def _modulated(length: int, rng: np.random.Generator) -> Samples:
    """Return white or coloured noise, in three tenths of the cases slowly rising and falling."""
    noise = synthetic_noise(length, rng, 0.7, 0.99)
    if rng.random() < 0.3:
        points = max(2, int(length / SAMPLE_RATE_HZ * rng.uniform(0.5, 8)))
        levels = np.exp(rng.uniform(-1.5, 1.5, points))
        noise *= np.interp(np.linspace(0, points - 1, length), np.arange(points), levels).astype(np.float32)
    return noise


def _active(frames: NDArray[np.int8], config: EndpointConfig) -> NDArray[np.bool_]:
    """Return in which frames (int8 Q6, [T, bands]) of a quiet recording somebody speaks, short pauses included."""
    endpointer = Endpointer(config, frames.shape[1], Arena(ARENA_BYTES))
    active = np.zeros(len(frames), bool)
    last = 0
    for now, frame in enumerate(frames):
        code = endpointer.push(frame)
        if code == ONSET:
            last = max(0, now - config.onset_frames + 1)
        if code in (ONSET, SPEECH):
            active[last : now + 1] = True
            last = now + 1
    return active


def _faster(said: Said, factor: float) -> Said:
    samples = change_speed(said.samples, factor)
    count = int(len(said.spoken) / factor)
    at = np.minimum((np.arange(count) * factor).astype(np.int64), len(said.spoken) - 1)
    return Said(samples, said.spoken[at])


def _silence(length: int, hop: int) -> tuple[Samples, NDArray[np.bool_]]:
    return np.zeros(length, np.float32), np.zeros(length // hop, bool)


def _lay(part: Samples, at: int, sound: Samples) -> None:
    there = sound[at : at + len(part)]
    there += part[: len(there)]


def _read(clip: ClipInfo) -> Samples:
    return read_clip(clip.path).astype(np.float32)


def _level(noise: Samples) -> Samples:
    return noise - np.float32(noise.mean())
