"""The kernels, cross-compiled for the cores of three Raspberry Pis: their inner loops are vector code of 32 bits."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import pytest
import tomli

from benchmarks import arm_kernels, cross_compile
from benchmarks.arm_kernels import CORES, FRAME, KERNELS, Core
from benchmarks.cross_compile import Loop
from edgelearn.audio.frontend import frontend_ops
from edgelearn.device.board import load_board

TABLE = tomli.loads(arm_kernels.TABLE.read_text(encoding="utf-8"))
MAC_KERNELS = ("forward", "backward", "gradient")
FRONT_END = ("window", "transform", "spectrum", "bank")
Loops = Callable[[str, Core], tuple[Loop, ...]]
cores = pytest.mark.parametrize("core", CORES, ids=lambda core: core.cpu)


@pytest.fixture(scope="module")
def loops() -> Loops:
    """Return the inner loops of a kernel on a core that multiply."""
    if not cross_compile.has_aarch64():
        pytest.skip("this llvmlite was built without LLVM's AArch64 target, so it cannot cross-compile")
    ir = cross_compile.unoptimised_ir([kernel.function for kernel in KERNELS.values()])

    @functools.cache
    def loops_of(kernel: str, core: Core) -> tuple[Loop, ...]:
        function = KERNELS[kernel].function
        found = cross_compile.inner_loops(cross_compile.cross_compile(ir[function], core.cpu))
        multiplying = tuple(loop for loop in found if loop.vector_products + loop.scalar_products)
        assert multiplying, f"no inner loop of {function} multiplies"
        return multiplying

    return loops_of


def assert_vectorised(loops: Sequence[Loop]) -> None:
    """LLVM makes a vector loop, and a scalar one for the rows it leaves: a lone scalar loop was not vectorised."""
    main = [loop for loop in loops if not loop.is_remainder]
    vectors = [loop for loop in main if loop.vector_products]
    scalars = [loop for loop in main if not loop.vector_products]
    assert vectors
    assert len(scalars) <= len(vectors), [loop.block for loop in scalars]
    assert not [loop.scalar_products for loop in vectors if loop.scalar_products]


def assert_no_64_bit_products(loops: Sequence[Loop]) -> None:
    assert not [text for loop in loops for text in loop.wide_multiplies]


@cores
@pytest.mark.parametrize("kernel", MAC_KERNELS)
def test_macs_are_vector_instructions(loops: Loops, kernel: str, core: Core) -> None:
    assert_vectorised(loops(kernel, core))
    assert_no_64_bit_products(loops(kernel, core))


@cores
@pytest.mark.parametrize("kernel", ["forward", "backward"])
def test_products_are_accumulated_by_the_instruction_that_makes_them(loops: Loops, kernel: str, core: Core) -> None:
    """At least half of them: of several products that are added to one sum, the first is a plain product."""
    widest = max(loops(kernel, core), key=lambda loop: loop.vector_products)
    assert widest.accumulated_products >= widest.vector_products / 2


@cores
def test_the_update_is_vectorised(loops: Loops, core: Core) -> None:
    assert_vectorised(loops("update", core))
    assert_no_64_bit_products(loops("update", core))


@cores
@pytest.mark.parametrize("kernel", FRONT_END)
def test_the_front_end_is_vectorised(loops: Loops, kernel: str, core: Core) -> None:
    assert_vectorised(loops(kernel, core))
    assert_no_64_bit_products(loops(kernel, core))


@cores
def test_the_boards_price_the_front_end_by_the_table(core: Core) -> None:
    """The table of this front end: its multiplications are the ones that a frame is counted as."""
    frame = TABLE[core.cpu]["frame"]
    assert frame["multiplications"] == frontend_ops(FRAME)
    assert abs(sum(frame["parts"].values()) - frame["value"]) <= len(frame["parts"])
    figure = load_board(core.board).cycles.frontend_op
    assert frame["cycles_per_multiplication"] <= figure.value <= 1.05 * frame["cycles_per_multiplication"]


@pytest.mark.slow
@cores
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_committed_cycles_are_those_of_this_code(loops: Loops, kernel: str, core: Core) -> None:
    """By the instructions of the loop; if they differ, `python -m benchmarks.arm_kernels` makes the table anew."""
    if TABLE["compiler"] != cross_compile.compiler():
        pytest.skip(f"the table was made with {TABLE['compiler']}, this is {cross_compile.compiler()}")
    assert TABLE[core.cpu][kernel]["instructions"] in [loop.histogram for loop in loops(kernel, core)]
