"""The Wyoming server, asked by the wyoming package's own client over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgelearn.audio.clips import read_clip
from edgelearn.cli.appliance import Appliance
from edgelearn.cli.verbs.wyoming import Devices
from edgelearn.config import load_settings
from edgelearn.device.board import load_board
from edgelearn.errors import BudgetExceeded, EdgelearnError, UsageError
from edgelearn.jit import cache_folder
from edgelearn.runtime.model import BASE_MODEL, Model, Word, load_model, open_user_model, save_model
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.voice import VoiceDevice

pytest.importorskip("wyoming", reason="pip install 'edgelearn[wyoming]'")
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.event import Event as Message
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from edgelearn.integrations.wyoming_server import (
    Address,
    Conversation,
    Heard,
    Server,
    mono_int16,
)
from tests.interruptible import interruptible

ROOT = Path(__file__).resolve().parents[2]
Sound = np.ndarray[Any, np.dtype[np.int16]]


def room(*names: str) -> Sound:
    """Shipped recordings in quiet noise, each followed by 0.7 s of it."""
    rng = np.random.default_rng(3)
    parts = [np.zeros(4000)]
    for name in names:
        parts += [read_clip(next(RECORDINGS.glob(f"{name}_*.wav"))).astype(np.float64), np.zeros(11200)]
    sound = np.concatenate(parts)
    return np.clip(np.rint(sound + 12 * rng.standard_normal(len(sound))), -32768, 32767).astype(np.int16)


def new_device() -> VoiceDevice:
    device = VoiceDevice(load_model(BASE_MODEL))
    device.recognizer.bias_q14 = 2048
    return device


def nobody(_: object) -> None:
    """Is told, and does nothing with it."""


def heard_offline(sound: Sound) -> list[str]:
    return [event.word for event in new_device().recognizer.push(sound)]


class House:
    """A server on a port of its own, and what it told."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.reports: list[str] = []
        self.port = 0

    def client(self) -> AsyncTcpClient:
        return AsyncTcpClient("127.0.0.1", self.port, connect_timeout=5, read_timeout=10)


def in_house(visit: Callable[[House], Coroutine[Any, Any, Any]]) -> SimpleNamespace:
    """Run a server and a visit of its clients in one event loop."""
    house = House()

    async def run() -> Any:
        server = Server(new_device, house.heard.append, house.reports.append)
        uri = await server.open(Address.parse("tcp://127.0.0.1:0"))
        house.port = int(uri.rpartition(":")[2])
        try:
            return await asyncio.wait_for(visit(house), 30)
        finally:
            await server.close()

    result = asyncio.run(run())
    return SimpleNamespace(result=result, heard=house.heard, reports=house.reports)


async def play(client: AsyncTcpClient, sound: Sound, at_once: int = 1024, rate: int = 16000) -> None:
    for at in range(0, len(sound), at_once):
        audio = sound[at : at + at_once].astype("<i2").tobytes()
        await client.write_event(AudioChunk(rate, 2, 1, audio, timestamp=at * 1000 // rate).event())


async def answers_until(client: AsyncTcpClient, last: Callable[[str], bool]) -> list[Message]:
    answers: list[Message] = []
    while not answers or not last(answers[-1].type):
        answer = await client.read_event()
        assert answer is not None
        answers.append(answer)
    return answers


async def ask(
    client: AsyncTcpClient, sound: Sound, names: list[str] | None = None, start: bool = True
) -> list[Message]:
    """What a client is told of a sound; a ping after it tells when that is all."""
    await client.write_event(Detect(names=names).event())
    if start:
        await client.write_event(AudioStart(16000, 2, 1).event())
    await play(client, sound)
    await client.write_event(AudioStop().event())
    await client.write_event(Ping(text="all").event())
    return (await answers_until(client, Pong.is_type))[:-1]


def words_of(answers: list[Message]) -> list[str | None]:
    return [Detection.from_event(answer).name if Detection.is_type(answer.type) else None for answer in answers]


def test_describe_tells_every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """But what is refused of one, which is never detected."""
    plain = new_device

    def with_a_false_alarm() -> VoiceDevice:
        device = plain()
        device.recognizer.words = (*device.recognizer.words, Word("(not bed)", 0, 0, True, rejects="bed"))
        return device

    monkeypatch.setattr(sys.modules[__name__], "new_device", with_a_false_alarm)

    async def visit(house: House) -> Info:
        async with house.client() as client:
            await client.write_event(Describe().event())
            answer = await client.read_event()
            assert answer is not None
            return Info.from_event(answer)

    (program,) = in_house(visit).result.wake
    assert program.name == "edgelearn"
    assert program.installed
    assert [model.name for model in program.models] == [word.name for word in load_model(BASE_MODEL).words]
    assert all(model.phrase == model.name and model.installed for model in program.models)


def test_words_are_detected_as_in_a_file() -> None:
    sound = room("bed", "yellow", "down")
    expected = heard_offline(sound)
    assert expected == ["bed", "down"]

    async def visit(house: House) -> list[Message]:
        async with house.client() as client:
            return await ask(client, sound)

    done = in_house(visit)
    assert words_of(done.result) == expected
    assert [(heard.client, heard.event.word) for heard in done.heard] == [(1, "bed"), (1, "down")]
    stamps = [Detection.from_event(answer).timestamp for answer in done.result]
    # the time of the chunk with which the word was recognised: after its end, and before the next word
    assert [stamp is not None and 0 < stamp < len(sound) / 16 for stamp in stamps] == [True, True]
    assert stamps == sorted(stamps)


def test_only_the_words_that_were_asked_for_and_not_detected_for_the_rest() -> None:
    sound = room("bed", "down")

    async def visit(house: House) -> list[list[Message]]:
        async with house.client() as client:
            return [
                await ask(client, sound, ["down"]),
                await ask(client, sound, ["no such word"]),
                await ask(client, room("yellow"), start=False),
                await ask(client, sound[:0]),
            ]

    done = in_house(visit).result
    assert words_of(done[0]) == ["down"]
    for answers in done[1:]:
        assert [NotDetected.is_type(answer.type) for answer in answers] == [True]


def test_the_end_of_the_sound_closes_a_word_under_way() -> None:
    sound = room("bed")[:-9000]  # its silence is too short to end the word
    assert heard_offline(sound) == []

    async def visit(house: House) -> list[Message]:
        async with house.client() as client:
            return await ask(client, sound)

    assert words_of(in_house(visit).result) == ["bed"]


def test_clients_do_not_disturb_each_other() -> None:
    """Their sound arrives interleaved; each is told what it would be told alone."""
    sounds = [room("bed", "down"), room("go", "yellow"), room("yellow"), room("zero", "bed", "up")]
    expected = [heard_offline(sound) or [None] for sound in sounds]
    assert expected[:3] == [["bed", "down"], ["go"], [None]]

    async def visit(house: House) -> list[list[Message]]:
        async def one(sound: Sound) -> list[Message]:
            async with house.client() as client:
                return await ask(client, sound)

        return await asyncio.gather(*map(one, sounds))

    done = in_house(visit)
    assert [words_of(answers) for answers in done.result] == expected
    assert done.reports == []


def test_sound_of_another_rate_is_resampled() -> None:
    sound = np.repeat(room("bed"), 3)  # 48 kHz, roughly

    async def visit(house: House) -> list[Message]:
        async with house.client() as client:
            await play(client, sound, 4800, 48000)
            return await answers_until(client, Detection.is_type)

    assert words_of(in_house(visit).result) == ["bed"]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[1]\n",
        b'{"no": "type"}\n',
        b'{"type": "audio-chunk", "data": {"rate": 16000}}\n',
        b'{"type": "audio-chunk", "data": {"rate": 1, "width": 2, "channels": 1}, "payload_length": 2}\nxx',
        b'{"type": "audio-chunk", "data": {"rate": 191999, "width": 2, "channels": 1}, "payload_length": 2}\nxx',
        b'{"type": "audio-chunk", "data": {"rate": 16000, "width": 3, "channels": 1}, "payload_length": 3}\nxxx',
        b'{"type": "audio-chunk", "data": {"rate": 16000, "width": 2, "channels": 1}, "payload_length": 1}\nx',
        b'{"type": "audio-chunk", "payload_length": 99999999999}\n',
        b'{"type": "audio-chunk", "payload_length": "many"}\n',
        b"x" * 200_000,
    ],
    ids=lambda data: data[:60].decode(),
)
def test_nonsense_ends_that_client_and_no_other(data: bytes) -> None:
    async def visit(house: House) -> list[Message]:
        async with house.client() as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
            writer.write(data)
            await writer.drain()
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""  # it was disconnected
            writer.close()
            return await ask(client, room("bed"))

    done = in_house(visit)
    assert words_of(done.result) == ["bed"]
    (report,) = done.reports
    assert report.startswith("client ")
    assert "does not speak Wyoming and was disconnected" in report


def test_a_client_that_goes_away_harms_nothing() -> None:
    async def visit(house: House) -> list[Message]:
        async with house.client() as client:
            await play(client, room("bed")[:8000])
        async with house.client() as client:
            return await ask(client, room("down"))

    done = in_house(visit)
    assert words_of(done.result) == ["down"]
    assert done.reports == []


def test_messages_that_are_not_for_it_are_passed_over() -> None:
    conversation = Conversation(new_device(), nobody)
    assert list(conversation.answers(Message("transcribe", {"name": "x"}))) == []


def test_pcm_of_several_widths_and_channels() -> None:
    stereo = np.array([[100, 300], [-5, -6]], "<i2").tobytes()
    assert mono_int16(stereo, 2, 2).tolist() == [200, -6]
    assert mono_int16(np.array([5 << 16, -(1 << 31)], "<i4").tobytes(), 4, 1).tolist() == [5, -32768]
    with pytest.raises(ValueError, match="1 bytes a sample"):
        mono_int16(b"x", 1, 1)


@pytest.mark.parametrize(
    ("uri", "address"),
    [
        ("tcp://127.0.0.1:10400", Address("127.0.0.1", 10400)),
        ("tcp://[::1]:1", Address("::1", 1)),
        ("unix:///run/words", Address(path="/run/words")),
    ],
)
def test_addresses(uri: str, address: Address) -> None:
    assert Address.parse(uri) == address
    assert address.private


@pytest.mark.parametrize(
    "uri", ["", "tcp://:1", "tcp://host", "tcp://h:99999", "http://h:1", "stdio://", "tcp://h:1/x"]
)
def test_addresses_that_are_none(uri: str) -> None:
    with pytest.raises(UsageError, match=r"wyoming\.uri is"):
        Address.parse(uri)


def test_other_machines_are_let_in_only_when_asked() -> None:
    assert not Address.parse("tcp://0.0.0.0:10400").private
    assert not Address.parse("tcp://192.168.1.5:10400").private


def test_a_unix_socket_is_private_and_an_old_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "words"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))

    async def run() -> None:
        knocked = asyncio.Event()

        def device_for_the_second() -> VoiceDevice:
            knocked.set()
            return new_device()

        server = Server(device_for_the_second, nobody, nobody)
        uri = await server.open(Address(path=str(path)))
        assert uri == f"unix://{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(EdgelearnError, match="Address already in use"):
            await server.open(Address(path=str(path)))
        await asyncio.wait_for(knocked.wait(), 20)
        await server.close()

    asyncio.run(run())


def test_a_port_in_use_is_told() -> None:
    async def run() -> None:
        server = Server(new_device, nobody, nobody)
        uri = await server.open(Address("127.0.0.1", 0))
        with pytest.raises(EdgelearnError, match="cannot wait for clients") as caught:
            await server.open(Address.parse(uri))
        assert "--uri" in caught.value.hint
        await server.close()

    asyncio.run(run())


def test_a_client_that_was_switched_off_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    serve, alive = Server._serve, []

    async def noted(server: Server, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        alive.append(writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        await serve(server, number, reader, writer)

    monkeypatch.setattr(Server, "_serve", noted)

    async def visit(house: House) -> None:
        async with house.client() as client:
            await ask(client, room()[:0])

    in_house(visit)
    assert alive == [1]


def test_words_that_do_not_fit_the_budget_leave_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bounded(model: Model, budget_bytes: int) -> VoiceDevice:
        if "bunk" in [word.name for word in model.words]:
            raise BudgetExceeded("words", 2, 1, budget_bytes)
        return VoiceDevice(model, budget_bytes)

    monkeypatch.setattr("edgelearn.runtime.voice.VoiceDevice", bounded)
    path = tmp_path / "model.npz"
    model, settings = open_user_model(path), load_settings(environ={"HOME": str(tmp_path)})
    devices = Devices(Appliance(path, model, VoiceDevice(model), load_board(settings.device.board), settings))
    larger = save_model(path, model.renamed("bed", "bunk"))
    assert devices.new().model().words == model.words
    assert capsys.readouterr().err.startswith("the words stay as they were: region 'words' needs")
    save_model(path, larger.renamed("bunk", "bench"))
    assert devices.new().model().words[0].name == "bench"
    assert capsys.readouterr().err == ""


def test_the_verb_serves_new_words_without_a_restart_and_ends_with_a_summary(tmp_path: Path) -> None:
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("EDGELEARN_", "XDG_"))}
    folder = cache_folder()
    cache = {"NUMBA_CACHE_DIR": str(folder.parents[1])} if folder is not None else {}
    environment = clean | cache | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(30)
    environment |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    with notify, subprocess.Popen(
        interruptible("-m", "edgelearn", "wyoming", "--uri", "tcp://127.0.0.1:0", "--sensitivity", "0.75", "--json"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            ready = json.loads(process.stdout.readline())
            assert ready["event"] == "ready"
            assert "bed" in ready["words"]
            assert notify.recv(200).decode().startswith("READY=1\nSTATUS=waiting for clients at tcp://127.0.0.1:")
            assert [notify.recv(200), notify.recv(200)] == [b"WATCHDOG=1", b"WATCHDOG=1"]
            port = int(ready["uri"].rpartition(":")[2])

            async def visit() -> list[Message]:
                async with AsyncTcpClient("127.0.0.1", port, connect_timeout=5, read_timeout=20) as client:
                    return await ask(client, room("bed"))

            async def words() -> list[str]:
                async with AsyncTcpClient("127.0.0.1", port, connect_timeout=5, read_timeout=20) as client:
                    await client.write_event(Describe().event())
                    answer = await client.read_event()
                    assert answer is not None
                    return [model.name for model in Info.from_event(answer).wake[0].models]

            assert words_of(asyncio.run(visit())) == ["bed"]
            rename = [sys.executable, "-m", "edgelearn", "rename", "bed", "bunk"]
            subprocess.run(rename, env=environment, check=True, capture_output=True)
            assert "bunk" in asyncio.run(words())
            process.send_signal(signal.SIGINT)
            rest, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    lines = [json.loads(line) for line in rest.splitlines()]
    assert [(line["event"], line.get("word")) for line in lines] == [("detection", "bed"), ("end", None)]
    assert (lines[-1]["clients"], lines[-1]["words"]) == (2, 1)
    assert errors == ""
