"""What the command lines of the verbs share: the parser, the common flags, settings as flags."""

from __future__ import annotations

import argparse
import shlex
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from edgelearn.errors import UsageError

# edgelearn.config is imported where it is used, because `edgelearn --help` is quicker without it
if TYPE_CHECKING:
    from edgelearn.config import Settings
    from edgelearn.runtime.model import Model


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are UsageErrors, and name the option that was probably meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Raise a UsageError that says `message` and where help is."""
        raise UsageError(message, f"`{self.prog} --help` shows how it is used")

    def parse_known_or_refuse(self, argv: list[str]) -> argparse.Namespace:
        """Return the parsed `argv`; raise UsageError for what is not understood."""
        args, unknown = self.parse_known_args(argv)
        if unknown:
            from edgelearn.device.configfile import did_you_mean

            known = [option for action in self._actions for option in action.option_strings]
            raise UsageError(
                f"`{self.prog}` does not know {unknown[0]!r}",
                did_you_mean(unknown[0].partition("=")[0], known),
            )
        return args


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every verb understands: --model, --config and --json."""
    common = parser.add_argument_group("every command")
    common.add_argument("--model", metavar="PATH", type=Path, help="the model file (default: your own model)")
    common.add_argument(
        "--config", metavar="FILE", type=Path, help="a settings file (default: your own, if there is one)"
    )
    common.add_argument("--json", action="store_true", help="print JSON lines instead of tables")


def add_settings(parser: argparse.ArgumentParser, *names: str) -> None:
    """Add the flags of settings, such as --budget for "device.budget"; `settings` reads them."""
    from edgelearn.config import KEYS

    for name in names:
        key = KEYS[name]
        parser.add_argument(key.flag, dest=name, metavar=key.flag.rpartition("-")[2].upper(), help=key.help)


def settings(args: argparse.Namespace) -> Settings:
    """Return the settings of a run whose command line is `args`."""
    from edgelearn.config import KEYS, load_settings

    return load_settings(args.config, {name: getattr(args, name, None) for name in KEYS})


def word_name(typed: str) -> str:
    """Return the name of a word in the one form (Unicode's NFC) that it has, however its accents were typed."""
    return unicodedata.normalize("NFC", typed)


def model_path(args: argparse.Namespace) -> Path:
    """Return the path of the model that `args` names, else that of the user's own."""
    from edgelearn.config import default_model

    return args.model if args.model is not None else default_model()[0]


def undo_command(path: Path) -> str:
    """Return what takes back a change of the model at a path: one that is not the user's own has to be named."""
    from edgelearn.config import default_model

    return "edgelearn undo" if path == default_model()[0] else f"edgelearn undo --model {shlex.quote(str(path))}"


def open_model(args: argparse.Namespace) -> tuple[Path, Model]:
    """Return the model that `args` names, which must exist, else the user's own, which the first use creates."""
    from edgelearn.runtime.model import load_model, open_user_model

    settings(args)  # a mistake in them is told, whether the verb asks for any or not
    path = model_path(args)
    return path, open_user_model(path) if args.model is None else load_model(path)
