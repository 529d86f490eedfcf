from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edgelearn.cli.action import actions_of
from edgelearn.cli.output import emit, format_table, say, table
from tests.actions.heard import heard


def test_json_lines_carry_version_and_event(capsys: pytest.CaptureFixture[str]) -> None:
    emit(
        "word",
        word="été",
        score=np.float32(0.5),
        n=np.int64(3),
        path=Path("a/b"),
        none=None,
        ok=np.bool_(True),
    )
    emit("list", values=np.arange(3), nested={"a": (1, float("nan"))}, far=float("inf"))
    first, second = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {
        "v": 1,
        "event": "word",
        "word": "été",
        "score": 0.5,
        "n": 3,
        "path": "a/b",
        "none": None,
        "ok": True,
    }
    assert json.loads(second) == {
        "v": 1,
        "event": "list",
        "values": [0, 1, 2],
        "nested": {"a": [1, None]},
        "far": None,
    }
    assert first.isascii()


def test_tables_are_aligned() -> None:
    rows = [("a", 1, 0.123456), ("中文", 12345, None), ("e\u0301", 7, 123456.7)]
    assert format_table(["word", "bytes", "score"], rows).splitlines() == [
        "word   bytes   score",
        "a          1  0.1235",
        "中文  12,345       -",
        "e\u0301          7  123457",
    ]


def test_a_table_without_rows_is_its_header() -> None:
    assert format_table(["word", "takes"], []) == "word  takes"


def test_data_goes_to_stdout_and_talk_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    table(["a"], [("b",)])
    say("talk")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("a\nb\n", "talk\n")


@pytest.mark.parametrize("why", ["full", "gone", "closed"])
def test_talk_that_cannot_be_written_ends_nothing(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither whoever says it nor the thread of an action that fails: the next word still sets it off."""
    reader, writer = os.pipe()
    os.close(reader)
    stderr = open("/dev/full" if why == "full" else writer, "w")  # noqa: SIM115 - closing it writes what is left
    if why == "closed":
        stderr.close()
    monkeypatch.setattr(sys, "stderr", stderr)
    say("talk")
    with actions_of("false", [], patient=True) as actions:
        actions(heard("bed"))
        waiting = threading.Thread(target=lambda: (actions(heard("cat")), actions.wait()), daemon=True)
        waiting.start()
        waiting.join(20)
        assert not waiting.is_alive()
    with contextlib.suppress(OSError):
        stderr.close()
