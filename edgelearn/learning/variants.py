"""What an utterance might have sounded like: in another voice, to embed it, and altered, to check a lesson against.

An utterance is embedded in three voices, its own, which counts twice, and two others: the sum of h runs on through all
of them.  What they have in common is the word; what one of them has alone is a voice on one occasion.

Everything is in integers on feature frames (int8 Q6, [T, bands]), so that a device does the same to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.engine.counts import Counts

if TYPE_CHECKING:
    from edgelearn.audio.surroundings import Surroundings
    from edgelearn.engine.network import Network, State

Frames = NDArray[np.int8]

VOICES_Q8 = ((210, 238), (312, 274))
"""Slower with formants moved up, faster with formants moved down: tempo 0.82 and 1.22, bands read at 0.93 and 1.07."""
OWN_VOICE_WEIGHT = 2
FAR_Q14 = 2458
"""0.15 below a word's threshold: other voices hardly bring it from there to the word (docs/experiments/lessons.md)."""
ALTERED = 3  # ways in which an utterance is altered


def in_voice(frames: Frames, tempo_q8: int, formant_q8: int) -> Frames:
    """Return an utterance `tempo_q8` times as fast (Q8), each band read at `formant_q8` times its number (Q8).

    Both by linear interpolation between frames and between bands, rounded to nearest; no frame is read after the last.
    """
    count, bands = frames.shape
    at = np.arange(((count - 1) * 256) // tempo_q8 + 1) * tempo_q8
    low, high = frames[at >> 8].astype(np.int32), frames[np.minimum((at >> 8) + 1, count - 1)].astype(np.int32)
    share = (at & 255)[:, None]
    between_q8 = low * (256 - share) + high * share
    band = np.minimum(np.arange(bands) * formant_q8, (bands - 1) << 8)
    upper = np.minimum((band >> 8) + 1, bands - 1)
    voiced_q16 = between_q8[:, band >> 8] * (256 - (band & 255)) + between_q8[:, upper] * (band & 255)
    voiced: Frames = ((voiced_q16 + (1 << 15)) >> 16).astype(np.int8)
    return voiced


def in_other_voices(frames: Frames) -> tuple[Frames, ...]:
    """Return an utterance in each of VOICES_Q8."""
    return tuple(in_voice(frames, *voice) for voice in VOICES_Q8)


def in_all_voices(frames: Frames, around: Surroundings) -> tuple[Frames, ...]:
    """Return an utterance, with what is around it, as its own voice and each of the others hear it."""
    return around.own(frames), *in_other_voices(around.sounding(frames))


def hear_in_other_voices(network: Network, state: State, frames: Frames, pool: NDArray[np.int32]) -> Counts:
    """Let pool, the sum of h (int32 [H]) of an utterance in its own voice, become that of all voices.

    frames: what the others hear. It is weighted, and h of these in each of VOICES_Q8, from zero states, is added to it.
    """
    pool *= OWN_VOICE_WEIGHT
    counts = Counts()
    for voiced in in_other_voices(frames):
        state.reset()
        counts += network.forward(state, voiced, pool)
    return counts


def altered(frames: Frames) -> tuple[Frames, ...]:
    """Return an utterance late by two frames, quieter, and with its softest third covered."""
    quieter = np.maximum(frames.astype(np.int16) - 8, -128).astype(np.int8)
    floor = np.sort(frames, axis=None)[frames.size // 3] if frames.size else 0
    return frames[2:] if len(frames) > 2 else frames, quieter, np.maximum(frames, floor)
