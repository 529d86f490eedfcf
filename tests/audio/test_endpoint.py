"""The end pointer: where utterances start and end, in a stream and in a clip, equal to its twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelearn.audio.endpoint import (
    BLOCK_FRAMES,
    BLOCKS,
    END,
    HANG,
    IDLE,
    LATE_FRAMES,
    ONSET,
    SPEECH,
    SPREAD,
    TOO_LONG,
    EndpointConfig,
    Endpointer,
    cut_utterance,
    endpoint_regions,
    find_utterance,
)
from edgelearn.device.arena import Arena
from tests import reference_audio

BANDS = 32
DEFAULT = EndpointConfig()
QUIET = -60
WINDOW = BLOCKS * BLOCK_FRAMES


def clip(total: int, *words: tuple[int, int, int]) -> np.ndarray:
    """Frames at the level QUIET, with (start, stop, steps above it) laid in."""
    frames = np.full((total, BANDS), QUIET, np.int8)
    for start, stop, steps in words:
        frames[start:stop] += np.int8(steps)
    return frames


def flickering(frames: np.ndarray) -> np.ndarray:
    """The same, with a quiet frame in every nine: no noise, that never stays up for long."""
    frames[::9] = QUIET
    return frames


def stream(frames: np.ndarray, config: EndpointConfig = DEFAULT) -> list[int]:
    endpointer = Endpointer(config, frames.shape[1], Arena(4096))
    return [endpointer.push(frame) for frame in frames]


def test_a_word_in_a_stream() -> None:
    codes = stream(clip(60, (20, 35, 40)))
    assert codes[:22] == [IDLE] * 22
    assert codes[22] == ONSET
    assert codes[23:35] == [SPEECH] * 12
    assert codes[35:46] == [HANG] * 11
    assert codes[46] == END
    assert codes[47:] == [IDLE] * 13


def test_the_same_word_in_a_clip_has_its_context() -> None:
    assert find_utterance(clip(60, (20, 35, 40)), DEFAULT) == (12, 39, True)
    assert find_utterance(clip(60, (2, 14, 40)), DEFAULT) == (0, 18, True)
    assert find_utterance(clip(60, (50, 59, 40)), DEFAULT) == (42, 60, True)


@pytest.mark.parametrize(
    ("start", "stop", "total", "lacks"),
    [(20, 35, 60, (0, 0)), (3, 14, 60, (0, 0)), (2, 14, 60, (6, 0)), (46, 60, 60, (0, 0)), (4, 17, 19, (4, 2))],
)
def test_a_clip_cut_close_to_its_word_is_given_the_context_that_it_lacks(
    start: int, stop: int, total: int, lacks: tuple[int, int]
) -> None:
    """As soft as the softest that each band has; a clip that lacks less than half of it is left as it is."""
    frames = clip(total, (start, stop, 40))
    heard = np.maximum(frames.astype(np.int16) - 3, -128).astype(np.int8)
    whole, segment = cut_utterance(frames, heard, DEFAULT), find_utterance(frames, DEFAULT)
    assert whole is not None
    cut = DEFAULT.surroundings.own(whole)
    assert segment == (max(0, start - DEFAULT.pre_frames), min(total, stop + DEFAULT.post_frames), True)
    quiet, (before, after) = np.sort(heard, axis=0)[total // 20], lacks
    np.testing.assert_array_equal(cut[before : len(cut) - after], heard[segment.start : segment.stop])
    for frame in (*cut[:before], *cut[len(cut) - after :]):
        np.testing.assert_array_equal(frame, quiet)
    assert len(cut) == segment.stop - segment.start + before + after


def test_nothing_is_cut_where_nobody_speaks() -> None:
    for frames in (clip(60), np.zeros((0, BANDS), np.int8)):
        assert cut_utterance(frames, frames, DEFAULT) is None


def test_a_gap_shorter_than_the_hang_over_belongs_to_the_word() -> None:
    assert find_utterance(clip(80, (20, 30, 40), (41, 50, 40)), DEFAULT) == (12, 54, True)
    assert find_utterance(clip(80, (20, 30, 40), (42, 50, 40)), DEFAULT) == (12, 34, True)


def test_a_click_is_no_word() -> None:
    assert not find_utterance(clip(60, (20, 22, 60)), DEFAULT).found
    assert set(stream(clip(60, (20, 22, 60)))) == {IDLE}


def test_the_strongest_of_two_words_is_found() -> None:
    assert find_utterance(clip(120, (20, 35, 30), (70, 85, 50)), DEFAULT) == (62, 89, True)
    assert find_utterance(clip(120, (20, 35, 50), (70, 85, 30)), DEFAULT) == (12, 39, True)


def test_a_word_after_a_murmur_begins_anew() -> None:
    """What is soft for 40 frames before a word twice as loud was the room; a word may well grow louder."""
    frames = clip(140, (20, 60, 26), (60, 75, 60))
    murmur = flickering(clip(140, (20, 60, 34)))
    murmur[60:75] = frames[60:75]
    codes = stream(murmur)
    assert [t for t, code in enumerate(codes) if code == ONSET] == [22, 60]
    assert codes[75 + DEFAULT.hang_frames - 1] == END
    assert TOO_LONG not in codes
    assert find_utterance(frames, DEFAULT) == find_utterance(murmur, DEFAULT) == (50, 79, True)
    assert find_utterance(clip(140, (20, 60, 40), (60, 70, 50)), DEFAULT) == (12, 74, True)
    assert find_utterance(clip(140, (20, 45, 26), (45, 60, 60)), DEFAULT) == (12, 64, True)


def test_what_does_not_end_is_too_long() -> None:
    frames = flickering(clip(200, (19, 140, 60)))
    codes = stream(frames)
    assert codes.index(TOO_LONG) == 19 + DEFAULT.longest - 1
    assert END not in codes[: 19 + DEFAULT.longest]
    start, stop, found = find_utterance(frames, DEFAULT)
    assert (start, stop, found) == (11, 19 + DEFAULT.longest + DEFAULT.post_frames, True)


@pytest.mark.parametrize("onset", [10, 11, 14, 16])
def test_a_noise_that_stays_becomes_the_floor_within_35_frames(onset: int) -> None:
    """From the seventh frame of a block on, when no frame of four blocks was lower; a word in it is then a word."""
    frames = clip(300, (onset, 300, 50), (onset + 60, onset + 75, 50))
    codes = stream(frames)
    known = -(-onset // BLOCK_FRAMES) * BLOCK_FRAMES + WINDOW
    assert onset + WINDOW <= known <= onset + WINDOW + BLOCK_FRAMES
    assert [t for t, code in enumerate(codes) if code == ONSET] == [onset + 2, onset + 62]
    assert [t for t, code in enumerate(codes) if code == END] == [known + 10, onset + 86]
    assert TOO_LONG not in codes


def test_only_what_never_fell_is_noise_and_digital_silence_says_nothing() -> None:
    """A word of 40 frames with one soft frame in the middle."""
    frames = clip(100, (20, 60, 50))
    frames[40] = QUIET
    assert stream(frames)[60 + DEFAULT.hang_frames - 1] == END
    # a band at -128 has no floor to be lifted from: nobody hears it
    assert set(stream(np.full((60, BANDS), -128, np.int8))) == {IDLE}


def test_a_noise_that_falls_now_and_then_becomes_the_floor_when_it_is_too_long() -> None:
    frames = clip(300, (11, 300, 50))
    frames[20::20] = QUIET
    codes = stream(frames)
    assert codes.index(TOO_LONG) == 11 + DEFAULT.longest - 1
    assert set(codes[11 + DEFAULT.longest :]) == {IDLE}


def test_the_floor_of_a_noise_at_full_scale_is_a_feature() -> None:
    endpointer = Endpointer(DEFAULT, BANDS, Arena(4096))
    endpointer.push(clip(1)[0])
    for _ in range(2 * WINDOW):
        endpointer.push(np.full(BANDS, 127, np.int8))
    assert set(endpointer.floor.tolist()) == {127}


def test_a_clip_knows_its_noise_and_lifts_no_floor() -> None:
    steady = clip(120, (30, 75, 60))
    assert find_utterance(steady, DEFAULT) == (22, 79, True)
    assert stream(steady).index(END) < 75


def test_silence_and_steady_noise_hold_no_utterance() -> None:
    assert find_utterance(clip(60), DEFAULT) == (0, 60, False)
    assert find_utterance(clip(200), DEFAULT) == (0, DEFAULT.longest, False)
    assert find_utterance(np.zeros((0, BANDS), np.int8), DEFAULT) == (0, 0, False)
    assert find_utterance(np.full((50, BANDS), 127, np.int8), DEFAULT) == (0, 50, False)


def test_the_floor_of_a_clip_is_above_its_lower_fifth() -> None:
    """Digital silence in less than a fifth of the frames is not the noise floor of the rest."""
    frames = clip(100)
    frames[81:] = -128
    frames[40:55] += np.int8(40)
    assert find_utterance(frames, DEFAULT) == (32, 59, True)
    # noise within SPREAD and the margin above the lower fifth is no speech from the first frame on
    noisy = clip(100)
    noisy[30:] += np.int8(SPREAD + DEFAULT.margin)
    assert not find_utterance(noisy, DEFAULT).found


def test_a_word_that_the_clip_cuts_off_ends_with_it() -> None:
    assert find_utterance(clip(40, (25, 40, 40)), DEFAULT) == (17, 40, True)


@pytest.mark.parametrize(("echo", "stop"), [(29, 39), (34, 49)])
def test_an_echo_below_a_share_of_the_peak_is_no_speech(echo: int, stop: int) -> None:
    """Peak 32 * 88 = 2816, a seventh is 402; as the floor rose, 29 steps are an excess of 352 at most, 34 over 450."""
    frames = clip(80, (20, 35, 100), (35, 45, echo))
    assert find_utterance(frames, DEFAULT).stop == stop
    assert find_utterance(frames, EndpointConfig(fade=100)).stop == 49


def test_the_release_threshold_is_below_the_onset() -> None:
    """23 steps are an excess of 352 at most: too little to start an utterance, enough to go on with one."""
    assert not find_utterance(clip(100, (40, 60, 23)), DEFAULT).found
    assert find_utterance(clip(100, (40, 45, 40), (45, 55, 23)), DEFAULT).stop == 59


def test_what_goes_on_behind_a_word_ends_it_when_it_is_below_a_third() -> None:
    """80 steps are an excess of 2,176, and the floor rises by 6 steps meanwhile: 19 leave a fifth of it, 40 a half."""
    fifth, half = (flickering(clip(90, (10, 30, 80), (30, 90, 12 + steps))) for steps in (19, 40))
    codes = stream(fifth)
    assert codes[12] == ONSET
    assert codes.index(END) == 10 + LATE_FRAMES + DEFAULT.hang_frames - 1
    assert END not in stream(half)
    assert stream(half)[10 + DEFAULT.longest - 1] == TOO_LONG


def test_the_floor_follows_slow_noise_and_forgets_a_loud_one() -> None:
    endpointer = Endpointer(DEFAULT, BANDS, Arena(4096))
    endpointer.push(clip(1)[0])
    excess = []
    for _ in range(60):
        endpointer.push(clip(1)[0] + np.int8(16))
        excess.append(endpointer.excess)
    assert excess[0] == 32 * (16 - DEFAULT.stream_margin)
    assert excess == sorted(excess, reverse=True)
    assert excess[20] == 0
    for _ in range(40):
        assert endpointer.push(clip(1)[0]) == IDLE
    assert [endpointer.push(frame) for frame in clip(15, (0, 15, 40))][2] == ONSET


@pytest.mark.parametrize("seed", range(10))
def test_a_room_after_digital_silence_is_known_within_a_second(seed: int) -> None:
    """No floor has been lower than that of digital silence: rising by itself it would take ten seconds."""
    rng = np.random.default_rng(seed)
    silence = np.full((30, BANDS), -128, np.int8)
    room = np.rint(rng.normal(rng.uniform(-50, 20, BANDS), 5, (400, BANDS)))
    room[200:215] += 45
    codes = stream(np.concatenate((silence, np.clip(room, -128, 127).astype(np.int8))))
    assert TOO_LONG not in codes
    assert set(codes[30 + WINDOW + BLOCK_FRAMES + DEFAULT.hang_frames : 30 + 200]) == {IDLE}
    assert codes[30 + 200 : 30 + 203] == [IDLE, IDLE, ONSET]
    assert END in codes[30 + 215 : 30 + 230]


def test_each_band_has_its_own_floor() -> None:
    """A whistle at full scale in eight bands; the word is in the others."""
    frames = clip(60, (20, 35, 40))
    frames[:, :8] = 100
    assert find_utterance(frames, DEFAULT) == (12, 39, True)
    assert stream(frames)[22] == ONSET


def test_the_first_frame_is_the_floor() -> None:
    assert set(stream(np.full((50, BANDS), 90, np.int8))) == {IDLE}
    endpointer = Endpointer(DEFAULT, BANDS, Arena(4096))
    for _ in range(2):
        endpointer.reset()
        endpointer.push(clip(1)[0])
        assert [endpointer.push(np.full(BANDS, 90, np.int8)) for _ in range(3)] == [IDLE, IDLE, ONSET]
    endpointer.reset()
    assert {endpointer.push(np.full(BANDS, 90, np.int8)) for _ in range(50)} == {IDLE}


def test_byte_twin_and_lag() -> None:
    arena = Arena(4096)
    Endpointer(DEFAULT, BANDS, arena)
    assert arena.used_bytes == sum(
        np.dtype(kind).itemsize * np.prod(shape) for _, shape, kind in endpoint_regions(BANDS)
    )
    assert arena.used_bytes == 4 * BANDS + BLOCKS * BANDS + 8 * 7
    assert DEFAULT.lag_frames == DEFAULT.onset_frames + DEFAULT.pre_frames


CONFIGS = [
    DEFAULT,
    EndpointConfig(12, 12, 200, 90, 3, 2, 4, 2, 1, 9, 3, 25),
    EndpointConfig(0, 0, 1, 1, 1000, 1, 1, 0, 0, 0, 0, 10),
]


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    total=st.integers(1, 220),
    bands=st.sampled_from([8, 32]),
    config=st.sampled_from(CONFIGS),
)
def test_stream_and_clip_equal_the_twin(seed: int, total: int, bands: int, config: EndpointConfig) -> None:
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.choice([0, 0, 25, 50, 120], total // 5 + 1), 5)[:total, None]
    noise = rng.integers(1, 30)
    frames = np.clip(rng.integers(-128, 0, bands) + level + rng.normal(0, noise, (total, bands)), -128, 127)
    frames = frames.astype(np.int8)
    heard = np.concatenate((np.sort(frames, axis=0)[total // 5][None], frames))
    twin = reference_audio.EndPointer(config, heard[0].tolist(), stream=True)
    assert stream(heard, config) == [twin.push(frame) for frame in heard.tolist()]
    found = reference_audio.segments(frames.tolist(), config)
    strongest = max(found, key=lambda segment: segment[2], default=None)
    if strongest is None or strongest[2] == 0:
        assert find_utterance(frames, config) == (0, min(total, config.longest), False)
    else:
        assert find_utterance(frames, config) == (*strongest[:2], True)
