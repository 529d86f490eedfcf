"""The rehearsal memory: examples of every word, bounded in bytes, kept as the delta stream that the network would see.

The first layer only ever sees the transmitted values x^, so an utterance is stored as, for each frame, a bit mask of
the active bands and their new values (int8).  What its own voice hears begins anew, as the network does: replaying it
drives the network, in its own voice, through exactly the same states as the features it was made from, at the occupancy
of the input instead of its full size; at the shipped threshold that is about a third.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.surroundings import NOTHING_AROUND, Surroundings
from edgelearn.device.arena import Arena
from edgelearn.errors import BudgetExceeded, ModelFileError
from edgelearn.jit import kernel

HEADER_BYTES = 4  # row, frames, and 16 bits, little endian: the size of the record, and WITH_SURROUNDINGS
WITH_SURROUNDINGS = 1 << 15  # set where the record also has what other voices hear around the word


@kernel
def encode_deltas(frames: Any, begin: int, theta_x_q13: int, hat: Any, out: Any) -> Any:
    """Write frames (int8 [T, N], Q6) as masks and new values to out (uint8), and return their bytes.

    x^ is 0 before the first frame, and before frame `begin`. An `out` of no bytes is not written to; any other one has
    room for all. hat int8 [N] is scratch; activity is that of the first layer: |x - x^| >= theta in Q13, with
    x = x8 * 2^7.
    """
    bands = frames.shape[1]
    mask_bytes = (bands + 7) // 8
    writes = out.shape[0] > 0
    at = 0
    for t in range(frames.shape[0]):
        if t == 0 or t == begin:
            for b in range(bands):
                hat[b] = 0
        mask_at = at
        at += mask_bytes
        if writes:
            out[mask_at:at] = 0
        for b in range(bands):
            delta = np.int32(frames[t, b]) - np.int32(hat[b])
            if abs(delta) << 7 >= theta_x_q13:
                hat[b] = frames[t, b]
                if writes:
                    out[mask_at + b // 8] |= np.uint8(1 << (b % 8))
                    out[at] = np.uint8(np.int32(frames[t, b]) & 255)
                at += 1
    return at


@kernel
def decode_deltas(data: Any, count: int, begin: int, frames: Any) -> None:
    """Write `count` frames of transmitted values x^ (int8 [>= count, N], Q6) of `encode_deltas` from `data`."""
    bands = frames.shape[1]
    mask_bytes = (bands + 7) // 8
    at = 0
    for t in range(count):
        mask_at = at
        at += mask_bytes
        for b in range(bands):
            if data[mask_at + b // 8] & np.uint8(1 << (b % 8)):
                frames[t, b] = np.int8(data[at])
                at += 1
            elif t > 0 and t != begin:
                frames[t, b] = frames[t - 1, b]
            else:
                frames[t, b] = 0


@kernel
def whole_records(records: Any, bands: int) -> bool:
    """Return whether `records` (uint8) is a sequence of records as `encode_deltas` makes them, headers included."""
    mask_bytes = (bands + 7) // 8
    at = 0
    while at < records.shape[0]:
        if at + HEADER_BYTES > records.shape[0]:
            return False
        end = at + np.int64(records[at + 2]) + (np.int64(records[at + 3] & 127) << 8)
        frames = records[at + 1]
        at += HEADER_BYTES
        if end > records.shape[0]:
            return False
        for _ in range(frames):
            mask_at = at
            at += mask_bytes
            if at > end:
                return False
            for b in range(bands):
                if (records[mask_at + b // 8] >> (b % 8)) & 1:
                    at += 1
        if at != end:
            return False
    return True


class Exemplar(NamedTuple):
    """A record of the memory: offset and size in bytes (with its header), the row of its word, how many frames.

    surrounded: whether it has what is around the word; else that is made of its first and its last frame.
    """

    offset: int
    size: int
    row: int
    frames: int
    surrounded: bool


def exemplars_in(records: NDArray[np.uint8], around: Surroundings) -> list[Exemplar]:
    """Return what the headers of records say, in their order; around: what each utterance has around it."""
    found, at = [], 0
    while at + HEADER_BYTES <= len(records):
        row, frames, low, high = map(int, records[at : at + HEADER_BYTES])
        size, surrounded = (low | high << 8) % WITH_SURROUNDINGS, (high << 8) >= WITH_SURROUNDINGS
        lacking = 0 if surrounded or frames == 0 else sum(around)
        found.append(Exemplar(at, size, row, frames + lacking, surrounded))
        at += max(size, HEADER_BYTES)  # nobody may have looked yet whether they are whole
    return found


def rehearsal_bytes(capacity_bytes: int, bands: int) -> int:
    """Return the arena bytes of a `RehearsalMemory` of `capacity_bytes`."""
    return -(-capacity_bytes // 4) * 4 + -(-bands // 4) * 4 + 4


class RehearsalMemory:
    """Utterances of all words within `capacity_bytes` of the arena, packed without holes in order of arrival.

    around: what each of them has around it.
    """

    def __init__(
        self, capacity_bytes: int, bands: int, theta_x_q13: int, arena: Arena, name: str = "rehearsal",
        around: Surroundings = NOTHING_AROUND,
    ) -> None:  # fmt: skip
        self.theta_x_q13, self.around = theta_x_q13, around
        self._bytes = arena.alloc(f"{name}.records", capacity_bytes, np.uint8)
        self._hat = arena.alloc(f"{name}.hat", bands, np.int8)
        self._used = arena.alloc(f"{name}.used", 1, np.int32)

    @classmethod
    def apart(cls, capacity_bytes: int, bands: int, theta_x_q13: int, around: Surroundings) -> RehearsalMemory:
        """Return one in an arena of its own, for records that are no part of a device."""
        return cls(capacity_bytes, bands, theta_x_q13, Arena(rehearsal_bytes(capacity_bytes, bands)), around=around)

    @property
    def used_bytes(self) -> int:
        """Bytes taken by records."""
        return int(self._used[0])

    @property
    def capacity_bytes(self) -> int:
        """Bytes that records may take."""
        return len(self._bytes)

    @property
    def frames(self) -> int:
        """Frames that their own voices hear of all exemplars together."""
        return sum(max(0, record.frames - sum(self.around)) for record in self.exemplars())

    def exemplars(self) -> list[Exemplar]:
        """Return all records in order of arrival."""
        return exemplars_in(self._bytes[: self.used_bytes], self.around)

    def decode(self, exemplar: Exemplar, frames: NDArray[np.int8]) -> NDArray[np.int8]:
        """Write the transmitted values of a record into `frames` (int8 Q6, [>= its frames, bands]) and return them.

        Raises ModelFileError for a record of more frames than that.
        """
        if exemplar.frames > len(frames):
            raise ModelFileError(f"an utterance of {exemplar.frames} frames in a model for {len(frames)} frames")
        data, frames = self._bytes[exemplar.offset + HEADER_BYTES :], frames[: exemplar.frames]
        if exemplar.surrounded:
            decode_deltas(data, len(frames), self.around.before, frames)
        elif len(frames):
            own = self.around.own(frames)
            decode_deltas(data, len(own), 0, own)
            frames[: self.around.before] = own[0]
            frames[self.around.before + len(own) :] = own[-1]
        return frames

    def add(self, row: int, frames: NDArray[np.int8]) -> None:
        """Store an utterance (int8 Q6, [T, bands], of which 255 frames) of the word at `row` (0..255).

        Records of the best represented words are dropped for it; raises BudgetExceeded, and drops none, if it would not
        fit even so.
        """
        frames, own = frames[:255], self.around.own(frames[:255])
        surrounded = 0 < len(own) < len(self.around.sounding(frames))
        kept, begin = (frames, self.around.before) if surrounded else (own, 0)
        total = HEADER_BYTES + int(encode_deltas(kept, begin, self.theta_x_q13, self._hat, self._bytes[:0]))
        if total > self.capacity_bytes:
            raise BudgetExceeded(
                "rehearsal.records", total, self.capacity_bytes, self.capacity_bytes,
                "a single take does not fit the rehearsal memory: give the device a larger budget",
            )  # fmt: skip
        while self.used_bytes + total > self.capacity_bytes:
            self._drop_one(row)
        record = self._bytes[self.used_bytes : self.used_bytes + total]
        size = total | WITH_SURROUNDINGS if surrounded else total
        record[:HEADER_BYTES] = row, len(kept), size & 255, size >> 8
        encode_deltas(kept, begin, self.theta_x_q13, self._hat, record[HEADER_BYTES:])
        self._used[0] += total

    def _drop_one(self, newcomer: int) -> None:
        """Drop the oldest record of the best represented word; the newcomer's only when all others are down to one.

        Among equals it is the lowest row, so that base words give way to taught ones.
        """
        records = self.exemplars()
        counts = Counter(record.row for record in records)
        most = max(counts, key=lambda row: (row != newcomer and counts[row] > 1, counts[row], -row))
        self._cut(next(record for record in records if record.row == most))

    def _cut(self, record: Exemplar) -> None:
        end = record.offset + record.size
        self._bytes[record.offset : self.used_bytes - record.size] = self._bytes[end : self.used_bytes].copy()
        self._used[0] -= record.size

    def remove_row(self, row: int) -> None:
        """Drop all records of `row` and let the rows above it move down by one, as the prototypes do."""
        for record in reversed([r for r in self.exemplars() if r.row == row]):
            self._cut(record)
        for record in self.exemplars():
            if record.row > row:
                self._bytes[record.offset] -= 1

    def pack(self) -> NDArray[np.uint8]:
        """Return a copy of all records, for the model file."""
        packed: NDArray[np.uint8] = self._bytes[: self.used_bytes].copy()
        return packed

    def unpack(self, records: NDArray[np.uint8]) -> None:
        """Take over the records of a model file; raises as `check` does."""
        self.check(records)
        self._bytes[: len(records)] = records
        self._used[0] = len(records)

    def check(self, records: NDArray[np.uint8], rows: int = 256) -> None:
        """Raise what forbids to take over records of words at so many rows.

        That is BudgetExceeded if they need more than the capacity, ModelFileError if they are not whole records, or
        records of a word that is not there.
        """
        if len(records) > self.capacity_bytes:
            raise BudgetExceeded(
                "rehearsal.records", len(records), self.capacity_bytes, self.capacity_bytes,
                "give the device a larger budget, or remove words from the model",
            )  # fmt: skip
        if not whole_records(records, len(self._hat)):
            raise ModelFileError("the rehearsal memory is not made of whole records", "go back with `edgelearn undo`")
        if any(record.row >= rows for record in exemplars_in(records, self.around)):
            raise ModelFileError(
                "the rehearsal memory has takes of a word that is not there", "go back with `edgelearn undo`"
            )
