"""The microphone as an iterator of int16 blocks at 16 kHz that outlives unplugging, stalls and hangs of the library.

The device is held by a child process (`capture_process`), which writes blocks into a ring in shared memory.  This side
watches the clock: a child that delivers nothing is killed, and another one waits until the microphone is back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.capture_child import CaptureChild, ask
from edgelearn.audio.input_quality import InputQuality
from edgelearn.audio.microphones import InputDevice
from edgelearn.audio.resample import Resampler

STALLED_SECONDS = 0.6  # blocks come every 20 ms; after this long without one the microphone is lost
FIRST_BLOCK_SECONDS = 3.0  # a sound server may have to wake its device up
AGAIN_SECONDS = 1.5  # the same, after a loss
TICK_SECONDS = 0.25  # how often the iterator gives control back while nothing comes
STEADY_BLOCKS = 50
RESPAWN_SECONDS = 0.5  # before the next child, where the last one delivered fewer blocks than that

PROBLEMS = {
    "dead": ("delivers digital silence", "it is muted, or nothing is connected: `--channel` chooses another channel"),
    "clipped": ("is overdriven: its sound is clipped", "turn its level down (`alsamixer`), or step back"),
    "quiet": ("is far too quiet for words to be heard", "turn its level up (`alsamixer`), or come closer"),
}


@dataclass(frozen=True)
class MicrophoneChange:
    """What became of an open microphone: state is lost, back, dead, clipped or quiet; away_s: how long, if back."""

    state: str
    device: str
    message: str
    advice: str = ""
    away_s: float = 0.0


def list_inputs() -> list[InputDevice]:
    """Return the microphones in PortAudio's order; raises AudioDeviceError if PortAudio is missing."""
    return [InputDevice(**device) for device in ask(do="list")["devices"]]


def portaudio_version() -> str:
    """Return PortAudio's name and version; raises AudioDeviceError if it is missing."""
    return str(ask(do="list")["portaudio"])


def supported_rates(device: str = "") -> list[int]:
    """Return its own and the common rates, in Hz, that a microphone can be opened at."""
    return [int(rate) for rate in ask(do="rates", device=device)["rates_hz"]]


class Microphone:
    """An open microphone: iterate over it, inside `with`, for int16 blocks at 16 kHz, without end.

    A block may be empty: nothing came, and there is time for other things.  A microphone that is lost is opened again
    when it is back; `tell` hears of that, and of input that is dead, clipped or far too quiet, in the iterating thread.
    overruns: places where sound came and could not be kept, by PortAudio or by the ring; reopens: how often the
    microphone was lost and came back.  A change of `gaps`, their sum, between two blocks means that sound is missing
    between them.
    """

    device: InputDevice

    def __init__(
        self,
        device: str = "",
        rate_hz: int = 0,
        channel: int = 1,
        tell: Callable[[MicrophoneChange], None] = lambda _: None,
    ) -> None:
        """Choose the device (see `microphones.choose`), the rate to ask it for (0: the best), the channel from 1."""
        self.rate_hz = 0
        self.overruns = 0
        self.reopens = 0
        self._order = {"do": "capture", "device": device, "rate_hz": rate_hz, "channel": channel}
        self._tell = tell
        self._quality = InputQuality()
        self._child: CaptureChild | None = None

    @property
    def gaps(self) -> int:
        """How often sound is missing in what the iterator has given so far."""
        return self.overruns + self.reopens

    @property
    def process_id(self) -> int:
        """The number of the process that holds the microphone, 0 while there is none."""
        return 0 if self._child is None else self._child.process_id

    def __enter__(self) -> Self:
        """Raise AudioDeviceError if the microphone cannot be found or opened, or delivers nothing."""
        child = self._start(FIRST_BLOCK_SECONDS, "")
        try:
            while not child.has_block():
                if child.problem or child.gone or child.overdue:
                    raise child.failure()
                child.wait(child.deadline - time.monotonic())
        except BaseException:
            self._stop()
            raise
        self.device, self.rate_hz = child.device, child.rate_hz
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def __iter__(self) -> Iterator[NDArray[np.int16]]:
        resampler = Resampler(self.rate_hz)
        while self._child is not None:
            reason = self._await_block(self._child)
            if reason:
                yield from self._reopen(reason, self._child.taken >= STEADY_BLOCKS)
                resampler = Resampler(self.rate_hz)
            elif taken := self._child.take():
                block, lost = np.frombuffer(taken[0], np.int16), taken[1]
                if lost:
                    self.overruns += 1
                    resampler = Resampler(self.rate_hz)
                for problem in self._quality.push(block):
                    self._change(problem, *PROBLEMS[problem])
                samples = resampler.push(block)
                if len(samples):
                    yield samples

    def _await_block(self, child: CaptureChild) -> str:
        """Wait for a block; return why there will be none, or ""."""
        stalled = time.monotonic() + STALLED_SECONDS
        while not child.has_block():
            if child.gone or child.problem:
                return "has stopped"
            if not child.wait(stalled - time.monotonic()):
                return "delivers nothing any more"
        return ""

    def _reopen(self, reason: str, steady: bool) -> Iterator[NDArray[np.int16]]:
        """Wait until the microphone is back; yield empty blocks meanwhile."""
        nothing = np.zeros(0, np.int16)
        began = time.monotonic()
        self._stop()
        self._change("lost", reason, "it is opened again as soon as it is back; is it plugged in?")
        while True:
            respawn = time.monotonic() + (0.0 if steady else RESPAWN_SECONDS)
            steady = False
            while (pause := respawn - time.monotonic()) > 0:
                yield nothing
                time.sleep(min(pause, TICK_SECONDS))
            child = self._start(AGAIN_SECONDS, self.device.name)
            while not (child.has_block() or child.gone or child.overdue):
                yield nothing
                child.wait(min(TICK_SECONDS, child.deadline - time.monotonic()))
            if child.has_block():
                break
            self._stop()
        self.device, self.rate_hz = child.device, child.rate_hz
        self.reopens += 1
        away_s = round(time.monotonic() - began, 2)
        self._change("back", f"is back after {away_s:g} s", away_s=away_s)

    def _start(self, patience_s: float, name: str) -> CaptureChild:
        self._child = CaptureChild(**self._order, name=name, patient=bool(name), patience_s=patience_s)
        return self._child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    def _change(self, state: str, message: str, advice: str = "", away_s: float = 0.0) -> None:
        text = f"the microphone {self.device.name!r} {message}"
        self._tell(MicrophoneChange(state, self.device.name, text, advice, away_s))
