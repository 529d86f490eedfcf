"""The integers of the whole device as digests, one a stage: two machines that print the same lines compute the same.

    python -m benchmarks.integers

The demonstration runs: shipped recordings in quiet noise from a seed, words that are recognised, a word that is taught
meanwhile. SHA-256 of the features of the recordings, of the scores of all that was heard, of the losses of the
lesson, and of every array of the model that it leaves.
"""

from __future__ import annotations

import hashlib

import numpy as np

from edgelearn.audio.clips import read_clip
from edgelearn.audio.frontend import Frontend, frontend_bytes
from edgelearn.device.arena import Arena
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.rehearsed import RECORDINGS, Line, perform
from edgelearn.runtime.session import Happening, Session
from edgelearn.runtime.voice import VoiceDevice

SEED = 0


def digest(*parts: bytes) -> str:
    """Return the SHA-256 of the parts, one after the other."""
    return hashlib.sha256(b"".join(parts)).hexdigest()


def main() -> None:
    """Run the demonstration, and print a line for each stage."""
    model = load_model(BASE_MODEL)
    device = VoiceDevice(model)
    room = frontend_bytes(model.frontend) + 4  # to align its parts
    frames = [Frontend(model.frontend, Arena(room)).push(read_clip(path)) for path in sorted(RECORDINGS.glob("*.wav"))]
    events: list[Event] = []

    def tell(_: Line, happening: Happening | None) -> None:
        if isinstance(happening, Event):
            events.append(happening)

    result = perform(Session(device, LearnerConfig(), steps_per_block=1), SEED, tell)
    if result.taught is None:
        raise SystemExit("the word was not learned")
    losses = np.array(result.taught.report.losses, "<f8")
    print("features ", digest(*(block.tobytes() for block in frames)))
    print("heard    ", digest(*(repr(event).encode() for event in events)), len(events))
    print("losses   ", digest(losses.tobytes()), len(losses))
    for name, array in sorted(device.model().to_file().arrays.items()):
        print("model    ", digest(array.astype(array.dtype.newbyteorder("<")).tobytes()), name)


if __name__ == "__main__":
    main()
