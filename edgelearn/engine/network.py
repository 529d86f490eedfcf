"""The Delta LSTM of one or two layers: owns its buffers in an arena, validates, and calls the kernels."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterator, Mapping
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from edgelearn.device.arena import Arena
from edgelearn.engine.backward import GradientArrays
from edgelearn.engine.binding import backward_call, bind, stream_call, taped_call, update_call
from edgelearn.engine.counts import Counts, count_backward, count_forward, count_rebuild, count_update
from edgelearn.engine.fixedpoint import (
    MASTER_MAX,
    MASTER_MIN,
    Int8Array,
    Int16Array,
    Int32Array,
    bias_limit,
    join_master,
)
from edgelearn.engine.forward import (
    ACTIVE,
    COUNTERS,
    FRAMES,
    PASSES,
    SATURATIONS,
    TAPED_ENTRIES,
    TAPED_FRAMES,
    CounterArrays,
    LayerArrays,
    ScratchArrays,
    StateArrays,
    rebuild_memory,
)
from edgelearn.engine.layout import (
    LayerConfig,
    NetworkConfig,
    Region,
    check_range,
    gradient_regions,
    gradients_bytes,
    network_bytes,
    network_regions,
    state_bytes,
    state_regions,
    tape_bytes,
)
from edgelearn.engine.optimizer import MAX_MULT, MAX_SHIFT, TOUCHED
from edgelearn.engine.tape import Tape
from edgelearn.errors import ModelFileError

__all__ = [
    "Gradients",
    "LayerConfig",
    "Network",
    "NetworkConfig",
    "State",
    "gradients_bytes",
    "network_bytes",
    "state_bytes",
    "tape_bytes",
    "warm_up",
]


class State:
    """What a network remembers between frames: M, c, h, h^, x^ of each layer, and scratch for one frame."""

    def __init__(self, network: Network, arena: Arena, name: str) -> None:
        arrays = _alloc(arena, name, state_regions(network.config))
        self._network = network
        self.layers = tuple(
            StateArrays(*(arrays[f"layer{k}.{field}"] for field in StateArrays._fields))
            for k in range(len(network.config.layers))
        )
        self.scratch = ScratchArrays(*(arrays[f"scratch.{field}"] for field in ScratchArrays._fields))
        self.counters = np.zeros(COUNTERS, np.int64)
        self.places = bind(*network.layers, *self.layers, self.scratch, CounterArrays(self.counters))
        self.checked_pool: Int32Array | None = None
        self.reset()

    def reset(self) -> None:
        """Start of a sequence: M = b, everything else 0."""
        for layer, state in zip(self._network.layers, self.layers, strict=True):
            for array in state:
                array[:] = 0
            state.memory[:] = layer.bias

    def take_counts(self) -> Counts:
        """Counts of all that `Network.advance` ran on this state since they were last taken."""
        counters = self.counters.tolist()
        self.counters[:] = 0
        layers = [
            count_forward(
                layer.inputs,
                layer.hidden,
                feature_bytes=1 if k == 0 else 2,
                frames=counters[FRAMES],
                active=counters[ACTIVE + k],
                passes=counters[PASSES + k],
                taped_frames=counters[TAPED_FRAMES],
                taped_entries=counters[TAPED_ENTRIES + k],
                saturations=counters[SATURATIONS],
                lowest=k == 0,
            )
            for k, layer in enumerate(self._network.config.layers)
        ]
        return reduce(operator.add, layers)

    def refresh(self) -> Counts:
        """Rebuild M from the weights, x^ and h^ after the weights changed: M = b + Wx x^ + Wh h^, exactly."""
        counts = Counts()
        for layer, state in zip(self._network.layers, self.layers, strict=True):
            columns = rebuild_memory(layer, state, self.scratch)
            counts += count_rebuild(state.c.shape[0], int(columns))
        return counts


class Gradients:
    """Gradients of the backward pass, int32 in G units: Ch, Cc, CM, Ch^ and, above the lowest layer, Cx^."""

    def __init__(self, config: NetworkConfig, arena: Arena, name: str) -> None:
        arrays = _alloc(arena, name, gradient_regions(config))
        self.layers = tuple(
            GradientArrays(*(arrays[f"layer{k}.{field}"] for field in GradientArrays._fields))
            for k in range(len(config.layers))
        )
        self.places = bind(*self.layers)


class Network:
    """A Delta LSTM whose weights live in `arena`, in regions named `prefix.layerK.*`; zero until `load`."""

    def __init__(self, config: NetworkConfig, arena: Arena, prefix: str = "network") -> None:
        arrays = _alloc(arena, prefix, network_regions(config))
        self.config = config
        self._inputs, self._hidden = config.inputs, config.hidden
        self._arena = arena
        self.layers = tuple(
            LayerArrays(
                arrays[f"layer{k}.weights_hi"],
                arrays[f"layer{k}.weights_lo"],
                arrays[f"layer{k}.bias"],
                layer.weight_shift,
                layer.theta_x_q13,
                layer.theta_h_q13,
            )
            for k, layer in enumerate(config.layers)
        )
        self.places = bind(*self.layers)

    def load(self, params: Mapping[str, npt.NDArray[Any]]) -> None:
        """Copy weights in, all of them or none.

        Keys `layerK.weights_hi`, `layerK.weights_lo` (int8 [N+H, 4H]) and `layerK.bias` (int32 [4H]). Raises
        ModelFileError for a missing or unknown key, a wrong shape or type, a master outside [-32640, 32639],
        or a bias beyond the overflow bound of M.
        """
        mine = self._param_views()
        if params.keys() != mine.keys():
            raise ModelFileError(
                f"the weights are {sorted(params)}, this network has {sorted(mine)}",
                "is this model of another architecture?",
            )
        for key, array in mine.items():
            given = params[key]
            if given.shape != array.shape or given.dtype != array.dtype:
                raise ModelFileError(
                    f"{key} is {given.dtype}{list(given.shape)}, this network needs "
                    f"{array.dtype}{list(array.shape)}"
                )
        for k, layer in enumerate(self.config.layers):
            hi, lo, bias = (params[f"layer{k}.{field}"] for field in ("weights_hi", "weights_lo", "bias"))
            # In 32 bits: planes that no master can have must not wrap into range.
            master = 256 * hi.astype(np.int32) + lo
            if master.min() < MASTER_MIN or master.max() > MASTER_MAX:
                raise ModelFileError(f"layer{k}: a weight is outside [{MASTER_MIN}, {MASTER_MAX}]")
            if np.abs(bias.astype(np.int64)).max() > bias_limit(layer.inputs, layer.hidden):
                raise ModelFileError(f"layer{k}: a bias is beyond +-{bias_limit(layer.inputs, layer.hidden)}")
        for key, array in mine.items():
            array[:] = params[key]

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Copy weights out, under the keys of `load`."""
        return {key: array.copy() for key, array in self._param_views().items()}

    def masters(self, layer: int) -> Int16Array:
        """Copy out one layer's int16 masters [N+H, 4H] in Q(s+8)."""
        return join_master(self.layers[layer].weights_hi, self.layers[layer].weights_lo)

    def new_state(self, name: str) -> State:
        """Allocate a state in this network's arena, reset."""
        return State(self, self._arena, name)

    def new_tape(self, frames: int, pool_entries: int, name: str) -> Tape:
        """Allocate a tape for `frames` frames and `pool_entries` active deltas of all layers together."""
        return Tape(self.config, frames, pool_entries, self._arena, name)

    def new_backward(self, name: str) -> Gradients:
        """Allocate what the backward pass accumulates in."""
        return Gradients(self.config, self._arena, name)

    def forward(
        self,
        state: State,
        frames_x8: Int8Array,
        pool: Int32Array | None = None,
        tape: Tape | None = None,
        hidden_out: Int16Array | None = None,
    ) -> Counts:
        """`advance`, and the counts of it."""
        self.advance(state, frames_x8, pool, tape, hidden_out)
        return state.take_counts()

    def advance(
        self,
        state: State,
        frames_x8: Int8Array,
        pool: Int32Array | None = None,
        tape: Tape | None = None,
        hidden_out: Int16Array | None = None,
    ) -> None:
        """Run T frames (int8 [T, N] Q6) in one compiled call; any chunking gives the same integers.

        pool int32 [H] grows by the last layer's h (Q13) of every frame and holds 2^18 frames; hidden_out
        int16 [T, H] receives it; `tape` records, see `Tape`. Counts add up in `state`. Raises ValueError for
        a wrong shape or type, or for a tape that was not reset after its backward pass.
        """
        frames, hidden = frames_x8, self._hidden
        if not frames.flags.carray:
            frames = np.require(frames, requirements=["C", "A", "W"])
        if frames.dtype != _INT8 or frames.shape != (len(frames), self._inputs):
            _check_array("frames_x8", frames, np.int8, (len(frames), self._inputs))
        if pool is not None and pool is not state.checked_pool:
            _check_array("pool", pool, np.int32, (hidden,))
            state.checked_pool = pool
        if hidden_out is not None:
            _check_array("hidden_out", hidden_out, np.int16, (len(frames), hidden))
        if tape is not None and tape.backward_done:
            raise ValueError("the tape holds gradients of a backward pass: reset it first")
        grown = _NO_POOL if pool is None else pool
        written = _NO_HIDDEN if hidden_out is None else hidden_out
        if tape is None:
            stream_call(state.places, frames, grown, written)
        else:
            taped_call(state.places, tape.places, frames, grown, written)

    def backward(self, tape: Tape, gradients: Gradients, grad_h: Int32Array) -> Counts:
        """Sparse BPTT over all taped frames; leaves CM16 on the tape and dL/db in `gradients`.

        grad_h int32 [H] (the same for every frame) or [T, H] with T >= the taped frames, dL/dh of the last
        layer in G units. Raises ValueError for a wrong shape or type, or a tape already gone back over.
        """
        hidden = self.config.hidden
        per_frame = grad_h.ndim == 2
        shape = (max(len(grad_h), tape.frames_taped), hidden) if per_frame else (hidden,)
        _check_array("grad_h", grad_h, np.int32, shape)
        if tape.backward_done:
            raise ValueError("the tape was gone back over already: reset it first")
        counters = np.zeros(COUNTERS, np.int64)
        backward_call(
            self.places,
            tape.places,
            gradients.places,
            np.require(grad_h.reshape(-1, hidden), requirements=["C", "W"]),
            int(per_frame),
            counters,
        )
        frames, found = tape.frames_taped, counters.tolist()
        layers = [
            count_backward(
                layer.hidden,
                frames,
                active=found[ACTIVE + k],
                dense=layer.hidden * max(frames - 1, 0) + (layer.inputs * frames if k > 0 else 0),
                saturations=found[SATURATIONS] if k == 0 else 0,
            )
            for k, layer in enumerate(self.config.layers)
        ]
        return reduce(operator.add, layers)

    def update(
        self,
        tape: Tape,
        gradients: Gradients,
        mult: int,
        shift: int,
        step_seed: int,
        frozen_layers: Collection[int] = (),
    ) -> Counts:
        """Descend: masters -= (G * mult + random) >> shift, biases at the same learning rate.

        mult 0..32767, shift 0..62 (see `optimizer.quantise_rate`), step_seed 0..2^32-1, different for each
        step. They are for layer 0; a layer with another weight_shift gets the shift that makes the real
        learning rate the same. Every state of this network needs `State.refresh` (or `reset`) afterwards.
        Raises UsageError for a number out of range, ValueError before `backward`.
        """
        check_range("mult", mult, (0, MAX_MULT))
        check_range("step_seed", step_seed, (0, 2**32 - 1))
        first = self.config.layers[0].weight_shift
        shifts = [shift + first - layer.weight_shift for layer in self.config.layers]
        for value in shifts:
            check_range("shift", value, (0, MAX_SHIFT))
        if not tape.backward_done:
            raise ValueError("update needs the backward pass before it")
        done = []
        for k, layer in enumerate(self.config.layers):
            if k in frozen_layers:
                continue
            counters = np.zeros(COUNTERS, np.int64)
            update_call(
                self.places,
                tape.places,
                gradients.places,
                k,
                np.int32(mult),  # an int64 here would make every product of the update a scalar one on ARM
                shifts[k],
                step_seed,
                bias_limit(layer.inputs, layer.hidden),
                counters,
            )
            found = counters.tolist()
            done.append(
                count_update(
                    layer.inputs,
                    layer.hidden,
                    frames=tape.frames_taped,
                    entries=found[TAPED_ENTRIES + k],
                    touched=found[TOUCHED + k],
                    passes=found[PASSES + k],
                    saturations=found[SATURATIONS],
                )
            )
        return reduce(operator.add, done) if done else Counts()

    def _param_views(self) -> dict[str, npt.NDArray[Any]]:
        return {
            f"layer{k}.{field}": getattr(layer, field)
            for k, layer in enumerate(self.layers)
            for field in ("weights_hi", "weights_lo", "bias")
        }


def warm_up() -> None:
    """Compile every kernel of the engine, or load it from the cache: before a microphone stream is open."""
    config = NetworkConfig((LayerConfig(8, 16, 6), LayerConfig(16, 16, 6)))
    network = Network(config, Arena(64 * 1024))
    state = network.new_state("state")
    tape = network.new_tape(2, 128, "tape")
    gradients = network.new_backward("gradients")
    frames, hidden = np.zeros((2, 8), np.int8), np.zeros((2, 16), np.int16)
    network.forward(state, frames, np.zeros(16, np.int32), None, hidden)
    network.forward(state, frames, np.zeros(16, np.int32), tape, hidden)
    network.backward(tape, gradients, np.zeros(16, np.int32))
    network.update(tape, gradients, 0, 0, 0)
    state.refresh()


def _alloc(arena: Arena, name: str, regions: Iterator[Region]) -> dict[str, npt.NDArray[Any]]:
    return {region: arena.alloc(f"{name}.{region}", shape, dtype) for region, shape, dtype in regions}


def _check_array(name: str, array: npt.NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        wanted, given = (f"{np.dtype(t)}{list(s)}" for t, s in ((dtype, shape), (array.dtype, array.shape)))
        raise ValueError(f"{name} must be C-contiguous {wanted}, not {given}")


# Stand-ins for absent arguments: a kernel compiles once, for one set of types.
_NO_POOL = np.zeros(0, np.int32)
_NO_HIDDEN = np.zeros((0, 0), np.int16)
_INT8 = np.dtype(np.int8)
