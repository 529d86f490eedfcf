"""The process that holds the microphone: `python -m edgelearn.audio.capture_process ORDER`, started by `capture`.

It is a process of its own because nothing less can be ended: when a microphone is pulled out, PortAudio 19.6 spins and
floods stderr, and never returns from closing the device.

ORDER is a JSON object with `do`: `list`, `rates` or `capture`.  stdin: its end is the end of the parent, and so of this
process.  stdout: an empty line for each block that is in the ring, and a JSON line for all else there is to say.
Nothing here imports NumPy, so that a microphone is open again soon after it is back.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict
from typing import Any, NoReturn

from edgelearn.audio import portaudio
from edgelearn.audio.microphones import InputDevice, choose, choose_again
from edgelearn.audio.ring import BlockRing
from edgelearn.errors import AudioDeviceError

# pauses between attempts to open a microphone that is away; the last one for ever
RETRY_SECONDS = (0.25, 0.5, 1.0)


class Capture:
    """One microphone, opened as `order` says, and again and again if `patient`, until blocks of it come.

    order: device, channel (from 1), rate_hz (0: the best), name ("" or that of the device before it was lost),
    patience_s (for the first block), patient, ring (a descriptor).
    """

    def __init__(self, order: dict[str, Any], out: int) -> None:
        self._order = order
        self._out = out
        self._silent = False
        self._number = 0
        self._unsent = 0

    def run(self) -> None:
        """Record until the stream ends; return when it does, or when a first attempt fails."""
        attempts = 0
        while True:
            try:
                sd = portaudio.load()
                if attempts:
                    portaudio.look_again(sd)
                self._record(sd)
                return
            except AudioDeviceError as error:
                say(self._out, failed=error.message, hint=error.hint)
            if not self._order["patient"]:
                return
            # one that was open and silent has been waited for already
            time.sleep(RETRY_SECONDS[0 if self._silent else min(attempts, len(RETRY_SECONDS) - 1)])
            attempts += 1

    def _record(self, sd: Any) -> None:
        self._silent = False
        # of this stream: one that is closed ends, and may say so late
        woken, ended = threading.Event(), threading.Event()
        wanted, name, channel = self._order["device"], self._order["name"], self._order["channel"]
        devices = portaudio.inputs(sd)
        device = choose_again(devices, wanted, name) if name else choose(devices, wanted)

        def prepare(rate: int, channels: int) -> dict[str, Any]:
            ring = BlockRing(self._order["ring"], portaudio.block_frames(rate))

            def on_block(data: Any, _frames: int, _time: Any, status: Any) -> None:
                samples = memoryview(data).cast("B").cast("h")[channel - 1 :: channels]
                self._number += 1
                ring.write(self._number, samples, bool(status.input_overflow))
                self._tell_block()
                woken.set()

            def on_end() -> None:
                ended.set()
                woken.set()

            # told before the stream starts, and so before its first block
            say(self._out, opened=asdict(device), rate_hz=rate, channels=channels)
            return {"callback": on_block, "finished_callback": on_end}

        stream = portaudio.open_input(sd, device, self._order["rate_hz"], channel, prepare)
        patience_s = self._order["patience_s"]
        if not woken.wait(patience_s):
            self._silent = True
            problem = AudioDeviceError(
                f"the microphone {device.name!r} has delivered nothing for {patience_s:g} s",
                "unplug it and plug it in again, or choose another one: `edgelearn devices`",
            )
            say(self._out, closing=True)  # which may take for ever: the parent looks at its clock
            stream.abort()
            stream.close()
            raise problem
        ended.wait()
        say(self._out, failed=f"the microphone {device.name!r} has stopped", hint="")

    def _tell_block(self) -> None:
        self._unsent += 1
        # a pipe is full when the parent has not looked for twenty minutes; it will be told then
        with contextlib.suppress(BlockingIOError):
            self._unsent -= os.write(self._out, b"\n" * self._unsent)


def inventory() -> dict[str, Any]:
    """Return all microphones, and PortAudio's version."""
    sd = portaudio.load()
    return {"devices": [asdict(device) for device in portaudio.inputs(sd)], "portaudio": sd.get_portaudio_version()[1]}


def rates(wanted: str) -> dict[str, Any]:
    """Return the common rates that a microphone can be opened at."""
    sd = portaudio.load()
    device: InputDevice = choose(portaudio.inputs(sd), wanted)
    return {"rates_hz": list(portaudio.supported_rates(sd, device))}


def say(out: int, **message: Any) -> None:
    """Write one JSON line, at once and whole."""
    os.write(out, json.dumps(message).encode() + b"\n")


def main() -> NoReturn:
    """Do what the order on the command line says."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library that prints must not break a line of ours
    threading.Thread(target=_die_with_parent, daemon=True).start()
    order = json.loads(sys.argv[1])
    try:
        if order["do"] == "capture":
            os.set_blocking(out, False)
            Capture(order, out).run()
        else:
            say(out, **(inventory() if order["do"] == "list" else rates(order["device"])))
    except AudioDeviceError as error:
        say(out, failed=error.message, hint=error.hint)
    except Exception as error:
        say(out, failed=f"the microphone's process failed: {type(error).__name__}: {error}", hint="")
    os._exit(0)  # PortAudio's own end may never come


def _die_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
