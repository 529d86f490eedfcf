"""One stream from its first block to its summary: what is heard, and what is learned meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from edgelearn.audio.level import dbfs
from edgelearn.audio.resample import SAMPLE_RATE_HZ
from edgelearn.cli.lessons import LastKeeper
from edgelearn.cli.live_teaching import LiveTeaching
from edgelearn.cli.output import say
from edgelearn.integrations.notify import Notifier
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.session import Happening, Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgelearn.actions.runner import Actions
    from edgelearn.cli.appliance import Appliance
    from edgelearn.cli.sources import Source
    from edgelearn.runtime.control import ControlServer

LEARNING_SHARE = 0.5  # of the time of live sound
QUIT = "quit"


class Terminal(Protocol):
    """Where a session is shown, and keys are pressed."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(self, *error: object) -> None:
        """Leave the terminal as it was."""

    def heard(self, event: Event) -> None:
        """Show a word that was heard."""

    def tell(self, event: str, fields: Mapping[str, Any]) -> None:
        """Show what became of a lesson or of the words."""

    def tick(self, level_dbfs: float) -> list[dict[str, Any]]:
        """Show the level (dB of full scale) of a block, and return what was asked for by key."""


class Listening:
    """Listens to a source and does what `server`, if there is one, and the keys of the terminal ask for meanwhile."""

    def __init__(
        self, appliance: Appliance, session: Session, source: Source, actions: Actions, terminal: Terminal,
        server: ControlServer | None,
    ) -> None:  # fmt: skip
        self._appliance = appliance
        self._session = session
        self._source = source
        self._actions = actions
        self._terminal = terminal
        self._server = server
        self._keeper = LastKeeper(appliance)
        self._notifier = Notifier()
        self._teaching = LiveTeaching(appliance, session, source, self._keeper, terminal.tell)
        self._busy = 0.0
        self._block_at = time.perf_counter()
        self._frames = self._samples = 0

    def run(self) -> None:
        """Report words until the sound ends, or Ctrl-C or a key ends it; `summary` then tells what was done."""
        recognizer = self._appliance.device.recognizer
        with self._terminal:
            try:
                self._listen()
            except KeyboardInterrupt:
                say()
            self._notifier.stopping()
            self._frames, self._samples = recognizer.frames, self._session.samples
            started = time.perf_counter()
            self._report(self._session.close())
            self._teaching.finish()
            self._busy += time.perf_counter() - started

    def _listen(self) -> None:
        gaps = 0
        for block in self._source:
            self._notifier.alive("listening")
            if self._source.gaps != gaps:
                gaps = self._source.gaps
                self._session.gap()
            level = dbfs(float(np.abs(block.astype(np.int32)).max())) if len(block) else -np.inf
            self._hear(block, level)
            for request in self._terminal.tick(level):
                if request["do"] == QUIT:
                    return
                self._teaching.request(request)
            for client, request in self._server.poll() if self._server is not None else ():
                self._teaching.request(request, client)

    def _hear(self, block: NDArray[np.int16], level: float) -> None:
        """Hear a block, report its words, and learn for a while; it is empty while the microphone is away."""
        before, started = self._block_at, time.perf_counter()
        self._block_at = started
        happened = self._session.hear(block) if len(block) else []
        self._report(happened)
        # without sound it is the time that passes which learning has its share of: else it would stand still
        self._teaching.follow(happened, len(block) / SAMPLE_RATE_HZ if len(block) else started - before, level)
        self._busy += time.perf_counter() - started

    def _report(self, happened: list[Happening]) -> None:
        for event in happened:
            if isinstance(event, Event):
                self._terminal.heard(event)
                started = time.perf_counter()
                self._actions(event)  # which may wait for a program: that is no computing
                self._busy -= time.perf_counter() - started
        self._keeper.keep()  # after that: a card may take its time to write

    def summary(self) -> dict[str, Any]:
        """Return the fields of the event `end`."""
        counts = self._appliance.device.recognizer.counts
        seconds = self._samples / SAMPLE_RATE_HZ
        return {
            "frames": self._frames,
            "overruns": self._source.overruns,
            "gaps": self._source.gaps,
            "reopens": self._source.reopens,
            "realtime_factor": round(self._busy / seconds, 5) if seconds else 0.0,
            "energy_mj": round(self._appliance.energy_mj(counts), 4),
            "seconds": round(seconds, 3),
            "sparsity": round(counts.sparsity, 4),
            "board": self._appliance.board.name,
        }
