from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal

from edgelearn.audio.resample import COEFFICIENT_BITS, Resampler, _phases, resample
from edgelearn.errors import UsageError

RATES = (8000, 11025, 22050, 44100, 48000, 96000)


def tone(hz: float, rate_hz: int, seconds: float = 0.5) -> np.ndarray:
    time = np.arange(round(rate_hz * seconds)) / rate_hz
    return np.rint(16000 * np.sin(2 * np.pi * hz * time)).astype(np.int16)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(RATES), st.lists(st.integers(0, 2000), max_size=6), st.integers(0, 2**32 - 1))
def test_blocks_of_any_size_give_the_same_samples(rate_hz: int, cuts: list[int], seed: int) -> None:
    samples = np.random.default_rng(seed).integers(-32768, 32768, 2000, dtype=np.int16)
    resampler = Resampler(rate_hz)
    edges = [0, *sorted(cuts), 2000]
    blocks = [resampler.push(samples[a:b]) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate([*blocks, resampler.flush()]), resample(samples, rate_hz))


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000])
def test_equals_the_textbook_sum_in_unbounded_integers(rate_hz: int) -> None:
    samples = np.random.default_rng(0).choice([-32768, 32767], 300).astype(np.int16)  # the extremes
    divisor = np.gcd(rate_hz, 16000)
    up, down = 16000 // divisor, rate_hz // divisor
    rows = [[int(c) for c in row] for row in _phases(up, down)]
    reach = len(rows[0]) // 2
    expected = []
    for n in range(-(-len(samples) * up // down)):
        centre, phase = divmod(n * down, up)
        total = sum(
            c * int(samples[centre - reach + 1 + k])
            for k, c in enumerate(rows[phase])
            if 0 <= centre - reach + 1 + k < len(samples)
        )
        rounded = (total + (1 << (COEFFICIENT_BITS - 1))) >> COEFFICIENT_BITS
        expected.append(min(32767, max(-32768, rounded)))
    assert resample(samples, rate_hz).tolist() == expected


@pytest.mark.parametrize("rate_hz", RATES)
def test_every_phase_has_gain_one_and_sums_stay_exact(rate_hz: int) -> None:
    divisor = np.gcd(rate_hz, 16000)
    phases = _phases(16000 // divisor, rate_hz // divisor)
    assert (phases == np.rint(phases)).all()
    assert (phases.sum(axis=1) == 1 << COEFFICIENT_BITS).all()
    assert np.abs(phases).sum(axis=1).max() * 32768 < 2**53


@pytest.mark.parametrize("rate_hz", [22050, 44100, 48000, 96000])
@pytest.mark.parametrize("hz", [100, 1000, 6900])
def test_tones_of_the_pass_band_are_kept_in_time(rate_hz: int, hz: int) -> None:
    error = resample(tone(hz, rate_hz), rate_hz).astype(float) - tone(hz, 16000)
    assert np.abs(error[200:-200]).max() <= 4  # of 16000


@pytest.mark.parametrize("rate_hz", [22050, 44100, 48000, 96000])
def test_tones_above_the_band_do_not_fold_into_it(rate_hz: int) -> None:
    folded = resample(tone(9000, rate_hz), rate_hz)[200:-200].astype(float)
    assert 20 * np.log10(max(folded.std(), 0.1) / (16000 / np.sqrt(2))) < -80


def test_agrees_with_scipy_below_the_transition_band() -> None:
    low_passed = signal.sosfiltfilt(
        signal.butter(8, 3000, fs=48000, output="sos"), np.random.default_rng(0).normal(0, 4000, 48000)
    )
    samples = np.rint(low_passed).astype(np.int16)
    theirs = signal.resample_poly(samples.astype(float), 1, 3)
    assert np.abs(resample(samples, 48000) - theirs)[200:-200].max() < 30


def test_16_khz_passes_unchanged() -> None:
    samples = np.arange(-500, 500, dtype=np.int16)
    np.testing.assert_array_equal(resample(samples, 16000), samples)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 160, 441])
def test_length_is_that_of_the_sound(length: int) -> None:
    assert len(resample(np.zeros(length, np.int16), 44100)) == -(-length * 16000 // 44100)


def test_starts_anew_after_flush() -> None:
    samples = tone(440, 8000, 0.05)
    resampler = Resampler(8000)
    for _ in range(2):
        out = np.concatenate((resampler.push(samples), resampler.flush()))
        np.testing.assert_array_equal(out, resample(samples, 8000))


@pytest.mark.parametrize("rate_hz", [0, -1, 3999, 192001])
def test_refuses_rates_that_it_cannot_serve(rate_hz: int) -> None:
    with pytest.raises(UsageError, match=f"{rate_hz} Hz"):
        Resampler(rate_hz)
