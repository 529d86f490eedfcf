"""The [actions] of a settings file: what each kind of action is told, and the checks that need no hardware."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from edgelearn.device.configfile import did_you_mean
from edgelearn.errors import UsageError
from edgelearn.values import Plain, Value

NAME = re.compile(r"[A-Za-z0-9_-]+")
TEXT = Value("text")
WORDS = Value("texts")
SECONDS = Value("float", 0.1, 3600)


def _key(value: Value, default: object = MISSING) -> Any:
    return field(default=default, metadata={"value": value})


@dataclass(frozen=True, kw_only=True)
class ActionSpec:
    """What every action is told: its name, and the words that it is for; () is every word."""

    name: str
    words: tuple[str, ...] = _key(WORDS, ())

    @property
    def title(self) -> str:
        """How messages call it: its place in the settings."""
        return f"actions.{self.name}"


@dataclass(frozen=True, kw_only=True)
class CommandSpec(ActionSpec):
    """Run a program, without a shell, and end it after timeout_s."""

    command: tuple[str, ...] = _key(Value("command"))
    timeout_s: float = _key(SECONDS, 10.0)


@dataclass(frozen=True, kw_only=True)
class FifoSpec(ActionSpec):
    """Write a line into a named pipe, which is made if it is not there."""

    path: str = _key(TEXT)


@dataclass(frozen=True, kw_only=True)
class MqttSpec(ActionSpec):
    """Publish to topic/word at a broker; a word waits no longer than timeout_s for it.

    password_file: the password is its first line; ca_file: with it the connection is encrypted, and the broker must
    show a certificate of this authority.
    """

    host: str = _key(TEXT, "localhost")
    port: int = _key(Value("int", 1, 65535), 1883)
    topic: str = _key(TEXT, "edgelearn")
    username: str = _key(TEXT, "")
    password_file: str = _key(TEXT, "")
    ca_file: str = _key(TEXT, "")
    timeout_s: float = _key(SECONDS, 5.0)


@dataclass(frozen=True, kw_only=True)
class GpioSpec(ActionSpec):
    """Switch a pin: `words` is all that switch it, the rest says how.

    pin: Broadcom number, or a name that gpiozero knows, such as BOARD11; active_low: on is 0 V.
    """

    pin: str = _key(Value("device"))
    on: tuple[str, ...] = _key(WORDS, ())
    off: tuple[str, ...] = _key(WORDS, ())
    toggle: tuple[str, ...] = _key(WORDS, ())
    pulse: tuple[str, ...] = _key(WORDS, ())
    pulse_s: float = _key(SECONDS, 0.5)
    active_low: bool = _key(Value("switch"), False)


KINDS: Mapping[str, type[ActionSpec]] = {
    "command": CommandSpec,
    "fifo": FifoSpec,
    "mqtt": MqttSpec,
    "gpio": GpioSpec,
}
EFFECTS = ("on", "off", "toggle", "pulse")


def kind_of(spec: ActionSpec) -> str:
    """Return what `do` says of an action."""
    return next(do for do, kind in KINDS.items() if type(spec) is kind)


def keys_of(do: str) -> dict[str, Value]:
    """Return what each key of a kind of action may be, without `do`."""
    own = {item.name: item.metadata["value"] for item in fields(KINDS[do]) if "value" in item.metadata}
    if do == "gpio":
        del own["words"]  # the effects name them
    return own


def read_actions(tables: Mapping[str, Any], where: Callable[[str], str]) -> Iterator[ActionSpec]:
    """Read the table [actions] of a settings file.

    where: from the name of a key, such as "actions.lamp.pin", to the file and line that messages show.  Raises
    UsageError for an action or a key that is unknown or missing, and for a value of a wrong type or range.
    """
    for name, table in tables.items():
        title = f"actions.{name}"
        if not isinstance(table, dict):
            raise UsageError(f"{where(title)}: {title} is {table!r}", "an action is a table, such as [actions.lamp]")
        if not NAME.fullmatch(name):
            raise UsageError(f"{where(title)}: {name!r} is no name for an action", "use letters, digits, - and _")
        do = table.get("do")
        if do is None:
            raise UsageError(f"{where(title)}: {title} has no 'do'", f"do must be one of {', '.join(KINDS)}")
        if not isinstance(do, str) or do not in KINDS:
            raise UsageError(f"{where(f'{title}.do')}: {title}.do is {do!r}", did_you_mean(str(do), KINDS))
        yield _read_action(name, do, {key: raw for key, raw in table.items() if key != "do"}, where)


def _read_action(name: str, do: str, table: Mapping[str, Any], where: Callable[[str], str]) -> ActionSpec:
    title = f"actions.{name}"
    keys = keys_of(do)
    values: dict[str, Plain] = {}
    for key, raw in table.items():
        if key not in keys:
            raise UsageError(f"{where(f'{title}.{key}')}: unknown key '{title}.{key}'", did_you_mean(key, keys))
        try:
            values[key] = keys[key].read(raw)
        except ValueError:
            origin, wanted = where(f"{title}.{key}"), keys[key].wanted
            raise UsageError(f"{origin}: {title}.{key} is {raw!r}", f"{title}.{key} must be {wanted}") from None
    for item in fields(KINDS[do]):
        if item.default is MISSING and item.name in keys and item.name not in values:
            wanted = keys[item.name].wanted
            raise UsageError(f"{where(title)}: {title} has no {item.name!r}", f"{item.name} must be {wanted}")
    if do == "gpio":
        values["words"] = _switching_words(values, title, where)
    return KINDS[do](name=name, **values)  # type: ignore[arg-type]


def _switching_words(values: Mapping[str, Any], title: str, where: Callable[[str], str]) -> tuple[str, ...]:
    words: tuple[str, ...] = ()
    for effect in EFFECTS:
        for word in values.get(effect, ()):
            if word in words:
                raise UsageError(
                    f"{where(f'{title}.{effect}')}: {title} does two things for {word!r}",
                    "a word has one effect on a pin",
                )
            words += (word,)
    if not words:
        raise UsageError(f"{where(title)}: {title} waits for no word", f"say which, with {', '.join(EFFECTS)}")
    return words
