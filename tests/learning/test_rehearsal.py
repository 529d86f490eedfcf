"""The rehearsal memory: exact replays, bounded bytes, who gives way to whom, and files that are not whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgelearn.audio.surroundings import NOTHING_AROUND, Surroundings
from edgelearn.device.arena import Arena
from edgelearn.engine.network import LayerConfig, Network, NetworkConfig
from edgelearn.errors import BudgetExceeded, ModelFileError
from edgelearn.learning.rehearsal import HEADER_BYTES, RehearsalMemory, rehearsal_bytes
from tests.engine.engine_cases import random_params, random_walk

BANDS = 12
THETA = 19 << 7


def make(
    capacity: int = 2000, bands: int = BANDS, theta: int = THETA, around: Surroundings = NOTHING_AROUND
) -> RehearsalMemory:
    return RehearsalMemory(capacity, bands, theta, Arena(rehearsal_bytes(capacity, bands)), around=around)


def busy(frames: int, value: int = 100) -> np.ndarray:
    """Frames of which every band changes every time: 14 bytes each at 12 bands."""
    signs = np.where(np.arange(frames) % 2, 1, -1)[:, None]
    return (signs * np.full((1, BANDS), value)).astype(np.int8)


def rows_of(memory: RehearsalMemory) -> list[int]:
    return [record.row for record in memory.exemplars()]


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    bands=st.sampled_from([8, 12, 17, 32]),
    theta=st.sampled_from([0, 1, 127, 128, 129, THETA, 32767]),
    step=st.sampled_from([0.5, 12.0, 200.0]),
)
def test_replay_drives_the_network_through_the_same_states(seed: int, bands: int, theta: int, step: float) -> None:
    rng = np.random.default_rng(seed)
    config = NetworkConfig((LayerConfig(bands, 16, 5, theta, 300),))
    network = Network(config, Arena(1 << 16))
    network.load(random_params(config, rng))
    frames = random_walk(30, bands, rng, step)
    memory = make(4000, bands, theta)
    memory.add(3, frames)
    (record,) = memory.exemplars()
    replayed = memory.decode(record, np.full((40, bands), 77, np.int8))
    assert replayed.shape == frames.shape
    states, outputs = [], []
    for name, source in (("original", frames), ("replay", replayed)):
        states.append(network.new_state(name))
        outputs.append(np.zeros((30, 16), np.int16))
        network.forward(states[-1], source, hidden_out=outputs[-1])
    np.testing.assert_array_equal(*outputs)
    for original, replay in zip(states[0].layers[0], states[1].layers[0], strict=True):
        np.testing.assert_array_equal(original, replay)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    own=st.integers(1, 30),
    around=st.builds(Surroundings, st.integers(0, 9), st.integers(0, 9)),
    theta=st.sampled_from([0, 1, THETA]),
    noisy=st.booleans(),
)
def test_what_is_around_a_word_is_kept_where_it_is_sound(
    seed: int, own: int, around: Surroundings, theta: int, noisy: bool
) -> None:
    """The word itself is as if it were alone; what is around it differs by less than the threshold."""
    sound = random_walk(own + sum(around), BANDS, np.random.default_rng(seed))
    frames = around.of(sound, around.before, around.before + own, noisy)
    alone, whole = make(4000, theta=theta), make(4000, theta=theta, around=around)
    alone.add(3, around.own(frames))
    whole.add(3, frames)
    (record,) = whole.exemplars()
    replayed = whole.decode(record, np.full((60, BANDS), 77, np.int8))
    assert replayed.shape == frames.shape
    assert whole.frames == own
    assert record.surrounded == (noisy and sum(around) > 0 and len(around.sounding(frames)) > own)
    if not record.surrounded:
        np.testing.assert_array_equal(whole.pack(), alone.pack())
        assert len(around.sounding(replayed)) <= own
    np.testing.assert_array_equal(
        around.own(replayed), alone.decode(alone.exemplars()[0], np.zeros((60, BANDS), np.int8))
    )
    assert np.abs(replayed.astype(int) - frames).max() <= max(0, (theta - 1) >> 7)


def test_the_highest_bit_of_a_size_says_that_a_word_has_its_surroundings() -> None:
    memory = make(around=Surroundings(1, 1))
    frames = np.zeros((3, BANDS), np.int8)
    frames[:, 0] = 100, 50, 0
    memory.add(5, frames)
    assert memory.pack().tolist() == [5, 3, 13, 128, 1, 0, 100, 1, 0, 50, 1, 0, 0]
    memory.add(6, np.repeat(frames[1:2], 3, axis=0))
    assert memory.pack()[13:].tolist() == [6, 1, 7, 0, 1, 0, 50]
    surrounded, quiet = memory.exemplars()
    assert surrounded == (0, 13, 5, 3, True)
    assert quiet == (13, 7, 6, 3, False)
    assert memory.decode(quiet, np.zeros((9, BANDS), np.int8))[:, 0].tolist() == [50, 50, 50]


def test_of_what_is_too_short_to_have_a_word_nothing_is_kept() -> None:
    memory = make(around=Surroundings(2, 1))
    memory.add(5, busy(3))
    assert memory.exemplars() == [(0, HEADER_BYTES, 5, 0, False)]
    assert memory.pack().tolist() == [5, 0, HEADER_BYTES, 0]


def test_a_record_is_masks_and_changed_values() -> None:
    memory = make()
    frames = np.zeros((3, BANDS), np.int8)
    frames[0, [0, 9]] = -128, 19
    frames[1:, [0, 9]] = -110, 37
    frames[2, 1] = 127
    memory.add(5, frames)
    assert memory.pack().tolist() == [5, 3, 13, 0, 1, 2, 128, 19, 0, 0, 2, 0, 127]
    assert memory.used_bytes == 13


def test_only_the_first_255_frames_are_kept() -> None:
    memory = make(6000)
    memory.add(1, busy(300))
    (record,) = memory.exemplars()
    assert record.frames == 255
    assert record.size == HEADER_BYTES + 255 * 14
    np.testing.assert_array_equal(memory.decode(record, np.zeros((255, BANDS), np.int8)), busy(255))


@settings(deadline=None, max_examples=40)
@given(adds=st.lists(st.tuples(st.integers(0, 255), st.integers(1, 20)), max_size=30), capacity=st.integers(290, 900))
def test_bytes_stay_bounded_and_records_whole(adds: list[tuple[int, int]], capacity: int) -> None:
    arena = Arena(rehearsal_bytes(capacity, BANDS) + 64)
    memory = RehearsalMemory(capacity, BANDS, THETA, arena)
    behind = arena.alloc("behind.it", 32, np.uint8)
    for number, (row, frames) in enumerate(adds):
        memory.add(row, busy(frames, 40 + number))
        assert memory.used_bytes <= memory.capacity_bytes == capacity
        records = memory.exemplars()
        assert sum(record.size for record in records) == memory.used_bytes
        assert (records[-1].row, records[-1].frames) == (row, frames)
        newest = memory.decode(records[-1], np.zeros((20, BANDS), np.int8))
        np.testing.assert_array_equal(newest, busy(frames, 40 + number))
    assert not behind.any()


def test_the_oldest_record_of_the_best_represented_word_goes_first() -> None:
    memory = make(5 * (HEADER_BYTES + 140))
    for row, value in ((0, 50), (1, 51), (1, 52), (2, 53), (1, 54)):
        memory.add(row, busy(10, value))
    memory.add(3, busy(10, 60))
    assert rows_of(memory) == [0, 1, 2, 1, 3]
    kept = memory.exemplars()[1]
    assert memory.decode(kept, np.zeros((10, BANDS), np.int8))[1, 0] == 52


def test_the_newcomers_own_records_go_last() -> None:
    memory = make(6 * (HEADER_BYTES + 140))
    for row in (0, 0, 1, 9, 9, 9):
        memory.add(row, busy(10))
    memory.add(9, busy(10))  # it has the most, but 0 can spare one
    assert rows_of(memory) == [0, 1, 9, 9, 9, 9]
    memory.add(9, busy(10))  # all others are down to one
    assert rows_of(memory) == [0, 1, 9, 9, 9, 9]


def test_among_equals_the_lowest_row_goes() -> None:
    memory = make(4 * (HEADER_BYTES + 140))
    for row in (2, 0, 1, 2):
        memory.add(row, busy(10))
    memory.add(7, busy(10))
    assert rows_of(memory) == [0, 1, 2, 7]
    memory.add(0, busy(10))  # all have one
    assert rows_of(memory) == [1, 2, 7, 0]


def test_several_records_go_for_a_long_one() -> None:
    memory = make(4 * (HEADER_BYTES + 140))
    for row in (0, 1, 2, 3):
        memory.add(row, busy(10))
    memory.add(9, busy(25))
    assert rows_of(memory) == [3, 9]


def test_a_take_that_can_never_fit_is_an_error_about_the_budget() -> None:
    memory = make(200)
    with pytest.raises(BudgetExceeded, match="rehearsal") as caught:
        memory.add(0, busy(30))
    assert "larger budget" in caught.value.hint
    assert memory.used_bytes == 0


def test_a_take_that_can_never_fit_costs_no_other() -> None:
    memory = make(3 * (HEADER_BYTES + 3 * 14))
    for row in range(3):
        memory.add(row, busy(3))
    with pytest.raises(BudgetExceeded):
        memory.add(3, busy(12))
    assert rows_of(memory) == [0, 1, 2]


def test_a_removed_row_takes_its_records_along() -> None:
    memory = make()
    for row in (4, 1, 4, 5, 2):
        memory.add(row, busy(5, 50 + row))
    memory.remove_row(4)
    assert rows_of(memory) == [1, 4, 2]
    values = [memory.decode(r, np.zeros((5, BANDS), np.int8))[1, 0] for r in memory.exemplars()]
    assert values == [51, 55, 52]
    memory.remove_row(3)
    assert rows_of(memory) == [1, 3, 2]


def test_packed_records_come_back(rng: np.random.Generator) -> None:
    memory = make()
    assert len(memory.pack()) == 0
    for row in range(5):
        memory.add(row, random_walk(12, BANDS, rng, 30))
    packed = memory.pack()
    again = make()
    again.unpack(packed)
    assert again.exemplars() == memory.exemplars()
    np.testing.assert_array_equal(again.pack(), packed)
    again.unpack(np.zeros(0, np.uint8))
    assert again.exemplars() == []


def test_more_records_than_room_are_an_error_about_the_budget() -> None:
    memory = make()
    memory.add(0, busy(20))
    with pytest.raises(BudgetExceeded):
        make(100).unpack(memory.pack())


def test_records_that_are_cut_off_or_do_not_add_up_are_refused() -> None:
    memory = make()
    memory.add(0, busy(3))
    memory.add(1, busy(2))
    packed = memory.pack()
    first = memory.exemplars()[0].size
    fresh = make()
    fresh.unpack(packed)
    for length in range(1, len(packed)):
        if length != first:
            with pytest.raises(ModelFileError):
                make().unpack(packed[:length])
    for at, value in ((1, 4), (1, 2), (1, 255), (2, 0), (2, 3), (2, first + 1), (3, 1), (HEADER_BYTES, 0)):
        damaged = packed.copy()
        damaged[at] = value
        with pytest.raises(ModelFileError):
            fresh.unpack(damaged)
    np.testing.assert_array_equal(fresh.pack(), packed)


def test_a_record_longer_than_the_models_utterances_is_refused() -> None:
    memory = make()
    memory.add(0, busy(9))
    with pytest.raises(ModelFileError, match="9 frames"):
        memory.decode(memory.exemplars()[0], np.zeros((8, BANDS), np.int8))


@pytest.mark.parametrize(("capacity", "bands"), [(2000, 12), (1001, 9), (16384, 32)])
def test_the_byte_twin_equals_what_is_allocated(capacity: int, bands: int) -> None:
    arena = Arena(1 << 16)
    RehearsalMemory(capacity, bands, THETA, arena)
    assert arena.used_bytes == rehearsal_bytes(capacity, bands)
