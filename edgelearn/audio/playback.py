"""Playing a recording at the loudspeaker without waiting for it, in a process of its own (`playback_process`)."""

from __future__ import annotations

import json
import signal
import tempfile

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio import own_process
from edgelearn.audio.resample import SAMPLE_RATE_HZ

PATIENCE_SECONDS = 10.0  # for PortAudio to start and to end, besides the sound's own time


class Playback:
    """A recording (int16, 16 kHz) that is being played from now on.

    problem: why it could not be played, "" if it could; known when `busy` is over.
    """

    def __init__(self, samples: NDArray[np.int16]) -> None:
        self.problem = ""
        self._over = False
        seconds = len(samples) / SAMPLE_RATE_HZ + PATIENCE_SECONDS
        with tempfile.TemporaryFile() as sound:  # a pipe has no room for all of it, and nobody waits here
            sound.write(samples.astype("<i2").tobytes())
            sound.seek(0)
            self._process = own_process.start("edgelearn.audio.playback_process", f"{seconds}", stdin=sound)

    @property
    def busy(self) -> bool:
        """Whether it is still being played."""
        if self._over:
            return False
        if self._process.poll() is None:
            return True
        self._over = True
        said = self._process.communicate()[0]
        if self._process.returncode:
            silent = "does not answer" if self._process.returncode == -signal.SIGALRM else "has crashed PortAudio"
            self.problem = json.loads(said)["failed"] if said else f"the loudspeaker {silent}"
        return False

    def stop(self) -> None:
        """End it, played or not."""
        if not self._over:
            self._over = True
            self._process.kill()
            self._process.communicate()
