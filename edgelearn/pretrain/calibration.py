"""The thresholds that a base model ships with, from words and speakers of the val split that it was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgelearn.audio.datasets import NOISE
from edgelearn.learning.evaluation import MEASURING, ClipReader, draw_takes, embed_all, enrol_all, speaker_sets
from edgelearn.runtime.voice import VoiceDevice

if TYPE_CHECKING:
    from edgelearn.audio.datasets import ClipInfo
    from edgelearn.runtime.model import Model

TARGET_FALSE_ACCEPTS = 0.01
SHOTS = 5


def calibrate(model: Model, clips: Sequence[ClipInfo]) -> Model:
    """Return the model with thresholds at which 1 % of the val speakers' other words are accepted.

    The threshold of a taught word comes from novel words enrolled with five takes against everything else their
    speakers say; that of the shipped words from val clips of all other words.  Where the data has neither, the
    threshold is 0.
    """
    read = ClipReader(model)
    device = VoiceDevice(model)
    val = [c for c in clips if c.split == "val" and not c.word.startswith(NOISE)]
    novel = {f"{c.dataset}:{c.word}" for c in val if c.novel}
    datasets = sorted({c.dataset for c in val if c.novel})
    false_scores: list[float] = []
    for subject in speaker_sets(model, val, read, novel, SHOTS, datasets):
        device.restore(model)
        rows, _, _ = enrol_all(device, draw_takes(subject, SHOTS, 0).takes, "sparse_bptt", MEASURING)
        units, _ = embed_all(device, subject.others)
        where = np.array(rows, np.int64)
        false_scores += [float(device.classifier.scores(u.astype(np.int16), where)[0].max()) for u in units]
    device.restore(model)
    mine = {model.labels[word.row] for word in model.words}
    others = [read(c.path) for c in val if f"{c.dataset}:{c.word}" not in mine and not c.novel]
    where = np.array([word.row for word in model.words], np.int64)
    units, _ = embed_all(device, others)
    base_scores = [float(device.classifier.scores(u.astype(np.int16), where)[0].max()) for u in units]
    words = tuple(replace(word, threshold_q14=_threshold(base_scores)) for word in model.words)
    return replace(model, words=words, open_set_q14=_threshold(false_scores))


def _threshold(false_scores: list[float]) -> int:
    if not false_scores:
        return 0
    return int(np.ceil(np.quantile(false_scores, 1 - TARGET_FALSE_ACCEPTS))) + 1
