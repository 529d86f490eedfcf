"""A session that is told by other programs, while it listens, to learn, to forget, and to go back."""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.actions.runner import Actions
from edgelearn.cli.appliance import Appliance
from edgelearn.cli.listening import LEARNING_SHARE, Listening
from edgelearn.cli.sources import Source
from edgelearn.config import load_settings
from edgelearn.device.board import load_board
from edgelearn.jit import cache_folder
from edgelearn.learning.takes import take_from_clip
from edgelearn.runtime.control import socket_name
from edgelearn.runtime.model import open_user_model
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.session import Session
from edgelearn.runtime.voice import VoiceDevice
from tests.cli.running import Running, Telling, environment_of, room
from tests.cli.typed import ADDED, TAKES

ROOT = Path(__file__).resolve().parents[2]
LEARN = ["--steps", "10", "--max-old-loss-percent", "100"]
LOUDSPEAKER = """
pcm.speaker {{ type file file "{0}/played.raw" format raw slave.pcm {{ type null }} }}
pcm.default {{ type asym playback.pcm "speaker" capture.pcm {{ type null }} }}
"""
NEW = ("computer_flite-slt_take5", "computer_flite-slt_take6")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, compiled: None) -> dict[str, str]:  # noqa: ARG001
    folder = cache_folder()
    cache = {"NUMBA_CACHE_DIR": str(folder.parents[1])} if folder is not None else {}
    home = tmp_path_factory.mktemp("home")
    (home / "alsa.conf").write_text(LOUDSPEAKER.format(home))
    return environment_of(home, ROOT, cache) | {"ALSA_CONFIG_PATH": str(home / "alsa.conf")}


@pytest.fixture(scope="module")
def home(environment: dict[str, str]) -> Path:
    return Path(environment["HOME"])


@pytest.fixture(scope="module")
def running(environment: dict[str, str]) -> Iterator[Running]:
    """One session for all tests: what they do to it, it survives."""
    with Running(environment, "--input", "-") as session:
        yield session


def own_socket(home: Path) -> Path:
    return home / "edgelearn" / socket_name(home / ".local/share/edgelearn/model.npz")


def flood_with(client: socket.socket, running: Running) -> None:
    for _ in range(100):
        client.sendall(b"x" * 65536)
        running.feed(room())


def tell(session: Running, *argv: str, code: int = 0) -> tuple[str, str]:
    command = Telling(session, *argv)
    return command.done(code), command.said


def test_a_word_is_taught_from_another_terminal_heard_at_once_and_taken_back(running: Running, home: Path) -> None:
    assert stat.S_IMODE(own_socket(home).stat().st_mode) == 0o600
    assert stat.S_IMODE(own_socket(home).parent.stat().st_mode) == 0o700
    running.feed(room("bed"))
    assert running.event()["word"] == "bed"
    longer = ["--steps", "200", *LEARN[2:]]  # than a block of sound
    add = Telling(running, "add", "computer", "--takes", "3", "--json", *longer)
    add.until("say 'computer' now")
    for number in (1, 2, 3):
        running.feed(room(f"computer_flite-slt_take{number}"))
        add.until(f"{3 - number} to go")
    (added,) = map(json.loads, add.done().splitlines())
    assert added["event"] == "added"
    assert added.keys() >= ADDED
    assert (added["word"], added["takes"]) == ("computer", 3)
    assert added["frames_due"] == added["frames_heard"] > 0
    assert (added["frames_lost"], added["overruns"]) == (0, 0)
    assert running.event() == added
    running.feed(room(*NEW, "bed"))
    assert [running.event()["word"] for _ in range(3)] == ["computer", "computer", "bed"]
    assert json.loads(tell(running, "undo", "--json")[0])["event"] == "undone"
    assert "computer" not in running.event()["words"]
    running.feed(room(NEW[0], "bed"))
    assert running.event()["word"] == "bed"


def test_words_change_while_they_are_listened_for(running: Running) -> None:
    """Recordings as takes, another name, a false alarm, forgetting: each is in force at once."""
    running.feed(room("bed"))
    assert running.event()["word"] == "bed"
    (added,) = map(json.loads, tell(running, "add", "computer", "--from", *TAKES, "--json", *LEARN)[0].splitlines())
    assert (added["word"], added["takes"], added["frames_lost"]) == ("computer", 3, 0)
    assert running.event()["event"] == "added"
    assert json.loads(tell(running, "rename", "computer", "machine", "--json")[0])["new_name"] == "machine"
    assert running.event()["event"] == "renamed"
    running.feed(room(NEW[0]))
    assert running.event()["word"] == "machine"
    (rejected,) = map(json.loads, tell(running, "reject", "--last", "--json", *LEARN)[0].splitlines())
    assert (rejected["word"], rejected["heard"], rejected["takes"]) == ("machine", "machine", 1)
    assert running.event()["event"] == "added"
    # once is enough, and what was heard before it was heard rightly
    assert "none was heard as a word" in tell(running, "reject", "--last", *LEARN, code=2)[1]
    tell(running, "rename", "cat", "tomcat")
    assert running.event()["event"] == "renamed"
    tell(running, "undo")
    assert "(not machine)" in running.event()["words"]
    assert "no word 'computer'" in tell(running, "remove", "computer", code=2)[1]
    tell(running, "remove", "machine")
    assert running.event() == {"v": 1, "event": "removed", "word": "machine"}
    assert "there is a word 'bed' already" in tell(running, "add", "bed", code=2)[1]


def test_a_lesson_that_is_left_changes_nothing(running: Running, home: Path) -> None:
    model = home / ".local/share/edgelearn/model.npz"
    before = model.read_bytes()
    add = Telling(running, "add", "computer", "--takes", "2", *LEARN)
    add.until("say 'computer' now")
    running.feed(room("computer_flite-slt_take1"))
    add.until("1 to go")
    assert "busy with 'computer'" in tell(running, "undo", code=1)[1]
    add.process.kill()
    add.process.communicate()
    running.feed(room("computer_flite-slt_take2", "bed"))
    assert running.event()["word"] == "bed"
    assert model.read_bytes() == before


def test_the_last_take_is_played_and_said_again(running: Running, home: Path) -> None:
    add = Telling(running, "add", "computer", "--takes", "2", *LEARN)
    add.until("say 'computer' now")
    add.type("p")
    add.until("cannot play it: there is none")
    said = room("computer_flite-slt_take1")
    running.feed(said)
    add.until("1 to go")
    add.type("p")
    add.until("this is the last take")
    add.until("say 'computer' now")  # takes wait until it has been played
    played = (home / "played.raw").read_bytes()
    assert len(played) > 16000
    assert played in said.tobytes()
    add.type("r")
    add.until("the last take is dropped; 2 to go")
    (home / "alsa.conf").write_text("pcm.default { type asym capture.pcm { type null } }")
    running.feed(room("computer_flite-slt_take2"))
    add.until("1 to go")
    add.type("p")
    add.until("cannot play it: no loudspeaker is connected")
    add.type("\x03")
    add.done(130)
    running.feed(room("bed"))
    assert running.event()["word"] == "bed"


class Asking:
    """A terminal that asks for things at once, and keeps what it is told."""

    def __init__(self, *requests: dict[str, Any]) -> None:
        self._requests = list(requests)
        self.told: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def heard(self, event: Event) -> None:
        pass

    def tell(self, event: str, fields: Mapping[str, Any]) -> None:
        self.told.append(event if event != "error" else str(fields))

    def tick(self, level_dbfs: float) -> list[dict[str, Any]]:  # noqa: ARG002
        asked, self._requests = self._requests, []
        return asked


@pytest.fixture
def appliance(tmp_path: Path) -> Appliance:
    path = tmp_path / "model.npz"
    model, settings = open_user_model(path), load_settings(environ={"HOME": str(tmp_path)})
    device = VoiceDevice(model)
    device.warm_up()
    return Appliance(path, model, device, load_board(settings.device.board), settings)


def test_a_lesson_goes_on_while_the_microphone_is_away(appliance: Appliance) -> None:
    device = appliance.device
    clips = (room(f"computer_flite-slt_take{n}") for n in (1, 2, 3))
    takes = [take_from_clip(clip, device.frontend, device.endpoint, "a take") for clip in clips]
    frames = [base64.b64encode(take.tobytes()).decode() for take in takes]
    terminal = Asking({"do": "teach", "word": "computer", "frames": frames})
    learned = []

    def unplugged() -> Iterator[NDArray[np.int16]]:
        yield room()
        end = time.monotonic() + 20
        while "added" not in terminal.told and time.monotonic() < end:
            time.sleep(0.02)
            yield np.zeros(0, np.int16)
        learned.extend(terminal.told)

    session = Session(device, appliance.learner_config, share=LEARNING_SHARE)
    Listening(appliance, session, Source(unplugged(), True), Actions([]), terminal, None).run()
    assert learned == ["added"]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as entered:
        yield entered


def test_clients_that_talk_nonsense_flood_or_hang_harm_nothing(running: Running, home: Path, stack: ExitStack) -> None:
    def client() -> socket.socket:
        one = stack.enter_context(socket.socket(socket.AF_UNIX))
        one.settimeout(20)
        folder = os.open(own_socket(home).parent, os.O_RDONLY)
        one.connect(f"/proc/self/fd/{folder}/{own_socket(home).name}")
        os.close(folder)
        return one

    def answer(data: bytes) -> str:
        with client() as one:
            one.sendall(data)
            running.feed(room())
            return one.makefile().readline()

    client()  # which never says anything
    for nonsense in (
        b"\xff\x00", b"[]", b"{}", b'{"do": 3}', b'{"do": "explode"}', b'{"do": "add"}', b"[" * 100_000,
        b'{"do": "add", "word": "x/y", "takes": 3}', b'{"do": "add", "word": "new", "takes": 1e9}',
        b'{"do": "add", "word": "new", "takes": 1, "steps": -1}', b'{"do": "rename", "word": [], "new_name": {}}',
        b'{"do": "teach", "word": "new", "frames": ["!"]}', b'{"do": "teach", "word": "new", "frames": []}',
        b'{"do": "teach", "word": "new", "frames": ["AAAA"]}', b'{"do": "confirm", "word": "nope"}',
    ):  # fmt: skip
        assert json.loads(answer(nonsense + b"\n"))["event"] == "error", nonsense
    with client() as flood:
        with pytest.raises(OSError) as dropped:  # noqa: PT011 - as a pipe, or as a connection that is gone
            flood_with(flood, running)
        assert dropped.type in (BrokenPipeError, ConnectionResetError)
    gone = client()
    gone.sendall(b'{"do": "add", "word": "new", "takes": 1}\n')
    gone.close()
    running.feed(room("bed"))
    assert running.event()["word"] == "bed"
    assert "Traceback" not in "".join(running.errors)


def test_one_session_for_a_model_and_leftovers_are_replaced(
    running: Running, environment: dict[str, str], home: Path
) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "edgelearn", "listen", "--input", "-"],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert second.returncode == 2
    assert "already listening with this model" in second.stderr
    running.process.kill()
    running.process.wait()
    assert own_socket(home).exists()
    with Running(environment, "--input", "-") as third:
        tell(third, "rename", "bed", "cot")
        assert third.event()["new_name"] == "cot"
        (end,) = third.end()
        assert (end["event"], end["overruns"]) == ("end", 0)
        assert "Traceback" not in "".join(third.errors)
    assert not own_socket(home).exists()


def test_what_an_action_takes_is_no_computing(appliance: Appliance, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [10.0]
    monkeypatch.setattr("edgelearn.cli.listening.time", SimpleNamespace(perf_counter=lambda: clock[0]))

    class Slow(Asking):
        def heard(self, event: Event) -> None:  # noqa: ARG002
            clock[0] += 1.0

    def act(event: Event) -> None:
        assert event.word == "bed"
        clock[0] += 5.0

    sound = room("bed")
    session, actions = Session(appliance.device, appliance.learner_config), cast(Actions, act)
    listening = Listening(appliance, session, Source(iter([sound])), actions, Slow(), None)
    listening.run()
    assert clock[0] == 16.0
    assert listening.summary()["realtime_factor"] == pytest.approx(16000 / len(sound), abs=1e-5)
