"""Every verb that needs a model, as a user types it: what it prints, its exit codes, and what it leaves on the disk."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgelearn.audio.clips import read_clip
from edgelearn.cli.action import Action
from edgelearn.cli.main import main
from edgelearn.device.board import list_boards
from edgelearn.errors import LearningRejected
from edgelearn.runtime.model import BASE_MODEL
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.voice import VoiceDevice

TAKES = [str(RECORDINGS / f"computer_flite-slt_take{n}.wav") for n in (1, 2, 3)]
BED = str(RECORDINGS / "bed_flite-slt.wav")
NEW_WORD = str(RECORDINGS / "computer_flite-slt_take5.wav")
LEARN = ["--steps", "10", "--max-old-loss-percent", "100"]
ADDED = {
    "word", "takes", "seconds", "updates", "sparsity", "macs", "macs_dense", "energy_mj", "peak_bytes", "budget_bytes",
    "old_words_before", "old_words_after",
}  # fmt: skip


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for variable in [name for name in os.environ if name.startswith(("EDGELEARN_", "XDG_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def own(home: Path) -> Path:
    return home / ".local/share/edgelearn/model.npz"


Cli = Callable[..., SimpleNamespace]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    def run(*argv: str, code: int = 0) -> SimpleNamespace:
        capfd.readouterr()
        assert main(list(argv)) == code, capfd.readouterr().err
        shown = capfd.readouterr()
        assert "Traceback" not in shown.err
        lines = [json.loads(line) for line in shown.out.splitlines()] if "--json" in argv else []
        assert all(line["v"] == 1 for line in lines)
        return SimpleNamespace(out=shown.out, err=shown.err, lines=lines)

    return run


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    def replace(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return replace


def add(cli: Cli, *more: str, word: str = "computer", code: int = 0) -> SimpleNamespace:
    return cli("add", word, "--from", *TAKES, *LEARN, *more, code=code)


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


# -- listen


def words(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "word"]


def test_listen_to_a_file_and_to_the_same_samples_on_stdin(cli: Cli, stdin: Callable[[bytes], None]) -> None:
    from_file = cli("listen", "--input", BED, "--json", "--sensitivity", "1").lines
    stdin(read_clip(BED).astype("<i2").tobytes())
    from_stdin = cli("listen", "--input", "-", "--json", "--sensitivity", "1").lines
    assert words(from_file) == words(from_stdin)
    (word,) = words(from_file)
    assert word.keys() >= {"word", "score", "start_s", "end_s", "latency_ms", "sparsity"}
    assert [line["event"] for line in from_file] == ["word", "end"]
    end = from_file[-1]
    assert end.keys() >= {"frames", "overruns", "realtime_factor", "energy_mj"}
    assert end["frames"] == (len(read_clip(BED)) - 512) // 320 + 1
    assert {**end, "realtime_factor": 0} == {**from_stdin[-1], "realtime_factor": 0}
    shown = cli("listen", "--input", BED, "--sensitivity", "1")
    assert word["word"] in shown.out
    assert "real-time factor" in shown.err


@pytest.mark.parametrize("data", [b"", b"a", b"abc"])
def test_listen_to_next_to_nothing(cli: Cli, stdin: Callable[[bytes], None], data: bytes) -> None:
    stdin(data)
    (end,) = cli("listen", "--input", "-", "--json").lines
    assert (end["event"], end["frames"]) == ("end", 0)
    assert end["seconds"] < 0.001


def test_listen_drops_half_a_sample(cli: Cli, stdin: Callable[[bytes], None]) -> None:
    data = read_clip(BED).astype("<i2").tobytes()
    results = []
    for tail in (b"", b"\x01"):
        stdin(data + tail)
        results.append(words(cli("listen", "--input", "-", "--json", "--sensitivity", "1").lines))
    assert results[0] == results[1] != []


def test_listen_without_stdin(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert "stdin, which is closed" in cli("listen", "--input", "-", code=2).err


def test_listen_does_not_write_the_model(cli: Cli, own: Path) -> None:
    cli("words")
    before = own.read_bytes(), own.stat().st_mtime_ns
    cli("listen", "--input", BED)
    assert (own.read_bytes(), own.stat().st_mtime_ns) == before
    assert not own.with_name("model.npz.prev").exists()


def test_ctrl_c_ends_listening_with_its_summary(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(io.BytesIO):
        def read1(self, size: int | None = -1) -> bytes:
            if self.tell() > 10000:
                raise KeyboardInterrupt
            return super().read1(size)

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=Interrupted(read_clip(BED).astype("<i2").tobytes())))
    lines = cli("listen", "--input", "-", "--json").lines
    assert lines[-1]["event"] == "end"
    assert 0 < lines[-1]["seconds"] < 0.5


@pytest.mark.parametrize("argv", [["listen"], ["add", "x"], ["listen", "--device", "nope"]])
def test_without_a_microphone(cli: Cli, monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    from edgelearn.audio import capture

    monkeypatch.setattr(capture, "list_inputs", list)
    shown = cli(*argv, code=3)
    assert "no microphone is connected" in shown.err
    assert "say 'x'" not in shown.err


def test_a_gap_in_the_sound_is_counted_and_told_to_the_recognizer(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgelearn.audio import capture

    class Dropping:
        def __init__(self, *_: object) -> None:
            self.overruns = 0

        def __enter__(self) -> Dropping:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def __iter__(self) -> Any:
            sound = read_clip(BED)
            yield sound[:3200]
            self.overruns = 2
            yield sound[3200:]

    monkeypatch.setattr(capture, "Microphone", Dropping)
    shown = cli("listen", "--json", "--sensitivity", "1")
    assert shown.lines[-1]["overruns"] == 2
    assert "listening for bed, cat" in shown.err


# -- --exec


def event(word: str = "bed") -> Event:
    return Event(word, 0.5, 0.0, 0.3, 240.0, 0.7)


PRINT = f"{sys.executable} -c \"import os,sys; print(os.environ['EDGELEARN_WORD'], sys.stdin.read())\""


def test_a_command_runs_for_each_word_and_prints_to_stderr(cli: Cli) -> None:
    shown = cli("listen", "--input", BED, "--json", "--sensitivity", "1", "--exec", PRINT)
    (word,) = words(shown.lines)
    assert f"{word['word']} \n" in shown.err  # its stdin is empty: the samples are not its to read


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("false", "false ended with exit code 1"),
        ("/no/such/program", "cannot run /no/such/program: No such file"),
        ("/tmp", "cannot run /tmp: Permission denied"),
        ("", ""),
    ],
)
def test_a_command_that_fails_harms_nothing(cli: Cli, command: str, message: str) -> None:
    shown = cli("listen", "--input", BED, "--json", "--sensitivity", "1", "--exec", command)
    assert [line["event"] for line in shown.lines] == ["word", "end"]
    assert message in shown.err


def test_a_command_that_cannot_be_split(cli: Cli, own: Path) -> None:
    assert "No closing quotation" in cli("listen", "--input", BED, "--exec", "it's", code=2).err
    assert not own.exists()


def test_live_sound_does_not_wait_for_a_command_and_a_file_does(tmp_path: Path, capfd: Any) -> None:
    log = tmp_path / "log"
    script = f"sh -c 'echo start $EDGELEARN_WORD >> {log}; sleep 0.2; echo end >> {log}'"
    for patient, expected in ((False, ["start bed", "end"]), (True, ["start bed", "end", "start cat", "end"])):
        log.write_text("")
        action = Action(script, patient)
        action(event("bed"))
        action(event("cat"))
        action.wait()
        assert log.read_text().splitlines() == expected
    assert "still running: not started again for 'cat'" in capfd.readouterr().err


# -- add, words, rename, remove, undo, info


def test_a_word_is_added_heard_renamed_removed_and_brought_back(cli: Cli) -> None:
    (added,) = add(cli, "--json").lines
    assert added.keys() >= ADDED | {"v", "event"}
    assert (added["event"], added["word"], added["takes"], added["updates"]) == ("added", "computer", 3, 10)
    assert 0 < added["macs"] < added["macs_dense"]
    assert added["peak_bytes"] <= added["budget_bytes"]
    assert [word["word"] for word in words(cli("listen", "--input", NEW_WORD, "--json").lines)] == ["computer"]
    listed = {line["word"]: line for line in cli("words", "--json").lines}
    assert listed["computer"]["taught"]
    assert listed["computer"]["takes"] == 3
    assert not listed["bed"]["taught"]
    assert "taught" in cli("words").out
    cli("rename", "computer", "the box")
    assert [word["word"] for word in words(cli("listen", "--input", NEW_WORD, "--json").lines)] == ["the box"]
    (info,) = cli("info", "--json").lines
    assert info["history"] == ["add computer: 3 takes, 10 updates", "rename computer the box"]
    assert (info["taught_words"], info["base_classes"], info["generation"]) == (1, 60, 3)
    assert "rename computer the box" in cli("info").out
    assert cli("remove", "the box", "--json").lines[0]["word"] == "the box"
    assert words(cli("listen", "--input", NEW_WORD, "--json").lines) == []
    (undone,) = cli("undo", "--json").lines
    assert "the box" in undone["words"]
    assert undone["last_change"] == "rename computer the box"
    assert [word["word"] for word in words(cli("listen", "--input", NEW_WORD, "--json").lines)] == ["the box"]
    assert "back to:" in cli("undo").err


def test_adding_in_words_for_people(cli: Cli) -> None:
    shown = add(cli)
    assert "learned 'computer' from 3 takes: 10 updates" in shown.out
    assert "`edgelearn undo` takes it back" in shown.out


@pytest.fixture
def refused(tmp_path: Path) -> dict[str, list[str]]:
    """Files that are no takes, by the reason."""
    from scipy.io import wavfile

    rng = np.random.default_rng(0)
    clip = read_clip(TAKES[0]).astype(np.float64)
    sounds = {
        "is too quiet": clip * 0.01,
        "is clipped": np.clip(clip * 100, -32768, 32767),
        "no speech above its noise": rng.normal(0, 2000, 16000),
    }
    files = {}
    for number, (reason, sound) in enumerate(sounds.items()):
        path = tmp_path / f"{number}.wav"
        wavfile.write(path, 16000, sound.astype(np.int16))
        files[reason] = [str(path)]
    return files | {"is unlike the other": [*TAKES, BED]}


@pytest.mark.parametrize(
    "reason", ["is too quiet", "is clipped", "no speech above its noise", "is unlike the other"]
)
def test_takes_that_will_not_do_change_nothing(
    cli: Cli, own: Path, refused: dict[str, list[str]], reason: str
) -> None:
    add(cli, word="first")
    before = {path.name: path.read_bytes() for path in own.parent.iterdir()}
    shown = cli("add", "computer", "--from", *refused[reason], *LEARN, code=1)
    assert reason in shown.err
    assert shown.out == ""
    assert {path.name: path.read_bytes() for path in own.parent.iterdir()} == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, LearningRejected("costs too much", "speak up")])
def test_an_addition_that_does_not_come_to_its_end_changes_nothing(
    cli: Cli, own: Path, monkeypatch: pytest.MonkeyPatch, error: Any
) -> None:
    cli("words")
    before = own.read_bytes()
    real = VoiceDevice.teach

    def teach(self: VoiceDevice, *args: Any) -> Any:
        lesson = real(self, *args)
        for _ in range(5):
            yield next(lesson)
        raise error

    monkeypatch.setattr(VoiceDevice, "teach", teach)
    add(cli, code=130 if error is KeyboardInterrupt else 1)
    assert own.read_bytes() == before
    assert not own.with_name("model.npz.prev").exists()


def test_two_programs_that_change_the_model_do_not_lose_each_others_changes(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = VoiceDevice.remove

    def remove(self: VoiceDevice, name: str) -> None:
        real(self, name)
        monkeypatch.setattr(VoiceDevice, "remove", real)
        assert main(["rename", "cat", "feline"]) == 0  # the other program

    monkeypatch.setattr(VoiceDevice, "remove", remove)
    shown = cli("remove", "bed", code=4)
    assert "changed by another program" in shown.err
    names = [line["word"] for line in cli("words", "--json").lines]
    assert "feline" in names
    assert "bed" in names
    cli("remove", "bed")


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
    sizes = ("232KiB", "256KiB", "1MiB")
    frames = [cli("profile", "--budget", size, "--json").lines[-1]["tape_frames"] for size in sizes]
    assert frames == sorted(set(frames))
    assert frames[-1] == 64


def test_profile_draws(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert "drawn: " in cli("profile", "--plot", str(tmp_path / "p.svg")).err
    assert (tmp_path / "p.svg").read_text(encoding="utf-8").rstrip().endswith("</svg>")


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
    assert 0 <= result["low95"] <= result["accuracy"] <= result["high95"] <= 1
    assert abs(result["accuracy"] - result["accuracy_float"]) <= 0.2
    shown = cli("evaluate", "base", "--data", str(data))
    assert "bed" in shown.out
    assert "accuracy" in shown.err
    assert "no val clips" in cli("evaluate", "base", "--data", str(data), "--split", "val", code=2).err


def test_evaluate_fewshot(cli: Cli, data: Path) -> None:
    argv = ["evaluate", "fewshot", "--data", str(data), "--draws", "1", "--steps", "3"]
    lines = cli(*argv, "--json").lines
    assert [line["learner"] for line in lines] == ["prototype", "delta_rule", "sparse_bptt"]
    for line in lines:
        assert (line["protocol"], line["dataset"], line["condition"]) == ("fewshot", "mine", "clean")
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


def test_protocols_to_come_say_so(cli: Cli, data: Path) -> None:
    for protocol in ("incremental", "stream"):
        cli("evaluate", protocol, "--data", str(data), code=2)
