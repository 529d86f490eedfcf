"""Which microphone is meant: by number, by a part of its name, and the same one again after it was away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgelearn.errors import AudioDeviceError

# ALSA's card and device numbers, which change when a microphone is plugged in again
CARD_NUMBERS = re.compile(r"\s*\(hw:\d+,\d+\)$")


@dataclass(frozen=True)
class InputDevice:
    """A microphone: PortAudio's number and name for it, its system (ALSA, ...), channels, native rate."""

    index: int
    name: str
    host_api: str
    channels: int
    rate_hz: int
    is_default: bool

    @property
    def is_hardware(self) -> bool:
        """Whether it is a device itself, and not a layer of software that converts rates in its own way."""
        return self.host_api != "ALSA" or CARD_NUMBERS.search(self.name) is not None


def choose(devices: Sequence[InputDevice], wanted: str = "") -> InputDevice:
    """Return the microphone with the number `wanted`, or the only one whose name is or contains it.

    "" is the default one.  Raises AudioDeviceError, with the candidates, if none fits or more than one does.
    """
    if not devices:
        raise AudioDeviceError(
            "no microphone is connected", "files work without one: `listen --input FILE`, `add WORD --from FILE`"
        )
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


def choose_again(devices: Sequence[InputDevice], wanted: str, name: str) -> InputDevice:
    """Return the microphone called `name`, which was chosen by `wanted` before it was away; numbers may have changed.

    Raises AudioDeviceError if it is still away.
    """
    if not wanted:
        return choose(devices)
    plain = CARD_NUMBERS.sub("", name)
    same = [device for device in devices if device.name == name] or [
        device for device in devices if CARD_NUMBERS.sub("", device.name) == plain
    ]
    if same:
        return same[0]
    raise AudioDeviceError(f"the microphone {name!r} is not there")
