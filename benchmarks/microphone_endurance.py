"""How `edgelearn listen` bears a microphone that is pulled out and stalls, and what an hour of listening costs.

    python benchmarks/microphone_endurance.py accidents --times 20
    python benchmarks/microphone_endurance.py listening --minutes 30

The microphone is the virtual one of the tests: an ALSA plug-in behind the real PortAudio, which plays the recordings
of the demonstration, over and over, at 48 kHz.  Linux, gcc, libasound2-dev and libportaudio2 are needed.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from edgelearn.audio.clips import read_clip

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "tests" / "audio" / "vmic" / "filemic.c"
RECORDINGS = ROOT / "edgelearn" / "assets" / "demo"
ALSA = """
pcm_type.filemic {{ lib "{0}/libfilemic.so" }}
pcm.mic {{ type filemic samples "{0}/mic.raw" rate {1} loop 1 gone "{0}/gone" stuck "{0}/stuck" }}
pcm.default {{ type plug slave.pcm "mic" }}
"""
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
AUDIBLE = 10 ** (-30 / 20)  # of the peak of a word: what is softer is its echo
FIRST_WORD_S = 300  # the kernels may have to be compiled
NOTICED_S, REOPENED_S, CPU_SHARE = 1.0, 2.0, 0.03  # what is wanted


def build_plugin(folder: Path) -> None:
    """Build the ALSA plug-in that is the microphone."""
    subprocess.run(
        ["gcc", "-O2", "-shared", "-fPIC", "-DPIC", "-o", folder / "libfilemic.so", PLUGIN, "-lasound"], check=True
    )


def words_in_a_room(rate_hz: int) -> tuple[NDArray[np.int16], list[float]]:
    """Return every recording of the demonstration in quiet noise, and the second at which each one's word has faded."""
    rng = np.random.default_rng(0)
    parts, ends = [np.zeros(12000)], []
    for path in sorted(RECORDINGS.glob("*.wav")):
        word = read_clip(path).astype(np.float64)
        audible = np.flatnonzero(np.abs(word) >= AUDIBLE * np.abs(word).max())
        ends.append((sum(map(len, parts)) + int(audible[-1])) / 16000)
        parts += [word, np.zeros(9600)]
    sound = np.concatenate(parts)
    sound = resample_poly(sound + 12 * rng.standard_normal(len(sound)), rate_hz // 16000, 1)
    return np.clip(np.rint(sound), -32768, 32767).astype(np.int16), ends


def make_microphone(folder: Path, rate_hz: int) -> None:
    """Build the plug-in, and the sound that it plays, over and over."""
    build_plugin(folder)
    words_in_a_room(rate_hz)[0].astype("<i2").tofile(folder / "mic.raw")
    (folder / "alsa.conf").write_text(ALSA.format(folder, rate_hz))


class Listener:
    """`edgelearn listen` as a process, with the events that it prints and the time at which each came."""

    def __init__(self, folder: Path) -> None:
        environment = os.environ | {"ALSA_CONFIG_PATH": str(folder / "alsa.conf"), "PYTHONPATH": str(ROOT)}
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgelearn", "listen", "--device", "mic", "--json"],
            stdout=subprocess.PIPE, stderr=(folder / "stderr").open("w"), env=environment, text=True,
        )  # fmt: skip
        self.events: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        self.wait_for("word", timeout_s=FIRST_WORD_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            self.events.put((time.monotonic(), json.loads(line)))
        self.events.put((time.monotonic(), {"event": "gone"}))

    def wait_for(self, event: str, state: str = "", timeout_s: float = 60) -> tuple[float, dict[str, Any]]:
        """Return the next event of a kind, and when it came."""
        while True:
            at, line = self.events.get(timeout=timeout_s)
            if line["event"] == "gone":
                sys.exit((self._folder / "stderr").read_text())
            if line["event"] == event and (not state or line["state"] == state):
                return at, line

    @property
    def children(self) -> list[int]:
        """The processes that it has started and that are still there."""
        pid = self._process.pid
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def cpu_seconds(self) -> float:
        """Processor time of the process, of its children, and of all those it had."""
        total = 0
        for pid in (self._process.pid, *self.children):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
        return total / TICKS_A_SECOND

    def resident_bytes(self) -> tuple[int, int]:
        """Memory of the process and of its children."""
        sizes = [
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
            for pid in (self._process.pid, *self.children)
        ]
        return sizes[0], sum(sizes[1:])

    def end(self) -> dict[str, Any]:
        """Stop it as a service is stopped, and return its summary."""
        self._process.send_signal(signal.SIGTERM)
        _, line = self.wait_for("end")
        self._process.wait(10)
        return line

    def left_behind(self) -> list[int]:
        """Processes that still use this microphone."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if str(self._folder / "alsa.conf").encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:
                continue
        return found


def accidents(folder: Path, listener: Listener, times: int) -> bool:
    """Pull the microphone out and let it stall, so many times each; print what was measured."""
    generator = random.Random(0)
    worst: dict[str, list[float]] = {"noticed": [], "reopened": [], "cpu": []}
    print("accident   away s  noticed s  reopened s  CPU while away %  processes")
    for number in range(2 * times):
        accident = ("gone", "stuck")[number % 2]
        time.sleep(generator.uniform(1.0, 2.0))
        began = time.monotonic()
        (folder / accident).touch()
        lost, _ = listener.wait_for("microphone", "lost")
        cpu, at = listener.cpu_seconds(), time.monotonic()
        time.sleep(generator.uniform(2.0, 6.0))
        share = (listener.cpu_seconds() - cpu) / (time.monotonic() - at)
        gone = time.monotonic()
        (folder / accident).unlink()
        back, _ = listener.wait_for("microphone", "back")
        row = {"noticed": lost - began, "reopened": back - gone, "cpu": share}
        for name, value in row.items():
            worst[name].append(value)
        print(
            f"{accident:9} {gone - lost:7.1f} {row['noticed']:10.2f} {row['reopened']:11.2f} {100 * share:17.1f} "
            f"{len(listener.children):10}",
            flush=True,
        )
    summary = listener.end()
    time.sleep(1)
    left = listener.left_behind()
    lines = len((folder / "stderr").read_text().splitlines())
    print(
        f"noticed: median {np.median(worst['noticed']):.2f} s, worst {max(worst['noticed']):.2f} s\n"
        f"reopened: median {np.median(worst['reopened']):.2f} s, worst {max(worst['reopened']):.2f} s\n"
        f"CPU while away: mean {100 * np.mean(worst['cpu']):.1f} %, worst {100 * max(worst['cpu']):.1f} % of a core\n"
        f"reopens {summary['reopens']}, overruns {summary['overruns']}, processes left behind {len(left)}, "
        f"lines on stderr {lines}"
    )
    return max(worst["noticed"]) <= NOTICED_S and max(worst["reopened"]) <= REOPENED_S and not left


def listening(listener: Listener, minutes: float) -> bool:
    """Listen for so long; print CPU, memory, and how far the clock of the sound and that of the wall drift apart."""
    first, word = listener.wait_for("word")
    origin = first - word["end_s"]
    heard: Counter[str] = Counter()
    time.sleep(10)  # what is loaded late is loaded by now
    began, cpu = time.monotonic(), listener.cpu_seconds()
    memory = [listener.resident_bytes()]
    offsets = []
    print("minute  CPU %  program MiB  microphone MiB  sound behind the clock ms", flush=True)
    while time.monotonic() - began < 60 * minutes:
        time.sleep(min(60.0, 60 * minutes))
        while not listener.events.empty():
            at, line = listener.events.get()
            if line["event"] == "word":
                heard[line["word"]] += 1
                # latency_ms of sound passes between the end of a word and its event
                offsets.append((at, at - origin - line["end_s"]))
        memory.append(listener.resident_bytes())
        elapsed = time.monotonic() - began
        print(
            f"{elapsed / 60:6.1f} {100 * (listener.cpu_seconds() - cpu) / elapsed:6.2f} "
            f"{memory[-1][0] / 2**20:12.2f} {memory[-1][1] / 2**20:15.2f} {1e3 * offsets[-1][1]:26.1f}",
            flush=True,
        )
    share = (listener.cpu_seconds() - cpu) / (time.monotonic() - began)
    summary = listener.end()
    time.sleep(1)
    # the least late event of a stretch is the one that nothing held up
    third = len(offsets) // 3
    drift_s = min(offset for _, offset in offsets[-third:]) - min(offset for _, offset in offsets[:third])
    span_s = (offsets[-1][0] - offsets[0][0]) * 2 / 3
    growth = [(memory[-1][i] - memory[1][i]) / 1024 for i in (0, 1)]
    print(
        f"CPU {100 * share:.2f} % of a core; memory grew by {growth[0]:.0f} KiB and {growth[1]:.0f} KiB after the "
        f"first minute\ndrift {1e3 * drift_s:+.1f} ms, {1e6 * drift_s / span_s:+.1f} ppm\n"
        f"sound {summary['seconds']:.1f} s, frames {summary['frames']}, overruns {summary['overruns']}, "
        f"reopens {summary['reopens']}, words {sum(heard.values())}, real-time factor {summary['realtime_factor']}\n"
        f"heard: {', '.join(f'{word} {count}' for word, count in sorted(heard.items()))}\n"
        f"processes left behind {len(listener.left_behind())}"
    )
    return share <= CPU_SHARE and summary["gaps"] == 0


def main() -> int:
    """Run one of the two, and return 0 if it reached what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["accidents", "listening"])
    parser.add_argument("--times", type=int, default=20, help="accidents of each kind (default: 20)")
    parser.add_argument("--minutes", type=float, default=30, help="of listening (default: 30)")
    parser.add_argument("--rate", type=int, default=48000, help="of the microphone (default: 48000)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_microphone(folder, args.rate)
        with Listener(folder) as listener:
            if args.what == "accidents":
                reached = accidents(folder, listener, args.times)
            else:
                reached = listening(listener, args.minutes)
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
