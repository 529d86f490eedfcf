"""The arena: views of one block that never overlap, never exceed the budget, and sum to what the map says."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgelearn.device.arena import PADDING_PART, Arena, Mark, region_bytes
from edgelearn.errors import BudgetExceeded, UsageError

DTYPES = ("int8", "uint8", "int16", "int32", "int64", "float32", "float64", "bool")
REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["network", "state", "tape"]),
        st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple),
        st.sampled_from(DTYPES),
    ),
    max_size=12,
)


@given(REQUESTS)
def test_views_are_disjoint_aligned_and_sum_to_used(requests):
    arena = Arena(100_000)
    views = [arena.alloc(f"{part}.r{i}", shape, dtype) for i, (part, shape, dtype) in enumerate(requests)]
    for view, region, (_, shape, dtype) in zip(views, arena.regions, requests, strict=True):
        assert view.shape == region.shape == shape
        assert view.dtype == dtype == region.dtype
        assert view.nbytes == region.size_bytes
        assert region.offset % max(4, view.itemsize) == 0
        assert view.flags.c_contiguous
        assert view.flags.aligned
        assert not view.any()
    spans = [(r.offset, r.offset + r.size_bytes) for r in arena.regions]
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert sum(part.size_bytes for part in arena.parts()) == arena.used_bytes == arena.high_water_bytes
    assert sum(r.size_bytes + r.padding_bytes for r in arena.regions) == arena.used_bytes
    assert arena.used_bytes + arena.free_bytes == arena.budget_bytes


@given(REQUESTS)
def test_writing_to_one_view_leaves_the_others_alone(requests):
    arena = Arena(100_000)
    views = [arena.alloc(f"{part}.r{i}", shape, dtype) for i, (part, shape, dtype) in enumerate(requests)]
    for i, view in enumerate(views):
        view.fill(i % 2)
    assert all((view == i % 2).all() for i, view in enumerate(views))


def test_base_is_aligned_for_vector_loads():
    arena = Arena(1001)
    assert all(Arena(n).alloc("a.b", 1, np.int8).ctypes.data % 64 == 0 for n in (1, 7, 262_144))
    assert arena.budget_bytes == 1001


def test_the_last_bytes_of_an_odd_budget_are_usable():
    arena = Arena(1001)
    arena.alloc("a.all", 1001, np.int8)
    assert arena.free_bytes == 0
    assert arena.used_bytes == 1001


def test_budget_exceeded_names_region_sizes_and_what_would_fit():
    arena = Arena(1024)
    arena.alloc("network.weights", 1000, np.int8)
    with pytest.raises(BudgetExceeded) as caught:
        arena.alloc("tape.gates", (10, 4), np.int16)
    error = caught.value
    assert (error.region, error.asked_bytes, error.free_bytes, error.budget_bytes) == (
        "tape.gates",
        80,
        24,
        1024,
    )
    assert "1,080 bytes" in error.hint
    assert "12 elements" in error.hint
    assert "3 of 10 rows" in error.hint
    assert error.exit_code == 5
    assert Arena(1080).alloc("network.weights", 1000, np.int8).size == 1000


def test_what_the_hint_promises_does_fit():
    arena = Arena(100)
    arena.alloc("a.odd", 3, np.int8)
    with pytest.raises(BudgetExceeded, match=r"112 bytes; or at most 11 elements .* instead of 13"):
        arena.alloc("a.big", 13, np.int64)
    assert arena.used_bytes == 4, "a refused request takes nothing"
    arena.alloc("a.big", 11, np.int64)


def test_scope_gives_back_and_keeps_the_high_water_map():
    arena = Arena(4096)
    arena.alloc("network.w", 100, np.int32)
    with arena.scope("learning"):
        view = arena.alloc("tape.gates", 200, np.int16)
        view.fill(7)
        with arena.scope("gradient"):
            arena.alloc("gradients.g", 10, np.int64)
        assert arena.used_bytes == 800
    assert arena.used_bytes == 400
    assert arena.high_water_bytes == 880
    assert [r.scope for p in arena.parts(at_peak=True) for r in p.regions] == ["", "learning", "gradient"]
    assert sum(p.size_bytes for p in arena.parts(at_peak=True)) == 880
    assert not arena.alloc("tape.gates", 200, np.int16).any(), "reused bytes are zeroed again"


def test_scope_gives_back_after_an_error():
    arena = Arena(64)

    def learn():
        with arena.scope("learning"):
            arena.alloc("a.x", 60, np.int8)
            arena.alloc("a.y", 60, np.int8)

    with pytest.raises(BudgetExceeded):
        learn()
    assert arena.used_bytes == 0
    assert arena.high_water_bytes == 60


def test_release_of_a_stale_mark_is_refused():
    arena = Arena(64)
    with pytest.raises(ValueError, match="released before"):
        arena.release(Mark(used_bytes=8, regions=1))


@pytest.mark.parametrize(
    ("name", "shape", "dtype"), [("a.b", 1, np.int8), ("c.d", (-1, 2), np.int8), ("e.f", 1, object)]
)
def test_programming_errors_are_refused(name, shape, dtype):
    arena = Arena(64)
    arena.alloc("a.b", 1, np.int8)
    with pytest.raises(ValueError, match=name):
        arena.alloc(name, shape, dtype)


@pytest.mark.parametrize("budget", [0, -1, 2**62, 2**80])
def test_impossible_budget_is_a_usage_error(budget):
    with pytest.raises(UsageError, match="budget"):
        Arena(budget)


def test_report_shows_every_part_with_padding_apart():
    arena = Arena(1024)
    arena.alloc("network.layer0.bias", 3, np.int16)
    arena.alloc("network.layer1.bias", 2, np.int32)
    arena.alloc("state.c", (2, 2), np.int16)
    assert [(p.name, p.size_bytes) for p in arena.parts()] == [
        ("network", 14),
        ("state", 8),
        (PADDING_PART, 2),
    ]
    report = arena.report()
    for text in ("network.layer1.bias", "int16[2x2]", PADDING_PART, "used", "free", "high water", "1,024"):
        assert text in report


@given(st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple), st.sampled_from(DTYPES))
def test_region_bytes_is_what_alloc_uses(shape, dtype):
    arena = Arena(100_000)
    arena.alloc("a.b", shape, dtype)
    assert arena.used_bytes == region_bytes(shape, dtype)
