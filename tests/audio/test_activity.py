"""Speech told from noise: the score, and where utterances begin and end by it, against a slow twin."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgelearn.audio.activity import (
    BEGIN_FRAMES,
    BEGINS,
    BEGUN_FRAMES,
    END_FRAMES,
    ENDED,
    GOES_ON,
    LAG_FRAMES,
    SURE_Q18,
    ActivityReadout,
    VoiceActivity,
)

HIDDEN = 24
STATES = st.lists(st.integers(-8192, 8192), min_size=HIDDEN, max_size=HIDDEN)
WEIGHTS = st.lists(st.integers(-127, 127), min_size=HIDDEN, max_size=HIDDEN)
VOICE, SILENCE, UNSURE = 2 * SURE_Q18, -2 * SURE_Q18, 0


@given(hidden=STATES, weights=WEIGHTS, bias=st.integers(-(1 << 28), 1 << 28))
def test_the_score_is_the_sum_of_products(hidden: list[int], weights: list[int], bias: int) -> None:
    readout = ActivityReadout(np.array(weights, np.int8), bias)
    wanted = bias + sum(h * w for h, w in zip(hidden, weights, strict=True))
    assert readout.score_q18(np.array(hidden, np.int16)) == wanted


def test_the_largest_score_fits_32_bits() -> None:
    readout = ActivityReadout(np.full(512, 127, np.int8), 1 << 28)
    assert readout.score_q18(np.full(512, 8192, np.int16)) == 512 * 127 * 8192 + (1 << 28) < 2**31


def activity_of(scores: list[int]) -> tuple[VoiceActivity, NDArray[np.int16]]:
    """An activity that is told its scores: one weight, and states that are zero but for the first unit."""
    states = np.zeros((len(scores), 1), np.int16)
    states[:, 0] = np.array(scores) >> 6
    return VoiceActivity(ActivityReadout(np.array([64], np.int8), 0)), states


def told(scores: list[int]) -> list[int]:
    activity, states = activity_of(scores)
    return [activity.push(state, now) for now, state in enumerate(states)]


def twin(scores: list[int]) -> list[int]:
    """What has to be told of an utterance, by looking back at all of it in every frame."""
    answers: list[int] = []
    noise_since: int | None = None
    for now in range(len(scores)):
        past = scores[: now + 1]
        run = len(past) >= BEGIN_FRAMES and all(score > SURE_Q18 for score in past[-BEGIN_FRAMES:])
        hush = len(past) >= END_FRAMES and all(score <= -SURE_Q18 for score in past[-END_FRAMES:])
        spoke = any(
            all(score > SURE_Q18 for score in past[n : n + BEGIN_FRAMES]) for n in range(len(past) - BEGIN_FRAMES + 1)
        )
        answer = GOES_ON
        if noise_since is not None:
            answer = BEGINS if run else GOES_ON
        elif hush:
            noise_since = now
            answer = ENDED if spoke else GOES_ON
        answers.append(answer)
        if answer == BEGINS:
            break
    return answers


@given(st.lists(st.sampled_from([VOICE, SILENCE, SILENCE, UNSURE, SURE_Q18, -SURE_Q18]), min_size=1, max_size=60))
def test_speech_begins_and_ends_as_a_look_at_the_whole_utterance_says(scores: list[int]) -> None:
    wanted = twin(scores)
    assert told(scores)[: len(wanted)] == wanted


def test_speech_ends_with_the_last_frame_that_had_some() -> None:
    scores = [VOICE] * 10 + [UNSURE] * 3 + [SILENCE] * END_FRAMES
    activity, states = activity_of(scores)
    answers = [activity.push(state, 100 + now) for now, state in enumerate(states)]
    assert answers[-1] == ENDED
    assert activity.last == 100 + 12 - LAG_FRAMES


def test_a_noise_alone_is_left_whole() -> None:
    assert set(told([SILENCE] * 70)) == {GOES_ON}


def test_speech_behind_a_noise_is_told_once_it_is_sure() -> None:
    answers = told([SILENCE] * 20 + [VOICE] * BEGIN_FRAMES)
    assert answers[-1] == BEGINS
    assert set(answers[:-1]) == {GOES_ON}
    assert BEGUN_FRAMES == BEGIN_FRAMES - 1 + LAG_FRAMES


def test_behind_a_word_that_is_decided_only_more_speech_counts() -> None:
    activity, states = activity_of([SILENCE] * 30 + [VOICE] * BEGIN_FRAMES)
    activity.begin(0, decided=True)
    answers = [activity.push(state, now) for now, state in enumerate(states)]
    assert answers == [GOES_ON] * (29 + BEGIN_FRAMES) + [BEGINS]


@pytest.mark.parametrize("frames", [1, 80])
def test_without_a_readout_everything_is_speech(frames: int) -> None:
    activity = VoiceActivity(ActivityReadout())
    answers = {activity.push(np.zeros(HIDDEN, np.int16), now) for now in range(frames)}
    assert answers == {GOES_ON}
    assert not activity.in_noise
