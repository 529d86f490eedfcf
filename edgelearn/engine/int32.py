"""Arithmetic of exactly 32 bits inside kernels.

Numba makes 64 bits of every sum and product of 32-bit integers. A processor without 64-bit vector multiplies (any
ARM core, x86 before AVX-512) then runs the loop a number at a time. These operations cut their arguments to 32 bits
and wrap, as int32 does in C; callers bound their values so that nothing wraps.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from edgelearn.jit import numba

Scalar = Any
"""An integer inside a kernel, of the width that its docstring says: Numba infers it, mypy cannot."""
Operation = Callable[[Scalar, Scalar], Scalar]

if numba.config.DISABLE_JIT:
    import numpy as np

    def _operation(instruction: str, plain: Callable[[int, int], int]) -> Operation:  # noqa: ARG001
        def run(a: Scalar, b: Scalar) -> Scalar:
            return np.int32((plain(int(a), int(b)) + 2**31) % 2**32 - 2**31)

        return run

else:

    def _operation(instruction: str, plain: Callable[[int, int], int]) -> Operation:  # noqa: ARG001
        """Return a kernel operation that is one LLVM instruction, or a comparison and a choice."""
        int32 = numba.types.int32

        def emit(builder: Any, a: Any, b: Any) -> Any:
            if instruction in ("<", ">"):
                return builder.select(builder.icmp_signed(instruction, a, b), a, b)
            return getattr(builder, instruction)(a, b)

        @numba.extending.intrinsic  # type: ignore[untyped-decorator]
        def run(_: Any, a: Any, b: Any) -> Any:
            def generate(context: Any, builder: Any, __: Any, args: Any) -> Any:
                return emit(builder, *(context.cast(builder, v, t, int32) for v, t in zip(args, (a, b), strict=True)))

            return int32(a, b), generate

        return run  # type: ignore[no-any-return]


add32 = _operation("add", operator.add)
sub32 = _operation("sub", operator.sub)
mul32 = _operation("mul", operator.mul)
left32 = _operation("shl", operator.lshift)
"""Shift left, 0..31 bits."""
right32 = _operation("ashr", operator.rshift)
"""Shift right with the sign, 0..31 bits."""
min32 = _operation("<", min)
max32 = _operation(">", max)
