"""Planning: boards that are large enough, tapes that fit."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelearn.device.arena import Arena
from edgelearn.device.board import load_board
from edgelearn.device.plan import (
    Choice,
    Limits,
    Plan,
    choose,
    exceeded,
    fit_board,
    largest,
    lay_out,
    needed_bytes,
    occupied_bytes,
)
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


WANTED = st.lists(
    st.tuples(
        st.lists(st.integers(0, 7), min_size=1, max_size=3).map(tuple),
        st.sampled_from((np.int8, np.uint16, np.int32, np.int64)),
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)
@given(WANTED, st.integers(0, 5))
def test_regions_are_laid_out_as_an_arena_cuts_them(wanted, spare):
    named = [(f"part{n % 3}.{n}", shape, dtype) for n, (shape, dtype) in enumerate(wanted)]
    needed = needed_bytes(named)
    arena = Arena(max(1, needed + spare))
    for name, shape, dtype in named:
        arena.alloc(name, shape, dtype)
    regions = lay_out(named, arena.budget_bytes)
    assert regions == arena.regions
    assert occupied_bytes(regions) == arena.used_bytes
    plan = Plan(arena.budget_bytes, Choice(1, 0, 0), regions)
    assert plan.free_bytes == arena.free_bytes >= 0
    assert plan.parts() == arena.parts()
    if needed > 1:
        small = Arena(needed - 1)
        with pytest.raises(BudgetExceeded) as caught:
            deque((small.alloc(*region) for region in named), maxlen=0)
        told = exceeded(lay_out(named, needed - 1), needed - 1, "")
        assert (told.region, told.asked_bytes, told.free_bytes) == (
            caught.value.region, caught.value.asked_bytes, caught.value.free_bytes
        )  # fmt: skip


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 40), st.integers(0, 40))
def test_the_largest_that_fits(limit, least, more):
    found = largest(least, least + more, lambda n: 3 * n <= limit)
    assert found == max((n for n in range(least, least + more + 1) if 3 * n <= limit), default=None)


def regions_of(choice):
    """100 bytes, the rehearsal memory, and a tape of 100 bytes a frame, or of 20 and 500 with checkpoints."""
    yield "all.fixed", (100,), np.int8
    yield "all.rehearsal", (choice.rehearsal_bytes,), np.int8
    frames = choice.tape_frames
    yield "all.tape", (20 * frames + 500 if choice.checkpoint_every else 100 * frames,), np.int8


@pytest.mark.parametrize(
    ("budget", "choice"),
    [(9_000, Choice(40, 0, 4096)), (8_196, Choice(40, 0, 4096)), (8_195, Choice(39, 0, 4096))],
)
def test_the_longest_tape_with_all_gates_comes_first(budget, choice):
    assert choose(regions_of, budget, Limits(8, 40, 4096, 1024)) == choice


def test_checkpoints_where_they_reach_a_quarter_further():
    limits = Limits(8, 40, 4096, 1024)
    assert choose(regions_of, 4196 + 1_500, limits) == Choice(40, 4, 4096), (
        "15 frames with all gates, 40 with checkpoints"
    )
    assert choose(regions_of, 4196 + 3_200, limits) == Choice(40, 4, 4096), "32 frames, and 40 are a quarter more"
    assert choose(regions_of, 4196 + 3_300, limits) == Choice(33, 0, 4096), "33 frames, and 40 are not"


def test_the_rehearsal_memory_gives_way_to_the_shortest_tape_only():
    limits = Limits(8, 40, 4096, 1024)
    assert choose(regions_of, 4196 + 660, limits) == Choice(8, 4, 4096)
    assert choose(regions_of, 4196 + 659, limits) == Choice(40, 4, 3072)
    assert choose(regions_of, 100 + 1024 + 660, limits) == Choice(8, 4, 1024)
    assert choose(regions_of, 100 + 1024 + 659, limits) is None
    assert list(Limits(8, 40, 2500, 1000).rehearsals()) == [2500, 1476, 1000]
    assert list(Limits(8, 40, 1000, 1000).rehearsals()) == [1000]


def test_choices_in_words():
    assert Choice(23, 0, 1).tape == "23 frames, all gates, gradients column by column"
    assert Choice(64, 8, 1).tape == "64 frames, checkpoints every 8, stored gradients"
