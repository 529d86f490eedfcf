"""The demonstration, measuring, mistakes, and models and budgets that will not do, as a user types it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from edgelearn.cli.main import main
from edgelearn.device.board import list_boards, load_board
from edgelearn.runtime.model import BASE_MODEL
from edgelearn.runtime.rehearsed import RECORDINGS
from tests.cli.typed import ADDED, BED, TAKES, Cli

pytestmark = pytest.mark.usefixtures("home")


# -- demo


def test_demo_learns_within_the_budget_and_says_what_was_heard(own: Path, capfd: Any) -> None:
    code = main(["demo", "--json"])
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    summary, added = lines[-1], lines[-2]
    assert (summary["event"], added["event"]) == ("summary", "added")
    assert summary["words_expected"] == 28
    assert 0 < summary["words_heard"] <= summary["words_expected"]
    assert summary["words_heard"] + len(summary["missed"]) == summary["words_expected"]
    assert summary["false_alarms"] >= 0
    assert summary["word_added"] == added["word"] == "computer"
    assert 0 < summary["learn_seconds"] < 10
    assert summary["peak_bytes"] <= summary["budget_bytes"] == 262144
    assert added.keys() >= ADDED
    assert summary["passed"] == (code == 0)
    assert not own.exists()
    main(["demo", "--seed", "1"])
    shown = capfd.readouterr().out
    assert "memory of the device" in shown
    assert "learned 'computer' from 3 takes" in shown
    assert " of 28 words were heard" in shown.rstrip().splitlines()[-1]


# -- mistakes


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["add", "bed", "--from", BED], 2, "there is a word 'bed' already"),
        (["add", "a/b", "--from", BED], 2, "is no name for a word"),
        (["add", "x", "--from", "nowhere.wav"], 2, "cannot read nowhere.wav"),
        (["add", "x", "--takes", "0"], 2, "--takes is 0"),
        (["add", "x", "--from", BED, "--while-listening"], 2, "do not go together"),
        (["rename", "nope", "x"], 2, "there is no word 'nope'"),
        (["rename", "bed", "cat"], 2, "'cat' already"),
        (["remove", "nope"], 2, "there is no word 'nope'"),
        (["listen", "--input", "nowhere.wav"], 2, "cannot read nowhere.wav"),
        (["listen", "--input", "."], 2, "is a folder"),
        (["evaluate", "base", "--data", "nowhere"], 2, "nowhere is not a folder"),
        (["evaluate", "fewshot", "--data", ".", "--draws", "0"], 2, "--draws is 0"),
        (["evaluate", "fewshot", "--data", ".", "--seed", "-1"], 2, "--seed is -1"),
        (["profile", "--board", "nope"], 2, "no board 'nope'"),
        (["profile", "--plot", "x.nope"], 2, "cannot draw x.nope"),
        (["profile", "--hours", "3"], 2, "need a battery"),
        (["profile", "--battery", "0"], 2, "a battery of 0 Wh"),
        (["profile", "--battery", "1", "--hours", "25"], 2, "25 hours"),
        (["undo"], 4, "no generation before it"),
    ],
)
def test_mistakes(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(home)
    cli("words")
    assert message in cli(*argv, code=code).err


# -- exit codes of the model file and of the budget


@pytest.fixture
def bad_models(tmp_path: Path) -> dict[str, Path]:
    whole = BASE_MODEL.read_bytes()
    contents = {
        "missing": None,
        "empty": b"",
        "cut": whole[:5000],
        "damaged": whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:],
        "foreign": Path(BED).read_bytes(),
    }
    paths = {name: tmp_path / f"{name}.npz" for name in contents}
    for name, data in contents.items():
        if data is not None:
            paths[name].write_bytes(data)
    return paths | {"folder": tmp_path}


@pytest.mark.parametrize("kind", ["missing", "empty", "cut", "damaged", "foreign", "folder"])
@pytest.mark.parametrize(
    "argv",
    [
        ["words"], ["info"], ["rename", "bed", "x"], ["remove", "bed"], ["undo"], ["profile"], ["demo"],
        ["listen", "--input", BED], ["add", "x", "--from", BED],
    ],
    ids=lambda argv: argv[0],
)  # fmt: skip
def test_a_bad_model_is_exit_code_4_and_stays_as_it_is(
    cli: Cli, bad_models: dict[str, Path], kind: str, argv: list[str]
) -> None:
    path = bad_models[kind]
    before = path.read_bytes() if path.is_file() else None
    shown = cli(*argv, "--model", str(path), code=4)
    assert str(path) in shown.err
    assert len(shown.err.splitlines()) == 2  # what is wrong, and what to do
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("size", ["16KiB", "64KiB", "128KiB", "200KiB", "224KiB"])
def test_too_small_a_budget_is_exit_code_5_and_says_what_would_fit(cli: Cli, own: Path, size: str) -> None:
    for argv in (["profile"], ["listen", "--input", BED], ["demo"], ["add", "x", "--from", BED]):
        shown = cli(*argv, "--budget", size, code=5)
        assert "needs" in shown.err
        enough = shown.err.partition("--budget ")[2].partition(",")[0]
    cli("profile", "--budget", enough)
    before = own.read_bytes()
    cli("remove", "bed", "--budget", size, code=5)
    assert own.read_bytes() == before


# -- profile


@pytest.mark.parametrize("board", list_boards())
def test_profile_adds_up_on_every_board(cli: Cli, board: str) -> None:
    lines = cli("profile", "--board", board, "--json").lines
    summary = lines[-1]
    regions = [line for line in lines if line["event"] == "region"]
    assert summary["event"] == "summary"
    assert sum(line["size_bytes"] for line in regions) == summary["used_bytes"] == sum(summary["parts"].values())
    assert summary["used_bytes"] <= summary["peak_bytes"] <= summary["budget_bytes"]
    for what in ("speech_frame", "speech_second", "learned_word"):
        costs = [line for line in lines if line["event"] == "cost" and line["what"] == what]
        (total,) = (line for line in costs if line["part"] == "total")
        parts = [line for line in costs if line["part"] != "total"]
        assert sum(line["energy_mj"] for line in parts) == pytest.approx(total["energy_mj"])
        assert sum(line["cycles"] for line in parts) == pytest.approx(total["cycles"])
        assert 0 < total["energy_mj_low"] <= total["energy_mj"] <= total["energy_mj_high"]
        assert total["seconds"] > 0
        assert 0 < total["macs"] < total["macs_dense"]
    shown = cli("profile", "--board", board).out
    assert "a frame of speech" in shown
    assert "learning a word (40 updates)" in shown


def test_profile_of_a_larger_budget_has_a_longer_tape(cli: Cli) -> None:
    sizes = ("245KiB", "256KiB", "1MiB")
    frames = [cli("profile", "--budget", size, "--json").lines[-1]["tape_frames"] for size in sizes]
    assert frames == sorted(set(frames))
    assert frames[-1] == 64


def test_profile_draws(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert "drawn: " in cli("profile", "--plot", str(tmp_path / "p.svg")).err
    assert (tmp_path / "p.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")
    page = tmp_path / "report.html"
    cli("profile", "--plot", str(page), "--battery", "10", "--hours", "16")
    text = page.read_text(encoding="utf-8")
    titles = (
        "Memory against the budget",
        "Energy by part",
        "Computing time by part",
        "Delta thresholds",
        "Power over time",
    )
    assert text.count("<svg") == text.count("</svg>") == len(titles)
    assert all(f"<h2>{title}" in text for title in titles)
    assert all(load_board(name).title in text for name in list_boards())
    assert "a battery of 10 Wh" in text
    assert "tape.layer0.gates" in text
    # nothing is fetched from anywhere
    assert not re.findall(r"""(?:src|href)=["'](?!#)""", re.sub(r"xlink:href=\"#", "", text))
    assert cli("profile", "--plot", str(tmp_path / "no" / "x.html"), code=2).err.startswith("edgelearn")


def test_profile_plans_a_day_and_measures(cli: Cli) -> None:
    lines = cli("profile", "--battery", "10", "--hours", "12", "--words", "5", "--measure", "--json").lines
    of = {event: [line for line in lines if line["event"] == event] for event in {line["event"] for line in lines}}
    (battery,), day = of["battery"], of["day"]
    assert sum(line["seconds"] for line in day) == pytest.approx(86400)
    assert sum(line["energy_j"] for line in day) == pytest.approx(battery["energy_j"])
    assert battery["days"] == pytest.approx(36000 / battery["energy_j"])
    assert battery["days_low"] <= battery["days"] <= battery["days_high"]
    (chosen,) = (line for line in of["option"] if line["chosen"])
    summary = lines[-1]
    assert chosen["fits"]
    assert chosen["time_ratio"] == 1
    assert (chosen["tape_frames"], chosen["rehearsal_bytes"]) == (summary["tape_frames"], summary["rehearsal_bytes"])
    assert summary["listening_bytes"] == sum(line["size_bytes"] for line in of["region"] if line["listening"])
    assert summary["listening_bytes"] < summary["used_bytes"]
    assert [line["what"] for line in of["measured"]] == ["speech_second", "learned_word"]
    (machine,) = of["machine"]
    for line in of["measured"]:
        assert line["seconds"] > 0
        assert (line["energy_mj"] is None) == (machine["sensor"] is None)
    shown = cli("profile", "--battery", "10", "--measure").out
    assert "a battery of 10 Wh lasts" in shown
    assert "measured here" in shown
    if machine["sensor"] is None:
        assert "not measured: no power" in shown


def test_profile_without_matplotlib_says_what_to_install(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install 'edgelearn[plots]'" in cli("profile", "--plot", "x.png", code=1).err


# -- evaluate


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of shipped recordings: base words, takes of a novel word, and other words of the same speaker."""
    rows = ["path,dataset,word,speaker,split,seconds,novel"]
    for path in sorted(RECORDINGS.glob("*.wav")):
        word = path.name.partition("_")[0]
        mine = word in ("computer", "banana", "yellow", "window", "tomorrow")
        dataset, speaker = ("mine", "me") if mine else ("speech_commands", path.stem)
        rows.append(f"{path},{dataset},{word},{speaker},test,1.0,{'yes' if word == 'computer' else 'no'}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "data"


def test_evaluate_base(cli: Cli, data: Path) -> None:
    (result,) = cli("evaluate", "base", "--data", str(data), "--json").lines
    assert (result["event"], result["protocol"], result["n"], result["speakers"]) == ("result", "base", 10, 10)
    assert result["classes"] == 60
    assert 0 <= result["low95"] <= result["accuracy"] <= result["high95"] <= 1
    assert abs(result["accuracy"] - result["accuracy_float"]) <= 0.2
    shown = cli("evaluate", "base", "--data", str(data))
    assert "bed" in shown.out
    assert f"measuring {result['model']}\n" in shown.err
    (shipped,) = cli("evaluate", "base", "--data", str(data), "--model", str(BASE_MODEL), "--json").lines
    assert shipped["model"] == str(BASE_MODEL) != result["model"]
    assert "accuracy" in shown.err
    assert "no val clips" in cli("evaluate", "base", "--data", str(data), "--split", "val", code=2).err


def test_evaluate_fewshot(cli: Cli, data: Path) -> None:
    argv = ["evaluate", "fewshot", "--data", str(data), "--draws", "1", "--steps", "3"]
    lines = cli(*argv, "--json").lines
    assert [line["learner"] for line in lines] == ["prototype", "delta_rule", "ridge", "sparse_bptt"]
    for line in lines:
        assert (line["protocol"], line["dataset"], line["condition"]) == ("fewshot", "mine", "clean")
        assert line["model"].endswith("model.npz")
        assert line["across_speakers"] is False
        for metric in ("closed", "hit_at_1pct_fa", "hit_at_5pct_fa", "hit_auto", "fa_auto"):
            assert all(0 <= line[f"{metric}_k{shots}"] <= 1 for shots in (1, 3, 5))
        assert line["base_before"] is not None
        assert line["base_after"] is not None
        assert line["learn_seconds"] > 0
        assert line["peak_bytes"] <= line["budget_bytes"]
    shown = cli(*argv, "--learner", "prototype", "--condition", "hard")
    assert "closed_k1" in shown.out
    assert "no novel words of 'nope'" in cli(*argv, "--dataset", "nope", code=2).err
    assert "no takes to learn from" in cli(*argv, "--novel", "mine:banana", code=2).err


def test_words_of_ones_own_that_leave_no_room_for_those_of_the_data(cli: Cli, data: Path) -> None:
    for n in range(16):
        cli("add", f"word {n}", "--from", TAKES[n % 3], "--steps", "1", "--max-old-loss-percent", "100")
    argv = ["evaluate", "fewshot", "--data", str(data), "--draws", "1", "--learner", "prototype"]
    assert f"--model {BASE_MODEL}" in cli(*argv, code=5).err
    cli(*argv, "--model", str(BASE_MODEL))


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """A data folder of twelve people who say three words each, and a word that only one says."""
    rows = ["path,dataset,word,speaker,split,seconds,novel"]
    for person in range(12):
        take = RECORDINGS / f"computer_flite-slt_take{1 + person % 7}.wav"
        rows.append(f"{take},many,computer,p{person},test,1.0,yes")
        rows.append(f"{RECORDINGS / 'window_festival-slt.wav'},many,window,p{person},test,1.0,yes")
        rows.append(f"{RECORDINGS / 'banana_flite-slt.wav'},many,banana,p{person},test,1.0,no")
    rows.append(f"{RECORDINGS / 'yellow_flite-rms.wav'},few,yellow,p0,test,1.0,yes")
    (tmp_path / "crowd").mkdir()
    (tmp_path / "crowd" / "manifest.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "crowd"


def test_evaluate_fewshot_across_speakers(cli: Cli, crowd: Path) -> None:
    argv = ["evaluate", "fewshot", "--data", str(crowd), "--across-speakers", "--draws", "1", "--learner", "prototype"]
    words = ["--novel", "many:computer,many:window"]
    (line,) = cli(*argv, *words, "--json").lines
    assert (line["protocol"], line["dataset"], line["across_speakers"]) == ("fewshot", "many", True)
    for metric in ("closed", "hit_at_1pct_fa", "hit_at_5pct_fa", "hit_auto", "fa_auto"):
        assert all(0 <= line[f"{metric}_k{shots}"] <= 1 for shots in (1, 5))
        assert f"{metric}_k10" in line
        assert f"{metric}_k3" not in line
    assert line["closed_k1"] > 0.8
    assert line["n_k1"] == 2 * line["speakers_k1"]
    assert "closed_k10" in cli(*argv, *words, "--condition", "hard").out
    # without --novel it is four English words, which this folder does not have
    assert "no clip of 'speech_commands:no'" in cli(*argv, code=2).err
    shown = cli(*argv, "--novel", "few:yellow", code=2)
    assert "too few people of the test split say 'yellow'" in shown.err
    assert "no takes to learn from" in shown.err
    (line,) = cli(*argv, "--novel", "many:computer,few:yellow", "--dataset", "many", "--json").lines
    assert line["dataset"] == "many"
