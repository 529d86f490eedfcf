"""Power cuts at every operation of a commit: the old model or the new one, whole."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from edgelearn.errors import BudgetExceeded, ModelFileError, UsageError
from edgelearn.firmware.image import CHECKED_FROM, HEADER, MAGIC, VERSION, encode_image
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from firmware_sim.flash import Flash, FlashConfig, FlashError, Operation
from firmware_sim.journal import Journal

SMALL = FlashConfig(page_bytes=128, unit_bytes=16)


class PowerCut(Exception):
    """The power fails now."""


def small_image(generation: int, size: int = 700) -> bytes:
    """An image as the journal sees it: a header that fits, and any contents."""
    contents = np.random.default_rng(generation).integers(0, 256, size, np.uint8).tobytes()
    rest = HEADER.pack(MAGIC, VERSION, HEADER.size + size, 0, generation, 0, 0, 0, 0)[CHECKED_FROM:] + contents
    return HEADER.pack(MAGIC, VERSION, HEADER.size + size, zlib.crc32(rest), generation, 0, 0, 0, 0) + contents


def filled(generations: int) -> tuple[Flash, Journal]:
    flash = Flash(16, SMALL)
    journal = Journal(flash)
    for generation in range(1, generations + 1):
        journal.commit(small_image(generation))
    return flash, journal


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_every_cut_of_a_commit_leaves_the_old_model_or_the_new_one(before: int) -> None:
    flash, journal = filled(before)
    old, new = small_image(before) if before else None, small_image(before + 1)
    rng = np.random.default_rng(0)
    found: list[bytes | None] = []

    def cut(flash: Flash, operation: Operation) -> None:
        for _ in flash.torn(operation, rng):
            found.append(Journal(flash).recover())

    flash.observe = cut
    journal.commit(new)
    operations = 8 + -(-len(new) // 16) + 1
    assert len(found) == 5 * operations
    assert set(found) == {old, new}
    assert found == sorted(found, key=lambda image: image == new)  # once new, always new
    assert sum(image == new for image in found) <= 5  # and only by the very last operation
    assert Journal(flash).recover() == new


def test_after_any_cut_the_next_commit_succeeds_on_what_was_found() -> None:
    operations = 8 + -(-len(small_image(3)) // 16) + 1
    rng = np.random.default_rng(1)
    survived = 0
    for stop in range(operations):
        for state in range(5):
            flash, journal = filled(2)
            begun = flash.operations

            def fail(flash: Flash, operation: Operation, cut: int = begun + stop, state: int = state) -> None:
                if flash.operations == cut:
                    for number, _ in enumerate(flash.torn(operation, rng)):
                        if number == state:
                            kept = flash.memory.copy()
                    flash.memory[:] = kept
                    flash.memory.setflags(write=False)
                    raise PowerCut

            flash.observe = fail
            with pytest.raises(PowerCut):
                journal.commit(small_image(3))
            flash.memory = flash.memory.copy()
            flash.observe = None
            again = Journal(flash)
            assert again.recover() in (small_image(2), small_image(3))
            again.commit(small_image(4))
            assert again.recover() == small_image(4)
            survived += 1
    assert survived == 5 * operations


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(BASE_MODEL)


@pytest.mark.slow
def test_every_cut_of_a_commit_of_the_shipped_model(model: Model) -> None:
    """The real image and 8 KiB pages: about 12,000 operations, each cut in five ways."""
    images = [encode_image(model, 0, generation) for generation in (1, 2, 3)]
    config = FlashConfig()
    flash = Flash(2 * (-(-(len(images[0]) + config.unit_bytes) // config.page_bytes)), config)
    journal = Journal(flash)
    journal.commit(images[0])
    journal.commit(images[1])
    rng, cuts = np.random.default_rng(0), 0

    def cut(flash: Flash, operation: Operation) -> None:
        nonlocal cuts
        for _ in flash.torn(operation, rng):
            assert Journal(flash).recover() in images[1:]
            cuts += 1

    flash.observe = cut
    journal.commit(images[2])
    assert cuts == 5 * (flash.pages // 2 + -(-len(images[2]) // config.unit_bytes) + 1)
    assert journal.recover() == images[2]


def test_generations_take_turns_and_wear_both_slots_alike() -> None:
    flash, journal = filled(9)
    assert journal.recover() == small_image(9)
    assert flash.wear.tolist() == [5] * 8 + [4] * 8
    operations = 9 * (8 + -(-len(small_image(1)) // 16) + 1)
    assert flash.operations == operations
    assert flash.busy_us == pytest.approx(9 * 8 * SMALL.erase_us + (operations - 72) * SMALL.program_us)
    assert flash.energy_uj == pytest.approx(9 * 8 * SMALL.erase_uj + (operations - 72) * SMALL.program_uj)


def test_what_is_refused() -> None:
    flash, journal = filled(2)
    assert Journal(Flash(16, SMALL)).recover() is None
    with pytest.raises(ModelFileError, match="not newer than 2"):
        journal.commit(small_image(2))
    with pytest.raises(BudgetExceeded, match="'flash' needs 2,036 bytes"):
        journal.commit(small_image(3, 2000))
    with pytest.raises(ModelFileError, match="damaged"):
        journal.commit(small_image(3)[:-1] + b"x")
    with pytest.raises(FlashError, match="programmed already"):
        flash.program(0, bytes(16))
    with pytest.raises(FlashError, match="no whole units"):
        flash.program(8, bytes(16))
    with pytest.raises(FlashError, match="outside"):
        flash.read(16 * 128, 1)
    with pytest.raises(FlashError, match="needs two pages"):
        Journal(Flash(1, SMALL))
    with pytest.raises(UsageError, match="no whole number"):
        FlashConfig(page_bytes=100)
    assert journal.recover() == small_image(2)


def test_a_worn_out_page_is_noticed_before_the_switch() -> None:
    flash, journal = filled(2)

    def stuck(flash: Flash, operation: Operation) -> None:
        if operation.kind == "program" and operation.at == 16:
            flash.memory[0] &= 0xFE

    flash.observe = stuck
    assert small_image(3)[0] & 1
    with pytest.raises(ModelFileError, match="did not keep"):
        journal.commit(small_image(3))
    assert journal.recover() == small_image(2)
