"""The slow, obvious twins of the integer front end and the end pointer: plain Python, unbounded integers.

Nothing wraps here, so an overflow in the kernel shows as a difference; the largest intermediate values are kept, so
that a test can hold them against the bounds that the kernel's docstrings state.
"""

from __future__ import annotations

import math

from edgelearn.audio.endpoint import END, HANG, IDLE, ONSET, SPEECH, SPREAD, TOO_LONG, EndpointConfig
from edgelearn.audio.melbank import FrontendConfig


def log2_q10(value: int) -> int:
    """Log2 of a positive integer in Q10, by 128 chords of a Q16 table."""
    top = value.bit_length() - 1
    index = ((value << 7) >> top) & 127
    fraction = ((value << 23) >> top) & 65535
    low, high = (round(math.log2(1 + k / 128) * 65536) for k in (index, index + 1))
    q16 = low + ((high - low) * fraction >> 16)
    return (top << 10) + ((q16 + 32) >> 6)


def rotate(re: int, im: int, turn: float) -> tuple[int, int]:
    """Multiply by exp(-2 pi i turn), the factor in Q30."""
    c, s = round(math.cos(2 * math.pi * turn) * 2**30), round(math.sin(2 * math.pi * turn) * 2**30)
    return (re * c + im * s + 2**29) >> 30, (im * c - re * s + 2**29) >> 30


class FixedFrontend:
    """Keeps every sample it was given; `largest` holds the largest magnitudes by name."""

    def __init__(self, config: FrontendConfig) -> None:
        self.config = config
        self.largest = {"value": 0, "power": 0, "energy": 0}
        self._coefficient = round(config.preemphasis * 2**14)
        self._window = [
            round((0.5 - 0.5 * math.cos(2 * math.pi * m / config.frame)) * 2**15) for m in range(config.frame)
        ]
        self._bank = [[round(w * 2**12) for w in row] for row in config.bank.tolist()]

    def run(self, samples: list[int]) -> tuple[list[list[int]], list[list[int]]]:
        """Return log2 energies (Q10) and features (Q6) of every whole frame."""
        frames = range((len(samples) - self.config.frame) // self.config.hop + 1)
        logs = [self.frame(samples, t * self.config.hop) for t in frames]
        return logs, [[self.feature(v) for v in row] for row in logs]

    def feature(self, log_q10: int) -> int:
        """Centre, scale and clip."""
        return min(127, max(-128, ((log_q10 - self.config.centre_q10) * self.config.gain_q20 + 2**19) >> 20))

    def frame(self, samples: list[int], at: int) -> list[int]:
        """Log2 energies of the frame that starts at sample `at`."""
        n = self.config.frame
        x = []
        for m in range(n):
            before = samples[at + m - 1] if at + m > 0 else 0
            emphasised = samples[at + m] * 2**14 - self._coefficient * before
            x.append((emphasised * self._window[m] + 2**22) >> 23)
        power = [(re * re + im * im) >> 10 for re, im in self.spectrum(x)]
        energies = [sum(w * p for w, p in zip(row, power, strict=True)) for row in self._bank]
        self._note("power", power)
        self._note("energy", energies)
        unit = (14 + n.bit_length() - 1) << 10
        return [(log2_q10(e) if e > 1 else 0) - unit for e in energies]

    def spectrum(self, x: list[int]) -> list[tuple[int, int]]:
        """Bins 0 .. n/2 of the real sequence, from one transform of the even samples + i times the odd ones."""
        half = len(x) // 2
        z = self.transform(list(zip(x[::2], x[1::2], strict=True)))
        bins = []
        for k in range(half + 1):
            (a_re, a_im), (b_re, b_im) = z[k % half], z[-k % half]
            even = (a_re + b_re, a_im - b_im)
            odd = rotate(a_im + b_im, b_re - a_re, k / (2 * half))
            bins.append(tuple((e + o + 1) >> 1 for e, o in zip(even, odd, strict=True)))
        self._note("value", [abs(v) for pair in bins for v in pair])
        return bins

    def transform(self, z: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Decimation in time, each half by itself."""
        if len(z) == 1:
            return z
        pairs = list(zip(self.transform(z[::2]), self.transform(z[1::2]), strict=True))
        turned = [rotate(*odd, k / len(z)) for k, (_, odd) in enumerate(pairs)]
        low = [(e[0] + o[0], e[1] + o[1]) for (e, _), o in zip(pairs, turned, strict=True)]
        high = [(e[0] - o[0], e[1] - o[1]) for (e, _), o in zip(pairs, turned, strict=True)]
        self._note("value", [abs(v) for pair in low + high for v in pair])
        return low + high

    def _note(self, name: str, values: list[int]) -> None:
        self.largest[name] = max(self.largest[name], *values)


class EndPointer:
    """The end pointer, from a known noise floor; in a stream what stays for 28 frames is noise, too."""

    def __init__(self, config: EndpointConfig, floor: list[int], stream: bool) -> None:
        self.config = config
        self.stream = stream
        self.floor_q8: list[int] = [256 * value for value in floor]
        self.heard: list[list[int]] = []
        self.run = self.length = self.silence = self.peak = 0
        self.excess = 0

    def push(self, frame: list[int]) -> int:
        """Take a frame, return its code; what never ended left no floor, and this frame is the new one."""
        config = self.config
        if not self.floor_q8:
            self.floor_q8 = [256 * value for value in frame]
            self.heard = [[-128] * len(frame)] * len(self.heard)
        raised = self.lift_floor(frame) if self.stream else 0
        self.peak = max(0, self.peak - raised)
        margin = config.stream_margin if self.stream else config.margin
        over = [v - (f >> 8) - margin for v, f in zip(frame, self.floor_q8, strict=True)]
        self.excess = sum(v for v in over if v > 0)
        fade = min(config.fade, 3) if self.length >= 52 else config.fade
        limit = max(config.release, self.peak // fade) if self.length else config.onset
        active = self.excess >= limit
        rise = 8 if active or self.length else 4
        for b, value in enumerate(frame):
            error = 256 * value - self.floor_q8[b]
            self.floor_q8[b] += error >> (3 if error < 0 else rise)
        if not self.length:
            self.run = self.run + 1 if active else 0
            if self.run < config.onset_frames:
                return IDLE
            self.length, self.silence, self.peak = self.run, 0, self.excess
            return ONSET
        if self.length >= 32 and 2 * self.excess >= 3 * self.peak and self.excess >= config.onset:
            self.length, self.silence, self.peak = config.onset_frames, 0, self.excess
            return ONSET
        self.length += 1
        self.peak = max(self.peak, self.excess)
        self.silence = 0 if active else self.silence + 1
        if self.length >= config.longest or self.silence >= config.hang_frames:
            code = TOO_LONG if self.length >= config.longest else END
            if code == TOO_LONG:
                self.floor_q8 = []
            self.length = self.run = 0
            return code
        return SPEECH if active else HANG

    def lift_floor(self, frame: list[int]) -> int:
        """Lift the floor after every seventh frame to eight above what the last 28 never fell below; by how much."""
        self.heard.append(frame)
        raised = 0
        if len(self.heard) % 7 == 0 and len(self.heard) >= 28:
            for b, least in enumerate(min(band) for band in zip(*self.heard[-28:], strict=True)):
                known = min(least + 8, 127)
                lift = known - (self.floor_q8[b] >> 8)
                if least > -128 and lift > 0:
                    self.floor_q8[b] = 256 * known
                    raised += lift
        return raised


def subtracted(frame: list[int], floor: list[int], steps_an_octave: float) -> list[int]:
    """A frame less twice the energy of the floor, at most 12 dB less, where the floor is above -40."""
    heard = []
    for value, noise in zip(frame, floor, strict=True):
        if noise <= -40:
            heard.append(value)
            continue
        left = 1 - 2 * 2 ** ((noise - max(value, noise)) / steps_an_octave)
        octaves = max(math.log2(left), -4) if left > 0 else -4
        heard.append(max(-128, value + round(octaves * steps_an_octave)))
    return heard


def segments(frames: list[list[int]], config: EndpointConfig) -> list[tuple[int, int, int]]:
    """All utterances of a clip: start, stop, and the summed excess of their speech."""
    floor = [sorted(band)[len(frames) // 5] + SPREAD for band in zip(*frames, strict=True)]
    pointer, found = EndPointer(config, floor, stream=False), []
    start = last = weight = 0
    codes = [(pointer.push(frame), pointer.excess) for frame in frames]
    codes.append((END if pointer.length else IDLE, 0))
    for t, (code, excess) in enumerate(codes):
        if code == ONSET:
            start, last = max(0, t - config.onset_frames + 1 - config.pre_frames), t
            weight = excess * config.onset_frames
        elif code == SPEECH:
            weight, last = weight + excess, t
        elif code in (END, TOO_LONG):
            stop = (t if code == TOO_LONG else last) + 1 + config.post_frames
            found.append((start, min(len(frames), stop), weight))
    return found
