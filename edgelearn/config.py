"""The settings of a run and where each came from: flag > environment > file > configs/runtime.toml."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgelearn.device.configfile import configs_dir, did_you_mean, read_toml
from edgelearn.device.sizes import KIB, MIB, format_size, parse_size
from edgelearn.errors import UsageError


@dataclass(frozen=True)
class DeviceSettings:
    """The simulated device: its memory in bytes, and the board (name or path) of its times and energies."""

    budget_bytes: int
    board: str


@dataclass(frozen=True)
class AudioSettings:
    """The microphone: number or part of its name ("" is the system's choice), and the rate to open it at."""

    device: str
    rate_hz: int


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
class Settings:
    """Every setting of a run; `origins` maps a key such as "device.budget" to where its value came from."""

    device: DeviceSettings
    audio: AudioSettings
    decision: DecisionSettings
    learning: LearningSettings
    origins: Mapping[str, str] = field(compare=False)

    def value(self, name: str) -> int | float | str:
        """Return the value of the key `name`, such as "device.budget" (in bytes)."""
        key = KEYS[name]
        result: int | float | str = getattr(getattr(self, key.section), key.attribute)
        return result


@dataclass(frozen=True)
class Key:
    """One key of the settings: its flag, the field it fills, the values it may have (limits included)."""

    name: str
    flag: str
    attribute: str
    kind: Literal["size", "int", "float", "text", "device"]
    help: str
    low: float = 0
    high: float = 0

    @property
    def section(self) -> str:
        """The table of the file that the key stands in."""
        return self.name.partition(".")[0]

    @property
    def variable(self) -> str:
        """The environment variable of the key."""
        return "EDGELEARN_" + self.name.replace(".", "_").upper()

    @property
    def wanted(self) -> str:
        """What a value of this key must be, in words."""
        if self.kind == "size":
            return (
                f"a size such as 256KiB, from {format_size(int(self.low))} to {format_size(int(self.high))}"
            )
        if self.kind == "int":
            return f"a whole number from {self.low:.0f} to {self.high:.0f}"
        if self.kind == "float":
            return f"a number from {self.low:g} to {self.high:g}"
        return "a number or a text" if self.kind == "device" else "a text that is not empty"

    def read(self, raw: Any) -> int | float | str:
        """Return a value of a TOML file as this key's type; else ValueError."""
        if isinstance(raw, bool):
            raise ValueError
        if self.kind == "device" and isinstance(raw, int | str):
            return str(raw)
        if self.kind == "text" and isinstance(raw, str) and raw:
            return raw
        if self.kind == "size" and isinstance(raw, int | str):
            return self._within(parse_size(raw) if isinstance(raw, str) else raw)
        if self.kind == "int" and isinstance(raw, int):
            return self._within(raw)
        if self.kind == "float" and isinstance(raw, int | float):
            return self._within(float(raw))
        raise ValueError

    def read_text(self, text: str) -> int | float | str:
        """Return the text of a flag or variable as this key's type; else ValueError."""
        if self.kind == "int":
            return self.read(int(text))
        if self.kind == "float":
            return self.read(float(text))
        return self.read(text)

    def _within(self, value: int | float) -> int | float:
        if not self.low <= value <= self.high:
            raise ValueError
        return value


KEYS: Mapping[str, Key] = {
    key.name: key
    for key in (
        Key("device.budget", "--budget", "budget_bytes", "size", "memory of the device", 4 * KIB, 1024 * MIB),
        Key(
            "device.board",
            "--board",
            "board",
            "text",
            "board that times and energies come from: name or path",
        ),
        Key("audio.device", "--device", "device", "device", "microphone: number or part of its name"),
        Key("audio.rate", "--rate", "rate_hz", "int", "rate to open the microphone at, Hz", 4000, 192000),
        Key("decision.sensitivity", "--sensitivity", "sensitivity", "float", "0 hears little, 1 much", 0, 1),
        Key(
            "decision.refractory_ms",
            "--refractory-ms",
            "refractory_ms",
            "int",
            "pause of a word, ms",
            0,
            60000,
        ),
        Key("learning.steps", "--steps", "steps", "int", "gradient steps for a new word", 1, 10000),
        Key(
            "learning.max_old_loss_percent",
            "--max-old-loss-percent",
            "max_old_loss_percent",
            "float",
            "undo an update that costs the old words more than this",
            0,
            100,
        ),
        Key("learning.seed", "--seed", "seed", "int", "seed of everything random", 0, 2**32 - 1),
    )
}

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
    values: dict[str, int | float | str] = {}
    origins: dict[str, str] = {}
    defaults = configs_dir() / "runtime.toml"
    own = config if config is not None else user_config_file(environ)
    for path in (defaults, own):
        if path is own and config is None and not path.is_file():
            continue
        for name, (value, line) in _read_file(path).items():
            values[name] = value
            origins[name] = "default" if path is defaults else f"file {path}:{line}"
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
        {name: origins[name] for name in KEYS},
    )


def _xdg_folder(variable: str, fallback: str, environ: Mapping[str, str]) -> Path:
    named = environ.get(variable, "")
    # the XDG standard tells programs to ignore a relative path
    base = Path(named) if os.path.isabs(named) else Path(environ.get("HOME") or Path.home()) / fallback
    return base / "edgelearn"


def _read_file(path: Path) -> dict[str, tuple[int | float | str, int]]:
    document = read_toml(path)
    text = path.read_text(encoding="utf-8")  # once more, for line numbers
    sections = {key.section for key in KEYS.values()}
    found = {}
    for section, table in document.items():
        if not isinstance(table, dict) or section not in sections:
            what = "section" if isinstance(table, dict) else "key"
            raise _unknown(section, f"{path}:{_line_of(text, section)}", (*sections, *KEYS), what)
        for last, raw in table.items():
            name = f"{section}.{last}"
            line = _line_of(text, name)
            if name not in KEYS:
                raise _unknown(name, f"{path}:{line}", KEYS, "key")
            try:
                found[name] = (KEYS[name].read(raw), line)
            except ValueError:
                raise _bad_value(KEYS[name], raw, f"{path}:{line}") from None
    return found


def _line_of(text: str, name: str) -> int:
    """Return the line of the section or key `name` ("device", "device.budget"); TOML readers do not tell."""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\]]+)\]", line):
            full = inside = re.sub(r"[\s\"']", "", header[1])
        elif key := re.match(r"\s*([^#=]+)=", line):
            full = re.sub(r"[\s\"']", "", f"{inside}.{key[1]}" if inside else key[1])
        else:
            continue
        if full == name or full.startswith(f"{name}."):
            return number
    return 1


def _read_text(key: Key, text: str, origin: str) -> int | float | str:
    try:
        return key.read_text(text)
    except ValueError:
        raise _bad_value(key, text, origin) from None


def _bad_value(key: Key, raw: object, origin: str) -> UsageError:
    return UsageError(f"{origin}: {key.name} is {raw!r}", f"{key.name} must be {key.wanted}")


def _unknown(name: str, origin: str, known: Iterable[str], what: str) -> UsageError:
    known = list(known)
    same_ending = [key for key in known if key.partition(".")[2] == name.rpartition(".")[2]]
    hint = f"did you mean {same_ending[0]!r}?" if same_ending else did_you_mean(name, known)
    return UsageError(f"{origin}: unknown {what} {name!r}", hint)


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    sections = {key.section for key in KEYS.values()}
    known = {key.variable for key in KEYS.values()}
    for variable in environ:
        parts = variable.split("_")
        if (
            parts[0] == "EDGELEARN"
            and len(parts) > 2
            and parts[1].lower() in sections
            and variable not in known
        ):
            raise UsageError(f"environment: unknown setting {variable!r}", did_you_mean(variable, known))
