"""The protocols over a data folder, on recordings that are shipped: what is counted, and what cannot be measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgelearn.audio.datasets import ClipInfo
from edgelearn.errors import UsageError
from edgelearn.learning.evaluation import ClipReader, speaker_sets
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import Model
from edgelearn.runtime.protocols import METRICS, SHOTS, FewShot, measure_base, novel_words
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
