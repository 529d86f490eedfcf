"""What a value of a settings file may be: its kind, its limits, and the words for both."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Literal

from edgelearn.device.sizes import format_size, parse_size

Plain = int | float | str | bool | tuple[str, ...]


@dataclass(frozen=True)
class Value:
    """A kind of value and its limits, which are included; low and high are of sizes and numbers only.

    device: a number or a text, kept as text; texts: a list of texts; command: a list of texts, or one text that is
    split as a shell would split it.
    """

    kind: Literal["size", "int", "float", "text", "device", "switch", "texts", "command"]
    low: float = 0
    high: float = 0

    @property
    def wanted(self) -> str:
        """What a value of this kind must be, in words."""
        return {
            "size": f"a size such as 256KiB, from {format_size(int(self.low))} to {format_size(int(self.high))}",
            "int": f"a whole number from {self.low:.0f} to {self.high:.0f}",
            "float": f"a number from {self.low:g} to {self.high:g}",
            "text": "a text that is not empty",
            "device": "a number or a text",
            "switch": "true or false",
            "texts": 'a list of texts, such as ["one", "two"]',
            "command": 'a program with its arguments, such as "aplay bell.wav" or ["aplay", "my bell.wav"]',
        }[self.kind]

    def read(self, raw: Any) -> Plain:
        """Return a value of a TOML file as this kind; else ValueError."""
        if self.kind == "switch" and isinstance(raw, bool):
            return raw
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
        if self.kind == "texts" and _is_texts(raw) and all(raw):
            return tuple(raw)
        if self.kind == "command":
            parts = shlex.split(raw) if isinstance(raw, str) else raw  # its ValueError is a quote that does not end
            if _is_texts(parts) and parts[0]:
                return tuple(parts)
        raise ValueError

    def read_text(self, text: str) -> Plain:
        """Return the text of a flag or variable as this kind; else ValueError."""
        if self.kind == "int":
            return self.read(int(text))
        if self.kind == "float":
            return self.read(float(text))
        return self.read(text)

    def _within(self, value: int | float) -> int | float:
        if not self.low <= value <= self.high:
            raise ValueError
        return value


def _is_texts(raw: Any) -> bool:
    return isinstance(raw, list) and bool(raw) and all(isinstance(part, str) for part in raw)
