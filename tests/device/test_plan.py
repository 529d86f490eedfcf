"""Planning: sizes as people write them, boards that are large enough, tapes that fit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelearn.device.arena import Arena
from edgelearn.device.board import load_board
from edgelearn.device.plan import fit_board, fit_tape_frames, parse_size
from edgelearn.errors import BudgetExceeded, UsageError


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("262144", 262_144),
        ("256KiB", 262_144),
        ("256k", 262_144),
        ("256 kb", 262_144),
        (" 1MiB ", 1_048_576),
        ("1.5MiB", 1_572_864),
        ("0.5k", 512),
        ("1GiB", 2**30),
        ("17B", 17),
        ("1.1k", None),
        ("", None),
        ("0", None),
        ("0k", None),
        ("-1", None),
        ("1e6", None),
        ("256 Ki B", None),
        ("k", None),
        ("12 apples", None),
        ("1.2.3k", None),
        ("nan", None),
        ("٣k", None),
        ("9" * 5000, None),
    ],
)
def test_sizes(text, size):
    if size is None:
        with pytest.raises(UsageError) as caught:
            parse_size(text)
        assert "256KiB" in caught.value.hint
    else:
        assert parse_size(text) == size


@given(st.integers(1, 2**40))
def test_plain_bytes_come_back(size):
    assert parse_size(str(size)) == size
    assert parse_size(f"{size}KiB") == 1024 * size


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


@given(st.integers(-10, 10**6), st.integers(1, 5000), st.integers(1, 50))
def test_the_largest_tape_fits_and_one_frame_more_does_not(free, per_frame, minimum):
    if free < minimum * per_frame:
        with pytest.raises(BudgetExceeded) as caught:
            fit_tape_frames(free, per_frame, minimum)
        assert caught.value.asked_bytes == minimum * per_frame
    else:
        frames = fit_tape_frames(free, per_frame, minimum)
        assert frames >= minimum
        assert frames * per_frame <= free < (frames + 1) * per_frame


@pytest.mark.parametrize(("per_frame", "minimum"), [(0, 1), (1, 0)])
def test_nonsense_is_a_programming_error(per_frame, minimum):
    with pytest.raises(ValueError, match="frames"):
        fit_tape_frames(100, per_frame, minimum)
