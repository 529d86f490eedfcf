from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio.input_quality import BLOCKS_A_SECOND, InputQuality

BLOCK = 320
RATE_HZ = 16000


def noise(rng: np.random.Generator, level: float, seconds: float) -> NDArray[np.float64]:
    return level * rng.standard_normal(round(seconds * RATE_HZ))


def with_speech(sound: NDArray[np.float64], peak: float, every_s: float = 1.0) -> NDArray[np.float64]:
    """Add half a second of a tone to each `every_s` of `sound`."""
    time = np.arange(len(sound)) / RATE_HZ
    return sound + peak * np.sin(2 * np.pi * 300 * time) * (time % every_s < 0.5)


def judge(sound: NDArray[np.float64]) -> list[tuple[int, str]]:
    """The problems, each with the number of the block that completed it."""
    quality = InputQuality()
    samples = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
    blocks = samples[: len(samples) // BLOCK * BLOCK].reshape(-1, BLOCK)
    return [(number, problem) for number, block in enumerate(blocks, 1) for problem in quality.push(block)]


@pytest.mark.parametrize("constant", [0, -3, 32767])
def test_two_seconds_without_any_movement_are_dead_and_said_once(constant: int) -> None:
    problems = judge(np.full(6 * RATE_HZ, float(constant)))
    assert problems[-1 if constant == 32767 else 0] == (2 * BLOCKS_A_SECOND, "dead")
    assert [problem for _, problem in problems].count("dead") == 1


def test_a_steady_last_bit_is_life(rng: np.random.Generator) -> None:
    assert judge(noise(rng, 0.4, 10)) == []
    blocks = np.zeros(10 * RATE_HZ)
    blocks[::RATE_HZ] = 1  # one sample a second moves
    assert judge(blocks) == []


def test_constant_blocks_that_differ_are_no_silence() -> None:
    assert judge(np.repeat(np.arange(500.0, 650.0), BLOCK)) == []


def test_overdriven_speech_is_clipped_and_said_once(rng: np.random.Generator) -> None:
    assert judge(with_speech(noise(rng, 20, 20), 60000)) == [(BLOCKS_A_SECOND, "clipped")]


def test_a_knock_that_clips_is_forgiven(rng: np.random.Generator) -> None:
    sound = noise(rng, 20, 10)
    sound[RATE_HZ * 3 : RATE_HZ * 3 + 150] = 32767  # less than one per cent of its second
    assert judge(sound) == []
    sound[RATE_HZ * 3 : RATE_HZ * 3 + 170] = 32767
    assert [problem for _, problem in judge(sound)] == ["clipped"]


def test_speech_that_stays_far_below_what_words_need_is_quiet(rng: np.random.Generator) -> None:
    assert judge(with_speech(noise(rng, 2, 20), 120)) == [(3 * BLOCKS_A_SECOND, "quiet")]


def test_speech_of_a_usual_level_is_not(rng: np.random.Generator) -> None:
    assert judge(with_speech(noise(rng, 2, 20), 3000)) == []


def test_one_loud_second_proves_the_level(rng: np.random.Generator) -> None:
    loud = with_speech(noise(rng, 2, 1), 3000)
    assert judge(np.concatenate((loud, with_speech(noise(rng, 2, 20), 120)))) == []


def test_a_silent_room_is_not_quiet_speech(rng: np.random.Generator) -> None:
    assert judge(noise(rng, 2, 20)) == []
