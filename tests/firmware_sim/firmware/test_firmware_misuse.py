"""What a program may do out of order, and what may happen to it: given up, refused, years of sound, odd images."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.audio.surroundings import Surroundings
from edgelearn.firmware.golden import event_numbers
from edgelearn.learning.learner import LearnerConfig
from edgelearn.learning.takes import take_from_clip
from edgelearn.runtime.model import Model
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.voice import SHIPPED_WEIGHT
from tests.firmware_sim.firmware.board import BUSY, NOT_ENROLLED, NOT_SAVED, OK, Board, learned
from tests.firmware_sim.firmware.conftest import make_device

SHORT = LearnerConfig(steps=6, sweeps=3, many_takes=3, max_old_loss=1.0)
MOST_FRAMES = 1 << 30
"""Beyond which frames count from 0 again."""


def test_a_word_that_is_given_up_is_in_no_image_and_not_in_the_next_word(
    library: ctypes.CDLL, model: Model, takes: list[NDArray[np.int8]]
) -> None:
    device = make_device(model)
    plain = Board(library, model, device)
    plain.teach(plain.enrol(takes), SHORT, model.open_set_q14)
    wanted = plain.learned()
    board = Board(library, model, make_device(model))
    row = library.el_enrol_begin()
    assert library.el_enrol_take(row, takes[0].tobytes(), len(takes[0])) == OK
    assert board.save() == board.image
    assert library.el_image_bytes() == len(board.image)
    board = Board(library, model, make_device(model))
    before = board.learned()
    assert library.el_enrol_cancel(board.image, len(board.image)) == NOT_ENROLLED
    row = library.el_enrol_begin()
    for take in takes:
        assert library.el_enrol_take(row, take.tobytes()[::-1], len(take)) == OK
    assert library.el_enrol_cancel(board.image, len(board.image)) == OK
    assert board.learned() == before
    assert board.save() == board.image
    assert library.el_enrol_take(row, takes[0].tobytes(), len(takes[0])) == BUSY  # nothing is being enrolled
    assert board.teach(board.enrol(takes), SHORT, model.open_set_q14).status == OK
    assert board.learned() == wanted
    library.el_enrol_begin()  # a row more than the image has
    assert library.el_enrol_cancel(board.image, len(board.image)) == NOT_SAVED


def test_takes_of_a_word_that_is_given_up_are_dropped_with_the_next(
    library: ctypes.CDLL, model: Model, takes: list[NDArray[np.int8]]
) -> None:
    board = Board(library, model, make_device(model))
    row = library.el_enrol_begin()
    assert library.el_enrol_take(row, takes[0].tobytes(), len(takes[0])) == OK
    assert library.el_records_count(board.rehearsal, row) == 1
    assert board.enrol(takes[1:]) == row
    assert library.el_records_count(board.rehearsal, row) == 2
    record = (ctypes.c_int32 * 5)()
    (heard,) = np.frombuffer(board.region("classifier.directions.heard"), np.int32).reshape(-1, 2)[:1, 0]
    assert (heard, library.el_exemplar(0, record)) == (2, 1)


def test_nothing_else_begins_while_slices_are_left(
    library: ctypes.CDLL, model: Model, takes: list[NDArray[np.int8]]
) -> None:
    quiet = Board(library, model, make_device(model))
    quiet.teach(quiet.enrol(takes), SHORT, model.open_set_q14)
    wanted = quiet.learned()
    board = Board(library, model, make_device(model))
    row, take = board.enrol(takes), takes[0].tobytes()
    record = (ctypes.c_int32 * 5)()
    assert library.el_exemplar(0, record) == 1
    assert board.begin(row, SHORT, model.open_set_q14) == OK
    for _ in range(9):
        for _ in range(301):
            library.el_slice()
        assert library.el_enrol_begin() == -1
        assert library.el_enrol_more(row, 1) == BUSY
        assert library.el_enrol_take(row, take, len(takes[0])) == BUSY
        assert library.el_enrol_end(row) == BUSY
        assert library.el_enrol_cancel(board.image, len(board.image)) == BUSY
        assert library.el_embed(take, len(takes[0])) == BUSY
        assert library.el_learn_begin(record, 1, 3000) == BUSY
        assert board.begin(row, SHORT, model.open_set_q14) == BUSY
    assert library.el_slice() == 1
    while library.el_slice():
        pass
    assert board.learned() == wanted


def test_only_what_was_enrolled_can_be_taught(
    library: ctypes.CDLL, model: Model, takes: list[NDArray[np.int8]]
) -> None:
    board = Board(library, model, make_device(model))
    left = model.word("left").row
    before = board.learned()
    assert board.begin(left, SHORT, 0) == NOT_ENROLLED
    row = library.el_enrol_begin()
    assert library.el_enrol_take(row, takes[0].tobytes(), len(takes[0])) == OK
    assert library.el_enrol_take(left, takes[0].tobytes(), len(takes[0])) == BUSY
    assert library.el_enrol_end(left) == BUSY
    assert board.begin(row, SHORT, 0) == NOT_ENROLLED  # takes may come yet
    assert library.el_enrol_end(row) == OK
    assert board.begin(left, SHORT, 0) == NOT_ENROLLED
    result = library.t_lesson().contents
    assert (result.status, result.gained, result.old, result.threshold_q14) == (NOT_ENROLLED, 0, 0, 0)
    assert library.el_enrol_cancel(board.image, len(board.image)) == NOT_ENROLLED
    assert board.learned()[:3] == before[:3]


def test_after_eight_months_frames_count_from_0_again(
    library: ctypes.CDLL, model: Model, speech: NDArray[np.int16]
) -> None:
    """In the first pause: the words are those of a stream that begins there."""
    board = Board(library, model, make_device(model))
    board.hear_all(speech)
    wanted = board.events
    assert len(wanted) > 2
    board = Board(library, model, make_device(model))
    library.t_count_frames_from(MOST_FRAMES - 1)
    board.hear_all(speech)
    assert [(word, score, last + 1) for word, score, last, _ in board.events] == [
        (word, score, last) for word, score, last, _ in wanted
    ]
    assert library.t_frames() < len(speech)
    board = Board(library, model, make_device(model))
    library.t_count_frames_from(MOST_FRAMES - 40)  # in the first word, which is heard to its end
    board.hear_all(speech)
    assert [event[:2] for event in board.events] == [event[:2] for event in wanted]
    assert board.events[0][2] > MOST_FRAMES - 40 > board.events[-1][2]


def test_a_gap_is_the_same_gap(library: ctypes.CDLL, model: Model, speech: NDArray[np.int16]) -> None:
    for cut in (9_000, 17_000, 31_000):
        device = make_device(model)
        board = Board(library, model, device)
        expected = []
        for piece in (speech[:cut], speech[cut:], speech):
            board.hear_all(piece)
            expected += [event_numbers(device, event) for event in device.recognizer.push(piece)]
            library.el_gap()
            device.recognizer.gap()
        assert board.events == expected
        assert len(expected) > 4


@pytest.mark.parametrize("empty", [False, True])
def test_a_record_of_no_word_is_heard_as_no_word(library: ctypes.CDLL, model: Model, empty: bool) -> None:
    """Behind one whose frames are still where exemplars are decoded."""
    device, word = make_device(model), model.word("left")
    (path,) = RECORDINGS.glob("left_*.wav")
    take = take_from_clip(read_clip(path), device.frontend, model.endpoint, "left")
    noise = np.random.default_rng(0).integers(-30, 31, take.shape)
    device.memory.add(word.row, np.clip(take + noise, -128, 127).astype(np.int8))
    nothing = np.array([word.row, 0, 4, 0], np.uint8)
    records = device.memory.pack()
    taught = replace(model, rehearsal=np.concatenate((records, nothing)) if empty else records)
    device = make_device(taught)
    board = Board(library, taught, device)
    config = LearnerConfig(steps=0, sweeps=0, max_old_loss=1.0, agreement_q14=-16384)
    board.enrol([take], word.row, SHIPPED_WEIGHT)
    done = board.teach(word.row, config, word.threshold_q14)
    device.learner.enrol_more(word.row, [take], SHIPPED_WEIGHT)
    list(device.learner.teach(word.row, config))
    assert done.threshold_q14 == device.learner.threshold_q14(word.row, word.threshold_q14)
    assert board.learned() == learned(device)


def test_an_utterance_longer_than_the_ring_has_its_own_ends(library: ctypes.CDLL, model: Model) -> None:
    device = make_device(model)
    board = Board(library, model, device)
    rng = np.random.default_rng(1)
    around: Surroundings = model.endpoint.surroundings
    long = around.repeated(rng.integers(-90, 91, (114, 32)).astype(np.int8), 0, 0)
    assert len(long) > model.endpoint.most_frames
    assert library.el_embed(long.tobytes(), len(long)) == OK
    unit = device.hearing.embed(long)[0]
    assert board.region("classifier.embedding")[: unit.nbytes] == unit.tobytes()
