"""The readout that tells speech from noise: scenes whose speech is known, states of utterances in them, the fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from edgelearn.audio.activity import LAG_FRAMES, SCORE_BITS, ActivityReadout
from edgelearn.audio.datasets import read_manifest
from edgelearn.pretrain.activity import fit_activity, heard, logistic
from edgelearn.pretrain.corpus import FeatureMaker
from edgelearn.pretrain.noisy_scenes import FRAMES, Scenes
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from tests.pretrain.tiny import make_data


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(BASE_MODEL)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), 2)


def scenes_of(data: Path, model: Model, seed: int = 1) -> Scenes:
    return Scenes(read_manifest(data), FeatureMaker(model.frontend, model.endpoint), seed)


def test_scenes_are_the_same_for_a_seed_and_others_for_another(data: Path, model: Model) -> None:
    first, again, other = (list(scenes_of(data, model, seed)(3)) for seed in (1, 1, 2))
    for (frames, spoken), (same_frames, same_spoken) in zip(first, again, strict=True):
        assert frames.shape == (FRAMES, 32)
        assert frames.dtype == np.int8
        assert spoken.shape == (FRAMES,)
        assert np.array_equal(frames, same_frames)
        assert np.array_equal(spoken, same_spoken)
    assert not np.array_equal(first[0][0], other[0][0])


def test_it_is_louder_where_somebody_speaks(data: Path, model: Model) -> None:
    """Whatever the noise: on average over scenes, and not where the labels are moved by half a second."""
    right, moved = [], []
    for frames, spoken in scenes_of(data, model)(24):
        loud = frames.astype(np.float64).mean(axis=1)
        if 10 < spoken.sum() < FRAMES - 10:
            right.append(loud[spoken].mean() - loud[~spoken].mean())
            late = np.roll(spoken, 25)
            moved.append(loud[late].mean() - loud[~late].mean())
    assert len(right) > 10
    assert np.mean(right) > np.mean(moved) + 5


def test_a_tenth_of_the_scenes_have_no_speech(data: Path, model: Model) -> None:
    silent = sum(not spoken.any() for _, spoken in scenes_of(data, model)(60))
    assert 1 <= silent <= 15


def test_states_are_those_of_a_device_that_hears_the_scene(data: Path, model: Model) -> None:
    """One state for every frame of an utterance, and the labels of LAG_FRAMES ago."""
    (frames, spoken), *_ = scenes_of(data, model)(1)
    found = list(heard(model, scenes_of(data, model), 1))
    assert found
    assert sum(len(hidden) for hidden, _ in found) <= len(frames) + len(found) * model.endpoint.lag_frames
    late = np.concatenate((np.zeros(LAG_FRAMES, bool), spoken)).tolist()
    for hidden, labels in found:
        assert hidden.dtype == np.int16
        assert hidden.shape == (len(labels), 128)
        assert hidden.any()
        pattern = labels.tolist()
        assert any(late[at : at + len(pattern)] == pattern for at in range(len(late) - len(pattern) + 1))


def test_logistic_regression_finds_the_odds_it_was_given() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(40000, 4)).astype(np.float32)
    wanted, bias = np.array([1.5, -0.7, 0.0, 0.4]), -0.5
    labels = rng.random(40000) < 1 / (1 + np.exp(-(features @ wanted + bias)))
    weights, found = logistic(features, labels)
    assert weights == pytest.approx(wanted, abs=0.06)
    assert found == pytest.approx(bias, abs=0.06)


def test_the_fit_tells_speech_from_noise_better_than_chance(data: Path, model: Model) -> None:
    scenes = scenes_of(data, model)
    readout = fit_activity(model, scenes, 12)
    assert isinstance(readout, ActivityReadout)
    assert readout.weights_q5.dtype == np.int8
    assert abs(readout.bias_q18) < 20 << SCORE_BITS
    # on scenes that it has not seen
    right = [
        (readout.score_q18(h) > 0) == bool(label)
        for hidden, labels in heard(replace(model, activity=readout), scenes_of(data, model, 5), 6)
        for h, label in zip(hidden, labels, strict=True)
    ]
    share = np.mean([bool(label) for _, labels in heard(model, scenes_of(data, model, 5), 6) for label in labels])
    assert np.mean(right) > max(share, 1 - share) + 0.05
