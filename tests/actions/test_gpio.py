"""Pins through gpiozero, whose mock factory stands for the board."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from edgelearn.actions.gpio import GpioAction
from edgelearn.actions.opening import open_actions
from edgelearn.actions.spec import GpioSpec
from edgelearn.errors import EdgelearnError
from tests.actions.heard import heard


def lamp(**more: Any) -> GpioSpec:
    effects = {"on": ("left",), "off": ("right",), "toggle": ("go",), "pulse": ("five",)}
    words = ("left", "right", "go", "five")
    return GpioSpec(**({"name": "lamp", "pin": "17", "words": words, "pulse_s": 0.1} | effects | more))


def test_words_switch_a_pin(pins: Any) -> None:
    reports: list[str] = []
    pin = pins.pin(17)
    with open_actions([lamp()], True, reports.append) as actions:
        assert (pin.function, pin.state) == ("output", 0)
        states = []
        for word in ("left", "left", "right", "go", "go", "bed", "go"):
            actions(heard(word))
            actions.wait()
            states.append(pin.state)
        assert states == [1, 1, 0, 1, 0, 0, 1]
    assert pin.function == "input"  # as it was before
    assert reports == []


def test_a_pulse_ends(pins: Any) -> None:
    pin = pins.pin(17)
    action = GpioAction(lamp())
    pin.clear_states()
    action.perform(heard("five"))
    assert [state.state for state in pin.states] == [0, 1, 0]
    assert pin.states[2].timestamp >= 0.1
    action.close()


def test_a_relay_that_switches_on_at_zero_volts(pins: Any) -> None:
    pin = pins.pin(4)
    action = GpioAction(lamp(pin="BCM4", active_low=True))
    assert pin.state == 1
    action.perform(heard("left"))
    assert pin.state == 0
    action.close()


@pytest.mark.parametrize("pin", ["99", "no pin", "3V3"])
def test_a_pin_that_is_none(pins: Any, pin: str) -> None:
    with pytest.raises(EdgelearnError, match=rf"actions\.lamp: cannot open pin {pin}: .+"):
        open_actions([lamp(pin=pin)], True, [].append)
    assert pins.pin(17).function == "input"


def test_a_pin_in_use_gives_back_what_was_opened_before(pins: Any) -> None:
    with pytest.raises(EdgelearnError, match=r"actions\.other: cannot open pin 17: .*in use"):
        open_actions([lamp(), lamp(name="other")], True, [].append)
    assert pins.pin(17).function == "input"


def test_a_pin_that_fails_later_is_reported(pins: Any) -> None:
    reports: list[str] = []
    with open_actions([lamp()], True, reports.append) as actions:
        pins.pin(17).function = "input"  # somebody else took it
        actions(heard("left"))
        actions.wait()
    assert len(reports) == 1
    assert reports[0].startswith("actions.lamp: cannot switch the pin: ")


def test_without_gpiozero_there_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    with pytest.raises(EdgelearnError, match=r"actions\.lamp needs gpiozero") as caught:
        open_actions([lamp()], True, [].append)
    assert caught.value.hint == "pip install 'edgelearn[gpio]'"
