"""What a recording must be before anything is learned from it."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

import edgelearn
from edgelearn.audio.clips import read_clip
from edgelearn.audio.endpoint import EndpointConfig
from edgelearn.audio.frontend import Frontend, frontend_bytes
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.device.arena import Arena
from edgelearn.errors import TakeRejected
from edgelearn.learning.takes import LEAST_SPOKEN, check_length, check_samples, take_from_clip, variance

DEMO = Path(edgelearn.__file__).parent / "assets" / "demo"
TAKE = sorted(DEMO.glob("*take*.wav"))[0]


@pytest.fixture
def frontend() -> Frontend:
    return Frontend(FrontendConfig(), Arena(frontend_bytes(FrontendConfig()) + 4))


def in_quiet(samples: np.ndarray, seconds: float = 0.5) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, 10, len(samples) + 2 * int(16000 * seconds))
    noise[int(16000 * seconds) :][: len(samples)] += samples
    return np.clip(np.rint(noise), -32768, 32767).astype(np.int16)


def test_a_word_in_quiet_is_a_take_whatever_was_pushed_before(frontend: Frontend) -> None:
    samples = in_quiet(read_clip(TAKE))
    take = take_from_clip(samples, frontend, EndpointConfig(), "take 1")
    config = EndpointConfig()
    context = config.pre_frames + config.post_frames + sum(config.surroundings)
    assert LEAST_SPOKEN + context <= len(take) < 80 + sum(config.surroundings)
    frontend.push(samples[:1000])
    np.testing.assert_array_equal(take_from_clip(samples, frontend, EndpointConfig(), "take 1"), take)


def test_no_speech_and_no_samples(frontend: Frontend) -> None:
    noise = np.random.default_rng(1).normal(0, 300, 20000).astype(np.int16)
    with pytest.raises(TakeRejected, match=r"take\.wav holds no speech"):
        take_from_clip(noise, frontend, EndpointConfig(), "take.wav")
    with pytest.raises(TakeRejected, match="too quiet"):
        take_from_clip(np.zeros(0, np.int16), frontend, EndpointConfig(), "take.wav")


def test_clipped_and_quiet_recordings() -> None:
    samples = np.full(1000, 5000, np.int16)
    check_samples(samples, "it")
    samples[:10] = -32768
    check_samples(samples, "it")
    samples[:11] = -32768
    with pytest.raises(TakeRejected, match=r"clipped \(1\.1 %"):
        check_samples(samples, "it")
    check_samples(np.full(9, -330, np.int16), "it")
    with pytest.raises(TakeRejected, match="peak 329 of 32768"):
        check_samples(np.full(9, 329, np.int16), "it")


def test_lengths() -> None:
    """The context around the speech does not count."""
    for endpoint in (EndpointConfig(), EndpointConfig(pre_frames=0, post_frames=9, outer_post_frames=3)):
        context = endpoint.pre_frames + endpoint.post_frames + sum(endpoint.surroundings)
        check_length(LEAST_SPOKEN + context, endpoint, "it")
        check_length(79 + context, endpoint, "it")
        with pytest.raises(TakeRejected, match=r"too short \(100 ms\)"):
            check_length(5 + context, endpoint, "it")
        with pytest.raises(TakeRejected, match=r"too short \(0 ms\)"):
            check_length(context - 1, endpoint, "it")
        with pytest.raises(TakeRejected, match=r"too long \(1600 ms\)"):
            check_length(80 + context, endpoint, "it")


@given(arrays(np.int8, st.tuples(st.integers(0, 90), st.integers(1, 32))))
@example(np.tile(np.array([-128, 127], np.int8), (255, 16)))
def test_variance_is_that_of_exact_fractions(frames: NDArray[np.int8]) -> None:
    values = [Fraction(int(value)) for value in frames.ravel()]
    mean = sum(values) / max(1, len(values))
    assert variance(frames) == math.floor(sum((value - mean) ** 2 for value in values) / max(1, len(values)))
