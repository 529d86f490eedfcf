"""The firmware on Cortex-M cores under QEMU: the same words, losses and weights, and what it takes of flash and RAM."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgelearn.device.sizes import KIB
from edgelearn.firmware.export import RESERVE_BYTES
from edgelearn.runtime.model import Model
from edgelearn.runtime.voice import VoiceDevice
from firmware_sim.toolchain import CORES, RAM_BYTES, Core, Sizes, build_core, build_counter, command, run_core, sizes
from tests.firmware_sim.firmware.conftest import BUDGET, STEPS
from tests.firmware_sim.firmware.twin import BenchScript

TOOLS = ("arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm")
CODE_LIMIT = 64 * KIB


@pytest.fixture(scope="module", params=CORES, ids=lambda core: core.name)
def built(
    request: pytest.FixtureRequest, exported: Path, need: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Core, Path]:
    need(*TOOLS)
    core: Core = request.param
    return core, build_core(exported, core, tmp_path_factory.mktemp(core.name) / "firmware.elf")


@pytest.mark.slow
def test_words_losses_weights_and_ram(built: tuple[Core, Path], lesson: BenchScript, model: Model) -> None:
    core, program = built
    said, _ = run_core(program, core, bytes(lesson.script) + command("k"))
    *lines, stack = said.splitlines()
    assert lines == lesson.expected
    assert said.count("loss") == STEPS
    check_ram(sizes(program), int(stack.removeprefix("stack ")), model)


def test_golden_vectors_flash_and_ram(built: tuple[Core, Path], model: Model) -> None:
    core, program = built
    passed, stack = run_core(program, core, command("g") + command("k"))[0].splitlines()
    assert passed == "selftest 0"
    found = sizes(program)
    check_ram(found, int(stack.removeprefix("stack ")), model)
    beside_the_weights = found.code + found.constants - found.symbols["el_model_image"]
    assert found.code <= CODE_LIMIT
    assert beside_the_weights - found.symbols["el_golden_samples"] <= CODE_LIMIT


def check_ram(found: Sizes, stack: int, model: Model) -> None:
    """Variables and painted stack, against the budget and against what is planned for it."""
    ram = found.variables + stack
    planned = VoiceDevice(model, BUDGET).arena.used_bytes
    assert 0 < stack < RAM_BYTES - found.variables  # some of the paint is left
    assert ram <= BUDGET
    assert abs(ram - planned) <= 0.05 * planned
    assert found.symbols["el_memory"] > 0.98 * found.variables
    assert found.variables - found.symbols["el_memory"] + stack <= RESERVE_BYTES


def test_instructions_are_counted_and_repeatable(exported: Path, need: Callable[..., None], tmp_path: Path) -> None:
    need(*TOOLS, "gcc")
    core = CORES[0]
    program, counter = build_core(exported, core, tmp_path / "firmware.elf"), build_counter(tmp_path / "icount.so")
    step = command("s", 0, 1, 0)
    script = command("l") + command("m") + step + command("m") + command("l") + command("m") + step + command("m")
    first, again = (run_core(program, core, script, counter)[1] for _ in range(2))
    assert first == again
    assert len(first) == 5
    assert first[1] - first[0] == first[3] - first[2] > 1_000_000
