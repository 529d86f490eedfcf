"""The capture process as its parent sees it: what it says, and the blocks that it has put into the ring."""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from typing import Any

from edgelearn.audio import own_process
from edgelearn.audio.microphones import InputDevice
from edgelearn.audio.portaudio import block_frames
from edgelearn.audio.ring import BlockRing, new_memory
from edgelearn.errors import AudioDeviceError

ANSWER_SECONDS = 10.0  # for PortAudio to start and to list the devices, on a slow machine
CLOSE_SECONDS = 1.0


class CaptureChild:
    """A process that carries out one order (see `capture_process`).

    device, rate_hz: of the microphone, once it is opened.  problem: what the process failed at last.  gone: whether it
    has ended.  deadline: when it should have said something more (time.monotonic).  taken: blocks taken so far.
    """

    device: InputDevice
    rate_hz: int

    def __init__(self, **order: Any) -> None:
        # memory of its own: a process that does not die at once must not write into the ring of the next one
        self._memory = new_memory()
        self._process = own_process.start(
            "edgelearn.audio.capture_process",
            json.dumps(order | {"ring": self._memory}),
            stdin=subprocess.PIPE,
            pass_fds=(self._memory,),
        )
        self._out = self._process.stdout.fileno()  # type: ignore[union-attr]
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._text = b""
        self._ring: BlockRing | None = None
        self._newest = 0
        self._next = 1
        self._lost = False
        self._patience_s = float(order.get("patience_s", 0))
        self.answer: dict[str, Any] = {}
        self.problem: AudioDeviceError | None = None
        self.gone = False
        self.taken = 0
        self.deadline = time.monotonic() + ANSWER_SECONDS

    @property
    def process_id(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def overdue(self) -> bool:
        """Whether it should have said something by now."""
        return time.monotonic() >= self.deadline

    def has_block(self) -> bool:
        """Return whether `take` has a block to give."""
        return self._next <= self._newest

    def take(self) -> tuple[bytes, bool] | None:
        """Return the next block (int16) and whether sound is missing before it; None if it was overwritten."""
        while self._ring is not None and self.has_block():
            number = max(self._next, self._ring.oldest(self._newest))
            self._lost |= number > self._next
            self._next = number + 1
            found = self._ring.read(number)
            if found is not None:
                lost, self._lost = self._lost or found[1], False
                self.taken += 1
                return found[0], lost
            self._lost = True
            self.wait(0)  # the writer is further than we knew
        return None

    def wait(self, timeout_s: float) -> bool:
        """Wait until the process says something or ends; return whether it did in time."""
        if self.gone or not self._poll.poll(max(0.0, 1000 * timeout_s)):
            return self.gone
        data = os.read(self._out, 1 << 16)
        self.gone = not data
        *lines, self._text = (self._text + data).split(b"\n")
        self._newest += lines.count(b"")
        for line in filter(None, lines):
            self._hear(json.loads(line))
        return True

    def failure(self) -> AudioDeviceError:
        """Return why there is no sound and no answer."""
        if self.problem is not None:
            return self.problem
        if self.gone:
            return AudioDeviceError(
                f"PortAudio has crashed (the process that holds the microphone ended with {self._process.wait()})",
                "`arecord -l` may tell more: is the configuration of ALSA whole?",
            )
        return AudioDeviceError(
            "the process that holds the microphone does not answer", "unplug the microphone and plug it in again"
        )

    def kill(self) -> None:
        """End the process, whatever it is doing, and release the microphone."""
        self._process.kill()
        self._process.communicate()
        os.close(self._memory)
        if self._ring is not None:
            self._ring.close()

    def _hear(self, message: dict[str, Any]) -> None:
        now = time.monotonic()
        self.deadline = now + ANSWER_SECONDS
        if "opened" in message:
            self.device, self.rate_hz = InputDevice(**message["opened"]), message["rate_hz"]
            if self._ring is not None:
                self._ring.close()
            self._ring = BlockRing(self._memory, block_frames(self.rate_hz))
            self.problem = None
            self.deadline = now + self._patience_s + CLOSE_SECONDS
        elif "closing" in message:
            self.deadline = now + CLOSE_SECONDS
        elif "failed" in message:
            self.problem = AudioDeviceError(message["failed"], message["hint"])
        else:
            self.answer = message


def ask(**order: Any) -> dict[str, Any]:
    """Return the answer to an order that is no recording; AudioDeviceError if it failed or none came."""
    child = CaptureChild(**order)
    try:
        while not (child.answer or child.gone or child.overdue):
            child.wait(child.deadline - time.monotonic())
    finally:
        child.kill()
    if not child.answer:
        raise child.failure()
    return child.answer
