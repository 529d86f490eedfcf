"""Stands for the module sounddevice in a capture process: one microphone, whose fate is in a folder.

FAKE_MICROPHONE names the folder.  `samples.raw` is what it records, from its first sample at each opening, and silence
after the last.  While `gone` exists it is not there; an open one makes its process spin, and closing it never returns.
While `stuck` exists it delivers nothing.  While `ended` exists its stream ends.  `overflow`: the next block is told to
come after an overrun.  `devices` holds another number of microphones than one, `pace` another pause between two blocks
than 20 ms.  Without `samples.raw` every block is filled with its number.

There is a loudspeaker as well, which writes to `played.raw`, unless `refuses` exists.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FOLDER = Path(os.environ["FAKE_MICROPHONE"])
RATE_HZ = 16000
CHANNELS = 2  # it opens as a whole only
default = SimpleNamespace(device=(-1, -1))


class PortAudioError(Exception):
    pass


def is_so(what: str) -> bool:
    return (FOLDER / what).exists()


def query_devices() -> list[dict[str, Any]]:
    if is_so("crashes"):
        os.abort()
    if is_so("hangs"):
        time.sleep(60)
    count = int((FOLDER / "devices").read_text()) if is_so("devices") else 1
    device = {"name": "Fake Mic", "hostapi": 0, "max_input_channels": CHANNELS, "default_samplerate": float(RATE_HZ)}
    speaker = {"name": "Fake Speaker", "hostapi": 0, "max_input_channels": 0, "default_samplerate": 48000.0}
    devices = [] if is_so("gone") else [*[device] * count, speaker]
    return [one | {"index": n, "max_output_channels": int(one is speaker)} for n, one in enumerate(devices)]


def query_hostapis() -> list[dict[str, Any]]:
    return [{"name": "ALSA", "default_input_device": 0}]


def get_portaudio_version() -> tuple[int, str]:
    return 1, "Fake PortAudio"


def check_input_settings(samplerate: int, **_: Any) -> None:
    if samplerate != RATE_HZ:
        raise PortAudioError("Invalid sample rate")


def _initialize() -> None:
    pass


def _terminate() -> None:
    pass


class RawInputStream:
    def __init__(
        self, samplerate: int, blocksize: int, channels: int, callback: Callable[..., None],
        finished_callback: Callable[[], None], **_: Any,
    ) -> None:  # fmt: skip
        if samplerate != RATE_HZ:
            raise PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        if channels != CHANNELS:
            raise PortAudioError("Invalid number of channels [PaErrorCode -9998]")
        self._block_bytes = 2 * blocksize * channels
        self._callback = callback
        self._finished = finished_callback
        self._closed = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def abort(self) -> None:
        while is_so("gone"):
            pass
        self._closed.set()

    def close(self) -> None:
        self.abort()

    def _run(self) -> None:
        sound = (FOLDER / "samples.raw").read_bytes() if is_so("samples.raw") else None
        pace = float((FOLDER / "pace").read_text()) if is_so("pace") else 0.02
        number = 0
        while not self._closed.wait(pace) and not is_so("ended"):
            while is_so("gone"):
                pass
            if is_so("stuck"):
                continue
            overflow = is_so("overflow")
            (FOLDER / "overflow").unlink(missing_ok=True)
            number += 1
            if sound is None:
                block = number.to_bytes(2, "little") * (self._block_bytes // 2)
            else:
                at = (number - 1) * self._block_bytes
                block = sound[at : at + self._block_bytes].ljust(self._block_bytes, b"\0")
            self._callback(block, len(block), None, SimpleNamespace(input_overflow=overflow))
        self._finished()


class RawOutputStream:
    def __init__(self, **_: Any) -> None:
        if is_so("refuses"):
            raise PortAudioError("no")

    def __enter__(self) -> RawOutputStream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def write(self, sound: bytes) -> None:
        with (FOLDER / "played.raw").open("ab") as file:
            file.write(sound)
