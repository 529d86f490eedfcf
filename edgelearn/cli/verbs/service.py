"""`edgelearn service`: a unit for systemd, so that listening begins with the machine."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.output import emit, say
from edgelearn.errors import EdgelearnError, UsageError

if TYPE_CHECKING:
    from edgelearn.config import Settings
    from edgelearn.integrations.systemd import Service

HELP = (
    "Print or install a systemd unit that listens from the start of the machine on: it may use the microphone and what "
    "the [actions] of the settings need, and nothing else. Its settings are /etc/edgelearn/config.toml, or with --user "
    "those of that user; write the unit anew when the actions change."
)
UNITS = Path("/etc/systemd/system")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what to do with the unit, and what it is to run."""
    parser.add_argument("action", choices=["print", "install"], help="show the unit, or install, enable and start it")
    parser.add_argument("--run", choices=["listen", "wyoming"], default="listen", help="what it runs (default: listen)")
    parser.add_argument(
        "--user", metavar="NAME", default="", help="run as this user, with their model (default: a user of its own)"
    )


def run(args: argparse.Namespace) -> int:
    """Print the unit, or install it."""
    from edgelearn.integrations.systemd import closed_folder, program_folders, unit_text, unseen_pipes

    service = _service(args)
    closed = None if service.user else closed_folder(program_folders())
    if closed is not None:
        problem = f"the service's own user may not enter {closed}, where this program is"
        remedy = "give it --user YOU, or install the program where all may read it, such as below /usr/local"
        if args.action == "install":
            raise EdgelearnError(problem, remedy)
        say(f"{problem}\n  {remedy}")
    for spec in unseen_pipes(service.actions):
        say(f"{spec.title}: a service has a {Path(spec.path).parts[1]} of its own; /run/edgelearn is seen by all")
    text = unit_text(service)
    path = UNITS / service.name
    if args.action == "install":
        _install(path, text, service)
    if args.json:
        emit("unit", path=path, text=text, installed=args.action == "install")
    elif args.action == "print":
        print(text, end="")
    else:
        print(f"{path} is installed and runs; `journalctl -u {service.name} -f` shows what it says")
    return 0


def _service(args: argparse.Namespace) -> Service:
    from edgelearn.config import default_model, load_settings
    from edgelearn.integrations.systemd import Service

    home = _home(args.user) if args.user else None
    # where the service will look: in the home of its user, or where systemd keeps settings
    environ = {"HOME": str(home)} if home else {"XDG_CONFIG_HOME": "/etc", "XDG_DATA_HOME": "/var/lib"}
    settings: Settings = load_settings(args.config, environ=environ)
    arguments: list[str] = []
    if args.config is not None:
        arguments += ["--config", str(args.config.resolve())]
    writable: tuple[Path, ...] = ()
    if args.model is not None:
        model = args.model.resolve()
        arguments += ["--model", str(model)]
        writable = (model.parent,)
    elif home:
        writable = (default_model(environ)[0].parent,)
    return Service(args.run, tuple(arguments), args.user, writable, settings.actions)


def _home(user: str) -> Path:
    import pwd

    try:
        return Path(pwd.getpwnam(user).pw_dir)
    except KeyError:
        raise UsageError(f"--user {user!r}: there is no such user", "`whoami` tells who you are") from None


def _install(path: Path, text: str, service: Service) -> None:
    from edgelearn.store.model_file import replace_file

    if shutil.which("systemctl") is None:
        raise EdgelearnError("this machine has no systemd", "`edgelearn service print` shows what to start instead")
    if os.geteuid() != 0:
        again = " ".join(["sudo", sys.executable, "-m", "edgelearn", *sys.argv[1:]])
        raise EdgelearnError("installing a service needs root", f"type: {again}")
    for folder in service.writable:
        _make_folder(folder, service.user)
    replace_file(path, text.encode())
    for command in (["daemon-reload"], ["enable", path.name], ["restart", path.name]):
        done = subprocess.run(["systemctl", *command], capture_output=True, text=True)
        if done.returncode:
            raise EdgelearnError(
                f"`systemctl {' '.join(command)}` failed: {done.stderr.strip()}",
                f"`journalctl -u {path.name} -e` tells more; `systemctl disable --now {path.name}` gives it up",
            )


def _make_folder(folder: Path, user: str) -> None:
    """Make a folder that the user will own, with the folders on the way to it."""
    missing = [step for step in (folder, *folder.parents) if not step.exists()]
    for step in reversed(missing):
        step.mkdir(mode=0o700)
        if user:
            shutil.chown(step, user)
