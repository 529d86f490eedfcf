"""Any sample rate to 16 kHz, band-limited, in exact integers: the same for any blocks and any machine."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgelearn.errors import UsageError

SAMPLE_RATE_HZ = 16000
LOWEST_RATE_HZ = 4000
HIGHEST_RATE_HZ = 192000

# The filter passes up to 0.88 of the lower Nyquist frequency within 0.01 dB and is 80 dB down from that
# frequency on.
CUTOFF = 0.94
TRANSITION = 0.12
STOPBAND_DB = 80.0
COEFFICIENT_BITS = 20

_GATHER = 8192  # output samples computed at a time: bounds the memory for long recordings


class Resampler:
    """Turns blocks of int16 samples at `rate_hz` into int16 samples at 16 kHz.

    All that `push` returns, and then `flush`, is `resample` of the whole, bit for bit, whatever the sizes of
    the blocks: coefficients are integers (Q20, gain exactly 1) and every sum stays below 2^53, where float64
    arithmetic is exact. Output n is centred on the time of input n * rate_hz / 16000, so `push` holds back
    the half length of the filter (2.7 ms).
    """

    def __init__(self, rate_hz: int) -> None:
        """Raise UsageError for a rate outside 4-192 kHz."""
        if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
            raise UsageError(
                f"cannot bring {rate_hz} Hz to {SAMPLE_RATE_HZ} Hz",
                f"sample rates from {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz work",
            )
        divisor = math.gcd(rate_hz, SAMPLE_RATE_HZ)
        self._up = SAMPLE_RATE_HZ // divisor
        self._down = rate_hz // divisor
        self._phases = _phases(self._up, self._down)
        taps = self._phases.shape[1]
        self._reach = taps // 2  # output n needs inputs n*down//up - reach + 1 ... n*down//up + reach
        self._pending = np.zeros(self._reach - 1, np.int16)
        self._pending_start = 1 - self._reach  # the index of the first pending sample in the stream
        self._received = 0
        self._produced = 0

    def push(self, samples: NDArray[np.int16]) -> NDArray[np.int16]:
        """Return the samples at 16 kHz that `samples` completes."""
        self._received += len(samples)
        if self._up == self._down:
            return samples
        self._pending = np.concatenate((self._pending, samples))
        complete = self._received - self._reach  # inputs that have all their later neighbours
        return self._take(max(0, -(-complete * self._up // self._down)) if complete > 0 else 0)

    def flush(self) -> NDArray[np.int16]:
        """Return the rest, as if silence followed; the resampler then starts anew."""
        if self._up == self._down:
            return np.zeros(0, np.int16)
        self._pending = np.concatenate((self._pending, np.zeros(self._reach, np.int16)))
        rest = self._take(-(-self._received * self._up // self._down))
        self._pending = np.zeros(self._reach - 1, np.int16)
        self._pending_start = 1 - self._reach
        self._received = self._produced = 0
        return rest

    def _take(self, until: int) -> NDArray[np.int16]:
        """Return outputs produced..until-1, and forget the inputs that no later one needs."""
        out = np.empty(max(0, until - self._produced), np.int16)
        taps = self._phases.shape[1]
        for begin in range(0, len(out), _GATHER):
            index = np.arange(begin, min(begin + _GATHER, len(out))) + self._produced
            position = index * self._down
            start = position // self._up - self._reach + 1 - self._pending_start
            low, high = int(start[0]), int(start[-1]) + taps
            windows = np.lib.stride_tricks.sliding_window_view(
                self._pending[low:high].astype(np.float64), taps
            )
            sums = np.einsum("nt,nt->n", windows[start - low], self._phases[position % self._up])
            rounded = (sums.astype(np.int64) + (1 << (COEFFICIENT_BITS - 1))) >> COEFFICIENT_BITS
            out[begin : begin + len(index)] = np.clip(rounded, -32768, 32767)
        self._produced += len(out)
        first_needed = self._produced * self._down // self._up - self._reach + 1
        if first_needed > self._pending_start:
            self._pending = self._pending[first_needed - self._pending_start :].copy()
            self._pending_start = first_needed
        return out


def resample(samples: NDArray[np.int16], rate_hz: int) -> NDArray[np.int16]:
    """Return int16 `samples` taken at `rate_hz` as ceil(len * 16000 / rate_hz) int16 samples at 16 kHz."""
    resampler = Resampler(rate_hz)
    return np.concatenate((resampler.push(samples), resampler.flush()))


@lru_cache(maxsize=4)
def _phases(up: int, down: int) -> NDArray[np.float64]:
    """Return the filter as [up][taps] integers in float64, row p for outputs p/up of an input sample late.

    A Kaiser-windowed sinc; length and shape by Kaiser's formulas (Oppenheim and Schafer, Discrete-Time Signal
    Processing, section 7.5.3).  Each row is a low-pass filter of gain 1: its rounding error goes into its
    largest coefficient.
    """
    slower = max(1.0, down / up)  # in input samples, how much wider the sinc is when the rate goes down
    half = (STOPBAND_DB - 7.95) / (2.285 * np.pi * TRANSITION) / 2 * slower
    beta = 0.1102 * (STOPBAND_DB - 8.7)
    reach = math.ceil(half) + 1
    taps = np.arange(1 - reach, reach + 1)
    rows = np.empty((up, 2 * reach))
    for phase in range(up):
        time = taps - phase / up
        window = np.i0(beta * np.sqrt(np.maximum(0.0, 1 - (time / half) ** 2))) * (np.abs(time) <= half)
        row = np.sinc(CUTOFF * time / slower) * window
        rows[phase] = np.rint(row / row.sum() * (1 << COEFFICIENT_BITS))
        rows[phase, np.argmax(rows[phase])] += (1 << COEFFICIENT_BITS) - rows[phase].sum()
    rows.setflags(write=False)
    return rows
