"""Teaching from what was just heard, as a user types it; words that sound alike; the protocols over long sound."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgelearn.audio.datasets import read_manifest
from edgelearn.runtime.incremental import plan_course
from edgelearn.runtime.model import BASE_MODEL, load_model, save_model
from tests.cli.typed import ADDED, BED, NEW_WORD, TAKES, Cli, add, words
from tests.runtime.folders import course_data, stream_data, trained, without_thresholds

pytestmark = pytest.mark.usefixtures("home")
LESSON = ["--steps", "4", "--max-old-loss-percent", "100", "--json"]


def last_of(own: Path) -> Path:
    return own.with_name("model.npz.last")


def test_a_miss_becomes_a_take(cli: Cli, own: Path) -> None:
    assert words(cli("listen", "--input", NEW_WORD, "--json", "--sensitivity", "0").lines) == []
    add(cli)
    assert stat.S_IMODE(last_of(own).stat().st_mode) == 0o600
    (line,) = cli("confirm", "--last", "computer", *LESSON).lines
    assert line["event"] == "added"
    assert line.keys() >= ADDED
    assert (line["word"], line["takes"], line["updates"], line["heard"]) == ("computer", 1, 4, None)
    assert line["age_s"] >= 0
    (word,) = [w for w in cli("words", "--json").lines if w["word"] == "computer"]
    assert word["takes"] == 4
    # once is enough
    assert "none was anything else" in cli("confirm", "--last", "computer", *LESSON, code=2).err
    cli("undo")
    (word,) = [w for w in cli("words", "--json").lines if w["word"] == "computer"]
    assert word["takes"] == 3


def test_a_false_alarm_is_not_heard_again(cli: Cli) -> None:
    heard = words(cli("listen", "--input", BED, "--json", "--sensitivity", "1").lines)
    assert len(heard) == 1
    assert f"learned from a false alarm what {heard[0]['word']!r} is not" in cli("reject", "--last", *LESSON[:-1]).out
    cli("undo")
    assert len(words(cli("listen", "--input", BED, "--json", "--sensitivity", "1").lines)) == 1
    (line,) = cli("reject", "--last", *LESSON).lines
    assert (line["event"], line["word"], line["heard"]) == ("added", heard[0]["word"], heard[0]["word"])
    assert words(cli("listen", "--input", BED, "--json", "--sensitivity", "1").lines) == []
    rejecting = [w for w in cli("words", "--json").lines if w["rejects"]]
    assert [(w["word"], w["rejects"]) for w in rejecting] == [(f"(not {line['word']})", line["word"])]
    assert "none was heard as a word" in cli("reject", "--last", *LESSON, code=2).err
    cli("undo")
    assert words(cli("listen", "--input", BED, "--json", "--sensitivity", "1").lines) == heard


def test_lessons_go_by_the_names_of_now(cli: Cli, own: Path) -> None:
    """Without a session as within one: the file follows the words."""
    listen = ["listen", "--input", BED, "--json", "--sensitivity", "1"]
    (heard,) = words(cli(*listen).lines)
    cli("rename", heard["word"], "cot")
    assert "none was anything else than 'cot'" in cli("confirm", "--last", "cot", *LESSON, code=2).err
    cli("undo")
    assert "'cot', is no word any more" in cli("reject", "--last", *LESSON, code=2).err
    cli(*listen)
    cli("rename", heard["word"], "cot")
    (line,) = cli("reject", "--last", *LESSON).lines
    assert (line["word"], line["heard"]) == ("cot", "cot")
    cli("undo")
    cli(*listen)
    cli("remove", "cot")
    cli("rename", "cat", "cot")  # another word that is called so is not what was heard
    before = own.read_bytes()
    for argv in (["reject", "--last"], ["confirm", "--last", "down"]):
        assert "'cot', is no word any more" in cli(*argv, *LESSON, code=2).err
    assert own.read_bytes() == before


def test_lessons_without_anything_to_learn_from(cli: Cli, own: Path) -> None:
    assert "of the last 0 utterances" in cli("confirm", "--last", "bed", code=2).err
    assert "of the last 0 utterances" in cli("reject", "--last", code=2).err
    assert "there is no word 'nope'" in cli("confirm", "--last", "nope", code=2).err
    assert "--last" in cli("reject", code=2).err
    last_of(own).write_text("{}")
    assert "is damaged" in cli("reject", "--last", code=2).err


def test_an_utterance_that_is_no_such_word_is_refused(cli: Cli, own: Path) -> None:
    cli("listen", "--input", NEW_WORD, "--json", "--sensitivity", "0")
    before = own.read_bytes()
    assert "is unlike 'go'" in cli("confirm", "--last", "go", *LESSON, code=1).err
    assert own.read_bytes() == before


def test_listening_goes_on_where_nothing_can_be_kept(cli: Cli, own: Path) -> None:
    cli("words")
    last_of(own).mkdir()
    shown = cli("listen", "--input", BED, "--sensitivity", "1", "--json")
    assert len(words(shown.lines)) == 1
    assert shown.err.count("cannot keep the last utterances") == 1
    place = BASE_MODEL.with_name(BASE_MODEL.name + ".last")
    cli("listen", "--input", BED, "--model", str(BASE_MODEL))
    assert not place.exists()


def test_a_word_close_to_an_old_one_is_named(cli: Cli) -> None:
    assert "sounds like" not in add(cli).err
    shown = cli("add", "kompjuter", "--from", *TAKES, *LESSON)
    assert "'kompjuter' sounds like 'computer' (" in shown.err
    (line,) = shown.lines
    assert line["confusable"][0]["word"] == "computer"
    assert line["confusable"][0]["score"] > 0.9


def test_protocols_refuse_what_they_cannot_measure(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "path,dataset,word,speaker,split,novel,seconds\n" + f"{BED},d,bed,s,test,yes,1\n{BED},d,,s,test,no,1\n"
    )
    data = ["--data", str(tmp_path)]
    assert "nobody with more than 5 takes" in cli("evaluate", "stream", *data, code=2).err
    assert "no novel words of 'x'" in cli("evaluate", "stream", *data, "--dataset", "x", code=2).err
    assert "training clips of 0 words" in cli("evaluate", "incremental", *data, code=2).err
    for option in ("--workers", "--float-epochs", "--delta-epochs"):
        assert f"{option} is 0" in cli("evaluate", "incremental", *data, option, "0", code=2).err


def test_evaluate_stream(cli: Cli, tmp_path: Path) -> None:
    argv = ["evaluate", "stream", "--data", str(stream_data(tmp_path)), "--steps", "4"]
    lines = cli(*argv, "--json").lines
    assert len(lines) == 4
    wanted = {"miss_rate", "false_accepts_per_hour", "false_accepts_per_hour_upper95", "latency_ms_median", "hours"}
    wanted.add("model")
    assert all(line.keys() >= wanted for line in lines)
    assert {(line["event"], line["protocol"], line["dataset"], line["shots"]) for line in lines} == {
        ("result", "stream", "mine", 5)
    }
    shown = cli(*argv)
    assert len(shown.out.splitlines()) == 5
    assert "missed % at 1/h" in shown.out


def test_evaluate_incremental(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    data = course_data(tmp_path / "data")
    argv = ["evaluate", "incremental", "--data", str(data), "--rehearsal", "4KiB"]
    assert "--models" in cli(*argv, code=2).err
    clips, shipped = read_manifest(data), load_model(BASE_MODEL)
    course = plan_course(clips, 0)
    base = trained(shipped, clips, course.base)
    for name, model in {
        "base": base, "dense": without_thresholds(base), "joint": trained(shipped, clips, course.words)
    }.items():  # fmt: skip
        save_model(tmp_path / f"{name}.npz", model)
    lines = cli(*argv, "--models", str(tmp_path), "--json").lines
    arms = [("shipped", "sparse_bptt"), ("zero", "sparse_bptt")]
    arms += [("shipped", learner) for learner in ("directions", "sweeps", "prototype")]
    assert [(line["thresholds"], line["learner"]) for line in lines] == [arm for arm in arms for _ in range(6)]
    assert {line["rehearsal_bytes"] for line in lines} == {4096}
    wanted = {"step", "classes", "accuracy", "accuracy_joint", "macs", "macs_dense", "memory_accesses"}
    assert all(line.keys() >= {*wanted, "memory_accesses_dense"} for line in lines)
    assert [line["accuracy_joint"] for line in lines[:6]] == [line["accuracy_joint"] for line in lines[6:12]]
    # a course of another seed starts from other words
    assert "not trained on the words" in cli(*argv, "--models", str(tmp_path), "--seed", "1", code=2).err
