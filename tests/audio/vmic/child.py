"""Record from the microphones of a test, in a process of its own: PortAudio reads its configuration once."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from edgelearn.audio.capture import Microphone, list_inputs
from edgelearn.errors import AudioDeviceError

SAMPLES = 4800
TIMEOUT_S = 0.6


def record(device: str, folder: Path, after: str = "") -> dict[str, object]:
    """Record SAMPLES samples; create the file `after` when they are there, and go on until an error."""
    blocks: list[np.ndarray] = []
    error, began = "", 0.0
    microphone = Microphone(device, timeout_s=TIMEOUT_S)
    try:
        with microphone:
            for block in microphone:
                blocks.append(block)
                if sum(map(len, blocks)) >= SAMPLES and not began:
                    began = time.monotonic()
                    if not after:
                        break
                    (folder / after).touch()
    except AudioDeviceError as caught:
        error = caught.message
    ended = time.monotonic() - began
    if after:
        (folder / after).unlink()
    np.save(folder / f"{device}{after}.npy", np.concatenate(blocks))
    return {
        "rate_hz": microphone.rate_hz,
        "overruns": microphone.overruns,
        "error": error,
        "ended_after_s": ended,
        "dtypes": sorted({str(block.dtype) for block in blocks}),
    }


def main() -> None:
    """Record from every microphone, the one that is pulled out last, and print what happened as JSON."""
    folder = Path(sys.argv[1])
    results = {
        "devices": [device.name for device in list_inputs()],
        "plain": record("mic16", folder),
        "native": record("mic48", folder),
        "stuck": record("mic16", folder, "stuck"),
        "gone": record("mic16", folder, "gone"),
    }
    print(json.dumps(results))
    print("python's own stderr", file=sys.stderr)


main()
