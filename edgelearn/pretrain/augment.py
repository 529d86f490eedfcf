"""What happens to a word between mouth and microphone, seeded: speed, room, colour, noise, gain, voice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

Samples = NDArray[np.float32]
SAMPLE_RATE_HZ = 16000
SYNTHETIC_NOISE_SHARE = 0.3
FORMANT_BANDS = 1.8
TILT_STEPS = 11.0  # feature steps; these are 3 dB of power
GAIN_STEPS = 4.0
TEMPO = 0.06


@dataclass(frozen=True)
class Conditions:
    """In what share of the versions of a clip there is a room, a small microphone, and noise."""

    room: float = 0.3
    microphone: float = 0.35
    noise: float = 0.75


USUAL = Conditions()


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
    """Return `signal` through a band-pass of random order (1 to 4) and corners: a small microphone, a telephone."""
    order, corners_hz = int(rng.integers(1, 5)), [rng.uniform(60, 500), rng.uniform(2500, 7200)]
    sos = butter(order, corners_hz, "bandpass", fs=SAMPLE_RATE_HZ, output="sos")
    return np.asarray(sosfilt(sos, signal), np.float32)


def some_noise(length: int, noises: Sequence[Samples], rng: np.random.Generator) -> Samples:
    """Return `length` samples of a recorded noise or, in three tenths of the cases, of white or coloured noise."""
    if rng.random() >= SYNTHETIC_NOISE_SHARE and noises:
        source = noises[int(rng.integers(len(noises)))]
        at = int(rng.integers(max(1, len(source) - length)))
        return np.resize(source[at : at + length], length)
    return synthetic_noise(length, rng, 0.5, 0.97)


def synthetic_noise(length: int, rng: np.random.Generator, coloured: float, darkest: float) -> Samples:
    """Return white noise, in a share `coloured` of the cases with a pole somewhere from -0.5 to `darkest`."""
    noise: Samples = rng.standard_normal(length).astype(np.float32)
    if rng.random() < coloured:
        noise = lfilter([1.0], [1.0, -rng.uniform(-0.5, darkest)], noise).astype(np.float32)
    return noise


def with_noise(signal: Samples, noises: Sequence[Samples], rng: np.random.Generator, snr_db: float) -> Samples:
    """Return `signal` with some noise `snr_db` below its speech."""
    noise = some_noise(len(signal), noises, rng)
    frames = signal[: len(signal) // 320 * 320].reshape(-1, 320)
    loud = np.sort((frames**2).mean(axis=1))[-max(1, len(frames) // 4) :].mean()  # the quarter that is the word
    power = float((noise**2).mean()) + 1e-9
    return signal + noise * np.float32(np.sqrt(loud / power) * 10 ** (-snr_db / 20))


def augment(
    signal: Samples, noises: Sequence[Samples], rng: np.random.Generator, conditions: Conditions = USUAL
) -> NDArray[np.int16]:
    """Return one random version of a clip (float32, int16 units) as int16."""
    signal = change_speed(signal, float(np.exp(rng.uniform(np.log(0.87), np.log(1.15)))))
    if rng.random() < conditions.room:
        signal = in_room(signal, rng)
    if rng.random() < conditions.microphone:
        signal = through_microphone(signal, rng)
    if rng.random() < conditions.noise:
        signal = with_noise(signal, noises, rng, rng.uniform(3, 30))
    peak = float(np.abs(signal).max()) + 1e-9
    gain = min(10 ** (rng.uniform(-14, 8) / 20), 32000 / peak)
    version: NDArray[np.int16] = np.rint(signal * gain).astype(np.int16)
    return version


@dataclass(frozen=True)
class Voices:
    """Other voices for a batch of feature frames: frames [B, T, bands] become `frames @ formants + slope`.

    formants: float32 [B, bands, bands]; slope: float32 [B, 1, bands], feature steps; tempo: how many times as fast all
    of them speak.
    """

    formants: NDArray[np.float32]
    slope: NDArray[np.float32]
    tempo: float


def other_voices(count: int, bands: int, rng: np.random.Generator) -> Voices:
    """Draw `count` voices: formants moved by up to 1.8 bands, the spectrum tilted by up to 3 dB, louder or softer.

    Vocal tract length perturbation on the mel axis, apart from the tempo that `change_speed` moves along with pitch.
    """
    at = np.arange(bands)
    bend = np.sin(np.pi * np.clip(at / bands, 0.1, 0.9))
    source = np.clip(at + rng.uniform(-FORMANT_BANDS, FORMANT_BANDS, (count, 1)) * bend, 0, bands - 1)
    low = np.floor(source).astype(np.int64)
    share = source - low
    high = np.minimum(low + 1, bands - 1)
    formants = np.zeros((count, bands, bands), np.float32)
    which = np.arange(count)[:, None]
    formants[which, low, at] += 1 - share
    formants[which, high, at] += share
    slope = rng.uniform(-TILT_STEPS, TILT_STEPS, (count, 1, 1)) * (at / (bands - 1) - 0.5)
    slope += rng.uniform(-GAIN_STEPS, GAIN_STEPS, (count, 1, 1))
    return Voices(formants, slope.astype(np.float32), float(np.exp(rng.uniform(-TEMPO, TEMPO))))
