"""What the tests of the verbs type, and what they read of what comes back."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from edgelearn.runtime.rehearsed import RECORDINGS

Cli = Callable[..., SimpleNamespace]

TAKES = [str(RECORDINGS / f"computer_flite-slt_take{n}.wav") for n in (1, 2, 3)]
BED = str(next(RECORDINGS.glob("bed_*.wav")))  # one recording of a shipped word, whoever speaks it
NEW_WORD = str(RECORDINGS / "computer_flite-slt_take5.wav")
LEARN = ["--steps", "10", "--max-old-loss-percent", "100"]
ADDED = {
    "word", "takes", "seconds", "updates", "sparsity", "saturations", "macs", "macs_dense", "energy_mj", "peak_bytes",
    "budget_bytes", "old_words_before", "old_words_after", "gained",
}  # fmt: skip


def add(cli: Cli, *more: str, word: str = "computer", code: int = 0) -> SimpleNamespace:
    return cli("add", word, "--from", *TAKES, *LEARN, *more, code=code)


def words(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == "word"]
