"""The integer front end: any chunks, the same integers as its twin, and close to the definition."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgelearn
from edgelearn.audio.clips import read_clip
from edgelearn.audio.frontend import Frontend, frontend_bytes, frontend_ops, log2_q10
from edgelearn.audio.melbank import FloatFrontend, FrontendConfig, make_tables
from edgelearn.device.arena import Arena
from tests import reference_audio

DEFAULT = FrontendConfig()
SMALL = FrontendConfig(frame=256, hop=256, bands=16, low_hz=300, preemphasis=0.0)
WIDE = FrontendConfig(bands=8, low_hz=0, high_hz=8000)
DEMO = sorted((Path(edgelearn.__file__).parent / "assets" / "demo").glob("*.wav"))

N = np.arange(1500)
EXTREMES = {
    "noise": np.random.default_rng(3).integers(-32768, 32768, len(N)),
    "random signs": np.random.default_rng(4).choice([-32768, 32767], len(N)),
    "alternating": np.where(N % 2, 32767, -32768),
    "square wave": np.where(N // 13 % 2, 32767, -32768),
    "a sign for each bin": np.where(np.cos(2 * np.pi * 100.37 * N / 512) < 0, -32768, 32767),
    "constant": np.full(len(N), -32768),
    "silence": np.zeros(len(N), np.int64),
    "impulse": np.where(N == 700, -32768, 0),
    "least steps": N % 2,
    "quiet noise": np.random.default_rng(5).integers(-2, 3, len(N)),
}


def make(config: FrontendConfig) -> Frontend:
    return Frontend(config, Arena(frontend_bytes(config) + 4))


def log_energies(config: FrontendConfig, samples: np.ndarray) -> np.ndarray:
    """Log2 energies (Q10) of every frame: one push for each."""
    front_end, rows, at = make(config), [], 0
    for stop in range(config.frame, len(samples) + 1, config.hop):
        front_end.push(samples[at:stop])
        rows.append(front_end.last_log2_q10)
        at = stop
    return np.array(rows)


@pytest.mark.parametrize("config", [DEFAULT, SMALL, WIDE], ids=["default", "small", "wide"])
@pytest.mark.parametrize("name", EXTREMES)
def test_it_equals_the_twin_in_unbounded_integers_within_the_stated_bounds(name: str, config: FrontendConfig) -> None:
    samples = EXTREMES[name].astype(np.int16)
    twin = reference_audio.FixedFrontend(config)
    logs, features = twin.run(samples.tolist())
    assert log_energies(config, samples).tolist() == logs
    assert make(config).push(samples).tolist() == features
    assert twin.largest["value"] < 2**30
    assert twin.largest["power"] < 2**50.6
    assert twin.largest["energy"] < 2**63


def test_the_worst_spectrum_comes_near_its_bound() -> None:
    twin = reference_audio.FixedFrontend(DEFAULT)
    twin.run(EXTREMES["alternating"].tolist())
    assert 0.99 * 64553 * 256 * 2**6 < twin.largest["value"] < 64553 * 256 * 2**6


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.one_of(st.integers(0, 40), st.integers(300, 900)), max_size=12),
    hop=st.sampled_from([1, 160, 320, 512]),
)
def test_any_chunks_give_the_same_frames(seed: int, sizes: list[int], hop: int) -> None:
    config = FrontendConfig(hop=hop)
    samples = np.random.default_rng(seed).integers(-3000, 3000, sum(sizes)).astype(np.int16)
    whole = make(config).push(samples)
    front_end = make(config)
    parts = np.split(samples, np.cumsum(sizes)[:-1]) if sizes else []
    chunks = [front_end.push(part) for part in parts]
    assert len(whole) == max(0, (len(samples) - config.frame) // hop + 1)
    np.testing.assert_array_equal(np.concatenate([np.zeros((0, config.bands), np.int8), *chunks]), whole)


def test_reset_forgets_the_stream(rng: np.random.Generator) -> None:
    samples = rng.integers(-9000, 9000, 2000).astype(np.int16)
    front_end = make(DEFAULT)
    first = front_end.push(samples)
    assert (front_end.push(samples[:400]) != first[0]).any()
    front_end.reset()
    np.testing.assert_array_equal(front_end.push(samples), first)


def speech(seed: int, peak: int) -> np.ndarray:
    """One second of a gliding buzz through a moving resonance, three syllables, breath noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(16000) / 16000
    pitch = 120 * 2 ** (0.5 * np.sin(2 * np.pi * 1.3 * time + seed))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    sound = np.zeros(len(time))
    for k in range(1, 40):
        resonance = np.exp(-0.5 * ((k * pitch - 500 - 300 * seed) / 400) ** 2) + 0.3 / k
        sound += resonance * np.sin(k * phase + rng.uniform(0, 6))
    sound = sound * np.clip(np.sin(6 * np.pi * time), 0, None) + 0.02 * rng.standard_normal(len(time))
    return np.rint(sound / np.abs(sound).max() * peak).astype(np.int16)


def errors_in_log2(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    exact = np.log2(FloatFrontend(DEFAULT).push(samples))
    return np.abs(log_energies(DEFAULT, samples) / 1024 - exact), exact


def assert_error_bounds(samples: np.ndarray) -> None:
    """As the docstring of the module states them."""
    error, exact = errors_in_log2(samples)
    assert error[exact >= 1].max() < 0.02
    assert error[exact >= 3.4].max() < 0.01


@pytest.mark.parametrize("peak", [300, 3000, 30000])
@pytest.mark.parametrize("seed", range(4))
def test_log_energies_are_close_to_the_definition(seed: int, peak: int) -> None:
    assert_error_bounds(speech(seed, peak))


@pytest.mark.parametrize("path", DEMO, ids=[path.stem for path in DEMO])
def test_log_energies_of_the_shipped_recordings_are_close_to_the_definition(path: Path) -> None:
    assert_error_bounds(read_clip(path))


def test_the_features_of_the_shipped_recordings_are_those_the_shipped_model_was_made_with() -> None:
    digest = hashlib.sha256()
    for path in DEMO:
        digest.update(make(DEFAULT).push(read_clip(path)).tobytes())
    assert digest.hexdigest() == "2788e0b8e01a1767078248ee412b36cca8cfa5ce2fe2fe50e3bb5d2f801e873c"


@pytest.mark.parametrize("frame", [256, 512])
def test_twiddles_lie_in_the_order_in_which_they_are_read(frame: int) -> None:
    """Also in memory: the kernel is compiled for the layout of its arguments."""
    config = FrontendConfig(frame=frame, hop=frame // 2, bands=16, low_hz=300)
    twiddles = make_tables(config).twiddles_q30
    assert twiddles.flags.c_contiguous
    points = frame // 128
    for factors in twiddles:
        frequency = np.repeat(np.arange(points), frame // 8 // points)
        for (cosines, sines), turn in zip(
            factors.reshape(2, 2, -1), (frequency / (2 * points), frequency / (4 * points)), strict=True
        ):
            np.testing.assert_array_equal(cosines, np.rint(np.cos(2 * np.pi * turn) * 2**30))
            np.testing.assert_array_equal(sines, np.rint(np.sin(2 * np.pi * turn) * 2**30))
        points *= 4
    assert points == frame // 2


def test_the_bounds_cover_all_that_a_feature_shows() -> None:
    lowest = DEFAULT.centre_q10 / 1024 - 127.5 / (DEFAULT.gain_q20 / 1024)
    assert 3.4 < lowest < 3.6
    assert DEFAULT.gain_q20 / 1024 * 0.09 == pytest.approx(1, abs=0.01)


def test_log2_equals_its_twin_and_is_within_its_bound(rng: np.random.Generator) -> None:
    table = make_tables(DEFAULT).log_q16
    powers = [1 << k for k in range(63)]
    values = [*range(1, 3000), *powers, *(p - 1 for p in powers[1:]), *(p + 1 for p in powers), 2**63 - 1]
    values += [int(2**e) for e in rng.uniform(0, 62.9, 3000)]
    for value in values:
        got = int(log2_q10(value, table))
        assert got == reference_audio.log2_q10(value)
        assert abs(got / 1024 - math.log2(value)) < 0.0006


@pytest.mark.parametrize("config", [DEFAULT, SMALL], ids=["default", "small"])
def test_the_byte_twin_equals_what_is_allocated(config: FrontendConfig) -> None:
    arena = Arena(1 << 16)
    Frontend(config, arena)
    assert sum(-(-region.size_bytes // 4) * 4 for region in arena.regions) == frontend_bytes(config)
    assert arena.used_bytes - frontend_bytes(config) in (0, 4)


def test_operations_of_a_frame() -> None:
    widths = int(make_tables(DEFAULT).width.sum())
    assert frontend_ops(DEFAULT) == 2 * 512 + 3 * 64 * 16 + 128 * 8 + 2 * widths + 64
