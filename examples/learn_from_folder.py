"""Learn words from a folder of recordings, and find out how well: the last recording of each word is kept for a test.

    python examples/learn_from_folder.py my_words --model my_model.npz
    edgelearn listen --model my_model.npz

`my_words` has a folder for each word, with at least two recordings of it in each: my_words/lamp/1.wav, ...
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgelearn.audio.clips import read_clip
from edgelearn.errors import EdgelearnError
from edgelearn.learning.learner import LearnerConfig
from edgelearn.learning.takes import take_from_clip
from edgelearn.runtime.model import BASE_MODEL, load_model, save_model
from edgelearn.runtime.voice import VoiceDevice

SOUNDS = (".wav", ".flac", ".ogg")


def learn(device: VoiceDevice, word: str, recordings: list[Path]) -> str:
    """Teach a word; returns what it took, or why it was not learned."""
    endpoint = device.model().endpoint
    takes = []
    for path in recordings:
        try:
            takes.append(take_from_clip(read_clip(path), device.frontend, endpoint, path.name))
        except EdgelearnError as error:
            print(f"{word}: left out: {error.message}")
    try:
        report = deque(device.teach(word, takes, LearnerConfig()), maxlen=1).pop()
    except EdgelearnError as error:
        return f"not learned: {error.message}"
    return f"learned from {len(takes)}, old words {100 * report.old_before:.0f} -> {100 * report.old_after:.0f} %"


def heard_in(device: VoiceDevice, recording: Path) -> str:
    """Return the word that is heard in a recording, with silence around it."""
    recognizer = device.recognizer
    recognizer.reset()
    silence = np.zeros(8000, np.int16)  # the room that the word stands out of
    events = recognizer.push(np.concatenate((silence, read_clip(recording)))) + recognizer.finish()
    return events[0].word if events else "nothing"


def main(argv: list[str] | None = None) -> int:
    """Learn every word of the folder; exit code 1 if a word was not recognised afterwards."""
    parser = argparse.ArgumentParser(description="Learn words from a folder of recordings.")
    parser.add_argument("folder", type=Path, help="a folder with a folder for each word")
    parser.add_argument("--model", type=Path, metavar="FILE", help="write the model that results here")
    args = parser.parse_args(argv)

    device = VoiceDevice(load_model(BASE_MODEL))
    device.warm_up()
    tests = {}
    for folder in sorted(path for path in args.folder.iterdir() if path.is_dir()):
        recordings = sorted(path for path in folder.iterdir() if path.suffix.lower() in SOUNDS)
        if len(recordings) < 2:
            print(f"{folder.name}: left out: it takes two recordings, and there are {len(recordings)}")
            continue
        *recordings, tests[folder.name] = recordings
        print(f"{folder.name}: {learn(device, folder.name, recordings)}")
    right = 0
    for word, recording in tests.items():
        heard = heard_in(device, recording)
        right += heard == word
        print(f"{word}: in {recording.name} I hear {heard}")
    print(f"{right} of {len(tests)} words recognised")
    if args.model is not None:
        save_model(args.model, replace(device.model(), generation=None))  # whatever was there before
    return 0 if right == len(tests) > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
