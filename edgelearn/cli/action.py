"""What a command line does for each word: the command of `--exec`, and the [actions] of the settings."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from edgelearn.actions.command import CommandAction
from edgelearn.actions.opening import open_actions
from edgelearn.actions.runner import Actions, Worker
from edgelearn.actions.spec import ActionSpec
from edgelearn.cli.output import say
from edgelearn.device.configfile import did_you_mean
from edgelearn.errors import UsageError


def actions_of(text: str | None, specs: Sequence[ActionSpec], patient: bool) -> Actions:
    """Open the actions of a run; what goes wrong with them later is said on stderr.

    text: of `--exec`, a command that may run as long as it likes.  patient: whether the sound can wait for an action
    that is busy.  Raises UsageError for a text that no shell could split, and what `open_actions` raises.
    """
    try:
        command = shlex.split(text or "")
    except ValueError as error:
        raise UsageError(f"--exec {text!r}: {error}", "quote it as for a shell") from None
    actions = open_actions(specs, patient, say)
    if command:
        of_exec = Worker(command[0], CommandAction(command, None), (), patient, say)
        actions = Actions([of_exec, *actions.workers])
    return actions


def say_unheard(actions: Actions, words: Sequence[str]) -> None:
    """Say which words actions wait for that the model does not have; they may be taught later."""
    for title, names in actions.unheard(words).items():
        for name in names:
            say(f"{title} waits for {name!r}, which is no word of this model: {did_you_mean(name, words)}")
