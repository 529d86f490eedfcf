"""A lesson from one of the last utterances, for the verbs that teach from what was just heard."""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings, undo_command
from edgelearn.cli.output import say
from edgelearn.errors import UsageError

# the rest is imported where it is used, because `edgelearn VERB --help` is quicker without it
if TYPE_CHECKING:
    from edgelearn.cli.appliance import Appliance
    from edgelearn.learning.learner import TeachReport
    from edgelearn.runtime.last_utterances import Past
    from edgelearn.runtime.model import Model


def add_lesson(parser: argparse.ArgumentParser) -> None:
    """Add --last, which has to be typed, and the settings of learning."""
    parser.add_argument("--last", action="store_true", required=True, help="learn from the last such utterance")
    add_settings(
        parser, "device.budget", "device.board", "learning.steps", "learning.max_old_loss_percent", "learning.seed"
    )


def last_of(appliance: Appliance, wanted: Callable[[Past], bool], kind: str) -> Past:
    """Return the newest utterance beside the model that is `wanted`; raises as `choose_past` does."""
    from edgelearn.runtime.last_utterances import last_path, load_last

    kept = load_last(last_path(appliance.path), appliance.model)
    return choose_past(kept, wanted, kind, appliance.model)


def choose_past(kept: Sequence[Past], wanted: Callable[[Past], bool], kind: str, model: Model) -> Past:
    """Return the newest utterance that is `wanted`; raises UsageError if none is kept, TakeRejected for a bad one.

    Of a newer one that was heard as what is no word any more nobody knows whether it is wanted: UsageError, too.
    """
    from edgelearn.learning.takes import check_length
    from edgelearn.runtime.last_utterances import NONE_HINT

    words = {word.name for word in model.words}
    for past in reversed(kept):
        if past.heard and past.heard not in words:
            heard = past.heard.strip("()")
            raise UsageError(
                f"the last word that was heard, {heard!r}, is no word any more", "say it once more and learn from that"
            )
        if wanted(past):
            check_length(len(past.frames), model.endpoint, "what was heard")
            return past
    raise UsageError(f"of the last {len(kept)} utterances none was {kind}", NONE_HINT)


def past_fields(past: Past) -> dict[str, object]:
    """Return what the event `added` says of the utterance that was learned from."""
    return {
        "heard": past.heard or None,
        "heard_score": round(past.score, 4),
        "age_s": round(max(0.0, time.time() - past.at), 1),
    }


def learn(appliance: Appliance, word: str, past: Past, lesson: Iterator[TeachReport], as_json: bool) -> None:
    """Run a lesson about `word` to its end, save the model, print what it took, and forget the utterance."""
    from edgelearn.cli.events import print_added
    from edgelearn.runtime.last_utterances import heard_after

    appliance.device.warm_up()
    started = time.perf_counter()
    report = deque(lesson, maxlen=1).pop()
    seconds = time.perf_counter() - started
    appliance.save()
    fields = appliance.added_fields(word, 1, seconds, report) | past_fields(past)
    print_added(fields, appliance.board.title, as_json, f"; `{undo_command(appliance.path)}` takes it back")
    # the last one is what was meant, and none before it: those would be the last ones now
    _rewrite_last(appliance.path, appliance.model, lambda kept: heard_after(kept, past))


def follow_words(model_path: Path, model: Model, renamed: tuple[str, str] | None = None) -> None:
    """Have the last utterances beside a model, whose words have changed, go by what these are called now."""
    from edgelearn.runtime.last_utterances import heard_now

    words = {word.name for word in model.words}
    _rewrite_last(
        model_path, model, lambda kept: [replace(past, heard=heard_now(past.heard, words, renamed)) for past in kept]
    )


def _rewrite_last(model_path: Path, model: Model, change: Callable[[list[Past]], list[Past]]) -> None:
    """Let the last utterances beside a model, if there are any, become what `change` makes of them."""
    from edgelearn.runtime.last_utterances import last_path, load_last, save_last

    place = last_path(model_path)
    try:
        if kept := load_last(place, model):
            save_last(place, model, change(kept))
    except UsageError:
        return  # a lesson from them says what is wrong with them
    except OSError as error:
        say(f"cannot write {place}: {error.strerror}")


class LastKeeper:
    """Keeps the last utterances of a listening device on disk; that they cannot be kept is told once."""

    def __init__(self, appliance: Appliance) -> None:
        from edgelearn.runtime.last_utterances import last_path
        from edgelearn.runtime.model import BASE_MODEL

        self._path = appliance.path
        self._device = appliance.device
        self._model = appliance.model
        # beside the shipped model there is nothing to keep: nothing is taught there
        self._place = last_path(appliance.path) if appliance.path.resolve() != BASE_MODEL.resolve() else None
        self._kept = self._device.last.added
        self._told = False

    def used(self, past: Past) -> dict[str, object]:
        """Forget an utterance that was learned from and those before, and return what the event `added` says of it."""
        self._device.last.forget(past)
        self._write()
        return past_fields(past)

    def follow(self, model: Model, renamed: tuple[str, str] | None = None) -> None:
        """Have the utterances, in the device and on disk, go by what the words are called now."""
        self._device.last.follow([word.name for word in model.words], renamed)
        follow_words(self._path, model, renamed)

    def keep(self) -> None:
        """Write the file if there was an utterance since; if that fails, the next utterance tries again."""
        if self._kept != self._device.last.added:
            self._write()

    def _write(self) -> None:
        from edgelearn.runtime.last_utterances import save_last

        if self._place is None:
            return
        self._kept = self._device.last.added
        try:
            save_last(self._place, self._model, self._device.last.utterances())
        except OSError as error:
            if not self._told:
                say(f"cannot keep the last utterances for `confirm` and `reject`: {self._place}: {error.strerror}")
            self._told = True
