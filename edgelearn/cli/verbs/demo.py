"""`edgelearn demo`: the whole loop on shipped recordings."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from edgelearn.cli.arguments import add_settings
from edgelearn.cli.output import emit, say
from edgelearn.errors import UsageError

if TYPE_CHECKING:
    from edgelearn.cli.appliance import Appliance
    from edgelearn.runtime.rehearsed import Line, Performance
    from edgelearn.runtime.session import Happening

HELP = (
    "Hear the shipped words, learn a new one while listening, hear that too: "
    "on shipped recordings, through the microphone's own path."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the board and the budget."""
    add_settings(parser, "device.board", "device.budget", "learning.steps", "learning.seed")


def run(args: argparse.Namespace) -> int:
    """Play the demonstration; 0 if every word was heard and nothing else was."""
    from edgelearn.cli.appliance import open_appliance
    from edgelearn.runtime.model import BASE_MODEL
    from edgelearn.runtime.rehearsed import perform, script
    from edgelearn.runtime.session import Session

    args.model = args.model or BASE_MODEL  # never the user's own: a demonstration changes nothing
    appliance = open_appliance(args)
    taught = {line.word for line in script() if line.role == "take"}
    for word in taught & {word.name for word in appliance.model.words}:
        raise UsageError(f"{args.model} knows {word!r}, which the demonstration teaches", "leave --model out")
    say("warming up: the first time, the kernels are compiled for this machine")
    appliance.device.warm_up()
    session = Session(appliance.device, appliance.learner_config, steps_per_block=1)
    as_json = bool(args.json)
    result = perform(session, 0, lambda line, happening: _tell(line, happening, as_json))
    _summary(appliance, result, as_json)
    return 0 if result.passed else 1


def _tell(line: Line, happening: Happening | None, as_json: bool) -> None:
    from edgelearn.cli.events import print_word, unless_kept
    from edgelearn.runtime.recognizer import Event
    from edgelearn.runtime.session import TakeHeard, Taught

    if isinstance(happening, Event):
        mark = "" if happening.word == line.word else f"   <- {line.word!r} was played"
        print_word(happening, as_json, mark)
    elif isinstance(happening, TakeHeard) and not as_json:
        print(
            f"           take of {happening.word!r} {happening.problem or 'recorded'}; {happening.missing} to go",
            flush=True,
        )
    elif isinstance(happening, Taught) and not as_json:
        report = happening.report
        back = unless_kept(report.updates, report.gained)
        print(
            f"           learned {happening.word!r} while listening: {report.updates} updates of the weights{back}",
            flush=True,
        )
    elif happening is None and line.role == "other" and not as_json:
        print(
            f"           {line.word!r} was played and is no word of the device: nothing heard, as it should be",
            flush=True,
        )


def _summary(appliance: Appliance, result: Performance, as_json: bool) -> None:
    from edgelearn.cli.events import print_added

    arena = appliance.device.arena
    taught = result.taught
    fields: dict[str, object] = {}
    if not as_json:
        print("\nmemory of the device, in bytes")
        print("\n".join(row for row in arena.report().splitlines() if not row.startswith("  ")) + "\n")
    if taught is not None:
        fields = appliance.added_fields(taught.word, taught.takes, taught.seconds, taught.report)
        print_added(fields, appliance.board.title, as_json)
    if as_json:
        emit(
            "summary",
            words_expected=result.expected, words_heard=result.heard, false_alarms=len(result.false_alarms),
            word_added=taught.word if taught else None, learn_seconds=round(taught.seconds, 4) if taught else None,
            peak_bytes=arena.high_water_bytes, budget_bytes=arena.budget_bytes, missed=result.missed,
            heard_while_learning=result.events_while_learning, seconds_of_sound=round(result.seconds_of_sound, 2),
            realtime_factor=round(result.seconds / result.seconds_of_sound, 4), sparsity=fields.get("sparsity"),
            energy_mj=fields.get("energy_mj"), board=appliance.board.name, passed=result.passed,
        )  # fmt: skip
    else:
        print("\n" + _sentence(result))


def _sentence(result: Performance) -> str:
    """Return one plain sentence that says what happened."""
    if result.taught is None:
        return "The new word was not learned."
    word, takes = result.taught.word, result.taught.takes
    heard = f"{result.heard} of {result.expected} words were heard"
    if result.passed:
        return (
            f"{heard} and nothing else set it off: the device learned {word!r} from {takes} takes without missing a "
            f"beat of {result.seconds_of_sound:.0f} s of sound, all within its memory, and still knows its old words."
        )
    missed = f" (missed: {', '.join(result.missed)})" if result.missed else ""
    count = len(result.false_alarms)
    alarms = f"there {'was' if count == 1 else 'were'} {count or 'no'} false alarm{'s' * (count != 1)}"
    return f"{heard}{missed}, {alarms}, and {word!r} was learned from {takes} takes."
