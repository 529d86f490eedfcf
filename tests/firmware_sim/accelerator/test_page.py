"""docs/accelerator.md holds what its script prints."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest

from edgelearn.cli.arguments import Parser
from edgelearn.device.configfile import shipped
from firmware_sim.__main__ import main
from firmware_sim.verbs import accelerator

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "accelerator.md").read_text(encoding="utf-8")


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("accelerator_study", ROOT / "benchmarks" / "accelerator.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_study_is_what_the_script_prints() -> None:
    study = script()
    assert study.with_study(PAGE, study.render()) == PAGE, "type: python benchmarks/accelerator.py --write"


def test_the_published_figures_and_the_modelled_ones_are_on_the_page() -> None:
    for sparsity, cycles in script().PUBLISHED.items():
        for taken in cycles:
            assert f"| {sparsity:g} |" in PAGE
            assert f"| {taken:,} | {taken:,} | 0.00 % |" in PAGE


def test_the_commands_of_the_page_parse() -> None:
    commands = [line for line in PAGE.splitlines() if line.startswith("    python -m firmware_sim accelerator")]
    assert len(commands) >= 5
    for line in commands:
        parser = Parser(prog="accelerator")
        accelerator.add_arguments(parser)
        parser.parse_known_or_refuse(shlex.split(line, comments=True)[4:])
    for name in shipped("accelerators"):
        assert f"`{name}`" in PAGE


def test_every_json_field_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--products", "--size", "16", "16", "4", "--sparsity", "0.5"]
    for command in (small, ["--sparsity", "0.9"]):
        assert main(["accelerator", *command, "--json"]) == 0
    for line in capsys.readouterr().out.splitlines():
        for name in json.loads(line):
            assert re.search(rf"\b{name}\b", PAGE), name
