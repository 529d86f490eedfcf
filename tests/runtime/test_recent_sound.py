"""The last seconds of a stream: the samples of a frame, before and after a gap, and no more memory than that takes."""

from __future__ import annotations

import numpy as np
import pytest

from edgelearn.audio.frontend import Frontend, frontend_bytes
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.device.arena import Arena
from edgelearn.runtime.recent_sound import REMEMBERED_SAMPLES, RecentSound

CONFIG = FrontendConfig()
SOUND = np.arange(-20000, 20000, dtype=np.int16)


@pytest.mark.parametrize("block", [1, 700, 40_000])
def test_a_frame_is_found_again_and_all_that_are_due_are_counted(block: int) -> None:
    frontend = Frontend(CONFIG, Arena(frontend_bytes(CONFIG) + 64))
    sound, made = RecentSound(CONFIG, 7), 0
    for at in range(0, len(SOUND), block):
        sound.push(SOUND[at : at + block])
        made += len(frontend.push(SOUND[at : at + block]))
    assert (sound.samples, sound.frames_due) == (len(SOUND), made)
    begin, end = sound.sample_of(7 + 3), sound.sample_of(7 + 9)
    assert np.array_equal(sound.between(begin, end), SOUND[3 * CONFIG.hop : 9 * CONFIG.hop])


def test_after_a_gap_frames_begin_with_the_next_sample() -> None:
    sound = RecentSound(CONFIG, 0)
    sound.push(SOUND[:700])  # one frame, and part of another one
    sound.align(1)
    sound.push(SOUND[700 : 700 + CONFIG.frame])
    assert sound.frames_due == 2
    assert sound.sample_of(1) == 700
    assert np.array_equal(sound.between(0, 710), SOUND[:710])


def test_what_is_long_ago_is_forgotten_and_blocks_of_nothing_are_not_kept() -> None:
    sound = RecentSound(CONFIG, 0)
    sound.push(SOUND[:0])
    assert (sound.samples, sound.frames_due) == (0, 0)
    for _ in range(10):
        sound.push(SOUND[:REMEMBERED_SAMPLES])
        for _ in range(100):  # they come for as long as a microphone is away
            sound.push(SOUND[:0])
    assert sound.samples == 10 * len(SOUND)
    assert len(sound.between(0, sound.samples)) == 2 * len(SOUND)
