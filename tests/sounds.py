"""Synthetic words, and recorded ones in a noise."""

from __future__ import annotations

import numpy as np

from edgelearn.audio.clips import read_clip
from edgelearn.runtime.rehearsed import RECORDINGS


def sound(word: int, rng: np.random.Generator) -> np.ndarray:
    """Two harmonic syllables whose pitch and colour belong to the word, in faint noise; 0.7 s."""
    time = np.arange(11200) / 16000
    samples = rng.normal(0, 8, len(time))
    for n in range(2):
        pitch = 110 + 13 * ((word * 7 + n * 5) % 11) + rng.normal(0, 2)
        centre = 500 + 240 * ((word * (n + 2) + 3 * n) % 12)
        start = 3000 + 2900 * n + int(rng.integers(-200, 200))
        span = slice(start, start + 2600)
        shape = np.hanning(2600) * rng.uniform(3000, 6000)
        for k in range(1, 40):
            weight = np.exp(-0.5 * ((k * pitch - centre) / 350) ** 2)
            samples[span] += shape * weight * np.sin(2 * np.pi * k * pitch * time[span])
    return np.clip(np.rint(samples), -32768, 32767).astype(np.int16)


def flickering(samples: int) -> np.ndarray:
    """1, but for two frames in every nine: what is louder by that is no steady noise, and no end of an utterance."""
    envelope = np.ones((-(-samples // 2880), 2880))
    envelope[:, -640:] = 0
    return envelope.reshape(-1)[:samples]


def rattle(samples: int) -> np.ndarray:
    """A hum that is off and on eleven times a second, at most 1."""
    seconds = np.arange(samples) / 16000
    return np.sin(2 * np.pi * 180 * seconds) * (np.sin(2 * np.pi * 11 * seconds) > -0.5)


def in_rattle(word: str, lead_s: float = 1.2, behind_s: float = 0.25, level: float = 0.25) -> np.ndarray:
    """A rattle begins so long before the recording of a word and ends so long behind it; level: of that of the word."""
    (path,) = RECORDINGS.glob(f"{word}*.wav")
    clip = read_clip(path).astype(np.float64)
    lead = 8000 + int(lead_s * 16000)
    behind = int(behind_s * 16000)
    total = np.random.default_rng(2).normal(0, 12, lead + len(clip) + behind + 16000)
    total[lead : lead + len(clip)] += clip
    rattling = slice(8000, lead + len(clip) + behind)
    total[rattling] += level * np.sqrt((clip**2).mean()) * rattle(rattling.stop - rattling.start)
    return np.clip(np.rint(total), -32768, 32767).astype(np.int16)


def in_turn(*parts: str | float, level: float = 450.0, seed: int = 2) -> np.ndarray:
    """Recorded words and pauses (seconds) in white noise of a level, with a second of it before and after them."""
    pieces = [np.zeros(16000)]
    for part in (*parts, 1.0):
        if isinstance(part, str):
            (path, *_) = sorted(RECORDINGS.glob(f"{part}_*.wav"))
            pieces.append(read_clip(path).astype(np.float64))
        else:
            pieces.append(np.zeros(int(16000 * part)))
    sound = np.concatenate(pieces)
    sound += np.random.default_rng(seed).normal(0, level, len(sound))
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
