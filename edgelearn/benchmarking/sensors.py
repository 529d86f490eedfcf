"""What power a Linux machine takes while it works, where it has a sensor of it, or why there is none.

Power comes from the power chip of a Raspberry Pi 5 (`vcgencmd pmic_read_adc`: current and voltage of each rail, after
the converters, so less than at the wall) or from the energy counters of a PC's processor (RAPL: the processor alone).
Other boards have no sensor.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edgelearn.device.host import VcGenCmd, number_in, vcgencmd

SAMPLE_S = 0.1
_RAIL = re.compile(r"^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([0-9.]+)[AV]\s*$")


class Meter(Protocol):
    """A sensor of energy: `start`, some work, `stop`."""

    name: str

    def start(self) -> None:
        """Begin to measure."""

    def stop(self) -> float:
        """Return the mean power since `start`, in watts."""


def pmic_watts(text: str) -> float:
    """Return the sum over all rails of `vcgencmd pmic_read_adc` that have both a current and a voltage, in watts.

    EXT5V and BATT are voltages alone and add nothing.  Raises ValueError for a text without any rail.
    """
    values: dict[tuple[str, str], float] = {}
    for line in text.splitlines():
        match = _RAIL.match(line)
        if match:
            values[match[1], match[2]] = float(match[3])
    rails = [name for name, kind in values if kind == "A" and (name, "V") in values]
    if not rails:
        raise ValueError("no rail with a current and a voltage")
    return sum(values[name, "A"] * values[name, "V"] for name in rails)


class PmicMeter:
    """The power chip of a Raspberry Pi 5, read ten times a second; the reading itself is in idle and busy alike."""

    name = "Raspberry Pi 5 power chip (vcgencmd pmic_read_adc), all rails, after the converters"

    def __init__(self, tool: VcGenCmd = vcgencmd, sample_s: float = SAMPLE_S) -> None:
        self._tool = tool
        self._sample_s = sample_s
        self._watts: list[float] = []
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to sample in a thread of its own."""
        self._watts, self._stopped = [], threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Return the mean of the samples, in watts; raises ValueError if the tool stopped answering."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
        if not self._watts:
            raise ValueError("the power chip was not readable")
        return sum(self._watts) / len(self._watts)

    def _sample(self) -> None:
        while True:
            text = self._tool("pmic_read_adc")
            try:
                self._watts.append(pmic_watts(text or ""))
            except ValueError:
                return
            if self._stopped.wait(self._sample_s):
                return


class RaplMeter:
    """The energy counter of a PC's processor package, in microjoules, which starts anew at its range."""

    name = "RAPL package-0 (the processor alone)"

    def __init__(self, zone: Path, clock: Callable[[], float] = time.perf_counter) -> None:
        self._zone = zone
        self._clock = clock
        self._range_uj = number_in(zone / "max_energy_range_uj") or 0.0
        self._from_uj = self._from_s = 0.0

    def start(self) -> None:
        """Remember counter and time."""
        self._from_uj, self._from_s = self._counter(), self._clock()

    def stop(self) -> float:
        """Return the mean power since then, in watts; raises ValueError if the counter is no longer readable."""
        spent = self._counter() - self._from_uj
        if spent < 0:
            spent += self._range_uj
        return spent * 1e-6 / max(1e-9, self._clock() - self._from_s)

    def _counter(self) -> float:
        value = number_in(self._zone / "energy_uj")
        if value is None:
            raise ValueError(f"{self._zone / 'energy_uj'} is not readable")
        return value


def find_meter(root: Path = Path("/"), tool: VcGenCmd = vcgencmd) -> tuple[Meter | None, str]:
    """Return the sensor of power that this machine has, or None and why there is none."""
    text = tool("pmic_read_adc")
    if text is not None:
        try:
            pmic_watts(text)
        except ValueError:
            pass
        else:
            return PmicMeter(tool), ""
    zone = root / "sys/class/powercap/intel-rapl:0"
    if number_in(zone / "energy_uj") is not None:
        return RaplMeter(zone), ""
    if (zone / "energy_uj").exists():
        return None, f"no power: {zone / 'energy_uj'} is there, but only root may read it"
    return None, "no power: neither the power chip of a Raspberry Pi 5 (vcgencmd pmic_read_adc) nor RAPL"
