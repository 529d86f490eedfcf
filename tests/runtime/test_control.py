"""Who is connected to a session's control socket, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgelearn.runtime import control
from edgelearn.runtime.control import MOST_CLIENTS, Connection, ControlServer, connect

ADD = {"word": "computer", "takes": 3}


class Place:
    """A server, and clients of it that are closed with it."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._model, self._environ, self._stack = folder / "model.npz", {"RUNTIME_DIRECTORY": str(folder)}, stack
        folder.chmod(0o700)
        self.server = ControlServer(self._model, self._environ)
        stack.callback(self.server.close)

    def client(self) -> Connection:
        connection = connect(self._model, self._environ)
        assert connection is not None
        self._stack.callback(connection.close)
        return connection

    def asked(self) -> list[str]:
        return [request["do"] for _, request in self.server.poll()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


@pytest.mark.parametrize("requests", [("cancel",), ("play", "redo"), ("add", "cancel")])
def test_clients_that_have_asked_and_wait_for_no_lesson_keep_nobody_out(place: Place, requests: tuple[str]) -> None:
    for client in [place.client() for _ in range(MOST_CLIENTS)]:
        for request in requests:
            client.ask(request, **ADD)
    assert place.asked() == [*requests] * MOST_CLIENTS
    place.client().ask("undo")
    assert place.asked() == []  # they are let go now that it is done
    assert place.asked() == ["undo"]


def test_who_waits_for_a_lesson_may_be_silent_and_still_ask(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    client = place.client()
    client.ask("add", **ADD)
    client.ask("play")
    ((teaching, _), _) = place.server.poll()
    monkeypatch.setattr(control, "PATIENCE_S", -1.0)
    assert place.asked() == []
    client.ask("redo")
    assert place.asked() == ["redo"]
    teaching.send("added")
    teaching.end()
    assert list(client.replies(10)) == [{"event": "added"}]


def test_who_does_not_read_the_end_is_let_go_all_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    client = place.client()
    client.ask("add", **ADD)
    ((teaching, _),) = place.server.poll()
    while not teaching._unsent:
        teaching.send("word", word="x" * 10_000)
    teaching.end()
    assert place.asked() == []
    assert not teaching.gone
    monkeypatch.setattr(control, "PATIENCE_S", -1.0)
    assert place.asked() == []
    assert teaching.gone
