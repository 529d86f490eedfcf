"""What a running session does when it is told to, by a key or by a program at its control socket.

Changes of the model happen here and nowhere else while a session runs: they are made on its device, between two blocks
of sound, and saved at once; one that cannot be saved is taken back.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgelearn.cli.arguments import word_name
from edgelearn.cli.lessons import choose_past
from edgelearn.cli.output import say
from edgelearn.cli.take_player import TakePlayer
from edgelearn.config import KEYS
from edgelearn.errors import EdgelearnError, UsageError
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import go_back
from edgelearn.runtime.recognizer import Event
from edgelearn.runtime.session import Countdown, Happening, Session, TakeHeard, Taught

if TYPE_CHECKING:
    from edgelearn.cli.appliance import Appliance
    from edgelearn.cli.lessons import LastKeeper
    from edgelearn.cli.sources import Source
    from edgelearn.learning.learner import TeachReport
    from edgelearn.runtime.control import Client
    from edgelearn.runtime.last_utterances import Past

COUNTDOWN_S = 3
MOST_TAKES = 20  # that are asked for
MOST_SENT = 50  # from recordings, as many as a request has room for
# what changes the model and is saved in the place of the file that it was read from
ON_THE_FILE = ("add", "teach", "confirm", "reject", "remove", "rename")
STEPS_TOLD = 10  # a client is told of every so many updates
TOLD_S = 1.0  # and as often where these take longer, on a slow machine: it gives up a session that says nothing

Tell = Callable[[str, dict[str, Any]], None]


@dataclass
class _Job:
    """A lesson under way: who asked for it, what it is learned from, and what was lost before it began."""

    client: Client | None
    past: Past | None = None
    learning: bool = False
    overruns: int = 0
    told: int = 0
    told_at: float = 0.0


class LiveTeaching:
    """Carries out requests on a session, and tells its own terminal and whoever asked what comes of them."""

    def __init__(self, appliance: Appliance, session: Session, source: Source, keeper: LastKeeper, tell: Tell) -> None:
        self._appliance = appliance
        self._session = session
        self._source = source
        self._keeper = keeper
        self._tell_terminal = tell
        self._player = TakePlayer(session.takes, self._tell_played)
        self._job: _Job | None = None

    def request(self, request: dict[str, Any], client: Client | None = None) -> None:
        """Do what is asked for; what is wrong with it is told, not raised."""
        actions: dict[str, Callable[[dict[str, Any], Client | None], None]] = {
            "add": self._add, "teach": self._teach, "confirm": self._confirm, "reject": self._reject,
            "undo": self._undo, "remove": self._remove, "rename": self._rename, "redo": self._redo,
            "play": self._play, "cancel": self._cancel,
        }  # fmt: skip
        do = request["do"]
        try:
            if do not in actions:
                raise UsageError(f"a session cannot {do!r:.40}")
            if self._job is not None and do not in ("play", "redo", "cancel"):
                raise EdgelearnError(
                    f"the session is busy with {self._session.word!r}", "do it again when that is learned"
                )
            if do in ON_THE_FILE:
                self._catch_up()
            actions[do](request, client)
        except EdgelearnError as error:
            self._tell_error(error, client)

    def follow(self, happened: list[Happening], sound_s: float, level_dbfs: float) -> list[Happening]:
        """Tell what has happened in a block, learn for a while, and return what happened in that."""
        job = self._job
        if job is None:
            return []
        self._player.follow()
        if job.client is not None and job.client.gone:
            self._player.stop()
            self._session.cancel()
            self._job = None
            self._tell_terminal("cancelled", {"word": self._session.word})
            return []
        for one in happened:
            self._tell_happening(one, job)
        if job.client is not None and self._session.takes.gathering:
            job.client.send("level", dbfs=round(max(-99.0, level_dbfs), 1))
        return list(self.work(sound_s))

    def work(self, sound_s: float) -> list[Taught]:
        """Let the lesson under way go on for as long as so much sound leaves."""
        job = self._job
        if job is None or not self._session.learning:
            return []
        if not job.learning:
            job.learning, job.overruns = True, self._source.overruns
        try:
            done = self._session.work(sound_s)
            for taught in done:
                self._save_lesson(job, taught)
        except EdgelearnError as error:
            self._job = None
            self._tell_error(error, job.client)
            return []
        now, updates = time.monotonic(), self._session.updates
        if not done and job.client is not None and (updates >= job.told + STEPS_TOLD or now >= job.told_at + TOLD_S):
            job.told, job.told_at = updates, now
            job.client.send("step", step=job.told, of=self._session.config.steps)
        return done

    def finish(self) -> None:
        """End with the stream: takes that are missing are let go, a lesson under way runs to its end."""
        self._player.stop()
        while self._job is not None and self._session.learning:
            self.work(60.0)
        if self._job is not None:
            self._cancel({}, None)

    def _add(self, request: dict[str, Any], client: Client | None) -> None:
        takes = request.get("takes")
        if not isinstance(takes, int) or not 1 <= takes <= MOST_TAKES:
            raise UsageError(f"takes cannot be {takes!r:.40}", f"it must be from 1 to {MOST_TAKES}")
        self._session.config = self._config(request)
        self._session.ask_for(_text(request, "word"), takes, request.get("aside") is True, COUNTDOWN_S)
        self._job = _Job(client)

    def _teach(self, request: dict[str, Any], client: Client | None) -> None:
        device, word = self._appliance.device, _text(request, "word")
        takes = _frames(request.get("frames"), device.frontend.config.bands, device.endpoint.longest)
        device.check_new_word(word)
        self._begin(request, client, word, device.teach(word, takes, self._config(request)), len(takes))

    def _confirm(self, request: dict[str, Any], client: Client | None) -> None:
        device, word = self._appliance.device, _text(request, "word")
        self._appliance.model.word(word)
        past = self._past(lambda past: past.heard != word, f"anything else than {word!r}")
        self._begin(request, client, word, device.confirm(word, past.frames, self._config(request)), 1, past)

    def _reject(self, request: dict[str, Any], client: Client | None) -> None:
        device = self._appliance.device
        past = self._past(lambda past: past.heard != "", "heard as a word")
        lesson = device.reject(past.heard, past.frames, self._config(request))
        self._begin(request, client, past.heard, lesson, 1, past)

    def _undo(self, _: dict[str, Any], client: Client | None) -> None:
        appliance = self._appliance
        model = go_back(appliance.path, appliance.check)
        appliance.device.restore(model)
        appliance.model = model
        self._keeper.follow(model)
        last_change = model.history[-1] if model.history else None
        self._done(client, "undone", words=[word.name for word in model.words], last_change=last_change)

    def _remove(self, request: dict[str, Any], client: Client | None) -> None:
        word = _text(request, "word")
        self._appliance.device.remove(word)
        self._save()
        self._keeper.follow(self._appliance.model)
        self._done(client, "removed", word=word)

    def _rename(self, request: dict[str, Any], client: Client | None) -> None:
        word, new_name = _text(request, "word"), _text(request, "new_name")
        device = self._appliance.device
        device.restore(device.model().renamed(word, new_name))
        self._save()
        self._keeper.follow(self._appliance.model, (word, new_name))
        self._done(client, "renamed", word=word, new_name=new_name)

    def _redo(self, _: dict[str, Any], client: Client | None) -> None:
        if self._session.takes.redo() and self._job is not None:
            told = {"word": self._session.word, "problem": "", "missing": self._session.takes.missing, "redo": True}
            self._tell("take", told, self._job.client)
        elif client is None:
            raise EdgelearnError("there is no take to say again")

    def _play(self, _: dict[str, Any], client: Client | None) -> None:  # noqa: ARG002 - the lesson's own client is told
        if self._job is not None:
            self._player.play()
        else:
            raise EdgelearnError("there is no take to hear", "ask for takes first: `edgelearn add WORD`")

    def _tell_played(self, problem: str) -> None:
        self._tell("play", {"problem": problem}, None if self._job is None else self._job.client)

    def _cancel(self, _: dict[str, Any], client: Client | None) -> None:
        job, self._job = self._job, None
        if job is not None:
            self._player.stop()
            self._session.cancel()
            self._tell_terminal("cancelled", {"word": self._session.word})
            if job.client is not None and job.client is not client:
                self._send_error(EdgelearnError("it was cancelled", "nothing was changed"), job.client)

    def _begin(
        self, request: dict[str, Any], client: Client | None, word: str, lesson: Iterator[TeachReport], takes: int,
        past: Past | None = None,
    ) -> None:  # fmt: skip
        self._session.config = self._config(request)
        self._session.learn(word, takes, lesson)
        self._job = _Job(client, past=past)

    def _save_lesson(self, job: _Job, taught: Taught) -> None:
        """Save what was learned, and tell what it took and that nothing was missed meanwhile."""
        self._save()
        fields = self._appliance.added_fields(taught.word, taught.takes, taught.seconds, taught.report) | {
            "frames_due": taught.frames_due,
            "frames_heard": taught.frames,
            "frames_lost": taught.frames_due - taught.frames,
            "overruns": self._source.overruns - job.overruns,
        }
        if job.past is not None:
            fields |= self._keeper.used(job.past)
        self._job = None
        self._done(job.client, "added", **fields)

    def _catch_up(self) -> None:
        """Go on with what another program has made of the file, before anybody says a take that could not be saved."""
        if self._appliance.catch_up():
            self._keeper.follow(self._appliance.model)
            say("the model file was changed by another program: the session goes on with it as it is now")

    def _save(self) -> None:
        """Write the model as the device holds it; if that fails, the device goes back to what the file was."""
        try:
            self._appliance.save()
        except EdgelearnError:
            self._appliance.device.restore(self._appliance.model)
            raise

    def _past(self, wanted: Callable[[Past], bool], kind: str) -> Past:
        kept = self._appliance.device.last.utterances()
        return choose_past(kept, wanted, kind, self._appliance.model)

    def _config(self, request: dict[str, Any]) -> LearnerConfig:
        """Return how to learn: as the session was told at its start, or as the request says."""
        config = self._appliance.learner_config
        values: dict[str, Any] = {}
        for name in ("steps", "max_old_loss_percent", "seed"):
            key = KEYS[f"learning.{name}"]
            if name in request:
                try:
                    values[name] = key.value.read(request[name])
                except ValueError:
                    raise UsageError(f"{name} cannot be {request[name]!r:.40}", f"it is {key.value.wanted}") from None
        return LearnerConfig(
            steps=values.get("steps", config.steps),
            max_old_loss=values.get("max_old_loss_percent", 100 * config.max_old_loss) / 100,
            seed=values.get("seed", config.seed),
        )

    def _tell_happening(self, one: Happening, job: _Job) -> None:
        if isinstance(one, Countdown):
            self._tell("count", {"word": one.word, "seconds": one.seconds}, job.client)
        elif isinstance(one, TakeHeard):
            told = {"word": one.word, "problem": one.problem, "missing": one.missing, "redo": False}
            self._tell("take", told, job.client)
        elif isinstance(one, Event) and job.client is not None:
            job.client.send("word", **one.fields())

    def _tell(self, event: str, fields: dict[str, Any], client: Client | None) -> None:
        self._tell_terminal(event, fields)
        if client is not None:
            client.send(event, **fields)

    def _done(self, client: Client | None, event: str, **fields: Any) -> None:
        self._tell(event, fields, client)
        if client is not None:
            client.end()

    def _tell_error(self, error: EdgelearnError, client: Client | None) -> None:
        if client is None:
            self._tell_terminal("error", {"message": error.message, "hint": error.hint})
        else:
            self._tell_terminal("refused", {"message": error.message})
            self._send_error(error, client)

    def _send_error(self, error: EdgelearnError, client: Client) -> None:
        client.send("error", message=error.message, hint=error.hint, exit_code=error.exit_code)
        client.end()


def _text(request: dict[str, Any], name: str) -> str:
    value = request.get(name)
    if not isinstance(value, str):
        raise UsageError(f"{name} cannot be {value!r:.40}", "it must be a text")
    return word_name(value)


def _frames(value: Any, bands: int, longest: int) -> list[NDArray[np.int8]]:
    """Return takes (int8 Q6, [T, bands]) from base64; raises UsageError for what is none."""
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_SENT:
        found = f"{len(value)} takes are sent at once" if isinstance(value, list) else "there are no takes"
        raise UsageError(found, f"send from 1 to {MOST_SENT}")
    takes = []
    for text in value:
        try:
            data = np.frombuffer(base64.b64decode(text, validate=True), np.int8)
        except (binascii.Error, TypeError, ValueError):
            data = np.zeros(0, np.int8)
        if not len(data) or len(data) % bands or len(data) > 4 * longest * bands:
            raise UsageError("a take is no frames of this model")
        takes.append(data.reshape(-1, bands))
    return takes
