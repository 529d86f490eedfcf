"""Actions beside the listening: each in a thread of its own, one word at a time, its failures told and nothing more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from edgelearn.errors import EdgelearnError

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event

Report = Callable[[str], None]
"""Is told a line, in the thread of whoever has it to tell; it must not raise, which would end that thread."""

LOOK_S = 0.1
"""How often who waits for an action looks up: a Ctrl-C just before a wait without end would be noticed at its end."""


class ActionFailed(EdgelearnError):
    """What an action was to do did not happen; the next word may fare better."""


class Action(Protocol):
    """Something to do for a word; it may take its time."""

    def perform(self, event: Event) -> None:
        """Do it; raises ActionFailed."""

    def close(self) -> None:
        """Give back what it holds."""


class Worker:
    """One action with its thread: never more than one word at a time.

    words: those that it is for, () for all.  patient: whether the sound can wait for an action that is busy, as a file
    can; else the word goes without.  report: is told what went wrong, the same failure once until it is over.
    """

    def __init__(self, title: str, action: Action, words: Sequence[str], patient: bool, report: Report) -> None:
        self.title = title
        self.words = words
        self._action = action
        self._patient = patient
        self._report = report
        self._turn = threading.Condition()
        self._word: Event | None = None
        self._ended = False
        self._failure = ""
        self._failures = 0
        # a daemon: a second Ctrl-C ends the program while an action still runs
        self._thread = threading.Thread(target=self._run, name=title, daemon=True)

    def __call__(self, event: Event) -> None:
        """Hand over a word, unless the action is not for it or is busy."""
        if self.words and event.word not in self.words:
            return
        if self._patient:
            self.wait()
        with self._turn:
            if self._word is None:
                self._word = event
                self._turn.notify_all()
                if not self._thread.is_alive():
                    self._thread.start()
                return
        self._report(f"{self.title} is still running: not started again for {event.word!r}")

    def wait(self) -> None:
        """Wait until the action is done with its word."""
        with self._turn:
            while not self._turn.wait_for(lambda: self._word is None, LOOK_S):
                pass

    def close(self) -> None:
        """Close the action, in the middle of a word if it must be: `wait` first for the end of it."""
        with self._turn:
            self._ended = True
            self._turn.notify_all()
        self._action.close()

    def _run(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._word is not None or self._ended)
                event = self._word
            if event is None:
                return
            self._perform(event)
            with self._turn:
                self._word = None
                self._turn.notify_all()

    def _perform(self, event: Event) -> None:
        try:
            self._action.perform(event)
        except ActionFailed as error:
            failure = str(error)
        except Exception as error:  # of somebody's library: the listening goes on all the same
            failure = f"{self.title}: unexpected {type(error).__name__}: {error}"
        else:
            if self._failures > 1:
                self._report(f"{self.title} works again, after {self._failures} failures")
            self._failure, self._failures = "", 0
            return
        self._failures += 1
        if failure != self._failure:
            self._failure = failure
            self._report(failure)


class Actions:
    """All actions of a run, as one; a context manager that closes them, without waiting."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = tuple(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.close()

    def __call__(self, event: Event) -> None:
        """Hand a word to every action that is for it."""
        for worker in self.workers:
            worker(event)

    def unheard(self, words: Sequence[str]) -> dict[str, list[str]]:
        """Return, by the titles of actions, the words that they wait for and that are not among `words`."""
        missing = {worker.title: [word for word in worker.words if word not in words] for worker in self.workers}
        return {title: names for title, names in missing.items() if names}

    def wait(self) -> None:
        """Wait until every action is done with its word."""
        for worker in self.workers:
            worker.wait()
