"""How long after the end of a word its event comes, and what that time consists of.

    python -m benchmarks.microphone_latency --words 100

`edgelearn listen` at the virtual microphone of the tests, an ALSA plug-in behind the real PortAudio, which tells when
its first sample was spoken.  Linux, gcc, libasound2-dev and libportaudio2 are needed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.microphone_endurance import ROOT, build_plugin, words_in_a_room
from edgelearn.audio import capture_child, capture_process, own_process
from edgelearn.audio.frontend import Frontend
from edgelearn.audio.resample import SAMPLE_RATE_HZ, Resampler
from edgelearn.audio.ring import BlockRing
from edgelearn.cli import events, guide
from edgelearn.cli.main import main as edgelearn
from edgelearn.engine.network import Network
from edgelearn.runtime.model import BASE_MODEL, load_model
from edgelearn.runtime.recognizer import Recognizer

ALSA = """
pcm_type.filemic {{ lib "{0}/libfilemic.so" }}
pcm.mic {{ type filemic samples "{0}/mic.raw" rate {1} loop 1 clock "{0}/clock" }}
pcm.default {{ type plug slave.pcm "mic" }}
"""
BLOCKS, WORDS = "BLOCKS_FILE", "WORDS_FILE"  # variables of the environment
WANTED_MS = 300.0


class Stopwatch:
    """Adds up what calls of some functions take, between two looks."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Have a method measured as `part`."""
        method: Callable[..., Any] = getattr(owner, name)

        def measured(*args: Any, **more: Any) -> Any:
            began = time.monotonic()
            try:
                return method(*args, **more)
            finally:
                self.seconds[part] = self.seconds.get(part, 0.0) + time.monotonic() - began

        setattr(owner, name, measured)


def capture_with_clock(order: str) -> None:
    """Be the capture process, and note when PortAudio delivered each block."""
    write = BlockRing.write
    with Path(os.environ[BLOCKS]).open("w", buffering=1) as file:

        def noted(self: BlockRing, number: int, samples: memoryview, lost: bool) -> None:
            print(number, time.monotonic(), file=file)
            write(self, number, samples, lost)

        BlockRing.write = noted  # type: ignore[method-assign]
        sys.argv[1:] = [order]
        capture_process.main()


def listen_with_clock() -> int:
    """Be `edgelearn listen`, and note of each word when its block was taken and what was done with that."""
    stopwatch = Stopwatch()
    began: dict[str, float] = {}
    start, take, show = own_process.start, capture_child.CaptureChild.take, events.print_word

    def start_noted(_: str, *arguments: str, **more: Any) -> Any:
        return start("benchmarks.microphone_latency", "capture", *arguments, **more)

    def take_noted(self: capture_child.CaptureChild) -> Any:
        taken = take(self)
        stopwatch.seconds.clear()
        began.update(number=self.taken, at=time.monotonic())
        return taken

    own_process.start = start_noted  # type: ignore[assignment]
    capture_child.CaptureChild.take = take_noted  # type: ignore[method-assign]
    for owner, name, part in (
        (Resampler, "push", "resampling"), (Frontend, "push", "front end"), (Network, "forward", "engine"),
        (Recognizer, "_judge_pool", "decision"),
    ):  # fmt: skip
        stopwatch.watch(owner, name, part)
    with Path(os.environ[WORDS]).open("w", buffering=1) as file:

        def show_noted(*args: Any) -> None:
            line = began | {"parts": stopwatch.seconds, "printed": time.monotonic()}
            show(*args)
            print(json.dumps(line), file=file)

        guide.print_word = show_noted  # type: ignore[attr-defined, assignment]
        return edgelearn(["listen", "--device", "mic", "--json"])


def record(folder: Path, rate_hz: int, words: int) -> list[dict[str, Any]]:
    """Return so many words, each with the times of its way: as `listen_with_clock` notes them, and when it was read."""
    build_plugin(folder)
    (folder / "alsa.conf").write_text(ALSA.format(folder, rate_hz))
    environment = os.environ | {
        "ALSA_CONFIG_PATH": str(folder / "alsa.conf"), "PYTHONPATH": str(ROOT), BLOCKS: str(folder / "blocks"),
        WORDS: str(folder / "words"),
    }  # fmt: skip
    heard: list[dict[str, Any]] = []
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.microphone_latency", "listen"], stdout=subprocess.PIPE, env=environment
    ) as process:
        for line in process.stdout or ():
            at = time.monotonic()
            event = json.loads(line)
            if event["event"] == "word":
                heard.append(event | {"read": at})
                if len(heard) == words:
                    process.send_signal(signal.SIGTERM)
            elif event["event"] == "end" and event["gaps"]:
                sys.exit("sound was lost: this machine is too busy just now")
    spoken = float((folder / "clock").read_text())
    blocks = {float(number): float(at) for number, at in map(str.split, (folder / "blocks").read_text().splitlines())}
    notes = map(json.loads, (folder / "words").read_text().splitlines())
    return [
        word | note | {"spoken": spoken + word["end_s"], "delivered": blocks[note["number"]]}
        for word, note in zip(heard, notes, strict=False)
    ]


def parts_of(word: dict[str, Any], frame_s: float, hop_s: float) -> dict[str, float]:
    """Return what the time from the end of a word to its event consists of, in seconds."""
    decided = word["spoken"] + word["latency_ms"] / 1e3 + frame_s - hop_s
    done = word["parts"]
    inside = word["printed"] - word["at"] - sum(done.values())
    return {
        "silence that ends a word": word["latency_ms"] / 1e3,
        "rest of the last frame": frame_s - hop_s,
        "block and system's buffer": word["delivered"] - decided,
        "way out of the capture process": word["at"] - word["delivered"],
        "resampling": done.get("resampling", 0.0),
        "front end": done.get("front end", 0.0),
        "engine": done.get("engine", 0.0),
        "decision": done.get("decision", 0.0),
        "end pointer and session": inside,
        "output": word["read"] - word["printed"],
    }


def main() -> int:
    """Print the table, and return 0 if the median is what is wanted."""
    if sys.argv[1:2] == ["capture"]:
        capture_with_clock(sys.argv[2])
    if sys.argv[1:2] == ["listen"]:
        return listen_with_clock()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--words", type=int, default=100, help="to wait for (default: 100, about four minutes)")
    parser.add_argument("--rate", type=int, default=48000, help="of the microphone (default: 48000)")
    args = parser.parse_args()
    frontend = load_model(BASE_MODEL).frontend
    with tempfile.TemporaryDirectory() as name:
        sound, ends = words_in_a_room(args.rate)
        sound.astype("<i2").tofile(Path(name) / "mic.raw")
        words = record(Path(name), args.rate, args.words)
    rows = [parts_of(word, frontend.frame / SAMPLE_RATE_HZ, frontend.hop / SAMPLE_RATE_HZ) for word in words]
    parts = {part: np.array([row[part] for row in rows]) for part in rows[0]}
    whole = sum(parts.values(), np.zeros(len(rows)))
    once_s = len(sound) / args.rate
    # signed: a soft end may be silence already
    late = np.array(
        [min(((word["end_s"] - end + once_s / 2) % once_s - once_s / 2 for end in ends), key=abs) for word in words]
    )
    lines = parts | {
        "from the end of the word to its event": whole,
        "(end of the word after its sound)": late,
        "(from the end of its sound)": late + whole,
    }
    print(f"{len(words)} words at {args.rate} Hz; ms {'median':>31} {'95 %':>8}")
    for part, seconds in lines.items():
        print(f"{part:38} {1e3 * np.median(seconds):12.3f} {1e3 * np.quantile(seconds, 0.95):8.3f}")
    return 0 if 1e3 * np.median(whole) <= WANTED_MS else 1


if __name__ == "__main__":
    sys.exit(main())
