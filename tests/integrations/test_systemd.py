"""The unit: what systemd itself says of it, and what it allows for what the settings ask for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgelearn.actions.spec import ActionSpec, CommandSpec, FifoSpec, GpioSpec, MqttSpec
from edgelearn.integrations.systemd import Service, closed_folder, unit_text, unseen_pipes

COMMAND = CommandSpec(name="bell", command=("true",))
PIPE = FifoSpec(name="pipe", path="/tmp/words")
BROKER = MqttSpec(name="broker")
LAMP = GpioSpec(name="lamp", pin="17", on=("left",), words=("left",))
SERVICES = {
    "listen": Service("listen"),
    "own user": Service("listen", ("--model", "/var/lib/my $HOME 100%.npz"), "root", (Path("/var/lib"),)),
    "pins and a broker": Service("listen", actions=(LAMP, BROKER)),
    "wyoming": Service("wyoming"),
}


def lines(service: Service) -> list[str]:
    return unit_text(service).splitlines()


def allowed(*actions: ActionSpec) -> list[str]:
    return lines(Service("listen", actions=actions))


def test_systemd_understands_every_line(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("sudo apt install systemd")
    units = [tmp_path / f"{name.replace(' ', '-')}.service" for name in SERVICES]
    for unit, service in zip(units, SERVICES.values(), strict=True):
        unit.write_text(unit_text(service))
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    units[0].write_text(units[0].read_text().replace("PrivateTmp=yes", "PrivateTmp=sometimes"))
    done = subprocess.run(["systemd-analyze", "verify", units[0]], capture_output=True, text=True)
    assert "sometimes" in done.stderr  # it does look


@pytest.mark.parametrize(
    ("name", "most"), [("listen", 1.5), ("own user", 1.5), ("pins and a broker", 2.5), ("wyoming", 2.0)]
)
def test_systemd_finds_little_that_the_service_could_do_besides(name: str, most: float, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("sudo apt install systemd")
    unit = tmp_path / SERVICES[name].name
    unit.write_text(unit_text(SERVICES[name]))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"},
    )  # fmt: skip
    if "--offline" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge a unit that is not installed")
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= most


def test_nothing_leaves_the_machine_unless_an_action_asks_for_it() -> None:
    for actions in ((), (LAMP,), (PIPE,)):
        assert {"PrivateNetwork=yes", "IPAddressDeny=any", "RestrictAddressFamilies=AF_UNIX"} <= set(allowed(*actions))
    for action in (BROKER, COMMAND):
        assert not {"PrivateNetwork=yes", "IPAddressDeny=any"} & set(allowed(action))
        assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6" in allowed(action)


def test_only_the_devices_that_are_needed_are_there() -> None:
    assert [line for line in allowed() if "Device" in line] == ["DevicePolicy=closed", "DeviceAllow=char-alsa rw"]
    assert "SupplementaryGroups=audio" in allowed()
    assert "DeviceAllow=char-gpiochip rw" in allowed(LAMP)
    assert "SupplementaryGroups=audio gpio" in allowed(LAMP)
    wyoming = lines(SERVICES["wyoming"])
    assert "PrivateDevices=yes" in wyoming
    assert not [line for line in wyoming if line.startswith(("DeviceAllow", "SupplementaryGroups"))]


def test_what_it_runs_and_where_it_writes() -> None:
    text = unit_text(SERVICES["own user"])
    assert f'ExecStart={sys.executable} -m edgelearn listen --model "/var/lib/my $$HOME 100%%.npz"\n' in text
    assert "User=root\n" in text
    assert "ReadWritePaths=/var/lib\n" in text
    assert "DynamicUser" not in text
    assert "StateDirectory=edgelearn" in lines(SERVICES["listen"])
    assert "DynamicUser=yes" in lines(SERVICES["listen"])
    assert "Type=notify" in lines(SERVICES["listen"])
    assert [service.name for service in SERVICES.values()][-2:] == ["edgelearn.service", "edgelearn-wyoming.service"]


def test_a_folder_that_the_services_user_may_not_enter_is_found(tmp_path: Path) -> None:
    open_folder, closed = tmp_path / "a", tmp_path / "a" / "b"
    closed.mkdir(parents=True)
    before = closed_folder([open_folder])  # folders of tests are often private, too
    closed.chmod(0o700)
    assert closed_folder([open_folder, closed / "python"]) == (before or closed)
    assert closed_folder([Path("/usr/bin")]) is None


def test_a_pipe_in_tmp_would_not_be_seen() -> None:
    assert unseen_pipes([PIPE, FifoSpec(name="other", path="/run/edgelearn/words"), BROKER]) == [PIPE]
