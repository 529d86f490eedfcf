"""Takes guided on a terminal as plain lines: countdown, level, what was heard, how far learning is, what came of it."""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgelearn.cli.events import print_added_live, print_removed, print_renamed, print_undone, print_word
from edgelearn.cli.output import emit, say

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event

METER_FLOOR_DB = -60.0
METER_CELLS = 24
TYPED = {"p": "play", "r": "redo"}
TAKE_HINT = "type p and Enter to hear the last take, r and Enter to say it again"


class PlainLines:
    """A session, or what a session tells, as lines: data on stdout, talk on stderr."""

    def __init__(self, as_json: bool, guided: bool = True) -> None:
        """guided: whether whoever reads this is the one who speaks."""
        self._as_json = as_json
        self._guided = guided
        self._moving = sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def heard(self, event: Event) -> None:
        """Print a word that was heard."""
        self._clear()
        print_word(event, self._as_json)

    def tick(self, level_dbfs: float) -> list[dict[str, Any]]:  # noqa: ARG002 - a level is no line
        """Return what was asked for by key: nothing."""
        return []

    def tell(self, event: str, fields: Mapping[str, Any]) -> None:
        """Print what became of a lesson or of the words."""
        if event == "level":
            self._show(f"  {meter(fields['dbfs'], METER_CELLS)} {fields['dbfs']:4.0f} dB")
            return
        if event == "step":
            self._show(f"  learning: {fields['step']} of {fields['of']}")
            return
        self._clear()
        printers = {
            "added": print_added_live, "undone": print_undone, "removed": print_removed, "renamed": print_renamed
        }  # fmt: skip
        if event in printers:
            printers[event](fields, self._as_json)
        elif event == "word" and self._as_json:
            emit("word", **fields)
        elif sentence := sentence_of(event, fields, self._guided):
            say(sentence)

    def _show(self, text: str) -> None:
        """Show a line in place of itself, on a terminal."""
        if self._moving and self._guided:
            self._shown = True
            print(f"\r{text:60}", end="", file=sys.stderr, flush=True)

    def _clear(self) -> None:
        if self._shown:
            self._shown = False
            print(f"\r{'':60}\r", end="", file=sys.stderr, flush=True)


def sentence_of(event: str, fields: Mapping[str, Any], guided: bool = True) -> str:
    """Return what an event of a running lesson is in words, "" for one that is not told."""
    if event == "count":
        if not guided:
            return f"takes of {fields['word']!r} are asked for" if fields["seconds"] == 0 else ""
        return f"  {fields['seconds']} ..." if fields["seconds"] else f"  say {fields['word']!r} now"
    if event == "take" and fields["redo"]:
        return f"  the last take is dropped; {fields['missing']} to go"
    if event == "take":
        return f"  {fields['problem']}" if fields["problem"] else f"  heard; {fields['missing']} to go"
    if event == "play":
        return f"  cannot play it: {fields['problem']}" if fields["problem"] else "  this is the last take"
    if event == "word":
        return f"  heard the word {fields['word']!r} meanwhile, score {fields['score']:.2f}"
    if event == "cancelled":
        return f"the lesson about {fields['word']!r} was given up: nothing is changed"
    if event == "refused":
        return f"another program was refused: {fields['message']}"
    if event == "error":
        return f"{fields['message']}\n  {fields['hint']}" if fields["hint"] else str(fields["message"])
    return ""


def meter(dbfs: float, cells: int) -> str:
    """Return a level (dB of full scale) as a bar."""
    full = round(cells * min(1.0, max(0.0, 1 - dbfs / METER_FLOOR_DB)))
    return "[" + "#" * full + " " * (cells - full) + "]"


def typing_descriptor() -> int | None:
    """Return the descriptor of a terminal that somebody types at, None if there is none."""
    try:
        descriptor = sys.stdin.fileno()
        # a job in the background would be stopped for reading
        return descriptor if os.isatty(descriptor) and os.tcgetpgrp(descriptor) == os.getpgrp() else None
    except (AttributeError, OSError, ValueError):
        return None


def typed_request(descriptor: int | None) -> str:
    """Return what a line that has been typed asks for, "play" or "redo"; "" for no such line: none is waited for."""
    if descriptor is None or not select.select([descriptor], [], [], 0)[0]:
        return ""
    return TYPED.get(os.read(descriptor, 1024).decode(errors="ignore").strip().lower(), "")
