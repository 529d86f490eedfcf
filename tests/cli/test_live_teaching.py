"""What a running session makes of requests when names, files and memory are not what they were."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.cli.appliance import Appliance
from edgelearn.cli.lessons import LastKeeper
from edgelearn.cli.live_teaching import LiveTeaching
from edgelearn.config import load_settings
from edgelearn.device.board import load_board
from edgelearn.learning.takes import take_from_clip
from edgelearn.runtime.last_utterances import last_path, load_last
from edgelearn.runtime.model import BASE_MODEL, Model, load_model, open_user_model, save_model
from edgelearn.runtime.recognizer import Utterance
from edgelearn.runtime.session import Session
from edgelearn.runtime.voice import DEFAULT_BUDGET_BYTES, VoiceDevice, sufficient_budget
from tests.cli.typed import TAKES

pytestmark = pytest.mark.usefixtures("home")
Frames = NDArray[np.int8]


class Live:
    """A session without sound, and what it tells."""

    def __init__(self, path: Path, budget_bytes: int = DEFAULT_BUDGET_BYTES) -> None:
        settings, model = load_settings(), open_user_model(path)
        self.device = VoiceDevice(model, budget_bytes)
        self.appliance = Appliance(path, model, self.device, load_board(settings.device.board), settings)
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.session = Session(self.device, self.appliance.learner_config)
        self.keeper = LastKeeper(self.appliance)
        source: Any = SimpleNamespace(overruns=0)
        self.teaching = LiveTeaching(
            self.appliance, self.session, source, self.keeper, lambda *one: self.told.append((one[0], dict(one[1])))
        )

    def ask(self, do: str, **fields: Any) -> tuple[str, dict[str, Any]]:
        """Ask for something, wait until it is done, and return the last that was told."""
        self.teaching.request({"do": do, "steps": 2, "max_old_loss_percent": 100, **fields})
        while self.session.learning:
            self.teaching.work(60.0)
        return self.told[-1]

    def hear(self, frames: Frames, heard: str) -> None:
        """Hear an utterance as a word, or as none."""
        self.device.last.add(Utterance(0, len(frames), len(frames), frames, heard, 8192))
        self.keeper.keep()

    @property
    def words(self) -> list[str]:
        return [word.name for word in self.device.recognizer.words]


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(BASE_MODEL)


@pytest.fixture(scope="module")
def take(model: Model) -> Frames:
    return take_from_clip(read_clip(TAKES[0]), VoiceDevice(model).frontend, model.endpoint, "take")


@pytest.fixture
def live(own: Path) -> Callable[..., Live]:
    return lambda *more: Live(own, *more)


def test_who_waits_for_a_lesson_hears_of_it_however_slow_it_is(
    live: Callable[..., Live], take: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every tenth update, and of every second in which there were fewer."""
    clock = [100.0]
    monkeypatch.setattr("edgelearn.cli.live_teaching.time.monotonic", lambda: clock[0])
    for passes, told in ((0.0, [2, 12, 22]), (0.4, [2, 8, 14, 20]), (1.0, list(range(2, 24, 2)))):
        one, steps = live(), []
        client: Any = SimpleNamespace(gone=False, send=lambda _, steps=steps, **fields: steps.append(fields["step"]))
        one.session.config = replace(one.session.config, least_takes=1, least_spread=0, max_old_loss=1.0)
        one.teaching._begin({}, client, "computer", one.device.teach("computer", [take], one.session.config), 1)
        while one.session.updates < 22:
            one.teaching.work(1e-9)  # two updates
            clock[0] += passes
        assert steps == told
        one.teaching._cancel({}, client)


def test_recordings_are_as_many_as_a_request_holds(live: Callable[..., Live], take: Frames) -> None:
    text = base64.b64encode(take.tobytes()).decode()
    one = live()
    assert one.ask("teach", word="computer", frames=[text] * 25)[0] == "added"
    for frames, found in (([text] * 51, "51 takes are sent at once"), ([], "0 takes are"), (3, "there are no takes")):
        event, fields = one.ask("teach", word="lamp", frames=frames)
        assert (event, found in fields["message"], fields["hint"]) == ("error", True, "send from 1 to 50")


def same(one: Model, other: Model) -> bool:
    strip = [replace(model, generation=None).to_file() for model in (one, other)]
    arrays = [{name: array.tobytes() for name, array in file.arrays.items()} for file in strip]
    return strip[0].manifest == strip[1].manifest and arrays[0] == arrays[1]


def with_more_takes(model: Model, take: Frames, least_bytes: int) -> Model:
    """The model with so many bytes of takes, of words that it has."""
    memory = VoiceDevice(model, 2 * DEFAULT_BUDGET_BYTES, 64 * 1024).memory
    while memory.used_bytes <= least_bytes:
        memory.add(0, take)
    return replace(model, rehearsal=memory.pack())


def test_an_undo_that_the_device_has_no_room_for_changes_nothing(
    live: Callable[..., Live], own: Path, take: Frames
) -> None:
    first = open_user_model(own)
    small = sufficient_budget(first)
    room = VoiceDevice(first, small).memory.capacity_bytes
    larger = save_model(own, with_more_takes(first, take, room))
    save_model(own, replace(first, generation=larger.generation))
    session = live(small)
    before, files = session.device.model(), [path.read_bytes() for path in (own, own.with_name("model.npz.prev"))]
    event, fields = session.ask("undo")
    assert event == "error"
    assert "rehearsal.records" in fields["message"]
    assert [path.read_bytes() for path in (own, own.with_name("model.npz.prev"))] == files
    assert same(session.device.model(), before)
    # and the session can still be told something else
    assert session.ask("rename", word="bed", new_name="cot")[0] == "renamed"
    assert session.ask("undo")[0] == "undone"
    assert "bed" in session.words


def test_an_undo_to_a_model_of_another_kind_changes_nothing(live: Callable[..., Live], own: Path) -> None:
    first = open_user_model(own)
    other = save_model(own, replace(first, endpoint=replace(first.endpoint, onset=201)))
    save_model(own, replace(first, generation=other.generation))
    session, before = live(), own.read_bytes()
    event, fields = session.ask("undo")
    assert (event, "of another kind" in fields["message"]) == ("error", True)
    assert own.read_bytes() == before


def kept(session: Live) -> list[str]:
    """What the utterances on disk were heard as."""
    return [past.heard for past in load_last(last_path(session.appliance.path), session.appliance.model)]


def test_the_last_utterances_are_kept_again_when_they_can_be(
    live: Callable[..., Live], take: Frames, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    session = live()
    session.hear(take, "bed")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("edgelearn.runtime.last_utterances.os.replace", full)
        for heard in ("down", "cat"):
            session.hear(take, heard)
            assert kept(session) == []
    assert capsys.readouterr().err.count("cannot keep the last utterances") == 1
    session.hear(take, "five")
    assert kept(session)[-2:] == ["cat", "five"]


def test_lessons_go_by_the_names_of_now(live: Callable[..., Live], take: Frames) -> None:
    session = live()
    session.hear(take, "bed")
    assert session.ask("rename", word="bed", new_name="cot")[0] == "renamed"
    assert "none was anything else than 'cot'" in session.ask("confirm", word="cot")[1]["message"]
    session.hear(take, "down")
    session.hear(take, "cot")
    session.ask("rename", word="cot", new_name="bed")
    session.ask("rename", word="bed", new_name="cot")
    assert kept(session) == ["cot", "down", "cot"]
    event, fields = session.ask("reject")
    assert (event, fields["word"], fields["heard"]) == ("added", "cot", "cot")


@pytest.mark.parametrize("change", ["remove", "undo"])
def test_of_what_is_no_word_any_more_nothing_is_learned_and_of_what_came_before_neither(
    live: Callable[..., Live], take: Frames, change: str
) -> None:
    session = live()
    session.ask("rename", word="bed", new_name="cot")
    session.hear(take, "down")
    session.hear(take, "cot")
    session.ask(change, word="cot")
    before = session.device.model()
    for do in ("reject", "confirm"):
        event, fields = session.ask(do, word="cat")
        assert (event, "'cot', is no word any more" in fields["message"]) == ("error", True)
    # another word that is called so is not what was heard
    session.ask("rename", word="cat", new_name="cot")
    assert session.ask("reject")[0] == "error"
    assert kept(session) == ["down", "(cot)"]
    assert len(session.device.model().prototypes) == len(before.prototypes)
    # what is heard from now on is learned from as ever
    session.hear(take, "cot")
    assert session.ask("reject")[0] == "added"


def test_a_clock_that_is_set_back_makes_nothing_forgotten(
    live: Callable[..., Live], take: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, times = live(), iter((5000.0, 1400.0))
    clock = SimpleNamespace(time=lambda: next(times))
    monkeypatch.setattr("edgelearn.runtime.last_utterances.time", clock)
    session.hear(take, "bed")
    assert session.ask("reject")[0] == "added"
    assert kept(session) == []
    session.hear(take, "down")
    event, fields = session.ask("reject")
    assert (event, fields["word"]) == ("added", "down")


def test_a_session_goes_on_with_what_another_program_made_of_the_file(
    live: Callable[..., Live], own: Path, take: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    session = live()
    session.hear(take, "cat")
    save_model(own, load_model(own).renamed("cat", "feline"))
    frames = [base64.b64encode(take.tobytes()).decode()]
    event, fields = session.ask("teach", word="computer", frames=frames)
    assert (event, fields["word"]) == ("added", "computer")
    assert capsys.readouterr().err.count("changed by another program") == 1
    assert session.words == [word.name for word in load_model(own).words]
    assert {"feline", "computer"} < set(session.words)
    assert kept(session) == ["(cat)"]
    for do, fields in (
        ("rename", {"word": "down", "new_name": "low"}), ("remove", {"word": "low"}),
        ("confirm", {"word": "computer"}), ("reject", {}),
    ):  # fmt: skip
        save_model(own, load_model(own).renamed("feline", "cat"))
        save_model(own, load_model(own).renamed("cat", "feline"))
        session.hear(take, "feline")
        assert session.ask(do, **fields)[0] not in ("error", "refused"), do
    assert session.words == [word.name for word in load_model(own).words]


def test_no_take_is_asked_for_that_could_not_be_saved(live: Callable[..., Live], own: Path, take: Frames) -> None:
    session = live(sufficient_budget(load_model(BASE_MODEL)))
    before = session.device.model()
    first = load_model(own)
    other_kind = replace(first, endpoint=replace(first.endpoint, onset=201))
    too_large = with_more_takes(first, take, session.device.memory.capacity_bytes)
    for model, message in ((other_kind, "of another kind"), (too_large, "rehearsal.records")):
        save_model(own, replace(model, generation=load_model(own).generation))
        for do in ("add", "rename", "remove"):
            event, told = session.ask(do, word="bed", new_name="cot", takes=3)
            assert (event, message in told["message"]) == ("error", True)
            assert not session.session.takes.gathering
    own.unlink()
    assert session.ask("add", word="new", takes=3)[0] == "error"
    assert same(session.device.model(), before)


def test_a_lesson_under_way_is_not_disturbed_by_a_change_of_the_file(
    live: Callable[..., Live], own: Path, take: Frames
) -> None:
    session = live()
    frames = [base64.b64encode(take.tobytes()).decode()] * 2
    teach = {"do": "teach", "word": "computer", "frames": frames, "steps": 2, "max_old_loss_percent": 100}
    session.teaching.request(teach)
    save_model(own, load_model(own).renamed("cat", "feline"))
    session.teaching.request({"do": "rename", "word": "bed", "new_name": "cot"})
    assert session.told[-1][0] == "error"
    while session.session.learning:
        session.teaching.work(60.0)
    assert "changed by another program" in session.told[-1][1]["message"]
    assert "cat" in session.words
    # and the hint of that holds: do it again, on the model as it is now
    assert session.ask(**teach)[0] == "added"
    assert "feline" in session.words
