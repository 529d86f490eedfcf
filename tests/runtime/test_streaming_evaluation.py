"""Continuous sound: margins, rates and bounds are exact, and what is judged is what the device reports."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import poisson

from edgelearn.audio.clips import read_clip
from edgelearn.audio.datasets import ClipInfo, read_manifest
from edgelearn.errors import UsageError
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import Model
from edgelearn.runtime.recognizer import Utterance
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.streaming_evaluation import (
    BACKGROUND,
    EVENTS,
    QUIET,
    StreamProtocol,
    Tally,
    design_effect,
    poisson_upper95,
)
from edgelearn.runtime.voice import VoiceDevice
from tests.runtime.folders import stream_data
from tests.sounds import in_turn


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stream_data(tmp_path_factory.mktemp("stream"))


@pytest.fixture(scope="module")
def clips(data: Path) -> list[ClipInfo]:
    return read_manifest(data)


def test_every_condition_is_measured(model: Model, clips: list[ClipInfo]) -> None:
    device = VoiceDevice(model)
    protocol = StreamProtocol(device, model, clips, 1, 0, LearnerConfig(steps=4))
    results = protocol.measure("mine", {"mine:computer"})
    assert [(r["snr_db"], r["noise"]) for r in results] == [
        (None, QUIET), (20, BACKGROUND), (10, BACKGROUND), (10, EVENTS),
    ]  # fmt: skip
    takes = len(list(RECORDINGS.glob("computer_*.wav")))
    for result in results:
        assert (result["n"], result["speakers"]) == (takes - 5, 1)
        assert result["hours"] == result["hours_of_sound"] > 0
        assert result["false_accepts_per_hour_upper95"] > result["false_accepts_per_hour"] >= 0
        rates = [point["miss_rate"] for point in result["curve"]]
        assert rates == sorted(rates, reverse=True)
        assert result["miss_rate_at_1_fa_per_hour"] in rates
        assert result["miss_rate_at_1_fa_per_hour_everywhere"] >= result["miss_rate_at_1_fa_per_hour"]
        assert result["margin_everywhere"] >= result["margin_at_1_fa_per_hour"]
    assert results[0]["miss_rate"] == 0
    assert 200 < results[0]["latency_ms_median"] < 400
    # the device is as it was
    np.testing.assert_array_equal(device.classifier.prototypes(), model.prototypes)
    assert device.recognizer.words == model.words
    assert protocol.measure("mine", {"mine:nothing"}) == []
    assert protocol.measure("mine", {"mine:computer"}) == results


def test_draws_are_pooled(model: Model, clips: list[ClipInfo]) -> None:
    """Each draws its own takes, from the first seed on, and hears the same other sound."""
    device = VoiceDevice(model)

    def measure(draws: int, seed: int) -> list[dict[str, Any]]:
        return StreamProtocol(device, model, clips, draws, seed, LearnerConfig(steps=4)).measure(
            "mine", {"mine:computer"}
        )

    firsts, seconds = measure(1, 3), measure(1, 4)
    for both, first, second in zip(measure(2, 3), firsts, seconds, strict=True):
        assert both["n"] == first["n"] + second["n"]
        assert both["speakers"] == 1
        assert both["hours"] == 2 * both["hours_of_sound"] == 2 * first["hours"]
        for share in ("miss_rate", "not_found_rate", "wrong_word_rate"):
            assert both[share] == pytest.approx((first[share] + second[share]) / 2)
    assert firsts != seconds


def test_judging_utterances_is_what_a_stream_does(model: Model, data: Path, clips: list[ClipInfo]) -> None:
    device = VoiceDevice(model)
    protocol = StreamProtocol(device, model, clips, 1, 0)
    names = {word.row: word.name for word in model.words}
    streams = {
        0: read_clip(data / "talk.wav"),
        1: in_turn("window", 0.25, "zero"),
        2: in_turn("window", 0.25, "left", 0.25, "zero"),
        3: in_turn("window", 1.6, "zero"),
    }
    heard: dict[int, list[str]] = {}
    for number, sound in streams.items():
        seen: list[Utterance] = []
        device.recognizer.reset()
        device.recognizer.on_utterance = seen.append
        events = device.recognizer.push(sound)
        device.recognizer.on_utterance = None
        assert len(seen) >= 2
        alone = [device.recognizer.judge(utterance.frames) for utterance in seen]
        assert [j.score_q14 for j in alone if j] == [utterance.score_q14 for utterance in seen]
        judged = protocol._judge(seen)
        assert [names[row] if margin >= 0 else "" for row, margin in judged] == [one.heard for one in seen]
        heard[number] = [event.word for event in events]
        assert heard[number] == [one.heard for one in seen if one.heard]
    assert (heard[1], heard[2], heard[3]) == ([], ["left", "zero"], ["zero"])


def test_data_without_running_speech_is_refused(model: Model, device: VoiceDevice, clips: list[ClipInfo]) -> None:
    with pytest.raises(UsageError, match="no running speech"):
        StreamProtocol(device, model, [clip for clip in clips if clip.word], 1, 0)


def test_a_tally_allows_just_so_many_false_accepts() -> None:
    tally = Tally([[0.3, 0.1, -math.inf], [-0.2]], false_margins=[-0.3, 0.2, 0.05, -0.1], hours=2.0)
    assert tally.level(10) == -math.inf
    assert tally.misses_above(-math.inf) == 0.25
    # two in two hours: 0.2 and 0.05 get through, -0.1 does not
    assert tally.level(1) == -0.1
    assert tally.misses_above(-0.1) == 0.5
    assert tally.level(0.5) == 0.05
    assert tally.level(0.4) == 0.2
    assert tally.misses_above(0.2) == 0.75


@pytest.mark.parametrize(
    ("times", "effect"), [([], 1), ([0, 0], 1), ([1, 1, 1], 1), ([0, 7], 7), ([1, 3], 2.5), ([4, 4, 4], 4)]
)
def test_what_many_devices_accept_counts_once(times: list[int], effect: float) -> None:
    assert design_effect(times) == effect


@pytest.mark.parametrize(("count", "hours"), [(0, 1.0), (3, 0.5), (40, 7.0)])
def test_the_bound_is_that_of_poisson(count: int, hours: float) -> None:
    assert poisson.cdf(count, poisson_upper95(count, hours) * hours) == pytest.approx(0.05)
