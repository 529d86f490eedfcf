"""PortAudio through sounddevice: what microphones and loudspeaker there are, and opening a microphone at a rate it has.

Only processes of their own come here, because of what PortAudio does when a microphone goes (see `capture_process`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from edgelearn.audio.microphones import InputDevice
from edgelearn.errors import AudioDeviceError

BLOCK_MS = 20
SPEECH_RATE_HZ = 16000
# of the system's buffer: enough for a busy machine not to lose sound, and 20 ms later on average than the least
BUFFER_SECONDS = 0.1
COMMON_RATES_HZ = (16000, 44100, 48000)


def load() -> Any:
    """Return the module sounddevice; raises AudioDeviceError, with what to install, if it or PortAudio is missing."""
    try:
        import sounddevice
    except OSError:  # the package is there, the library that it calls is not
        raise AudioDeviceError(
            "sound needs PortAudio, which is not installed", "type: sudo apt install libportaudio2"
        ) from None
    except ImportError:
        raise AudioDeviceError("sound needs the package sounddevice", "type: pip install sounddevice") from None
    except Exception as error:  # PortAudio's own, from its start
        raise AudioDeviceError(f"PortAudio does not start: {error}") from None
    return sounddevice


def inputs(sd: Any) -> list[InputDevice]:
    """Return the microphones in PortAudio's order."""
    try:
        devices, systems, default = sd.query_devices(), sd.query_hostapis(), sd.default.device[0]
    except sd.PortAudioError as error:
        raise AudioDeviceError(f"PortAudio cannot list the microphones: {error}") from None
    if default < 0:
        default = next((api["default_input_device"] for api in systems if api["default_input_device"] >= 0), -1)
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


def loudspeaker(sd: Any) -> dict[str, Any]:
    """Return PortAudio's default output device, else its first; raises AudioDeviceError if there is none."""
    try:
        devices, default = sd.query_devices(), sd.default.device[1]
    except sd.PortAudioError as error:
        raise AudioDeviceError(f"PortAudio cannot list the loudspeakers: {error}") from None
    found = [device for device in devices if device["max_output_channels"] > 0]
    if not found:
        raise AudioDeviceError("no loudspeaker is connected")
    return next((device for device in found if device["index"] == default), found[0])


def look_again(sd: Any) -> None:
    """Make PortAudio list the devices anew: it looks once, when it starts."""
    try:
        sd._terminate()
        sd._initialize()
    except sd.PortAudioError as error:
        raise AudioDeviceError(f"PortAudio does not start: {error}") from None


def block_frames(rate_hz: int) -> int:
    """Return the frames of a block of BLOCK_MS."""
    return rate_hz * BLOCK_MS // 1000


def rates_to_try(device: InputDevice, wanted_hz: int) -> list[int]:
    """Return the rates to open a microphone at, best first: the one that is asked for, else its own.

    A device that has 16 kHz itself is best opened there.  A software layer (ALSA's `default`) would get there by
    leaving samples out without a filter, so it is opened at its own rate, and resampled here.
    """
    own = [SPEECH_RATE_HZ, device.rate_hz] if device.is_hardware else [device.rate_hz, SPEECH_RATE_HZ]
    return list(dict.fromkeys([wanted_hz, *own] if wanted_hz else own))


def open_input(
    sd: Any, device: InputDevice, rate_hz: int, channel: int, prepare: Callable[[int, int], dict[str, Any]]
) -> Any:
    """Return a started stream of int16 blocks of BLOCK_MS.

    rate_hz: the rate to ask for first, 0 for the best.  prepare(rate, channels): called before a rate is tried, returns
    the callbacks.  Raises AudioDeviceError, with all that was tried.
    """
    if channel > device.channels:
        raise AudioDeviceError(
            f"the microphone {device.name!r} has no channel {channel}",
            f"it has {device.channels}: choose one from 1 to {device.channels}",
        )
    reasons = []
    # some arrays of microphones open only as a whole
    for channels in dict.fromkeys((channel, device.channels)):
        for rate in rates_to_try(device, rate_hz):
            stream = None
            try:
                stream = sd.RawInputStream(
                    samplerate=rate,
                    blocksize=block_frames(rate),
                    device=device.index,
                    channels=channels,
                    dtype="int16",
                    latency=BUFFER_SECONDS,
                    **prepare(rate, channels),
                )
                stream.start()
            except sd.PortAudioError as error:
                if stream is not None:
                    stream.close()
                reasons.append(f"{rate} Hz, {channels} channel{'s' * (channels > 1)}: {error.args[0]}")
                continue
            return stream
    raise AudioDeviceError(
        f"cannot open the microphone {device.index} {device.name!r} ({'; '.join(reasons)})",
        "another program may be using it; `edgelearn devices` lists the others",
    )


def supported_rates(sd: Any, device: InputDevice) -> Iterator[int]:
    """Yield those of the common rates that a microphone can be opened at, and its own."""
    for rate in sorted({*COMMON_RATES_HZ, device.rate_hz}):
        try:
            sd.check_input_settings(device=device.index, channels=1, dtype="int16", samplerate=rate)
        except sd.PortAudioError:
            continue
        yield rate
