"""Is a recording fit to learn from?  A take is endpointed and checked before it may change any weight."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.endpoint import EndpointConfig, cut_utterance
from edgelearn.audio.noise import without_noise
from edgelearn.errors import TakeRejected

if TYPE_CHECKING:
    from edgelearn.audio.frontend import Frontend

FULL_SCALE = 32700
MOST_CLIPPED = 0.01
LEAST_PEAK = 330  # -40 dB of full scale
LEAST_SPOKEN = 6  # 120 ms: shorter is a click


def check_samples(samples: NDArray[np.int16], name: str) -> None:
    """Raise TakeRejected for a recording (int16) that is clipped or too quiet."""
    level = np.abs(samples.astype(np.int32))
    clipped = float((level >= FULL_SCALE).mean()) if len(samples) else 0.0
    if clipped > MOST_CLIPPED:
        raise TakeRejected(
            f"{name} is clipped ({100 * clipped:.1f} % of it at full scale)", "turn the microphone down, or step back"
        )
    peak = int(level.max()) if len(samples) else 0
    if peak < LEAST_PEAK:
        raise TakeRejected(f"{name} is too quiet (peak {peak} of 32768)", "turn the microphone up, or come closer")


def check_length(frames: int, endpoint: EndpointConfig, name: str) -> None:
    """Raise TakeRejected for an utterance of too few or too many frames, its context and what is around it included."""
    spoken = frames - endpoint.pre_frames - endpoint.post_frames - sum(endpoint.surroundings)
    if spoken < LEAST_SPOKEN:
        raise TakeRejected(f"{name} is too short ({20 * max(0, spoken)} ms)", "say the whole word")
    if spoken >= endpoint.longest:
        raise TakeRejected(f"{name} is too long ({20 * spoken} ms)", "say one word, and be silent before and after it")


def check_likeness(units: NDArray[np.int64], least_q14: int) -> None:
    """Raise TakeRejected for the take that is most unlike the mean of the others, if it is too unlike (Q14 cosine).

    units: unit embeddings (Q14, [takes, H]) of two takes or more.  Of two takes it is the later one: neither is more
    unlike than the other.
    """
    others = units.sum(axis=0) - units
    # a sum of length 0 has no direction to differ from
    lengths = np.maximum(1.0, np.sqrt((others**2).sum(axis=1)))
    cosines_q14 = (units * others).sum(axis=1) / lengths
    worst = 1 if len(units) == 2 else int(np.argmin(cosines_q14))
    if cosines_q14[worst] < least_q14:
        rest = "the other one" if len(units) == 2 else f"the other {len(units) - 1}"
        raise TakeRejected(
            f"take {worst + 1} is unlike {rest}",
            "say the same word in each take; leave this one out or repeat it",
        )


def variance(frames: NDArray[np.int8]) -> int:
    """Return the variance of all features (int8 Q6, [T, bands]) of a take, in feature steps squared, rounded down.

    Noise makes it smaller: it fills what is soft in a take.
    """
    values = frames.astype(np.int64)
    total = int(values.sum())
    return (values.size * int((values**2).sum()) - total * total) // max(1, values.size**2)


def take_from_clip(
    samples: NDArray[np.int16], frontend: Frontend, endpoint: EndpointConfig, name: str
) -> NDArray[np.int8]:
    """Return the word in a recording (int8 Q6, [T, bands]) with what is around it; TakeRejected if none will do."""
    check_samples(samples, name)
    frontend.reset()
    frames = frontend.push(samples)
    frontend.reset()
    take = cut_utterance(frames, without_noise(frames, frontend.config), endpoint)
    if take is None:
        raise TakeRejected(
            f"{name} holds no speech above its noise", "record it in a quieter place, or closer to the microphone"
        )
    check_length(len(take), endpoint, name)
    return take
