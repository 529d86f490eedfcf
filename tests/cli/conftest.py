"""A home that is empty, and the command line as a user types it."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgelearn.cli.main import main
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.voice import VoiceDevice
from tests.cli.typed import Cli


@pytest.fixture(scope="session")
def compiled() -> None:
    """Kernels in the cache that processes of the tests share.

    Compiling takes half a minute, and minutes on a busy machine: longer than anybody waits for an event.
    """
    VoiceDevice(load_model(BASE_MODEL)).warm_up()


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for variable in [name for name in os.environ if name.startswith(("EDGELEARN_", "XDG_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def own(home: Path) -> Path:
    return home / ".local/share/edgelearn/model.npz"


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    def run(*argv: str, code: int = 0) -> SimpleNamespace:
        capfd.readouterr()
        assert main(list(argv)) == code, capfd.readouterr().err
        shown = capfd.readouterr()
        assert "Traceback" not in shown.err
        lines = [json.loads(line) for line in shown.out.splitlines()] if "--json" in argv else []
        assert all(line["v"] == 1 for line in lines)
        return SimpleNamespace(out=shown.out, err=shown.err, lines=lines)

    return run


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def replace(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return replace
