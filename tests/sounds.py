"""Synthetic words."""

from __future__ import annotations

import numpy as np


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
