"""An hour of listening on every board, simulated, with ten words taught on the way: deadlines, energy, speed.

    python benchmarks/simulated_hour.py                    # all boards, the shipped recordings
    python benchmarks/simulated_hour.py --boards stm32u385 --audio DATA --worst
    python benchmarks/simulated_hour.py --write            # and put the table into docs/machine.md
    python benchmarks/simulated_hour.py --slices           # instead: half a minute with learning cut up or not

Something is said every twelve seconds in a quiet room. Without --audio the new words are shipped recordings played
backwards, each take a little faster, slower, louder or softer, from a seed; with it they are ten words of that folder's
novel ones, five takes of one speaker each. The table is the same on every machine but for its last column.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from benchmarks.pages import with_block
from edgelearn.audio.clips import read_clip
from edgelearn.audio.datasets import read_manifest
from edgelearn.cli.output import format_table, say
from edgelearn.device.board import list_boards, load_board
from edgelearn.learning.learner import LearnerConfig
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.rehearsed import RECORDINGS, script
from firmware_sim.machine_loop import Machine, MachineConfig
from firmware_sim.machine_report import verdict
from firmware_sim.scenario import SAMPLE_RATE_HZ, Deed, Scenario, Sound

SECONDS = 3600.0
WORDS, TAKES = 10, 3
EVERY_S, FIRST_LESSON_S, LESSON_EVERY_S = 12.0, 60.0, 330.0
PAGE = Path(__file__).resolve().parent.parent / "docs" / "machine.md"
BEGIN, END = "<!-- hour: written by benchmarks/simulated_hour.py -->\n", "<!-- end of hour -->\n"
HEADERS = (
    "board", "frames", "missed", "features ms", "slice ms", "network ms", "learned", "heard", "s a lesson", "J",
    "mean mW", "x real time",
)  # fmt: skip

SLICE_HEADERS = (
    "board", "step: missed", "ms", "call: missed", "ms", "piece: missed", "piece ms", "features ms", "network ms",
    "longest slice that does", "missed with that",
)  # fmt: skip


def main() -> None:
    """Simulate, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", nargs="+", default=list_boards(), metavar="NAME")
    parser.add_argument("--audio", type=Path, metavar="DATA", help="a folder with a manifest.csv, see docs/cli.md")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--worst", action="store_true", help="the high end of every figure of the boards")
    parser.add_argument("--slices", action="store_true", help="what is missed if learning returns less often")
    parser.add_argument("--write", action="store_true", help="put the table into docs/machine.md")
    args = parser.parse_args()
    if args.slices:
        print(format_table(SLICE_HEADERS, [slices(board, args.worst) for board in args.boards]))
        return
    with tempfile.TemporaryDirectory() as folder:
        words = reversed_words(Path(folder)) if args.audio is None else words_of(args.audio)
        scenario = Scenario(args.seconds, tuple(deeds(words, args.seconds)), seed=1)
        rows = []
        for board in args.boards:
            rows.append(hour(board, scenario, args.worst))
            say(format_table(HEADERS, rows[-1:]))
    text = format_table(HEADERS, rows)
    print(text)
    if args.write:
        page = PAGE.read_text(encoding="utf-8")
        block = "".join(f"    {line}\n" for line in text.splitlines())
        PAGE.write_text(with_block(page, BEGIN, END, block), encoding="utf-8")


def hour(board: str, scenario: Scenario, worst: bool) -> tuple[object, ...]:
    """Return a row of the table."""
    config = MachineConfig(worst=worst, timeline_ms=1000)
    started = time.perf_counter()
    machine = Machine(load_model(BASE_MODEL), load_board(board), scenario, Sound(scenario), LearnerConfig(), config)
    machine.run()
    seconds = time.perf_counter() - started
    found = verdict(machine)
    said = sum(len(deed.files) for deed in scenario.deeds if deed.do == "say")
    for one in machine.tally.log:
        if one.what == "refused":
            say(f"{board}: {one.at_s:.1f} s {one.text}")
    lesson_s = machine.meter.ns["learning"] / 1e9 / max(1, found["taught"])
    return (
        board, found["frames"], found["deadlines_missed"], found["worst_response_ms"], found["longest_slice_ms"],
        found["worst_frame_ms"], found["taught"], f"{found['words']} of {said}", lesson_s, found["joules"],
        1e3 * found["joules"] / found["seconds"], round(scenario.seconds / seconds),
    )  # fmt: skip


def slices(board: str, worst: bool) -> tuple[object, ...]:
    """Return a row of the study: a word taught and four said, by where learning returns to the main loop."""
    takes = tuple(line.path for line in script() if line.role == "take")[:TAKES]
    said = tuple(next(RECORDINGS.glob(f"{word}_*.wav")) for word in ("down", "left", "zero", "up"))
    scenario = Scenario(26.0, (Deed(1.0, "teach", "computer", takes), Deed(8.0, "say", files=said)))
    model = load_model(BASE_MODEL)

    def run(config: MachineConfig) -> Machine:
        machine = Machine(model, load_board(board), scenario, Sound(scenario), LearnerConfig(), config)
        machine.run()
        return machine

    row: list[object] = [board]
    for returns in ("step", "call"):
        tally = run(MachineConfig(returns=returns, worst=worst)).tally
        row += [tally.missed, tally.longest_slice_ns / 1e6]
    machine = run(MachineConfig(worst=worst))
    found = verdict(machine)
    names = ("longest_piece_ms", "worst_response_ms", "worst_frame_ms", "slice_that_does_ms")
    longest = run(MachineConfig(slice_us=1e3 * found["slice_that_does_ms"], worst=worst))
    return (*row, machine.tally.missed, *(found[name] for name in names), longest.tally.missed)


def deeds(words: dict[str, list[Path]], seconds: float) -> list[Deed]:
    """Return what happens: a lesson every so often, and in between something that is known by then, in turn."""
    lessons = [FIRST_LESSON_S + n * LESSON_EVERY_S for n in range(len(words))]
    found = [
        Deed(at, "teach", word, tuple(takes[:TAKES]))
        for at, (word, takes) in zip(lessons, words.items(), strict=True)
        if at < seconds
    ]
    shipped = [line.path for line in script() if line.role == "base"]
    for number, at in enumerate(np.arange(EVERY_S / 2, seconds - EVERY_S, EVERY_S).tolist()):
        if any(-EVERY_S / 4 < at - lesson < EVERY_S / 2 for lesson in lessons):
            continue  # the takes are said there; what comes next is said while they are learned
        taught = [takes[-1] for lesson, takes in zip(lessons, words.values(), strict=True) if lesson + 120 < at]
        known = shipped + taught
        found.append(Deed(at, "say", files=(known[number % len(known)],)))
    return sorted(found, key=lambda deed: deed.at_s)


def reversed_words(folder: Path) -> dict[str, list[Path]]:
    """Write takes of words that nobody knows: shipped recordings backwards, and return their files."""
    rng = np.random.default_rng(1)
    sources = sorted(path for path in RECORDINGS.glob("*.wav") if "computer" not in path.name)[:WORDS]
    words: dict[str, list[Path]] = {}
    for source in sources:
        clip = read_clip(source)[::-1].astype(np.float64)
        word = f"{source.stem.partition('_')[0]} backwards"
        words[word] = []
        for take in range(TAKES + 1):
            at = np.arange(0, len(clip) - 1, rng.uniform(0.96, 1.04))
            sound = np.interp(at, np.arange(len(clip)), clip) * rng.uniform(0.7, 1.0)
            path = folder / f"{source.stem}_{take}.wav"
            wavfile.write(path, SAMPLE_RATE_HZ, np.rint(sound).astype(np.int16))
            words[word].append(path)
    return words


def words_of(folder: Path) -> dict[str, list[Path]]:
    """Return recordings of ten novel words of a data folder, all of a word by one speaker."""
    spoken: dict[tuple[str, str, str], list[Path]] = {}
    for clip in read_manifest(folder):
        if clip.novel and clip.word:
            spoken.setdefault((clip.dataset, clip.word, clip.speaker), []).append(clip.path)
    words: dict[str, list[Path]] = {}
    for (_, word, _), paths in sorted(spoken.items()):
        if len(paths) > TAKES and len(words) < WORDS:
            words.setdefault(f"{word} anew", paths)
    if len(words) < WORDS:
        sys.exit(f"{folder} has only {len(words)} novel words with {TAKES + 1} recordings of one speaker")
    return words


if __name__ == "__main__":
    main()
