"""The line of the device in use: words taught with three takes, then confirmed one utterance at a time."""

from __future__ import annotations

import pytest

from benchmarks.learners import TAUGHT, confirming, device_with, household
from edgelearn.learning.evaluation import ClipReader, SpeakerSet
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.rehearsed import RECORDINGS


def test_every_confirmed_take_is_learned(capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model(BASE_MODEL)
    read = ClipReader(model)
    takes = [read(path) for path in sorted(RECORDINGS.glob("computer_*.wav"))]
    others = [read(path) for path in sorted(RECORDINGS.glob("up_*.wav"))]
    device, own = device_with(model, 64)
    said = SpeakerSet("mine", "me", {"computer": takes}, others)
    most = len(takes) - 1
    trials = confirming(device, own, said, (TAUGHT, most))
    found = [(shots, trial.tests, trial.hits[0.05]) for shots, trial in trials.items()]
    assert found == [(TAUGHT, 1, 1.0), (most, 1, 1.0)]
    assert device.model().words[-1].takes == most
    assert f"mine, me: 0 of {most - TAUGHT} confirmations refused" in capsys.readouterr().err
    everyone = household([said, said])
    assert (len(everyone.novel["computer"]), len(everyone.others)) == (2 * len(takes), 2 * len(others[::3]))
