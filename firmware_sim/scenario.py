"""What happens to a simulated device, and when: a script in TOML, and the sound that it makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.device.configfile import check_keys, read_toml
from edgelearn.errors import UsageError

SAMPLE_RATE_HZ = 16000
BETWEEN_S = 0.7  # from one recording of an event to the next
NOISE_LEVEL = 12.0  # RMS in int16 units: a quiet room
DEEDS = ("say", "teach", "power_cut")
LONGEST_S = 24 * 3600


@dataclass(frozen=True)
class Deed:
    """At `at_s` somebody says `files`, teaches `word` with them as takes, or the power fails for `off_s` seconds."""

    at_s: float
    do: str
    word: str = ""
    files: tuple[Path, ...] = ()
    off_s: float = 1.0


@dataclass(frozen=True)
class Scenario:
    """A run of `seconds`, and its deeds in order of time."""

    seconds: float
    deeds: tuple[Deed, ...] = ()
    seed: int = 0


def load_scenario(path: Path) -> Scenario:
    """Read a script; files are relative to it. Raises UsageError for what is not understood."""
    data = read_toml(path)
    check_keys(data, str(path), ("seconds",), ("seed", "event"))
    deeds = []
    for number, event in enumerate(_list(data.get("event", []), f"{path}: event"), 1):
        where = f"{path}, event {number}"
        if not isinstance(event, dict):
            raise UsageError(f"{where} is no table", "write it as [[event]]")
        check_keys(event, where, ("at_s", "do"), ("word", "files", "off_s"))
        if event["do"] not in DEEDS:
            raise UsageError(f"{where}: do = {event['do']!r} is not known", "it is one of " + ", ".join(DEEDS))
        files = tuple(path.parent / str(name) for name in _list(event.get("files", []), f"{where}: files"))
        if (event["do"] == "power_cut") == bool(files) or (event["do"] == "teach") != ("word" in event):
            raise UsageError(f"{where}: say needs files, teach a word and files, power_cut neither")
        deed = Deed(
            at_s=_seconds(event["at_s"], f"{where}: at_s"),
            do=event["do"],
            word=str(event.get("word", "")),
            files=files,
            off_s=_seconds(event.get("off_s", 1.0), f"{where}: off_s"),
        )
        deeds.append(deed)
    seed = data.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"{path}: seed {seed!r} is no whole number of at least 0")
    deeds.sort(key=lambda deed: deed.at_s)
    return Scenario(_seconds(data["seconds"], f"{path}: seconds"), tuple(deeds), seed)


class Sound:
    """The sound in the room, block by block: quiet noise or a recording over and over, and what is said on top."""

    def __init__(self, scenario: Scenario, background: NDArray[np.int16] | None = None) -> None:
        self._rng = np.random.default_rng(scenario.seed)
        self._background = background
        self._spoken: list[tuple[int, NDArray[np.int16]]] = []
        self._at = 0
        for deed in scenario.deeds:
            at = round(deed.at_s * SAMPLE_RATE_HZ)
            for path in deed.files:
                clip = read_clip(path)
                self._spoken.append((at, clip))
                at += len(clip) + round(BETWEEN_S * SAMPLE_RATE_HZ)
        self._spoken.sort(key=lambda spoken: spoken[0])

    def next(self, count: int) -> NDArray[np.int16]:
        """Return the next `count` samples."""
        block = self._rng.normal(0.0, NOISE_LEVEL, count)
        if self._background is not None:
            block += self._background[(self._at + np.arange(count)) % len(self._background)]
        end = self._at + count
        for at, clip in self._spoken:
            if at >= end:
                break
            low, high = max(at, self._at), min(at + len(clip), end)
            if low < high:
                block[low - self._at : high - self._at] += clip[low - at : high - at]
        self._spoken = [(at, clip) for at, clip in self._spoken if at + len(clip) > end]
        self._at = end
        result: NDArray[np.int16] = np.clip(np.rint(block), -32768, 32767).astype(np.int16)
        return result


def _seconds(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_S:
        raise UsageError(f"{where} = {value!r} is not a number of seconds up to a day")
    return float(value)


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{where} is no list")
    return value
