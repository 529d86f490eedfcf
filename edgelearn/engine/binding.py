"""The arrays of a network as one argument: a table of their addresses.

Handing a compiled function an array costs about 50 ns, and a layer with its state, its tape and its gradients
has two dozen: together longer than the work of a frame.  So a call hands over tables, and the kernel makes
the arrays anew, which costs nothing.  A table belongs to the object that holds its arrays and keeps them
where they are; a copy of that object would still point at the original's.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

from edgelearn.engine.backward import GradientArrays, backward_tape
from edgelearn.engine.fixedpoint import Int8Array, Int16Array, Int32Array, Int64Array, Scalar
from edgelearn.engine.forward import (
    COUNTERS,
    FRAMES,
    FRAMES_TAPED,
    TAPED_FRAMES,
    LayerArrays,
    ScratchArrays,
    StateArrays,
    TapeArrays,
    TapeLayerArrays,
    forward_block,
)
from edgelearn.engine.optimizer import ColumnScratch, update_layer
from edgelearn.jit import kernel, numba

LAYER_ROWS, STATE_ROWS, TAPED_ROWS, GRADIENT_ROWS = 4, 5, 2, 5
"""Rows of a table that each tuple of arrays takes; a layer's three numbers share its last."""
SCRATCH_ROWS = 4
"""The scratch of a frame and the counters, at the end of a state's table."""


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
def _int16_rows(table: Int64Array, n: Scalar) -> Any:
    return _array(table[n, 0], (table[n, 1], table[n, 2]), np.int16)


@kernel
def _uint16(table: Int64Array, n: Scalar) -> Any:
    return _array(table[n, 0], (table[n, 2],), np.uint16)


@kernel
def _int32(table: Int64Array, n: Scalar) -> Any:
    return _array(table[n, 0], (table[n, 2],), np.int32)


@kernel
def _layer(table: Int64Array, n: Scalar) -> LayerArrays:
    return LayerArrays(
        _array(table[n, 0], (table[n, 1], table[n, 2]), np.int8),
        _array(table[n + 1, 0], (table[n + 1, 1], table[n + 1, 2]), np.int8),
        _int32(table, n + 2),
        table[n + 3, 0],
        table[n + 3, 1],
        table[n + 3, 2],
    )


@kernel
def _state(table: Int64Array, n: Scalar) -> StateArrays:
    return StateArrays(
        _int32(table, n),
        _int16(table, n + 1),
        _int16(table, n + 2),
        _int16(table, n + 3),
        _int16(table, n + 4),
    )


@kernel
def _taped(table: Int64Array, n: Scalar) -> TapeLayerArrays:
    return TapeLayerArrays(
        _int16_rows(table, n),
        _int16_rows(table, n + 1),
    )


@kernel
def _tape(table: Int64Array, n: Scalar) -> TapeArrays:
    return TapeArrays(
        _int32(table, n),
        _array(table[n + 1, 0], (table[n + 1, 1], table[n + 1, 2]), np.uint16),
        _uint16(table, n + 2),
        _int16(table, n + 3),
    )


@kernel
def _gradient(table: Int64Array, n: Scalar) -> GradientArrays:
    return GradientArrays(
        _int32(table, n),
        _int32(table, n + 1),
        _int32(table, n + 2),
        _int32(table, n + 3),
        _int32(table, n + 4),
    )


@kernel
def _column_scratch(table: Int64Array, n: Scalar) -> ColumnScratch:
    return ColumnScratch(
        _int32(table, n),
        _array(table[n + 1, 0], (table[n + 1, 1], table[n + 1, 2]), np.int32),
        _uint16(table, n + 2),
        _int16(table, n + 3),
    )


@kernel
def _scratch(table: Int64Array, n: Scalar) -> ScratchArrays:
    return ScratchArrays(_uint16(table, n), _int16(table, n + 1), _int16(table, n + 2))


@kernel
def stream_call(places: Int64Array, frames: Int8Array, pool: Int32Array, hidden_out: Int16Array) -> None:
    """`forward_block` without a tape, on the arrays of a state and its network."""
    layers = (places.shape[0] - SCRATCH_ROWS) // (LAYER_ROWS + STATE_ROWS)
    first, top = layers * LAYER_ROWS, layers - 1
    state0 = _state(places, first)
    scratch = _scratch(places, places.shape[0] - SCRATCH_ROWS)
    counters = _array(places[places.shape[0] - 1, 0], (COUNTERS,), np.int64)
    counters[FRAMES] += frames.shape[0]
    # Stand-ins of the right types, never looked at.
    row = _array(places[first, 0], (0, 0), np.int16)
    none = TapeLayerArrays(row, row)
    nnz = _array(places[first, 0], (0, 0), np.uint16)
    tape = TapeArrays(state0.memory, nnz, scratch.columns, scratch.deltas)
    forward_block(
        frames, layers, _layer(places, 0), state0,
        _layer(places, top * LAYER_ROWS), _state(places, first + top * STATE_ROWS),
        scratch, pool, hidden_out, 0, none, none, tape, counters,
    )  # fmt: skip


@kernel
def taped_call(
    places: Int64Array, tape_places: Int64Array, frames: Int8Array, pool: Int32Array, hidden_out: Int16Array
) -> None:
    """`forward_block` on the arrays of a state, its network and a tape."""
    layers = (places.shape[0] - SCRATCH_ROWS) // (LAYER_ROWS + STATE_ROWS)
    first, top = layers * LAYER_ROWS, layers - 1
    counters = _array(places[places.shape[0] - 1, 0], (COUNTERS,), np.int64)
    tape = _tape(tape_places, layers * TAPED_ROWS)
    before = np.int64(tape.fill[FRAMES_TAPED])
    # With one layer, the second is the first again, and never looked at.
    forward_block(
        frames, layers, _layer(places, 0), _state(places, first),
        _layer(places, top * LAYER_ROWS), _state(places, first + top * STATE_ROWS),
        _scratch(places, places.shape[0] - SCRATCH_ROWS), pool, hidden_out,
        1, _taped(tape_places, 0), _taped(tape_places, top * TAPED_ROWS), tape, counters,
    )  # fmt: skip
    counters[FRAMES] += frames.shape[0]
    counters[TAPED_FRAMES] += np.int64(tape.fill[FRAMES_TAPED]) - before


@kernel
def backward_call(
    network: Int64Array, tape_places: Int64Array, gradient_places: Int64Array,
    grad_h: Int32Array, grad_step: Scalar, counters: Int64Array,
) -> None:  # fmt: skip
    """`backward_tape` on the arrays of a network, a tape and gradients."""
    layers = network.shape[0] // LAYER_ROWS
    top = layers - 1
    layer0, layer1 = _layer(network, 0), _layer(network, top * LAYER_ROWS)
    backward_tape(
        layers,
        layer0.weights_hi.shape[0] - layer0.bias.shape[0] // 4,
        layer0,
        _taped(tape_places, 0),
        _gradient(gradient_places, 0),
        layer1.weights_hi.shape[0] - layer1.bias.shape[0] // 4,
        layer1,
        _taped(tape_places, top * TAPED_ROWS),
        _gradient(gradient_places, top * GRADIENT_ROWS),
        _tape(tape_places, layers * TAPED_ROWS),
        grad_h,
        grad_step,
        counters,
    )


@kernel
def update_call(
    network: Int64Array, tape_places: Int64Array, gradient_places: Int64Array,
    layer_index: Scalar, mult: Scalar, shift: Scalar, seed: Scalar, limit: Scalar, counters: Int64Array,
) -> None:  # fmt: skip
    """`update_layer` on the arrays of one layer of a network, a tape and gradients."""
    n = network.shape[0] // LAYER_ROWS * TAPED_ROWS
    update_layer(
        layer_index,
        _layer(network, layer_index * LAYER_ROWS),
        _taped(tape_places, layer_index * TAPED_ROWS),
        _tape(tape_places, n),
        _gradient(gradient_places, layer_index * GRADIENT_ROWS).memory,
        _column_scratch(tape_places, n + 4),
        mult,
        shift,
        seed,
        limit,
        counters,
    )
