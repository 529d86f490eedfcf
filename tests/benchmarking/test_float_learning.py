"""The float dense learner: the device's lesson but for thresholds and number formats."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.float_learner import FloatLearner, transmitted  # noqa: E402
from benchmarks.float_learning import Line, row_of, score_float, verdict  # noqa: E402
from benchmarks.thresholds import with_thresholds  # noqa: E402
from edgelearn.device.sizes import KIB  # noqa: E402
from edgelearn.learning.evaluation import MEASURING, ClipReader, Draw, score_draw  # noqa: E402
from edgelearn.learning.learner import TeachReport  # noqa: E402
from edgelearn.learning.variants import altered  # noqa: E402
from edgelearn.runtime.model import BASE_MODEL, load_model  # noqa: E402
from edgelearn.runtime.rehearsed import RECORDINGS  # noqa: E402
from edgelearn.runtime.voice import VoiceDevice  # noqa: E402

LONG_TAPE = 1024 * KIB
MODEL = load_model(BASE_MODEL)
READ = ClipReader(MODEL)
TAKES = [READ(path) for path in sorted(RECORDINGS.glob("computer_*.wav"))]
OTHERS = [READ(path) for path in sorted(RECORDINGS.glob("[b-l]*_f*.wav"))]


def test_a_step_is_the_device_s_without_thresholds_and_rounding() -> None:
    dense = with_thresholds(MODEL, 0, 0, [(MODEL.words[0].row, OTHERS[0])])
    device, config = VoiceDevice(dense, LONG_TAPE), replace(MEASURING, rate_q16=640)
    learner = FloatLearner(device, dense, config, {})
    row, one = MODEL.words[1].row, 2.0 ** (8 + dense.network.layers[0].weight_shift)
    weights, before = learner.lstm.weight_ih_l0.detach().numpy().T.copy(), device.network.masters(0).astype(float)
    params, report = device.network.params(), TeachReport()
    loss = learner.step(MODEL.endpoint.surroundings.own(TAKES[0]), row)
    moved = learner.lstm.weight_ih_l0.detach().numpy().T - weights
    # the mean over many roundings is what would have been without them
    mean = np.zeros_like(moved)
    for seed in range(50):
        device.network.load(params)
        device.learner.step(TAKES[0], row, seed, config, report)
        mean += (device.network.masters(0) - before)[: len(moved)] / (50 * one)
    assert loss == pytest.approx(report.losses[0], rel=0.02)
    assert (mean * moved).sum() / np.linalg.norm(mean) / np.linalg.norm(moved) > 0.95
    assert np.linalg.norm(mean) / np.linalg.norm(moved) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("many", [False, True])
def test_without_steps_it_scores_as_the_device_s_prototypes_do(many: bool) -> None:
    """Words of few takes, and of as many as have directions."""
    dense = with_thresholds(MODEL, 0, 0, [(MODEL.words[0].row, OTHERS[0])])
    device = VoiceDevice(dense, LONG_TAPE)
    mine, other = TAKES[:3], OTHERS[:2]
    if many:
        mine = [take for frames in TAKES[:3] for take in (frames, *altered(frames))]
        other = [take for frames in OTHERS[:3] for take in (frames, *altered(frames))]
    draw = Draw([mine, other], [(0, frames) for frames in TAKES[3:]], {"me"}, ["me"] * len(TAKES[3:]))
    floating = score_float(FloatLearner(device, dense, replace(MEASURING, steps=0, sweeps=0), {}), draw, OTHERS)
    fixed = score_draw(device, dense, draw, OTHERS, "prototype", MEASURING)
    assert floating.scores == pytest.approx(fixed.scores / 16384, abs=0.01)
    assert floating.others == pytest.approx(fixed.others / 16384, abs=0.018)
    assert np.abs(floating.others - fixed.others / 16384).mean() < 0.007


def test_a_lesson_keeps_what_the_device_keeps_and_is_put_back_if_it_did_not_gain(monkeypatch) -> None:
    device = VoiceDevice(MODEL)
    for least, kept in ((-1 << 14, True), (1 << 14, False)):
        monkeypatch.setattr("benchmarks.float_learner.LEAST_GAIN_Q14", least)
        learner = FloatLearner(device, MODEL, MEASURING, {})
        before = [parameter.detach().clone() for parameter in learner.lstm.parameters()]
        row = learner.learn(TAKES[:3])
        records = device.memory.exemplars()
        exemplars = learner.exemplars()
        assert [owner for owner, _ in exemplars] == [record.row for record in records]
        assert all(np.array_equal(mine, take) for (_, mine), take in zip(exemplars[-3:], TAKES[:3], strict=True))
        # what is not known as frames is what the network was sent
        assert np.array_equal(transmitted(exemplars[0][1], MODEL), exemplars[0][1])
        same = all(torch.equal(old, new) for old, new in zip(before, learner.lstm.parameters(), strict=True))
        assert (learner.kept, same) == ([kept], not kept)
        plain = learner.rows[row] @ learner.embed(TAKES[:3]).sum(axis=0) / 3
        assert plain > 0.5


def test_the_verdict_names_the_largest_loss_and_what_of_it_is_learned() -> None:
    low, high = np.array([[90.0, 80.0], [94.0, 90.0]]), np.array([[90.0, 82.0], [94.0, 90.0]])
    near = Line("near", 1, low, high, low, high)
    far = Line("far", 3, np.array([[90.0]]), np.array([[91.5]]), np.array([[90.0]]), np.array([[90.25]]))
    assert row_of(near) == "| near | 1 | 92.0 / 85.0 | 92.0 / 86.0 | +0.0 / -1.0 | +0.0 / -1.0 |"
    assert "is within 1 point of float dense learning in every figure: the largest loss is 1.00 points" in verdict(
        [near]
    )
    both = verdict([near, far])
    assert "not within 1 point" in both
    assert "loss is 1.50 points of one speaker (far, 3 takes, closed), 1 of 3 figures lose more than 1 and 0" in both
    assert "of prototypes alone 0 and 0 do, and what learning adds to that is a loss of at most 1.25 points" in both
