"""What happens to a word between mouth and microphone, from a seeded generator: speed, room, colour, noise, gain."""

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
    changed: Samples = np.interp(np.arange(count) * factor, np.arange(len(signal)), signal).astype(np.float32)
    return changed


def in_room(signal: Samples, rng: np.random.Generator) -> Samples:
    """Return `signal` in a room of exponentially decaying noise behind the direct path, 10 to 80 ms time constant."""
    tau = rng.uniform(0.01, 0.08) * SAMPLE_RATE_HZ
    length = int(4 * tau)
    tail = rng.standard_normal(length) * np.exp(-np.arange(length) / tau)
    tail *= rng.uniform(0.3, 1.1) / np.sqrt(np.sum(tail**2))
    tail[0] = 1.0
    heard: Samples = fftconvolve(signal, tail)[: len(signal)].astype(np.float32)
    return heard


def through_microphone(signal: Samples, rng: np.random.Generator) -> Samples:
    """Return `signal` through a second-order band-pass with random corners: a small microphone, a case, a telephone."""
    low, high = rng.uniform(60, 450), rng.uniform(2600, 7000)
    sos = butter(2, [low, high], "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return np.asarray(sosfilt(sos, signal), np.float32)


def with_noise(signal: Samples, noises: Sequence[Samples], rng: np.random.Generator, snr_db: float) -> Samples:
    """Return `signal` with a random stretch of a recorded noise (or of white noise) `snr_db` below its speech."""
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
    version: NDArray[np.int16] = np.rint(signal * gain).astype(np.int16)
    return version


def other_voice(frames: NDArray[np.int8], rng: np.random.Generator) -> NDArray[np.int8]:
    """Return feature frames (int8 Q6, [T, bands]) with formants moved by up to 1.6 bands, the spectrum tilted by 6 dB.

    Vocal tract length perturbation on the mel axis, apart from the tempo that `change_speed` moves along with pitch.
    """
    bands = frames.shape[1]
    at = np.arange(bands, dtype=np.float64)
    moved = at + rng.uniform(-1.6, 1.6) * np.sin(np.pi * np.clip(at / bands, 0.1, 0.9))
    source = np.clip(moved, 0, bands - 1)
    low = np.floor(source).astype(np.int64)
    share = source - low
    high = np.minimum(low + 1, bands - 1)
    warped = frames[:, low] * (1 - share) + frames[:, high] * share
    tilt = rng.uniform(-11, 11) * (at / (bands - 1) - 0.5)
    voice: NDArray[np.int8] = np.clip(np.rint(warped + tilt), -128, 127).astype(np.int8)
    return voice
