"""The verbs `service` and `config`, and what `listen` makes of [actions]."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from edgelearn.cli.verbs import service
from tests.cli.typed import BED, Cli, words

pytestmark = pytest.mark.usefixtures("home")

# -- service


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A systemctl that writes down what it is asked, in front of the PATH; units go to a folder of the test's."""
    log, units, programs = tmp_path / "log", tmp_path / "units", tmp_path / "bin"
    units.mkdir()
    programs.mkdir()
    script = programs / "systemctl"
    script.write_text(f'#!/bin/sh\necho "$@" >> {log}\ntest -z "$FAIL" || {{ echo "Job failed." >&2; exit 1; }}\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(service, "UNITS", units)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return log


def whoami() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def test_a_unit_is_printed(cli: Cli) -> None:
    shown = cli("service", "print")
    assert shown.out.startswith("[Unit]\n")
    assert f"ExecStart={sys.executable} -m edgelearn listen\n" in shown.out
    (line,) = cli("service", "print", "--run", "wyoming", "--json").lines
    assert (line["event"], line["installed"]) == ("unit", False)
    assert line["path"] == "/etc/systemd/system/edgelearn-wyoming.service"
    assert f"ExecStart={sys.executable} -m edgelearn wyoming\n" in line["text"]


def test_a_unit_for_a_user_with_settings_of_their_own(cli: Cli, home: Path) -> None:
    config = home / "my.toml"
    config.write_text('[actions.broker]\ndo = "mqtt"\n')
    text = cli("service", "print", "--user", whoami(), "--config", str(config), "--model", str(home / "m.npz")).out
    assert f"User={whoami()}\n" in text
    assert f"-m edgelearn listen --config {config} --model {home / 'm.npz'}\n" in text
    assert f"ReadWritePaths={home}\n" in text
    assert "AF_INET" in text
    assert "no such user" in cli("service", "print", "--user", "nobody-of-that-name", code=2).err


def test_a_pipe_in_tmp_is_warned_of(cli: Cli, home: Path) -> None:
    config = home / "my.toml"
    config.write_text('[actions.pipe]\ndo = "fifo"\npath = "/tmp/words"\n')
    assert "actions.pipe: a service has a tmp of its own" in cli("service", "print", "--config", str(config)).err


def test_a_unit_is_installed_enabled_and_started(cli: Cli, systemctl: Path, home: Path) -> None:
    model = home / "new" / "folder" / "model.npz"
    shown = cli("service", "install", "--user", whoami(), "--model", str(model))
    unit = systemctl.parent / "units" / "edgelearn.service"
    assert f"{unit} is installed and runs" in shown.out
    assert unit.read_text() == cli("service", "print", "--user", whoami(), "--model", str(model)).out
    assert systemctl.read_text().splitlines() == [
        "daemon-reload", "enable edgelearn.service", "restart edgelearn.service",
    ]  # fmt: skip
    assert model.parent.is_dir()
    assert [path.name for path in unit.parent.iterdir()] == ["edgelearn.service"]


def test_a_service_that_does_not_start_is_told(cli: Cli, systemctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL", "1")
    shown = cli("service", "install", "--user", whoami(), code=1)
    assert "`systemctl daemon-reload` failed: Job failed." in shown.err
    assert "journalctl -u edgelearn.service" in shown.err
    assert systemctl.exists()


def test_installing_needs_root_and_systemd(cli: Cli, systemctl: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    shown = cli("service", "install", "--user", whoami(), code=1)
    assert "installing a service needs root\n  type: sudo " in shown.err
    monkeypatch.setenv("PATH", str(systemctl.parent))
    assert "this machine has no systemd" in cli("service", "install", "--user", whoami(), code=1).err
    assert not systemctl.exists()
    assert not list((systemctl.parent / "units").iterdir())


def test_a_program_that_the_services_user_cannot_reach_is_not_installed(
    cli: Cli, systemctl: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.chmod(0o700)
    monkeypatch.setattr(sys, "prefix", str(home / "venv"))
    shown = cli("service", "install", code=1)
    assert "the service's own user may not enter " in shown.err
    assert "--user YOU" in shown.err
    assert "may not enter" in cli("service", "print").err
    assert not systemctl.exists()


# -- config


def test_actions_are_shown_with_the_origin_of_each_value(cli: Cli, home: Path) -> None:
    own = home / ".config/edgelearn/config.toml"
    own.parent.mkdir(parents=True)
    own.write_text(
        '[actions.lamp]\ndo = "gpio"\npin = 17\non = [\n  "left",\n]\n\n[actions.bell]\ndo = "command"\n'
        'command = "aplay \'my bell.wav\'"\nwords = ["go"]\n'
    )
    shown = {line["key"]: (line["value"], line["origin"]) for line in cli("config", "show", "--json").lines}
    assert shown["actions.lamp.do"] == ("gpio", f"file {own}:2")
    assert shown["actions.lamp.pin"] == ("17", f"file {own}:3")
    assert shown["actions.lamp.on"] == (["left"], f"file {own}:4")
    assert shown["actions.lamp.active_low"] == (False, "default")
    assert shown["actions.bell.command"] == (["aplay", "my bell.wav"], f"file {own}:10")
    assert shown["actions.bell.timeout_s"] == (10.0, "default")
    table = cli("config", "show").out
    assert '["aplay", "my bell.wav"]' in table
    assert "actions.lamp.active_low        false" in table


def test_the_settings_that_ship_show_every_action_and_all_of_them_are_right(cli: Cli, home: Path) -> None:
    """The examples of configs/runtime.toml are comments; without the # they are settings."""
    from edgelearn.actions.spec import KINDS, keys_of
    from edgelearn.device.configfile import configs_dir

    text = (configs_dir() / "runtime.toml").read_text(encoding="utf-8")
    begin = text.index("# [actions.")
    config = home / "all.toml"
    config.write_text("\n".join(line.removeprefix("# ") for line in text[begin:].splitlines()))
    shown = [line["key"] for line in cli("config", "show", "--json", "--config", str(config)).lines]
    for name, do in (("bell", "command"), ("pipe", "fifo"), ("broker", "mqtt"), ("lamp", "gpio")):
        assert {f"actions.{name}.{key}" for key in ("do", *keys_of(do))} <= set(shown)
        for key in set(keys_of(do)) - {"words"}:
            assert f"# {key} = " in text, f"{key} of {do} is not in configs/runtime.toml"
    assert set(KINDS) == {"command", "fifo", "mqtt", "gpio"}


# -- actions of listen


def test_listening_does_what_the_settings_say(cli: Cli, home: Path) -> None:
    config = home / "my.toml"
    program = "import os, pathlib; pathlib.Path('OUT').write_text(os.environ['EDGELEARN_WORD'])"
    commands = {
        "all": [sys.executable, "-c", program.replace("OUT", str(home / "all"))],
        "other": [sys.executable, "-c", program.replace("OUT", str(home / "other"))],
        "broken": ["/no/such/program"],
        "slow": ["sleep", "60"],
    }
    more = {"slow": "timeout_s = 1\n", "other": 'words = ["cat", "catt"]\n'}
    config.write_text(
        "".join(
            f'[actions.{name}]\ndo = "command"\ncommand = {json.dumps(command)}\n{more.get(name, "")}'
            for name, command in commands.items()
        )
    )
    shown = cli("listen", "--input", BED, "--json", "--sensitivity", "1", "--config", str(config))
    assert [line["word"] for line in words(shown.lines)] == ["bed"]
    assert (home / "all").read_text() == "bed"
    assert not (home / "other").exists()
    assert "cannot run /no/such/program: No such file or directory" in shown.err
    assert "sleep was ended: it took longer than 1 s" in shown.err
    assert "actions.other waits for 'catt', which is no word of this model: did you mean 'cat'?" in shown.err


def test_systemd_is_told_that_it_listens_and_that_it_ends(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(home / "notify"))
        systemd.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", str(home / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "30000000")
        cli("listen", "--input", BED)
        told = [systemd.recv(200) for _ in range(3)]
    assert told == [b"READY=1\nSTATUS=listening", b"WATCHDOG=1", b"STOPPING=1"]


def test_pins_from_the_command_line(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gpiozero", reason="pip install 'edgelearn[gpio]'")
    from gpiozero import Device
    from gpiozero.pins.mock import MockFactory

    factory = MockFactory()
    monkeypatch.setattr(Device, "pin_factory", factory)
    config = home / "my.toml"
    config.write_text('[actions.lamp]\ndo = "gpio"\npin = 17\non = ["bed"]\n')
    pin = factory.pin(17)
    cli("listen", "--input", BED, "--sensitivity", "1", "--config", str(config))
    assert [state.state for state in pin.states][-2:] == [0, 1]


@pytest.mark.parametrize(
    ("extra", "module", "table"),
    [
        ("mqtt", "paho.mqtt.client", 'do = "mqtt"'),
        ("gpio", "gpiozero", 'do = "gpio"\npin = 4\non = ["bed"]'),
    ],
)
def test_a_missing_extra_is_one_clear_error(
    cli: Cli, home: Path, own: Path, monkeypatch: pytest.MonkeyPatch, extra: str, module: str, table: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    config = home / "my.toml"
    config.write_text(f"[actions.x]\n{table}\n")
    shown = cli("listen", "--input", BED, "--config", str(config), code=1)
    assert shown.err.splitlines()[-1].strip() == f"pip install 'edgelearn[{extra}]'"
    assert not own.exists()


def test_wyoming_without_its_package(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "edgelearn.integrations.wyoming_server", raising=False)
    monkeypatch.setitem(sys.modules, "wyoming.audio", None)
    assert "pip install 'edgelearn[wyoming]'" in cli("wyoming", code=1).err


def test_wyoming_at_an_address_that_is_none(cli: Cli) -> None:
    pytest.importorskip("wyoming", reason="pip install 'edgelearn[wyoming]'")
    assert "wyoming.uri is 'here'" in cli("wyoming", "--uri", "here", code=2).err
