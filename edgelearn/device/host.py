"""What a Linux machine tells about itself, with the standard library alone: clock, temperature, what slows it down.

Readers of text and of sysfs, each of which says what is missing instead of guessing.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

SINCE_THE_START = " since the start"
_THROTTLED = {0: "under-voltage", 1: "clock capped", 2: "throttled", 3: "soft temperature limit"}

VcGenCmd = Callable[[str], str | None]
"""Runs `vcgencmd WORDS` and returns what it prints, None where there is no such program or it fails."""


@dataclass(frozen=True)
class Condition:
    """Clock of the first core, the most it may have, temperature, and what slows it down; None where nothing tells."""

    clock_mhz: float | None
    most_mhz: float | None
    governor: str | None
    temperature_c: float | None
    throttled: tuple[str, ...] | None
    missing: tuple[str, ...] = field(default=())


def vcgencmd(words: str) -> str | None:
    """Run the Raspberry Pi's own tool."""
    try:
        done = subprocess.run(["vcgencmd", *words.split()], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def throttled_flags(text: str) -> tuple[str, ...]:
    """Return what `vcgencmd get_throttled` says in words; raises ValueError for another text."""
    match = re.fullmatch(r"throttled=0x([0-9a-fA-F]+)\s*", text)
    if not match:
        raise ValueError(f"not a throttling state: {text!r:.60}")
    bits = int(match[1], 16)
    now, earlier = ([name for bit, name in _THROTTLED.items() if bits >> shift + bit & 1] for shift in (0, 16))
    return (*now, *(name + SINCE_THE_START for name in earlier))


def read_condition(root: Path = Path("/"), tool: VcGenCmd = vcgencmd) -> Condition:
    """Read clock, temperature and throttling; root: where /sys is."""
    missing = []
    cpufreq = root / "sys/devices/system/cpu/cpu0/cpufreq"
    clock, most = number_in(cpufreq / "scaling_cur_freq"), number_in(cpufreq / "scaling_max_freq")
    if clock is None:
        missing.append("clock: no cpufreq in /sys")
    zones = sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))
    temperatures = [value / 1000 for zone in zones if (value := number_in(zone)) is not None]
    if not temperatures:
        missing.append("temperature: no thermal zone in /sys")
    text = tool("get_throttled")
    throttled = None
    with suppress(ValueError):
        throttled = throttled_flags(text) if text is not None else None
    if throttled is None:
        missing.append("throttling: no vcgencmd get_throttled")
    return Condition(
        clock / 1000 if clock is not None else None,
        most / 1000 if most is not None else None,
        _text(cpufreq / "scaling_governor"),
        max(temperatures, default=None),
        throttled,
        tuple(missing),
    )


def number_in(path: Path) -> float | None:
    """Return the number in a file of the system's, None where there is no such file or it holds something else."""
    text = _text(path)
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
