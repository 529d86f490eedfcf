"""Planning: boards that are large enough, tapes that fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelearn.device.arena import Arena
from edgelearn.device.board import load_board
from edgelearn.device.plan import fit_board, fit_tape_frames
from edgelearn.errors import BudgetExceeded


def test_regions_and_sizes_against_a_board():
    arena = Arena(300_000)
    arena.alloc("network.w", 262_143, np.int8)
    board = load_board("stm32u385")
    exactly = fit_board(arena.regions, board)
    assert exactly.fits
    assert exactly.free_bytes == 0
    assert exactly.needed_bytes == arena.used_bytes == 262_144
    over = fit_board({"network": 262_144, "tape": 100}, board)
    assert not over.fits
    assert over.free_bytes == -100


@given(st.integers(-10, 10**5), st.integers(1, 5000), st.integers(0, 3000), st.integers(1, 20), st.integers(0, 50))
def test_the_largest_tape_fits_and_one_frame_more_does_not(free, per_frame, fixed, least, more):
    def bytes_of(frames):
        return fixed + frames * per_frame

    most = least + more
    if free < bytes_of(least):
        with pytest.raises(BudgetExceeded) as caught:
            fit_tape_frames(free, bytes_of, least, most, 10**6)
        error = caught.value
        assert (error.region, error.asked_bytes, error.free_bytes) == ("tape", bytes_of(least), max(0, free))
        assert f"{10**6 - free + bytes_of(least):,} bytes" in error.hint
    else:
        frames = fit_tape_frames(free, bytes_of, least, most, 10**6)
        assert least <= frames <= most
        assert bytes_of(frames) <= free
        assert frames == most or bytes_of(frames + 1) > free


@pytest.mark.parametrize(("least", "most"), [(0, 1), (2, 1)])
def test_nonsense_is_a_programming_error(least, most):
    with pytest.raises(ValueError, match="frames"):
        fit_tape_frames(100, lambda frames: frames, least, most, 100)
