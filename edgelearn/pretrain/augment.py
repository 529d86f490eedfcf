"""What happens to a word between a mouth and a microphone, drawn from a seeded generator: speed, room, colour, noise, gain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, sosfilt

Samples = NDArray[np.float32]
SAMPLE_RATE_HZ = 16000


def change_speed(signal: Samples, factor: float) -> Samples:
    """Return `signal` played `factor` times as fast (pitch moves along), by linear interpolation."""
    count = int(len(signal) / factor)
    return np.interp(np.arange(count) * factor, np.arange(len(signal)), signal).astype(np.float32)


def in_room(signal: Samples, rng: np.random.Generator) -> Samples:
    """Return `signal` in a room of exponentially decaying noise behind the direct path, 10 to 80 ms time constant."""
    tau = rng.uniform(0.01, 0.08) * SAMPLE_RATE_HZ
    length = int(4 * tau)
    tail = rng.standard_normal(length) * np.exp(-np.arange(length) / tau)
    tail *= rng.uniform(0.3, 1.1) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    return fftconvolve(signal, tail)[: len(signal)].astype(np.float32)


def through_microphone(signal: Samples, rng: np.random.Generator) -> Samples:
    """Return `signal` through a second-order band-pass with random corners: a small microphone, a case, a telephone."""
    low, high = rng.uniform(60, 450), rng.uniform(2600, 7000)
    sos = butter(2, [low, high], "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return np.asarray(sosfilt(sos, signal), np.float32)


def with_noise(signal: Samples, noises: Sequence[Samples], rng: np.random.Generator, snr_db: float) -> Samples:
    """Return `signal` with a random stretch of a recorded noise (or of white noise) at `snr_db` over the speech's power."""
    kind = int(rng.integers(len(noises) + 1))
    if kind == len(noises):
        noise = rng.standard_normal(len(signal)).astype(np.float32)
    else:
        source = noises[kind]
        at = int(rng.integers(max(1, len(source) - len(signal))))
        noise = np.resize(source[at : at + len(signal)], len(signal))
    frames = signal[: len(signal) // 320 * 320].reshape(-1, 320)
    loud = np.sort((frames**2).mean(axis=1))[-max(1, len(frames) // 4) :].mean()  # the quarter that is the word
    power = float((noise**2).mean()) + 1e-9
    return signal + noise * np.float32(np.sqrt(loud / power) * 10 ** (-snr_db / 20))


def augment(signal: Samples, noises: Sequence[Samples], rng: np.random.Generator) -> NDArray[np.int16]:
    """Return one random version of a clip (float32, int16 units) as int16."""
    signal = change_speed(signal, float(np.exp(rng.uniform(np.log(0.87), np.log(1.15)))))
    if rng.random() < 0.25:
        signal = in_room(signal, rng)
    if rng.random() < 0.25:
        signal = through_microphone(signal, rng)
    if rng.random() < 0.75:
        signal = with_noise(signal, noises, rng, rng.uniform(3, 30))
    peak = float(np.abs(signal).max()) + 1e-9
    gain = min(10 ** (rng.uniform(-14, 8) / 20), 32000 / peak)
    return np.rint(signal * gain).astype(np.int16)
