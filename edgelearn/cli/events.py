"""How a word that was heard and a word that was learned are printed, by every verb that hears or learns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgelearn.cli.output import emit, say, table

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event


def print_word(event: Event, as_json: bool, mark: str = "") -> None:
    """Print a word that was heard, with a remark at the end of the line."""
    if as_json:
        emit("word", **(event.fields() | {"score": round(event.score, 4)}))
    else:
        print(
            f"{event.start_s:9.2f} s  {event.word:16} score {event.score:.2f}  "
            f"sparsity {100 * event.sparsity:.0f} %{mark}",
            flush=True,
        )


def print_added(fields: Mapping[str, Any], board: str, as_json: bool, advice: str = "") -> None:
    """Print what learning a word took: the fields of the event `added`, and the title of the board that prices it."""
    _say_confusable(fields)
    if as_json:
        emit("added", **fields)
        return
    clipped = f"; {fields['saturations']:,} numbers left their range and were clipped" * (fields["saturations"] > 0)
    back = unless_kept(fields["updates"], fields["gained"])
    saved = 1 - fields["macs"] / max(1, fields["macs_dense"])
    print(
        f"{lesson_told(fields)}: {fields['updates']} updates{back} in {fields['seconds']:.3g} s here, "
        f"{fields['board_seconds']:.3g} s and {fields['energy_mj']:.3g} mJ on {board} (estimate)\n"
        f"  {100 * fields['sparsity']:.0f} % of the deltas were skipped, {100 * saved:.0f} % of the multiplications "
        f"saved; memory {fields['peak_bytes']:,} of {fields['budget_bytes']:,} bytes{clipped}\n"
        f"  old words on their exemplars: {100 * fields['old_words_before']:.0f} % before, "
        f"{100 * fields['old_words_after']:.0f} % after{advice}",
        flush=True,
    )


def lesson_told(fields: Mapping[str, Any]) -> str:
    """Return what a lesson was about: a word, or a sound that is refused because it was heard as that word."""
    if fields.get("heard") == fields["word"]:
        return f"learned from a false alarm what {fields['word']!r} is not"
    return f"learned {fields['word']!r} from {fields['takes']} take{'s' * (fields['takes'] != 1)}"


def unless_kept(updates: int, gained: bool) -> str:
    """Return why the gradient steps of a lesson changed nothing, in brackets; nothing if they did."""
    if updates == 0:
        return " (too few takes, or too noisy, to move the network)"
    return "" if gained else " (put back: they gained nothing over the plain mean of the takes)"


def print_added_live(fields: Mapping[str, Any], as_json: bool) -> None:
    """Print what learning took in a session that went on listening: the fields of the event `added`."""
    _say_confusable(fields)
    if as_json:
        emit("added", **fields)
        return
    say(f"{lesson_told(fields)} while listening; `edgelearn undo` takes it back")
    table(("", fields["word"]), added_rows(fields))


def added_rows(fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what learning took in a running session, as name and value."""
    gained = "kept: they set it further apart" if fields["gained"] else "put back: they gained nothing"
    if fields["updates"] == 0:
        gained = "the takes are too few, or too noisy"
    return [
        ("old words, before", f"{100 * fields['old_words_before']:.0f} %"),
        ("old words, after", f"{100 * fields['old_words_after']:.0f} %"),
        ("sparsity of the deltas", f"{100 * fields['sparsity']:.0f} %"),
        ("updates", f"{fields['updates']}, {gained}"),
        ("time, here", f"{1000 * fields['seconds']:.0f} ms"),
        (f"time, {fields['board']} (estimate)", f"{1000 * fields['board_seconds']:.0f} ms"),
        (f"energy, {fields['board']} (estimate)", f"{fields['energy_mj']:.3g} mJ"),
        ("memory, most in use", f"{fields['peak_bytes']:,} of {fields['budget_bytes']:,} bytes"),
        ("frames meanwhile", f"{fields['frames_due']} due, {fields['frames_heard']} heard"),
        ("lost meanwhile", f"{fields['frames_lost']} frames, {fields['overruns']} overruns"),
    ]


def print_undone(fields: Mapping[str, Any], as_json: bool) -> None:
    """Print the vocabulary after an undo."""
    if as_json:
        emit("undone", words=fields["words"], last_change=fields["last_change"])
    else:
        say(f"back to: {', '.join(fields['words'])}")


def print_removed(fields: Mapping[str, Any], as_json: bool, undo: str = "edgelearn undo") -> None:
    """Print that a word is forgotten; undo: the command that brings it back."""
    if as_json:
        emit("removed", word=fields["word"])
    else:
        say(f"{fields['word']!r} is forgotten; `{undo}` brings it back")


def print_renamed(fields: Mapping[str, Any], as_json: bool) -> None:
    """Print that a word has another name."""
    if as_json:
        emit("renamed", word=fields["word"], new_name=fields["new_name"])
    else:
        say(f"{fields['word']!r} is now {fields['new_name']!r}")


def _say_confusable(fields: Mapping[str, Any]) -> None:
    if fields["confusable"]:
        like = ", ".join(f"{near['word']!r} ({near['score']:.2f})" for near in fields["confusable"])
        say(f"{fields['word']!r} sounds like {like}: the one may be heard for the other; another name would be safer")
