from __future__ import annotations

import argparse
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from edgelearn import __version__
from edgelearn.cli import main as frame
from edgelearn.cli.main import main
from edgelearn.cli.verbs import VERBS, exists, load
from edgelearn.errors import AudioDeviceError, BudgetExceeded, EdgelearnError, ModelFileError, UsageError

HEAVY = {"numba", "scipy", "sounddevice", "torch", "soundfile", "matplotlib", "rich", "numpy"}


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for variable in [name for name in os.environ if name.startswith(("EDGELEARN_", "XDG_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def verb_that(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], int]], None]:
    """Let the verb `words` do something else."""

    def replace(action: Callable[[], int]) -> None:
        module = SimpleNamespace(HELP="", add_arguments=lambda _: None, run=lambda _: action())
        monkeypatch.setattr(frame, "load", lambda _: module)

    return replace


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, env=os.environ | environment, timeout=60
    )


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_nothing_heavy(argument: str) -> None:
    program = (
        "import sys; from edgelearn.cli.main import main; code = main([sys.argv[1]]);"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules})); sys.exit(code)"
    )
    done = run("-c", program, argument)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.rpartition("LOADED")[2].split())


def test_the_help_of_a_verb_imports_nothing_heavy() -> None:
    """Of all verbs in one process, which has then loaded what any of them does."""
    program = (
        "import sys; from edgelearn.cli.main import main; from edgelearn.cli.verbs import VERBS, exists;"
        "codes = [main([verb, '--help']) for verb in VERBS if exists(verb)];"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules})); sys.exit(max(codes))"
    )
    done = run("-c", program)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.rpartition("LOADED")[2].split())


def test_importing_the_package_imports_nothing_heavy() -> None:
    done = run("-c", "import edgelearn, sys; print(*{name.partition('.')[0] for name in sys.modules})")
    assert not HEAVY & set(done.stdout.split())


def test_help_lists_every_verb_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for verb, text in VERBS.items():
        assert f"  {verb} " in shown
        assert text in shown
    assert shown.count("(not there yet)") == sum(not exists(verb) for verb in VERBS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgelearn {__version__}\n"


def test_without_a_verb_it_shows_help_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "verbs:" in captured.err


@pytest.mark.parametrize("verb", [verb for verb in VERBS if exists(verb)])
def test_every_verb_has_help_and_the_common_options(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(option in shown for option in ("--model", "--config", "--json"))
    assert load(verb).HELP.split()[0] in shown


@pytest.mark.parametrize(
    ("argv", "message", "hint"),
    [
        (["lisen"], "no such command: 'lisen'", "did you mean 'listen'?"),
        (["zzz"], "no such command: 'zzz'", "known: add, "),
        (["--jsn"], "`edgelearn` does not know '--jsn'", "known: --help, --version, -h"),
        (["config", "show", "--jsn"], "`edgelearn config` does not know '--jsn'", "did you mean '--json'?"),
        (["config", "show", "--js"], "does not know '--js'", ""),
        (["config", "show", "--budgt=1"], "does not know '--budgt=1'", "did you mean '--budget'?"),
        (["config"], "the following arguments are required: action", "`edgelearn config --help`"),
        (["config", "shaw"], "invalid choice: 'shaw'", "`edgelearn config --help`"),
        (["config", "show", "--steps"], "argument --steps: expected one argument", ""),
        (["config", "show", "--steps", "x"], "flag --steps: learning.steps is 'x'", "from 1 to 10000"),
        (["devices", "extra"], "`edgelearn devices` does not know 'extra'", ""),
    ],
)
def test_usage_errors(argv: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("edgelearn: ")
    first, _, rest = captured.err.partition("\n")
    assert message in first
    assert hint in rest


def test_a_verb_that_is_planned_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(VERBS, "brew", "make coffee")
    assert main(["brew", "--last", "cup"]) == 2
    assert "`edgelearn brew` is not there yet in version" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "make coffee (not there yet)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (EdgelearnError("it failed", "do this"), 1),
        (UsageError("it failed", "do this"), 2),
        (AudioDeviceError("it failed", "do this"), 3),
        (ModelFileError("it failed", "do this"), 4),
        (BudgetExceeded("tape", 9000, 5, 10000, "do this"), 5),
    ],
)
def test_errors_become_a_message_a_hint_and_a_code(
    verb_that: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
    error: EdgelearnError,
    code: int,
) -> None:
    def fail() -> int:
        raise error

    verb_that(fail)
    assert main(["words"]) == code
    assert capsys.readouterr().err == f"edgelearn: {error.message}\n  do this\n"


def test_the_unexpected_is_one_message(
    verb_that: Callable[[Callable[[], int]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verb_that(lambda: 1 // 0)
    assert main(["words"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("edgelearn: unexpected ZeroDivisionError")
    assert "CONTRIBUTING.md" in shown
    assert "Traceback" not in shown
    monkeypatch.setenv("EDGELEARN_DEBUG", "1")
    assert main(["words"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_full_disk_is_no_bug(
    verb_that: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "model.npz")

    verb_that(fail)
    assert main(["words"]) == 1
    assert capsys.readouterr().err == "edgelearn: No space left on device: model.npz\n"


def test_ctrl_c_is_quiet(verb_that: Callable[[Callable[[], int]], None], capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt() -> int:
        raise KeyboardInterrupt

    verb_that(interrupt)
    assert main(["words"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_closed_pipe_is_quiet() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "edgelearn", "config", "show", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
    assert child.returncode == 0


def test_arguments_reach_the_verb(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[argparse.Namespace] = []

    def run_verb(args: argparse.Namespace) -> int:
        seen.append(args)
        return 7

    module = SimpleNamespace(HELP="", add_arguments=lambda p: p.add_argument("word"), run=run_verb)
    monkeypatch.setattr(frame, "load", lambda _: module)
    assert main(["remove", "tea", "--json", "--model", "m.npz"]) == 7
    assert (seen[0].verb, seen[0].word, seen[0].json, str(seen[0].model)) == ("remove", "tea", True, "m.npz")


def test_it_runs_as_a_module() -> None:
    done = run("-m", "edgelearn", "--version")
    assert done.stdout == f"edgelearn {__version__}\n"


def test_config_show_prints_value_and_origin(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGELEARN_LEARNING_SEED", "4")
    assert main(["config", "show", "--budget", "1MiB", "--json", "--model", "m.npz"]) == 0
    lines = {line["key"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert {line["event"] for line in lines.values()} == {"setting"}
    assert (lines["device.budget"]["value"], lines["device.budget"]["origin"]) == (1 << 20, "flag --budget")
    assert (lines["learning.seed"]["value"], lines["learning.seed"]["origin"]) == (
        4,
        "environment EDGELEARN_LEARNING_SEED",
    )
    assert (lines["model"]["value"], lines["model"]["origin"]) == ("m.npz", "flag --model")
    assert main(["config", "show", "--budget", "1MiB"]) == 0
    assert "device.budget                  1MiB" in capsys.readouterr().out


def test_devices_without_a_microphone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgelearn.audio.capture.list_inputs", list)
    assert main(["devices"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no microphone is connected" in captured.err


def test_devices_without_portaudio(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise AudioDeviceError("the package sounddevice is missing", "pip install sounddevice")

    monkeypatch.setattr("edgelearn.audio.capture.list_inputs", absent)
    assert main(["devices"]) == 3
    assert "sounddevice" in capsys.readouterr().err


def test_devices_are_listed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from edgelearn.audio.capture import InputDevice

    monkeypatch.setattr(
        "edgelearn.audio.capture.list_inputs", lambda: [InputDevice(3, "Webcam", "ALSA", 1, 48000, True)]
    )
    assert main(["devices"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["3", "Webcam", "ALSA", "1", "48000", "default"]
