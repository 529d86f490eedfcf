"""What a user waits for: `--help`, the first event of `listen` from a warm cache; and the memory that `listen` takes.

    python -m benchmarks.startup

Wall-clock medians of whole processes. The memory is the peak resident size of the process that listens to a recording:
Python, NumPy and Numba; what a device would hold is in `edgelearn profile`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import edgelearn
from edgelearn.cli.output import table

RUNS = 7
COMMAND = [sys.executable, "-m", "edgelearn"]
SPEECH = sorted((Path(edgelearn.__file__).parent / "assets" / "demo").glob("*.wav"))[0]


def help_s() -> float:
    """Return the seconds of `edgelearn --help`."""
    start = time.perf_counter()
    subprocess.run([*COMMAND, "--help"], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def listen(model: Path) -> tuple[float, int]:
    """Return the seconds to the first event of `listen`, and the peak resident bytes of its process."""
    start = time.perf_counter()
    command = [*COMMAND, "listen", "--json", "--input", str(SPEECH), "--model", str(model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        first = time.perf_counter() - start
        process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"`edgelearn listen` ended with {process.returncode}")
    return first, usage.ru_maxrss * 1024


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.npz"
        model.write_bytes((Path(edgelearn.__file__).parent / "assets" / "base.npz").read_bytes())
        listen(model)  # fills the cache of compiled kernels
        heard = [listen(model) for _ in range(RUNS)]
    rows = [
        ("edgelearn --help", f"{1e3 * statistics.median(help_s() for _ in range(RUNS)):.0f} ms"),
        ("first event of edgelearn listen", f"{statistics.median(first for first, _ in heard):.2f} s"),
        ("peak resident memory of it", f"{statistics.median(size for _, size in heard) / 2**20:.0f} MiB"),
    ]
    table(["measure", "median"], rows)


if __name__ == "__main__":
    main()
