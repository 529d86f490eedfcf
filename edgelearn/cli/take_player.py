"""Hearing the take that was just recorded, while its session goes on listening."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from edgelearn.audio.playback import Playback
from edgelearn.runtime.take_collector import TakeCollector


class TakePlayer:
    """Plays the last take of those that a session gathers, which wait meanwhile, as learning does.

    `tell` hears "" when it begins, and why it cannot be played if it cannot.
    """

    def __init__(self, takes: TakeCollector, tell: Callable[[str], None]) -> None:
        self._takes = takes
        self._tell = tell
        self._playback: Playback | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def play(self) -> None:
        """Begin to play the last take; one that is being played begins anew."""
        self.stop()
        take = self._takes.last
        if take is None:
            self._tell("there is none")
            return
        try:
            self._playback = Playback(take)
        except OSError as error:
            self._tell(str(error.strerror))
            return
        self._takes.hold()
        self._tell("")

    def follow(self) -> None:
        """Let the session wait a moment more, if the take is still being played: to be called after each block."""
        if self._playback is None:
            return
        if self._playback.busy:
            self._takes.hold()
            return
        problem, self._playback = self._playback.problem, None
        if problem:
            self._tell(problem)

    def stop(self) -> None:
        """Be silent."""
        if self._playback is not None:
            self._playback.stop()
            self._playback = None
