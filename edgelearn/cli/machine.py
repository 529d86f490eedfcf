"""What `doctor` finds out about the machine, from the system's own files, with nothing that has to be installed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from edgelearn.device.host import Condition

MIB = 1 << 20
LEAST_FREE_BYTES = 256 * MIB  # the program with its compiler takes up to 200 MiB
HOT_CELSIUS = 80.0  # a Raspberry Pi slows down from here on
PYTHONS = ((3, 11), (3, 14))
PACKAGES = ("numba", "numpy", "python_speech_features", "scipy", "sounddevice")
POWER_ADVICE = "use the power supply of the board's maker, and a short, thick cable; a heat sink against heat"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: status is ok, warn or fail; advice is what to do, if there is something."""

    name: str
    status: str
    detail: str
    advice: str = ""


def check_system(root: Path = Path("/")) -> Check:
    """Return what system this is; Numba needs one of 64 bits."""
    bits = 8 * struct.calcsize("P")
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        name = f"{platform.system()} {platform.release()}"
    board = _read(root / "proc/device-tree/model").strip("\0")
    detail = ", ".join(filter(None, (name, f"{bits} bits", platform.machine(), board)))
    if bits < 64:
        return Check("system", "fail", detail, "install a 64-bit system: there is no Numba for 32 bits")
    return Check("system", "ok", detail)


def check_python() -> Check:
    """Return which Python runs, and from where."""
    detail = f"{platform.python_version()}, {sys.executable}"
    low, high = PYTHONS
    if low <= sys.version_info[:2] <= high:
        return Check("python", "ok", detail)
    return Check("python", "fail", detail, f"use Python {low[0]}.{low[1]} to {high[0]}.{high[1]}")


def check_packages() -> Check:
    """Return the versions of the packages that the program needs."""
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        what = f"{', '.join(missing)} not installed"
        return Check("packages", "fail", what, f"type: pip install {' '.join(missing)}")
    return Check("packages", "ok", ", ".join(found))


def check_memory(root: Path = Path("/")) -> Check:
    """Return how much memory is free."""
    sizes = {
        line.split(":")[0]: 1024 * int(line.split()[1])
        for line in _read(root / "proc/meminfo").splitlines()
        if line.endswith(" kB")
    }
    if "MemAvailable" not in sizes:
        return Check("memory", "ok", "not known on this system")
    free, total = sizes["MemAvailable"], sizes.get("MemTotal", 0)
    detail = f"{free // MIB:,} MiB of {total // MIB:,} MiB free"
    if free < LEAST_FREE_BYTES:
        return Check("memory", "warn", detail, f"end other programs: {LEAST_FREE_BYTES // MIB} MiB should be free")
    return Check("memory", "ok", detail)


def check_processor(state: Condition) -> Check:
    """Return how many cores there are, and what governs their clock."""
    known = state.clock_mhz is not None and state.most_mhz is not None
    clock = f"{state.clock_mhz:.0f} of {state.most_mhz:.0f} MHz" if known else ""
    governor = f"governor {state.governor}" if state.governor else ""
    detail = ", ".join(filter(None, (f"{os.cpu_count()} cores", governor, clock)))
    if state.governor == "powersave":
        return Check(
            "processor", "warn", detail,
            "it stays at its lowest clock: echo schedutil | sudo tee "
            "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        )  # fmt: skip
    return Check("processor", "ok", detail)


def check_heat(state: Condition) -> Check:
    """Return how hot it is, and whether power or heat has slowed the board down since it was started."""
    celsius = state.temperature_c
    parts = [] if celsius is None else [f"{celsius:.0f} °C"]
    if state.throttled is not None:
        parts.append(", ".join(state.throttled) or "never throttled")
    detail = "; ".join(parts) or "not known on this system"
    if state.throttled:
        return Check("heat", "warn", detail, POWER_ADVICE)
    if celsius is not None and celsius >= HOT_CELSIUS:
        return Check("heat", "warn", detail, "the board slows down: give it a heat sink or a fan")
    return Check("heat", "ok", detail)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
