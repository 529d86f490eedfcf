"""One stream that is heard and learned from: the same bits every time, whatever is heard meanwhile, and clean ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.errors import BudgetExceeded, LearningRejected, UsageError
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import Model
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.session import Countdown, Happening, Session, TakeHeard, Taught
from edgelearn.runtime.voice import VoiceDevice
from tests.sounds import rattle

Stream = Callable[..., NDArray[np.int16]]
CONFIG = LearnerConfig(steps=12, least_takes=1, sweeps=0, max_old_loss=1.0)
TAKES = tuple(f"computer_flite-slt_take{n}" for n in (1, 2, 3))


def play(session: Session, sound: NDArray[np.int16], block: int = 800) -> list[Happening]:
    return [one for at in range(0, len(sound), block) for one in session.push(sound[at : at + block])]


def clipped(sound: NDArray[np.int16]) -> NDArray[np.int16]:
    """Speech far too loud, in the same quiet room."""
    wide = sound.astype(np.int32)
    return np.clip(np.where(np.abs(wide) > 60, wide * 60, wide), -32768, 32767).astype(np.int16)


def everything(device: VoiceDevice) -> list[bytes]:
    model = device.model()
    return [array.tobytes() for array in (*model.params.values(), model.prototypes, model.rehearsal)]


def test_a_word_is_learned_while_listening_and_heard_on_the_same_stream(device: VoiceDevice, stream: Stream) -> None:
    session = Session(device, CONFIG)
    session.ask_for("computer", 3)
    assert session.busy
    sound = stream(*TAKES, "bed", "computer_flite-slt_take5", "computer_flite-slt_take6")
    happened = play(session, sound) + session.finish()
    takes = [one for one in happened if isinstance(one, TakeHeard)]
    (taught,) = (one for one in happened if isinstance(one, Taught))
    assert [(one.word, one.problem, one.missing) for one in takes] == [("computer", "", n) for n in (2, 1, 0)]
    assert (taught.word, taught.takes, taught.report.updates) == ("computer", 3, 12)
    assert taught.seconds > 0
    assert happened.index(taught) > happened.index(takes[-1])
    heard = [one.word for one in happened[happened.index(taught) :] if isinstance(one, Event)]
    assert heard.count("computer") == 2
    assert not session.busy
    assert session.samples == len(sound) + 8000


def test_a_recorded_session_gives_the_same_bits_every_time(model: Model, stream: Stream) -> None:
    sound = stream(*TAKES, "bed", "down", "computer_flite-slt_take5")
    results = []
    for _ in range(2):
        device = VoiceDevice(model)
        session = Session(device, CONFIG, steps_per_block=1)
        session.ask_for("computer", 3)
        happened = play(session, sound) + session.finish()
        words = [one for one in happened if isinstance(one, Event)]
        losses = [one.report.losses for one in happened if isinstance(one, Taught)]
        results.append((words, losses, device.recognizer.counts, everything(device)))
    assert results[0] == results[1]


@pytest.mark.parametrize(("block", "steps"), [(160, 1), (1600, 3), (100_000, 1)])
def test_what_is_heard_and_how_it_is_sliced_does_not_change_what_is_learned(
    model: Model, stream: Stream, block: int, steps: int
) -> None:
    """The steps of a lesson are the same steps whenever they run, and so are the weights that come of them."""
    results = []
    for parts, size, slices in ((TAKES, 800, 2), ((*TAKES, "bed", "five"), block, steps)):
        device = VoiceDevice(model)
        session = Session(device, CONFIG, slices)
        session.ask_for("computer", 3)
        play(session, stream(*parts), size)
        session.finish()
        results.append(everything(device))
    assert results[0] == results[1]


def test_takes_that_will_not_do_are_told_and_asked_for_again(device: VoiceDevice, stream: Stream) -> None:
    session = Session(device, CONFIG)
    session.ask_for("computer", 2)
    loud = clipped(stream("bed"))
    happened = play(session, np.concatenate((stream(TAKES[0]), loud, stream(TAKES[1])))) + session.finish()
    takes = [one for one in happened if isinstance(one, TakeHeard)]
    assert [bool(one.problem) for one in takes] == [False, True, False]
    assert "clipped" in takes[1].problem
    assert [one.missing for one in takes] == [1, 1, 0]
    assert device.model().word("computer").takes == 2


def rattling(seconds: float) -> NDArray[np.int16]:
    """A noise that is an utterance to the end pointer, in the same quiet room."""
    whole = np.concatenate((np.zeros(8000), 3000 * rattle(int(seconds * 16000)), np.zeros(9600)))
    return np.rint(whole + 12 * np.random.default_rng(3).normal(size=len(whole))).astype(np.int16)


def test_a_noise_before_the_word_is_said_is_no_take_of_it(device: VoiceDevice, stream: Stream) -> None:
    session = Session(device, CONFIG)
    session.ask_for("computer", 3)
    noise = rattling(0.6)
    happened = play(session, np.concatenate((noise, noise, stream(*TAKES)))) + session.finish()
    takes = [one for one in happened if isinstance(one, TakeHeard)]
    assert [one.missing for one in takes] == [2, 1, 2, 1, 0]
    assert not any(one.problem for one in takes)
    word = device.model().word("computer")
    assert word.takes == 3
    plain = VoiceDevice(device.model())
    assert plain.recognizer.judge(device.last.utterances()[-1].frames).word.name == "computer"  # type: ignore[union-attr]


def test_takes_of_a_noise_stay_when_what_somebody_says_is_refused(device: VoiceDevice, stream: Stream) -> None:
    session = Session(device, CONFIG)
    session.ask_for("rattle", 3)
    noise = rattling(0.6)
    happened = play(session, np.concatenate((noise, noise, clipped(stream("bed")), noise))) + session.finish()
    takes = [one for one in happened if isinstance(one, TakeHeard)]
    assert [(one.missing, bool(one.problem)) for one in takes] == [(2, False), (1, False), (1, True), (0, False)]
    assert device.model().word("rattle").takes == 3


def test_a_noise_can_be_taught_where_nobody_speaks(device: VoiceDevice) -> None:
    session = Session(device, CONFIG)
    session.ask_for("rattle", 2)
    sound = np.concatenate((rattling(0.6), rattling(0.5)))
    happened = play(session, sound) + session.finish()
    assert [one.missing for one in happened if isinstance(one, TakeHeard)] == [1, 0]
    assert device.model().word("rattle").takes == 2
    assert [event.word for event in device.recognizer.push(rattling(0.55))] == ["rattle"]


def test_words_heard_aside_are_events_and_no_takes(device: VoiceDevice, stream: Stream) -> None:
    device.recognizer.bias_q14 = 40000  # everything is a word
    session = Session(device, CONFIG)
    session.ask_for("computer", 1, aside=True)
    happened = play(session, stream("bed")) + session.finish()
    assert [type(one) for one in happened] == [Event]
    assert session.busy


def test_without_aside_every_utterance_is_a_take_and_no_event(device: VoiceDevice, stream: Stream) -> None:
    device.recognizer.bias_q14 = 40000
    session = Session(device, CONFIG)
    session.ask_for("computer", 2)
    happened = play(session, stream("bed"))
    assert [type(one) for one in happened] == [TakeHeard]


def test_a_take_is_judged_by_its_own_sound_after_a_gap(device: VoiceDevice, stream: Stream) -> None:
    """Each gap loses the part of a frame that was there; the sound of a take is still the sound of that take."""
    session = Session(device, CONFIG)
    quiet = stream()
    for _ in range(60):
        play(session, quiet[:700])
        session.gap()
    play(session, quiet)
    session.ask_for("computer", 1)
    loud = clipped(stream("bed"))
    take = play(session, loud)[0]
    assert isinstance(take, TakeHeard)
    assert "clipped" in take.problem


def test_a_take_at_the_end_of_a_stream_is_heard_whole(model: Model, stream: Stream) -> None:
    device = VoiceDevice(replace(model, endpoint=replace(model.endpoint, hang_frames=40)))
    session = Session(device, CONFIG)
    session.ask_for("computer", 1)
    sound = stream(TAKES[0])[:-9600]
    happened = play(session, sound) + session.finish()
    assert [type(one) for one in happened] == [TakeHeard, Taught]
    assert session.samples - len(sound) > 40 * device.frontend.config.hop


def test_a_second_session_on_one_device(device: VoiceDevice, stream: Stream) -> None:
    play(Session(device, CONFIG), stream("bed", "down"))
    session = Session(device, CONFIG)
    session.ask_for("computer", 1)
    happened = play(session, stream(TAKES[0])) + session.finish()
    assert [type(one) for one in happened] == [TakeHeard, Taught]


def test_learning_that_is_refused_leaves_the_device_as_it_was(device: VoiceDevice, stream: Stream) -> None:
    before = everything(device)
    session = Session(device, LearnerConfig(steps=40, rate_q16=20000, max_old_loss=0.0), steps_per_block=4)
    session.ask_for("computer", 3)
    sound = stream(*TAKES, "bed", "down")
    with pytest.raises(LearningRejected):
        play(session, sound)
    assert everything(device) == before
    assert not session.busy
    assert session.push(np.zeros(800, np.int16)) == []


def test_a_session_that_is_dropped_leaves_the_device_as_it_was(device: VoiceDevice, stream: Stream) -> None:
    before = everything(device)
    session = Session(device, CONFIG, steps_per_block=1)
    session.ask_for("computer", 3)
    sound = stream(*TAKES)
    at = 0
    while everything(device) == before:
        session.push(sound[at : at + 800])
        at += 800
    assert session.busy
    del session
    device.recognizer.on_utterance = None
    assert everything(device) == before


def test_what_cannot_be_taught_is_refused_at_once(device: VoiceDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(device, CONFIG)
    with pytest.raises(UsageError, match="already"):
        session.ask_for("bed", 3)
    monkeypatch.setattr(device.classifier, "rows", device.classifier.config.rows)
    with pytest.raises(BudgetExceeded):
        session.ask_for("computer", 3)
    assert not session.busy


def test_takes_after_a_countdown_and_the_last_one_again(device: VoiceDevice, stream: Stream) -> None:
    """What is said before its end is no take; after the last take there is time to say it again."""
    session = Session(device, CONFIG)
    session.ask_for("computer", 2, countdown_s=3)
    assert not session.takes.redo()
    happened = play(session, stream("bed"))
    happened += play(session, np.resize(stream(), 3 * 16000 - session.samples))
    counts = [one.seconds for one in happened if isinstance(one, Countdown)]
    assert counts == [3, 2, 1, 0]
    assert [one.word for one in happened if isinstance(one, Event)] == ["bed"]
    assert not [one for one in happened if isinstance(one, TakeHeard)]
    takes = play(session, stream(*TAKES[:2])[:-4000])
    assert [one.missing for one in takes if isinstance(one, TakeHeard)] == [1, 0]
    assert (session.takes.gathering, session.learning) == (True, False)
    assert session.takes.redo()
    assert session.takes.missing == 1
    again = play(session, stream(TAKES[2])) + session.finish()
    assert [type(one) for one in again] == [TakeHeard, Taught]
    assert device.model().word("computer").takes == 2


def test_the_take_that_is_said_again_is_the_one_that_is_played(device: VoiceDevice, stream: Stream) -> None:
    """After a refused take that is the refused one, of which nothing counts: those that were good stay."""
    session = Session(device, CONFIG)
    session.ask_for("computer", 3)
    sounds = []
    for sound in (stream(TAKES[0]), stream(TAKES[1]), clipped(stream("bed"))):
        play(session, sound)
        sounds.append(session.takes.last)
    dropped = [(session.takes.last, session.takes.redo(), session.takes.missing) for _ in range(3)]
    assert [(again, missing) for _, again, missing in dropped] == [(True, 1), (True, 2), (True, 3)]
    assert all(one is other for (one, _, _), other in zip(dropped, reversed(sounds), strict=True))
    assert session.takes.last is None
    assert not session.takes.redo()


def test_a_lesson_says_how_many_frames_came_and_were_heard(device: VoiceDevice, stream: Stream) -> None:
    session = Session(device, CONFIG, steps_per_block=1)
    session.ask_for("computer", 3)
    sound = stream(*TAKES, "bed", "down", "five")
    happened = play(session, sound, 777)
    (taught,) = (one for one in happened if isinstance(one, Taught))
    assert taught.frames == taught.frames_due > 12 * 777 // 320  # a step a block
    assert session.frames_due == device.recognizer.frames


def test_sound_that_cannot_wait_leaves_learning_its_share(
    device: VoiceDevice, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a step takes 0.2 s and learning may have half of the time, a second of sound is good for three at most."""
    clock = iter(0.1 * n for n in range(10_000))  # looked at before and after each step
    monkeypatch.setattr("edgelearn.runtime.session.time.perf_counter", lambda: 2 * next(clock))
    session = Session(device, CONFIG, share=0.5)
    session.ask_for("computer", 3)
    play(session, stream(*TAKES))
    while not session.learning:
        session.hear(np.zeros(800, np.int16))
    before = session.updates
    for _ in range(10):
        session.hear(np.zeros(1600, np.int16))
        assert session.work(0.1) == []
    assert 2 <= session.updates - before <= 3


def test_a_lesson_that_is_cancelled_leaves_the_device_as_it_was(device: VoiceDevice, stream: Stream) -> None:
    before = everything(device)
    session = Session(device, CONFIG, steps_per_block=1)
    session.ask_for("computer", 3)
    sound = stream(*TAKES, "bed")
    at = 0
    while everything(device) == before:
        session.push(sound[at : at + 800])
        at += 800
    session.cancel()
    assert everything(device) == before
    assert not session.busy
    heard = [one.word for one in play(session, stream("bed")) if isinstance(one, Event)]
    assert heard == ["bed"]


def test_ctrl_c_in_a_step_undoes_the_lesson(
    device: VoiceDevice, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(device)
    session = Session(device, CONFIG)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(device.learner, "step", interrupt)
    session.ask_for("computer", 3)
    with pytest.raises(KeyboardInterrupt):
        play(session, stream(*TAKES, "bed"))
    assert not session.busy
    assert session.finish() == []
    assert everything(device) == before


@pytest.mark.parametrize("block", [160, 777, 100_000])
def test_the_sound_of_the_last_take_is_a_stretch_of_the_stream(device: VoiceDevice, stream: Stream, block: int) -> None:
    session = Session(device, CONFIG)
    session.ask_for("computer", 2)
    assert session.takes.last is None
    sound = stream(TAKES[0])
    play(session, sound, block)
    take = session.takes.last
    assert take is not None
    begin = next(at for at in range(len(sound) - len(take)) if np.array_equal(sound[at : at + len(take)], take))
    assert begin <= 4000 + 1600  # its word begins at 4000
    assert begin + len(take) > 4000 + np.abs(sound[4000:]).argmax()
    loud = clipped(stream("bed"))
    play(session, loud, block)
    refused = session.takes.last
    assert refused is not None
    assert (np.abs(refused.astype(np.int32)) == 32768).any()
    session.cancel()
    assert session.takes.last is None


def test_what_is_heard_while_a_take_is_played_is_no_take_and_no_word(device: VoiceDevice, stream: Stream) -> None:
    device.recognizer.bias_q14 = 40000  # everything is a word
    session = Session(device, CONFIG)
    session.ask_for("computer", 2, countdown_s=1)
    play(session, np.resize(stream(), 16000))
    assert [type(one) for one in play(session, stream(TAKES[0]))] == [TakeHeard]
    happened: list[Happening] = []
    sound = stream(TAKES[0])
    for at in range(0, len(sound), 320):  # through loudspeaker and microphone
        session.takes.hold()
        happened += session.push(sound[at : at + 320])
    assert happened == []
    happened = play(session, np.resize(stream(), 8000))
    assert happened == [Countdown("computer", 0)]
    assert [type(one) for one in play(session, stream(TAKES[1])[:-4000])] == [TakeHeard]
    assert session.takes.missing == 0
    for _ in range(100):
        session.takes.hold()
        assert session.push(np.resize(stream(), 800)) == []
    assert not session.learning
    while not session.learning:
        session.hear(np.resize(stream(), 800))
    assert session.takes.last is None
    assert session.finish() != []
