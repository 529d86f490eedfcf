"""The device as a whole: its bytes and its budget, teaching and putting back, removing words."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.audio.endpoint import find_utterance
from edgelearn.engine.counts import Counts
from edgelearn.errors import BudgetExceeded, LearningRejected, ModelFileError, TakeRejected, UsageError
from edgelearn.learning.learner import Check, Learner, LearnerConfig
from edgelearn.learning.takes import take_from_clip
from edgelearn.runtime.model import Model
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.voice import (
    LEAST_TAPE_FRAMES,
    MOST_TAPE_FRAMES,
    TAUGHT_ROWS,
    VoiceDevice,
    device_bytes,
    sufficient_budget,
)

KIB = 1024
Takes = list[NDArray[np.int8]]
SHORT = LearnerConfig(steps=6, max_old_loss=1.0)


def digest(device: VoiceDevice) -> str:
    """What a device would save, but for the day that a word was added on."""
    model = device.model()
    arrays = [*model.params.values(), model.prototypes, model.rehearsal]
    words = [replace(word, added="") for word in model.words]
    parts = [array.tobytes() for array in arrays] + [repr((words, model.history)).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


@pytest.mark.parametrize("budget", [256 * KIB, 300 * KIB, 300_001, KIB * KIB])
def test_every_byte_is_accounted_for(model: Model, budget: int) -> None:
    device = VoiceDevice(model, budget)
    arena, frames = device.arena, device.tape.capacity_frames
    assert sum(part.size_bytes for part in arena.parts()) == arena.used_bytes == arena.high_water_bytes
    wide = sum(region.dtype in ("int64", "float64") for region in arena.regions)
    assert 0 <= arena.used_bytes - device_bytes(model, frames) <= 4 * wide
    assert arena.used_bytes <= arena.budget_bytes == budget
    assert LEAST_TAPE_FRAMES <= frames <= MOST_TAPE_FRAMES
    # no longer tape would have fitted
    assert frames == MOST_TAPE_FRAMES or device_bytes(model, frames + 1) + 64 > budget
    assert f"{arena.used_bytes:,}" in arena.report()


@pytest.mark.parametrize("kib", [245, 248, 256, 512])
def test_listening_and_learning_stay_within_the_budget(model: Model, takes: Takes, kib: int) -> None:
    device = VoiceDevice(model, kib * KIB)
    before = device.arena.used_bytes
    report = list(device.teach("computer", takes[:3], SHORT))[-1]
    device.recognizer.push(np.random.default_rng(0).integers(-9000, 9000, 32000).astype(np.int16))
    device.remove("computer")
    assert report.updates == SHORT.steps
    assert device.arena.high_water_bytes == device.arena.used_bytes == before <= kib * KIB


@pytest.mark.parametrize("rehearsal", [4 * KIB, 16 * KIB, 40_001])
def test_a_sufficient_budget_is_sufficient_and_not_much_more_than_that(model: Model, rehearsal: int) -> None:
    model = replace(model, rehearsal=model.rehearsal[:0])
    enough = sufficient_budget(model, rehearsal)
    assert VoiceDevice(model, enough, rehearsal).tape.capacity_frames == LEAST_TAPE_FRAMES
    with pytest.raises(BudgetExceeded):
        VoiceDevice(model, enough - KIB, rehearsal)


@pytest.mark.parametrize(
    ("budget", "region"),
    [
        (16 * KIB, "network.layer0.weights_hi"),
        (128 * KIB, "network.layer0.weights_lo"),
        (200 * KIB, "rehearsal.records"),
        (224 * KIB, "learning"),
        (232 * KIB, "tape"),
    ],
)
def test_too_small_a_budget_says_what_would_fit(model: Model, budget: int, region: str) -> None:
    with pytest.raises(BudgetExceeded) as caught:
        VoiceDevice(model, budget)
    error = caught.value
    assert error.region.startswith(region)
    assert error.asked_bytes > error.free_bytes >= 0
    assert error.budget_bytes == budget
    assert f"within {sufficient_budget(model) // KIB}KiB" in error.hint


def test_a_device_holds_what_its_model_says(model: Model, device: VoiceDevice) -> None:
    held = device.model()
    for key, array in model.params.items():
        np.testing.assert_array_equal(held.params[key], array)
    np.testing.assert_array_equal(held.rehearsal, model.rehearsal)
    np.testing.assert_array_equal(held.prototypes, model.prototypes)
    assert (held.words, held.history, held.generation) == (model.words, model.history, model.generation)


@pytest.fixture
def all_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a lesson does counts as a gain: which takes really gain depends on the weights that ship."""
    separations = itertools.count(0, 1 << 14)
    monkeypatch.setattr(Learner, "check", lambda *_: Check(1, 1, next(separations)))


def test_steps_that_gained_nothing_are_not_counted(
    device: VoiceDevice, takes: Takes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "check", lambda *_: Check(1, 1, 0))
    report = list(device.teach("computer", [takes[0], takes[4], takes[6]], SHORT))[-1]
    model = device.model()
    assert (report.updates, report.gained, model.word("computer").updates) == (SHORT.steps, False, 0)
    assert model.history == (f"add computer: 3 takes, {SHORT.steps} updates put back",)


def test_a_lesson_that_moves_nothing_is_checked_once(
    device: VoiceDevice, takes: Takes, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = []
    check = device.learner.check
    monkeypatch.setattr(device.learner, "check", lambda *a: checks.append(check(*a)) or checks[-1])
    before = device.model()
    report = list(device.teach("computer", takes[:1], LearnerConfig()))[-1]
    assert (report.updates, report.gained, report.old_after, len(checks)) == (0, False, report.old_before, 1)
    after = device.model()
    assert all(np.array_equal(after.params[name], array) for name, array in before.params.items())
    row, mean = after.word("computer").row, device.hearing.embed(takes[0])[0]
    assert device.classifier.cosines(mean)[row] > 0.999 * 2**14


@pytest.mark.parametrize("lesson", ["add", "confirm", "reject"])
def test_a_lesson_counts_all_that_the_network_did(
    device: VoiceDevice, takes: Takes, monkeypatch: pytest.MonkeyPatch, lesson: str
) -> None:
    config = LearnerConfig(steps=4, sweeps=0, max_old_loss=1.0, agreement_q14=-16384)
    list(device.teach("known", takes[3:5], config))
    done = []

    def watched(call: Callable[..., Counts]) -> Callable[..., Counts]:
        def counted(*args: Any, **options: Any) -> Counts:
            done.append(call(*args, **options))
            return done[-1]

        return counted

    for name in ("forward", "backward", "update"):
        monkeypatch.setattr(device.network, name, watched(getattr(device.network, name)))
    run = {
        "add": device.teach("computer", takes[:3], config),
        "confirm": device.confirm("known", takes[5], config),
        "reject": device.reject("known", takes[5], config),
    }[lesson]
    report = list(run)[-1]
    assert len(done) > len(device.memory.exemplars())
    assert report.counts == sum(done, Counts())


def test_a_take_cut_close_to_its_word_is_much_like_one_with_silence_around_it(device: VoiceDevice) -> None:
    def unit(frames: NDArray[np.int8]) -> NDArray[np.float64]:
        return device.hearing.embed(frames)[0] / 2**14

    frontend, endpoint = device.frontend, device.endpoint
    for path in sorted(RECORDINGS.glob("computer_*.wav")):
        room = np.random.default_rng(1).normal(0, 10, 16000)
        samples = np.rint(np.concatenate((room[:8000], read_clip(path), room[8000:]))).astype(np.int16)
        whole = take_from_clip(samples, frontend, endpoint, path.name)
        start, stop, _ = find_utterance(frontend.push(samples), endpoint)
        frontend.reset()
        assert len(endpoint.surroundings.sounding(whole)) == stop - start  # a quiet room
        close = samples[(start + endpoint.pre_frames) * 320 : (stop - endpoint.post_frames) * 320 + 192]
        take = take_from_clip(close, frontend, endpoint, path.name)
        bare = endpoint.surroundings.own(take)[endpoint.pre_frames : -endpoint.post_frames]
        bare = endpoint.surroundings.repeated(bare, 0, 0)
        assert abs(len(take) - len(whole)) <= 2
        assert unit(whole) @ unit(take) > max(0.95, unit(whole) @ unit(bare) + 0.05)


@pytest.mark.usefixtures("all_is_kept")
def test_a_taught_word_is_a_word(device: VoiceDevice, takes: Takes) -> None:
    before = device.model()
    report = list(device.teach("computer", [takes[0], takes[4], takes[6]], LearnerConfig(max_old_loss=1.0)))[-1]
    model = device.model()
    word = model.word("computer")
    assert (word.taught, word.takes, word.updates, word.row) == (True, 3, 40, len(before.labels))
    assert device.recognizer.words == model.words == (*before.words, word)
    assert model.history == ("add computer: 3 takes, 40 updates",)
    assert len(model.prototypes) == len(before.prototypes) + 1
    assert any(np.any(model.params[key] != before.params[key]) for key in model.params)
    assert 0 < report.counts.sparsity < 1
    assert report.counts.macs_dense_training > report.counts.macs_backward
    # the takes that were not learned from are nearest to it
    rows = np.array([w.row for w in model.words])
    for take in (*takes[1:4], takes[5]):
        unit, _ = device.hearing.embed(take)
        assert device.classifier.scores(unit, rows)[1] == len(rows) - 1


@pytest.mark.usefixtures("all_is_kept")
def test_teaching_is_reproducible(model: Model, takes: Takes) -> None:
    digests = []
    for seed in (0, 0, 1):
        device = VoiceDevice(model)
        list(device.teach("computer", takes[:5], replace(SHORT, seed=seed)))
        digests.append(digest(device))
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_an_abandoned_lesson_leaves_no_trace(device: VoiceDevice, takes: Takes, steps: int) -> None:
    before = digest(device)
    lesson = device.teach("computer", takes[:3], SHORT)
    for _ in range(steps):
        next(lesson)
    assert (digest(device) != before) == (steps > 0)
    lesson.close()  # type: ignore[attr-defined]
    assert digest(device) == before
    assert device.recognizer.words == device.model().words


def test_a_lesson_that_costs_the_old_words_too_much_leaves_no_trace(device: VoiceDevice, takes: Takes) -> None:
    before = digest(device)
    wild = LearnerConfig(steps=40, rate_q16=20000, max_old_loss=0.0)
    with pytest.raises(LearningRejected, match="undone"):
        list(device.teach("computer", takes[:3], wild))
    assert digest(device) == before
    # and the device is as able to learn as ever
    list(device.teach("computer", takes[:3], SHORT))
    assert device.model().word("computer").takes == 3


def test_takes_that_are_refused_leave_no_trace(device: VoiceDevice, takes: Takes) -> None:
    before = digest(device)
    with pytest.raises(TakeRejected):
        list(device.teach("computer", [takes[0], takes[1][:3]], SHORT))
    with pytest.raises(UsageError, match="'bed' already"):
        list(device.teach("bed", takes[:1], SHORT))
    with pytest.raises(UsageError, match="no name"):
        list(device.teach("a/b", takes[:1], SHORT))
    assert digest(device) == before


def test_a_full_table_is_a_budget_and_a_removed_word_makes_room(device: VoiceDevice, takes: Takes) -> None:
    quick = LearnerConfig(steps=1, max_old_loss=1.0)
    for number in range(TAUGHT_ROWS):
        assert device.words_left == TAUGHT_ROWS - number
        list(device.teach(f"word {number}", takes[:1], quick))
    before = digest(device)
    with pytest.raises(BudgetExceeded, match=r"classifier\.prototypes") as caught:
        list(device.teach("one more", takes[:1], quick))
    assert "remove one first" in caught.value.hint
    assert digest(device) == before
    device.remove("word 3")
    list(device.teach("one more", takes[:1], quick))


def test_removing_a_taught_word_moves_the_rows_above_it(device: VoiceDevice, takes: Takes) -> None:
    for name in ("first", "second", "third"):
        list(device.teach(name, takes[:2], SHORT))
    before = device.model()
    device.remove("second")
    model = device.model()
    base = len(model.labels)
    assert [(word.name, word.row) for word in model.words if word.taught] == [("first", base), ("third", base + 1)]
    np.testing.assert_array_equal(model.prototypes[base + 1], before.prototypes[base + 2])
    rows = [record.row for record in device.memory.exemplars()]
    assert rows.count(base + 1) > 0
    assert max(rows) == base + 1
    assert model.history[-1] == "remove second"
    assert VoiceDevice(model).recognizer.words == model.words


def test_removing_a_base_word_keeps_it_as_background(device: VoiceDevice) -> None:
    before = device.model()
    device.remove("bed")
    model = device.model()
    assert "bed" not in [word.name for word in model.words]
    np.testing.assert_array_equal(model.prototypes, before.prototypes)
    with pytest.raises(UsageError, match="no word 'bed'"):
        device.remove("bed")


WARM = """
import numba.core.dispatcher as dispatcher
import numpy as np
from edgelearn.learning.learner import Learner, LearnerConfig
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.rehearsed import perform
from edgelearn.runtime.session import Session
from edgelearn.runtime.voice import VoiceDevice

late = []
real = dispatcher.Dispatcher.compile

def compile(self, signature):
    late.append(self.py_func.__name__)
    return real(self, signature)

dispatcher.Dispatcher.compile = compile
device = VoiceDevice(load_model(BASE_MODEL))
device.warm_up()
assert late
late.clear()
perform(Session(device, LearnerConfig(steps=4, max_old_loss=1.0)), 0, lambda line, happening: None)
print(late)
"""


def test_nothing_compiles_once_the_device_is_warm() -> None:
    done = subprocess.run([sys.executable, "-c", WARM], capture_output=True, text=True, timeout=120)
    assert done.stdout == "[]\n", done.stderr


def test_a_taught_word_has_a_threshold_of_its_own(device: VoiceDevice, takes: Takes) -> None:
    list(device.teach("computer", takes[:3], SHORT))
    model = device.model()
    word = model.word("computer")
    assert word.threshold_q14 == device.learner.threshold_q14(word.row, model.open_set_q14)
    # the takes that it was learned from reach it
    for unit in device.hearing.exemplar_units(word.row):
        assert device.classifier.scores(unit, np.array([word.row]))[0][0] >= word.threshold_q14
    assert all(word.threshold_q14 == model.words[0].threshold_q14 for word in model.words if not word.taught)


def test_exemplars_of_a_word_that_is_not_there_are_refused(model: Model, device: VoiceDevice, takes: Takes) -> None:
    memory = device.memory
    memory.unpack(model.rehearsal[:0])
    memory.add(len(model.prototypes) - 1, takes[0])
    VoiceDevice(replace(model, rehearsal=memory.pack()))
    memory.add(len(model.prototypes), takes[0])
    foreign = replace(model, rehearsal=memory.pack())
    with pytest.raises(ModelFileError, match="a word that is not there"):
        VoiceDevice(foreign)
    with pytest.raises(ModelFileError, match="a word that is not there"):
        device.restore(foreign)


def test_what_cannot_be_loaded_leaves_the_device_as_it_was(model: Model, device: VoiceDevice, takes: Takes) -> None:
    list(device.teach("computer", takes[:3], SHORT))
    device.restore(device.model())
    before = digest(device)
    more, rows = model.params["layer0.weights_hi"] ^ 1, len(model.labels) + TAUGHT_ROWS + 1
    changed = replace(model, params=model.params | {"layer0.weights_hi": more})
    for bad in (
        replace(changed, rehearsal=np.zeros(device.memory.capacity_bytes + 1, np.uint8)),
        replace(changed, rehearsal=np.ones(5, np.uint8)),
        replace(changed, prototypes=np.ones((rows, 128), np.int8)),
        replace(changed, params=changed.params | {"layer0.bias": np.full(512, 2**31 - 1, np.int32)}),
    ):
        for refuse in (device.check, device.restore):
            with pytest.raises((BudgetExceeded, ModelFileError)):
                refuse(bad)
            assert digest(device) == before


def test_a_model_of_other_shapes_is_refused(model: Model) -> None:
    with pytest.raises(ModelFileError, match="bias"):
        VoiceDevice(replace(model, params=model.params | {"layer0.bias": np.zeros(5, np.int32)}))
    with pytest.raises(BudgetExceeded, match="prototypes"):
        VoiceDevice(replace(model, prototypes=np.ones((len(model.labels) + TAUGHT_ROWS + 1, 128), np.int8)))
