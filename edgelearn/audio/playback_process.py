"""The process that plays a recording: `python -m edgelearn.audio.playback_process SECONDS`, started by `playback`.

stdin: raw int16 mono samples at 16 kHz, to its end.  stdout: a JSON line, if they could not be played.  After SECONDS
the process ends, wherever PortAudio hangs then, and even if whoever started it is gone.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any, NoReturn

from edgelearn.audio import portaudio
from edgelearn.audio.portaudio import SPEECH_RATE_HZ
from edgelearn.errors import AudioDeviceError


def play(sd: Any, sound: bytes) -> None:
    """Play int16 mono samples at 16 kHz to their end; raises AudioDeviceError."""
    device = portaudio.loudspeaker(sd)
    reasons = []
    for rate in dict.fromkeys((SPEECH_RATE_HZ, round(device["default_samplerate"]))):
        try:
            with sd.RawOutputStream(
                samplerate=rate, device=device["index"], channels=1, dtype="int16", latency="high"
            ) as stream:
                stream.write(sound if rate == SPEECH_RATE_HZ else at_rate(sound, rate))
        except sd.PortAudioError as error:
            reasons.append(f"{rate} Hz: {error.args[0]}")
        else:
            return
    raise AudioDeviceError(f"cannot open the loudspeaker {device['name']!r} ({'; '.join(reasons)})")


def at_rate(sound: bytes, rate_hz: int) -> bytes:
    """Return int16 samples at 16 kHz brought to another rate, for a loudspeaker that has no 16 kHz."""
    import numpy as np
    from scipy.signal import resample_poly

    finer = resample_poly(np.frombuffer(sound, "<i2").astype(np.float64), rate_hz, SPEECH_RATE_HZ)
    return bytes(np.clip(np.rint(finer), -32768, 32767).astype("<i2").tobytes())


def main() -> NoReturn:
    """Play what is on stdin."""
    signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]))  # whose signal ends a process, Python or not
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library that prints must not break the line of ours
    code = 0
    try:
        play(portaudio.load(), sys.stdin.buffer.read())
    except Exception as error:
        text = error.message if isinstance(error, AudioDeviceError) else f"{type(error).__name__}: {error}"
        os.write(out, json.dumps({"failed": text}).encode() + b"\n")
        code = 1
    os._exit(code)  # PortAudio's own end may never come


if __name__ == "__main__":
    main()
