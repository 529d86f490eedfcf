"""`python -m firmware_sim accelerator`: what it prints, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgelearn.runtime.model import BASE_MODEL
from firmware_sim.__main__ import main
from firmware_sim.accelerator.report import MEANINGS
from firmware_sim.accelerator.step import KINDS, PHASES

TAKE = str(BASE_MODEL.parent / "demo" / "computer_flite-slt_take1.wav")
SMALL = ["--products", "--size", "32", "48", "12", "--sparsity", "0.75", "--pes", "8"]


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_products(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accelerator", *SMALL, "--json"]) == 0
    found = lines(capsys)
    assert [(line["v"], line["event"], line["product"]) for line in found] == [
        (1, "product", "M += W d"),
        (1, "product", "W^T CM"),
        (1, "product", "CM (x) d"),
    ]
    pairs = 32 * 12 // 4 * 6
    assert found[0]["cycles"] == pairs + 13 * 12 + 13
    assert found[0]["ideal_cycles"] == pairs
    assert found[1]["cycles"] == pairs + 28 * 11 + 8 + 29
    assert main(["accelerator", *SMALL]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].endswith("here 8 PEs")
    assert f"{found[0]['cycles']:,}" in table[-1]


def test_a_learning_step_sums_to_its_total(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accelerator", "--utterance", TAKE, "--json"]) == 0
    *parts, step = lines(capsys)
    assert [part["kind"] for part in parts] == list(KINDS) == list(MEANINGS)
    for part in parts:
        assert sum(int(str(part[phase])) for phase in PHASES) == part["cycles"]
    assert sum(int(str(part["cycles"])) for part in parts) == step["cycles"]
    assert sum(int(str(part["cycles_dense"])) for part in parts) == step["cycles_dense"]
    assert sum(float(str(part["lost"])) for part in parts) == pytest.approx(step["lost"])
    assert main(["accelerator", "--utterance", TAKE]) == 0
    *_, total, summary = capsys.readouterr().out.splitlines()
    assert total.split()[0] == "total"
    assert f"{step['cycles']:,}" in total
    assert f"{step['speed_up']:.2f} times faster" in summary


def test_random_masks_of_several_sparsities(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["accelerator", "--sparsity", "0.5", "--sparsity", "0.9", "--config", "reneta_rtl", "--json"]
    assert main(command) == 0
    steps = [line for line in lines(capsys) if line["event"] == "step"]
    assert [line["sparsity"] for line in steps] == pytest.approx([0.5, 0.9], abs=0.001)
    assert float(str(steps[0]["speed_up"])) < 2 < float(str(steps[1]["speed_up"])) < 10


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["accelerator"], 2, "what is to be learned"),
        (["accelerator", "--products", "--utterance", "x.wav"], 2, "random masks only"),
        (["accelerator", "--products", "--size", "0", "4", "4"], 2, "--size 0 4 4"),
        (["accelerator", "--sparsity", "0.5", "--size", "8", "4", "4"], 2, "--size is of --products"),
        (["accelerator", "--sparsity", "1.5"], 2, "is not in 0 to 1"),
        (["accelerator", "--sparsity", "many"], 2, "invalid float value"),
        (["accelerator", "--utterance", "nowhere.wav"], 2, "nowhere.wav"),
        (["accelerator", "--config", "renta_rtl", "--products"], 2, "did you mean 'reneta_rtl'"),
        (["accelerator", "--pes", "0", "--products"], 2, "cannot be"),
        (["accelerator", "--sparsity", "0.5", "--model", "nowhere.npz"], 4, "nowhere.npz"),
        (["accelerator", "--confg", "x"], 2, "did you mean '--config'"),
        (["acelerator"], 2, "accelerator"),
        ([], 2, "VERB"),
    ],
)
def test_mistakes_are_one_message_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], argv: list[str], code: int, message: str
) -> None:
    assert main(argv) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("firmware_sim: ")
    assert message in printed.err
    assert len(printed.err.splitlines()) <= 2


def test_help_and_the_module_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--help"], ["accelerator", "--help"]):
        assert main(argv) == 0
        assert "accelerator" in capsys.readouterr().out
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-m", "firmware_sim", "--help"], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
