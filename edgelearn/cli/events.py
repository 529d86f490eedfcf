"""How a word that was heard and a word that was learned are printed, by every verb that hears or learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgelearn.cli.output import emit

if TYPE_CHECKING:
    from edgelearn.runtime.recognizer import Event


def print_word(event: Event, as_json: bool, mark: str = "") -> None:
    """Print a word that was heard, with a remark at the end of the line."""
    if as_json:
        emit("word", **(asdict(event) | {"score": round(event.score, 4)}))
    else:
        print(
            f"{event.start_s:9.2f} s  {event.word:16} score {event.score:.2f}  "
            f"sparsity {100 * event.sparsity:.0f} %{mark}",
            flush=True,
        )


def print_added(fields: Mapping[str, Any], board: str, as_json: bool, advice: str = "") -> None:
    """Print what learning a word took: the fields of the event `added`, and the title of the board that prices it."""
    if as_json:
        emit("added", **fields)
        return
    clipped = f"; {fields['saturations']:,} numbers left their range and were clipped" * (fields["saturations"] > 0)
    saved = 1 - fields["macs"] / max(1, fields["macs_dense"])
    print(
        f"learned {fields['word']!r} from {fields['takes']} take{'s' * (fields['takes'] != 1)}: "
        f"{fields['updates']} updates in {fields['seconds']:.3g} s here, "
        f"{fields['board_seconds']:.3g} s and {fields['energy_mj']:.3g} mJ on {board} (estimate)\n"
        f"  {100 * fields['sparsity']:.0f} % of the deltas were skipped, {100 * saved:.0f} % of the multiplications "
        f"saved; memory {fields['peak_bytes']:,} of {fields['budget_bytes']:,} bytes{clipped}\n"
        f"  old words on their exemplars: {100 * fields['old_words_before']:.0f} % before, "
        f"{100 * fields['old_words_after']:.0f} % after{advice}",
        flush=True,
    )
