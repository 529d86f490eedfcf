from __future__ import annotations

from pathlib import Path

import pytest

from edgelearn.actions.spec import CommandSpec, GpioSpec
from edgelearn.config import KEYS, default_model, load_settings, user_config_file
from edgelearn.device.configfile import key_lines
from edgelearn.errors import UsageError

# a home without settings, so that those of the person who runs the tests do not count
HOME = {"HOME": "/nowhere"}


def settings_file(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults() -> None:
    settings = load_settings(environ=HOME)
    assert settings.device.budget_bytes == 262144
    assert settings.device.board == "raspberry_pi_4"
    assert settings.audio.rate_hz == 0
    assert set(settings.origins) == set(KEYS)
    assert set(settings.origins.values()) == {"default"}


def test_flag_before_environment_before_file_before_default(tmp_path: Path) -> None:
    path = settings_file(tmp_path, "# mine\n[learning]\nsteps = 1\nseed = 1\n\n[audio]\ndevice = 3\n")
    environ = HOME | {"EDGELEARN_LEARNING_SEED": "2", "EDGELEARN_DEVICE_BUDGET": "1MiB"}
    settings = load_settings(path, {"device.budget": "2MiB", "audio.rate": None}, environ)
    assert {name: (settings.value(name), settings.origins[name]) for name in KEYS} | {
        "audio.device": ("3", f"file {path}:7"),
        "audio.rate": (0, "default"),
        "device.budget": (2 << 20, "flag --budget"),
        "learning.seed": (2, "environment EDGELEARN_LEARNING_SEED"),
        "learning.steps": (1, f"file {path}:3"),
    } == {name: (settings.value(name), settings.origins[name]) for name in KEYS}


def test_the_users_own_file_is_read_if_it_is_there(tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert load_settings(environ=environ).learning.seed == 0
    own = user_config_file(environ)
    own.parent.mkdir()
    own.write_text("learning.seed = 5")
    settings = load_settings(environ=environ)
    assert (settings.learning.seed, settings.origins["learning.seed"]) == (5, f"file {own}:1")


def test_xdg_folders() -> None:
    assert default_model({"HOME": "/h"}) == (Path("/h/.local/share/edgelearn/model.npz"), "default")
    assert default_model({"HOME": "/h", "XDG_DATA_HOME": "/d"})[0] == Path("/d/edgelearn/model.npz")
    assert default_model({"HOME": "/h", "XDG_DATA_HOME": "relative"})[0] == default_model({"HOME": "/h"})[0]
    assert default_model({"EDGELEARN_MODEL": "m.npz"}) == (Path("m.npz"), "environment EDGELEARN_MODEL")
    assert user_config_file({"HOME": "/h"}) == Path("/h/.config/edgelearn/config.toml")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[device]\nbudgt = 1\n", ":2: unknown key 'device.budgt'", "did you mean 'device.budget'?"),
        ("[devise]\nbudget = 1\n", ":1: unknown section 'devise'", "did you mean 'device'?"),
        ("\nsteps = 1\n", ":2: unknown key 'steps'", "did you mean 'learning.steps'?"),
        ("[audio]\nseed = 1\n", ":2: unknown key 'audio.seed'", "did you mean 'learning.seed'?"),
        ("[device.budget]\nx = 1\n", ":1: device.budget is {'x': 1}", "a size such as 256KiB"),
        ("[learning]\n\nsteps = 0\n", ":3: learning.steps is 0", "a whole number from 1 to 10000"),
        ("[learning]\nsteps = 1.5\n", ":2: learning.steps is 1.5", "a whole number from 1 to 10000"),
        ("[learning]\nsteps = '40'\n", ":2: learning.steps is '40'", "a whole number from 1 to 10000"),
        ("[learning]\nsteps = true\n", ":2: learning.steps is True", "a whole number from 1 to 10000"),
        ("decision.sensitivity = 1.1", ":1: decision.sensitivity is 1.1", "a number from 0 to 1"),
        ("[decision]\nsensitivity = nan", ":2: decision.sensitivity is nan", "a number from 0 to 1"),
        ("[device]\nbudget = 100", ":2: device.budget is 100", "from 4KiB to 1GiB"),
        ("[device]\nbudget = 'much'", ":2: device.budget is 'much'", "from 4KiB to 1GiB"),
        ("[device]\nboard = ''", ":2: device.board is ''", "a text that is not empty"),
        ("[device\n", "is not valid TOML", ""),
        ("[[device]]\nbudget = 1\n", ":1: 'device' is no table", "begin it with a line [device]"),
        ("[action.x]\n", ":1: unknown section 'action'", "did you mean 'actions'?"),
        ("[actions]\nlamp = 1\n", ":2: actions.lamp is 1", "such as [actions.lamp]"),
        ("[actions.'a b']\ndo = 'mqtt'\n", ":1: 'a b' is no name for an action", "letters, digits"),
        ("[actions.x]\nwords = ['a']\n", ":1: actions.x has no 'do'", "command, fifo, mqtt, gpio"),
        ("\n[actions.x]\ndo = 'mqqt'\n", ":3: actions.x.do is 'mqqt'", "did you mean 'mqtt'?"),
        ("[actions.x]\ndo = 'mqtt'\nhots = 'a'\n", ":3: unknown key 'actions.x.hots'", "did you mean 'host'?"),
        ("[actions.x]\ndo = 'mqtt'\nport = 0\n", ":3: actions.x.port is 0", "a whole number from 1 to 65535"),
        ("[actions.x]\ndo = 'mqtt'\nwords = 'a'\n", ":3: actions.x.words is 'a'", "a list of texts"),
        ("[actions.x]\ndo = 'mqtt'\nwords = ['a', '']\n", ":3: actions.x.words is ['a', '']", "a list of texts"),
        ("[actions.x]\ndo = 'fifo'\n", ":1: actions.x has no 'path'", "a text that is not empty"),
        ("[actions.x]\ndo = 'command'\n", ":1: actions.x has no 'command'", "a program with its arguments"),
        ("[actions.x]\ndo = 'command'\ncommand = \"it's\"\n", ":3: actions.x.command is", "such as"),
        (
            "[actions.x]\ndo = 'command'\ncommand = 'a'\ntimeout_s = 0\n",
            ":4: actions.x.timeout_s is 0",
            "a number from 0.1 to 3600",
        ),
        ("[actions.x]\ndo = 'gpio'\non = ['a']\n", ":1: actions.x has no 'pin'", "a number or a text"),
        ("[actions.x]\ndo = 'gpio'\npin = 4\n", ":1: actions.x waits for no word", "on, off, toggle, pulse"),
        ("[actions.x]\ndo = 'gpio'\npin = 4\nwords = ['a']\n", ":4: unknown key 'actions.x.words'", "known: "),
        (
            "[actions.x]\ndo = 'gpio'\npin = 4\non = ['a']\noff = ['b',\n'a']\n",
            ":5: actions.x does two things for 'a'",
            "a word has one effect",
        ),
        (
            "[actions.x]\ndo = 'gpio'\npin = 4\non = ['a']\nactive_low = 1\n",
            ":5: actions.x.active_low is 1",
            "true or false",
        ),
        # text and lists that look like tables and keys do not confuse the lines
        ("[audio]\ndevice = '''\n[learning]\nsteps = 0\n'''\nx = 1\n", ":6: unknown key 'audio.x'", ""),
    ],
)
def test_a_bad_file_names_line_value_and_remedy(tmp_path: Path, text: str, message: str, hint: str) -> None:
    path = settings_file(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        load_settings(path, environ=HOME)
    assert str(path) in caught.value.message
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_settings(tmp_path / "nowhere.toml", environ=HOME)


@pytest.mark.parametrize(
    ("environ", "message", "hint"),
    [
        (
            {"EDGELEARN_LEARNING_STEP": "4"},
            "setting 'EDGELEARN_LEARNING_STEP'",
            "mean 'EDGELEARN_LEARNING_STEPS'",
        ),
        ({"EDGELEARN_BUDGET": "8KiB"}, "setting 'EDGELEARN_BUDGET'", "mean 'EDGELEARN_DEVICE_BUDGET'"),
        ({"EDGELEARN_DECISON_SENSITIVITY": "0"}, "'EDGELEARN_DECISON_", "mean 'EDGELEARN_DECISION_SENSITIVITY'"),
        (
            {"EDGELEARN_AUDIO_RATE": "fast"},
            "environment EDGELEARN_AUDIO_RATE: audio.rate is 'fast'",
            "from 0 to 192000",
        ),
        ({"EDGELEARN_DECISION_SENSITIVITY": "2"}, "decision.sensitivity is '2'", "from 0 to 1"),
    ],
)
def test_a_bad_variable_is_named(environ: dict[str, str], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_settings(environ=HOME | environ)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_variables_that_are_no_settings_are_left_alone() -> None:
    others = dict.fromkeys(("EDGELEARN_DEBUG", "EDGELEARN_MODEL", "EDGELEARN_WORD", "EDGELEARN_SCORE"), "1")
    load_settings(environ=HOME | others | {"EDGELEARN_AUDIO_DEVICE": "", "EDGELEARNING_BUDGET": "8KiB"})


def test_a_bad_flag_is_named() -> None:
    with pytest.raises(UsageError, match=r"flag --steps: learning\.steps is 'x'"):
        load_settings(flags={"learning.steps": "x"}, environ=HOME)


def test_actions_are_read_with_their_defaults(tmp_path: Path) -> None:
    path = settings_file(
        tmp_path,
        "[actions.bell]\ndo = 'command'\ncommand = \"aplay 'my bell.wav'\"\n"
        "[actions.lamp]\ndo = 'gpio'\npin = 17\non = ['a', 'b']\npulse = ['c']\n",
    )
    settings = load_settings(path, environ=HOME)
    assert settings.actions == (
        CommandSpec(name="bell", words=(), command=("aplay", "my bell.wav"), timeout_s=10.0),
        GpioSpec(name="lamp", words=("a", "b", "c"), pin="17", on=("a", "b"), pulse=("c",)),
    )
    assert settings.value("actions.lamp.do") == "gpio"
    assert settings.value("actions.lamp.on") == ("a", "b")
    assert settings.origins["actions.lamp.on"] == f"file {path}:7"
    assert settings.origins["actions.lamp.off"] == "default"
    assert "actions.lamp.words" not in settings.origins


def test_lines_of_keys() -> None:
    text = (
        "a.b = 1 # x = 2\n\n[t]\nlist = [\n  'y = 1',\n  # [t.z]\n]\n"
        "'quoted key' = 3\n[t.u.v]\nlast = { w = 1 }\n[[many]]\nk = 1\n"
    )
    assert key_lines(text) == {
        "a": 1, "a.b": 1, "t": 3, "t.list": 4, "t.quoted key": 8, "t.u": 9, "t.u.v": 9, "t.u.v.last": 10,
        "t.u.v.last.w": 10, "many": 11, "many.k": 12,
    }  # fmt: skip
