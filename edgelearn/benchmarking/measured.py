"""The device's own work timed on this machine, with the power that it draws above idle where a sensor tells."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgelearn.benchmarking.sensors import Meter, find_meter
from edgelearn.device.host import Condition, VcGenCmd, read_condition, vcgencmd

if TYPE_CHECKING:
    from edgelearn.runtime.voice import VoiceDevice

PHASE_S = 1.0
"""Seconds of idling, of listening and of learning: long enough for a sensor that is read ten times a second."""


@dataclass(frozen=True)
class Measured:
    """One job: key and name as in the estimates, processor seconds for one, watts while busy, joules above idle."""

    key: str
    title: str
    seconds: float
    runs: float
    busy_w: float | None
    joules: float | None


@dataclass(frozen=True)
class Measurement:
    """All of it: the sensor ("" for none), power while idle, jobs, the machine before and after, what is missing."""

    sensor: str
    idle_w: float | None
    jobs: tuple[Measured, ...]
    before: Condition
    after: Condition
    missing: tuple[str, ...]


def measure(
    device: VoiceDevice,
    steps: int,
    phase_s: float = PHASE_S,
    root: Path = Path("/"),
    tool: VcGenCmd = vcgencmd,
    sleep: Callable[[float], None] = time.sleep,
) -> Measurement:
    """Idle, listen and learn for `phase_s` each; learning changes nothing.

    Kernels are warm. Seconds are processor time of this process; power is the machine's: what else it does meanwhile
    counts as if it were ours. root, tool, sleep: where /sys is, how vcgencmd is run, how to idle.
    """
    device.warm_up()
    meter, missing = find_meter(root, tool)
    before = read_condition(root, tool)
    idle_w = _power(meter, lambda: sleep(phase_s))
    noise = np.random.default_rng(0).integers(-2000, 2000, device.frontend.config.sample_rate_hz).astype(np.int16)
    rate = device.frontend.config.frame_rate_hz

    def speech() -> float:
        device.hearing.hear_exemplars()
        seconds = device.memory.frames / rate
        for _ in range(max(1, round(seconds))):
            device.frontend.push(noise)
        return seconds or 1.0

    def lesson() -> float:
        device.learner.dry_run(steps)
        return 1.0

    jobs = (
        _job("speech_second", "a second of speech", speech, phase_s, meter, idle_w),
        _job("learned_word", f"learning a word ({steps} updates)", lesson, phase_s, meter, idle_w),
    )
    device.frontend.reset()
    after = read_condition(root, tool)
    return Measurement(
        meter.name if meter is not None else "", idle_w, jobs, before, after,
        (*((missing,) if missing else ()), *after.missing),
    )  # fmt: skip


def _job(
    key: str, title: str, work: Callable[[], float], phase_s: float, meter: Meter | None, idle_w: float | None
) -> Measured:
    done = wall = core = 0.0

    def repeat() -> None:
        nonlocal done, wall, core
        started, core_started = time.perf_counter(), time.process_time()
        while wall < phase_s:
            done += work()
            wall = time.perf_counter() - started
        core = time.process_time() - core_started

    busy_w = _power(meter, repeat)
    above = (busy_w - idle_w) * wall / done if busy_w is not None and idle_w is not None else None
    return Measured(key, title, core / done, done, busy_w, above)


def _power(meter: Meter | None, work: Callable[[], None]) -> float | None:
    """Do some work and return the mean power meanwhile, None without a sensor or where it fails."""
    if meter is None:
        work()
        return None
    try:
        meter.start()
    except ValueError:
        work()
        return None
    work()
    try:
        return meter.stop()
    except ValueError:
        return None
