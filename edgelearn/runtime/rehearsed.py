"""The demonstration as a stream: shipped recordings laid into quiet noise, a word taught on the way, what was heard."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.clips import read_clip
from edgelearn.audio.resample import SAMPLE_RATE_HZ
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.session import Happening, Session, Taught

RECORDINGS = Path(__file__).parent.parent / "assets" / "demo"
BLOCK = 800
GAP_S = 0.7
NOISE_LEVEL = 12.0  # RMS in int16 units: a quiet room behind the recordings' digital silence


@dataclass(frozen=True)
class Line:
    """One recording of the demonstration: role is base, take, test or other (not to be heard)."""

    path: Path
    word: str
    role: str


@dataclass
class Performance:
    """What was played and what was heard; false_alarms are events that nothing played accounts for."""

    expected: int = 0
    heard: int = 0
    missed: list[str] = field(default_factory=list)
    false_alarms: list[Event] = field(default_factory=list)
    taught: Taught | None = None
    events_while_learning: int = 0
    seconds_of_sound: float = 0.0
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether every word was heard, nothing else was, and the new word was learned."""
        return self.heard == self.expected and not self.false_alarms and self.taught is not None


def script(folder: Path = RECORDINGS) -> list[Line]:
    """Return the order of the recordings: base words and others, takes, base words while learning runs, then all."""
    with (folder / "recordings.csv").open(newline="", encoding="utf-8") as file:
        lines = [Line(folder / row["file"], row["word"], row["role"]) for row in csv.DictReader(file)]
    base = [line for line in lines if line.role == "base"]
    takes = [line for line in lines if line.role == "take"]
    tests = [line for line in lines if line.role == "test"]
    others = [line for line in lines if line.role == "other"]
    half = len(others) // 2
    return [*base, *others[:half], *takes, *base, *tests, *others[half:], *base[:3], tests[0]]


def perform(session: Session, seed: int, tell: Callable[[Line, Happening | None], None]) -> Performance:
    """Play the script in blocks of 50 ms; `tell` gets each recording with each thing that happened in it, or None."""
    rng = np.random.default_rng(seed)
    result = Performance()
    started = time.perf_counter()
    lines = script()
    takes = [line for line in lines if line.role == "take"]
    for line in lines:
        if line is takes[0]:
            session.ask_for(line.word, len(takes))
        learning = session.busy and line.role != "take"
        sound = _in_a_room(read_clip(line.path), rng)
        happened: list[Happening] = []
        for at in range(0, len(sound), BLOCK):
            happened += session.push(sound[at : at + BLOCK])
        _judge(line, happened, learning, result)
        for happening in happened:
            tell(line, happening)
        if not happened:
            tell(line, None)
    for happening in session.finish():
        if isinstance(happening, Taught):
            result.taught = happening
        tell(lines[-1], happening)
    result.seconds_of_sound = session.samples / SAMPLE_RATE_HZ
    result.seconds = time.perf_counter() - started
    return result


def _in_a_room(clip: NDArray[np.int16], rng: np.random.Generator) -> NDArray[np.int16]:
    gap = int(GAP_S * SAMPLE_RATE_HZ)
    sound = np.concatenate((np.zeros(gap // 4), clip.astype(np.float64), np.zeros(gap)))
    return np.clip(np.rint(sound + NOISE_LEVEL * rng.standard_normal(len(sound))), -32768, 32767).astype(np.int16)


def _judge(line: Line, happened: list[Happening], learning: bool, result: Performance) -> None:
    """Compare what a recording should have caused with what it caused."""
    events = [h for h in happened if isinstance(h, Event)]
    wanted = line.role in ("base", "test")
    result.expected += wanted
    right = [event for event in events if wanted and event.word == line.word]
    result.heard += bool(right)
    if wanted and not right:
        result.missed.append(line.path.name)
    result.false_alarms += [event for event in events if event not in right[:1]]
    result.events_while_learning += bool(right) and learning
    for happening in happened:
        if isinstance(happening, Taught):
            result.taught = happening
