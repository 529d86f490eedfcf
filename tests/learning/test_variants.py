"""What a take might have sounded like, against slow and obvious Python integers."""

from __future__ import annotations

import numpy as np
import pytest

from edgelearn.engine.counts import Counts
from edgelearn.learning.variants import VOICES_Q8, altered, hear_in_other_voices, in_voice
from tests import reference_head
from tests.learning.toy import frames_in_all_voices, make_toy, takes_of


def slowly_in_voice(frames: list[list[int]], tempo_q8: int, formant_q8: int) -> list[list[int]]:
    """The same one value at a time, at exact positions in 1/256 frames and bands."""
    bands, voiced, at = len(frames[0]), [], 0
    while at <= 256 * (len(frames) - 1):
        row = []
        for k in range(bands):
            band = min(k * formant_q8, 256 * (bands - 1))
            total = 0
            for t, share_t in ((at // 256, 256 - at % 256), (at // 256 + 1, at % 256)):
                for b, share_b in ((band // 256, 256 - band % 256), (band // 256 + 1, band % 256)):
                    if share_t and share_b:
                        total += share_t * share_b * frames[t][b]
            row.append((total + 32768) // 65536)
        voiced.append(row)
        at += tempo_q8
    return voiced


@pytest.mark.parametrize("voice", [*VOICES_Q8, (256, 256), (77, 500)])
@pytest.mark.parametrize("count", [1, 2, 13, 50])
def test_other_voices_are_exact(voice: tuple[int, int], count: int) -> None:
    frames = np.random.default_rng(count).integers(-128, 128, (count, 32)).astype(np.int8)
    np.testing.assert_array_equal(in_voice(frames, *voice), slowly_in_voice(frames.tolist(), *voice))


def test_a_voice_of_the_same_tempo_and_formants_is_the_take_itself() -> None:
    frames = np.random.default_rng(0).integers(-128, 128, (9, 4)).astype(np.int8)
    np.testing.assert_array_equal(in_voice(frames, 256, 256), frames)
    assert [len(in_voice(np.zeros((51, 4), np.int8), *voice)) for voice in VOICES_Q8] == [61, 42]


def test_an_utterance_is_embedded_in_its_own_voice_and_two_others() -> None:
    """The sum of h runs on through all three, each from a zero state, and its own counts twice."""
    toy, twin = make_toy(0), make_toy(0)
    frames = takes_of(np.random.default_rng(5), 1)[0]
    voices = [frames, *(in_voice(frames, *voice) for voice in VOICES_Q8)]
    state = twin.network.new_state("another")
    pool, counted = np.zeros(16, np.int64), Counts()
    for n, voice in enumerate(voices):
        alone = np.zeros(16, np.int32)
        state.reset()
        counted += twin.network.forward(state, voice, alone)
        pool += alone if n else 2 * alone
    unit, counts = toy.hearing.embed(frames)
    assert unit.tolist() == reference_head.unit_embedding(pool.tolist())[0]
    assert counts == counted
    assert counts.frames == sum(map(len, voices)) == frames_in_all_voices(len(frames))
    whole = np.zeros(16, np.int32)
    state.reset()
    twin.network.forward(state, frames, whole)
    assert hear_in_other_voices(twin.network, state, frames, whole).frames == sum(map(len, voices[1:]))
    assert whole.tolist() == pool.tolist()
    nothing, heard = toy.hearing.embed(frames[:0])
    assert not nothing.any()
    assert heard.frames == 0


def test_altered_takes_are_late_quiet_and_covered() -> None:
    frames = np.arange(-120, 120, 10, dtype=np.int8).reshape(6, 4)
    late, quiet, covered = altered(frames)
    np.testing.assert_array_equal(late, frames[2:])
    np.testing.assert_array_equal(quiet, np.maximum(frames.astype(int) - 8, -128))
    assert quiet.min() == -128
    np.testing.assert_array_equal(covered, np.maximum(frames, -40))
    assert altered(frames[:2])[0].shape == (2, 4)
    assert [nothing.shape for nothing in altered(frames[:0])] == [(0, 4)] * 3
