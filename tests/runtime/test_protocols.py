"""The protocols over a data folder, on recordings that are shipped: what is counted, and what cannot be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgelearn.audio.datasets import ClipInfo
from edgelearn.errors import UsageError
from edgelearn.learning.evaluation import ClipReader, People, people_of, speaker_sets
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import Model
from edgelearn.runtime.protocols import METRICS, SHOTS, SHOTS_ACROSS, FewShot, measure_base, novel_words
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.voice import VoiceDevice


def clip(name: str, dataset: str, word: str, novel: bool | None = None, speaker: str = "slt") -> ClipInfo:
    (path,) = RECORDINGS.glob(f"{name}*.wav")
    return ClipInfo(path, dataset, word, speaker, "test", 1.0, novel)


@pytest.fixture(scope="module")
def clips() -> list[ClipInfo]:
    base = [clip(word, "speech_commands", word, speaker=word) for word in ("bed", "down", "five", "right")]
    takes = [clip(f"computer_flite-slt_take{n}", "mine", "computer", True) for n in range(1, 8)]
    others = [clip(word, "mine", word, False) for word in ("banana", "yellow", "window")]
    return base + takes + others


def test_base_accuracy(model: Model, device: VoiceDevice, clips: list[ClipInfo]) -> None:
    result = measure_base(device, model, clips, "test", 0)
    right = [one for word in result.by_word.values() for one in word]
    assert result.accuracy == sum(right) / len(right)
    assert (result.clips, result.speakers, list(result.by_word)) == (4, 4, ["bed", "down", "five", "right"])
    assert result.interval[0] <= result.accuracy <= result.interval[1]
    assert result.counts.macs_forward > 0
    with pytest.raises(UsageError, match="no val clips"):
        measure_base(device, model, clips, "val", 0)


@pytest.mark.parametrize("learner", ["prototype", "sparse_bptt"])
def test_few_shot(model: Model, clips: list[ClipInfo], learner: str) -> None:
    def measure() -> tuple[dict[str, object], VoiceDevice]:
        device = VoiceDevice(model)
        subjects = list(speaker_sets(model, clips, ClipReader(model), {"mine:computer"}, 1, ["mine"]))
        protocol = FewShot(device, model, clips, LearnerConfig(steps=4), 2, 0)
        return protocol.measure(subjects, learner), device

    result, device = measure()
    for shots in SHOTS:
        assert result[f"speakers_k{shots}"] == 1
        assert result[f"n_k{shots}"] == 2 * (7 - shots)
        assert result[f"closed_k{shots}"] == 1.0  # there is only one novel word
        for metric in METRICS:
            value, interval = result[f"{metric}_k{shots}"], result[f"{metric}_k{shots}_ci95"]
            assert interval == (value, value)
    assert result["base_before"] == measure_base(device, model, clips, "test", 0).accuracy
    assert 0 <= result["base_after"] <= 1  # type: ignore[operator]
    assert (result["learn_sparsity"] == 0) == (learner == "prototype")
    assert result["peak_bytes"] <= result["budget_bytes"]  # type: ignore[operator]
    # the device is given back as it was, and a second measurement says the same
    assert device.model().words == model.words
    again, _ = measure()
    assert {k: v for k, v in again.items() if k != "learn_seconds"} == {
        k: v for k, v in result.items() if k != "learn_seconds"
    }


def crowd(count: int, others: int = 3) -> list[ClipInfo]:
    """People who say computer and window once each, in the voice of one, and other words."""
    takes = [clip(f"computer_flite-slt_take{1 + p % 7}", "many", "computer", True, f"p{p}") for p in range(count)]
    takes += [clip("window", "many", "window", True, f"p{p}") for p in range(count)]
    names = ("banana", "yellow", "tomorrow")
    return takes + [clip(names[p % 3], "many", names[p % 3], False, f"p{p * 3}") for p in range(others)]


@pytest.mark.parametrize("learner", ["prototype", "delta_rule", "sparse_bptt"])
def test_across_speakers(model: Model, clips: list[ClipInfo], learner: str) -> None:
    novel = {"many:computer", "many:window"}

    def measure() -> dict[str, object]:
        protocol = FewShot(VoiceDevice(model), model, clips, LearnerConfig(steps=4), 2, 0)
        return protocol.measure_across(people_of(crowd(8, 4), ClipReader(model), novel, "many", "test"), learner)

    result = measure()
    assert SHOTS_ACROSS == (1, 5, 10)
    for shots in (1, 5):
        # of 8 people 1 or 2 (5 to 7) gave takes, in each of two draws; everyone else said two words
        givers = (1, 2) if shots == 1 else (5, 8)
        assert 2 * 2 * (8 - givers[1]) <= result[f"n_k{shots}"] <= 2 * 2 * (8 - givers[0])  # type: ignore[operator]
        assert 0 < result[f"speakers_k{shots}"] <= 8  # type: ignore[operator]
        for metric in METRICS:
            value, interval = result[f"{metric}_k{shots}"], result[f"{metric}_k{shots}_ci95"]
            if metric == "fa_auto" and value is None:  # all who say something else gave a take
                continue
            assert interval[0] <= value <= interval[1]  # type: ignore[index, operator]
    # 8 people are not more than 10
    assert all(result[f"{metric}_k10"] is result[f"{metric}_k10_ci95"] is None for metric in METRICS)
    assert (result["n_k10"], result["speakers_k10"]) == (0, 0)
    assert result["base_before"] is not None
    assert result["base_after"] is None
    assert (result["learn_sparsity"] == 0) == (learner != "sparse_bptt")
    assert result["closed_k5"] > 0.8  # type: ignore[operator]
    assert {k: v for k, v in measure().items() if k != "learn_seconds"} == {
        k: v for k, v in result.items() if k != "learn_seconds"
    }


def test_across_speakers_rejects_only_what_others_say(
    model: Model, device: VoiceDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other words are those of people who gave no take, and each person counts the same."""
    from edgelearn.runtime import protocols

    people = people_of(crowd(12, 4), ClipReader(model), {"many:computer", "many:window"}, "many", "test")
    assert [speaker for speaker, _ in people.others] == ["p0", "p3", "p6", "p9"]
    asked = []
    real = protocols.score_draw

    def score_draw(*args: object) -> object:
        asked.append((args[2], args[3]))
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(protocols, "score_draw", score_draw)
    protocol = FewShot(device, model, [], LearnerConfig(), 4, 0)
    result = protocol.measure_across(people, "prototype")
    assert len(asked) >= 4 + 4
    for draw, others in asked:
        wanted = [frames for speaker, frames in people.others if speaker not in draw.givers]
        assert all(a is b for a, b in zip(others, wanted, strict=True))
        assert draw.givers.isdisjoint(draw.testers)
    assert device.classifier.rows == len(model.prototypes)
    tested = {speaker for draw, _ in asked[:4] for speaker in draw.testers}
    assert result["speakers_k1"] == len(tested)
    # nobody else, no other words: the hit rates have nothing to be measured at
    alone = protocol.measure_across(People(people.words, []), "prototype")
    assert alone["hit_at_1pct_fa_k1"] is alone["fa_auto_k1"] is None
    assert alone["closed_k1"] == result["closed_k1"]


def test_what_nobody_could_be_tested_on_is_none(model: Model, device: VoiceDevice) -> None:
    result = FewShot(device, model, [], LearnerConfig(), 1, 0).measure([], "prototype")
    assert result["base_before"] is result["base_after"] is result["learn_seconds"] is None
    assert all(result[f"{metric}_k{shots}"] is None for metric in METRICS for shots in SHOTS)


def test_novel_words(model: Model, clips: list[ClipInfo]) -> None:
    assert novel_words(model.labels, clips, None) == {"mine:computer"}
    assert novel_words(model.labels, clips, "mine:yellow, mine:window,") == {"mine:yellow", "mine:window"}
    unmarked = [replace(one, novel=None) for one in clips]
    everything = {f"mine:{word}" for word in ("computer", "banana", "yellow", "window")}
    assert novel_words(model.labels, unmarked, None) == everything
    silent = ClipInfo(Path("x"), "mine", "_noise_", "", "test", 1.0, None)
    assert novel_words(model.labels, [*unmarked, silent], None) == everything
    with pytest.raises(UsageError, match="no clip of 'mine:nope'"):
        novel_words(model.labels, clips, "mine:nope")
