"""What a feature frame is: the parameters, the constant tables of the integer front end, and the float definition.

The definition is that of `python_speech_features`: pre-emphasis, framing, |rfft|²/N, `get_filterbanks`, log.
`FloatFrontend` computes it in float64, equal to `python_speech_features.fbank`, with pre-emphasis and frames carried
across blocks.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from edgelearn.errors import UsageError

PREEMPHASIS_BITS = 14
MOST_PREEMPHASIS = 0.97
# the spectrum is Q6: samples are at most 32768 * 1.97 = 64553, a Hann window sums to half its length, so the longest
# frame has |X| <= 64553 * 256 * 2^6 < 2^30
SPECTRUM_BITS = 6
# |X|² is Q12, Q2 after the shift: by Parseval a frame sums to 512 * 192 * (64553 * 2^6)² < 2^60.6 (192 is the sum of
# the squared window), so that 2^50.6 times the Q12 bank weights, each at most 1, stays below 2^63
POWER_SHIFT = 10
BANK_BITS = 12
LOG_BITS = 10  # log2 energies are Q10
LOG_TABLE_BITS = 7
# of the transform of 128 or 256 values, in passes of two stages; the one or two stages before need no twiddle factors
TWIDDLED_PASSES = 3
# log2(1 + k / 128) for k = 0..128, the same for every filter bank
LOG_Q16: NDArray[np.int32] = np.rint(
    np.log2(1 + np.arange((1 << LOG_TABLE_BITS) + 1) / (1 << LOG_TABLE_BITS)) * 65536
).astype(np.int32)
# fixed energies are in units of 2^-(2+12); the definition also divides by the transform's length
ENERGY_BITS = 2 * SPECTRUM_BITS - POWER_SHIFT + BANK_BITS


@dataclass(frozen=True)
class FrontendConfig:
    """What a feature frame is; part of the model file, because a network only understands its own features.

    frame, hop: samples. centre_q10: the log2 energy (Q10, definition's units) that maps to feature 0. gain_q20: feature
    steps (int8, Q6) per Q10 step of log2 energy, Q20.
    """

    sample_rate_hz: int = 16000
    frame: int = 512
    hop: int = 320
    bands: int = 32
    low_hz: int = 100
    high_hz: int = 7600
    preemphasis: float = 0.97
    centre_q10: int = 15 * 1024
    gain_q20: int = 11357

    def __post_init__(self) -> None:
        """Refuse what the fixed-point bounds above do not cover."""
        if self.frame not in (256, 512) or not 0 < self.hop <= self.frame:
            raise UsageError(
                f"frame {self.frame} and hop {self.hop}: the frame is 256 or 512 samples, the hop at most a frame"
            )
        if not 8 <= self.bands <= 64 or not 0 <= self.low_hz < self.high_hz <= self.sample_rate_hz // 2:
            raise UsageError(
                f"{self.bands} bands from {self.low_hz} to {self.high_hz} Hz are not a filter bank of 8 to 64 bands"
            )
        if not 0 <= self.preemphasis <= MOST_PREEMPHASIS:
            raise UsageError(f"a pre-emphasis of {self.preemphasis:g} is not between 0 and {MOST_PREEMPHASIS}")
        if (self.bank.sum(axis=1) == 0).any():
            raise UsageError(
                f"{self.bands} bands from {self.low_hz} Hz are too narrow for frames of {self.frame} samples"
            )

    @property
    def frame_rate_hz(self) -> float:
        """Feature frames a second."""
        return self.sample_rate_hz / self.hop

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that change with every parameter above."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def bank(self) -> NDArray[np.float64]:
        """The triangular filters of `python_speech_features.get_filterbanks`, shape [bands, frame // 2 + 1]."""
        from python_speech_features import get_filterbanks

        bank: NDArray[np.float64] = get_filterbanks(
            self.bands, self.frame, self.sample_rate_hz, self.low_hz, self.high_hz
        )
        return bank


def hann(length: int) -> NDArray[np.float64]:
    """Return the periodic Hann window, shape [length]."""
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    return window


@dataclass(frozen=True)
class Tables:
    """The constants of the integer front end, which a device keeps in flash.

    window_q15 int32 [frame]; reverse int32 [64], the numbers below 64 in bit-reversed order; twiddles_q30 int32
    [TWIDDLED_PASSES, 4, frame // 8], cosine and sine of the factors of a pass's first stage, then of its second, in the
    order in which it reads them; turns_q30 int32 [2, frame // 4], cosine and sine of a quarter turn in steps of
    1 / frame turns; bank_q12 int32, flat, with band b at the width[b] bins from start[b]; log_q16 int32 [129].
    """

    window_q15: NDArray[np.int32]
    reverse: NDArray[np.int32]
    twiddles_q30: NDArray[np.int32]
    turns_q30: NDArray[np.int32]
    bank_q12: NDArray[np.int32]
    start: NDArray[np.int32]
    width: NDArray[np.int32]
    log_q16: NDArray[np.int32]


@lru_cache(maxsize=8)
def make_tables(config: FrontendConfig) -> Tables:
    """Compute the integer tables of `config`."""
    half = config.frame // 2
    angle = 2 * np.pi * np.arange(half) / config.frame
    turns_q30 = np.rint(np.stack([np.cos(angle), np.sin(angle)]) * (1 << 30)).astype(np.int32)
    parts = half // 4**TWIDDLED_PASSES  # points of each transform before the first twiddled pass
    passes = []
    for done in range(TWIDDLED_PASSES):
        points = parts * 4**done
        frequency = np.arange(half // 4) // (half // 4 // points)
        passes.append(
            np.concatenate(
                [turns_q30[:, frequency * (half // points)], turns_q30[:, frequency * (half // points // 2)]]
            )
        )
    weights, start, width = [], [], []
    for row in np.rint(config.bank * (1 << BANK_BITS)).astype(np.int32):
        bins = np.flatnonzero(row)
        start.append(bins[0])
        width.append(bins[-1] - bins[0] + 1)
        weights.append(row[bins[0] : bins[-1] + 1])
    return Tables(
        window_q15=np.rint(hann(config.frame) * 32768).astype(np.int32),
        reverse=np.array([int(f"{k:06b}"[::-1], 2) for k in range(64)], np.int32),
        twiddles_q30=np.ascontiguousarray(np.stack(passes)),
        turns_q30=turns_q30[:, : half // 2].copy(),
        bank_q12=np.concatenate(weights).astype(np.int32),
        start=np.array(start, np.int32),
        width=np.array(width, np.int32),
        log_q16=LOG_Q16,
    )


class FloatFrontend:
    """The definition in float64, as a stream: `push` returns filter bank energies, shape [frames, bands]."""

    def __init__(self, config: FrontendConfig) -> None:
        self.config = config
        self._rest: NDArray[np.float64] = np.zeros(0)
        self._previous = 0.0

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.float64]:
        """Return the energies of the frames that `samples` (int16 units) complete; 0 becomes the float epsilon."""
        config = self.config
        signal = samples.astype(np.float64)
        emphasised = signal - config.preemphasis * np.concatenate(([self._previous], signal[:-1]))[: len(signal)]
        if len(signal):
            self._previous = float(signal[-1])
        waiting = np.concatenate((self._rest, emphasised))
        count = max(0, (len(waiting) - config.frame) // config.hop + 1)
        self._rest = waiting[count * config.hop :]
        at = np.arange(count)[:, None] * config.hop + np.arange(config.frame)
        spectrum = np.fft.rfft(waiting[at] * hann(config.frame), axis=1)
        energies: NDArray[np.float64] = (np.abs(spectrum) ** 2 / config.frame) @ config.bank.T
        return np.where(energies == 0, np.finfo(float).eps, energies)
