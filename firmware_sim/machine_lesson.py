"""A lesson that stops in the middle: on a device it is a loop that returns, here a thread that waits.

Only one of the two threads ever runs: the lesson's while its owner waits in `resume`, the owner's while the lesson
waits in `pause`. So the order of all that happens is the owner's, and the same every time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class _LetGo(BaseException):
    """Unwinds a lesson that nobody will resume: what it holds is put back on the way."""


class PausedLesson:
    """`body` runs only in `resume`, until it calls `pause` or ends."""

    def __init__(self, body: Callable[[], None]) -> None:
        self.ended = False
        self._body = body
        self._error: BaseException | None = None
        self._dropped = False
        self._go, self._stopped = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._stopped.acquire()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def resume(self) -> None:
        """Run on to the next pause or to the end; raises what the lesson raised."""
        self._go.release()
        self._stopped.acquire()
        if self._error is not None:
            raise self._error

    def pause(self) -> None:
        """Stop here, on the lesson's side, until the owner resumes it."""
        self._stopped.release()
        self._go.acquire()
        if self._dropped:
            raise _LetGo

    def drop(self) -> None:
        """End it where it stands."""
        self._dropped = True
        if not self.ended:
            self.resume()
        self._thread.join()

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._dropped:
                self._body()
        except _LetGo:
            pass
        except BaseException as error:  # for the owner
            self._error = error
        self.ended = True
        self._stopped.release()
