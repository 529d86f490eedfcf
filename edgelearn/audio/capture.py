"""The microphone: int16 blocks at 16 kHz out of whatever device PortAudio finds."""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.resample import SAMPLE_RATE_HZ, Resampler
from edgelearn.errors import AudioDeviceError

BLOCK_MS = 20
QUEUED_BLOCKS = 250  # 5 s: longer than any pause of the program that is not a fault
CLOSE_SECONDS = 1.0
WORRY_SECONDS = 0.1  # blocks come every BLOCK_MS; after this long without one, something is wrong
STDERR = 2


@dataclass(frozen=True)
class InputDevice:
    """A microphone: PortAudio's number and name for it, its system (ALSA, ...), channels, native rate."""

    index: int
    name: str
    host_api: str
    channels: int
    rate_hz: int
    is_default: bool


def list_inputs() -> list[InputDevice]:
    """Return the microphones in PortAudio's order; raises AudioDeviceError if PortAudio is missing."""
    sd = _portaudio()
    try:
        devices, systems, default = sd.query_devices(), sd.query_hostapis(), sd.default.device[0]
        if default < 0:
            default = next(
                (api["default_input_device"] for api in systems if api["default_input_device"] >= 0), -1
            )
    except sd.PortAudioError as error:
        raise AudioDeviceError(f"PortAudio cannot list the microphones: {error}") from None
    return [
        InputDevice(
            index,
            device["name"],
            systems[device["hostapi"]]["name"],
            device["max_input_channels"],
            round(device["default_samplerate"]),
            index == default,
        )
        for index, device in enumerate(devices)
        if device["max_input_channels"] > 0
    ]


def find_input(wanted: str = "") -> InputDevice:
    """Return the microphone with the number `wanted`, or the only one whose name contains it.

    "" is the default one.  Raises AudioDeviceError, with the candidates, if none fits or more than one does.
    """
    devices = list_inputs()
    if not devices:
        raise AudioDeviceError("no microphone is connected", "--input FILE and --input - work without one")
    if not wanted:
        return next((device for device in devices if device.is_default), devices[0])
    if wanted.isdecimal():
        found = [device for device in devices if device.index == int(wanted)]
    else:
        found = [device for device in devices if device.name == wanted] or [
            device for device in devices if wanted.lower() in device.name.lower()
        ]
    if len(found) == 1:
        return found[0]
    what = "several microphones fit" if found else "no microphone fits"
    candidates = "; ".join(f"{device.index} {device.name}" for device in found or devices)
    raise AudioDeviceError(f"{what} {wanted!r}", f"choose one of: {candidates}")


class Microphone:
    """An open microphone: iterate over it, inside `with`, for int16 blocks at 16 kHz.

    The audio callback copies and queues, nothing else.  When the queue is full the oldest block goes;
    `overruns` counts the gaps in what the iterator has given so far, those that PortAudio reports included,
    so a change between two blocks means that sound is missing between them.  A device that delivers nothing
    for `timeout_s` raises AudioDeviceError.
    """

    def __init__(self, device: str = "", rate_hz: int = SAMPLE_RATE_HZ, timeout_s: float = 3.0) -> None:
        """Choose the device (see `find_input`) and the rate to ask it for, before its native rate."""
        self.device = find_input(device)
        self.rate_hz = rate_hz
        self.overruns = 0
        self._timeout_s = timeout_s
        self._start_queue()
        self._stream: Any = None
        self._quiet = _QuietLibrary()

    def __enter__(self) -> Self:
        sd = _portaudio()
        # some arrays of microphones open only as a whole: their first channel is taken
        attempts = [
            (rate, channels)
            for channels in dict.fromkeys((1, self.device.channels))
            for rate in dict.fromkeys((self.rate_hz, self.device.rate_hz))
        ]
        reasons = []
        for rate, channels in attempts:
            self._start_queue()
            try:
                with self._quiet:
                    self._stream = sd.InputStream(
                        samplerate=rate,
                        blocksize=rate * BLOCK_MS // 1000,
                        device=self.device.index,
                        channels=channels,
                        dtype="int16",
                        callback=self._on_block,
                        finished_callback=self._on_end,
                    )
                    self._stream.start()
            except sd.PortAudioError as error:
                self._close()
                reasons.append(f"{rate} Hz, {channels} channel{'s' * (channels > 1)}: {error.args[0]}")
                continue
            self.rate_hz = rate
            return self
        raise AudioDeviceError(
            f"cannot open the microphone {self.device.index} {self.device.name!r} ({'; '.join(reasons)})",
            "another program may be using it; `edgelearn devices` lists the others",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __iter__(self) -> Iterator[NDArray[np.int16]]:
        resampler = Resampler(self.rate_hz)
        last = 0
        while True:
            item = self._wait()
            if item is None:
                raise AudioDeviceError(
                    f"the microphone {self.device.name!r} has stopped",
                    "it was unplugged, or another program took it",
                )
            sequence, block = item
            self.overruns += sequence - last - 1
            last = sequence
            samples = resampler.push(block)
            if len(samples):
                yield samples

    def _start_queue(self) -> None:
        self._queue: queue.Queue[tuple[int, NDArray[np.int16]] | None] = queue.Queue(QUEUED_BLOCKS)
        self._sequence = 0  # of the callback: one more for each block, and one for each gap

    def _wait(self) -> tuple[int, NDArray[np.int16]] | None:
        with contextlib.suppress(queue.Empty):
            return self._queue.get(timeout=min(WORRY_SECONDS, self._timeout_s))
        self._quiet.begin()
        try:
            item = self._queue.get(timeout=max(0.0, self._timeout_s - WORRY_SECONDS))
        except queue.Empty:
            raise AudioDeviceError(
                f"the microphone {self.device.name!r} has delivered nothing for {self._timeout_s:g} s",
                "unplug it and plug it in again, or choose another one: `edgelearn devices`",
            ) from None
        self._quiet.end()
        return item

    def _on_block(self, block: NDArray[np.int16], _frames: int, _time: Any, status: Any) -> None:
        self._sequence += 2 if status.input_overflow else 1
        self._put((self._sequence, block[:, 0].copy()))

    def _on_end(self) -> None:
        self._put(None)

    def _put(self, item: tuple[int, NDArray[np.int16]] | None) -> None:
        if self._queue.full():
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
        self._queue.put_nowait(item)  # there is one producer, so the place that was made is still there

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is None:
            return

        def close() -> None:
            stream.abort()
            stream.close()

        closer = threading.Thread(target=close, daemon=True)
        closer.start()
        closer.join(CLOSE_SECONDS)
        if closer.is_alive():
            # PortAudio 19.6 never returns from closing a device that was pulled out; nor would the exit
            # handler
            atexit.unregister(_portaudio()._exit_handler)
        else:
            self._quiet.end()


class _QuietLibrary:
    """Keeps what PortAudio writes to stderr away from the user, and lets Python's own stderr through.

    PortAudio 19.6 prints its source lines there for each rate that a device refuses, and prints them without
    end once a device has been pulled out.
    """

    def __init__(self) -> None:
        self._kept: tuple[int, TextIO | None] | None = (
            None  # stderr's descriptor and object, while they are replaced
        )

    def __enter__(self) -> None:
        self.begin()

    def __exit__(self, *_: object) -> None:
        self.end()

    def begin(self) -> None:
        """Begin, if that has not happened yet."""
        if self._kept is not None:
            return
        kept = os.dup(STDERR)
        python = None
        # a program may have no stderr, or one without a descriptor
        with contextlib.suppress(OSError, ValueError, AttributeError):
            if sys.stderr.fileno() == STDERR:
                sys.stderr.flush()
                python = sys.stderr
                # not closed here, because it lives until `end`
                sys.stderr = open(kept, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, STDERR)
        os.close(nowhere)
        self._kept = (kept, python)

    def end(self) -> None:
        """Undo `begin`, if it happened."""
        if self._kept is None:
            return
        kept, python = self._kept
        os.dup2(kept, STDERR)
        if python is not None:
            sys.stderr.flush()
            sys.stderr = python
        os.close(kept)
        self._kept = None


def _portaudio() -> Any:
    try:
        import sounddevice
    except OSError:  # the package is there, the library that it calls is not
        raise AudioDeviceError(
            "the microphone needs PortAudio, which is not installed", "type: sudo apt install libportaudio2"
        ) from None
    except ImportError:
        raise AudioDeviceError(
            "the microphone needs the package sounddevice", "type: pip install sounddevice"
        ) from None
    except Exception as error:  # PortAudio's own, from its start
        raise AudioDeviceError(f"PortAudio does not start: {error}") from None
    return sounddevice
