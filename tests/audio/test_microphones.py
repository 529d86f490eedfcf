from __future__ import annotations

import pytest

from edgelearn.audio.microphones import InputDevice, choose, choose_again
from edgelearn.errors import AudioDeviceError


def device(index: int, name: str, is_default: bool = False) -> InputDevice:
    return InputDevice(index, name, "ALSA", 2, 44100, is_default)


DEVICES = [
    device(0, "USB Audio: front (hw:1,0)"),
    device(2, "USB Audio: rear (hw:1,1)", True),
    device(3, "Webcam"),
]


@pytest.mark.parametrize(("wanted", "index"), [("", 2), ("0", 0), ("3", 3), ("webc", 3), ("REAR", 2)])
def test_a_microphone_is_found_by_number_or_name(wanted: str, index: int) -> None:
    assert choose(DEVICES, wanted).index == index


def test_a_whole_name_wins_over_a_part_of_others() -> None:
    assert choose([device(0, "mic48"), device(1, "mic4")], "mic4").index == 1


@pytest.mark.parametrize(
    ("wanted", "message", "candidates"),
    [
        ("usb", "several microphones fit 'usb'", "0 USB Audio: front (hw:1,0); 2 USB Audio: rear (hw:1,1)"),
        ("blue", "no microphone fits 'blue'", "0 USB Audio: front (hw:1,0); 2 USB Audio: rear (hw:1,1); 3 Webcam"),
        ("1", "no microphone fits '1'", "0 USB Audio: front (hw:1,0); 2 USB Audio: rear (hw:1,1); 3 Webcam"),
    ],
)
def test_a_microphone_that_is_not_clear_names_the_candidates(wanted: str, message: str, candidates: str) -> None:
    with pytest.raises(AudioDeviceError) as caught:
        choose(DEVICES, wanted)
    assert caught.value.message == message
    assert caught.value.hint == f"choose one of: {candidates}"


def test_no_microphone_at_all() -> None:
    with pytest.raises(AudioDeviceError, match="no microphone is connected"):
        choose([], "usb")


def test_the_same_microphone_is_found_again_under_other_numbers() -> None:
    now = [device(0, "Webcam"), device(1, "USB Audio: rear (hw:3,1)"), device(4, "USB Audio: front (hw:3,0)")]
    assert choose_again(now, "2", "USB Audio: rear (hw:1,1)").index == 1
    assert choose_again(now, "front", "USB Audio: front (hw:1,0)").index == 4
    assert choose_again(now, "3", "Webcam").index == 0


def test_another_microphone_does_not_take_its_place() -> None:
    with pytest.raises(AudioDeviceError, match=r"'USB Audio: front \(hw:1,0\)' is not there"):
        choose_again(DEVICES[1:], "0", "USB Audio: front (hw:1,0)")


def test_without_a_wish_the_system_chooses_again() -> None:
    assert choose_again([device(0, "Webcam", True)], "", "USB Audio: rear (hw:1,1)").name == "Webcam"


@pytest.mark.parametrize(
    ("name", "host_api", "hardware"),
    [("USB (hw:1,0)", "ALSA", True), ("default", "ALSA", False), ("Built-in", "Core Audio", True)],
)
def test_what_is_hardware_and_what_is_a_layer(name: str, host_api: str, hardware: bool) -> None:
    assert InputDevice(0, name, host_api, 1, 48000, False).is_hardware == hardware
