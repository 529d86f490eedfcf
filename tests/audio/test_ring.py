from __future__ import annotations

import os
from array import array
from collections.abc import Iterator

import pytest

from edgelearn.audio.ring import RING_BYTES, UNSAFE_SLOTS, BlockRing, new_memory

FRAMES = 320


@pytest.fixture
def ends() -> Iterator[tuple[BlockRing, BlockRing]]:
    """A writer and a reader, which map the same memory as two processes do."""
    memory = new_memory()
    writer, reader = BlockRing(memory, FRAMES), BlockRing(memory, FRAMES)
    yield writer, reader
    writer.close()
    reader.close()
    os.close(memory)


def block(number: int) -> array[int]:
    return array("h", [number] * FRAMES)


def write(ring: BlockRing, *numbers: int) -> None:
    for number in numbers:
        ring.write(number, memoryview(block(number)), False)


def test_blocks_come_out_as_they_went_in(ends: tuple[BlockRing, BlockRing]) -> None:
    writer, reader = ends
    extremes = array("h", [-32768, 32767, 0, -1] * (FRAMES // 4))
    writer.write(1, memoryview(extremes), False)
    writer.write(2, memoryview(extremes)[:7], True)
    assert reader.read(1) == (extremes.tobytes(), False)
    assert reader.read(2) == (extremes[:7].tobytes(), True)


def test_a_channel_of_several_is_copied_alone(ends: tuple[BlockRing, BlockRing]) -> None:
    writer, reader = ends
    interleaved = array("h", range(3 * FRAMES))
    writer.write(1, memoryview(interleaved)[1::3], False)
    assert reader.read(1) == (array("h", range(1, 3 * FRAMES, 3)).tobytes(), False)


def test_the_writer_overwrites_the_oldest_and_the_reader_can_tell(ends: tuple[BlockRing, BlockRing]) -> None:
    writer, reader = ends
    newest = reader.slots + 10
    write(writer, *range(1, newest + 1))
    assert [number for number in range(1, newest + 1) if reader.read(number) is not None] == list(range(11, newest + 1))
    assert reader.oldest(newest) == 11 + UNSAFE_SLOTS
    assert reader.oldest(5) == 1


def test_a_block_that_is_being_written_cannot_be_read(ends: tuple[BlockRing, BlockRing]) -> None:
    writer, reader = ends
    write(writer, 1)

    with pytest.raises((TypeError, ValueError)):
        writer.write(reader.slots + 1, memoryview(b"not int16"), False)  # its samples do not arrive
    assert reader.read(1) is None
    assert reader.read(reader.slots + 1) is None


@pytest.mark.parametrize("rate_hz", [8000, 44100, 192000])
def test_the_ring_holds_at_least_a_second_at_any_rate(rate_hz: int) -> None:
    memory = new_memory()
    assert os.fstat(memory).st_size == RING_BYTES
    ring = BlockRing(memory, rate_hz // 50)
    assert ring.slots - UNSAFE_SLOTS >= 50
    last = array("h", [7] * (rate_hz // 50))
    ring.write(ring.slots - 1, memoryview(last), False)  # the last slot lies within the memory
    assert ring.read(ring.slots - 1) == (last.tobytes(), False)
    ring.close()
    os.close(memory)
