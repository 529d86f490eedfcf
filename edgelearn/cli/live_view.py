"""A session on a terminal: level, current word, what happened, words, memory, energy; and keys that teach.

It is drawn between two blocks of sound, a few times a second, from what the session holds at that moment.
"""

from __future__ import annotations

import contextlib
import io
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, TextIO

from rich.align import Align
from rich.console import Console, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edgelearn.audio.resample import SAMPLE_RATE_HZ
from edgelearn.cli.events import added_rows, lesson_told
from edgelearn.cli.guide import METER_FLOOR_DB, sentence_of
from edgelearn.cli.keyboard import Keyboard
from edgelearn.runtime.session import Session

if TYPE_CHECKING:
    from edgelearn.cli.appliance import Appliance
    from edgelearn.cli.sources import Source
    from edgelearn.runtime.recognizer import Event

DRAWN_A_SECOND = 5
LOG_LINES = 200
REPLAYED_LINES = 20  # of the log, after the view is gone
TAKES = 3
WORD_SHOWN_S = 4.0
ROWS = (6, 5, 1)  # of the current word, the words, the keys; what is left is for what happened
CARD_SHOWN_S = 20.0
KEYS = "a add a word   c confirm a miss   x reject the last word   u undo   q quit"
GATHERING_KEYS = "p hear the last take   r say it again   Esc give up   q quit"
PROMPTS = {"add": "the new word", "confirm": "the word that was missed"}


class LiveView:
    """A full-screen view of a session; what is said on stderr meanwhile joins its log."""

    def __init__(self, appliance: Appliance, session: Session, source: Source) -> None:
        self._appliance = appliance
        self._session = session
        self._source = source
        self._keyboard = Keyboard()
        self._console = Console(file=sys.stdout, highlight=False)
        self._log: deque[tuple[str, str]] = deque(maxlen=LOG_LINES)
        self._level = METER_FLOOR_DB
        self._now = ("", "", 0.0, 0.0)  # word, remark, score, when
        self._utterances = appliance.device.last.added
        self._card: tuple[float, Mapping[str, Any]] | None = None
        self._status = ""
        self._prompt: tuple[str, str] | None = None
        self._drawn = 0.0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        self._stderr: TextIO = sys.stderr
        self._live = Live(
            self._screen(), console=self._console, screen=True, auto_refresh=False, redirect_stdout=False,
            redirect_stderr=False, vertical_overflow="crop",
        )  # fmt: skip
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._keyboard)
            stack.enter_context(self._live)
            sys.stderr = _Lines(self._note)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        sys.stderr = self._stderr
        self._stack.close()
        for text, _ in list(self._log)[-REPLAYED_LINES:]:
            print(text, file=sys.stderr, flush=True)

    def heard(self, event: Event) -> None:
        """Show a word that was heard."""
        self._now = (event.word, f"{event.end_s:.1f} s", event.score, time.monotonic())
        sparsity = f"sparsity {100 * event.sparsity:.0f} %"
        line = f"{event.end_s:7.1f} s  {event.word:13.13} {event.score:.2f}  {sparsity}"
        self._note(line, "bold")

    def tell(self, event: str, fields: Mapping[str, Any]) -> None:
        """Show what became of a lesson or of the words."""
        if event == "added":
            self._card = (time.monotonic(), fields)
            self._note(f"learned {fields['word']!r}; u takes it back", "green")
            for near in fields["confusable"]:
                self._note(f"{fields['word']!r} sounds like {near['word']!r}: one may be heard for the other", "yellow")
        elif event == "undone":
            self._card = None
            self._note(f"undone; the last change is now: {fields['last_change'] or 'none'}", "green")
        elif event == "removed":
            self._note(f"{fields['word']!r} is forgotten", "green")
        elif event == "renamed":
            self._note(f"{fields['word']!r} is now {fields['new_name']!r}", "green")
        elif event in ("count", "take", "play"):
            self._status = sentence_of(event, fields).strip()
            if event != "count":
                self._note(self._status, "cyan")
        elif sentence := sentence_of(event, fields):
            self._note(sentence, "yellow")
        if not self._session.busy:
            self._status = ""
        self._drawn = 0.0

    def tick(self, level_dbfs: float) -> list[dict[str, Any]]:
        """Draw the session if it is time to, and return what was asked for by key."""
        self._level = max(level_dbfs, self._level - 2.0)  # falls slowly enough to be seen
        requests = self._requests(self._keyboard.pressed())
        self._look_for_misses()
        now = time.monotonic()
        if requests or now - self._drawn >= 1 / DRAWN_A_SECOND:
            self._drawn = now
            self._live.update(self._screen(), refresh=True)
        return requests

    def _look_for_misses(self) -> None:
        last = self._appliance.device.last
        if last.added != self._utterances:
            self._utterances = last.added
            past = last.utterances()[-1:]
            if past and not past[0].heard and not self._session.takes.gathering:
                self._now = ("(no word)", "best score", past[0].score, time.monotonic())

    def _requests(self, keys: str) -> list[dict[str, Any]]:
        if len(keys) > 1 and keys.startswith("\x1b"):
            return []  # an arrow, or another key that has no meaning here
        return [request for key in keys for request in self._request(key)]

    def _request(self, key: str) -> list[dict[str, Any]]:
        if self._prompt is not None:
            return self._typed(*self._prompt, key)
        if self._session.busy:
            simple = {"p": "play", "r": "redo", "\x1b": "cancel", "q": "quit"}
        else:
            simple = {"x": "reject", "u": "undo", "q": "quit"}
            if key in "ac":
                self._prompt = ("add" if key == "a" else "confirm", "")
                self._drawn = 0.0
        return [{"do": simple[key]}] if key in simple else []

    def _typed(self, do: str, text: str, key: str) -> list[dict[str, Any]]:
        """Take a key of the line that a word is typed in."""
        self._drawn = 0.0
        if key == "\x1b" or key in "\r\n":
            self._prompt = None
            return [{"do": do, "word": text.strip(), "takes": TAKES}] if key != "\x1b" and text.strip() else []
        self._prompt = (do, text[:-1] if key in "\x7f\b" else text + key * key.isprintable())
        return []

    def _note(self, text: str, style: str = "") -> None:
        self._log += [(line, style) for line in text.splitlines() if line.strip()]

    def _screen(self) -> Layout:
        middle = Layout(name="middle")
        if self._card is not None and time.monotonic() - self._card[0] < CARD_SHOWN_S:
            middle.update(self._learned(self._card[1]))
        else:
            middle.split_row(Layout(self._happened(), ratio=5), Layout(self._device(), ratio=3))
        screen = Layout()
        screen.split_column(
            Layout(self._current(), size=ROWS[0]),
            middle,
            Layout(self._words(), size=ROWS[1]),
            Layout(self._keys(), size=ROWS[2]),
        )
        return screen

    def _current(self) -> Panel:
        rows = Table.grid(padding=(0, 1))
        rows.add_column(width=7, style="dim")
        rows.add_column(width=40)
        rows.add_column()
        level = max(METER_FLOOR_DB, self._level)
        style = "red" if level > -1 else "green"
        rows.add_row("level", _bar(1 - level / METER_FLOOR_DB, 40, style), f"{level:.0f} dB")
        word, remark, score, at = self._now
        if word and time.monotonic() - at < WORD_SHOWN_S:
            rows.add_row("word", Text(f"{word}", "bold reverse" if word[0] != "(" else "dim"), remark)
            rows.add_row("score", _bar(score, 40, "cyan"), f"{score:.2f}")
        else:
            rows.add_row("word", Text("..."), "")
            rows.add_row("score", _bar(0, 40, "cyan"), "")
        rows.add_row("", self._doing(), "")
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return Panel(rows, title="edgelearn", title_align="left", subtitle=f"{minutes}:{seconds:02d}", padding=(0, 1))

    def _doing(self) -> Text:
        session = self._session
        if session.learning:
            return Text(f"learning {session.word!r}: update {session.updates} of {session.config.steps}", "bold yellow")
        if session.takes.gathering:
            status = f"{session.word!r}: {self._status}"
            return Text(status, "bold yellow", no_wrap=True, overflow="ellipsis")
        return Text("listening", "dim")

    def _happened(self) -> Panel:
        room = max(1, self._console.height - sum(ROWS) - 2)
        lines = list(self._log)[-room:]
        text = Text("\n", no_wrap=True, overflow="ellipsis").join(Text(line, style) for line, style in lines)
        return Panel(Align(text, vertical="bottom"), title="heard", title_align="left", padding=(0, 1))

    def _device(self) -> Panel:
        appliance = self._appliance
        arena, counts = appliance.device.arena, appliance.device.recognizer.counts
        seconds = max(1.0, self._session.samples / SAMPLE_RATE_HZ)
        joules_an_hour = appliance.energy_mj(counts) / 1000 / seconds * 3600
        rows = Table.grid(padding=(0, 1))
        rows.add_column(style="dim")
        rows.add_column(justify="right")
        rows.add_row("memory", f"{arena.high_water_bytes / 1024:.1f} KiB")
        rows.add_row("budget", f"{arena.budget_bytes / 1024:.1f} KiB")
        rows.add_row("", _bar(arena.high_water_bytes / arena.budget_bytes, 12, "magenta"))
        rows.add_row("sparsity", f"{100 * counts.sparsity:.0f} %")
        rows.add_row("energy", f"about {joules_an_hour:.2g} J/h")
        rows.add_row("words left", f"{appliance.device.words_left}")
        rows.add_row("frames", f"{appliance.device.recognizer.frames}")
        rows.add_row("overruns", f"{self._source.overruns}")
        return Panel(rows, title=f"as {appliance.board.name}", title_align="left", padding=(0, 1))

    def _learned(self, fields: Mapping[str, Any]) -> Panel:
        rows = Table.grid(padding=(0, 3))
        for name, value in added_rows(fields):
            rows.add_row(Text(name, "dim"), Text(value))
        title = f"{lesson_told(fields)}, while listening"
        return Panel(rows, title=title, title_align="left", border_style="green", padding=(0, 1))

    def _words(self) -> Panel:
        words = Text(overflow="ellipsis")
        for word in self._appliance.device.recognizer.words:
            if not word.rejects:
                words.append(word.name, "bold green" if word.taught else "")
                words.append("  ")
        return Panel(words, title="words", title_align="left", padding=(0, 1))

    def _keys(self) -> RenderableType:
        if self._prompt is not None:
            return Text.assemble((f" {PROMPTS[self._prompt[0]]}: ", "bold"), self._prompt[1], ("_", "blink"),
                                 ("   Enter: go on   Esc: give up", "dim"))  # fmt: skip
        return Text(f" {GATHERING_KEYS if self._session.busy else KEYS}", "dim")


class _Lines(io.TextIOBase):
    """A stream whose lines go to a function."""

    def __init__(self, note: Any) -> None:
        self._note = note
        self._text = ""

    def write(self, text: str) -> int:
        *lines, self._text = (self._text + text).split("\n")
        for line in lines:
            self._note(line, "yellow")
        return len(text)


def _bar(share: float, cells: int, style: str) -> Text:
    full = round(cells * min(1.0, max(0.0, share)))
    return Text("━" * full, style) + Text("─" * (cells - full), "dim")
