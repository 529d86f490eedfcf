"""What is around an utterance: cut from a sound, repeated where there is none, and heard where it is sound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgelearn.audio.noise import QUIET_FLOOR, is_noisy
from edgelearn.audio.surroundings import NOTHING_AROUND, Surroundings

AROUND = Surroundings(4, 3)


def numbered(count: int) -> np.ndarray:
    return np.repeat(np.arange(count, dtype=np.int8)[:, None], 2, axis=1)


def numbers(frames: np.ndarray) -> list[int]:
    assert (frames[:, 0] == frames[:, 1]).all()
    return [int(n) for n in frames[:, 0]]


@pytest.mark.parametrize(
    ("start", "stop", "noisy", "expected", "sounding"),
    [
        (5, 8, True, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (5, 8, False, [5, 5, 5, 5, 5, 6, 7, 7, 7, 7], [5, 6, 7]),
        (1, 8, True, [0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
        (9, 11, True, [5, 6, 7, 8, 9, 10, 11, 11, 11], [5, 6, 7, 8, 9, 10, 11]),
        (0, 12, True, [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 11, 11, 11], list(range(12))),
    ],
)
def test_a_cut_has_as_many_frames_around_it_wherever_it_is(
    start: int, stop: int, noisy: bool, expected: list[int], sounding: list[int]
) -> None:
    cut = AROUND.of(numbered(12), start, stop, noisy)
    assert numbers(cut) == expected
    assert numbers(AROUND.own(cut)) == list(range(start, stop))
    assert numbers(AROUND.sounding(cut)) == sounding


@example(values=[0, 0], before=0, after=3)
@given(values=st.lists(st.integers(-2, 2), max_size=20), before=st.integers(0, 5), after=st.integers(0, 5))
def test_frames_that_repeat_the_next_one_in_are_not_heard(values: list[int], before: int, after: int) -> None:
    """A slow twin drops them one by one; never one of the word itself, nor of what is too short to have one."""
    twin, left, right = list(values), before, after
    while left and len(twin) > 1 and twin[0] == twin[1]:
        twin.pop(0)
        left -= 1
    while right and len(twin) > 1 and twin[-1] == twin[-2]:
        twin.pop()
        right -= 1
    frames = np.array(values, np.int8)[:, None]
    assert Surroundings(before, after).sounding(frames)[:, 0].tolist() == twin
    assert len(Surroundings(before, after).own(frames)) == max(0, len(values) - before - after)


def test_without_surroundings_all_is_its_own() -> None:
    frames = numbered(6)
    nothing = NOTHING_AROUND
    for cut in (nothing.of(frames, 0, 6, True), nothing.own(frames), nothing.sounding(frames)):
        np.testing.assert_array_equal(cut, frames)


def test_a_room_is_noisy_where_half_of_its_bands_are() -> None:
    floor = np.full(9, QUIET_FLOOR, np.int8)
    floor[:4] += 1
    assert not is_noisy(floor)
    floor[4] += 1
    assert is_noisy(floor)
