"""A model exported once and built once a machine; what is not installed is skipped with the line that installs it."""

from __future__ import annotations

import csv
import ctypes
import itertools
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.audio.frontend import Frontend
from edgelearn.device.arena import Arena
from edgelearn.firmware.export import export_c, firmware_device
from edgelearn.firmware.golden import first_recording, sound
from edgelearn.learning.learner import LearnerConfig
from edgelearn.learning.takes import take_from_clip
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.voice import VoiceDevice
from firmware_sim.toolchain import build_host, missing_tools
from tests.firmware_sim.firmware.board import PROBE, SANITIZERS, Lesson
from tests.firmware_sim.firmware.twin import BenchScript

BUDGET = 256 * 1024
STEPS = 100
FAST_RATE_Q16 = 400  # a few times the default, so that every step moves many weights


def recordings(role: str) -> list[Path]:
    with (RECORDINGS / "recordings.csv").open(newline="", encoding="utf-8") as file:
        return [RECORDINGS / row["file"] for row in csv.DictReader(file) if row["role"] == role]


@pytest.fixture(scope="session")
def model() -> Model:
    return load_model(BASE_MODEL)


@pytest.fixture(scope="session")
def exported(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    clip = first_recording([str(path) for path in recordings("base")])
    export_c(folder, model, lambda: make_device(model), [clip])
    return folder


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    def check(*tools: str) -> None:
        line = missing_tools(*tools)
        if line:
            pytest.skip(line)

    return check


@pytest.fixture(scope="session")
def speech() -> NDArray[np.int16]:
    """Words that the shipped model knows, laid into a quiet room."""
    return sound([read_clip(path) for path in recordings("base")[:6]])


@pytest.fixture(scope="session")
def taught(model: Model) -> tuple[list[NDArray[np.int8]], dict[bool, tuple[int, int]]]:
    """Three takes, with the steps and sweeps of a lesson whose result is kept (True), and of one that is put back.

    One of them is of another word: of what is alike there is hardly anything to learn.
    """
    frontend = Frontend(model.frontend, Arena(1 << 16))
    others = recordings("other")[:1]
    paths = [*others, *(path for role in ("take", "test") for path in recordings(role) if "_take" in path.name)]
    every = [take_from_clip(read_clip(path), frontend, model.endpoint, path.name) for path in paths]
    for takes in itertools.combinations(every, 3):
        found: dict[bool, tuple[int, int]] = {}
        for steps, sweeps in ((6, 3), (12, 6), (8, 0), (4, 2), (10, 5), (20, 20), (0, 20), (16, 8), (0, 3), (40, 20)):
            device = make_device(model)
            row = device.learner.enrol(list(takes))
            config = LearnerConfig(steps=steps, sweeps=sweeps, many_takes=3, max_old_loss=1.0)
            gained = list(device.learner.teach(row, config))[-1].gained
            if steps or not gained:
                found.setdefault(gained, (steps, sweeps))
            if len(found) == 2:
                return list(takes), found
    pytest.fail("no lesson of these takes is kept and another one put back")


@pytest.fixture(scope="session")
def takes(taught: tuple[list[NDArray[np.int8]], dict[bool, tuple[int, int]]]) -> list[NDArray[np.int8]]:
    return taught[0]


@pytest.fixture(scope="session")
def schedules(taught: tuple[list[NDArray[np.int8]], dict[bool, tuple[int, int]]]) -> dict[bool, tuple[int, int]]:
    return taught[1]


@pytest.fixture(scope="session")
def lesson(
    model: Model, speech: NDArray[np.int16], takes: list[NDArray[np.int8]], schedules: dict[bool, tuple[int, int]]
) -> BenchScript:
    """Hear words, learn one in three lessons of which one is put back, take 100 more steps, hear the words again."""
    twin = BenchScript(make_device(model))
    twin.hear(speech)
    twin.state()
    twin.enrol(takes)
    config = LearnerConfig()
    twin.teach(config.steps, config.sweeps, config.max_old_loss, config.many_takes)
    twin.state()
    for gained in (False, True):
        twin.load()
        twin.enrol(takes)
        report = twin.teach(*schedules[gained])
        assert report is not None
        assert report.gained == gained
        twin.state()
    twin.add_word("computer")
    twin.hear(speech)
    rng = np.random.default_rng(1)
    count = len(twin.device.memory.exemplars())
    for number in range(STEPS):
        record = count - 1 - number // 2 % len(takes) if number % 2 else int(rng.integers(count))
        twin.learn(record, int(rng.integers(2**32)), FAST_RATE_Q16 if number % 3 else None)
        if number % 25 == 24:
            twin.state()
    twin.image(7)
    twin.hear(speech)
    twin.state()
    return twin


def make_device(model: Model) -> VoiceDevice:
    return firmware_device(model, BUDGET)


def with_thresholds(model: Model, theta_x_q13: int, theta_h_q13: int) -> Model:
    layers = tuple(replace(n, theta_x_q13=theta_x_q13, theta_h_q13=theta_h_q13) for n in model.network.layers)
    return replace(model, network=replace(model.network, layers=layers))


@pytest.fixture(scope="session")
def library(exported: Path, need: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    need("gcc")
    folder = tmp_path_factory.mktemp("library") / "exported"
    shutil.copytree(exported, folder)
    (folder / "probe.c").write_text(PROBE)
    loaded = ctypes.CDLL(str(build_host(folder, folder / "firmware.so", "-O1", *SANITIZERS, bench=False)))
    loaded.t_lesson.restype = ctypes.POINTER(Lesson)
    loaded.el_hear.restype = ctypes.c_size_t
    return loaded
