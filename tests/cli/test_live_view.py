"""The screen of a session, drawn into 80 x 24 cells, and the keys that it understands."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rich")

from edgelearn.cli.live_view import LiveView
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.session import Session
from edgelearn.runtime.voice import VoiceDevice

EVENT = Event("down", 8684, 170, 199, 218, 0.02, 0.7)
ADDED: dict[str, Any] = {
    "word": "computer", "takes": 3, "old_words_before": 1.0, "old_words_after": 0.99, "sparsity": 0.7, "updates": 40,
    "seconds": 0.25, "board": "raspberry_pi_4", "board_seconds": 0.236, "energy_mj": 236.4, "peak_bytes": 261784,
    "budget_bytes": 262144, "frames_due": 155, "frames_heard": 155, "frames_lost": 0, "overruns": 0, "confusable": [],
    "gained": True,
}  # fmt: skip


@pytest.fixture
def view(monkeypatch: pytest.MonkeyPatch) -> LiveView:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    screen.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdout", screen)
    device = VoiceDevice(load_model(BASE_MODEL))
    appliance = SimpleNamespace(
        device=device, board=SimpleNamespace(name="raspberry_pi_4"), energy_mj=lambda counts: counts.frontend_ops * 0.0
    )
    return LiveView(appliance, Session(device, LearnerConfig()), SimpleNamespace(overruns=0))  # type: ignore[arg-type]


def lines(view: LiveView) -> list[str]:
    rows = view._console.render_lines(view._screen(), view._console.options)
    return ["".join(part.text for part in row) for row in rows]


def press(view: LiveView, keys: str) -> list[dict[str, Any]]:
    return view._requests(keys)


def test_everything_that_matters_is_on_80_by_24(view: LiveView) -> None:
    for _ in range(30):
        view.heard(EVENT)
    view._level = -20.0
    shown = lines(view)
    assert len(shown) == 24
    assert {len(line) for line in shown} == {80}
    assert "-20 dB" in shown[1]
    assert "down" in shown[2]
    assert "0.53" in shown[3]
    for text in ("memory", "256.0 KiB", "sparsity", "J/h", "overruns", "4.0 s  down", "bed  cat", "a add a word"):
        assert any(text in line for line in shown), text
    assert "4.0 s  down          0.53  sparsity 70 %" in shown[16], "the newest event stands in the last line"


def test_what_learning_took_is_shown_for_a_while(view: LiveView) -> None:
    view.tell("added", ADDED)
    shown = "\n".join(lines(view))
    for text in ("old words, before", "100 %", "99 %", "250 ms", "236 mJ", "261,784 of 262,144", "155 due, 155 heard"):
        assert text in shown
    assert "40, kept: they set it further apart" in shown
    view.tell("undone", {"words": ["bed"], "last_change": None})
    assert "old words, before" not in "\n".join(lines(view))


def test_a_word_is_typed_with_keys(view: LiveView) -> None:
    assert press(view, "a") == []
    assert press(view, "komx\x7fputer") == []
    assert "the new word: komputer" in lines(view)[-1]
    assert press(view, "\r") == [{"do": "add", "word": "komputer", "takes": 3}]
    assert press(view, "a") + press(view, "hi\x1b") == []
    assert press(view, "cbed\n") == [{"do": "confirm", "word": "bed", "takes": 3}]
    assert press(view, "\x1b[A") == []
    assert press(view, "uxq") == [{"do": "undo"}, {"do": "reject"}, {"do": "quit"}]


def test_while_takes_are_asked_for_the_keys_are_others(view: LiveView) -> None:
    view._session.ask_for("computer", 3, countdown_s=3)
    for happening in view._session.hear(np.zeros(8000, np.int16)):
        view.tell("count", {"word": happening.word, "seconds": happening.seconds})  # type: ignore[union-attr]
    assert "'computer': 3 ..." in "\n".join(lines(view))
    assert [*press(view, "pr"), *press(view, "\x1b")] == [{"do": "play"}, {"do": "redo"}, {"do": "cancel"}]
    assert "p hear the last take" in lines(view)[-1]
    view.tell("play", {"problem": "no loudspeaker is connected"})
    shown = "\n".join(lines(view))
    assert "'computer': cannot play it: no loudspea…" in shown
    assert "cannot play it: no loudspeaker is connected " in shown
    assert press(view, "aux") == []


def test_talk_joins_the_log_and_is_told_again_afterwards(view: LiveView, capfd: pytest.CaptureFixture[str]) -> None:
    with view:
        print("the microphone 'usb' is back", file=sys.stderr)
        view.heard(EVENT)
        assert any("the microphone 'usb' is back" in line for line in lines(view))
        assert view.tick(-30.0) == []
    assert "\x1b[?1049l" in view._console.file.getvalue()  # type: ignore[attr-defined]
    said = capfd.readouterr().err.splitlines()
    assert said[0] == "the microphone 'usb' is back"
    assert "down" in said[1]
