"""From recordings to a model file: the same seed draws the same, and what is exported is what was trained."""

from __future__ import annotations

import dataclasses
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from edgelearn.audio.datasets import ClipInfo, read_manifest  # noqa: E402 - torch may be missing
from edgelearn.audio.endpoint import EndpointConfig, find_utterance  # noqa: E402
from edgelearn.audio.melbank import FrontendConfig  # noqa: E402
from edgelearn.audio.surroundings import NOTHING_AROUND  # noqa: E402
from edgelearn.device.arena import Arena  # noqa: E402
from edgelearn.engine.fixedpoint import BIAS_LIMIT, MASTER_MAX, MASTER_MIN, join_master  # noqa: E402
from edgelearn.errors import UsageError  # noqa: E402
from edgelearn.learning.rehearsal import RehearsalMemory, rehearsal_bytes  # noqa: E402
from edgelearn.pretrain import augment  # noqa: E402
from edgelearn.pretrain.background import ROWS, background  # noqa: E402
from edgelearn.pretrain.calibration import _threshold  # noqa: E402
from edgelearn.pretrain.corpus import (  # noqa: E402
    FRAMES,
    JOINED_TAKES,
    NO_CLASS,
    Corpus,
    cut_pieces,
    joinable_pairs,
    trained_clips,
)
from edgelearn.pretrain.export import VOCABULARY, choose_exemplars, fixed_point, unit_rows  # noqa: E402
from edgelearn.pretrain.model import BaseModel  # noqa: E402
from edgelearn.pretrain.run import export, pretrain  # noqa: E402
from edgelearn.pretrain.train import LateRound, Trainer, batches_by_length, epochs, in_drawn_voices, train  # noqa: E402
from edgelearn.runtime.model import load_model  # noqa: E402
from tests.engine.engine_cases import random_walk  # noqa: E402
from tests.pretrain.tiny import TOY, make_data  # noqa: E402
from tests.sounds import sound  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("data"), takes=2)


def corpus(data: Path, seed: int = 1, halves: int = 0) -> Corpus:
    return Corpus(data, FrontendConfig(), EndpointConfig(), halves, seed)


def assert_same(first: object, second: object) -> None:
    for mine, theirs in zip(vars(first).values(), vars(second).values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_an_epoch_depends_on_nothing_but_seed_and_number(data: Path) -> None:
    first, again = corpus(data), corpus(data)
    again.epoch(0, False)
    assert_same(first.epoch(3, False), again.epoch(3, False))
    others = (first.epoch(4, False), corpus(data, seed=2).epoch(3, False))
    for other in others:
        assert (
            other.features.shape != first.epoch(3, False).features.shape
            or (other.features != first.epoch(3, False).features).any()
        )


def test_a_quiet_epoch_is_the_same_without_its_noise(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = corpus(data)
    noisy, quiet = spoken.epoch(2, False), spoken.epoch(2, True)
    for name in ("lengths", "labels", "sources"):
        assert (getattr(noisy, name) == getattr(quiet, name)).all()
    assert (quiet.features <= noisy.features).all()
    assert (quiet.features < noisy.features).any()
    monkeypatch.setattr("edgelearn.pretrain.corpus.without_noise", lambda frames, _config: frames)
    assert_same(spoken.epoch(2, True), noisy)


def test_the_last_epochs_are_quiet_and_in_their_own_conditions(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, bool, augment.Conditions]] = []

    class Now:
        def __init__(self, *_start: object) -> None:
            pass

        def __enter__(self) -> Now:
            return self

        def __exit__(self, *_error: object) -> None:
            pass

        def submit(self, _make: object, *what: Any) -> Future[tuple[int, bool, augment.Conditions]]:
            asked.append(what)
            done: Future[tuple[int, bool, augment.Conditions]] = Future()
            done.set_result(what)
            return done

    monkeypatch.setattr("edgelearn.pretrain.train.ProcessPoolExecutor", Now)
    recipe = dataclasses.replace(TOY, float_epochs=4, delta_epochs=3, quiet_epochs=2, passes=2)
    times = [(0, False)] * 2 + [(1, False)] * 2 + [(2, False)] * 2 + [(3, False)] + [(4, True)] * 2 + [(5, True)]
    wanted = [(*part, augment.USUAL) for part in times] + [(6, True, augment.Conditions(noise=1.0))]
    assert list(epochs(data, recipe, [], 1)) == wanted
    assert asked == list(dict.fromkeys(wanted))


def test_an_epoch_holds_rare_words_up_to_six_times_and_half_backwards(data: Path) -> None:
    spoken = corpus(data)
    epoch = spoken.epoch(0, False)
    words = len(VOCABULARY) + 1
    assert spoken.words == sorted(f"speech_commands:{word}" for word in (*VOCABULARY, "house"))
    assert spoken.classes == 2 * words
    counts = np.bincount(epoch.labels, minlength=2 * words)
    assert counts[:words].tolist() == [4 * 6] * words
    assert 0 < counts[words:].sum() < 4 * words
    assert epoch.features.shape == (len(epoch.labels), FRAMES, 32)
    assert epoch.lengths.min() >= 1
    assert epoch.lengths.max() <= FRAMES
    for features, length in zip(epoch.features, epoch.lengths, strict=True):
        assert not features[length:].any()


def test_words_are_joined_of_halves_of_two(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelearn.pretrain.corpus.LEAST_CLIPS_TO_JOIN", 4)
    spoken = corpus(data, halves=5)
    assert spoken.classes == 2 * 11 + 5
    assert np.bincount(spoken.epoch(0, False).labels)[22:].tolist() == [JOINED_TAKES] * 5
    assert spoken._pairs == corpus(data, halves=5)._pairs
    for pair in spoken._pairs:
        first, second = ({int(spoken.word_of[clip]) for clip in side} for side in zip(*pair, strict=True))
        assert len(first) == len(second) == 1
        assert first != second
    joined = spoken.source(2 * len(spoken.clips))
    start, stop, found = find_utterance(spoken.make.frames(joined.astype(np.int16)), EndpointConfig())
    assert found
    assert 8 < stop - start < 60


def test_every_utterance_of_an_epoch_is_a_version_of_its_source(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelearn.pretrain.corpus.LEAST_CLIPS_TO_JOIN", 4)
    spoken = corpus(data, halves=5)
    clips = len(spoken.clips)
    assert spoken.sources == 2 * clips + 5 * JOINED_TAKES
    epoch = spoken.epoch(2, False)
    assert set(epoch.sources) <= set(range(spoken.sources))
    assert epoch.labels.tolist() == [spoken.label(source) for source in epoch.sources]
    assert [spoken.label(n) for n in range(clips)] == spoken.word_of.tolist()
    assert [spoken.label(clips + n) for n in range(clips)] == (11 + spoken.word_of).tolist()
    np.testing.assert_array_equal(spoken.source(clips + 3), spoken.source(3)[::-1])
    for n in (3, clips + 3, 2 * clips + 7):
        start, stop, found = find_utterance(spoken.make.frames(spoken.source(n).astype(np.int16)), EndpointConfig())
        assert found
        assert abs(spoken.middle(n) - 320 * (start + stop) / 2) < 320


def test_running_speech_has_no_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelearn.pretrain.corpus.PIECES_A_MINUTE", 400)
    data = make_data(tmp_path, takes=2)
    with (data / "manifest.csv").open("a") as file:
        file.write(f"{VOCABULARY[0]}_t1_0.wav,librispeech,,t1,train,,0.7\n")
    spoken = corpus(data)
    assert spoken.sources == 2 * len(spoken.clips) + 4
    epoch = spoken.epoch(0, False)
    pieces = epoch.sources >= 2 * len(spoken.clips)
    assert pieces.sum() == 4
    assert (epoch.labels[pieces] == NO_CLASS).all()
    assert (epoch.labels[~pieces] >= 0).all()
    heard, again, other = spoken.heard_pieces(0), spoken.heard_pieces(0), spoken.heard_pieces(1)
    assert len(heard) == 4
    for mine, same in zip(heard, again, strict=True):
        np.testing.assert_array_equal(mine, same)
        assert 20 < len(mine) <= FRAMES
    assert any(mine.shape != theirs.shape or (mine != theirs).any() for mine, theirs in zip(heard, other, strict=True))


def test_a_late_round_begins_with_the_mean_of_the_weights_before_and_after_the_one_before_it(data: Path) -> None:
    words = len({f"{c.dataset}:{c.word}" for c in trained_clips(read_manifest(data))})
    found = {}
    for shares in ((0.0,), (0.25,), (1.0,), (0.25, 0.0), (0.25, 1.0)):
        recipe = dataclasses.replace(TOY, late=tuple(LateRound(1, share) for share in shares))
        found[shares] = train(data, recipe, words, 1, lambda _: None).delta.state_dict()
    assert (found[0.0,]["weights"] != found[1.0,]["weights"]).any()
    assert (found[0.25, 0.0]["weights"] != found[0.25, 1.0]["weights"]).any()
    for name, mean in found[0.25,].items():
        torch.testing.assert_close(mean, 0.75 * found[0.0,][name] + 0.25 * found[1.0,][name])
        torch.testing.assert_close(mean, found[0.25, 0.0][name])


def test_conditions_say_what_a_clip_is_heard_in() -> None:
    clip = np.sin(np.arange(8000) / 4).astype(np.float32) * 8000
    noise = [np.random.default_rng(9).normal(0, 500, 20000).astype(np.float32)]
    none = augment.Conditions(0, 0, 0)
    for name in ("room", "microphone", "noise"):
        heard, plain = (
            augment.augment(clip, noise, np.random.default_rng(5), conditions)
            for conditions in (dataclasses.replace(none, **{name: 1.0}), none)
        )
        assert len(heard) == len(plain)
        assert (np.abs(heard.astype(int) - plain).max()) > 100


def test_background_rows_are_where_running_speech_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    kinds = rng.normal(size=(16, 24))

    class Heard:
        def heard_pieces(self, version: int) -> list[np.ndarray]:
            pieces = np.random.default_rng(version).integers(0, 16, 300)
            return [np.full((3 + k % 5, 32), k, np.int8) for k in pieces]

    class Hears:
        hidden = 24

        def embed(self, features: torch.Tensor, _lengths: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(kinds[features[:, 0, 0].numpy()]).float()

    found = background(Hears(), Heard(), 1)
    assert found.shape == (ROWS, 24)
    np.testing.assert_array_equal(found, background(Hears(), Heard(), 1))
    # k-means may join two kinds, but every row is among what was heard
    apart = np.linalg.norm(found[:, None] - kinds[None], axis=2)
    assert (apart.min(axis=1) < 1e-5).sum() >= 12
    monkeypatch.setattr(Heard, "heard_pieces", lambda _self, _version: [])
    assert background(Hears(), Heard(), 1).shape == (0, 24)


def test_background_rows_follow_the_classes_in_a_model(data: Path) -> None:
    spoken = trained_clips(read_manifest(data))
    labels = sorted({f"{c.dataset}:{c.word}" for c in spoken})
    behind = np.random.default_rng(4).normal(size=(2, TOY.hidden))
    network = BaseModel(TOY.frontend.bands, TOY.hidden, len(labels), TOY.weight_shift)
    model = export(network, TOY, labels, spoken, behind)
    assert model.labels == (*labels, "_background_:00", "_background_:01")
    assert (model.base_classes, model.background_rows) == (len(labels), 2)
    np.testing.assert_array_equal(model.prototypes[-2:], unit_rows(behind))


def test_a_third_of_the_made_up_words_comes_in_an_epoch_without_a_class(data: Path) -> None:
    rng = np.random.default_rng(3)
    made_up = [np.rint(rng.normal(0, 9, 9000 + n)).astype(np.int16) for n in range(60)]
    for number, silence in enumerate(made_up):
        silence[1000:8000] += sound(number % 9, rng)[3000:10000]
    spoken = Corpus(data, FrontendConfig(), EndpointConfig(), 0, 1, made_up)
    first = 2 * len(spoken.clips)
    assert spoken.sources == first + 60
    np.testing.assert_array_equal(spoken.source(first + 5), made_up[5])
    assert spoken.middle(first + 5) == 9005 // 2
    heard: list[int] = []
    for number in range(12):
        epoch = spoken.epoch(number, False)
        ours = epoch.sources >= first
        assert (epoch.labels[ours] == NO_CLASS).all()
        assert (epoch.labels[~ours] >= 0).all()
        assert len(set(epoch.sources[ours])) == ours.sum()
        # its end pointer leaves out the silence: the whole clip has 27 frames
        assert np.median(epoch.lengths[ours]) < 27
        heard += epoch.sources[ours].tolist()
    assert 12 * 60 / 4 < len(heard) < 12 * 60 * 5 / 12
    assert len(set(heard)) > 50


def test_pieces_are_cut_from_anywhere() -> None:
    speech = [np.arange(16000 * 30, dtype=np.float32), np.arange(9000, dtype=np.float32)]
    pieces = cut_pieces(speech, np.random.default_rng(3))
    assert len(pieces) == 40
    for piece in pieces:
        assert 0.5 * 16000 <= len(piece) <= 1.1 * 16000
        np.testing.assert_array_equal(np.diff(piece), 1)
    assert len({float(piece[0]) for piece in pieces}) == 40


def test_what_can_be_joined() -> None:
    def clips(dataset: str, word: str, count: int) -> list[ClipInfo]:
        return [ClipInfo(Path(), dataset, word, "", "train", 1.0, False)] * count

    spoken = [*clips("a", "x", 40), *clips("a", "y", 41), *clips("a", "z", 39), *clips("b", "x", 99)]
    assert joinable_pairs(spoken) == 2
    assert joinable_pairs([*spoken, *clips("b", "y", 40)]) == 4
    assert joinable_pairs([]) == 0


def test_training_never_hears_val_test_or_novel_words(data: Path) -> None:
    clips = trained_clips(read_manifest(data))
    assert {c.split for c in clips} == {"train"}
    assert {c.speaker for c in clips} == {"t1", "t2"}
    assert "marvin" not in {c.word for c in clips}
    assert len(clips) == 11 * 4
    # Google's layout has its noise in the same data set, and running speech is of no word
    noise = dataclasses.replace(clips[0], word="_noise_")
    assert noise.is_noise
    assert trained_clips([noise, dataclasses.replace(clips[0], word=""), clips[0]]) == [clips[0]]


def test_augmentation_repeats_from_its_seed_and_never_clips() -> None:
    clip = sound(3, np.random.default_rng(1)).astype(np.float32)
    noises = [np.random.default_rng(2).normal(0, 900, 5000).astype(np.float32)]
    versions = [augment.augment(clip, noises, np.random.default_rng(seed)) for seed in range(40)]
    for seed, version in enumerate(versions):
        assert version.dtype == np.int16
        assert np.abs(version.astype(int)).max() <= 32000
        assert 0.86 < len(version) / len(clip) < 1.16
        np.testing.assert_array_equal(version, augment.augment(clip, noises, np.random.default_rng(seed)))
    assert len({version.tobytes() for version in versions}) == 40


def test_noise_is_laid_in_at_the_ratio_asked_for() -> None:
    word = np.zeros(16000, np.float32)
    word[6400:10400] = 5000 * np.sin(np.arange(4000))
    noise = [np.random.default_rng(2).normal(0, 900, 50000).astype(np.float32)]
    loud = (word[6400:10240] ** 2).mean()  # twelve of fifty blocks, the loudest quarter
    for seed in range(6):
        added = augment.with_noise(word, noise, np.random.default_rng(seed), 10.0) - word
        assert 10 * np.log10(loud / (added**2).mean()) == pytest.approx(10, abs=0.3)


def test_speed_room_and_microphone() -> None:
    tone = (1000 * np.sin(2 * np.pi * 200 * np.arange(16000) / 16000)).astype(np.float32)
    faster = augment.change_speed(tone, 1.1)
    assert len(faster) == int(16000 / 1.1)
    assert np.abs(np.fft.rfft(faster)).argmax() == pytest.approx(220 * len(faster) / 16000, abs=1)
    room = augment.in_room(tone, np.random.default_rng(1))
    assert room.shape == tone.shape
    np.testing.assert_allclose(room[:2], tone[:2], atol=40)  # the direct path comes first
    hum = (1000 * np.sin(2 * np.pi * 15 * np.arange(16000) / 16000)).astype(np.float32)
    assert np.abs(augment.through_microphone(hum, np.random.default_rng(1))).mean() < 0.1 * np.abs(hum).mean()


def test_other_voices_repeat_from_their_seed_and_stay_near_the_ones_they_were() -> None:
    # a smooth spectrum, so that a shift of 1.8 bands is a small change, and far from the ends of int8
    frames = np.rint(40 * np.sin(np.arange(32) / 5 + np.arange(20)[:, None] / 7)).astype(np.float32)
    voices, again = (augment.other_voices(60, 32, np.random.default_rng(3)) for _ in range(2))
    for mine, theirs in zip(vars(voices).values(), vars(again).values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    spoken = frames @ voices.formants + voices.slope
    # the slope is 8 steps a band at most, the tilt 5.5 at the ends
    assert np.abs(spoken - frames).max() <= 1.8 * 8 + 5.5 + 4 + 1
    assert len({voice.tobytes() for voice in spoken}) == 60
    np.testing.assert_allclose(voices.formants.sum(axis=1), 1, atol=1e-6)  # a flat spectrum stays flat


def test_other_voices_move_formants_tilt_the_spectrum_and_change_the_tempo() -> None:
    frame = np.full((1, 32), -100, np.float32)
    frame[:, 15:18] = (-50, 0, -50)
    voices = augment.other_voices(300, 32, np.random.default_rng(4))
    peaks = (np.clip((frame @ voices.formants)[:, 0] + 85, 0, None) * np.arange(32)).sum(axis=1)
    peaks /= np.clip((frame @ voices.formants)[:, 0] + 85, 0, None).sum(axis=1)
    assert np.abs(peaks - 16).max() <= 1.9
    assert peaks.min() < 14.8
    assert peaks.max() > 17.2
    tilts = voices.slope[:, 0, -1] - voices.slope[:, 0, 0]
    assert np.abs(tilts).max() <= 11  # 11 steps: (ln E) / 4 in Q6 makes that 6 dB of power
    assert tilts.min() < -9
    assert tilts.max() > 9
    tempos = [augment.other_voices(1, 32, np.random.default_rng(seed)).tempo for seed in range(100)]
    assert np.exp(-0.06) <= min(tempos) < 0.96
    assert 1.04 < max(tempos) <= np.exp(0.06)


def test_a_batch_in_other_voices_keeps_its_words_and_its_format() -> None:
    features = torch.zeros(3, 40, 32, dtype=torch.int8)
    lengths = torch.tensor([20, 31, 40])
    for n, length in enumerate(lengths):
        features[n, length // 2 : length] = 60  # each utterance rises once, half-way
    tempos = set()
    for seed in range(30):
        x, frames = in_drawn_voices(features, lengths, np.random.default_rng(seed))
        tempo = augment.other_voices(3, 32, np.random.default_rng(seed)).tempo
        tempos.add(tempo < 1)
        assert (x.dtype, x.shape) == (torch.int8, (3, max(1, int(40 / tempo)), 32))
        assert frames.tolist() == [min(int(n / tempo), x.shape[1]) for n in lengths.tolist()]
        level = x[:, :, 16].float()
        for n, length in enumerate(lengths.tolist()):
            rise = int((level[n, 1 : int(frames[n]) - 1] - level[n, : int(frames[n]) - 2]).argmax()) + 1
            assert abs(rise - (length // 2) / tempo) <= 1
    assert tempos == {True, False}
    loud, _ = in_drawn_voices(
        torch.full((8, 10, 32), 127, dtype=torch.int8), torch.full((8,), 10), np.random.default_rng(1)
    )
    assert int(loud.min()) >= 127 - 11  # what leaves int8 is clipped, not wrapped


def test_noise_is_recorded_white_or_coloured() -> None:
    hum = [np.sin(np.arange(3000) / 3).astype(np.float32)]
    kinds = {"hum": 0, "white": 0, "coloured": 0}
    for seed in range(200):
        noise = augment.some_noise(4000, hum, np.random.default_rng(seed))
        assert (noise.dtype, noise.shape) == (np.float32, (4000,))
        likeness = float(noise[1:] @ noise[:-1] / (noise @ noise))
        if np.abs(noise).max() <= 1:
            kinds["hum"] += 1
        else:
            kinds["white" if abs(likeness) < 0.05 else "coloured"] += 1
    assert 110 < kinds["hum"] < 170
    assert min(kinds.values()) > 12


@pytest.mark.parametrize(("count", "batch", "pool"), [(1000, 32, 4), (1000, 32, 16), (130, 128, 16), (64, 8, 1)])
def test_batches_are_whole_disjoint_and_of_like_length(count: int, batch: int, pool: int) -> None:
    lengths = np.random.default_rng(5).integers(8, 80, count)
    batches = batches_by_length(lengths, batch, np.random.default_rng(1), pool)
    members = np.concatenate(batches)
    assert {len(one) for one in batches} == {batch}
    assert len(members) == len(set(members.tolist())) == count // batch * batch
    if batches:  # what is left out is drawn at random, and not the longest
        kept = lengths[np.sort(members)].mean()
        assert abs(kept - lengths.mean()) < 0.5
    again = batches_by_length(lengths, batch, np.random.default_rng(1), pool)
    assert all((a == b).all() for a, b in zip(batches, again, strict=True))
    other = np.concatenate(batches_by_length(lengths, batch, np.random.default_rng(2), pool))
    assert (members != other).any()
    spread = np.mean([np.ptp(lengths[one]) for one in batches])
    if pool > 1 and count > batch * pool:
        assert spread < 1.5 * np.ptp(lengths) / pool
        # and the short ones do not come first
        means = [lengths[one].mean() for one in batches]
        assert means != sorted(means)
    assert batches_by_length(lengths[: batch - 1], batch, np.random.default_rng(1), pool) == []


def test_weights_biases_and_rows_are_rounded_to_their_formats(rng: np.random.Generator) -> None:
    weights, bias = rng.uniform(-1.98, 1.98, (48, 64)), rng.normal(size=64)
    params = fixed_point(weights, bias, 6)
    master = join_master(params["layer0.weights_hi"], params["layer0.weights_lo"])
    np.testing.assert_allclose(master / 2**14, weights, atol=0.5 / 2**14)
    np.testing.assert_allclose(params["layer0.weights_hi"] / 2**6, weights, atol=(0.5 + 1 / 256) / 2**6)
    np.testing.assert_allclose(params["layer0.bias"] / 2**19, bias, atol=0.5 / 2**19)
    beyond = fixed_point(np.array([[-9.0, 9.0]]), np.array([-9e4, 9e4]), 6)
    assert join_master(beyond["layer0.weights_hi"], beyond["layer0.weights_lo"]).tolist() == [[MASTER_MIN, MASTER_MAX]]
    assert beyond["layer0.bias"].tolist() == [-BIAS_LIMIT, BIAS_LIMIT]
    classes = rng.normal(size=(5, 16))
    rows = unit_rows(classes)
    assert np.abs(rows.astype(int)).max(axis=1).tolist() == [127] * 5
    np.testing.assert_allclose(rows / 127 * np.abs(classes).max(axis=1)[:, None], classes, atol=0.02)


@pytest.mark.parametrize("capacity", [3000, 16384])
def test_exemplars_are_drawn_from_all_words_in_turn(capacity: int, rng: np.random.Generator) -> None:
    utterances = {row: [random_walk(20, 32, rng) for _ in range(6)] for row in (2, 5, 9)}
    packed = choose_exemplars(utterances, 2458, capacity, NOTHING_AROUND)
    memory = RehearsalMemory(capacity, 32, 2458, Arena(rehearsal_bytes(capacity, 32)))
    memory.unpack(packed)
    rows = [record.row for record in memory.exemplars()]
    assert rows == ([2, 5, 9] * 6)[: len(rows)]
    assert (len(rows) == 18) == (capacity == 16384)
    assert capacity == 16384 or capacity - memory.used_bytes < 1024


def test_thresholds_let_one_in_a_hundred_through() -> None:
    assert _threshold([]) == 0
    scores = [float(v) for v in range(1000)]
    assert sum(score >= _threshold(scores) for score in scores) <= 10
    assert _threshold([5.0]) == 6


def test_training_repeats_bit_for_bit(data: Path) -> None:
    epoch = corpus(data).epoch(0, False)
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(1)
        model = BaseModel(32, 16, 22, 6)
        model.quantised, model.theta_x, model.theta_h = True, 0.3, 0.12
        trainer = Trainer(model, 11, 3e-3, 100)
        losses = [trainer.run(epoch, 32, [seed, n])[0] for n in range(2)]
        assert losses[1] < losses[0]
        states.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))
    assert not torch.equal(states[0][0], states[2][0])


def test_a_teacher_draws_the_embeddings_to_its_own(data: Path) -> None:
    epoch = corpus(data).epoch(0, False)
    torch.manual_seed(5)
    teacher = BaseModel(32, 16, 22, 6)
    clips, lengths = torch.from_numpy(epoch.features), torch.from_numpy(epoch.lengths)
    likeness = []
    for chosen in (None, teacher):
        torch.manual_seed(1)
        model = BaseModel(32, 16, 22, 6)
        trainer = Trainer(model, 11, 3e-3, 1000, teacher=chosen)
        for n in range(12):
            trainer.run(epoch, 32, [1, n])
        with torch.no_grad():
            likeness.append(float((model.embed(clips, lengths) * teacher.embed(clips, lengths)).sum(1).mean()))
    assert likeness[1] > likeness[0] + 0.1


def test_data_that_is_too_little_is_refused_before_training(data: Path, tmp_path: Path) -> None:
    for recipe in (dataclasses.replace(TOY, batch=44), dataclasses.replace(TOY, joined_words=1)):
        with pytest.raises(UsageError, match="44 training clips, and 0 pairs"):
            pretrain(data, tmp_path / "model.npz", recipe, 1, print)
    (tmp_path / "manifest.csv").write_text("path,dataset,word,speaker,split,seconds\n")
    with pytest.raises(UsageError, match="no training clips of bed, cat"):
        pretrain(tmp_path, tmp_path / "model.npz", TOY, 1, print)


def test_a_small_run_makes_a_model_that_loads(data: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    metrics = pretrain(data, tmp_path / "model.npz", TOY, 1, lines.append)
    model = load_model(tmp_path / "model.npz")
    assert [line.split("  ")[0] for line in lines] == [f"epoch {n}/5" for n in range(1, 6)]
    assert ["float companion" in line for line in lines] == [False, True, True, False, False]
    assert {f"{split}_{kind}" for split in ("val", "test") for kind in ("fixed", "float_twin", "float_dense")} <= set(
        metrics
    )
    assert metrics["open_set_q14"] == model.open_set_q14 != 0
    assert [word.name for word in model.words] == list(VOCABULARY)
    assert model.labels == tuple(sorted(f"speech_commands:{word}" for word in (*VOCABULARY, "house")))
    assert all(model.labels[word.row] == f"speech_commands:{word.name}" for word in model.words)
    assert all(word.threshold_q14 != 0 and not word.taught for word in model.words)
    layer = model.network.layers[0]
    assert (layer.inputs, layer.hidden, layer.theta_x_q13, layer.theta_h_q13) == (32, 16, 2048, 820)
    assert model.prototypes.shape == (11, 16)
    assert len(model.rehearsal) > 1000
    assert model.provenance["recipe"]["seed"] == 1
