"""The whitening: what it does to a known covariance, and to a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from edgelearn.audio.endpoint import EndpointConfig
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.learning.head import NO_WHITENING
from edgelearn.pretrain.corpus import Corpus
from edgelearn.pretrain.whitening import fit_whitening, whitening, whole
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.voice import VoiceDevice
from tests.pretrain.tiny import make_data


def test_every_variance_v_becomes_v_over_v_plus_one(rng: np.random.Generator) -> None:
    """Of the covariance scaled to a mean variance of 1, whatever its scale was, and in its own directions."""
    directions, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    variances = np.array([0.01, 0.1, 0.4, 0.7, 1.3, 3.49])
    pieces = [(directions * np.sqrt(variances * 7)).T[k : k + 3] for k in (0, 3)]  # of any scale, in any pieces
    matrix = whitening(pieces)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    whitened = matrix @ (directions * variances) @ directions.T @ matrix
    np.testing.assert_allclose(whitened, (directions * (variances / (variances + 1))) @ directions.T, atol=1e-12)


def test_a_matrix_in_int8_is_symmetric_and_within_half_a_unit(rng: np.random.Generator) -> None:
    mixing = rng.normal(0, 1, (40, 40))
    matrix = mixing + mixing.T
    integers = whole(matrix)
    assert np.array_equal(integers, integers.T)
    assert np.abs(integers).max() == 127
    assert np.abs(integers - matrix / np.abs(matrix).max() * 127).max() <= 0.5


def test_a_whitened_model_hears_its_own_rows_in_the_new_coordinates(tmp_path: Path) -> None:
    """An embedding is the old one times the matrix, and so is each row: so are their cosines, within rounding."""
    shipped = load_model(BASE_MODEL)
    plain = replace(shipped, whitening=NO_WHITENING)
    corpus = Corpus(make_data(tmp_path, 2), FrontendConfig(), EndpointConfig(), 0, 1)
    model = fit_whitening(plain, corpus, seed=1)
    again = fit_whitening(plain, corpus, seed=1)
    assert np.array_equal(model.whitening, again.whitening)
    assert not np.array_equal(model.whitening, fit_whitening(plain, corpus, seed=2).whitening)
    frames = corpus.make.utterance(corpus.clips[3].astype(np.int16))
    before, after = (VoiceDevice(one) for one in (plain, model))
    old, new = (device.hearing.embed(frames)[0] for device in (before, after))
    rows = plain.prototypes.astype(np.float64) @ model.whitening
    wanted = old.astype(np.float64) @ model.whitening
    np.testing.assert_allclose(new / 16384, wanted / np.linalg.norm(wanted), atol=2e-4)
    classes = slice(0, model.base_classes)
    cosines = rows @ wanted / np.linalg.norm(rows, axis=1) / np.linalg.norm(wanted)
    np.testing.assert_allclose(after.classifier.cosines(new)[classes] / 16384, cosines[classes], atol=0.01)
