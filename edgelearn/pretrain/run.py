"""`edgelearn pretrain` as a library call: data in, a calibrated model file out."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.audio.datasets import ClipInfo, read_manifest
from edgelearn.engine.network import LayerConfig
from edgelearn.errors import UsageError
from edgelearn.learning.evaluation import ClipReader, base_accuracy, base_clips
from edgelearn.learning.variants import OWN_VOICE_WEIGHT, in_all_voices
from edgelearn.pretrain.activity import fit_activity
from edgelearn.pretrain.background import background
from edgelearn.pretrain.calibration import calibrate
from edgelearn.pretrain.corpus import FeatureMaker, joinable_pairs, trained_clips
from edgelearn.pretrain.export import VOCABULARY, VOCABULARY_DATASET, choose_exemplars, fixed_point, make_model
from edgelearn.pretrain.model import BaseModel, batch_of, summed
from edgelearn.pretrain.noisy_scenes import Scenes
from edgelearn.pretrain.train import Recipe, Trained, arrays, corpus_of, train
from edgelearn.pretrain.whitening import fit_whitening
from edgelearn.runtime.model import BACKGROUND, Model, save_model
from edgelearn.runtime.voice import REHEARSAL_BYTES, VoiceDevice

EXEMPLARS_PER_WORD = 12


def pretrain(data: Path, out: Path, recipe: Recipe, workers: int, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train a base model on the train split of `data`, calibrate it on val, write it to `out`; return its metrics.

    Raises UsageError if the data lacks the words of the vocabulary, or clips for the recipe.
    """
    clips = read_manifest(data)
    spoken = trained_clips(clips)
    labels = sorted({f"{c.dataset}:{c.word}" for c in spoken})
    missing = [word for word in VOCABULARY if f"{VOCABULARY_DATASET}:{word}" not in labels]
    if missing:
        raise UsageError(
            f"{data} has no training clips of {', '.join(missing)}", "the base vocabulary is trained on speech_commands"
        )
    if len(spoken) <= recipe.batch or joinable_pairs(spoken) < recipe.joined_words:
        raise UsageError(
            f"{data} has {len(spoken)} training clips, and {joinable_pairs(spoken)} pairs of words to join",
            f"training needs more than {recipe.batch} clips and {recipe.joined_words} pairs",
        )
    trained = train(data, recipe, len(labels), workers, progress)
    corpus = corpus_of(data, recipe, [])
    behind = background(trained.delta, corpus, recipe.seed)
    model = fit_whitening(export(trained.delta, recipe, labels, spoken, behind), corpus, recipe.seed)
    maker = FeatureMaker(recipe.frontend, recipe.endpoint)
    model = replace(model, activity=fit_activity(model, Scenes(clips, maker, recipe.seed), recipe.scenes))
    metrics = measure(model, trained, clips)
    provenance = {
        "recipe": asdict(recipe),
        "clips": len(spoken),
        "data_sets": sorted({c.dataset for c in spoken}),
        "versions": {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "metrics": metrics,
    }
    model = calibrate(replace(model, provenance=provenance), clips)
    save_model(out, model)
    return metrics | {"seconds": round(trained.seconds, 1), "open_set_q14": model.open_set_q14}


def export(
    network: BaseModel, recipe: Recipe, labels: list[str], spoken: list[ClipInfo], behind: NDArray[np.float64]
) -> Model:
    """Return the fixed-point model of a trained network, with exemplars of the vocabulary from its training clips.

    behind: its background rows, float64 [n, H].
    """
    thetas = (recipe.theta_x_q13, recipe.theta_h_q13) if network.quantised else (0, 0)
    layer = LayerConfig(recipe.frontend.bands, recipe.hidden, recipe.weight_shift, *thetas)
    values = arrays(network, len(labels))
    maker = FeatureMaker(recipe.frontend, recipe.endpoint)
    rng = np.random.default_rng([recipe.seed, 4])
    exemplars = {}
    for word in VOCABULARY:
        label = f"{VOCABULARY_DATASET}:{word}"
        members = [c for c in spoken if f"{c.dataset}:{c.word}" == label]
        chosen = rng.permutation(len(members))[:EXEMPLARS_PER_WORD]
        exemplars[labels.index(label)] = [maker.take(read_clip(members[n].path)) for n in chosen]
    params = fixed_point(values["weights"], values["bias"], recipe.weight_shift)
    packed = choose_exemplars(exemplars, layer.theta_x_q13, REHEARSAL_BYTES, recipe.endpoint.surroundings)
    rows = [*labels, *(f"{BACKGROUND}{n:02}" for n in range(len(behind)))]
    directions = np.concatenate((values["classes"], behind))
    return make_model(recipe.frontend, recipe.endpoint, layer, params, rows, directions, packed, {})


def measure(model: Model, trained: Trained, clips: list[ClipInfo]) -> dict[str, float]:
    """Return base accuracies (%) on the val and test clips: fixed point, its float twin, the dense float companion."""
    read = ClipReader(model)
    device = VoiceDevice(model)
    metrics = {}
    for split in ("val", "test"):
        chosen = base_clips(model, clips, split)
        if not chosen:
            continue
        utterances = [read(c.path) for c, _ in chosen]
        rows = np.array([row for _, row in chosen])
        correct, counts = base_accuracy(device, utterances, rows, 0)
        metrics[f"{split}_fixed"] = 100 * float(correct.mean())
        metrics[f"{split}_sparsity"] = 100 * counts.sparsity
        voices = [in_all_voices(frames, model.endpoint.surroundings) for frames in utterances]
        for name, network in (("float_twin", trained.delta), ("float_dense", trained.dense)):
            metrics[f"{split}_{name}"] = 100 * _float_accuracy(network, voices, rows, model.base_classes)
    return {name: round(value, 2) for name, value in metrics.items()}


def _float_accuracy(network: BaseModel, utterances: Sequence[Sequence[Any]], rows: Any, words: int) -> float:
    """Return the share of utterances, each in all voices, nearest to their own class, pooled as the device does."""
    quantised, network.quantised = network.quantised, False
    with torch.no_grad():
        batches = [batch_of(voice) for voice in zip(*utterances, strict=True)]
        own, *others = [summed(network.states(features), lengths) for features, lengths in batches]
        unit = torch.nn.functional.normalize(OWN_VOICE_WEIGHT * own + sum(others), dim=1)
        scores = network.scores(unit)[:, :words]
    network.quantised = quantised
    return float((scores.argmax(1).numpy() == rows).mean())
