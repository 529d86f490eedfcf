"""The settings of a run and where each came from: flag > environment > file > configs/runtime.toml."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgelearn.actions.spec import ActionSpec, keys_of, kind_of, read_actions
from edgelearn.device.configfile import configs_dir, did_you_mean, key_lines, read_toml
from edgelearn.device.sizes import KIB, MIB
from edgelearn.errors import UsageError
from edgelearn.values import Plain, Value


@dataclass(frozen=True)
class DeviceSettings:
    """The simulated device: its memory in bytes, and the board (name or path) of its times and energies."""

    budget_bytes: int
    board: str


@dataclass(frozen=True)
class AudioSettings:
    """The microphone: number or part of its name ("" is the system's choice), rate (0 is its own), channel from 1."""

    device: str
    rate_hz: int
    channel: int


@dataclass(frozen=True)
class DecisionSettings:
    """When a score becomes a word: sensitivity 0..1, and how long the same word is not reported again."""

    sensitivity: float
    refractory_ms: int


@dataclass(frozen=True)
class LearningSettings:
    """How a word is learned: gradient steps, the most that old words may lose (percent), the seed."""

    steps: int
    max_old_loss_percent: float
    seed: int


@dataclass(frozen=True)
class WyomingSettings:
    """The Wyoming server: where it waits for clients, tcp://HOST:PORT or unix://PATH."""

    uri: str


@dataclass(frozen=True)
class Settings:
    """Every setting of a run; `origins` maps a key such as "device.budget" to where its value came from."""

    device: DeviceSettings
    audio: AudioSettings
    decision: DecisionSettings
    learning: LearningSettings
    wyoming: WyomingSettings
    actions: tuple[ActionSpec, ...]
    origins: Mapping[str, str] = field(compare=False)

    def value(self, name: str) -> Plain:
        """Return the value of the key `name`, such as "device.budget" (in bytes) or "actions.lamp.pin"."""
        result: Plain
        if name in KEYS:
            key = KEYS[name]
            result = getattr(getattr(self, key.section), key.attribute)
        else:
            _, action, last = name.split(".")
            spec = next(spec for spec in self.actions if spec.name == action)
            result = kind_of(spec) if last == "do" else getattr(spec, last)
        return result


@dataclass(frozen=True)
class Key:
    """One key of the settings: its flag, the field it fills, the values it may have."""

    name: str
    flag: str
    attribute: str
    value: Value
    help: str

    @property
    def section(self) -> str:
        """The table of the file that the key stands in."""
        return self.name.partition(".")[0]

    @property
    def variable(self) -> str:
        """The environment variable of the key."""
        return "EDGELEARN_" + self.name.replace(".", "_").upper()


BUDGET = Value("size", 4 * KIB, 1024 * MIB)
RATE_HZ = Value("int", 0, 192000)
CHANNEL = Value("int", 1, 64)
REFRACTORY_MS = Value("int", 0, 60000)
BOARD_HELP = "board that times and energies come from: name or path"
OLD_LOSS_HELP = "undo an update that costs the old words more than this"

KEYS: Mapping[str, Key] = {
    key.name: key
    for key in (
        Key("device.budget", "--budget", "budget_bytes", BUDGET, "memory of the device"),
        Key("device.board", "--board", "board", Value("text"), BOARD_HELP),
        Key("audio.device", "--device", "device", Value("device"), "microphone: number or part of its name"),
        Key("audio.rate", "--rate", "rate_hz", RATE_HZ, "rate to open the microphone at, Hz; 0 for its own"),
        Key("audio.channel", "--channel", "channel", CHANNEL, "which channel of the microphone"),
        Key(
            "decision.sensitivity", "--sensitivity", "sensitivity", Value("float", 0, 1),
            "0: words must be very clear, 1: nearly anything is one",
        ),
        Key(
            "decision.refractory_ms", "--refractory-ms", "refractory_ms", REFRACTORY_MS,
            "how long a word is not reported again, ms",
        ),
        Key("learning.steps", "--steps", "steps", Value("int", 1, 10000), "gradient steps for a new word"),
        Key(
            "learning.max_old_loss_percent", "--max-old-loss-percent", "max_old_loss_percent", Value("float", 0, 100),
            OLD_LOSS_HELP,
        ),
        Key("learning.seed", "--seed", "seed", Value("int", 0, 2**32 - 1), "seed of everything random"),
        Key("wyoming.uri", "--uri", "uri", Value("text"), "where `edgelearn wyoming` waits for clients"),
    )
}  # fmt: skip


OTHER_VARIABLES = ("EDGELEARN_MODEL", "EDGELEARN_DEBUG", "EDGELEARN_PLAIN_LOOPS", "EDGELEARN_WORD", "EDGELEARN_SCORE")
"""That are no settings; the last two are what a program of an action is told, which may call edgelearn itself."""


def user_config_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the user's own settings are read from if that file exists."""
    return _xdg_folder("XDG_CONFIG_HOME", ".config", environ) / "config.toml"


def default_model(environ: Mapping[str, str] = os.environ) -> tuple[Path, str]:
    """Return the path of the user's own model, and where that path came from."""
    if named := environ.get("EDGELEARN_MODEL"):
        return Path(named), "environment EDGELEARN_MODEL"
    return _xdg_folder("XDG_DATA_HOME", ".local/share", environ) / "model.npz", "default"


def load_settings(
    config: Path | None = None,
    flags: Mapping[str, str | None] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the settings of a run.

    config: a file that must exist; None reads `user_config_file` if that exists. flags: text of each flag by
    the key's name ("device.budget"), None for a flag that was not given. Raises UsageError for an unknown key
    (naming the nearest known one), and for a value of a wrong type or range.
    """
    values: dict[str, Plain] = {}
    origins: dict[str, str] = {}
    actions: tuple[ActionSpec, ...] = ()
    defaults = configs_dir() / "runtime.toml"
    own = config if config is not None else user_config_file(environ)
    for path in (defaults, own):
        if path is own and config is None and not _is_there(path):
            continue
        file = _read_file(path)
        values |= file.values
        actions += file.actions
        origins |= dict.fromkeys(file.values, "default") if path is defaults else file.origins
    _refuse_unknown_variables(environ)
    for name, key in KEYS.items():
        if text := environ.get(key.variable):
            values[name] = _read_text(key, text, f"environment {key.variable}")
            origins[name] = f"environment {key.variable}"
        if (text := (flags or {}).get(name)) is not None:
            values[name] = _read_text(key, text, f"flag {key.flag}")
            origins[name] = f"flag {key.flag}"

    def fields(section: str) -> dict[str, Any]:
        return {key.attribute: values[key.name] for key in KEYS.values() if key.section == section}

    return Settings(
        DeviceSettings(**fields("device")),
        AudioSettings(**fields("audio")),
        DecisionSettings(**fields("decision")),
        LearningSettings(**fields("learning")),
        WyomingSettings(**fields("wyoming")),
        actions,
        {name: origins[name] for name in KEYS} | _action_origins(actions, origins),
    )


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "check its permissions, or name a --config") from None


def _xdg_folder(variable: str, fallback: str, environ: Mapping[str, str]) -> Path:
    named = environ.get(variable, "")
    # the XDG standard tells programs to ignore a relative path
    base = Path(named) if os.path.isabs(named) else Path(environ.get("HOME") or Path.home()) / fallback
    return base / "edgelearn"


@dataclass(frozen=True)
class _File:
    """What one file says: values of keys, actions, and the file and line of each."""

    values: dict[str, Plain]
    actions: tuple[ActionSpec, ...]
    origins: dict[str, str]


def _read_file(path: Path) -> _File:
    document = read_toml(path)
    lines = key_lines(path.read_text(encoding="utf-8"))

    def where(name: str) -> str:
        return f"{path}:{lines.get(name, 1)}"

    tables = {*(key.section for key in KEYS.values()), "actions"}
    values: dict[str, Plain] = {}
    for section, table in document.items():
        if section not in tables:
            what = "section" if isinstance(table, dict) else "key"
            raise _unknown(section, where(section), (*tables, *KEYS), what)
        if not isinstance(table, dict):
            raise UsageError(f"{where(section)}: {section!r} is no table", f"begin it with a line [{section}]")
        if section == "actions":
            continue
        for last, raw in table.items():
            name = f"{section}.{last}"
            if name not in KEYS:
                raise _unknown(name, where(name), KEYS, "key")
            try:
                values[name] = KEYS[name].value.read(raw)
            except ValueError:
                raise _bad_value(KEYS[name], raw, where(name)) from None
    actions = tuple(read_actions(document.get("actions", {}), where))
    return _File(values, actions, {name: f"file {path}:{line}" for name, line in lines.items()})


def _action_origins(actions: tuple[ActionSpec, ...], origins: Mapping[str, str]) -> dict[str, str]:
    names = [f"{spec.title}.{key}" for spec in actions for key in ("do", *keys_of(kind_of(spec)))]
    return {name: origins.get(name, "default") for name in names}


def _read_text(key: Key, text: str, origin: str) -> Plain:
    try:
        return key.value.read_text(text)
    except ValueError:
        raise _bad_value(key, text, origin) from None


def _bad_value(key: Key, raw: object, origin: str) -> UsageError:
    return UsageError(f"{origin}: {key.name} is {raw!r}", f"{key.name} must be {key.value.wanted}")


def _unknown(name: str, origin: str, known: Iterable[str], what: str) -> UsageError:
    known = list(known)
    same_ending = [key for key in known if key.partition(".")[2] == name.rpartition(".")[2]]
    hint = f"did you mean {same_ending[0]!r}?" if same_ending else did_you_mean(name, known)
    return UsageError(f"{origin}: unknown {what} {name!r}", hint)


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    known = [key.variable for key in KEYS.values()]
    for variable in environ:
        if variable.startswith("EDGELEARN_") and variable not in (*known, *OTHER_VARIABLES):
            same_ending = [name for name in known if name.endswith(variable.removeprefix("EDGELEARN"))]
            hint = f"did you mean {same_ending[0]!r}?" if same_ending else did_you_mean(variable, known)
            raise UsageError(f"environment: unknown setting {variable!r}", hint)
