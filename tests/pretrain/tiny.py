"""A data folder of synthetic words, and a recipe, small enough to train on in a test."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from edgelearn.pretrain.augment import Conditions
from edgelearn.pretrain.export import VOCABULARY
from edgelearn.pretrain.train import LateRound, Recipe
from tests.sounds import sound

TOY = Recipe(
    hidden=16, float_epochs=1, delta_epochs=1, quiet_epochs=1, passes=1, batch=8, joined_words=0, scenes=6,
    with_reference=False,
    late=(LateRound(1, 0.35), LateRound(1, 0.4, 10.0, Conditions(noise=1.0))),
)  # fmt: skip
SPEAKERS = {"train": ("t1", "t2"), "val": ("v1",), "test": ("s1",)}


def make_data(folder: Path, takes: int) -> Path:
    """The vocabulary, one more word, a novel word of the val speaker, a noise; `takes` of each word and speaker."""
    rng = np.random.default_rng(11)
    rows = []
    words = [*VOCABULARY, "house", "marvin"]
    for number, word in enumerate(words):
        novel = word == "marvin"
        for split, speakers in SPEAKERS.items():
            if novel and split != "val":
                continue
            for speaker in speakers:
                for take in range(7 if novel else takes if split == "train" else 2):
                    name = f"{word}_{speaker}_{take}.wav"
                    wavfile.write(folder / name, 16000, sound(number, rng))
                    rows.append((name, "speech_commands", word, speaker, split, "yes" if novel else "no", 0.7))
    wavfile.write(folder / "hum.wav", 16000, rng.normal(0, 500, 24000).astype(np.int16))
    rows.append(("hum.wav", "speech_commands_background_noise", "_noise_", "", "train", "", 1.5))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "dataset", "word", "speaker", "split", "novel", "seconds"))
        writer.writerows(rows)
    return folder
