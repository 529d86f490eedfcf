"""Networks for the incremental protocol, trained by the recipe on a few words and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

from edgelearn.audio.datasets import read_manifest  # noqa: E402 - torch may be missing
from edgelearn.errors import UsageError  # noqa: E402
from edgelearn.learning.learner import LearnerConfig  # noqa: E402
from edgelearn.pretrain.incremental import train_on_words  # noqa: E402
from edgelearn.runtime.incremental import Course, Incremental  # noqa: E402
from tests.pretrain.tiny import TOY, make_data  # noqa: E402

RECIPE = replace(TOY, joined_words=4)
WORDS = tuple(f"speech_commands:{word}" for word in ("up", "bed", "cat", "go"))


@pytest.mark.slow
def test_a_course_from_training_to_the_last_step(tmp_path: Path) -> None:
    clips = read_manifest(make_data(tmp_path, takes=2))
    told: list[str] = []
    delta, dense = train_on_words(clips, WORDS, RECIPE, 1, told.append)
    assert len(told) == 3
    assert delta.labels == dense.labels == tuple(sorted(WORDS))
    assert delta.prototypes.shape == (4, 16)
    assert delta.network.layers[0].theta_x_q13 == RECIPE.theta_x_q13
    assert (dense.network.layers[0].theta_x_q13, dense.network.layers[0].theta_h_q13) == (0, 0)
    course = Course(delta.labels, (("speech_commands:left",), ("speech_commands:one", "speech_commands:house")))
    protocol = Incremental(clips, course, 8192, LearnerConfig(), 0)
    for model in (delta, dense):
        assert [step["classes"] for step in protocol.run(model, "sparse_bptt")] == [4, 5, 7]
    with pytest.raises(UsageError, match="clips to train 2 words on"):
        train_on_words(clips, (WORDS[0], "speech_commands:nothing"), RECIPE, 1, told.append)
