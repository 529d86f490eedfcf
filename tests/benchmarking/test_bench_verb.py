"""`edgelearn bench` prints the lines of the contract, and says what is missing."""

from __future__ import annotations

import json

import pytest

from edgelearn.benchmarking import peers
from edgelearn.cli.main import main


@pytest.fixture(autouse=True)
def _own_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))


def test_without_peers_it_measures_itself(monkeypatch, capsys):
    monkeypatch.setattr(peers, "missing", lambda name: [name])
    assert main(["bench", "--json", "--seconds", "0.01"]) == 0
    captured = capsys.readouterr()
    lines = [json.loads(line) for line in captured.out.splitlines()]
    names = {line["name"] for line in lines}
    assert {"sparse_speedup_s50", "sparse_speedup_s80", "sparse_speedup_s90", "peak_share"} <= names
    assert "frontend_vs_python_speech_features" in names
    assert not any("torch" in name or "onnx" in name for name in names)
    for line in lines:
        assert {"value", "unit", "peer", "ratio", "machine", "versions", "date"} <= line.keys()
    assert captured.err.count("pip install 'edgelearn[bench]'") == 2


@pytest.mark.slow
def test_against_both_peers_it_has_every_line_of_the_contract(capsys):
    pytest.importorskip("torch")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    assert main(["bench", "--json", "--seconds", "0.01"]) == 0
    names = {json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()}
    assert {
        "frame_vs_onnxruntime", "frame_vs_torch", "sequence_vs_torch_dense", "sequence_vs_torch_s80",
        "learn_vs_torch_dense", "learn_vs_torch_s80",
    } <= names  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "message"),
    [(["--compare", "tensorflow"], "no peer 'tensorflow'"), (["--seconds", "0"], "--seconds is 0")],
)
def test_usage_errors(argv, message, capsys):
    assert main(["bench", *argv]) == 2
    assert message in capsys.readouterr().err
