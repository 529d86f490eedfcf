"""Scripts of the simulated machine, and the sound that they make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgelearn.audio.clips import read_clip
from edgelearn.errors import UsageError
from edgelearn.runtime.rehearsed import RECORDINGS
from firmware_sim.scenario import BETWEEN_S, SAMPLE_RATE_HZ, Deed, Scenario, Sound, load_scenario

WORD = next(RECORDINGS.glob("left_*.wav"))
SCRIPT = """
seconds = 9
seed = 3
[[event]]
at_s = 5.5
do = "power_cut"
off_s = 0.25
[[event]]
at_s = 1
do = "teach"
word = "lamp"
files = ["one.wav", "two.wav"]
"""


def test_a_script_is_read_in_order_of_time(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT)
    taught = Deed(1.0, "teach", "lamp", (tmp_path / "one.wav", tmp_path / "two.wav"))
    assert load_scenario(path) == Scenario(9.0, (taught, Deed(5.5, "power_cut", off_s=0.25)), 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seconds = -1", "seconds"),
        ("", "seconds"),
        ("seconds = 1\nevnet = 1", "evnet"),
        ("seconds = 1\nevent = 1", "no list"),
        ("seconds = 1\nevent = [1]", "no table"),
        ("seconds = 1\n[[event]]\nat_s = 0\ndo = 'sing'", "'sing'"),
        ("seconds = 1\n[[event]]\nat_s = 0\ndo = 'say'", "say needs files"),
        ("seconds = 1\n[[event]]\nat_s = 0\ndo = 'teach'\nfiles = ['a.wav']", "teach a word"),
        ("seconds = 1\nseed = 'x'", "seed"),
    ],
)
def test_a_script_that_is_not_understood(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "script.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_scenario(path)


def test_recordings_lie_where_they_should_whatever_the_blocks() -> None:
    scenario = Scenario(6.0, (Deed(1.0, "say", files=(WORD, WORD)),))
    clip, whole = read_clip(WORD).astype(np.int64), 6 * SAMPLE_RATE_HZ
    blocks = Sound(scenario)
    heard = np.concatenate([blocks.next(320) for _ in range(whole // 320)]).astype(np.int64)
    quiet = Sound(Scenario(6.0))
    rest = heard - np.concatenate([quiet.next(320) for _ in range(whole // 320)])
    for at in (SAMPLE_RATE_HZ, SAMPLE_RATE_HZ + len(clip) + round(BETWEEN_S * SAMPLE_RATE_HZ)):
        assert np.abs(rest[at : at + len(clip)] - clip).max() <= 40  # where both are clipped they differ by the noise
        rest[at : at + len(clip)] = 0
    assert not rest.any()


def test_a_background_is_played_over_and_over() -> None:
    clip = read_clip(WORD)
    sound, quiet = Sound(Scenario(3.0), clip), Sound(Scenario(3.0))
    for _ in range(3):
        block = sound.next(len(clip)).astype(np.int64) - quiet.next(len(clip))
        assert np.abs(block - clip).max() <= 80
