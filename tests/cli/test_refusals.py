"""What cannot be done is said in one message, with the exit code of its kind, and nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgelearn.cli import plot
from edgelearn.cli.main import main
from edgelearn.errors import UsageError
from edgelearn.runtime.control import client_folders
from edgelearn.runtime.model import BASE_MODEL, Word, load_model, save_model
from edgelearn.store.model_file import ModelFile, previous_path, write_model
from tests.cli.typed import TAKES, Cli

pytestmark = pytest.mark.usefixtures("home")

TOO_LONG = "x" * 300  # the one name that no user may look at, not even root


def test_a_model_that_nobody_may_look_at(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGELEARN_MODEL", str(home / TOO_LONG))
    assert "EDGELEARN_MODEL" in cli("words", code=4).err
    assert "File name too long" in cli("doctor", code=1).out


def test_data_and_settings_that_nobody_may_look_at(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cannot read" in cli("evaluate", "base", "--data", str(home / TOO_LONG), code=2).err
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / TOO_LONG))
    assert "cannot read" in cli("config", "show", code=2).err


def test_a_lost_model_is_told_by_doctor_as_by_all_others(cli: Cli, own: Path) -> None:
    cli("rename", "bed", "cot")
    own.unlink()
    assert "edgelearn undo" in cli("words", code=4).err
    (model,) = [line for line in cli("doctor", "--json", code=1).lines if line.get("name") == "model"]
    assert (model["status"], "edgelearn undo" in model["advice"]) == ("fail", True)
    cli("undo")
    cli("words")


def test_a_model_before_that_cannot_be_used_is_not_gone_back_to(cli: Cli, own: Path) -> None:
    cli("rename", "bed", "cot")
    file = load_model(own).to_file()
    file.manifest["words"][1]["name"] = file.manifest["words"][0]["name"]
    spoiled = own.with_name("spoiled.npz")
    write_model(spoiled, ModelFile(file.manifest, file.arrays))
    shutil.copy(spoiled, previous_path(own))
    before = own.read_bytes()
    assert "two words have the same name" in cli("undo", code=4).err
    assert own.read_bytes() == before


def test_what_a_word_is_not_follows_its_name_and_has_none_of_its_own(cli: Cli, own: Path) -> None:
    cli("rename", "bed", "cot")
    model = load_model(own)
    save_model(own, replace(model, words=(*model.words, Word("(not cot)", 0, 0, True, rejects="cot"))))
    assert "rename 'cot', and it follows" in cli("rename", "(not cot)", "banana", code=2).err
    cli("rename", "cot", "bed")
    assert "(not bed)" in cli("words").out


def test_a_picture_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "day.svg"
    plot.write_whole(picture, b"whole")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        plot.write_whole(picture, b"another")
    assert [path.name for path in tmp_path.iterdir()] == ["day.svg"]
    assert picture.read_text() == "whole"


def test_flags_that_are_no_sizes_and_no_seeds(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("path,dataset,word,speaker,split,seconds\n")
    refused = cli("evaluate", "incremental", "--data", str(tmp_path), "--rehearsal", "foo", "--models", "x", code=2)
    assert "a size such as 64KiB" in refused.err


def test_pretraining_looks_at_seed_and_place_before_hours_of_work(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="pip install 'edgelearn[pretrain]'")
    command = ("pretrain", "--data", str(tmp_path), "--out")
    assert "0 or more" in cli(*command, str(tmp_path / "m.npz"), "--seed", "-1", code=2).err
    assert "make it first" in cli(*command, str(tmp_path / "no" / "m.npz"), code=4).err
    (tmp_path / "text").write_text("precious")
    assert "is not an edgelearn model" in cli(*command, str(tmp_path / "text"), code=4).err


def test_export_names_a_budget_that_is_enough_for_firmware(cli: Cli, tmp_path: Path) -> None:
    command = ("export", "--format", "c", "--out", str(tmp_path / "c"), "--model", str(BASE_MODEL), "--budget")
    hints = [cli(*command, budget, code=5).err.rpartition("--budget ")[2].strip() for budget in ("200KiB", "245KiB")]
    assert hints[0] == hints[1]
    cli(*command, hints[0])


def test_a_closed_standard_error_is_no_other_place(
    capfd: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home
    monkeypatch.setattr(sys, "stderr", None)
    assert main(["rename", "nope", "x", "--json"]) == 2
    assert sys.stderr is not None
    sys.stderr.close()
    assert capfd.readouterr().out == ""


def test_a_demonstration_does_not_begin_with_a_model_that_knows_its_word(cli: Cli, own: Path) -> None:
    cli("rename", "bed", "computer")
    refused = cli("demo", "--model", str(own), code=2)
    assert ("leave --model out" in refused.err, refused.out) == (True, "")


def test_a_pipe_is_no_recording(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "--input -" in cli("listen", "--input", str(tmp_path / "pipe"), code=2).err


def test_a_session_is_looked_for_where_a_login_would_have_named() -> None:
    own = Path(f"/run/user/{os.geteuid()}")
    assert (own / "edgelearn" in client_folders({})) == own.is_dir()
    assert client_folders({"XDG_RUNTIME_DIR": "/somewhere"})[0] == Path("/somewhere/edgelearn")


@pytest.mark.parametrize("verb", [["words"], ["info"], ["rename", "bed", "cot"], ["remove", "bed"], ["undo"]])
def test_a_mistake_in_the_settings_is_told_by_every_verb(
    cli: Cli, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: list[str]
) -> None:
    cli("rename", "up", "high")
    before = own.read_bytes()
    assert "nowhere.toml" in cli(*verb, "--config", str(tmp_path / "nowhere.toml"), code=2).err
    (tmp_path / "odd.toml").write_text("[device]\nbudge = 1\n")
    assert "budge" in cli(*verb, "--config", str(tmp_path / "odd.toml"), code=2).err
    monkeypatch.setenv("EDGELEARN_FOO", "1")
    assert "EDGELEARN_FOO" in cli(*verb, code=2).err
    assert own.read_bytes() == before


def test_doctor_fails_where_listening_does(
    cli: Cli, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def statuses() -> dict[str, str]:
        capfd.readouterr()
        main(["doctor", "--json"])  # which may fail for what this machine lacks
        lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
        return {line["name"]: line["status"] for line in lines if "name" in line}

    monkeypatch.setenv("EDGELEARN_DEVICE_BUDGET", "64KiB")
    assert statuses()["start"] == "fail"
    monkeypatch.delenv("EDGELEARN_DEVICE_BUDGET")
    assert statuses()["start"] != "fail"
    monkeypatch.setenv("EDGELEARN_DEVICE_BOARD", "nope")
    assert statuses()["settings"] == "fail"
    monkeypatch.delenv("EDGELEARN_DEVICE_BOARD")
    monkeypatch.setattr("edgelearn.cli.checks.os.access", lambda *_: False)
    assert statuses()["model"] == "fail"  # the first use would write it
    cli("words")
    assert statuses()["model"] == "warn"


def test_there_is_nothing_to_undo_before_the_first_use(cli: Cli, own: Path, tmp_path: Path) -> None:
    shown = cli("undo", code=4).err
    assert f"there is no model file {own}" in shown
    assert "there is nothing to undo" in shown
    assert "there is no model file" in cli("undo", "--model", str(tmp_path / "none.npz"), code=4).err
    assert not list(tmp_path.glob("*none.npz*"))


def test_what_takes_a_change_back_names_a_model_that_is_not_ones_own(cli: Cli, tmp_path: Path) -> None:
    other = tmp_path / "an other.npz"
    shutil.copy(BASE_MODEL, other)
    assert f"`edgelearn undo --model '{other}'`" in cli("add", "computer", "--from", *TAKES, "--model", str(other)).out
    assert f"`edgelearn undo --model '{other}'`" in cli("remove", "bed", "--model", str(other)).err
    assert "`edgelearn undo` brings" in cli("remove", "bed").err


def test_names_are_letters_of_any_script_in_one_form(cli: Cli) -> None:
    cli("rename", "bed", "नमस्ते")
    cli("rename", "up", "ไม่")
    cli("rename", "go", "cafe\u0301")
    listed = [line["word"] for line in cli("words", "--json").lines]
    assert {"नमस्ते", "ไม่", "caf\u00e9"} <= set(listed)
    cli("remove", "cafe\u0301")
    assert "is no name for a word" in cli("rename", "one", "a/b", code=2).err
