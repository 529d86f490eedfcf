"""Spectral subtraction in feature steps: its table, the kernel against its twin, and the floor of a clip."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelearn.audio.melbank import FrontendConfig
from edgelearn.audio.noise import QUIET_FLOOR, clip_floor, subtract_floor, subtraction_table, without_noise
from tests import reference_audio

CONFIG = FrontendConfig()
STEPS_AN_OCTAVE = CONFIG.gain_q20 / 1024


def test_the_table_takes_off_twice_the_floor_and_at_most_12_db() -> None:
    table = subtraction_table(CONFIG.gain_q20).tolist()
    most = round(4 * STEPS_AN_OCTAVE)
    assert table[: round(STEPS_AN_OCTAVE) + 1] == [-most] * (round(STEPS_AN_OCTAVE) + 1)
    assert table == sorted(table)
    for above in range(13, 256):
        energy = 2 ** (above / STEPS_AN_OCTAVE)
        assert table[above] == round(STEPS_AN_OCTAVE * np.log2((energy - 2) / energy))
    assert table[100:] == [0] * 156


@pytest.mark.parametrize("gain_q20", [1, 4000, 11357, 40000, 1 << 20])
def test_a_table_is_int8_for_any_gain(gain_q20: int) -> None:
    table = subtraction_table(gain_q20)
    assert table.dtype == np.int8
    assert table.shape == (256,)
    assert table.max() <= 0


def test_a_table_is_shared_and_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        subtraction_table(CONFIG.gain_q20)[0] = 0


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 40), data=st.data())
def test_the_kernel_equals_its_twin_and_leaves_other_rows_alone(seed: int, rows: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, 100))
    stop = data.draw(st.integers(first, first + rows))
    rng = np.random.default_rng(seed)
    frames = rng.integers(-128, 128, (rows, 8)).astype(np.int8)
    floor = rng.choice([-128, 127, *rng.integers(-128, 128, 6)], 8).astype(np.int8)
    expected = frames.tolist()
    for t in range(first, stop):
        expected[t % rows] = reference_audio.subtracted(expected[t % rows], floor.tolist(), STEPS_AN_OCTAVE)
    subtract_floor(frames, first, stop, floor, subtraction_table(CONFIG.gain_q20))
    assert frames.tolist() == expected


def test_a_clip_knows_its_floor_from_its_softest_fifth() -> None:
    frames = np.full((50, 32), -39, np.int8)
    frames[10:45] = 41
    frames[:3] = -90
    assert clip_floor(frames).tolist() == [-39] * 32
    quiet = without_noise(frames, CONFIG)
    assert frames[0, 0] == -90
    assert set(quiet[10:45].ravel().tolist()) == {41}
    assert set(quiet[45:].ravel().tolist()) == {-39 - 44}
    assert set(quiet[:3].ravel().tolist()) == {-128}


def test_a_clip_shorter_than_a_frame_has_no_noise() -> None:
    assert without_noise(np.zeros((0, 32), np.int8), CONFIG).shape == (0, 32)


def test_a_quiet_band_is_left_as_it_is() -> None:
    frames = np.full((20, 32), -39, np.int8)
    frames[:, 7] = QUIET_FLOOR
    quiet = without_noise(frames, CONFIG)
    assert (quiet != frames).any(axis=0).tolist() == [band != 7 for band in range(32)]
