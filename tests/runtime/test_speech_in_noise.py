"""Words beside a noise that the end pointer takes for one utterance with them: where they begin and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio.activity import (
    BEGIN_FRAMES,
    BEGUN_FRAMES,
    END_FRAMES,
    LAG_FRAMES,
    SPOKEN_Q18,
    SURE_Q18,
    UNSPOKEN_Q14,
    ActivityReadout,
)
from edgelearn.runtime.model import Model
from edgelearn.runtime.recognizer import Event, Recognizer, Utterance
from edgelearn.runtime.voice import VoiceDevice
from tests.sounds import flickering, in_rattle

Sound = NDArray[np.int16]
Make = Callable[[list[int]], tuple[VoiceDevice, list[Utterance]]]
HOP = 320
VOICE, NOISE = 2 * SURE_Q18, -2 * SURE_Q18


class Scripted(ActivityReadout):
    """Says of each utterance's frames in turn what it was told to say, then noise."""

    def score_q18(self, hidden: NDArray[np.int16]) -> int:  # noqa: ARG002
        return next(self.script, NOISE)

    script: Iterator[int] = iter(())


@pytest.fixture
def scripted(model: Model) -> Make:
    """A device that takes every utterance for a word, and hears speech where it is told to."""

    def make(scores: list[int]) -> tuple[VoiceDevice, list[Utterance]]:
        words = tuple(replace(word, threshold_q14=-40000) for word in model.words)
        readout = Scripted()
        object.__setattr__(readout, "script", iter(scores))
        device = VoiceDevice(replace(model, words=words, activity=readout))
        seen: list[Utterance] = []
        device.recognizer.on_utterance = seen.append
        return device, seen

    return make


def loud(frames: int, before: int = 40) -> Sound:
    """Quiet, noise for so many frames that never becomes the floor, quiet."""
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 4000, frames * HOP)
    quiet = rng.normal(0, 10, (before + 40 + frames) * HOP)
    quiet[before * HOP : (before + frames) * HOP] += noise * flickering(len(noise))
    return np.clip(np.rint(quiet), -32768, 32767).astype(np.int16)


def active_frames(device: VoiceDevice, sound: Sound) -> list[int]:
    """The frames after which the recognizer asks who speaks."""
    asked: list[int] = []
    push = device.recognizer._activity.push
    device.recognizer._activity.push = lambda h, now: asked.append(now) or push(h, now)  # type: ignore[method-assign]
    device.recognizer.push(sound)
    return asked


def score_of(device: VoiceDevice, utterance: Utterance) -> int:
    """The best score of its frames alone: what the network saw of it in the stream is to be nothing else."""
    unit, _ = device.hearing.embed(utterance.frames)
    rows = np.array([word.row for word in device.recognizer.words])
    return int(device.classifier.scores(unit, rows)[0].max())


def test_what_is_said_behind_a_noise_begins_there(scripted: Make) -> None:
    noisy = END_FRAMES + 6
    device, seen = scripted([NOISE] * noisy + [VOICE] * 60)
    asked = active_frames(device, loud(45))
    begun = asked[noisy + BEGIN_FRAMES - 1]
    (utterance,) = seen
    assert utterance.start == begun - BEGUN_FRAMES - device.endpoint.pre_frames
    assert utterance.score_q14 == score_of(device, utterance)


def test_what_was_said_is_decided_while_a_noise_goes_on_and_once_only(scripted: Make) -> None:
    spoken = 15
    device, seen = scripted([VOICE] * spoken)
    asked = active_frames(device, loud(50))
    (utterance,) = seen
    last = asked[spoken - 1] - LAG_FRAMES
    assert utterance.stop == last + 1 + device.endpoint.post_frames
    assert utterance.decided == asked[spoken + END_FRAMES - 1]
    assert utterance.score_q14 == score_of(device, utterance)


def test_two_words_in_one_noise_are_two_utterances(scripted: Make) -> None:
    device, seen = scripted([VOICE] * 12 + [NOISE] * (END_FRAMES + 4) + [VOICE] * 12 + [NOISE] * (END_FRAMES + 4))
    device.recognizer.push(loud(70))
    first, second = seen
    assert first.stop < second.stop
    assert second.decided > first.decided


def test_a_word_behind_a_noise_that_never_ends_is_decided_when_it_is_too_long(scripted: Make) -> None:
    quiet, longest = 40, 80
    for scores, wanted in (([NOISE] * 30 + [VOICE] * 200, 1), ([VOICE] * 200, 0), ([NOISE] * 200, 0)):
        device, seen = scripted(scores)
        assert device.endpoint.longest == longest
        device.recognizer.push(loud(2 * longest)[: (quiet + longest + 5) * HOP])
        assert len(seen) == wanted
        assert all(utterance.decided - utterance.start < longest for utterance in seen)


def test_a_sound_without_speech_is_an_utterance_as_a_whole(scripted: Make) -> None:
    device, seen = scripted([NOISE] * 200)
    device.recognizer.push(loud(40))
    (whole,) = seen
    assert whole.stop - whole.start >= 40


def hear(recognizer: Recognizer, sound: Sound, block: int) -> list[Event]:
    recognizer.reset()
    return [event for at in range(0, len(sound), block) for event in recognizer.push(sound[at : at + block])]


def test_what_nobody_is_sure_to_have_said_has_to_be_more_like_a_word(scripted: Make) -> None:
    sound = loud(30)
    device, seen = scripted([VOICE] * 60)
    device.recognizer.push(sound)
    (utterance,) = seen
    for scores, needed in (([SPOKEN_Q18] * 60, 0), ([SPOKEN_Q18 - 1] * 60, UNSPOKEN_Q14)):
        for short, heard in ((0, 1), (1, 0)):
            device, seen = scripted(scores)
            threshold = utterance.score_q14 - needed + short
            words = tuple(replace(word, threshold_q14=threshold) for word in device.recognizer.words)
            device.recognizer.words = words
            assert len(device.recognizer.push(sound)) == heard
            assert seen[0].score_q14 == utterance.score_q14
            assert seen[0].spoken == (needed == 0)


@pytest.mark.parametrize("word", ["down", "five", "left", "one"])
def test_the_shipped_readout_hears_a_word_in_a_rattle_that_hides_it_without(model: Model, word: str) -> None:
    assert len(model.activity.weights_q5) == 128
    device, without = VoiceDevice(model), VoiceDevice(replace(model, activity=ActivityReadout()))
    sound = in_rattle(word)
    events = hear(device.recognizer, sound, 1600)
    assert [event.word for event in events] == [word]
    assert hear(device.recognizer, sound, 77) == events
    assert hear(without.recognizer, sound, 1600) == []
