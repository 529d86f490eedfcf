"""Lessons of the firmware in slices: for any interleaving with sound the same weights, and the words of that moment."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.errors import LearningRejected
from edgelearn.firmware.golden import event_numbers
from edgelearn.firmware.image import encode_image, shape_digest
from edgelearn.learning.learner import Check, LearnerConfig, TeachReport
from edgelearn.learning.takes import take_from_clip
from edgelearn.runtime.model import Model
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.voice import SHIPPED_WEIGHT, VoiceDevice
from tests.firmware_sim.firmware.board import NOT_SAVED, OK, REFUSED, WAITING, Board, learned
from tests.firmware_sim.firmware.conftest import make_device

SHORT = LearnerConfig(steps=6, sweeps=3, many_takes=3, max_old_loss=1.0)


@contextmanager
def watched(device: VoiceDevice, before_change: Callable[[], None]) -> Iterator[None]:
    """Call `before_change` whenever a lesson is about to change weights or prototypes."""
    inside = []

    def wrap(owner: object, name: str, follows: bool = False) -> None:
        call = getattr(owner, name)

        def watched(*args: Any, **options: Any) -> Any:
            if not inside and not follows:
                before_change()
            inside.append(name)
            result = call(*args, **options)
            inside.pop()
            device.recognizer.weights_changed()
            return result

        setattr(owner, name, watched)

    wrap(device.network, "update")
    wrap(device.network, "load")
    wrap(device.classifier, "set_row")
    wrap(device.classifier, "move_row")
    wrap(device.classifier, "load", follows=True)  # of the network's: both are one change
    yield
    for name in ("update", "load"):
        delattr(device.network, name)
    for name in ("set_row", "move_row", "load"):
        delattr(device.classifier, name)


def test_a_lesson_between_the_frames_of_an_utterance_is_the_same_lesson(
    library: ctypes.CDLL, model: Model, speech: NDArray[np.int16], takes: list[NDArray[np.int8]],
) -> None:  # fmt: skip
    """Weights change while utterances are under way, in their own voice and in others: both go on to their end."""
    config = LearnerConfig(steps=20, sweeps=20, many_takes=3, max_old_loss=1.0)
    quiet = Board(library, model, make_device(model))
    quiet.teach(quiet.enrol(takes), config, model.open_set_q14)
    wanted = quiet.learned()
    board = Board(library, model, make_device(model))
    assert board.begin(board.enrol(takes), config, model.open_set_q14) == OK
    at, learning, most_waiting = 0, True, 0
    while learning or at < len(speech):
        at += board.hear(speech[at : at + 160])
        board.listen(2)
        most_waiting = max(most_waiting, library.t_waiting())
        for _ in range(6):
            learning = learning and bool(library.el_slice())
    board.listen()
    assert most_waiting > 8
    assert board.learned() == wanted
    assert len(board.events) > 1


@pytest.mark.parametrize(("seed", "most_slices", "gained"), [(0, 120, True), (1, 300, True), (2, 150, False)])
def test_any_interleaving_with_sound_gives_the_same_weights_and_words(
    library: ctypes.CDLL, model: Model, speech: NDArray[np.int16], takes: list[NDArray[np.int8]],
    schedules: dict[bool, tuple[int, int]], seed: int, most_slices: int, gained: bool,
) -> None:  # fmt: skip
    device, rng = make_device(model), np.random.default_rng(seed)
    board = Board(library, model, device)
    row = board.enrol(takes)
    steps, sweeps = schedules[gained]
    config = LearnerConfig(steps=steps, sweeps=sweeps, many_takes=3, max_old_loss=1.0)
    assert board.begin(row, config, model.open_set_q14) == OK
    started, at, most_waiting = library.t_changes(), 0, 0
    heard_at: dict[int, int] = {}  # how often the model had changed: frames that were listened to by then
    learning = True
    while learning:
        for _ in range(int(rng.integers(1, most_slices))):
            learning = learning and bool(library.el_slice())
        for _ in range(int(rng.integers(1, 2 + most_slices // 20))):
            at += board.hear(speech[at : at + int(rng.integers(1, 700))])
            if not library.t_changing():
                board.listen()
        waiting = library.t_waiting()
        board.listen()
        most_waiting = max(most_waiting, library.t_waiting())
        if not library.t_changing():
            assert library.t_waiting() == 0
            heard_at[library.t_changes() - started] = library.t_frames()
        else:
            assert library.t_waiting() == waiting
    while_learning = len(board.events)
    board.hear_all(speech[at:])
    assert most_waiting > 0

    twin_row = device.learner.enrol(takes)
    device.recognizer.weights_changed()
    events: list[Event] = []
    done, changes = 0, 0
    frame, hop = model.frontend.frame, model.frontend.hop

    def hear(frames: int) -> None:
        nonlocal done
        until = max(done, frame + hop * (frames - 1) if frames else 0)
        events.extend(device.recognizer.push(speech[done:until]))
        done = until

    def before_change() -> None:
        nonlocal changes
        hear(heard_at.get(changes, 0))
        changes += 1

    with watched(device, before_change):
        report = list(device.learner.teach(twin_row, config))[-1]
    hear(max(heard_at.values()))
    assert changes == library.t_changes() - started
    assert len(events) == while_learning > 1
    events += device.recognizer.push(speech[done:])
    assert board.events == [event_numbers(device, event) for event in events]
    assert board.learned() == learned(device)
    assert library.t_lesson().contents.gained == report.gained == gained


def test_while_weights_are_half_changed_frames_wait_and_then_no_more_are_taken(
    library: ctypes.CDLL, model: Model, speech: NDArray[np.int16]
) -> None:
    board = Board(library, model, make_device(model))
    record = (ctypes.c_int32 * 5)()
    assert library.el_exemplar(0, record) == 1
    library.el_learn_begin(record, 1, 30)
    while not library.t_changing():
        assert library.el_slice() == 1
    at = 0
    while taken := board.hear(speech[at : at + 320]):
        at += taken
    assert library.t_waiting() == WAITING
    board.listen()
    assert (library.t_waiting(), library.t_frames()) == (WAITING, 0)
    while library.el_slice():
        pass
    board.listen()
    assert (library.t_waiting(), library.t_frames()) == (0, WAITING)
    assert board.hear(speech[at : at + 320]) > 0


def test_sound_that_is_missing_while_frames_wait_is_missing_there(
    library: ctypes.CDLL, model: Model, speech: NDArray[np.int16]
) -> None:
    """A gap behind frames that wait is where it would be if they had been listened to at once."""
    cut = 20_000
    heard = []
    for wait in (False, True):
        board = Board(library, model, make_device(model))
        for start, stop in ((0, cut), (cut, len(speech))):
            samples = speech[start:stop]
            while len(samples):
                samples = samples[board.hear(samples) :]
                if not wait or library.t_waiting() == WAITING:
                    board.listen()
            library.el_gap()
        board.listen()
        heard.append(board.events)
    assert heard[0] == heard[1]
    assert len(heard[0]) > 1


def test_lessons_one_after_the_other_are_those_of_the_device_in_python(
    library: ctypes.CDLL, model: Model, speech: NDArray[np.int16], takes: list[NDArray[np.int8]]
) -> None:
    """Words of clear, few and noisy takes, more takes of one of them: with what `VoiceDevice` does around a lesson.

    Two words are noisy. One of these has so many takes that its directions have a say: no sweeps are made for it, and
    the memory has two takes left of all others.
    """
    device = make_device(model)
    board = Board(library, model, device)
    loose = LearnerConfig(steps=6, sweeps=3, many_takes=3, max_old_loss=1.0, agreement_q14=-16384)
    backwards = [np.ascontiguousarray(take[::-1]) for take in takes]
    noisy = [np.maximum(take, 20) for take in takes]
    lessons = [
        ("computer", takes), ("retupmoc", backwards[:2]), ("puter", [take[12:] for take in takes]), ("noisy", noisy),
        ("noisier", [*noisy[::-1], *noisy]),
    ]  # fmt: skip
    for name, mine in lessons:
        report = list(device.teach(name, mine, loose))[-1]
        row = board.enrol(mine)
        done = board.teach(row, loose, model.open_set_q14)
        assert (done.gained, done.steps, done.left_out) == (report.gained, report.updates, report.truncated_frames)
        assert done.steps == (loose.steps if name in ("computer", "puter") else 0)
        assert done.sweeps == (0 if name == "noisier" else loose.sweeps)
        assert done.threshold_q14 == device.model().word(name).threshold_q14
        assert done.old_after == round(report.old_after * done.old)
        assert library.el_add_word(row, done.threshold_q14) == OK
        assert board.learned() == learned(device)
        board.image = board.save()
    known = device.model().word("retupmoc")
    report = list(device.confirm("retupmoc", backwards[2], loose))[-1]
    board.enrol(backwards[2:], known.row, known.takes)
    done = board.teach(known.row, loose, model.open_set_q14)
    assert done.gained == report.gained
    assert board.learned() == learned(device)
    place = [word.name for word in device.model().words].index("retupmoc")
    threshold = device.model().word("retupmoc").threshold_q14
    assert threshold == min(done.threshold_q14, known.threshold_q14)
    library.t_words(place, threshold)
    device.recognizer.reset()
    library.el_reset()
    board.hear_all(speech)
    assert board.events == [event_numbers(device, event) for event in device.recognizer.push(speech)]
    assert len(board.events) > 2


@pytest.mark.parametrize("steps", [0, 12])
@pytest.mark.parametrize("name", ["bed", "left", "up"])
def test_a_shipped_word_that_is_confirmed_changes_what_all_rows_are_near_to(
    library: ctypes.CDLL, model: Model, name: str, steps: int
) -> None:
    device = make_device(model)
    board, word = Board(library, model, device), model.word(name)
    (path,) = RECORDINGS.glob(f"{name}_*.wav")
    take = take_from_clip(read_clip(path), device.frontend, model.endpoint, name)
    config = LearnerConfig(steps=steps, least_takes=1, max_old_loss=1.0)
    report = list(device.confirm(name, take, config))[-1]
    board.enrol([take], word.row, SHIPPED_WEIGHT)
    done = board.teach(word.row, config, word.threshold_q14)
    assert (done.gained, done.steps) == (report.gained, steps)
    assert board.learned() == learned(device)
    rows = device.classifier.rows
    assert board.region("classifier.nearness")[: 4 * rows] == device.classifier._near_q14[:rows].tobytes()
    assert min(done.threshold_q14, word.threshold_q14) == device.model().word(name).threshold_q14
    fresh = make_device(device.model())
    np.testing.assert_array_equal(fresh.classifier._near_q14, device.classifier._near_q14)


def test_a_word_of_many_takes_is_heard_by_their_directions(
    library: ctypes.CDLL, model: Model, speech: NDArray[np.int16], takes: list[NDArray[np.int8]]
) -> None:
    """A word that is confirmed again and again, and saved and loaded on the way: the same integers after every take."""
    device = make_device(model)
    board = Board(library, model, device)
    quick = LearnerConfig(steps=0, sweeps=0, max_old_loss=1.0, agreement_q14=-16384)
    rng = np.random.default_rng(2)
    noisy = [np.clip(takes[n % 3] + rng.integers(-20, 21, takes[n % 3].shape), -128, 127) for n in range(12)]
    mine = [take.astype(np.int8) for take in noisy]
    list(device.teach("computer", mine[:2], quick))
    row = board.enrol(mine[:2])
    assert library.el_add_word(row, board.teach(row, quick, model.open_set_q14).threshold_q14) == OK
    for number, take in enumerate(mine[2:]):
        board.image = board.save()
        assert library.el_load(board.image, len(board.image)) == OK
        known = device.model().word("computer")
        list(device.confirm("computer", take, quick))
        board.enrol([take], row, known.takes)
        done = board.teach(row, quick, known.threshold_q14)
        threshold = device.model().word("computer").threshold_q14
        assert min(done.threshold_q14, known.threshold_q14) == threshold
        library.t_words([word.name for word in device.model().words].index("computer"), threshold)
        assert board.learned() == learned(device)
        (heard,) = device.model().directions.heard
        assert heard[0] == 3 + number
        unit, _ = device.hearing.embed(takes[0][6:])
        library.t_cosines(unit.ctypes.data_as(ctypes.c_void_p))
        cosines = device.classifier.cosines(unit)
        assert board.region("classifier.cosines")[: cosines.nbytes] == cosines.tobytes()
    assert board.save() == encode_image(device.model(), shape_digest(model, device.classifier.config.taught_rows), 1)
    device.recognizer.reset()
    library.el_reset()
    board.hear_all(speech)
    assert board.events == [event_numbers(device, event) for event in device.recognizer.push(speech)]


def test_a_lesson_that_is_refused_leaves_the_model_that_is_in_flash(
    library: ctypes.CDLL, model: Model, takes: list[NDArray[np.int8]]
) -> None:
    """Steps that are far too long cost the old words what they were known by."""
    device = make_device(model)
    board = Board(library, model, device)
    rough = LearnerConfig(20, 1 << 20, sweeps=2, many_takes=3, agreement_q14=-16384)
    before = board.learned()
    done = board.teach(board.enrol(takes), rough, model.open_set_q14)
    found: list[tuple[int, int]] = []
    check = device.learner.check

    def watched(row: int, report: TeachReport) -> Check:
        one = check(row, report)
        found.append((one.right, one.old))
        return one

    device.learner.check = watched  # type: ignore[method-assign]
    with pytest.raises(LearningRejected):
        list(device.teach("computer", takes, rough))
    assert (done.status, done.gained, done.threshold_q14) == (REFUSED, 0, 0)
    assert [(done.old_before, done.old), (done.old_after, done.old)] == found
    after = board.learned()
    assert after[:3] == before[:3]
    assert after[3] == before[3]
    assert after[4] == before[4]
    assert after[5][: len(model.rehearsal)] == model.rehearsal.tobytes()
    assert board.save() == board.image


def test_a_lesson_needs_the_model_in_flash_to_be_the_one_at_work(
    library: ctypes.CDLL, model: Model, takes: list[NDArray[np.int8]]
) -> None:
    board = Board(library, model, make_device(model))
    row = board.enrol(takes)
    record = (ctypes.c_int32 * 5)()
    assert library.el_exemplar(0, record) == 1
    library.el_learn_begin(record, 1, 3000)
    while library.el_slice():
        pass
    assert board.teach(row, SHORT, 0).status == NOT_SAVED
    board = Board(library, model, make_device(model))
    board.enrol(takes)
    assert board.begin(board.enrol(takes), SHORT, 0) == NOT_SAVED  # the word before it was not saved
    board = Board(library, model, make_device(model))
    known = LearnerConfig(steps=0, sweeps=0, max_old_loss=1.0)
    left, right = (model.word(name) for name in ("left", "right"))
    board.enrol(takes[:1], left.row, SHIPPED_WEIGHT)
    assert board.teach(left.row, known, left.threshold_q14).status == OK
    board.enrol(takes[1:2], right.row, SHIPPED_WEIGHT)  # a lesson that is put back would put back that of "left", too
    assert board.teach(right.row, known, right.threshold_q14).status == NOT_SAVED
