"""What `doctor` finds out about the program on this machine: microphone, settings, model, kernels, speed."""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.machine import (
    Check,
    check_heat,
    check_memory,
    check_packages,
    check_processor,
    check_python,
    check_system,
)
from edgelearn.device.host import read_condition
from edgelearn.errors import AudioDeviceError, EdgelearnError

if TYPE_CHECKING:
    from edgelearn.config import AudioSettings
    from edgelearn.runtime.model import Model

LEVEL_SECONDS = 2.0
SLOW_START_SECONDS = 10.0
TIGHT_REALTIME_FACTOR = 0.5
BLOCK = 320  # as a microphone delivers it
NO_MICROPHONE = (
    "plug one in; `arecord -l` shows what the system sees; a user must be in the group audio: "
    "sudo usermod -aG audio $USER, and log in again"
)


def all_checks(args: Namespace) -> Iterator[Check]:
    """Yield every check in turn, as soon as it is done."""
    yield from (check_system(), check_python(), check_packages())
    program = Program(args)
    yield guarded("settings", program.check_settings)
    yield guarded("model", program.check_model)
    state = read_condition()
    yield from (check_memory(), check_processor(state), check_heat(state))
    yield guarded("kernel cache", check_cache)
    yield guarded("start", program.check_start)
    yield guarded("speed", program.check_speed)
    yield from check_microphone(program.audio)


def guarded(name: str, check: Callable[[], Check]) -> Check:
    """Return what a check finds; what it raises is a failure, with the error's own hint."""
    try:
        return check()
    except EdgelearnError as error:
        return Check(name, "fail", error.message, error.hint)
    except Exception as error:
        return Check(name, "fail", f"unexpected {type(error).__name__}: {error}", "EDGELEARN_DEBUG=1 may show more")


@dataclass
class Program:
    """Settings and model of a command line, as far as they could be read."""

    args: Namespace
    audio: AudioSettings | None = None
    budget_bytes: int | None = None
    model: Model | None = None

    def check_settings(self) -> Check:
        """Return where the settings come from."""
        from edgelearn.cli.arguments import settings
        from edgelearn.device.board import load_board

        chosen = settings(self.args)
        load_board(chosen.device.board)
        self.audio, self.budget_bytes = chosen.audio, chosen.device.budget_bytes
        own = sorted({origin for origin in chosen.origins.values() if origin != "default"})
        return Check("settings", "ok", f"from {', '.join(own)}" if own else "all of them defaults")

    def check_model(self) -> Check:
        """Return which model there is, and whether changes of it can be saved."""
        from edgelearn.cli.arguments import model_path
        from edgelearn.runtime.model import BASE_MODEL, is_first_use, load_model

        path = model_path(self.args)
        first = self.args.model is None and is_first_use(path)
        self.model = load_model(BASE_MODEL if first else path)
        what = f"the shipped one; the first use makes {path}" if first else f"{path}, {len(self.model.words)} words"
        folder = next(parent for parent in path.parents if parent.exists())
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            unsaved = f"words that are taught cannot be saved: {folder} is not writable"
            return Check("model", "fail" if first else "warn", what, unsaved)  # the first use writes
        return Check("model", "ok", what)

    def check_start(self) -> Check:
        """Return how long it takes from nothing to a device that listens; what was not compiled is afterwards."""
        began = time.perf_counter()
        from edgelearn.runtime.voice import DEFAULT_BUDGET_BYTES, VoiceDevice

        self._device = VoiceDevice(self._model(), self.budget_bytes or DEFAULT_BUDGET_BYTES)
        self._device.warm_up()
        seconds = time.perf_counter() - began
        detail = f"ready after {seconds:.1f} s"
        if seconds > SLOW_START_SECONDS:
            return Check("start", "warn", detail, "the first start compiles the kernels: a second one should be quick")
        return Check("start", "ok", detail)

    def check_speed(self) -> Check:
        """Return how much of its time this machine needs to listen, measured on the shipped recordings."""
        import numpy as np

        from edgelearn.audio.clips import read_clip
        from edgelearn.audio.resample import SAMPLE_RATE_HZ
        from edgelearn.runtime.rehearsed import RECORDINGS

        sound = np.concatenate([read_clip(path) for path in sorted(RECORDINGS.glob("*.wav"))])
        slowest = 0.0
        began = time.perf_counter()
        for at in range(0, len(sound), BLOCK):
            block_began = time.perf_counter()
            self._device.recognizer.push(sound[at : at + BLOCK])
            slowest = max(slowest, time.perf_counter() - block_began)
        seconds = len(sound) / SAMPLE_RATE_HZ
        factor = (time.perf_counter() - began) / seconds
        detail = (
            f"real-time factor {factor:.4f} on {seconds:.0f} s of speech; the slowest 20 ms took {1e3 * slowest:.1f} ms"
        )
        if factor >= 1:
            return Check("speed", "fail", detail, "this machine cannot keep up with a microphone")
        if factor >= TIGHT_REALTIME_FACTOR:
            return Check("speed", "warn", detail, "there is little room for anything else: end other programs")
        return Check("speed", "ok", detail)

    def _model(self) -> Model:
        from edgelearn.runtime.model import BASE_MODEL, load_model

        return self.model if self.model is not None else load_model(BASE_MODEL)


def check_cache() -> Check:
    """Return where compiled kernels are kept, and whether any are there."""
    from edgelearn.jit import cache_folder

    if os.environ.get("NUMBA_DISABLE_JIT") == "1":
        return Check("kernel cache", "warn", "NUMBA_DISABLE_JIT=1: nothing is compiled, and all is slow", "unset it")
    folder = cache_folder()
    if folder is None:
        return Check(
            "kernel cache", "warn", "no folder for it: every start compiles the kernels anew",
            "NUMBA_CACHE_DIR can name a folder that is yours alone and can be written",
        )  # fmt: skip
    kernels = len(list(Path(folder).rglob("*.nbc")))
    return Check("kernel cache", "ok", f"{folder}, {kernels} kernels" if kernels else f"{folder}, empty until now")


def check_microphone(audio: AudioSettings | None) -> Iterator[Check]:
    """Yield what there is of PortAudio, of microphones, and of the one that the settings choose."""
    from edgelearn.audio.capture import list_inputs, portaudio_version

    try:
        yield Check("portaudio", "ok", portaudio_version())
        devices = list_inputs()
    except AudioDeviceError as error:
        yield Check("portaudio", "fail", error.message, error.hint)
        return
    if not devices:
        yield Check("microphones", "warn", "none is connected; files and --input - work without one", NO_MICROPHONE)
        return
    yield Check("microphones", "ok", "; ".join(f"{d.index} {d.name}" + " (default)" * d.is_default for d in devices))
    if audio is not None:
        yield guarded("sample rates", lambda: _check_rates(audio))
        yield guarded("level", lambda: _check_level(audio))


def _check_rates(audio: AudioSettings) -> Check:
    from edgelearn.audio.capture import supported_rates

    rates = supported_rates(audio.device)
    if not rates:
        return Check(
            "sample rates", "warn", "none: it cannot be opened just now", "another program may be using it: end it"
        )
    return Check("sample rates", "ok", f"{', '.join(map(str, rates))} Hz")


def _check_level(audio: AudioSettings) -> Check:
    from edgelearn.audio.capture import PROBLEMS, Microphone
    from edgelearn.audio.level import dbfs, measure

    with Microphone(audio.device, audio.rate_hz, audio.channel) as microphone:
        level = measure(microphone, LEVEL_SECONDS)
    detail = f"{microphone.device.name} at {microphone.rate_hz} Hz: peak {dbfs(level.peak):.0f} dB of full scale"
    if level.problem == "quiet":
        advice = "`edgelearn devices --test` measures it while you speak"
        return Check("level", "ok", f"{detail}: nobody spoke, or it is too quiet", advice)
    if level.problem:
        message, advice = PROBLEMS[level.problem]
        return Check("level", "warn", f"{detail}: it {message}", advice)
    return Check("level", "ok", detail)
