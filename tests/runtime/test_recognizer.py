"""The listening half: the same events for any blocks, an exact M when the weights change, gaps, refractory time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgelearn.audio.activity import NEVER, ActivityReadout
from edgelearn.audio.endpoint import END, ONSET, SPEECH, Endpointer
from edgelearn.device.arena import Arena
from edgelearn.runtime.model import Model
from edgelearn.runtime.recognizer import FAR_Q14, Event, Recognizer, Utterance
from edgelearn.runtime.voice import VoiceDevice
from tests import reference_audio
from tests.runtime.own_voice import own_voice
from tests.sounds import flickering

Sound = NDArray[np.int16]
Frames = NDArray[np.int8]
Stream = Callable[..., Sound]
HOP_S = 0.02
BED_AT = 4000 + 800
"""Where the word begins in a stream of "bed", in samples."""


def hear(recognizer: Recognizer, sound: Sound, block: int = 1600) -> list[Event]:
    recognizer.reset()
    events = [event for at in range(0, len(sound), block) for event in recognizer.push(sound[at : at + block])]
    return events + recognizer.finish()


def without_noise_in_a_stream(device: VoiceDevice, samples: Sound) -> tuple[Frames, Frames, int]:
    """Return the frames of a sound, what the network sees of them by a slow twin, and the number of onsets."""
    config = device.frontend.config
    device.frontend.reset()
    raw = device.frontend.push(samples)
    endpointer = Endpointer(device.endpoint, config.bands, Arena(4096))
    twin, floor = raw.copy(), raw[0]
    onsets = fed = last = quiet = 0
    noisy = False
    for now, frame in enumerate(raw):
        code = endpointer.push(frame)
        if code == ONSET:
            onsets += 1
            floor = endpointer.floor
            noisy = 2 * sum(band > -40 for band in floor.tolist()) >= config.bands
            fed = max(0, now - device.endpoint.lag_frames + 1 - (10 if noisy else 0))
        if code in (ONSET, SPEECH):
            last = now
        after = min(last + 1 + device.endpoint.post_frames + (6 if noisy else 0), now + 1)
        stop = {ONSET: now + 1, SPEECH: now + 1, END: after}.get(code, 0)
        for t in range(max(fed, quiet), stop):
            twin[t] = reference_audio.subtracted(twin[t].tolist(), floor.tolist(), config.gain_q20 / 1024)
        quiet = max(quiet, stop)
    return raw, twin, onsets


@pytest.fixture
def all_heard(model: Model) -> VoiceDevice:
    """A device that takes every utterance for a word, so that these tests do not depend on how good the model is."""
    words = tuple(replace(word, threshold_q14=-40000) for word in model.words)
    return VoiceDevice(replace(model, words=words, activity=ActivityReadout()))


def test_every_utterance_is_an_event_with_its_times(all_heard: VoiceDevice, stream: Stream) -> None:
    events = hear(all_heard.recognizer, stream("bed", "down", "five"))
    assert len(events) == 3
    for event in events:
        assert 0 <= event.start_s < event.end_s
        assert event.latency_ms == 240
        assert 0.3 < event.sparsity < 1
        assert -1 <= event.score <= 1
    assert [event.start_s for event in events] == pytest.approx([0.25, 1.37, 2.72], abs=0.1)


def test_an_event_is_told_in_seconds_and_rounded() -> None:
    event = Event("bed", 6737, 7, 18, 30, 441 / 22050, 0.7484)
    told = {"word": "bed", "score": 6737 / 16384, "start_s": 0.14, "end_s": 0.38, "latency_ms": 240.0}
    assert event.fields() == told | {"sparsity": 0.7484}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=20))
def test_blocks_of_any_size_give_the_same_events(all_heard: VoiceDevice, stream: Stream, sizes: list[int]) -> None:
    sound = stream("bed", "down")
    recognizer = all_heard.recognizer
    wanted = hear(recognizer, sound)
    counts = recognizer.counts
    recognizer.reset()
    events, at, turn = [], 0, 0
    while at < len(sound):
        size = max(sizes[turn % len(sizes)], 7 if sum(sizes) == 0 else 0)
        events += recognizer.push(sound[at : at + size])
        at += size
        turn += 1
    events += recognizer.finish()
    assert events == wanted
    assert recognizer.counts == counts


def test_an_utterance_is_handed_out_as_the_network_saw_it(all_heard: VoiceDevice, stream: Stream) -> None:
    recognizer = all_heard.recognizer
    seen: list[Utterance] = []
    recognizer.on_utterance = seen.append
    (event,) = hear(recognizer, stream("bed"))
    (utterance,) = seen
    around = all_heard.endpoint.surroundings
    assert utterance.frames.shape == (around.before + utterance.stop - utterance.start + around.after, 32)
    assert utterance.heard == event.word
    config = all_heard.model().endpoint
    assert event.start_s == pytest.approx((utterance.start + config.pre_frames) * HOP_S)
    assert event.end_s == pytest.approx((utterance.stop - config.post_frames) * HOP_S)
    # the score is that of the same frames as a clip of their own
    unit, _ = all_heard.hearing.embed(utterance.frames)
    rows = np.array([word.row for word in recognizer.words])
    assert event.score == int(all_heard.classifier.scores(unit, rows)[0].max()) / 16384


@pytest.mark.parametrize(("beyond", "in_others"), [(0, True), (1, False)])
def test_an_utterance_far_from_every_word_is_heard_in_its_own_voice_alone(
    all_heard: VoiceDevice, stream: Stream, beyond: int, in_others: bool
) -> None:
    recognizer, sound, seen = all_heard.recognizer, stream("bed"), list[Utterance]()
    recognizer.on_utterance = seen.append
    hear(recognizer, sound)
    (utterance,) = seen
    unit, own = own_voice(all_heard, utterance.frames)
    whole = all_heard.hearing.embed(utterance.frames)[1]
    score = int(all_heard.classifier.scores(unit, np.array([word.row for word in recognizer.words]))[0].max())
    recognizer.words = tuple(replace(word, threshold_q14=score + FAR_Q14 + beyond) for word in recognizer.words)
    assert hear(recognizer, sound) == []
    assert recognizer.counts.frames == (whole if in_others else own).frames
    assert whole.frames > 2 * own.frames


def test_the_noise_at_an_onset_is_taken_off_every_frame_once(all_heard: VoiceDevice, stream: Stream) -> None:
    """In a word that begins anew within an utterance, frames that went into the network before stay as they were."""
    recognizer = all_heard.recognizer
    rng = np.random.default_rng(5)
    sound = np.concatenate((np.zeros(20800), stream("bed", "go")))
    sound += rng.normal(0, 10, len(sound))
    sound[8000:26000] += rng.normal(0, 60, 18000) * flickering(18000)
    samples = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
    seen: list[Utterance] = []
    recognizer.on_utterance = seen.append
    recognizer.reset()
    recognizer.push(samples)
    raw, twin, onsets = without_noise_in_a_stream(all_heard, samples)
    assert onsets > len(seen) >= 2
    for utterance in seen:
        own = all_heard.endpoint.surroundings.own(utterance.frames)
        assert own.tolist() == twin[utterance.start : utterance.stop].tolist()
        assert (own != raw[utterance.start : utterance.stop]).any()


@pytest.mark.parametrize(("level", "lead", "before", "after"), [(20, 30, 0, 0), (200, 30, 10, 6), (200, 12, 10, 6)])
def test_in_noise_an_utterance_has_what_was_around_it(
    all_heard: VoiceDevice, stream: Stream, level: float, lead: int, before: int, after: int
) -> None:
    """Without that noise, as far as there was sound before it; in a quiet room its ends are repeated instead."""
    recognizer, word = all_heard.recognizer, stream("go")
    begins = int(np.flatnonzero(np.abs(word) > 1000)[0])
    sound = np.concatenate((np.zeros(lead * 320), word[begins:]))
    sound += np.random.default_rng(2).normal(0, level, len(sound))
    samples = np.clip(np.rint(sound), -32768, 32767).astype(np.int16)
    seen: list[Utterance] = []
    recognizer.on_utterance = seen.append
    recognizer.reset()
    recognizer.push(samples)
    (utterance,) = seen
    _, twin, _ = without_noise_in_a_stream(all_heard, samples)
    assert (utterance.start < 10) == (lead == 12)
    around = twin[max(0, utterance.start - before) : utterance.stop + after]
    assert all_heard.endpoint.surroundings.sounding(utterance.frames).tolist() == around.tolist()


@pytest.mark.parametrize("hang_frames", [12, 40])
def test_the_end_of_a_stream_ends_the_utterance_under_way(model: Model, stream: Stream, hang_frames: int) -> None:
    """However long the end pointer waits, and wherever the sound stops: a second of silence more changes nothing."""
    words = tuple(replace(word, threshold_q14=-40000) for word in model.words)
    endpoint = replace(model.endpoint, hang_frames=hang_frames)
    recognizer, seen = VoiceDevice(replace(model, words=words, endpoint=endpoint)).recognizer, list[Utterance]()
    recognizer.on_utterance = seen.append
    sound = stream("bed")
    for cut in range(BED_AT + 2000, len(sound), 500):
        seen.clear()
        assert len(hear(recognizer, sound[:cut])) == len(seen) == 1
        assert recognizer.push(np.zeros(16000, np.int16)) == []
        assert len(seen) == 1


def test_silence_and_no_words_give_no_events(device: VoiceDevice, stream: Stream) -> None:
    assert hear(device.recognizer, np.zeros(16000, np.int16)) == []
    assert device.recognizer.counts.macs_forward == 0
    device.recognizer.words = ()
    assert hear(device.recognizer, stream("bed")) == []
    assert device.recognizer.counts.macs_forward > 0


def test_a_threshold_and_a_sensitivity_decide(all_heard: VoiceDevice, stream: Stream) -> None:
    recognizer, sound = all_heard.recognizer, stream("bed")
    (event,) = hear(recognizer, sound)
    words = recognizer.words
    for over, expected in ((0, 1), (1, 0)):
        recognizer.words = tuple(replace(word, threshold_q14=event.score_q14 + over) for word in words)
        assert len(hear(recognizer, sound)) == expected
    recognizer.bias_q14 = 1
    assert len(hear(recognizer, sound)) == 1


def test_after_a_gap_the_clock_goes_on_and_nothing_old_is_heard(all_heard: VoiceDevice, stream: Stream) -> None:
    recognizer, sound = all_heard.recognizer, stream("bed")
    recognizer.reset()
    half = sound[: 4000 + 3000]  # in the middle of the word
    assert recognizer.push(half) == []
    frames = recognizer.frames
    recognizer.gap()
    assert recognizer.frames == frames
    assert recognizer.push(np.concatenate((sound[-8000:], sound[-8000:]))) == []
    events = recognizer.push(sound) + recognizer.finish()
    assert len(events) == 1
    assert events[0].start_s == pytest.approx(frames * HOP_S + 1 + 0.25, abs=0.1)


@pytest.mark.parametrize("noise", [0, 400])
@pytest.mark.parametrize("before", ["bed", "banana", "window"])
def test_after_a_gap_all_is_as_in_a_stream_that_begins_there(
    device: VoiceDevice, stream: Stream, before: str, noise: int
) -> None:
    """Whatever was said before: not its frames, nor that somebody spoke, nor that this very word was heard."""
    recognizer, found = device.recognizer, []
    rng = np.random.default_rng(2)
    recognizer.refractory_frames = 200
    recognizer.on_utterance = found.append

    def noisy(sound: Sound) -> Sound:
        return np.clip(sound + noise * rng.standard_normal(len(sound)), -32768, 32767).astype(np.int16)

    first, second = noisy(stream(before)), noisy(stream("bed"))[BED_AT - 960 :]
    wanted = [(e.word, e.score, e.start_s) for e in hear(recognizer, second)]
    heard = found[0]
    assert heard.start == 0  # there would be more before it
    for cut in (len(first), len(first) - 5000, 9000):
        recognizer.reset()
        recognizer.push(first[:cut])
        recognizer.gap()
        begun = recognizer.frames
        found.clear()
        events = recognizer.push(second) + recognizer.finish()
        assert [(e.word, e.score, round(e.start_s - begun * HOP_S, 3)) for e in events] == [
            (word, score, round(start_s, 3)) for word, score, start_s in wanted
        ]
        assert (found[0].start - begun, found[0].spoken) == (heard.start, heard.spoken)
        np.testing.assert_array_equal(found[0].frames, heard.frames)
        assert found[0].talk == NEVER


def test_a_word_rests_for_its_refractory_time_in_sound(all_heard: VoiceDevice, stream: Stream) -> None:
    recognizer, sound = all_heard.recognizer, stream("bed", "bed", "bed")
    starts = [event.start_s for event in hear(recognizer, sound)]
    assert len(starts) == 3
    apart = round((starts[1] - starts[0]) / HOP_S)
    recognizer.refractory_frames = apart - 3
    assert len(hear(recognizer, sound)) == 3
    # the second is within the time of the first, the third is not: a word that was not reported does not prolong it
    recognizer.refractory_frames = apart + 3
    assert [event.start_s for event in hear(recognizer, sound)] == [starts[0], starts[2]]
    assert len(hear(recognizer, sound, block=160)) == 2


def dense_memory(device: VoiceDevice) -> NDArray[np.int64]:
    """M as the definition has it, from all weights, x^ and h^."""
    layer, state = device.network.layers[0], device.recognizer._state.layers[0]
    columns = np.concatenate((state.x_hat, state.h_hat)).astype(np.int64)
    return layer.bias.astype(np.int64) + columns @ layer.weights_hi.astype(np.int64)


def test_m_is_exact_when_the_weights_change_within_an_utterance(device: VoiceDevice, stream: Stream) -> None:
    recognizer, sound = device.recognizer, stream("bed")
    recognizer.reset()
    recognizer.push(sound[:6400])
    state = recognizer._state.layers[0]
    np.testing.assert_array_equal(state.memory, dense_memory(device))
    assert np.count_nonzero(state.h_hat)
    fed = recognizer._fed
    params = device.network.params()
    params["layer0.weights_hi"] = np.random.default_rng(0).integers(-60, 60, (160, 512), np.int8)
    device.network.load(params)
    recognizer.weights_changed()
    recognizer.push(sound[6400:7600])
    assert recognizer._fed > fed
    np.testing.assert_array_equal(state.memory, dense_memory(device))


def test_the_ring_holds_the_longest_utterance(all_heard: VoiceDevice) -> None:
    """A sound of nearly the limit, in noise: its frames are those of the front end without that noise."""
    rng = np.random.default_rng(3)
    config = all_heard.model().endpoint
    quiet, loud = rng.normal(0, 10, 16000), rng.normal(0, 6000, 320 * (config.longest - config.hang_frames - 6))
    sound = np.concatenate((quiet, loud * flickering(len(loud)), quiet)).astype(np.int16)
    seen: list[Utterance] = []
    all_heard.recognizer.on_utterance = seen.append
    hear(all_heard.recognizer, sound)
    (utterance,) = seen
    assert len(utterance.frames) > 60
    _, frames, _ = without_noise_in_a_stream(all_heard, sound)
    own = all_heard.endpoint.surroundings.own(utterance.frames)
    np.testing.assert_array_equal(own, frames[utterance.start : utterance.stop])
