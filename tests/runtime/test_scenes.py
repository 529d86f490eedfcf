"""Words in continuous sound: where they are said to be, in their own room, at the ratio that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from edgelearn.runtime.scenes import (
    GAP_S,
    ROOM_LEVEL,
    SAMPLE_RATE_HZ,
    Spoken,
    background,
    rms,
    scene_of_other_sound,
    scene_of_words,
)

RNG = np.random.default_rng(3)
HISS = np.rint(RNG.normal(0, 100, 30000)).astype(np.int16)
HUM = np.rint(2000 * np.sin(np.arange(20000) / 20)).astype(np.int16)


def word(number: int, level: float, quiet: float = 20.0) -> Spoken:
    rng = np.random.default_rng(number)
    sound = quiet * rng.standard_normal(16000)
    sound[5000:9000] += level * np.sqrt(2) * np.sin(np.arange(4000) * (0.1 + number / 50))
    return Spoken(number, np.rint(sound).astype(np.int16), 5000, 9000)


def test_words_are_where_the_scene_says() -> None:
    spoken = [word(n, 1000.0) for n in range(4)]
    scene = scene_of_words(spoken, [], None, 0)
    assert [number for number, _, _ in scene.words] == [0, 1, 2, 3]
    for one, (_, start, stop) in zip(spoken, scene.words, strict=True):
        laid = scene.samples[start:stop].astype(float) - one.samples[one.start : one.stop]
        assert rms(laid) == pytest.approx(ROOM_LEVEL, rel=0.05)
    gaps = [b[1] - a[2] for a, b in zip(scene.words, scene.words[1:], strict=False)]
    assert min(gaps) > 2 * GAP_S[0] * SAMPLE_RATE_HZ
    assert scene.words[-1][2] < len(scene.samples)


def test_the_quiet_of_a_clip_goes_on_around_it() -> None:
    scene = scene_of_words([word(1, 1000.0, quiet=50.0)], [], None, 0)
    _, start, stop = scene.words[0]
    for place in (slice(4000, start - 1000), slice(stop + 1000, len(scene.samples) - 12000)):
        assert rms(scene.samples[place].astype(float)) == pytest.approx(np.hypot(50, ROOM_LEVEL), rel=0.1)


def test_a_word_without_quiet_beside_it_stands_in_the_room_alone() -> None:
    tight = Spoken(0, np.full(4000, 1000, np.int16), 0, 4000)
    scene = scene_of_words([tight], [], None, 0)
    _, start, stop = scene.words[0]
    assert rms(scene.samples[: start - 1000].astype(float)) == pytest.approx(ROOM_LEVEL, rel=0.05)
    assert stop - start == 4000


def test_noise_is_as_far_below_every_word_as_asked() -> None:
    spoken = [word(0, 500.0, 1.0), word(1, 1000.0, 1.0), word(2, 3000.0, 1.0)]
    quiet, noisy = (scene_of_words(spoken, [HISS, HUM], snr_db, 5) for snr_db in (None, 10.0))
    assert quiet.words == noisy.words
    levels = [rms(quiet.samples[a:b].astype(float)) for _, a, b in quiet.words]
    assert levels == pytest.approx([500, 1000, 3000], rel=0.02)
    # all at the level of the median word, the noise 10 dB below
    silent = slice(noisy.words[0][2] + 2000, noisy.words[1][1] - 2000)
    assert rms(noisy.samples[silent].astype(float)) == pytest.approx(1000 * 10**-0.5, rel=0.1)
    for _, start, stop in noisy.words:
        assert rms(noisy.samples[start:stop].astype(float)) == pytest.approx(1000 * np.sqrt(1.1), rel=0.1)


def test_other_sound_is_played_whole() -> None:
    scene = scene_of_other_sound([HISS, HUM], [], None, 0)
    assert len(scene.samples) == len(HISS) + len(HUM) + SAMPLE_RATE_HZ
    assert scene.words == []
    played = scene.samples[: len(HISS)].astype(float) - HISS
    assert rms(played) == pytest.approx(ROOM_LEVEL, rel=0.05)


def test_background_is_seeded_and_of_one_level() -> None:
    first, again, other = (background([HISS, HUM], 90000, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(first) == 90000
    assert rms(first) == pytest.approx(1.0, rel=0.02)
