"""A bounded ring of blocks of sound in shared memory: one process writes, another reads, and neither waits."""

from __future__ import annotations

import mmap
import os
import struct
import sys
import tempfile

SLOT_HEADER = struct.Struct("=QII")  # sequence number (0 while the slot is written), frames, sound was lost before it
RING_BYTES = 250 * (SLOT_HEADER.size + 2 * 960)  # 5 s at 48 kHz: longer than any pause of a program that is not a fault
# a slot this close to being written again is not read any more
UNSAFE_SLOTS = 4


def new_memory() -> int:
    """Return a descriptor of RING_BYTES of shared memory without a name, which is gone with the last process."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("edgelearn-microphone")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, RING_BYTES)
    return descriptor


class BlockRing:
    """Blocks of up to `block_frames` int16 samples, numbered from 1, in the memory behind a descriptor.

    The writer never waits: it takes the place of the oldest block.  The reader may ask for those blocks only that it
    knows to be written.
    """

    def __init__(self, descriptor: int, block_frames: int) -> None:
        self._memory = mmap.mmap(descriptor, RING_BYTES)
        self._bytes = memoryview(self._memory)
        self._slot_bytes = SLOT_HEADER.size + 2 * block_frames
        self.slots = RING_BYTES // self._slot_bytes

    def write(self, number: int, samples: memoryview, lost: bool) -> None:
        """Store block `number` (int16 samples, of any stride); lost: whether sound is missing before it."""
        at = number % self.slots * self._slot_bytes
        begin = at + SLOT_HEADER.size
        SLOT_HEADER.pack_into(self._bytes, at, 0, 0, 0)
        self._bytes[begin : begin + 2 * len(samples)].cast("h")[:] = samples
        SLOT_HEADER.pack_into(self._bytes, at, number, len(samples), lost)

    def read(self, number: int) -> tuple[bytes, bool] | None:
        """Return the samples of block `number` and whether sound was lost before it; None if it was overwritten."""
        at = number % self.slots * self._slot_bytes
        _, frames, lost = SLOT_HEADER.unpack_from(self._bytes, at)
        begin = at + SLOT_HEADER.size
        samples = bytes(self._bytes[begin : begin + 2 * frames])
        # looked at after the copy: the writer clears the number before it touches the samples
        return (samples, bool(lost)) if SLOT_HEADER.unpack_from(self._bytes, at)[0] == number else None

    def oldest(self, newest: int) -> int:
        """Return the oldest block that can safely be read when `newest` is the last one written."""
        return max(1, newest - self.slots + 1 + UNSAFE_SLOTS)

    def close(self) -> None:
        """Unmap the memory."""
        self._bytes.release()
        self._memory.close()
