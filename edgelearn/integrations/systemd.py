"""The unit of a systemd service (man 5 systemd.exec): it may do what listening needs, and nothing else."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelearn.actions.spec import ActionSpec, CommandSpec, FifoSpec, GpioSpec, MqttSpec

PACKAGE = Path(__file__).resolve().parent.parent
PRIVATE = (Path("/tmp"), Path("/var/tmp"))  # PrivateTmp gives the service others of these
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
# exit codes that a restart cannot mend: usage or settings, model file, memory budget
HOPELESS = "2 4 5"


@dataclass(frozen=True)
class Service:
    """What a unit is written for.

    verb: listen or wyoming; arguments: its own; user: who runs it, "" is a user that systemd makes for it; writable:
    folders that it may write to, besides those that systemd makes; actions: what it does with words.
    """

    verb: str
    arguments: tuple[str, ...] = ()
    user: str = ""
    writable: tuple[Path, ...] = ()
    actions: tuple[ActionSpec, ...] = ()

    @property
    def name(self) -> str:
        """The name of the unit."""
        return "edgelearn.service" if self.verb == "listen" else f"edgelearn-{self.verb}.service"

    @property
    def sound(self) -> bool:
        """Whether it needs a microphone."""
        return self.verb == "listen"

    @property
    def pins(self) -> bool:
        """Whether it switches pins."""
        return self.sound and self._has(GpioSpec)

    @property
    def network(self) -> bool:
        """Whether it, or a program that it runs, may have to reach other machines."""
        return not self.sound or self._has(MqttSpec, CommandSpec)

    def _has(self, *kinds: type[ActionSpec]) -> bool:
        return any(isinstance(spec, kinds) for spec in self.actions)


def unit_text(service: Service) -> str:
    """Return the text of the unit."""
    command = [sys.executable, "-m", "edgelearn", service.verb, *service.arguments]
    sections = {"Unit": _unit(service), "Service": _service(service, command), "Install": _install()}
    return "\n".join(f"[{name}]\n" + "".join(f"{line}\n" for line in lines) for name, lines in sections.items())


def _unit(service: Service) -> list[str]:
    does = "listens for words" if service.sound else "is a wake word service for Home Assistant"
    return [
        f"Description=edgelearn {does}",
        "After=sound.target" if service.sound else "After=network.target",
        # a microphone may be plugged in hours later: it is tried again for ever
        "StartLimitIntervalSec=0",
    ]


def _service(service: Service, command: Sequence[str]) -> list[str]:
    return [
        "Type=notify",
        f"ExecStart={' '.join(map(_quoted, command))}",
        "Restart=on-failure",
        "RestartSec=5",
        f"RestartPreventExitStatus={HOPELESS}",
        "TimeoutStartSec=300",  # the first start compiles
        "WatchdogSec=30",
        # Ctrl-C, which ends it with a summary; what it has started is ended after it
        "KillSignal=SIGINT",
        "KillMode=mixed",
        "",
        *_identity(service),
        *(f"ReadWritePaths={_quoted(str(path))}" for path in service.writable),
        "",
        *_hardening(service),
    ]


def _identity(service: Service) -> list[str]:
    groups = [group for group, wanted in (("audio", service.sound), ("gpio", service.pins)) if wanted]
    lines = [f"SupplementaryGroups={' '.join(groups)}"] if groups else []
    lines += [
        "CacheDirectory=edgelearn",
        "RuntimeDirectory=edgelearn",
        "WorkingDirectory=%t/edgelearn",  # lgpio, under gpiozero, makes a pipe in its working directory
        "Environment=XDG_CACHE_HOME=%C",
    ]
    if service.user:
        return [f"User={service.user}", *lines]
    return [
        # the same user for all units of edgelearn, because they share the folder of the model
        "DynamicUser=yes",
        "User=edgelearn",
        *lines,
        "StateDirectory=edgelearn",
        "Environment=XDG_DATA_HOME=%S XDG_CONFIG_HOME=%E",
    ]


def _hardening(service: Service) -> list[str]:
    """Return what the service may not do.

    MemoryDenyWriteExecute and ProcSubset=pid are left out: kernels are compiled when it runs, for the processor that
    /proc/cpuinfo names.
    """
    devices = ["DevicePolicy=closed"] if service.sound else ["PrivateDevices=yes"]
    devices += ["DeviceAllow=char-alsa rw"] if service.sound else []
    devices += ["DeviceAllow=char-gpiochip rw", "DeviceAllow=/dev/gpiomem rw"] if service.pins else []
    in_a_home = bool(service.user) or any(_below(path, HOMES) for path in (*program_folders(), *service.writable))
    families = "AF_UNIX AF_INET AF_INET6" if service.network else "AF_UNIX"
    return [
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "UMask=0077",
        "ProtectSystem=strict",
        f"ProtectHome={'read-only' if in_a_home else 'yes'}",
        "PrivateTmp=yes",
        *devices,
        *([] if service.network else ["PrivateNetwork=yes", "IPAddressDeny=any"]),
        f"RestrictAddressFamilies={families}",
        "ProtectKernelTunables=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelLogs=yes",
        "ProtectControlGroups=yes",
        "ProtectClock=yes",
        "ProtectHostname=yes",
        "ProtectProc=invisible",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "RemoveIPC=yes",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "SystemCallErrorNumber=EPERM",
    ]


def _install() -> list[str]:
    return ["WantedBy=multi-user.target"]


def program_folders() -> tuple[Path, ...]:
    """Return the folders that the program is read from: its Python, and the package."""
    return (Path(sys.executable).parent, Path(sys.prefix), Path(sys.base_prefix), PACKAGE)


def closed_folder(folders: Iterable[Path]) -> Path | None:
    """Return the first folder on the way to `folders` that only its owner may enter, as homes often are."""
    for folder in folders:
        for step in reversed((folder, *folder.parents)):
            if step.exists() and not stat.S_IMODE(step.stat().st_mode) & stat.S_IXOTH:
                return step
    return None


def unseen_pipes(actions: Iterable[ActionSpec]) -> list[FifoSpec]:
    """Return the pipes that other programs will not find, because a service has a /tmp of its own."""
    return [spec for spec in actions if isinstance(spec, FifoSpec) and _below(Path(spec.path), PRIVATE)]


def _below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _quoted(argument: str) -> str:
    """Return an argument as a unit writes it: specifiers and variables are for systemd, these are not."""
    escaped = argument.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace('"', '\\"')
    return f'"{escaped}"' if not escaped or any(c.isspace() or c in "\"';#" for c in escaped) else escaped
