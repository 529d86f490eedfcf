"""A pin of a Raspberry Pi: words switch it on, off, to its other state, or on for a moment."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from edgelearn.actions.runner import ActionFailed
from edgelearn.actions.spec import EFFECTS, GpioSpec
from edgelearn.errors import EdgelearnError

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event


class GpioAction:
    """Holds one output pin; closing it makes the pin an input again, as it was before.

    Raises EdgelearnError without gpiozero, without pins, and for a pin that is not there or in use.
    """

    def __init__(self, spec: GpioSpec) -> None:
        try:
            from gpiozero import DigitalOutputDevice
        except ImportError:
            raise EdgelearnError(f"{spec.title} needs gpiozero", "pip install 'edgelearn[gpio]'") from None
        self._effects = {word: effect for effect in EFFECTS for word in getattr(spec, effect)}
        self._pulse_s = spec.pulse_s
        self._title = spec.title
        pin = int(spec.pin) if spec.pin.isdecimal() else spec.pin
        try:
            self._device: Any = DigitalOutputDevice(pin, active_high=not spec.active_low)
        except Exception as error:  # gpiozero's own, or those of the library it chose
            raise EdgelearnError(
                f"{spec.title}: cannot open pin {spec.pin}: {error or type(error).__name__}",
                "pins need the package lgpio and the group gpio; GPIOZERO_PIN_FACTORY=mock tries it without pins",
            ) from None

    def perform(self, event: Event) -> None:
        """Do what the word stands for; raises ActionFailed if the pin cannot be switched."""
        effect = self._effects[event.word]
        try:
            if effect == "pulse":
                self._device.on()
                time.sleep(self._pulse_s)
                self._device.off()
            else:
                getattr(self._device, effect)()
        except Exception as error:
            raise ActionFailed(f"{self._title}: cannot switch the pin: {error or type(error).__name__}") from None

    def close(self) -> None:
        """Give the pin back."""
        self._device.close()
