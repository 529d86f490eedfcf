"""A command comes after a pause, or after another command: what is said within a talk needs a higher score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio.activity import (
    BEGIN_FRAMES,
    BEGINS,
    END_FRAMES,
    LAG_FRAMES,
    NEVER,
    PAUSE_FRAMES,
    SPOKEN_Q18,
    SURE_Q18,
    UNSPOKEN_Q14,
    WITHIN_TALK_Q14,
    ActivityReadout,
    VoiceActivity,
    more_asked_q14,
    within_talk,
)
from edgelearn.runtime.model import Model
from edgelearn.runtime.recognizer import Utterance
from edgelearn.runtime.voice import VoiceDevice
from tests.sounds import in_turn

SAID, NOISE = SPOKEN_Q18 + 1, -2 * SURE_Q18
WORD = "zero"


class Says(ActivityReadout):
    """Says what it is handed as the hidden state."""

    def score_q18(self, hidden: NDArray[np.int16]) -> int:
        return int(hidden)


def hear(activity: VoiceActivity, scores: list[int], first: int) -> list[int]:
    return [activity.push(score, first + n) for n, score in enumerate(scores)]  # type: ignore[arg-type]


def test_a_talk_ends_with_a_pause_or_a_command() -> None:
    for command in (NEVER, 500, 999):
        talks = (NEVER, 1000 - PAUSE_FRAMES, 1001 - PAUSE_FRAMES, 999)
        within = [within_talk(1000, talk, command) for talk in talks]
        assert within == ([False] * 4 if command == 999 else [False, False, True, True])
    asked = {(spoken, within): more_asked_q14(spoken, within) for spoken in (True, False) for within in (True, False)}
    assert asked == {
        (True, False): 0,
        (False, False): UNSPOKEN_Q14,
        (True, True): WITHIN_TALK_Q14,
        (False, True): UNSPOKEN_Q14 + WITHIN_TALK_Q14,
    }


def test_a_talk_is_what_was_surely_said_before_an_utterance() -> None:
    activity = VoiceActivity(Says())
    assert activity.talk == NEVER
    activity.begin(100)
    hear(activity, [SAID, SAID, SPOKEN_Q18, NOISE], 100)  # only just as sure is not sure
    assert activity.talk == NEVER
    activity.begin(130)
    assert activity.talk == 101 - LAG_FRAMES
    hear(activity, [SPOKEN_Q18] * 9, 130)
    activity.begin(160)
    assert activity.talk == 101 - LAG_FRAMES
    activity.reset()
    assert activity.talk == NEVER


def test_what_begins_behind_a_noise_is_no_talk_before_itself() -> None:
    activity = VoiceActivity(Says())
    activity.begin(100)
    hear(activity, [SAID] * 2, 100)
    activity.begin(200)
    told = hear(activity, [NOISE] * END_FRAMES + [SAID] * BEGIN_FRAMES, 200)
    assert told[-1] == BEGINS
    activity.begin(200 + len(told) - 1, anew=True)
    assert activity.talk == 101 - LAG_FRAMES
    activity.begin(300)
    assert activity.talk == 200 + len(told) - 1 - LAG_FRAMES


def heard(device: VoiceDevice, sound: NDArray[np.int16], block: int = 1600) -> list[str]:
    device.recognizer.reset()
    pieces = (sound[at : at + block] for at in range(0, len(sound), block))
    return [event.word for piece in pieces for event in device.recognizer.push(piece)]


def test_a_word_right_after_a_talk_is_heard_after_a_pause_and_after_a_command(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = VoiceDevice(model)
    talk = ("window", 0.25, WORD)
    assert heard(device, in_turn(*talk)) == []
    assert heard(device, in_turn("window", 1.6, WORD)) == [WORD]
    assert heard(device, in_turn("left", 0.25, WORD)) == ["left", WORD]
    assert heard(device, in_turn(*talk), 77) == []
    monkeypatch.setattr("edgelearn.audio.activity.WITHIN_TALK_Q14", 0)
    assert heard(device, in_turn(*talk)) == [WORD]


def test_a_command_within_a_talk_does_not_end_it(model: Model) -> None:
    device = VoiceDevice(model)
    seen: list[Utterance] = []
    device.recognizer.on_utterance = seen.append
    sound = in_turn("window", 0.25, "left", 0.25, WORD)
    heard(device, sound)
    _, left, word = seen
    assert left.heard == "left"
    for more, wanted in ((0, ["left", WORD]), (1, ["left"])):
        needed = {WORD: word.score_q14 - WITHIN_TALK_Q14 + more}
        words = (replace(w, threshold_q14=needed.get(w.name, w.threshold_q14)) for w in device.recognizer.words)
        device.recognizer.words = tuple(words)
        assert heard(device, sound) == wanted


def test_a_word_that_was_refused_is_talk(model: Model) -> None:
    device = VoiceDevice(model)
    seen: list[Utterance] = []
    device.recognizer.on_utterance = seen.append
    sound = in_turn("left", 0.25, WORD)
    assert heard(device, sound) == ["left", WORD]
    just = {WORD: seen[1].score_q14}
    words = [replace(w, threshold_q14=just.get(w.name, w.threshold_q14)) for w in device.recognizer.words]
    device.recognizer.words = tuple(words)
    assert heard(device, sound) == ["left", WORD]
    device.recognizer.words = tuple(replace(w, rejects="x") if w.name == "left" else w for w in words)
    assert heard(device, sound) == []
    left, word = seen[-2:]
    assert left.talk == NEVER
    assert left.start < word.talk < left.stop


def test_the_stream_begins_anew_with_nobody_having_talked(model: Model) -> None:
    device = VoiceDevice(model)
    seen: list[Utterance] = []
    device.recognizer.on_utterance = seen.append
    for _ in range(2):
        heard(device, in_turn("window"))
    assert [utterance.talk for utterance in seen] == [NEVER, NEVER]


def test_without_a_readout_nobody_knows_of_a_talk(model: Model) -> None:
    device = VoiceDevice(replace(model, activity=ActivityReadout()))
    seen: list[Utterance] = []
    device.recognizer.on_utterance = seen.append
    heard(device, in_turn("window", 0.25, WORD))
    assert [(utterance.spoken, utterance.talk) for utterance in seen] == [(True, NEVER)] * 2
