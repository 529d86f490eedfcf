"""The protocols: who is tested on what, how a trial is judged, and that the same seed gives the same numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edgelearn
from edgelearn.audio.clips import read_clip
from edgelearn.audio.datasets import ClipInfo
from edgelearn.audio.endpoint import EndpointConfig, find_utterance
from edgelearn.audio.frontend import Frontend, frontend_bytes
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.audio.noise import without_noise
from edgelearn.device.arena import Arena
from edgelearn.learning import evaluation
from edgelearn.learning.evaluation import (
    LEARNERS,
    MEASURING,
    ClipReader,
    Draw,
    SpeakerSet,
    accepted,
    base_accuracy,
    base_clips,
    bootstrap_interval,
    draw_people,
    draw_takes,
    embed_all,
    enrol_all,
    float_accuracy,
    hard_conditions,
    people_of,
    run_trial,
    score_draw,
    score_trial,
    speaker_sets,
)
from edgelearn.learning.head import NO_WHITENING
from tests.learning.toy import LONGEST, frames_in_all_voices, make_toy, takes_of

CLIP = next((Path(edgelearn.__file__).parent / "assets" / "demo").glob("five_*.wav"))


def clip(word: str, speaker: str = "a", dataset: str = "known", split: str = "test", name: str = "") -> ClipInfo:
    return ClipInfo(Path(name or f"{dataset}/{word}/{speaker}"), dataset, word, speaker, split, 1.0, None)


class Device:
    """What the protocols need of a device: a toy that `restore` brings back."""

    def __init__(self) -> None:
        self.toy = make_toy(0)
        self.network, self.classifier = self.toy.network, self.toy.classifier
        self.hearing, self.learner = self.toy.hearing, self.toy.learner
        self._start = self.network.params(), self.classifier.prototypes(), self.toy.memory.pack()

    def restore(self, _: Any) -> None:
        self.network.load(self._start[0])
        self.classifier.load(self._start[1])
        self.toy.memory.unpack(self._start[2])


@pytest.fixture
def device() -> Any:
    return Device()


def subject(seed: int = 3) -> SpeakerSet:
    rng = np.random.default_rng(seed)
    novel = {word: takes_of(rng, 7) for word in ("x", "y")}
    return SpeakerSet("strange", "a", novel, [takes_of(rng, 1)[0] for _ in range(8)])


def test_a_trial_is_judged_at_thresholds_from_the_other_words() -> None:
    scores = np.array([[900.0, 100.0], [200.0, 700.0], [500.0, 600.0], [300.0, 100.0]])
    truth = np.array([0, 1, 0, 0])
    best = np.arange(100.0) * 10  # 0 .. 990: 1 % is one above 980, 5 % five above 940
    others = np.stack((best, best - 1), axis=1)
    same = np.array([600.0, 600.0])
    trial = score_trial(scores, truth, others, same)
    assert trial.closed == 0.75
    assert trial.hits == {0.01: 0.0, 0.05: 0.0}
    assert trial.hit_auto == 0.5
    assert trial.fa_auto == 0.4
    assert trial.tests == 4
    assert score_trial(scores, truth, others / 1.4, same).hits == {0.01: 0.25, 0.05: 0.5}


def test_each_word_is_accepted_at_its_own_threshold() -> None:
    scores = np.array([[900.0, 100.0], [200.0, 700.0], [500.0, 600.0], [300.0, 100.0]])
    truth = np.array([0, 1, 0, 0])
    others = np.array([[250.0, 10.0], [10.0, 250.0], [10.0, 800.0], [299.0, 298.0]])
    thresholds = np.array([300.0, 701.0])
    assert accepted(scores, thresholds).tolist() == [True, False, False, True]
    trial = score_trial(scores, truth, others, thresholds)
    assert (trial.hit_auto, trial.fa_auto) == (0.5, 0.25)
    # a threshold that is reached is enough
    assert score_trial(scores, truth, others, np.array([250.0, 700.0])).fa_auto == 0.75
    assert accepted(np.zeros((0, 2)), thresholds).tolist() == []


@pytest.mark.parametrize("count", [1, 3, 19, 20, 99, 100, 250])
def test_no_more_than_the_share_of_other_words_passes(count: int) -> None:
    rng = np.random.default_rng(count)
    others = rng.normal(size=count)
    columns, threshold = others[:, None], np.zeros(1)
    probes = np.sort(np.concatenate((others, others + 1e-9)))
    for share in evaluation.FALSE_ACCEPTS:
        hits = [score_trial(np.array([[value]]), np.array([0]), columns, threshold).hits[share] for value in probes]
        passing = probes[np.array(hits) > 0]
        assert (others >= passing.min()).sum() <= share * count


def test_without_other_words_there_is_nothing_to_reject() -> None:
    trial = score_trial(np.array([[5.0]]), np.array([0]), np.zeros((0, 1)), np.array([6.0]))
    assert (trial.hits, trial.fa_auto, trial.hit_auto) == ({0.01: None, 0.05: None}, None, 0.0)


def test_bootstrap_interval() -> None:
    values = np.random.default_rng(1).normal(0.8, 0.1, 40).tolist()
    low, high = bootstrap_interval(values, 3)
    assert bootstrap_interval(values, 3) == (low, high) != bootstrap_interval(values, 4)
    assert low < np.mean(values) < high
    # close to what theory says of a mean
    assert high - low == pytest.approx(2 * 1.96 * np.std(values) / np.sqrt(40), rel=0.15)
    assert bootstrap_interval([0.5], 0) == (0.5, 0.5)
    assert bootstrap_interval([0.5, 0.5], 0, [1, 9]) == (0.5, 0.5)
    heavy = bootstrap_interval([0.0, 1.0] * 20, 0, [1, 99] * 20)
    assert heavy[0] > 0.9


def test_hard_conditions_repeat_and_do_what_they_say() -> None:
    samples = read_clip(CLIP)
    hard = hard_conditions(samples, 4)
    assert hard.dtype == np.int16
    assert hard.shape == samples.shape
    np.testing.assert_array_equal(hard_conditions(samples, 4), hard)
    assert (hard_conditions(samples, 5) != hard).any()
    silence = hard_conditions(np.zeros(8000, np.int16), 4)
    assert not silence.any()
    tone = (8000 * np.sin(2 * np.pi * 100 * np.arange(16000) / 16000)).astype(np.int16)
    assert np.abs(hard_conditions(tone, 1)[8000:].astype(float)).mean() < 0.05 * np.abs(tone.astype(float)).mean()


def test_a_reader_is_the_front_end_and_the_end_pointer() -> None:
    model: Any = SimpleNamespace(frontend=FrontendConfig(), endpoint=EndpointConfig())
    samples = read_clip(CLIP)
    read, hard = ClipReader(model), ClipReader(model, 9)
    for reader, heard in ((read, samples), (hard, hard_conditions(samples, 9)), (read, samples)):
        frames = Frontend(model.frontend, Arena(frontend_bytes(model.frontend) + 4)).push(heard)
        start, stop, _ = find_utterance(frames, model.endpoint)
        read_frames, around = reader(CLIP), model.endpoint.surroundings
        np.testing.assert_array_equal(around.own(read_frames), without_noise(frames, model.frontend)[start:stop])
        noisy = len(around.sounding(read_frames)) > stop - start
        assert noisy == (reader is hard)  # and then there is sound around it


def test_a_clip_shorter_than_a_frame_is_read_as_silence(tmp_path: Path) -> None:
    from scipy.io import wavfile

    model: Any = SimpleNamespace(frontend=FrontendConfig(), endpoint=EndpointConfig())
    wavfile.write(tmp_path / "short.wav", 16000, np.ones(300, np.int16))
    frames = ClipReader(model)(tmp_path / "short.wav")
    assert frames.shape == (24, 32)
    assert (frames == -128).all()


def test_base_clips_are_those_of_the_shipped_words_in_the_split() -> None:
    words = (SimpleNamespace(row=1, taught=False), SimpleNamespace(row=2, taught=True))
    model: Any = SimpleNamespace(labels=("known:up", "known:go", "other:up"), words=words)
    clips = [clip("go"), clip("go", split="val"), clip("up"), clip("go", dataset="other"), clip("go", "b")]
    assert base_clips(model, clips, "test") == [(clips[0], 1), (clips[4], 1)]
    assert base_clips(model, clips, "train") == []


def test_speakers_are_those_that_the_model_has_not_heard() -> None:
    model: Any = SimpleNamespace(labels=("known:up", "known:go"))
    read: Any = str
    clips = [
        *(clip("new", "a", name=f"a{n}") for n in range(3)),
        *(clip("rare", "a", name=f"r{n}") for n in range(2)),
        clip("up", "a", name="a up"), clip("", "a", name="running"), clip("_noise_hum", "a", name="hum"),
        *(clip("new", "b", name=f"b{n}") for n in range(2)),
        *(clip("new", "c", split="train", name=f"c{n}") for n in range(5)),
        *(clip("neu", "d", "strange", "train", name=f"d{n}") for n in range(4)),
    ]  # fmt: skip
    novel = {"known:new", "known:rare", "strange:neu"}
    found = list(speaker_sets(model, clips, read, novel, 2, ["known", "strange", "absent"]))
    assert [(s.dataset, s.speaker) for s in found] == [("known", "a"), ("strange", "d")]
    assert found[0].novel == {"new": ["a0", "a1", "a2"]}
    assert found[0].others == ["a up"]
    assert found[1].novel == {"neu": ["d0", "d1", "d2", "d3"]}
    fewer = list(speaker_sets(model, clips, read, novel, 1, ["known"]))
    assert [s.speaker for s in fewer] == ["a", "b"]
    assert list(fewer[0].novel) == ["new", "rare"]


def test_embeddings_and_base_accuracy(device: Any) -> None:
    records = device.toy.memory.exemplars()
    utterances = [device.toy.memory.decode(r, np.zeros((LONGEST, 12), np.int8)).copy() for r in records]
    units, counts = embed_all(device, utterances)
    assert units.shape == (9, 16)
    assert counts.frames == sum(frames_in_all_voices(len(frames)) for frames in utterances)
    rows = np.array([r.row for r in records])
    assert base_accuracy(device, utterances, rows, 0)[0].all()
    assert base_accuracy(device, utterances, (rows + 1) % 3, 0)[0].sum() == 0
    assert embed_all(device, [])[0].shape == (0, 16)


def test_the_float_twin_agrees_on_what_is_easy(device: Any) -> None:
    records = device.toy.memory.exemplars()
    utterances = [device.toy.memory.decode(r, np.zeros((LONGEST, 12), np.int8)).copy() for r in records]
    model: Any = SimpleNamespace(
        params=device.network.params(), network=device.network.config, labels=("a:a", "a:b", "a:c"),
        prototypes=device.classifier.prototypes(), base_classes=3, whitening=NO_WHITENING,
        endpoint=EndpointConfig(outer_pre_frames=0, outer_post_frames=0),
    )  # fmt: skip
    rows = np.array([r.row for r in records])
    assert float_accuracy(model, utterances, rows) == 1.0
    assert float_accuracy(model, utterances[:3], (rows[:3] + np.array([0, 1, 1])) % 3) == pytest.approx(1 / 3)


def is_one_of(frames: np.ndarray, takes: list[np.ndarray]) -> bool:
    return any(frames is take for take in takes)


def test_a_draw_has_shots_of_each_word_and_leaves_the_rest_to_test() -> None:
    speaker = subject()
    draw = draw_takes(speaker, 5, 1)
    assert [k for k, _ in draw.tests] == [0, 0, 1, 1]
    assert (draw.givers, draw.testers) == ({"a"}, ["a"] * 4)
    for k, recordings in enumerate(speaker.novel.values()):
        rest = [frames for position, frames in draw.tests if position == k]
        assert len(draw.takes[k]) == 5
        assert all(is_one_of(frames, recordings) for frames in [*draw.takes[k], *rest])
        assert not any(is_one_of(frames, draw.takes[k]) for frames in rest)
    again, other = draw_takes(speaker, 5, 1), draw_takes(speaker, 5, 2)
    assert all(a is b for (_, a), (_, b) in zip(draw.tests, again.tests, strict=True))
    assert not all(a is b for (_, a), (_, b) in zip(draw.tests, other.tests, strict=True))


def test_words_are_enrolled_one_after_the_other(device: Any) -> None:
    draw = draw_takes(subject(), 5, 1)
    rows, counts, seconds = enrol_all(device, draw.takes, "prototype", MEASURING)
    assert rows == [3, 4]
    assert counts.frames == 0
    assert seconds > 0
    assert [record.row for record in device.toy.memory.exemplars() if record.row >= 3] == [3] * 5 + [4] * 5
    device.restore(None)
    config = dataclasses.replace(MEASURING, steps=2)
    assert enrol_all(device, draw.takes, "sparse_bptt", config)[1].frames > 0
    assert enrol_all(device, [], "sparse_bptt", config)[0] == []


def people(count: int, takes: int = 2, words: int = 2) -> dict[str, list[tuple[str, np.ndarray]]]:
    """`takes` takes of each word by each person; each frame says whose, of what, and which it is."""
    return {
        f"word{k}": [
            (f"p{p}", np.full((9, 12), 40 * k + 8 * n + p, np.int8)) for n in range(takes) for p in range(count)
        ]
        for k in range(words)
    }


@pytest.mark.parametrize("shots", [1, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_nobody_who_gave_a_take_is_tested(shots: int, seed: int) -> None:
    words = people(12)
    words["word1"] = words["word1"][:16]  # some say it once only
    draw = draw_people(words, shots, seed)
    for k, recordings in enumerate(words.values()):
        speakers = [who for who, frames in recordings if is_one_of(frames, draw.takes[k])]
        assert len(draw.takes[k]) == len(set(speakers)) == shots
        assert set(speakers) <= draw.givers
        # everything that everyone else said is tested
        rest = [(who, frames) for who, frames in recordings if who not in draw.givers]
        tested = [(draw.testers[n], frames) for n, (position, frames) in enumerate(draw.tests) if position == k]
        assert all(a == b and x is y for (a, x), (b, y) in zip(rest, tested, strict=True))
    assert draw.givers.isdisjoint(draw.testers)
    assert shots <= len(draw.givers) <= 2 * shots
    again = draw_people(words, shots, seed)
    assert all(a is b for x, y in zip(draw.takes, again.takes, strict=True) for a, b in zip(x, y, strict=True))


def test_people_are_drawn_anew_for_each_word_and_seed() -> None:
    words = people(40, takes=1)
    draws = [draw_people(words, 5, seed) for seed in range(4)]
    assert len({tuple(sorted(draw.givers)) for draw in draws}) == 4
    assert all(len(draw.givers) > 5 for draw in draws)
    # the order of the recordings is not what decides who is drawn
    turned = {word: recordings[::-1] for word, recordings in words.items()}
    assert draw_people(turned, 5, 0).givers == draws[0].givers
    # when everyone gave a take, nobody is left
    assert draw_people(people(5), 5, 0).tests == []


def test_people_and_what_else_they_said() -> None:
    read: Any = str
    clips = [
        clip("yes", "a", name="yes a"), clip("no", "b", name="no b"), clip("yes", "b", name="yes b"),
        clip("up", "a", name="up a"), clip("up", "", name="up nobody"), clip("yes", "", name="yes nobody"),
        clip("yes", "c", split="val", name="yes c"), clip("yes", "d", "other", name="other"),
        clip("", "a", name="running"), clip("_noise_hum", "a", name="hum"),
    ]  # fmt: skip
    found = people_of(clips, read, {"known:yes", "known:no", "other:yes"}, "known", "test")
    assert found.words == {"no": [("b", "no b")], "yes": [("a", "yes a"), ("b", "yes b")]}
    assert found.others == [("a", "up a")]
    assert people_of(clips, read, {"known:yes"}, "known", "val").words == {"yes": [("c", "yes c")]}


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_trial_repeats_and_learns(device: Any, learner: str) -> None:
    model: Any = SimpleNamespace(open_set_q14=0)
    config = dataclasses.replace(MEASURING, steps=12, rate_q16=2000)
    draw, others = draw_takes(subject(), 5, 7), subject().others
    first, second = (
        dataclasses.replace(run_trial(device, model, draw, others, learner, config), seconds=0.0) for _ in range(2)
    )
    assert first == second
    # the delta rule favours what was written last, as long as an untrained network makes all words alike
    assert first.closed >= (0.5 if learner == "delta_rule" else 1.0)
    assert first.tests == 4
    assert (first.counts.frames > 0) == (learner == "sparse_bptt")
    alone = run_trial(device, model, draw, [], learner, config)
    assert (alone.fa_auto, alone.closed) == (None, first.closed)


def test_a_trial_is_judged_by_the_thresholds_that_the_words_would_get(device: Any) -> None:
    model: Any = SimpleNamespace(open_set_q14=-3000)
    draw = draw_takes(subject(), 5, 7)
    scored = score_draw(device, model, draw, subject().others, "prototype", MEASURING)
    assert (scored.scores.shape, scored.others.shape) == ((4, 2), (8, 2))
    assert scored.thresholds.tolist() == [device.learner.threshold_q14(row, -3000) for row in (3, 4)]
    trial = score_trial(scored.scores, scored.truth, scored.others, scored.thresholds)
    assert trial.fa_auto == accepted(scored.others, scored.thresholds).mean()
    nobody = score_draw(device, model, Draw(draw.takes, [], set(), []), [], "prototype", MEASURING)
    assert (nobody.scores.shape, nobody.others.shape) == ((0, 2), (0, 2))
