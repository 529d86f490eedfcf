"""What the reference networks say of a corpus: alike where it should be, and drawn to in training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from edgelearn.audio.endpoint import EndpointConfig  # noqa: E402 - torch may be missing
from edgelearn.audio.melbank import FrontendConfig  # noqa: E402
from edgelearn.pretrain import reference  # noqa: E402
from edgelearn.pretrain.corpus import Corpus  # noqa: E402
from edgelearn.pretrain.model import BaseModel  # noqa: E402
from edgelearn.pretrain.reference import SAMPLES, combine, crop, reference_units, whiten  # noqa: E402
from edgelearn.pretrain.train import Trainer  # noqa: E402
from tests.pretrain.tiny import make_data  # noqa: E402


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(make_data(tmp_path_factory.mktemp("data"), takes=3), FrontendConfig(), EndpointConfig(), 0, 1)


def assert_words_are_alike(corpus: Corpus, units: np.ndarray) -> None:
    assert units.dtype == np.float32
    assert len(units) == corpus.sources
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), 1, rtol=1e-5)
    clips = len(corpus.clips)
    for some in (slice(clips), slice(clips, 2 * clips)):  # as spoken, and backwards
        alike = units[some] @ units[some].T
        same = corpus.word_of[:, None] == corpus.word_of[None, :]
        np.fill_diagonal(alike, np.nan)
        assert np.nanmean(alike[same]) > np.nanmean(alike[~same]) + 0.5


@pytest.mark.slow  # it downloads both networks, 160 MB
def test_clips_of_one_word_are_more_alike_than_others(corpus: Corpus) -> None:
    assert_words_are_alike(corpus, reference_units(corpus))


def spectrum(seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a network that hears the spectrum, in random coordinates of its own."""
    mixing = np.random.default_rng(seed).normal(size=(120, 40))

    def network(samples: np.ndarray) -> np.ndarray:
        power = np.abs(np.fft.rfft(samples))[:6000].reshape(120, 50).mean(axis=1)
        return (np.log(power + 1e-3) @ mixing).astype(np.float32)

    return network


def test_units_are_made_of_what_two_networks_hear(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "word_network", lambda: spectrum(1))
    monkeypatch.setattr(reference, "recogniser", lambda: spectrum(2))
    assert_words_are_alike(corpus, reference_units(corpus))


def test_crops_are_around_the_middle_of_the_word(corpus: Corpus) -> None:
    for number in (0, 5, len(corpus.clips) + 2):
        sound, middle, heard = corpus.source(number), corpus.middle(number), crop(corpus, number)
        assert heard.shape == (SAMPLES,)
        assert heard[SAMPLES // 2] == sound[middle] / 32768
        # the clip is shorter than the crop: silence on both sides
        start = SAMPLES // 2 - middle
        np.testing.assert_array_equal(heard[start : start + len(sound)], sound / np.float32(32768))
        assert not heard[:start].any()
        assert not heard[start + len(sound) :].any()


def test_both_networks_count_alike_in_the_directions_of_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    units = []
    for size in (30, 12):
        vectors = rng.normal(size=(80, 5)) @ rng.normal(size=(5, size))  # of all directions they use five
        vectors[60:] = rng.normal(size=(20, size))  # but for sources without a class
        units.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    labels = np.repeat((0, 1, 2, -1), 20)
    mean = (units[0] @ units[0].T + units[1] @ units[1].T) / 2
    together = combine(units, labels)
    np.testing.assert_allclose(together @ together.T, mean, atol=1e-5)  # there is room for all directions
    monkeypatch.setattr(reference, "DIMENSIONS", 10)
    kept = combine(units, labels)
    assert kept.shape == (80, 10)
    np.testing.assert_allclose(kept[:60] @ kept[:60].T, mean[:60, :60], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(kept, axis=1), 1, rtol=1e-5)


def test_whitening_makes_clips_spread_alike_in_all_directions() -> None:
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(40), 50)
    mixing = rng.normal(size=(6, 6)) * [9, 3, 1, 1, 1, 0.5]
    clips = rng.normal(size=(2000, 6)) @ mixing.T + 5 * rng.normal(size=(40, 6))[labels]
    before = clips - np.array([clips[labels == k].mean(0) for k in range(40)])[labels]
    # unlabelled rows come along, but say nothing about words
    white = whiten(np.concatenate((clips, 100 + clips[:10])).astype(np.float32), np.append(labels, [-1] * 10), 40)
    assert white.shape == (2010, 6)
    np.testing.assert_allclose(white[:2000], whiten(clips.astype(np.float32), labels, 40), atol=1e-6)
    within = before.T @ before / 2000
    spread, axes = np.linalg.eigh(within + 0.1 * np.trace(within) / 6 * np.eye(6))
    expected = (clips - clips.mean(0)) @ axes / np.sqrt(spread)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(white[:2000], expected, atol=1e-4)


def test_training_draws_the_embedding_to_the_reference(corpus: Corpus) -> None:
    rng = np.random.default_rng(6)
    labels = np.array([corpus.label(n) for n in range(corpus.sources)])
    units = rng.normal(size=(corpus.classes, 24))[labels] + 0.3 * rng.normal(size=(corpus.sources, 24))
    units = (units / np.linalg.norm(units, axis=1, keepdims=True)).astype(np.float32)
    epoch = corpus.epoch(0, False)
    lengths, features = torch.from_numpy(epoch.lengths), torch.from_numpy(epoch.features)
    wanted = units[epoch.sources] @ units[epoch.sources].T

    def distance(reference: np.ndarray | None) -> float:
        torch.manual_seed(2)
        model = BaseModel(32, 16, corpus.classes, 6)
        trainer = Trainer(model, 11, 3e-3, 200, None if reference is None else torch.from_numpy(reference))
        for number in range(8):
            trainer.run(epoch, 16, [number])
        with torch.no_grad():
            embedding = model.embed(features, lengths)
        return float(((embedding @ embedding.t()).numpy() - wanted).__pow__(2).mean())

    assert distance(units) < 0.7 * distance(None)
