"""The arrays of a network as tuples, and a table of their addresses as one argument of a kernel.

Handing a compiled function an array costs about 50 ns, and a layer with its state, its tape and its gradients has two
dozen: together longer than the work of a frame. So a call hands over tables, and the kernel makes the arrays anew,
which costs nothing. A table belongs to the object that holds its arrays and keeps them where they are; a copy of that
object would still point at the original's.

Shapes: N inputs, H units, 4H gate rows in the order i f g o; a weight column is one contiguous row of `weights_hi`,
x columns first, then h columns.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

from edgelearn.engine.fixedpoint import (
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    UInt16Array,
)
from edgelearn.engine.int32 import Scalar
from edgelearn.engine.layout import MAX_LAYERS
from edgelearn.jit import kernel, numba


class LayerArrays(NamedTuple):
    """Weights and thresholds of a layer: hi, lo int8 [N+H, 4H]; bias int32 [4H]; thresholds in Q13."""

    weights_hi: Int8Array
    weights_lo: Int8Array
    bias: Int32Array
    weight_shift: int
    theta_x: int
    theta_h: int


class StateArrays(NamedTuple):
    """State of a layer: M int32 [4H] Q(13+s); c Q12 and h, h^ Q13 int16 [H]; x^ int16 [N] Q13."""

    memory: Int32Array
    c: Int16Array
    h: Int16Array
    h_hat: Int16Array
    x_hat: Int16Array


class ScratchArrays(NamedTuple):
    """One frame of the widest layer: active columns uint16 and their deltas int16 [N+H], gates int16 [4H]."""

    columns: UInt16Array
    deltas: Int16Array
    gates: Int16Array


class StreamArrays(NamedTuple):
    """What forward calls add to: pool int32 [H or 0], hidden_out int16 [T or 0, H], counters int64 [COUNTERS]."""

    pool: Int32Array
    hidden_out: Int16Array
    counters: Int64Array


class TapeLayerArrays(NamedTuple):
    """A layer's part of the tape: gates, later CM16, int16 [R, 4H]; c int16 [R+1, H], c[0] from before the frames.

    R is all of the tape's frames, or those between two checkpoints: start_memory int32 [S, 4H] and start_c int16
    [S, H] are M and c as they were before every R-th frame, with S = 0 where no checkpoints are needed.
    """

    gates: Int16Array
    c: Int16Array
    start_memory: Int32Array
    start_c: Int16Array


class TapeArrays(NamedTuple):
    """What layers share on the tape: fill int32 [4], nnz uint16 [layers, F], the pool of sparse deltas [P].

    fill: frames taped, pool entries used, frames left out, and 1 once the gates are overwritten by CM16. A
    frame's entries lie in the pool one layer after the other, in ascending order of the column.
    """

    fill: Int32Array
    nnz: UInt16Array
    columns: UInt16Array
    deltas: Int16Array


class GradientArrays(NamedTuple):
    """Gradients of a layer, int32 G units: Ch, Cc, Ch^ [H]; CM [4H]; Cx^ [N], empty for the lowest layer."""

    h: Int32Array
    c: Int32Array
    memory: Int32Array
    h_hat: Int32Array
    x_hat: Int32Array


class WeightGradientArrays(NamedTuple):
    """A layer's dense gradient: int32 [N+H, 4H], G units."""

    weights: Int32Array


class VelocityArrays(NamedTuple):
    """A layer's velocities: weights int16 [N+H, 4H], 2^-6 of a master's last bit; bias int32 [4H] Q(13+s)."""

    weights: Int16Array
    bias: Int32Array


class ColumnScratch(NamedTuple):
    """Work space of the update, and of recomputing gates.

    total int32 [4H]: sum of the column at hand, or M; cursor int32 [2, F]: every frame's next entry, and above 16
    bits how many are left, below them its column (NO_COLUMN if none is left); frames uint16 and deltas int16
    [F]: the active frames of the column at hand; h int16 [H]: written by recomputing, never read.
    """

    total: Int32Array
    cursor: Int32Array
    frames: UInt16Array
    deltas: Int16Array
    h: Int16Array


FRAMES_TAPED, ENTRIES_USED, FRAMES_LEFT_OUT, BACKWARD_DONE = 0, 1, 2, 3
"""Of `TapeArrays.fill`."""
SATURATIONS, ACTIVE, PASSES, TAPED_ENTRIES = 0, 1, 1 + MAX_LAYERS, 1 + 2 * MAX_LAYERS
FRAMES, TAPED_FRAMES = 1 + 3 * MAX_LAYERS, 2 + 3 * MAX_LAYERS
"""int64 counters: saturations; for each layer active columns, passes over M, taped entries; frames."""
COUNTERS = 3 + 3 * MAX_LAYERS

LAYER_ROWS, STATE_ROWS, TAPED_ROWS, GRADIENT_ROWS = 4, 5, 4, 5
"""Rows of a table that each tuple of arrays takes; a layer's three numbers share its last."""
SCRATCH_ROWS, TAPE_ROWS = 6, 4
"""The end of a state's table: scratch, pool, hidden_out, counters; and what layers share on the tape."""
POOL_ROW, HIDDEN_OUT_ROW = -3, -2


def bind(*groups: NamedTuple) -> Int64Array:
    """Return where the arrays of some tuples are: int64 [n, 3] of address, rows and columns (1 row if flat).

    The numbers in a tuple share one row behind its arrays. The arrays must stay where they are.
    """
    table: list[tuple[int, ...]] = []
    for group in groups:
        numbers = []
        for item in group:
            if isinstance(item, np.ndarray):
                table.append((item.ctypes.data, *(item.shape if item.ndim == 2 else (1, item.size))))
            else:
                numbers.append(int(item))
        if numbers:
            table.append(tuple(numbers))
    return np.array(table, np.int64)


if numba.config.DISABLE_JIT:

    def _array(address: Scalar, shape: Any, dtype: Any) -> Any:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer((ctypes.c_char * size).from_address(int(address)), dtype).reshape(shape)

else:

    @numba.extending.intrinsic  # type: ignore[untyped-decorator]
    def _pointer(_: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

        return numba.types.voidptr(address), generate

    @kernel
    def _array(address: Scalar, shape: Any, dtype: Any) -> Any:
        return numba.carray(_pointer(address), shape, dtype)


@kernel
def _int16(table: Int64Array, n: Scalar) -> Any:
    return _array(table[n, 0], (table[n, 2],), np.int16)


@kernel
def int16_rows_at(table: Int64Array, n: Scalar) -> Any:
    """Make the int16 matrix that row n of a table names."""
    return _array(table[n, 0], (table[n, 1], table[n, 2]), np.int16)


@kernel
def _uint16(table: Int64Array, n: Scalar) -> Any:
    return _array(table[n, 0], (table[n, 2],), np.uint16)


@kernel
def int32_rows_at(table: Int64Array, n: Scalar) -> Any:
    """Make the int32 matrix that row n of a table names."""
    return _array(table[n, 0], (table[n, 1], table[n, 2]), np.int32)


@kernel
def int32_at(table: Int64Array, n: Scalar) -> Any:
    """Make the int32 vector that row n of a table names."""
    return _array(table[n, 0], (table[n, 2],), np.int32)


@kernel
def layer_at(table: Int64Array, n: Scalar) -> LayerArrays:
    """Make a layer from row n of a table on."""
    return LayerArrays(
        _array(table[n, 0], (table[n, 1], table[n, 2]), np.int8),
        _array(table[n + 1, 0], (table[n + 1, 1], table[n + 1, 2]), np.int8),
        int32_at(table, n + 2),
        table[n + 3, 0],
        table[n + 3, 1],
        table[n + 3, 2],
    )


@kernel
def state_at(table: Int64Array, n: Scalar) -> StateArrays:
    """Make a state of a layer from row n of a table on."""
    return StateArrays(
        int32_at(table, n),
        _int16(table, n + 1),
        _int16(table, n + 2),
        _int16(table, n + 3),
        _int16(table, n + 4),
    )


@kernel
def taped_at(table: Int64Array, n: Scalar) -> TapeLayerArrays:
    """Make a layer's part of a tape from row n of a table on."""
    return TapeLayerArrays(
        int16_rows_at(table, n),
        int16_rows_at(table, n + 1),
        int32_rows_at(table, n + 2),
        int16_rows_at(table, n + 3),
    )


@kernel
def tape_at(table: Int64Array, n: Scalar) -> TapeArrays:
    """Make what layers share on a tape from row n of a table on."""
    return TapeArrays(
        int32_at(table, n),
        _array(table[n + 1, 0], (table[n + 1, 1], table[n + 1, 2]), np.uint16),
        _uint16(table, n + 2),
        _int16(table, n + 3),
    )


@kernel
def gradient_at(table: Int64Array, n: Scalar) -> GradientArrays:
    """Make a layer's gradients from row n of a table on."""
    return GradientArrays(
        int32_at(table, n),
        int32_at(table, n + 1),
        int32_at(table, n + 2),
        int32_at(table, n + 3),
        int32_at(table, n + 4),
    )


@kernel
def column_scratch_at(table: Int64Array, n: Scalar) -> ColumnScratch:
    """Make the work space of the update from row n of a table on."""
    return ColumnScratch(
        int32_at(table, n),
        int32_rows_at(table, n + 1),
        _uint16(table, n + 2),
        _int16(table, n + 3),
        _int16(table, n + 4),
    )


@kernel
def scratch_at(places: Int64Array) -> tuple[ScratchArrays, Int32Array, Int16Array]:
    """Make the scratch of a frame, the pool and hidden_out at the end of a state's table."""
    n = places.shape[0] - SCRATCH_ROWS
    scratch = ScratchArrays(_uint16(places, n), _int16(places, n + 1), _int16(places, n + 2))
    return scratch, int32_at(places, n + 3), int16_rows_at(places, n + 4)


@kernel
def counters_at(table: Int64Array) -> Any:
    """Make the counters at the end of a state's table."""
    return _array(table[table.shape[0] - 1, 0], (COUNTERS,), np.int64)
