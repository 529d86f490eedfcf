from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgelearn.audio import portaudio
from edgelearn.audio.microphones import InputDevice
from edgelearn.errors import AudioDeviceError


class FakePortAudio:
    """Stands for the module sounddevice: microphones that open at 44.1 kHz and with two channels only."""

    class PortAudioError(Exception):
        pass

    default = SimpleNamespace(device=(-1, -1))

    def __init__(self) -> None:
        self.opened: list[tuple[int, int, int]] = []
        self.closed = 0

    def query_devices(self) -> list[dict[str, Any]]:
        names = [("USB (hw:0,0)", 2), ("HDMI", 0), ("default", 2)]
        return [
            {"name": name, "hostapi": 0, "max_input_channels": channels, "default_samplerate": 44100.0}
            for name, channels in names
        ]

    def query_hostapis(self) -> list[dict[str, Any]]:
        return [{"name": "ALSA", "default_input_device": 2}]

    def check_input_settings(self, samplerate: int, **_: Any) -> None:
        if samplerate == 16000:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")

    def RawInputStream(self, samplerate: int, blocksize: int, channels: int, **_: Any) -> Any:  # noqa: N802
        self.opened.append((samplerate, blocksize, channels))
        if samplerate != 44100:
            raise self.PortAudioError("Invalid sample rate [PaErrorCode -9997]")
        return SimpleNamespace(start=lambda: self.start(channels), close=self.close)

    def start(self, channels: int) -> None:
        if channels != 2:
            raise self.PortAudioError("Illegal combination of I/O devices [PaErrorCode -9993]")

    def close(self) -> None:
        self.closed += 1


def nothing(_rate: int, _channels: int) -> dict[str, Any]:
    return {}


def test_inputs_are_listed_without_loudspeakers() -> None:
    assert portaudio.inputs(FakePortAudio()) == [
        InputDevice(0, "USB (hw:0,0)", "ALSA", 2, 44100, False),
        InputDevice(2, "default", "ALSA", 2, 44100, True),
    ]


@pytest.mark.parametrize(
    ("number", "wanted_hz", "rates"),
    [(0, 0, [16000, 44100]), (1, 0, [44100, 16000]), (1, 48000, [48000, 44100, 16000]), (0, 16000, [16000, 44100])],
    ids=["hardware", "software layer", "asked for", "the same twice"],
)
def test_which_rates_are_tried(number: int, wanted_hz: int, rates: list[int]) -> None:
    device = portaudio.inputs(FakePortAudio())[number]
    assert portaudio.rates_to_try(device, wanted_hz) == rates


def test_an_array_of_microphones_opens_as_a_whole() -> None:
    sd = FakePortAudio()
    portaudio.open_input(sd, portaudio.inputs(sd)[0], 0, 1, nothing)
    assert sd.opened == [(16000, 320, 1), (44100, 882, 1), (16000, 320, 2), (44100, 882, 2)]
    assert sd.closed == 1  # the stream that could be made and not be started


def test_an_error_names_what_was_tried() -> None:
    sd = FakePortAudio()
    device = InputDevice(5, "Webcam", "ALSA", 1, 8000, False)
    with pytest.raises(AudioDeviceError) as caught:
        portaudio.open_input(sd, device, 48000, 1, nothing)
    assert caught.value.message == (
        "cannot open the microphone 5 'Webcam' (48000 Hz, 1 channel: Invalid sample rate [PaErrorCode -9997]; "
        "8000 Hz, 1 channel: Invalid sample rate [PaErrorCode -9997]; "
        "16000 Hz, 1 channel: Invalid sample rate [PaErrorCode -9997])"
    )


def test_a_channel_that_is_not_there() -> None:
    sd = FakePortAudio()
    with pytest.raises(AudioDeviceError, match="has no channel 3") as caught:
        portaudio.open_input(sd, portaudio.inputs(sd)[0], 0, 3, nothing)
    assert caught.value.hint == "it has 2: choose one from 1 to 2"
    assert sd.opened == []


def test_the_rates_that_a_microphone_has() -> None:
    sd = FakePortAudio()
    assert list(portaudio.supported_rates(sd, portaudio.inputs(sd)[0])) == [44100, 48000]


@pytest.mark.parametrize(
    ("body", "message", "hint"),
    [
        ("raise OSError('PortAudio library not found')", "needs PortAudio", "sudo apt install libportaudio2"),
        ("raise ImportError('no')", "needs the package sounddevice", "pip install sounddevice"),
        ("raise RuntimeError('host error')", "PortAudio does not start: host error", ""),
    ],
)
def test_a_missing_portaudio_says_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str, hint: str
) -> None:
    (tmp_path / "sounddevice.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(AudioDeviceError, match=message) as caught:
        portaudio.load()
    assert caught.value.hint.endswith(hint)
