"""The course of words: which, in what order, with what memory; and that learning it is counted and learned."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edgelearn.audio.datasets import ClipInfo, read_manifest
from edgelearn.device.arena import Arena
from edgelearn.errors import UsageError
from edgelearn.learning.adaptation import WEIGHT_ONE
from edgelearn.learning.classifier import Classifier, ClassifierConfig
from edgelearn.learning.directions import count_take, directions_bytes, directions_within
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.course_memory import MEMORIES, SWEEPS, weights_of
from edgelearn.runtime.incremental import (
    Course,
    Incremental,
    key_of,
    plan_course,
)
from edgelearn.runtime.model import Model
from tests.reference_head import quantise_prototype as quantise
from tests.runtime.folders import TRAIN, course_data, trained, without_thresholds

KIB = 1024
KEPT = directions_within(16 * KIB, 35, 128)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[ClipInfo]:
    return read_manifest(course_data(tmp_path_factory.mktemp("google")))


def test_the_course_takes_the_words_with_most_clips_in_a_seeded_order(clips: list[ClipInfo]) -> None:
    course = plan_course(clips, 0)
    assert (len(course.base), [len(step) for step in course.steps]) == (20, [3] * 5)
    assert set(course.words) == {f"speech_commands:w{n:02}" for n in range(2, 37)}
    assert plan_course(clips, 0) == course != plan_course(clips, 1)
    novel = [replace(clip, novel=clip.word in ("w05", "w06", "w07")) for clip in clips]
    with pytest.raises(UsageError, match="training clips of 34 words"):
        plan_course(novel, 0)


def test_learning_the_course(model: Model, clips: list[ClipInfo]) -> None:
    course = plan_course(clips, 0)
    protocol = Incremental(clips, course, 16 * KIB, LearnerConfig(), 0)
    base = trained(model, clips, course.base)
    steps = list(protocol.run(base, "sparse_bptt"))
    assert [(s["step"], s["classes"], s["n"]) for s in steps] == [(n, 20 + 3 * n, 20 + 3 * n) for n in range(6)]
    assert (steps[0]["updates"], steps[0]["macs"], steps[0]["memory_accesses_dense"]) == (0, 0, 0)
    for step in steps[1:]:
        # every clip once; what is known too well changes nothing
        assert 3 * TRAIN // 2 < step["updates"] <= 3 * TRAIN
        assert 0 < step["macs"] < 0.7 * step["macs_dense"]
        assert 0 < step["memory_accesses"] < step["memory_accesses_dense"]
        assert step["rehearsal_used_bytes"] == step["classes"] * directions_bytes(KEPT, 128) <= 16 * KIB
        assert step["rehearsal_bytes"] == 16 * KIB
    assert steps[-1]["accuracy"] > 0.4
    assert list(protocol.run(base, "sparse_bptt")) == steps
    frozen = list(protocol.run(base, "prototype"))
    assert {key for key in steps[0] if steps[0][key] != frozen[0][key]} <= {
        "accuracy", "accuracy_ci95", "rehearsal_used_bytes",
    }  # fmt: skip
    assert {step["updates"] for step in frozen} == {step["rehearsal_used_bytes"] for step in frozen} == {0}
    rows_only = list(protocol.run(base, "sweeps"))
    assert rows_only[0] == frozen[0] | {"rehearsal_used_bytes": 20 * TRAIN * 131}
    directions = list(protocol.run(base, "directions"))
    assert directions[0] == steps[0]
    for step, frozen_step in zip(directions[1:], frozen[1:], strict=True):
        joined = 3 * TRAIN * count_take(KEPT, 128).macs_forward
        assert (step["updates"], step["macs"]) == (0, frozen_step["macs"] + joined)
    for step, frozen_step in zip(rows_only[1:], frozen[1:], strict=True):
        assert step["updates"] == 0
        # new clips are heard for their rows; SWEEPS times as many products as utterances, rows and components, at least
        assert 0 < frozen_step["macs"] < frozen_step["macs_dense"]
        kept = (16 * KIB // 131 // (step["classes"] - 3)) * (step["classes"] - 3)
        swept = SWEEPS * (3 * TRAIN + min(kept, TRAIN * 20) + 20) * step["classes"] * 128
        assert step["macs"] > frozen_step["macs"] + swept
    assert [step["accuracy"] for step in rows_only[1:]] != [step["accuracy"] for step in frozen[1:]]
    together = protocol.joint(trained(model, clips, course.words))
    assert len(together) == 6
    assert together[0] == pytest.approx(frozen[0]["accuracy"])
    assert together[-1] == pytest.approx(frozen[-1]["accuracy"], abs=0.06)  # the same network, the same means


def test_every_row_has_the_same_weight_whatever_its_utterances_stand_for() -> None:
    classifier = Classifier(ClassifierConfig(16, 3, 4), Arena(1 << 14))
    classifier.load(np.eye(3, 16, dtype=np.int8))
    for k in (3, 4):
        classifier.add_row(np.eye(1, 16, k)[0].astype(np.int64))
    unit = np.zeros(16, np.int16)
    exemplars = [(unit, 3, 1)] * 330 + [(unit, 0, 200), (unit, 0, 100), (unit, 4, 7), (unit, 0, 1), (unit, 4, 3)]
    weighted, base = weights_of(exemplars, classifier)
    assert [(row, mine is unit) for mine, row, _ in weighted] == [(row, True) for _, row, _ in exemplars]
    total = Counter(dict(enumerate(base)))
    for _, row, weight in weighted:
        total[row] += weight
    assert total == dict.fromkeys(range(5), WEIGHT_ONE // 5)
    share = WEIGHT_ONE // 5
    for (_, row, number), (_, _, weight) in zip(exemplars, weighted, strict=True):
        assert abs(weight - share * number / {0: 302, 3: 330, 4: 10}[row]) < 1
    assert base[1:] == [WEIGHT_ONE // 5] * 2


@pytest.mark.parametrize("capacity", [0, 200, 4 * KIB])
def test_directions_of_a_course_are_of_every_row_and_fill_the_room(rng: np.random.Generator, capacity: int) -> None:
    classifier = Classifier(ClassifierConfig(16, 2, 4), Arena(1 << 14))
    classifier.load(rng.integers(-127, 128, (2, 16)).astype(np.int8))
    ways = rng.normal(size=(3, 16)) * 3000
    clips = [(rng.normal(size=16) * 4000 + rng.normal(size=(9, 3)) @ ways).astype(np.int16) for _ in range(3)]
    clips = [np.array([classifier.embed(clip.astype(np.int32)) for clip in mine]) for mine in clips]
    memory = MEMORIES["directions"](capacity, 3, classifier)
    memory.begin({0: clips[0], 1: clips[1]}, rng)
    classifier.add_row(clips[2].sum(axis=0, dtype=np.int64))
    memory.learn({2: clips[2]}, rng)
    kept = directions_within(capacity, 3, 16)
    assert kept == {0: 0, 200: 2, 4 * KIB: 56}[capacity]
    assert memory.used_bytes == 3 * directions_bytes(kept, 16) <= max(capacity, 24)
    for row, mine in enumerate(clips):
        plain, found = classifier.cosines(mine[0]), memory.cosines(mine[0])
        _, norm = quantise(mine.sum(axis=0).tolist())
        assert classifier.table()[1][row] == norm
        distance = (1 << 14) - plain[row]
        least, most = {0: (0, 0), 2: (0.3, 1), 56: (0.8, 1)}[kept]
        assert least * distance - 9 <= found[row] - plain[row] <= most * distance + 9


def test_without_thresholds_all_work_is_done(model: Model, clips: list[ClipInfo]) -> None:
    words = sorted({key_of(clip) for clip in clips})[2:]
    course = Course(tuple(words[:4]), ((words[4],),))
    protocol = Incremental(clips, course, 4 * KIB, LearnerConfig(), 0)
    dense = without_thresholds(trained(model, clips, course.base))
    _, step = protocol.run(dense, "sparse_bptt")
    assert step["sparsity"] == 0
    assert step["macs"] == step["macs_dense"]
    assert step["memory_accesses"] == step["memory_accesses_dense"]
    assert step["macs_inference"] == step["macs_inference_dense"]


def test_models_of_other_words_and_words_without_tests_are_refused(model: Model, clips: list[ClipInfo]) -> None:
    course = plan_course(clips, 0)
    protocol = Incremental(clips, course, 4 * KIB, LearnerConfig(), 0)
    with pytest.raises(UsageError, match="not trained on the words"):
        next(protocol.run(model, "sparse_bptt"))
    with pytest.raises(UsageError, match="not trained on the words"):
        protocol.joint(model)
    with pytest.raises(UsageError, match="no val or test clip"):
        Incremental([clip for clip in clips if clip.split == "train"], course, 4 * KIB, LearnerConfig(), 0)
