"""What does memory buy?  The same word, taught to devices from too small to roomy.

    python examples/memory_budget.py

A larger device has a longer tape: a gradient step reaches further back into a word.
"""

from __future__ import annotations

import argparse
import sys
from collections import deque
from pathlib import Path

import numpy as np

from edgelearn.audio.clips import read_clip
from edgelearn.device.sizes import format_size, parse_size
from edgelearn.errors import BudgetExceeded
from edgelearn.learning.learner import LearnerConfig
from edgelearn.learning.takes import take_from_clip
from edgelearn.runtime.model import BASE_MODEL, Model, load_model
from edgelearn.runtime.rehearsed import RECORDINGS
from edgelearn.runtime.voice import VoiceDevice, sufficient_budget

BUDGETS = ("240KiB", "244KiB", "248KiB", "256KiB", "320KiB", "384KiB")


def study(model: Model, budget_bytes: int, word: str, takes: list[Path], tests: list[Path]) -> str:
    """Return the line of the table for one budget."""
    try:
        device = VoiceDevice(model, budget_bytes)
    except BudgetExceeded as error:
        return f"does not fit: {error.message}; {format_size(sufficient_budget(model))} would do"
    frames = [take_from_clip(read_clip(path), device.frontend, model.endpoint, path.name) for path in takes]
    report = deque(device.teach(word, frames, LearnerConfig()), maxlen=1).pop()
    recognizer = device.recognizer
    silence = np.zeros(8000, np.int16)  # the room that the word stands out of
    scores = []
    for path in tests:
        recognizer.reset()
        events = recognizer.push(np.concatenate((silence, read_clip(path)))) + recognizer.finish()
        scores += [event.score for event in events if event.word == word]
    reach_ms = 1000 * device.tape.capacity_frames / model.frontend.frame_rate_hz
    score = f"{np.mean(scores):.3f}" if scores else "-"
    return (
        f"{device.arena.high_water_bytes:>10,}  {device.tape.capacity_frames:>6}  {reach_ms:>8.0f}  "
        f"{report.truncated_frames:>9}  {len(scores):>5} of {len(tests)}  {score:>6}  {100 * report.old_after:>7.0f} %"
    )


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What does memory buy?")
    parser.add_argument("budgets", nargs="*", default=BUDGETS, help=f"sizes (default: {' '.join(BUDGETS)})")
    args = parser.parse_args(argv)

    model = load_model(BASE_MODEL)
    recordings = sorted(RECORDINGS.glob("computer_*.wav"))  # shipped with the demonstration
    takes, tests = recordings[:3], recordings[3:]
    print("  budget  bytes used  frames  reach ms  truncated  heard       score  old words")
    for budget in args.budgets:
        print(f"{budget:>8}  {study(model, parse_size(budget), 'computer', takes, tests)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
