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

CHUNK = 8192  # output samples computed at a time: bounds the memory for long recordings
# with few phases a product of matrices, with so many outputs in a row, takes a tenth of the time
FEW_PHASES = 8
GROUP = 16
# else the windows of so many outputs are copied at a time, which stay in the cache
GATHER = 128


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
        pieces = []
        while self._produced < until:
            count = min(CHUNK, until - self._produced)
            position = self._produced * self._down
            start = position // self._up - self._reach + 1 - self._pending_start
            phase = position % self._up
            stop = start + (phase + (count - 1) * self._down) // self._up + self._phases.shape[1]
            samples = self._pending[start:stop].astype(np.float64)
            filtered = self._in_groups if self._up <= FEW_PHASES else self._one_by_one
            sums = filtered(samples, phase, count)
            sums += 1 << (COEFFICIENT_BITS - 1)
            sums *= 1 / (1 << COEFFICIENT_BITS)
            np.floor(sums, out=sums)
            np.maximum(sums, -32768, out=sums)
            np.minimum(sums, 32767, out=sums)
            pieces.append(sums.astype(np.int16))
            self._produced += count
        first_needed = self._produced * self._down // self._up - self._reach + 1
        if first_needed > self._pending_start:
            self._pending = self._pending[first_needed - self._pending_start :].copy()
            self._pending_start = first_needed
        return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)

    def _in_groups(self, samples: NDArray[np.float64], phase: int, count: int) -> NDArray[np.float64]:
        """Return `count` sums, the first of them of `phase` and from the first sample on."""
        matrix, step = _group_matrix(self._up, self._down, phase)
        length, width = matrix.shape
        groups = -(-count // width)
        padded = np.zeros((groups - 1) * step + length)
        padded[: len(samples)] = samples
        rows: NDArray[np.float64] = np.ndarray((groups, length), np.float64, padded, 0, (8 * step, 8))
        product: NDArray[np.float64] = rows.copy() @ matrix  # the copy is what makes it one call of BLAS
        return product.ravel()[:count]

    def _one_by_one(self, samples: NDArray[np.float64], phase: int, count: int) -> NDArray[np.float64]:
        """Return the same, window by window."""
        windows = np.lib.stride_tricks.sliding_window_view(samples, self._phases.shape[1])
        sums = np.empty(count)
        for at in range(0, count, GATHER):
            position = phase + np.arange(at, min(at + GATHER, count)) * self._down
            sums[at : at + GATHER] = np.einsum(
                "nt,nt->n", windows[position // self._up], self._phases[position % self._up]
            )
        return sums


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


@lru_cache(maxsize=16)
def _group_matrix(up: int, down: int, phase: int) -> tuple[NDArray[np.float64], int]:
    """Return the matrix from successive inputs to at least GROUP outputs, and the inputs from one group to the next.

    Column j holds the filter of output j, the first one being of `phase`, as far down as its window lies later.
    """
    filters = _phases(up, down)
    periods = -(-GROUP // up)
    positions = phase + np.arange(periods * up) * down
    matrix = np.zeros((int(positions[-1]) // up + filters.shape[1], len(positions)))
    for column, position in enumerate(positions.tolist()):
        start = position // up
        matrix[start : start + filters.shape[1], column] = filters[position % up]
    matrix.setflags(write=False)
    return matrix, periods * down
