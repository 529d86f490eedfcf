"""Where the shipped configuration lies, and one strict reader for it: an unknown key is an error."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli

from edgelearn.errors import UsageError


def configs_dir() -> Path:
    """Return the folder of the shipped configuration: inside an installed package, else beside its source."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_configs"
    return installed if installed.is_dir() else package.parent / "configs"


def read_toml(path: Path) -> dict[str, Any]:
    """Read one TOML file; raises UsageError with file and line if it is missing or malformed."""
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", "check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", "save it as UTF-8") from error
    except tomli.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", "see https://toml.io for the syntax") from error


def shipped(kind: str) -> tuple[str, ...]:
    """Return the names of the shipped files of a kind, which is their folder: `boards`, `accelerators`."""
    return tuple(sorted(path.stem for path in (configs_dir() / kind).glob("*.toml")))


def find_shipped(kind: str, name_or_path: str | Path) -> Path:
    """Return a shipped file of a kind by its name, or the path itself if it is one of a `.toml` file.

    Raises UsageError for an unknown name.
    """
    text = str(name_or_path)
    if text.endswith(".toml"):
        return Path(text)
    name = text.lower().replace("-", "_")
    if name not in shipped(kind):
        raise UsageError(f"no {kind.removesuffix('s')} {text!r}", did_you_mean(name, shipped(kind)))
    return configs_dir() / kind / f"{name}.toml"


def key_lines(text: str) -> dict[str, int]:
    """Return the line of every table and key of a TOML text that is valid, by its name with dots.

    TOML readers do not tell lines, so each statement is read by itself: it ends where the text begins to be valid.
    """
    lines = text.splitlines()
    found: dict[str, int] = {}
    inside: tuple[str, ...] = ()
    at = 0
    while at < len(lines):
        first, document = at, None
        while document is None and at < len(lines):
            at += 1
            with contextlib.suppress(tomli.TOMLDecodeError):
                document = tomli.loads("\n".join(lines[first:at]))
        path = _path(document or {})
        if lines[first].lstrip().startswith("["):
            inside = path
        elif path:
            path = (*inside, *path)
        for depth in range(1, len(path) + 1):
            found.setdefault(".".join(path[:depth]), first + 1)
    return found


def _path(document: Any) -> tuple[str, ...]:
    """Return the names that lead to the innermost table of a statement."""
    while isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict) or not document:
        return ()
    name = next(iter(document))
    return (name, *_path(document[name]))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Make a hint out of a misspelt name: the nearest known one, else all of them."""
    candidates = sorted(known)
    near = difflib.get_close_matches(name, candidates, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(candidates)}"


def check_keys(table: Mapping[str, Any], where: str, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Raise UsageError for a key of `table` that is unknown, or a required one that it lacks.

    where: file and section, as the message shows them.
    """
    needed = list(required)
    known = {*needed, *optional}
    for key in table:
        if key not in known:
            raise UsageError(f"{where}: unknown key {key!r}", did_you_mean(key, known))
    missing = [key for key in needed if key not in table]
    if missing:
        raise UsageError(f"{where}: missing {', '.join(missing)}", "see the files of configs/ for an example")
