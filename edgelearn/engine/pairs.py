"""The three products by x86's instructions for int16: pmaddwd multiplies pairs and adds the two, pmulhrsw rounds.

M += W d takes two columns at a time, their rows interleaved; Cd = W^T CM16 takes two rows; CW += CM16 d rounds each
product and adds those of two frames. LLVM does not find them by itself. Elsewhere (ARM has no such instructions)
`HAS_PAIRS` is false and the callers' plain loops are what runs, as they are with EDGELEARN_PLAIN_LOOPS=1 in the
environment; both give the same integers. No pair reaches the one
sum that pmaddwd cannot hold, as no weight is -32768.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Any

from edgelearn.engine.int32 import Scalar
from edgelearn.jit import numba

_SUMS = 4
"""Sums that a dot product keeps, so that none waits for the one before it."""


def _lanes() -> int:
    """Return the int32 of a vector register that has pmaddwd: 16, 8, or 0 for none."""
    if numba.config.DISABLE_JIT or numba.config.CPU_NAME or os.environ.get("EDGELEARN_PLAIN_LOOPS"):
        return 0
    features = importlib.import_module("llvmlite.binding").get_host_cpu_features()
    return 16 if features.get("avx512bw") else 8 if features.get("avx2") else 0


LANES = _lanes()
HAS_PAIRS = LANES > 0
BLOCK_ROWS = 2 * max(LANES, 1)
"""Rows that one step takes; what is left of a column is for a plain loop."""

if HAS_PAIRS:
    ir: Any = importlib.import_module("llvmlite.ir")
    cgutils: Any = importlib.import_module("numba.core.cgutils")
    _I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
    _BYTES, _HALVES, _WORDS = ir.VectorType(_I8, 2 * LANES), ir.VectorType(_I16, 2 * LANES), ir.VectorType(_I32, LANES)
    _ZIPPED = [k // 2 + (k % 2) * 2 * LANES for k in range(4 * LANES)]
    """Of two vectors of 2 LANES numbers: one of each in turn."""
    _ROUNDED = "llvm.x86.avx512.pmul.hr.sw.512" if LANES == 16 else "llvm.x86.avx2.pmul.hr.sw"
    """rshift(a * b, 15) of int16."""
    _NAME = "llvm.x86.avx512.pmaddw.d.512" if LANES == 16 else "llvm.x86.avx2.pmadd.wd"

    def _multiply_add(builder: Any, a: Any, b: Any) -> Any:
        """Pairs of a * b, added: two vectors of int16 to one of int32."""
        kind = ir.FunctionType(_WORDS, (_HALVES, _HALVES))
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, _NAME), (a, b))

    def _shuffle(builder: Any, a: Any, b: Any, mask: Sequence[int]) -> Any:
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_I32, len(mask)), list(mask)))

    def _load(builder: Any, pointer: Any, kind: Any) -> Any:
        loaded = builder.load(builder.bitcast(pointer, kind.as_pointer()))
        loaded.align = 1
        return loaded

    def _data(context: Any, builder: Any, kind: Any, value: Any) -> Any:
        return context.make_array(kind)(context, builder, value)

    def _emit_add(count: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weights, columns, deltas, memory = (_data(context, builder, signature.args[n], args[n]) for n in (0, 1, 2, 4))
        entry = args[3]
        rows = builder.extract_value(memory.shape, 0)
        starts, pairs = [], []
        for n in range(count):
            at = builder.add(entry, ir.Constant(_I64, n))
            column = builder.zext(builder.load(builder.gep(columns.data, [at])), _I64)
            starts.append(builder.gep(weights.data, [builder.mul(column, rows)]))
            delta = builder.zext(builder.load(builder.gep(deltas.data, [at])), _I32)
            if n % 2 == 0 and count > 1:
                low = delta
                continue
            if count == 1:  # a pair with itself, of which the other half counts for nothing
                pair = delta
                starts.append(starts[0])
            else:
                pair = builder.or_(low, builder.shl(delta, ir.Constant(_I32, 16)))
            one = builder.insert_element(ir.Constant(_WORDS, ir.Undefined), pair, ir.Constant(_I32, 0))
            pairs.append(builder.bitcast(_shuffle(builder, one, one, [0] * LANES), _HALVES))
        with cgutils.for_range(builder, builder.udiv(rows, ir.Constant(_I64, BLOCK_ROWS))) as loop:
            row = builder.mul(loop.index, ir.Constant(_I64, BLOCK_ROWS))
            target = builder.bitcast(builder.gep(memory.data, [row]), _WORDS.as_pointer())
            places = [builder.gep(target, [ir.Constant(_I32, half)]) for half in range(2)]
            sums = [_load(builder, place, _WORDS) for place in places]
            for n, pair in enumerate(pairs):
                first, second = (_load(builder, builder.gep(starts[2 * n + m], [row]), _BYTES) for m in range(2))
                for half in range(2):
                    mask = _ZIPPED[half * 2 * LANES : (half + 1) * 2 * LANES]
                    weight = builder.sext(_shuffle(builder, first, second, mask), _HALVES)
                    sums[half] = builder.add(sums[half], _multiply_add(builder, weight, pair))
            for place, total in zip(places, sums, strict=True):
                builder.store(total, place).align = 1
        return context.get_dummy_value()

    def _emit_dot(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        weights, cm16 = (_data(context, builder, signature.args[n], args[n]) for n in (0, 2))
        rows, first, count = builder.extract_value(weights.shape, 1), args[3], args[4]
        column = builder.gep(weights.data, [builder.add(builder.mul(args[1], rows), first)])
        totals = [cgutils.alloca_once_value(builder, ir.Constant(_WORDS, [0] * LANES)) for _ in range(_SUMS)]
        blocks = builder.udiv(count, ir.Constant(_I64, BLOCK_ROWS))
        together = builder.udiv(blocks, ir.Constant(_I64, _SUMS))

        def add_block(block: Any, total: Any) -> None:
            row = builder.mul(block, ir.Constant(_I64, BLOCK_ROWS))
            weight = builder.sext(_load(builder, builder.gep(column, [row]), _BYTES), _HALVES)
            cm = _load(builder, builder.gep(cm16.data, [builder.add(first, row)]), _HALVES)
            builder.store(builder.add(builder.load(total), _multiply_add(builder, weight, cm)), total)

        with cgutils.for_range(builder, together) as loop:
            for n, total in enumerate(totals):
                block = builder.mul(loop.index, ir.Constant(_I64, _SUMS))
                add_block(builder.add(block, ir.Constant(_I64, n)), total)
        with cgutils.for_range(builder, blocks, start=builder.mul(together, ir.Constant(_I64, _SUMS))) as loop:
            add_block(loop.index, totals[0])
        name = f"llvm.vector.reduce.add.v{LANES}i32"
        reduce = cgutils.get_or_insert_function(builder.module, ir.FunctionType(_I32, (_WORDS,)), name)
        sums = [builder.load(total) for total in totals]
        while len(sums) > 1:
            sums = [builder.add(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
        return builder.call(reduce, sums)

    def _four_arrays_and_an_entry(emit: Callable[..., Any], count: int) -> Any:
        @numba.extending.intrinsic  # type: ignore[untyped-decorator]
        def add(_: Any, matrix: Any, places: Any, deltas: Any, entry: Any, sums: Any) -> Any:  # noqa: ARG001
            int64 = numba.types.int64
            return numba.types.void(matrix, places, deltas, int64, sums), functools.partial(emit, count)

        return add

    def _emit_gradient(count: int, context: Any, builder: Any, signature: Any, args: Any) -> Any:
        cm16, frames, deltas, total = (_data(context, builder, signature.args[n], args[n]) for n in (0, 1, 2, 4))
        entry, rows = args[3], builder.extract_value(total.shape, 0)
        multiply = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_HALVES, (_HALVES, _HALVES)), _ROUNDED
        )
        starts, factors = [], []
        for n in range(count):
            at = builder.add(entry, ir.Constant(_I64, n))
            frame = builder.zext(builder.load(builder.gep(frames.data, [at])), _I64)
            starts.append(builder.gep(cm16.data, [builder.mul(frame, rows)]))
            delta = builder.load(builder.gep(deltas.data, [at]))
            one = builder.insert_element(ir.Constant(_HALVES, ir.Undefined), delta, ir.Constant(_I32, 0))
            factors.append(_shuffle(builder, one, one, [0] * 2 * LANES))
        ones = ir.Constant(_HALVES, [1] * 2 * LANES)
        with cgutils.for_range(builder, builder.udiv(rows, ir.Constant(_I64, BLOCK_ROWS))) as loop:
            row = builder.mul(loop.index, ir.Constant(_I64, BLOCK_ROWS))
            target = builder.bitcast(builder.gep(total.data, [row]), _WORDS.as_pointer())
            places = [builder.gep(target, [ir.Constant(_I32, half)]) for half in range(2)]
            sums = [_load(builder, place, _WORDS) for place in places]
            products = [
                builder.call(multiply, (_load(builder, builder.gep(start, [row]), _HALVES), factor))
                for start, factor in zip(starts, factors, strict=True)
            ]
            if count == 1:
                products.append(ir.Constant(_HALVES, [0] * 2 * LANES))
            for first, second in zip(products[::2], products[1::2], strict=True):
                for half in range(2):
                    mask = _ZIPPED[half * 2 * LANES : (half + 1) * 2 * LANES]
                    pair = _shuffle(builder, first, second, mask)
                    sums[half] = builder.add(sums[half], _multiply_add(builder, pair, ones))
            for place, added in zip(places, sums, strict=True):
                builder.store(added, place).align = 1
        return context.get_dummy_value()

    @numba.extending.intrinsic  # type: ignore[untyped-decorator]
    def dot_column(_: Any, weights_hi: Any, column: Any, cm16: Any, start: Any, rows: Any) -> Any:  # noqa: ARG001
        """weights_hi[column] . CM16 over whole blocks of BLOCK_ROWS rows out of `rows` from `start` on, as int32."""
        int64 = numba.types.int64
        return numba.types.int32(weights_hi, int64, cm16, int64, int64), _emit_dot

    add_eight_columns, add_four_columns, add_two_columns, add_one_column = (
        _four_arrays_and_an_entry(_emit_add, n) for n in (8, 4, 2, 1)
    )
    """Add weights_hi[column] * delta of so many entries from `entry` on to M, in whole blocks of BLOCK_ROWS rows."""
    add_four_frames, add_two_frames, add_one_frame = (_four_arrays_and_an_entry(_emit_gradient, n) for n in (4, 2, 1))
    """Add rshift(CM16[frame] * delta, 15) of so many entries to a column's sums, in whole blocks of rows."""

else:

    def dot_column(weights_hi: Scalar, column: Scalar, cm16: Scalar, start: Scalar, rows: Scalar) -> Scalar:
        """Never called."""

    def add_eight_columns(matrix: Scalar, places: Scalar, deltas: Scalar, entry: Scalar, sums: Scalar) -> None:
        """Never called."""

    add_four_columns = add_two_columns = add_one_column = add_eight_columns
    add_four_frames = add_two_frames = add_one_frame = add_eight_columns
