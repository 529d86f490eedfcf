"""The sweep over delta thresholds: what varies with them, and which ones its rule chooses."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.thresholds import Point, Sounds, loss, markdown, measure, verdict, with_thresholds
from edgelearn.device.board import load_board
from edgelearn.learning.evaluation import ClipReader, SpeakerSet
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.rehearsed import RECORDINGS


def point(theta: int, accuracy: float, work: float) -> Point:
    return Point(theta, theta, (95.0, 96.0, 99.0, accuracy, 95.0, 80.0), work, work, 1.0, 100.0)


def test_the_rule_takes_the_least_work_that_costs_no_more_than_a_point() -> None:
    dense, near, bold = point(0, 90.0, 100.0), point(1024, 89.0, 50.0), point(2048, 88.9, 25.0)
    assert [loss(one, dense) for one in (dense, near, bold)] == pytest.approx([0.0, 1.0, 1.1])
    assert loss(point(0, 97.0, 1.0), dense) == 0.0
    points = [dense, near, bold]
    assert "is at θx 0.125, θh 0.125: 50.0 % of the work, at most 1.0 points lost" in verdict(points, near)
    assert "The model ships with these. " in verdict(points, near)
    assert "The model ships with θx 0.25, θh 0.25: 25.0 % of the work. " in verdict(points, bold)
    assert (
        markdown(points, near).splitlines()[3].startswith("| **0.125** | **0.125** | **95.0** | **96.0** | **99.0** |")
    )


def test_thresholds_change_the_work_and_nothing_else() -> None:
    model = load_model(BASE_MODEL)
    read = ClipReader(model)
    takes = [read(path) for path in sorted(RECORDINGS.glob("computer_*.wav"))]
    others = [read(path) for path in sorted(RECORDINGS.glob("up_*.wav"))[:4]]
    one = [SpeakerSet("mine", "me", {"computer": takes[:4]}, others)]
    row = model.words[0].row
    sounds = Sounds([read(sorted(RECORDINGS.glob("bed_*.wav"))[0])], np.array([row]), [(row, others[0])], one, one)
    found = {}
    for theta_x_q13, theta_h_q13 in ((0, 0), (2048, 820)):
        varied = with_thresholds(model, theta_x_q13, theta_h_q13, sounds.exemplars)
        assert varied.params is model.params
        assert varied.network.layers[0].theta_x_q13 == theta_x_q13
        found[theta_x_q13] = measure(varied, sounds, load_board("raspberry_pi_4"), 1)
    dense, sparse = found[0], found[2048]
    assert (dense.work_listening, dense.work_learning) == (100.0, 100.0)
    assert sparse.work_listening < 50 > sparse.work_learning
    assert sparse.second_mj < dense.second_mj
    assert sparse.word_mj < dense.word_mj
