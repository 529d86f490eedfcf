"""What a running session makes of requests when names, files and memory are not what they were."""

from __future__ import annotations

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
from edgelearn.runtime.model import BASE_MODEL, Model, load_model, open_user_model, save_model
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
