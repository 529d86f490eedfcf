"""Words for Home Assistant: a Wyoming server (github.com/OHF-Voice/wyoming), each client with a device of its own.

Imported by its verb alone, because it needs the package `wyoming`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.event import async_read_event, async_write_event
from wyoming.info import Attribution, Describe, Info, WakeModel, WakeProgram
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from edgelearn import __version__
from edgelearn.audio.resample import Resampler
from edgelearn.errors import EdgelearnError, UsageError
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.voice import VoiceDevice

LONGEST_PAYLOAD = 1 << 20  # bytes of one message: half a minute of sound, where clients send a twentieth of a second
# every usual rate is a multiple of it; another one may need a filter of 16,000 rows, which takes seconds to make
RATE_STEP_HZ = 25
# what a client can send that is no Wyoming: a text that is no object, a key that is missing, a number that is none
MALFORMED = (AttributeError, EOFError, KeyError, TypeError, ValueError, UsageError)


@dataclass(frozen=True)
class Address:
    """Where the server waits: host and port, or the path of a Unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, uri: str) -> Address:
        """Read tcp://HOST:PORT or unix://PATH; raises UsageError for anything else."""
        with contextlib.suppress(ValueError):
            parts = urlsplit(uri)
            if parts.scheme == "tcp" and parts.hostname and parts.port is not None and not parts.path.strip("/"):
                return cls(host=parts.hostname, port=parts.port)
            if parts.scheme == "unix" and not parts.netloc and parts.path:
                return cls(path=parts.path)
        raise UsageError(f"wyoming.uri is {uri!r}", "it must be tcp://HOST:PORT or unix:///PATH")

    @property
    def private(self) -> bool:
        """Whether only programs of this machine can connect."""
        return bool(self.path) or self.host == "localhost" or self.host == "::1" or self.host.startswith("127.")


@dataclass(frozen=True)
class Heard:
    """A word that a client's sound had in it."""

    client: int
    event: Event


class Conversation:
    """What one client has said so far: the words it waits for, and its stream with its own recognizer."""

    def __init__(self, device: VoiceDevice, on_heard: Callable[[Event], None]) -> None:
        self._device = device
        self._on_heard = on_heard
        self._names: Sequence[str] | None = None
        self._resampler: Resampler | None = None
        self._format = (0, 0, 0)
        self._detected = False

    def answers(self, event: Any) -> Iterator[Any]:
        """Return what to answer to a message; raises one of MALFORMED for one that is not understood."""
        if AudioChunk.is_type(event.type):
            yield from self._listen(AudioChunk.from_event(event))
        elif Describe.is_type(event.type):
            yield describe([word.name for word in self._device.recognizer.words if not word.rejects])
        elif Detect.is_type(event.type):
            self._names = Detect.from_event(event).names or None
            self._detected = False
        elif AudioStart.is_type(event.type):
            self._begin()
        elif AudioStop.is_type(event.type):
            if self._resampler is not None:
                yield from self._detections(self._device.recognizer.finish(), None)
            if not self._detected:
                yield NotDetected()
            self._begin()
        elif Ping.is_type(event.type):
            yield Pong(text=Ping.from_event(event).text)

    def _begin(self) -> None:
        self._device.recognizer.reset()
        self._resampler = None
        self._detected = False

    def _listen(self, chunk: AudioChunk) -> Iterator[Detection]:
        this = (chunk.rate, chunk.width, chunk.channels)
        if self._resampler is None or this != self._format:
            if chunk.rate % RATE_STEP_HZ:
                raise ValueError(f"sound at {chunk.rate} Hz, which is no multiple of {RATE_STEP_HZ} Hz")
            self._resampler = Resampler(chunk.rate)
            self._format = this
        samples = self._resampler.push(mono_int16(chunk.audio, chunk.width, chunk.channels))
        yield from self._detections(self._device.recognizer.push(samples), chunk.timestamp)

    def _detections(self, events: list[Event], timestamp_ms: int | None) -> Iterator[Detection]:
        for event in events:
            if self._names is None or event.word in self._names:
                self._detected = True
                self._on_heard(event)
                at_ms = timestamp_ms if timestamp_ms is not None else round(event.end_s * 1000)
                yield Detection(name=event.word, timestamp=at_ms)


def mono_int16(audio: bytes, width: int, channels: int) -> NDArray[np.int16]:
    """Return raw little-endian PCM, 2 or 4 bytes a sample, as int16: the mean of its channels.

    Raises ValueError for other widths and for bytes that are no whole frames.
    """
    if width not in (2, 4) or not 1 <= channels <= 64:
        raise ValueError(f"sound of {width} bytes a sample and {channels} channels")
    frames = np.frombuffer(audio, f"<i{width}").reshape(-1, channels)
    mean: NDArray[np.int64] = frames.sum(axis=1, dtype=np.int64) // channels
    return (mean >> (16 if width == 4 else 0)).astype(np.int16)


def describe(words: Sequence[str]) -> Info:
    """Return what the server says it can do: one model for each word, called by it."""
    common = {"attribution": Attribution("edgelearn", ""), "installed": True, "version": __version__}
    models = [WakeModel(name=word, description=word, languages=[], phrase=word, **common) for word in words]
    return Info(wake=[WakeProgram(name="edgelearn", description="words that you have taught", models=models, **common)])


class Server:
    """Waits for clients, and gives each a `Conversation`.

    new_device: makes a device with the words of the moment.  on_heard: is told each word that a client was told.
    report: is told which clients did not speak Wyoming.
    """

    def __init__(
        self,
        new_device: Callable[[], VoiceDevice],
        on_heard: Callable[[Heard], None],
        report: Callable[[str], None],
    ) -> None:
        self._new_device = new_device
        self._on_heard = on_heard
        self._report = report
        self._listening: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.clients = 0

    async def open(self, address: Address) -> str:
        """Begin to accept clients; returns the URI, with the port that was free if the address has port 0.

        Raises EdgelearnError for an address that is in use or not of this machine.
        """
        try:
            if address.path:
                path = Path(address.path)
                if path.is_socket() and await _answers(path):  # asyncio would take its place
                    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
                self._listening = await asyncio.start_unix_server(self._accept, path)
                path.chmod(0o600)
                return f"unix://{address.path}"
            self._listening = await asyncio.start_server(self._accept, address.host, address.port)
        except OSError as error:
            raise EdgelearnError(
                f"cannot wait for clients at {address.path or f'{address.host}:{address.port}'}: {error.strerror}",
                "another server may be there: choose another place with --uri",
            ) from None
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"tcp://{host}:{self._listening.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Accept no more clients, and leave those that are there."""
        if self._listening is not None:
            self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # a connection is closed in the round after the one that asks for it

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.clients += 1
        # one that was switched off in the middle of its sound says nothing more: the system finds out that it is gone
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        task = asyncio.get_running_loop().create_task(self._serve(self.clients, reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            try:
                conversation = Conversation(self._new_device(), lambda event: self._on_heard(Heard(number, event)))
                bounded: Any = _Bounded(reader)
                while (event := await async_read_event(bounded)) is not None:
                    for answer in conversation.answers(event):
                        await async_write_event(answer.event(), writer)
                if not reader.at_eof():
                    raise ValueError("neither JSON nor the end")
            except ConnectionError:
                pass  # it has gone, and needs no answer
            except MALFORMED as error:
                self._report(f"client {number} does not speak Wyoming and was disconnected: {error}")


class _Bounded:
    """A stream reader that refuses to hold more than LONGEST_PAYLOAD for a message."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self.readline = reader.readline  # asyncio bounds a line itself

    async def readexactly(self, count: int) -> bytes:
        if count > LONGEST_PAYLOAD:
            raise ValueError  # async_read_event takes it for text that is no JSON, and ends the connection
        return await self._reader.readexactly(count)


async def _answers(path: Path) -> bool:
    """Return whether a server waits at a Unix socket, and not just the file that one has left."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except ConnectionError:
        return False
    writer.close()
    return True
