"""What was just heard is kept, within its bytes, as the network saw it; the file trusts nothing."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.device.arena import Arena
from edgelearn.errors import TakeRejected, UsageError
from edgelearn.learning.learner import LearnerConfig, TeachReport
from edgelearn.learning.rehearsal import rehearsal_bytes
from edgelearn.runtime.last_utterances import (
    MOST_FILE_BYTES,
    LastUtterances,
    Past,
    heard_after,
    last_path,
    load_last,
    save_last,
)
from edgelearn.runtime.model import Model
from edgelearn.runtime.recognizer import Utterance
from edgelearn.runtime.voice import VoiceDevice
from tests.runtime.own_voice import own_voice

Frames = NDArray[np.int8]


def utterance(frames: Frames, heard: str = "bed", score_q14: int = 8192) -> Utterance:
    return Utterance(0, len(frames), len(frames), frames, heard, score_q14)


def own(device: VoiceDevice, frames: Frames) -> list[int]:
    """The embedding of an utterance in its own voice."""
    return [int(value) for value in own_voice(device, frames)[0]]


def test_a_device_keeps_what_it_hears(device: VoiceDevice, stream: Callable[..., NDArray[np.int16]]) -> None:
    seen: list[Utterance] = []
    device.recognizer.on_utterance = seen.append
    device.recognizer.push(stream("bed", "down"))
    kept = device.last.utterances()
    assert device.last.added == len(device.last) == len(seen) == 2
    for past, one in zip(kept, seen, strict=True):
        assert (past.heard, past.score) == (one.heard, one.score_q14 / 16384)
        # the very states of the network in its own voice: the same embedding
        assert own(device, past.frames) == own(device, one.frames)


def test_the_oldest_makes_room(device: VoiceDevice, takes: list[Frames]) -> None:
    for n in range(20):
        device.last.add(utterance(takes[n % len(takes)], str(n)))
    names = [past.heard for past in device.last.utterances()]
    assert 2 <= len(names) < 20
    assert names == [str(n) for n in range(20 - len(names), 20)]


def test_its_bytes_are_those_of_the_arena_and_too_long_an_utterance_empties_it() -> None:
    arena = Arena(4096)
    last = LastUtterances(300, 32, 2048, arena)
    assert rehearsal_bytes(300, 32) == arena.used_bytes
    quiet = np.zeros((20, 32), np.int8)
    last.add(utterance(quiet))
    assert len(last) == 1
    last.add(utterance(np.random.default_rng(0).integers(-128, 127, (80, 32)).astype(np.int8)))
    assert (len(last), last.utterances(), last.added) == (0, [], 2)
    last.add(utterance(quiet))
    assert len(last.utterances()) == 1


def test_what_was_learned_from_and_all_before_it_is_forgotten(
    device: VoiceDevice, takes: list[Frames], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((5000.0, 1400.0, 1401.0, 1402.0))  # the clock is set back by an hour
    monkeypatch.setattr("edgelearn.runtime.last_utterances.time", SimpleNamespace(time=lambda: next(times)))
    for n in range(3):
        device.last.add(utterance(takes[n], str(n)))
    first, second, third = device.last.utterances()
    device.last.forget(second)
    (left,) = device.last.utterances()
    assert (left.heard, left.at) == ("2", 1401.0)
    np.testing.assert_array_equal(left.frames, third.frames)
    device.last.forget(first)  # is not kept any more: what is, came after it
    assert len(device.last) == 1
    device.last.forget(third)
    assert device.last.utterances() == []
    device.last.add(utterance(takes[3], "3"))
    assert ([past.heard for past in device.last.utterances()], device.last.added) == (["3"], 4)


def test_an_utterance_follows_the_name_of_its_word(device: VoiceDevice, takes: list[Frames]) -> None:
    for n, heard in enumerate(("bed", "", "cat")):
        device.last.add(utterance(takes[n], heard))
    device.last.follow(["cot", "cat"], ("bed", "cot"))
    assert [past.heard for past in device.last.utterances()] == ["cot", "", "cat"]
    device.last.follow(["cot"])
    assert [past.heard for past in device.last.utterances()] == ["cot", "", "(cat)"]
    # a word that is called so later is another one
    device.last.follow(["cot", "cat"])
    assert [past.heard for past in device.last.utterances()] == ["cot", "", "(cat)"]


def test_what_was_heard_after_is_no_matter_of_the_clock(pasts: list[Past]) -> None:
    early, late = replace(pasts[0], at=5000.0), pasts[1]
    assert heard_after([early, late], early) == [late]
    assert heard_after([early, late], late) == []
    assert heard_after([late], early) == [late]


def test_a_file_that_cannot_be_written_anew_does_not_stay(
    model: Model, pasts: list[Past], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "m.last"
    save_last(place, model, pasts[:1])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edgelearn.runtime.last_utterances.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        save_last(place, model, pasts)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def pasts(takes: list[Frames]) -> list[Past]:
    return [Past("bed", 0.5, 1000.25, takes[0]), Past("", -0.1, 1001.5, takes[1])]


def test_a_file_comes_back_as_it_was(model: Model, pasts: list[Past], tmp_path: Path) -> None:
    place = last_path(tmp_path / "model.npz")
    assert place == tmp_path / "model.npz.last"
    assert load_last(place, model) == []
    save_last(place, model, pasts)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [place.name]
    device = VoiceDevice(model)
    back = load_last(place, model)
    assert [(past.heard, past.score, past.at) for past in back] == [("bed", 0.5, 1000.25), ("", -0.1, 1001.5)]
    for one, other in zip(back, pasts, strict=True):
        assert own(device, one.frames) == own(device, other.frames)


def test_damage_and_foreign_features_are_refused(model: Model, pasts: list[Past], tmp_path: Path) -> None:
    place = tmp_path / "m.last"
    save_last(place, model, pasts)
    whole = place.read_text()
    content = json.loads(whole)
    damaged = [
        "", whole[: len(whole) // 2], "[]", "7", '{"format": "edgelearn-last"}', " " * (MOST_FILE_BYTES + 2),
        *(json.dumps(content | change) for change in (
            {"format": "other"}, {"v": 2}, {"records": "?"}, {"records": content["records"][:40]}, {"records": 5},
            {"utterances": content["utterances"][:1]}, {"utterances": [["a", "b", "c"]] * 2},
            {"utterances": [["a", 0.1, 1e999]] * 2},
        )),
    ]  # fmt: skip
    for text in damaged:
        place.write_text(text)
        with pytest.raises(UsageError, match="is damaged"):
            load_last(place, model)
    place.write_text(json.dumps(content | {"frontend_digest": "x"}))
    with pytest.raises(UsageError, match="other features"):
        load_last(place, model)


def test_writing_never_follows_a_link(model: Model, pasts: list[Past], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    place = tmp_path / "m.last"
    place.symlink_to(victim)
    save_last(place, model, pasts)
    assert victim.read_text() == "mine"
    assert not place.is_symlink()


# -- lessons from them


def run(lesson: Iterator[TeachReport]) -> None:
    for _ in lesson:
        pass


def test_a_confirmed_miss_is_one_more_take(device: VoiceDevice, takes: list[Frames]) -> None:
    config = device_config()
    run(device.teach("computer", takes[:2], config))
    word = device.model().word("computer")
    before = score(device, "computer", takes[5])
    exemplars = sum(record.row == word.row for record in device.memory.exemplars())
    report = list(device.confirm("computer", takes[5], config))[-1]
    after = device.model().word("computer")
    assert (after.takes, after.row, report.updates) == (3, word.row, config.steps)
    assert after.updates == word.updates + (config.steps if report.gained else 0)
    assert after.threshold_q14 <= word.threshold_q14
    assert sum(record.row == word.row for record in device.memory.exemplars()) == exemplars + 1
    assert score(device, "computer", takes[5]) > before
    assert device.model().history[-1].startswith("confirm computer")


def test_a_shipped_word_moves_less_than_a_taught_one(device: VoiceDevice, model: Model, takes: list[Frames]) -> None:
    row = model.word("bed").row
    before = model.prototypes[row].astype(float)
    run(device.confirm("bed", takes[0], replace(device_config(), agreement_q14=-20000, max_old_loss=1.0)))
    after = device.model().prototypes[row].astype(float)
    cosine = before @ after / np.linalg.norm(before) / np.linalg.norm(after)
    assert 0.97 < cosine < 0.99999
    assert device.model().word("bed").threshold_q14 <= model.word("bed").threshold_q14
    others = [n for n in range(len(model.prototypes)) if n != row]
    np.testing.assert_array_equal(device.model().prototypes[others], model.prototypes[others])


def test_what_is_unlike_the_word_is_no_take_and_changes_nothing(device: VoiceDevice, takes: list[Frames]) -> None:
    before = device.model()
    with pytest.raises(TakeRejected, match="unlike 'bed'"):
        run(device.confirm("bed", takes[0], replace(device_config(), agreement_q14=16000)))
    np.testing.assert_array_equal(device.model().rehearsal, before.rehearsal)


def test_a_rejected_false_alarm_is_heard_no_more(device: VoiceDevice, takes: list[Frames]) -> None:
    config = device_config()
    words = tuple(replace(word, threshold_q14=-20000) for word in device.model().words)
    device.restore(replace(device.model(), words=words))
    judged = device.recognizer.judge(takes[0])
    assert judged is not None
    name = judged.word.name
    rows = device.classifier.rows
    run(device.reject(name, takes[0], config))
    judged = device.recognizer.judge(takes[0])
    assert judged is not None
    assert (judged.word.name, judged.word.rejects) == (f"(not {name})", name)
    # the next one joins the same row
    run(device.reject(name, takes[1], config))
    assert device.classifier.rows == rows + 1
    assert device.model().word(f"(not {name})").takes == 2
    renamed = device.model().renamed(name, "other")
    assert renamed.word("(not other)").rejects == "other"
    device.remove(name)
    assert device.classifier.rows == rows
    assert not [word for word in device.model().words if name in (word.name, word.rejects)]


def test_a_stream_does_not_report_it(device: VoiceDevice, stream: Callable[..., NDArray[np.int16]]) -> None:
    sound = stream("bed")
    words = tuple(replace(word, threshold_q14=-20000) for word in device.model().words)
    device.restore(replace(device.model(), words=words))
    (event,) = device.recognizer.push(sound)
    run(device.reject(event.word, device.last.utterances()[-1].frames, device_config()))
    device.recognizer.reset()
    assert device.recognizer.push(sound) == []
    assert device.last.utterances()[-1].heard == ""


def device_config() -> LearnerConfig:
    return LearnerConfig(steps=8, max_old_loss=1.0)


def score(device: VoiceDevice, name: str, frames: Frames) -> int:
    unit, _ = device.hearing.embed(frames)
    return int(device.classifier.cosines(unit)[device.model().word(name).row])
