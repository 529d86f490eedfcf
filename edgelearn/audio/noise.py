"""The steady noise of a room, taken off the features that the network sees: spectral subtraction on log-mel bands.

A band's energy over that of its noise floor tells what part of it is speech (Boll, IEEE Trans. ASSP 1979). Twice the
floor's energy is taken off, because a floor lies below most of the noise, and never more than 12 dB, so that what
remains of noise stays noise and does not become tones (Berouti, Schwartz and Makhoul, ICASSP 1979).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.jit import kernel

if TYPE_CHECKING:
    from edgelearn.audio.melbank import FrontendConfig

OVER_SUBTRACTION = 2.0
MOST_OCTAVES = 4.0  # of energy: 12 dB
QUIET_FLOOR = -40  # feature steps: noise that is softer hides nothing, and taking it off costs the soft ends of words
STEPS = 256  # a feature is at most 255 above a floor


@lru_cache(maxsize=8)
def subtraction_table(gain_q20: int) -> NDArray[np.int8]:
    """Return what to add to a feature that is 0 to 255 steps above its floor, in steps: int8 [256], none above 0.

    gain_q20: feature steps per Q10 step of log2 energy, Q20, as in `FrontendConfig`.
    """
    steps_an_octave = gain_q20 / 1024
    left = 1.0 - OVER_SUBTRACTION * 2.0 ** (-np.arange(STEPS) / steps_an_octave)
    taken = np.log2(np.maximum(left, 2.0**-MOST_OCTAVES)) * steps_an_octave
    table: NDArray[np.int8] = np.maximum(np.rint(taken), -128).astype(np.int8)
    table.setflags(write=False)
    return table


@kernel
def subtract_floor(frames: Any, first: int, stop: int, floor: Any, table: Any) -> None:
    """Take the floor (int8 [bands]) off frames first <= t < stop (int8 Q6), in place; frame t is row t modulo rows.

    Bands whose floor is `QUIET_FLOOR` or softer are left as they are.
    """
    rows = frames.shape[0]
    for t in range(first, stop):
        frame = frames[t % rows]
        for b in range(frame.shape[0]):
            if floor[b] > QUIET_FLOOR:
                above = max(np.int32(frame[b]) - np.int32(floor[b]), np.int32(0))
                frame[b] = np.int8(max(np.int32(frame[b]) + np.int32(table[above]), np.int32(-128)))


def is_noisy(floor: NDArray[np.int8]) -> bool:
    """Return whether there is noise to take off in half of the bands or more (floor int8 Q6, [bands])."""
    return 2 * int((floor > QUIET_FLOOR).sum()) >= len(floor)


def clip_floor(frames: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the noise floor (int8 Q6, [bands]) of a clip, which has no past: each band's lower fifth."""
    floor: NDArray[np.int8] = np.sort(frames, axis=0)[len(frames) // 5]
    return floor


def without_noise(frames: NDArray[np.int8], config: FrontendConfig) -> NDArray[np.int8]:
    """Return a copy of a whole clip (int8 Q6, [T, bands]) with its own floor taken off."""
    quiet = frames.copy()
    if len(frames):
        subtract_floor(quiet, 0, len(quiet), clip_floor(frames), subtraction_table(config.gain_q20))
    return quiet
