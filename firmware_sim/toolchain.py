"""Building an exported firmware, for this machine and for Cortex-M, and running its test bench under QEMU.

The compilers are those of the system. Where one is missing, the error says which line installs it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgelearn.errors import EdgelearnError

BENCH = Path(__file__).resolve().parent / "firmware" / "bench"
ARM_PACKAGES = "sudo apt install gcc-arm-none-eabi qemu-system-arm"
HOST_PACKAGES = "sudo apt install gcc libc6-dev"
WARNINGS = ("-std=c99", "-Wall", "-Wextra")
RAM_BYTES = 256 * 1024
TIMEOUT_S = 600


@dataclass(frozen=True)
class Core:
    """A Cortex-M that QEMU has a board of: flash and RAM are where that board has memory."""

    name: str
    machine: str
    flash: int
    flash_bytes: int
    ram: int


CORES = (
    Core("cortex-m4", "mps2-an386", 0x0, 0x400000, 0x20000000),
    Core("cortex-m7", "mps2-an500", 0x0, 0x400000, 0x20000000),
    Core("cortex-m33", "mps2-an505", 0x10000000, 0x400000, 0x38000000),
    Core("cortex-m55", "mps3-an547", 0x0, 0x80000, 0x20000000),
)


@dataclass(frozen=True)
class Sizes:
    """Bytes of an ELF file: code, read-only data, variables (the arena included), and of single symbols."""

    code: int
    constants: int
    variables: int
    symbols: dict[str, int]
    addresses: dict[str, int]


def missing_tools(*tools: str) -> str:
    """Return the line that installs what is missing of `tools`, or ""."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    arm = [tool for tool in missing if tool.startswith(("arm-", "qemu-"))]
    return ARM_PACKAGES if arm else HOST_PACKAGES if missing else ""


def build_host(folder: Path, out: Path, *flags: str, bench: bool = True) -> Path:
    """Compile an exported folder for this machine: the test bench, or without `bench` a shared library."""
    _need("gcc")
    files = _sources(folder, "port_host.c") if bench else [str(path) for path in sorted(folder.glob("*.c"))]
    kind = ["-I", str(folder)] if bench else ["-shared", "-fPIC"]
    _run(["gcc", *WARNINGS, *flags, *kind, *files, "-o", str(out)])
    return out


def build_core(folder: Path, core: Core, out: Path, ram_bytes: int = RAM_BYTES) -> Path:
    """Compile an exported folder with its test bench for a Cortex-M whose RAM is `ram_bytes`; too large is an error."""
    _need("arm-none-eabi-gcc")
    script = (BENCH / "cortexm.ld.in").read_text(encoding="utf-8")
    for name, value in (
        ("FLASH_BYTES", core.flash_bytes), ("RAM_BYTES", ram_bytes), ("FLASH", core.flash), ("RAM", core.ram)
    ):  # fmt: skip
        script = script.replace(f"@{name}@", f"0x{value:X}")
    linker = out.with_suffix(".ld")
    linker.write_text(script, encoding="utf-8")
    _run(
        [
            "arm-none-eabi-gcc", *WARNINGS, "-O2", "-g", f"-mcpu={core.name}", "-mthumb", "-mfloat-abi=soft",
            "-ffreestanding", "-nostdlib", "-ffunction-sections", "-fno-tree-loop-distribute-patterns",
            "-I", str(folder),
            *_sources(folder, "port_cortexm.c"), "-T", str(linker), "-Wl,--gc-sections", "-lgcc", "-o", str(out),
        ]
    )  # fmt: skip
    return out


def build_counter(out: Path) -> Path:
    """Compile the plug-in that counts instructions."""
    _need("gcc")
    _run(["gcc", "-O2", "-shared", "-fPIC", str(BENCH / "icount.c"), "-o", str(out)])
    return out


def run_host(program: Path, script: bytes) -> str:
    """Run the test bench of this machine and return what it printed; raises EdgelearnError if it failed."""
    path = program.with_suffix(".bin")
    path.write_bytes(script)
    return _run([str(program), str(path)]).stdout


def run_core(program: Path, core: Core, script: bytes, counter: Path | None = None) -> tuple[str, list[int]]:
    """Run the test bench under QEMU; returns what it printed, and the instructions executed at marks and at its end."""
    _need("qemu-system-arm")
    folder = program.parent / f"{program.stem}.run"
    folder.mkdir(exist_ok=True)
    (folder / "script.bin").write_bytes(script)
    plugin = []
    if counter is not None:
        mark = sizes(program).addresses["port_mark"] & ~1
        plugin = ["-icount", "shift=0", "-plugin", f"{counter},mark=0x{mark:X}"]
    done = _run(
        [
            "qemu-system-arm", "-M", core.machine, "-nographic", "-monitor", "none", "-serial", "none",
            "-semihosting-config", "enable=on,target=native", *plugin, "-kernel", str(program),
        ],
        folder,
    )  # fmt: skip
    lines = (done.stdout + done.stderr).splitlines()
    counts = [int(line.split()[1]) for line in lines if line.startswith("instructions ")]
    said = [line for line in lines if not line.startswith("instructions ")]
    return "".join(f"{line}\n" for line in said), counts


def sizes(program: Path) -> Sizes:
    """Return the sizes in an ELF file that `build_core` made."""
    _need("arm-none-eabi-size")
    sections = {}
    for line in _run(["arm-none-eabi-size", "-A", str(program)]).stdout.splitlines():
        parts = line.split()
        if len(parts) == 3 and parts[1].isdecimal():
            sections[parts[0]] = int(parts[1])
    symbols, addresses = {}, {}
    for line in _run(["arm-none-eabi-nm", "-S", str(program)]).stdout.splitlines():
        parts = line.split()
        addresses[parts[-1]] = int(parts[0], 16)
        if len(parts) == 4:
            symbols[parts[3]] = int(parts[1], 16)
    return Sizes(
        code=sections[".text"],
        constants=sections.get(".rodata", 0),
        variables=sections.get(".data", 0) + sections.get(".bss", 0),
        symbols=symbols,
        addresses=addresses,
    )


def command(letter: str, *numbers: int, data: bytes = b"") -> bytes:
    """Return a command of a test bench's script, see firmware/bench/bench.c."""
    return letter.encode() + b"".join((number % 2**32).to_bytes(4, "little") for number in numbers) + data


def _sources(folder: Path, port: str) -> list[str]:
    return [*(str(path) for path in sorted(folder.glob("*.c"))), str(BENCH / "bench.c"), str(BENCH / port)]


def _need(tool: str) -> None:
    line = missing_tools(tool)
    if line:
        raise EdgelearnError(f"{tool} is not installed", line)


def _run(command: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise EdgelearnError(f"{command[0]} did not end within {TIMEOUT_S} s") from None
    if done.returncode:
        raise EdgelearnError(f"{command[0]} failed ({done.returncode}): {(done.stderr or done.stdout).strip()[-2000:]}")
    return done
