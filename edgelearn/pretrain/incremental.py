"""The networks that `evaluate incremental` starts from and is compared with, made by the recipe of the base model."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgelearn.audio.datasets import ClipInfo
from edgelearn.engine.network import LayerConfig, NetworkConfig
from edgelearn.errors import UsageError
from edgelearn.pretrain.corpus import joinable_pairs, trained_clips
from edgelearn.pretrain.export import fixed_point, unit_rows
from edgelearn.pretrain.model import BaseModel
from edgelearn.pretrain.train import Recipe, arrays, train
from edgelearn.runtime.incremental import key_of
from edgelearn.runtime.model import Model

COLUMNS = ("path", "dataset", "word", "speaker", "split", "seconds")


def train_on_words(
    clips: Sequence[ClipInfo], words: Sequence[str], recipe: Recipe, workers: int, progress: Callable[[str], None]
) -> tuple[Model, Model]:
    """Train on the training clips of some words (`dataset:word`) and on nothing else but the data's noise.

    Returns the fixed-point model with its delta thresholds, and its float companion with thresholds 0, as fixed point
    too.  Both have no vocabulary and no exemplars.  Raises UsageError if there are too few clips.
    """
    labels = sorted(words)
    chosen = [c for c in clips if c.split == "train" and (key_of(c) in set(words) or c.is_noise)]
    spoken = trained_clips(chosen)
    if len(spoken) <= recipe.batch or {key_of(c) for c in spoken} != set(labels):
        raise UsageError(
            f"there are {len(spoken)} clips to train {len(labels)} words on",
            f"training needs more than {recipe.batch}, of data sets that a base model is trained on",
        )
    # fewer words can be joined in fewer ways; late rounds would be more than the companion has
    recipe = replace(recipe, joined_words=min(recipe.joined_words, joinable_pairs(spoken) // 2), late=())
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for c in chosen:
                writer.writerow((c.path.resolve(), c.dataset, c.word, c.speaker, c.split, c.seconds))
        trained = train(Path(folder), recipe, len(labels), workers, progress)
    thresholds = (recipe.theta_x_q13, recipe.theta_h_q13)
    return _export(trained.delta, recipe, labels, thresholds), _export(trained.dense, recipe, labels, (0, 0))


def _export(network: BaseModel, recipe: Recipe, labels: list[str], thresholds: tuple[int, int]) -> Model:
    values = arrays(network, len(labels))
    layer = LayerConfig(recipe.frontend.bands, recipe.hidden, recipe.weight_shift, *thresholds)
    return Model(
        frontend=recipe.frontend,
        endpoint=recipe.endpoint,
        network=NetworkConfig((layer,)),
        labels=tuple(labels),
        words=(),
        params=fixed_point(values["weights"], values["bias"], recipe.weight_shift),
        prototypes=unit_rows(values["classes"]),
        rehearsal=np.zeros(0, np.uint8),
        open_set_q14=0,
        provenance={"clips_of": labels, "float_epochs": recipe.float_epochs, "delta_epochs": recipe.delta_epochs},
    )
