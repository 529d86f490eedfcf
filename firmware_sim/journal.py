"""Models in flash as generations: the new one is written beside the old, read back, and only then switched to.

Two slots of whole pages take turns. A slot holds an image (`edgelearn.firmware.image`) and, in the last unit of its
last page, a seal: generation, CRC-32 of the image, and a checksum of both. At power-on the newest slot counts whose
seal and image are whole. A seal is the last thing that is written and the first that is erased, so whatever a power cut
leaves behind, one whole generation is found: the old one until the seal is whole, the new one from then on.
"""

from __future__ import annotations

import struct
import zlib

from edgelearn.errors import BudgetExceeded, ModelFileError
from edgelearn.firmware.image import image_generation
from firmware_sim.flash import ERASED, Flash, FlashError

SEAL = struct.Struct("<III")
SLOTS = 2


class Journal:
    """The model store in `flash`, all of whose pages it owns."""

    def __init__(self, flash: Flash) -> None:
        if flash.config.unit_bytes < SEAL.size or flash.pages < SLOTS:
            raise FlashError("a journal needs two pages, and units that hold a seal")
        self._flash = flash
        self._slot_pages = flash.pages // SLOTS
        self._slot_bytes = self._slot_pages * flash.config.page_bytes

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the largest image that fits."""
        return self._slot_bytes - self._flash.config.unit_bytes

    def recover(self) -> bytes | None:
        """Return the image of the newest whole generation, None from a flash that never held one."""
        newest = max(range(SLOTS), key=self._generation)
        return self._image(newest) if self._generation(newest) >= 0 else None

    def commit(self, image: bytes) -> None:
        """Make an image the newest generation.

        Its generation must be above that of the one in flash. Raises ModelFileError for one that is not whole or not
        newer, or that did not read back as it was written, BudgetExceeded for one that does not fit a slot.
        """
        generation = image_generation(image)
        found = [self._generation(slot) for slot in range(SLOTS)]
        if generation <= max(found):
            raise ModelFileError(f"generation {generation} is not newer than {max(found)}, which is in flash")
        if len(image) > self.capacity_bytes:
            raise BudgetExceeded("flash", len(image), self.capacity_bytes, self.capacity_bytes, "a larger flash")
        slot = found.index(min(found))
        for page in reversed(range(self._slot_pages)):  # the seal goes first
            self._flash.erase(slot * self._slot_pages + page)
        unit = self._flash.config.unit_bytes
        self._flash.program(slot * self._slot_bytes, _padded(image, unit))
        if self._flash.read(slot * self._slot_bytes, len(image)) != image:
            raise ModelFileError("the flash did not keep what was written", "this page of the flash is worn out")
        crc = zlib.crc32(image)
        words = struct.pack("<II", generation, crc)
        self._flash.program(self._seal_at(slot), _padded(words + struct.pack("<I", zlib.crc32(words)), unit))

    def _seal_at(self, slot: int) -> int:
        return (slot + 1) * self._slot_bytes - self._flash.config.unit_bytes

    def _generation(self, slot: int) -> int:
        """Generation of a slot that is whole, -1 of any other."""
        return -1 if self._image(slot) is None else SEAL.unpack(self._flash.read(self._seal_at(slot), SEAL.size))[0]

    def _image(self, slot: int) -> bytes | None:
        sealed = self._flash.read(self._seal_at(slot), SEAL.size)
        generation, crc, check = SEAL.unpack(sealed)
        if zlib.crc32(sealed[:8]) != check:
            return None
        header = self._flash.read(slot * self._slot_bytes, min(64, self.capacity_bytes))
        size = int.from_bytes(header[8:12], "little")
        if size > self.capacity_bytes:
            return None
        image = self._flash.read(slot * self._slot_bytes, size)
        if zlib.crc32(image) != crc:
            return None
        try:
            return image if image_generation(image) == generation else None
        except ModelFileError:
            return None


def _padded(data: bytes, unit: int) -> bytes:
    return data + bytes([ERASED]) * (-len(data) % unit)
