"""Cross-compile kernels of edgelearn for 64-bit ARM, as Numba would on one, and find their inner loops.

Numba's unoptimised LLVM IR goes through the two pass pipelines that Numba itself runs (numba/core/codegen.py), with
the target machine of another processor: no ARM machine, no emulator, no network.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import edgelearn

binding: Any = importlib.import_module("llvmlite.binding")

TRIPLE = "aarch64-unknown-linux-gnu"

_ACCUMULATE = {"mla", "mls", "smlal", "umlal", "smlsl", "umlsl", "sdot", "udot", "usdot", "sudot"}
_VECTOR_MULTIPLY = _ACCUMULATE | {"mul", "smull", "umull"}
_DOT_PRODUCTS = {"sdot", "udot", "usdot", "sudot"}
_SCALAR_WIDE = {"mul", "madd", "msub", "mneg", "smulh", "umulh"}
_SCALAR_MULTIPLY = _SCALAR_WIDE | {
    "smull", "umull", "smaddl", "umaddl", "smsubl", "umsubl", "smnegl", "umnegl",
}  # fmt: skip
_STORED_BYTES = {"b": 1, "h": 2, "s": 4, "d": 8, "q": 16, "w": 4, "x": 8}


@dataclass(frozen=True)
class Loop:
    """An innermost loop: the name LLVM gives its first block, and its instructions in the order of the code."""

    block: str
    instructions: tuple[str, ...]

    @property
    def mnemonics(self) -> tuple[str, ...]:
        """Mnemonic of each instruction, without the 2 that marks the upper half of a vector."""
        return tuple(_mnemonic(text) for text in self.instructions)

    @property
    def histogram(self) -> str:
        """How often each mnemonic occurs, most frequent first."""
        counted = Counter(self.mnemonics).most_common()
        return ", ".join(f"{count} {name}" for name, count in counted)

    @property
    def vector_products(self) -> int:
        """Products of vector instructions in one iteration."""
        return sum(map(_vector_products, self.instructions))

    @property
    def accumulated_products(self) -> int:
        """Those of them that an instruction adds to a sum as well."""
        return sum(_vector_products(text) for text in self.instructions if _mnemonic(text) in _ACCUMULATE)

    @property
    def scalar_products(self) -> int:
        """Products of scalar instructions in one iteration."""
        return sum(_is_scalar(text) and _mnemonic(text) in _SCALAR_MULTIPLY for text in self.instructions)

    @property
    def wide_multiplies(self) -> tuple[str, ...]:
        """Multiplications of 64 by 64 bits, which vectors do not have and which scalar code is slow at."""
        return tuple(
            text for text in self.instructions if _mnemonic(text) in _SCALAR_WIDE and text.split()[1].startswith("x")
        )

    @property
    def stored_bytes(self) -> int:
        """Bytes that one iteration stores, registers spilled to the stack left out."""
        return sum(map(_stored_bytes, self.instructions))

    @property
    def is_remainder(self) -> bool:
        """Whether the loop takes the few rows that a wider loop or an unrolled one has left."""
        return self.block.startswith("vec.epilog") or self.block.endswith((".prol", ".epil"))


def has_aarch64() -> bool:
    """Whether this llvmlite can compile for 64-bit ARM."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    try:
        binding.Target.from_triple(TRIPLE)
    except RuntimeError:
        return False
    return True


_PRINT_IR = """
import json, sys
import numpy as np
from edgelearn.audio.frontend import Frontend
from edgelearn.audio.melbank import FrontendConfig
from edgelearn.device.arena import Arena
from edgelearn.engine.network import LayerConfig, Network, NetworkConfig
arena = Arena(1 << 18)
network = Network(NetworkConfig((LayerConfig(8, 16, 6),)), arena)
tape, gradients = network.new_tape(1, 24, "tape"), network.new_backward("gradients")
network.new_state("state").refresh()
network.backward(tape, gradients, np.zeros(16, np.int32))
network.update(tape, gradients, 0, 31, 0)
Frontend(FrontendConfig(), arena).push(np.zeros(1024, np.int16))
modules = [module for name, module in sys.modules.items() if name.startswith("edgelearn.")]
compiled = {name: function for module in modules for name, function in vars(module).items()
            if name in sys.argv[1:] and getattr(function, "signatures", None)}
json.dump({name: function.inspect_llvm(function.signatures[0]) for name, function in compiled.items()}, sys.stdout)
"""


def unoptimised_ir(functions: Sequence[str]) -> dict[str, str]:
    """Return the LLVM IR of compiled functions of edgelearn, for the types that its own callers use.

    Another process compiles them, since Numba reads NUMBA_OPT when it is imported, with a cache of its own: one must
    not find unoptimised code in the usual cache later. Raises LookupError for a function that was not compiled.
    """
    with tempfile.TemporaryDirectory() as cache:
        package = str(Path(edgelearn.__file__).resolve().parent.parent)
        settings = {
            "NUMBA_OPT": "0",
            "NUMBA_DISABLE_JIT": "0",
            "EDGELEARN_PLAIN_LOOPS": "1",
            "NUMBA_CACHE_DIR": cache,
            "PYTHONPATH": package,
        }
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _PRINT_IR, *functions],
            env=os.environ | settings,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(f"the kernels do not compile:\n{done.stderr}")
    found: dict[str, str] = json.loads(done.stdout)
    missing = sorted(set(functions) - found.keys())
    if missing:
        raise LookupError(
            f"edgelearn compiles no function named {', '.join(missing)}: "
            "if it has another name now, write that into KERNELS of benchmarks/arm_kernels.py"
        )
    return found


def cross_compile(ir: str, cpu: str) -> str:
    """Return the ARM assembly, with LLVM's comments, that Numba's two pipelines make of a module for `cpu`."""
    machine = binding.Target.from_triple(TRIPLE).create_target_machine(cpu=cpu, opt=3)
    machine.set_asm_verbosity(True)
    ir = re.sub(r'target triple = ".*"', f'target triple = "{TRIPLE}"', ir)
    ir = re.sub(r'target datalayout = ".*"', f'target datalayout = "{machine.target_data}"', ir)
    module = binding.parse_assembly(ir)
    for level in (0, 3):
        options = binding.create_pipeline_tuning_options(speed_level=level)
        options.loop_vectorization = level == 3
        options.slp_vectorization = False
        builder = binding.create_pass_builder(machine, options)
        passes = builder.getModulePassManager()
        if level == 0:
            passes.add_loop_rotate_pass()
            passes.add_instruction_combine_pass()
            passes.add_jump_threading_pass()
        passes.add_refprune_pass()
        passes.run(module, builder)
    assembly: str = machine.emit_assembly(module)
    return assembly


def inner_loops(assembly: str) -> tuple[Loop, ...]:
    """Return the innermost loops of all functions of edgelearn, found by LLVM's comments on its blocks."""
    loops: dict[str, tuple[str, list[str]]] = {}
    ours = False
    label = comment = ""
    body: list[str] | None = None
    for line in assembly.splitlines():
        code, _, remark = line.partition("//")
        started = re.match(r"([\w.$]+):", code) or re.match(r"\s*(%bb\.\d+):", remark)
        if started:
            label, comment, body = started[1], "", None
            if not label.startswith((".L", "%")):
                # wrappers for the interpreter are _ZN7cpython9edgelearn... and cfunc._ZN9edgelearn...
                ours = label.startswith("_ZN9edgelearn")
        comment += f"{remark}\n"
        if not ours:
            continue
        if code.startswith("\t") and not code.startswith("\t."):
            if body is None:
                body = _loop_of_block(label, comment, loops)
            body.append(" ".join(code.split()))
    return tuple(Loop(block, tuple(instructions)) for block, instructions in loops.values())


def _loop_of_block(label: str, comment: str, loops: dict[str, tuple[str, list[str]]]) -> list[str]:
    """List that a block's instructions go to: that of the innermost loop it is in, else one to throw away."""
    if "Inner Loop Header" in comment:
        name = re.search(r"%(\S+)", comment)
        loops[label.removeprefix(".L")] = (name[1] if name else "", [])
        return loops[label.removeprefix(".L")][1]
    header = re.search(r"in Loop: Header=(\w+)", comment)
    return loops[header[1]][1] if header and header[1] in loops else []


def _mnemonic(text: str) -> str:
    name = text.split()[0]
    return name.removesuffix("2") if _vector_lanes(text) else name


def _vector_lanes(text: str) -> int:
    lanes = re.match(r"\S+ v\d+\.(\d+)[bhsd]", text)
    return int(lanes[1]) if lanes else 0


def _vector_products(text: str) -> int:
    name = _mnemonic(text)
    if name not in _VECTOR_MULTIPLY:
        return 0
    return _vector_lanes(text) * (4 if name in _DOT_PRODUCTS else 1)


def _is_scalar(text: str) -> bool:
    return re.match(r"\S+ [wx]", text) is not None


def _stored_bytes(text: str) -> int:
    stored = re.match(r"(stp|st[ur]+)([bh]?) ([bhsdqwx])", text)
    if stored is None or "[sp" in text:
        return 0
    return _STORED_BYTES[stored[2] or stored[3]] * (2 if stored[1] == "stp" else 1)


def compiler() -> str:
    """Return the versions that the machine code depends on."""
    llvm = ".".join(map(str, binding.llvm_version_info))
    return f"numba {version('numba')}, llvmlite {version('llvmlite')}, LLVM {llvm}"
