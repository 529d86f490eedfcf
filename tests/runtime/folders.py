"""Small data folders for the protocols over continuous sound and over courses of words."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from edgelearn.audio.clips import read_clip
from edgelearn.audio.datasets import ClipInfo
from edgelearn.learning.evaluation import ClipReader, embed_all
from edgelearn.learning.head import NO_WHITENING
from edgelearn.runtime.incremental import key_of
from edgelearn.runtime.model import Model
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.voice import VoiceDevice
from tests.sounds import sound

TRAIN, TEST = 3, 1


def stream_data(folder: Path) -> Path:
    """Takes of a word that the model does not know, a quarter of a minute of other words, a noise and an event."""
    rng = np.random.default_rng(5)
    others = [read_clip(path) for path in sorted(RECORDINGS.glob("*.wav")) if not path.name.startswith("computer")]
    pause = np.zeros(8000, np.int16)
    wavfile.write(folder / "talk.wav", 16000, np.concatenate([part for one in others[:12] for part in (one, pause)]))
    for name, level in (("hiss", 300.0), ("bang", 50.0)):
        wavfile.write(folder / f"{name}.wav", 16000, np.rint(rng.normal(0, level, 32000)).astype(np.int16))
    rows = [(path, "mine", "computer", "me", "test", "yes") for path in sorted(RECORDINGS.glob("computer_*.wav"))]
    rows += [
        (folder / "talk.wav", "talk", "", "", "test", "no"),
        (folder / "hiss.wav", "noise", "_noise_", "", "test", "no"),
        (folder / "bang.wav", "noise", "_noise_:bang", "", "test", "no"),
    ]
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "dataset", "word", "speaker", "split", "novel", "seconds"))
        writer.writerows((*row, 1.0) for row in rows)
    return folder


def course_data(folder: Path) -> Path:
    """37 synthetic words in Google's layout; the first two have a training clip less."""
    rng = np.random.default_rng(4)
    listed = []
    for number in range(37):
        name = f"w{number:02}"
        (folder / name).mkdir()
        for take in range(TRAIN + TEST - (number < 2)):
            path = folder / name / f"s{take}_nohash_0.wav"
            wavfile.write(path, 16000, sound(number, rng))
            if take == 0:
                listed.append(f"{name}/{path.name}")
    (folder / "testing_list.txt").write_text("\n".join(listed) + "\n")
    return folder


def trained(model: Model, clips: list[ClipInfo], words: tuple[str, ...]) -> Model:
    """The network of `model`, not whitened, with the means of the training clips of these words for its classes."""
    model = replace(model, whitening=NO_WHITENING)
    device, read = VoiceDevice(model), ClipReader(model)
    rows = []
    for word in sorted(words):
        units, _ = embed_all(device, [read(c.path) for c in clips if key_of(c) == word and c.split == "train"])
        total = units.sum(axis=0)
        rows.append(np.rint(total * 127 / np.abs(total).max()).astype(np.int8))
    return replace(
        model, labels=tuple(sorted(words)), words=(), prototypes=np.array(rows), rehearsal=np.zeros(0, np.uint8),
        generation=None,
    )  # fmt: skip


def without_thresholds(model: Model) -> Model:
    """Return a model with the same weights and delta thresholds 0: the plain LSTM."""
    layers = tuple(replace(layer, theta_x_q13=0, theta_h_q13=0) for layer in model.network.layers)
    return replace(model, network=replace(model.network, layers=layers), rehearsal=np.zeros(0, np.uint8))
