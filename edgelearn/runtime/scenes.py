"""Recordings laid into continuous sound: words one after the other in their own room, with noise at a known ratio.

A clip that is spliced into silence begins with a jump of its own background, which no room ever makes.  So the
background beside each word goes on until the next one: the quiet of the clip, played back and forth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16000
ROOM_LEVEL = 12.0  # RMS in int16 units of what is never silent
FADE = 800  # samples over which one room becomes the next
BESIDE = 800  # samples beside a word that may still belong to it
LEAST_ROOM = 2400  # less may be the fringe of the word
GAP_S = (0.75, 1.25)  # before a word and after it
PAUSE_S = 0.5  # between recordings of other sound

Samples = NDArray[np.int16]
Float = NDArray[np.float64]


@dataclass(frozen=True)
class Spoken:
    """A recording of a word: start <= n < stop is where it is said."""

    word: int
    samples: Samples
    start: int
    stop: int

    @property
    def level(self) -> float:
        """RMS of the word, without what is around it."""
        return rms(self.samples[self.start : self.stop].astype(np.float64))


@dataclass(frozen=True)
class Scene:
    """Sound with words in it: `words` has the number, first and last sample (excluded) of each."""

    samples: Samples
    words: list[tuple[int, int, int]]


def rms(sound: Float) -> float:
    """Return the root mean square, at least a millionth, so that one can divide by it."""
    return max(1e-6, float(np.sqrt(np.mean(sound**2)))) if len(sound) else 1e-6


def background(noises: Sequence[Samples], length: int, rng: np.random.Generator) -> Float:
    """Return `length` samples of recorded noises in random order, each of RMS 1."""
    parts: list[Float] = []
    while sum(map(len, parts)) < length:
        noise = noises[int(rng.integers(len(noises)))].astype(np.float64)
        noise -= noise.mean()
        parts.append(noise / rms(noise))
    return np.concatenate(parts)[:length] if parts else np.zeros(length)


def scene_of_words(spoken: Sequence[Spoken], noises: Sequence[Samples], snr_db: float | None, seed: int) -> Scene:
    """Lay words into a quiet room, 1.5 to 2.5 s apart, and into noise unless `snr_db` is None.

    With noise every word is brought to the level of the median word, so that the ratio is that of each of them: RMS of
    the word over RMS of each noise recording.
    """
    rng = np.random.default_rng(seed)
    level = float(np.median([one.level for one in spoken]))
    pieces: list[tuple[int, Float]] = []
    words = []
    at = 0
    for one in spoken:
        sound = one.samples.astype(np.float64) * (1.0 if snr_db is None else level / one.level)
        before, after = (int(SAMPLE_RATE_HZ * rng.uniform(*GAP_S)) for _ in range(2))
        sound, lead = in_its_room(sound, one.start, one.stop, before, after)
        pieces.append((at, sound))
        words.append((one.word, at + lead + one.start, at + lead + one.stop))
        at += len(sound) - FADE
    total = np.zeros(at + SAMPLE_RATE_HZ // 2)
    for start, sound in pieces:
        total[start : start + len(sound)] += sound
    return Scene(_finish(total, noises, level, snr_db, rng), words)


def scene_of_other_sound(
    recordings: Sequence[Samples], noises: Sequence[Samples], snr_db: float | None, seed: int
) -> Scene:
    """Play recordings that have none of the words, half a second of quiet room between them, in noise if asked to.

    The level that `snr_db` is below is that of the louder half of all 20 ms frames.
    """
    rng = np.random.default_rng(seed)
    quiet = np.zeros(int(PAUSE_S * SAMPLE_RATE_HZ))
    total = np.concatenate([part for one in recordings for part in (one.astype(np.float64), quiet)])
    frames = total[: len(total) // 320 * 320].reshape(-1, 320)
    powers = np.sort((frames**2).mean(axis=1))
    level = float(np.sqrt(powers[len(powers) // 2 :].mean()))
    return Scene(_finish(total, noises, level, snr_db, rng), [])


def _finish(
    sound: Float, noises: Sequence[Samples], level: float, snr_db: float | None, rng: np.random.Generator
) -> Samples:
    sound = sound + ROOM_LEVEL * rng.standard_normal(len(sound))
    if snr_db is not None:
        sound += level * 10 ** (-snr_db / 20) * background(noises, len(sound), rng)
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16)


def in_its_room(sound: Float, start: int, stop: int, before: int, after: int) -> tuple[Float, int]:
    """Return a clip with its own background around it, faded at both ends, and the samples put in front of it."""
    lead, trail = sound[: max(0, start - BESIDE)], sound[stop + BESIDE :]
    lead, trail = (side if len(side) >= LEAST_ROOM else sound[:0] for side in (lead, trail))
    front = lead if len(lead) else trail
    back = trail if len(trail) else lead
    longer = np.concatenate((_back_and_forth(front, before)[::-1], sound, _back_and_forth(back[::-1], after)))
    ramp = np.linspace(0.0, 1.0, FADE)
    longer[:FADE] *= ramp
    longer[-FADE:] *= ramp[::-1]
    return longer, before


def _back_and_forth(quiet: Float, length: int) -> Float:
    """Return `length` samples of a stretch played forwards and backwards in turn; silence where there is none."""
    return np.resize(np.concatenate((quiet, quiet[::-1])), length) if len(quiet) else np.zeros(length)
