"""The Delta LSTM of one to three layers: owns its buffers in an arena, validates, and calls the kernels."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import copy
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from edgelearn.device.arena import Arena
from edgelearn.engine.arrays import (
    ACTIVE,
    COUNTERS,
    FRAMES,
    HIDDEN_OUT_ROW,
    PASSES,
    POOL_ROW,
    SATURATIONS,
    TAPED_ENTRIES,
    TAPED_FRAMES,
    GradientArrays,
    LayerArrays,
    ScratchArrays,
    StateArrays,
    StreamArrays,
    VelocityArrays,
    WeightGradientArrays,
    bind,
)
from edgelearn.engine.backward import backward_call
from edgelearn.engine.counts import (
    Counts,
    count_backward,
    count_forward,
    count_gradient,
    count_rebuild,
    count_recompute,
    count_update,
)
from edgelearn.engine.fixedpoint import (
    MASTER_MAX,
    MASTER_MIN,
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    bias_limit,
    join_master,
)
from edgelearn.engine.forward import OK, TAPE_NOT_RESET, rebuild_memory, stream_call, taped_call
from edgelearn.engine.layout import (
    LayerConfig,
    NetworkConfig,
    Region,
    check_range,
    gradient_regions,
    gradients_bytes,
    network_bytes,
    network_regions,
    scaled,
    state_bytes,
    state_regions,
    tape_bytes,
    velocity_bytes,
    velocity_regions,
    weight_gradient_regions,
    weight_gradients_bytes,
)
from edgelearn.engine.optimizer import MAX_MULT, SHIFT_RANGE, TOUCHED, update_call
from edgelearn.engine.tape import Tape
from edgelearn.errors import ModelFileError

__all__ = [
    "Gradients",
    "LayerConfig",
    "Network",
    "NetworkConfig",
    "State",
    "Velocity",
    "WeightGradients",
    "gradients_bytes",
    "network_bytes",
    "state_bytes",
    "tape_bytes",
    "velocity_bytes",
    "warm_up",
    "weight_gradients_bytes",
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
        self._hidden = network.config.hidden
        self._run_on(network.layers)
        self.reset()

    def _run_on(self, layers: Iterable[LayerArrays]) -> None:
        """Let the next calls read these layers, with counts of their own and nothing to write to."""
        self.counters = np.zeros(COUNTERS, np.int64)
        written = StreamArrays(_NO_POOL, _NO_HIDDEN, self.counters)
        self.places = bind(*layers, *self.layers, self.scratch, written)
        self.pool: Int32Array | None = None
        self.hidden_out: Int16Array | None = None

    def at_thresholds(self, theta_q8: int) -> State:
        """Return the same arrays as a state whose delta thresholds are theta_q8 / 256 (Q8) times the network's.

        Whichever of the two runs next has to be reset first, and what is allocated for one serves both.
        """
        other = copy(self)
        other._run_on(
            layer._replace(theta_x=scaled(layer.theta_x, theta_q8), theta_h=scaled(layer.theta_h, theta_q8))
            for layer in self._network.layers
        )
        return other

    def write_to(self, pool: Int32Array | None, hidden_out: Int16Array | None, frames: int) -> None:
        """Let the next calls add h to `pool` and store it in `hidden_out`, see `Network.advance`."""
        if pool is not self.pool:
            if pool is not None:
                _check_array("pool", pool, np.int32, (self._hidden,))
            self.places[POOL_ROW] = _row(_NO_POOL if pool is None else pool)
            self.pool = pool
        if hidden_out is not None or self.hidden_out is not None:
            if hidden_out is not None:
                _check_array("hidden_out", hidden_out, np.int16, (frames, self._hidden))
            self.places[HIDDEN_OUT_ROW] = _row(_NO_HIDDEN if hidden_out is None else hidden_out)
            self.hidden_out = hidden_out

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


class WeightGradients:
    """A dense gradient of all weights, int32 [N+H, 4H] a layer in G units, of one utterance."""

    def __init__(self, config: NetworkConfig, arena: Arena, name: str) -> None:
        arrays = _alloc(arena, name, weight_gradient_regions(config))
        self.layers = tuple(arrays.values())
        self.places = bind(*(WeightGradientArrays(array) for array in self.layers))

    def clear(self) -> None:
        """Set it to zero."""
        for array in self.layers:
            array[:] = 0


class Velocity:
    """What momentum remembers: weights int16 [N+H, 4H] in 2^-6 of a master's last bit, biases int32 [4H]."""

    def __init__(self, config: NetworkConfig, arena: Arena, name: str) -> None:
        arrays = _alloc(arena, name, velocity_regions(config))
        self.layers = tuple(
            VelocityArrays(arrays[f"layer{k}.weights"], arrays[f"layer{k}.bias"]) for k in range(len(config.layers))
        )
        self.places = bind(*self.layers)

    def reset(self) -> None:
        """Stand still."""
        for layer in self.layers:
            for array in layer:
                array[:] = 0


class Network:
    """A Delta LSTM whose weights live in `arena`, in regions named `prefix.layerK.*`; zero until `load`.

    Raises BudgetExceeded if the arena has no room for them.
    """

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
        """Copy weights in, all of them or none; keys and errors are those of `check`."""
        self.check(params)
        for key, array in self._param_views().items():
            array[:] = params[key]

    def check(self, params: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raise what `load` would raise, and load nothing.

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
                    f"{key} is {given.dtype}{list(given.shape)}, this network needs {array.dtype}{list(array.shape)}"
                )
        for k, layer in enumerate(self.config.layers):
            hi, lo, bias = (params[f"layer{k}.{field}"] for field in ("weights_hi", "weights_lo", "bias"))
            # In 32 bits: planes that no master can have must not wrap into range.
            master = 256 * hi.astype(np.int32) + lo
            if master.min() < MASTER_MIN or master.max() > MASTER_MAX:
                raise ModelFileError(f"layer{k}: a weight is outside [{MASTER_MIN}, {MASTER_MAX}]")
            if np.abs(bias.astype(np.int64)).max() > bias_limit(layer.inputs, layer.hidden):
                raise ModelFileError(f"layer{k}: a bias is beyond +-{bias_limit(layer.inputs, layer.hidden)}")

    def params(self) -> dict[str, npt.NDArray[Any]]:
        """Copy weights out, under the keys of `load`."""
        return {key: array.copy() for key, array in self._param_views().items()}

    def masters(self, layer: int) -> Int16Array:
        """Copy out one layer's int16 masters [N+H, 4H] in Q(s+8)."""
        return join_master(self.layers[layer].weights_hi, self.layers[layer].weights_lo)

    def new_state(self, name: str) -> State:
        """Allocate a state in this network's arena, reset."""
        return State(self, self._arena, name)

    def new_tape(self, frames: int, pool_entries: int, name: str, checkpoint_every: int = 0) -> Tape:
        """Allocate a tape for `frames` frames and `pool_entries` active deltas of all layers together."""
        return Tape(self.config, frames, pool_entries, self._arena, name, checkpoint_every)

    def new_backward(self, name: str) -> Gradients:
        """Allocate what the backward pass accumulates in."""
        return Gradients(self.config, self._arena, name)

    def new_weight_gradients(self, name: str) -> WeightGradients:
        """Allocate a dense gradient of all weights."""
        return WeightGradients(self.config, self._arena, name)

    def new_velocity(self, name: str) -> Velocity:
        """Allocate the velocities of momentum, all zero."""
        return Velocity(self.config, self._arena, name)

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
        frames = frames_x8
        if not frames.flags.carray or frames.dtype is not _INT8 or frames.ndim != 2:
            frames = np.require(frames, requirements=["C", "A", "W"])
            _check_array("frames_x8", frames, np.int8, (len(frames), self._inputs))
        if pool is not state.pool or hidden_out is not None or state.hidden_out is not None:
            state.write_to(pool, hidden_out, len(frames))
        wrong = stream_call(state.places, frames) if tape is None else taped_call(state.places, tape.places, frames)
        if wrong != OK:
            if wrong == TAPE_NOT_RESET:
                raise ValueError("the tape holds gradients of a backward pass: reset it first")
            _check_array("frames_x8", frames, np.int8, (len(frames), self._inputs))

    def backward(
        self, tape: Tape, gradients: Gradients, grad_h: Int32Array, weights: WeightGradients | None = None
    ) -> Counts:
        """Sparse BPTT over all taped frames; leaves CM16 on the tape and dL/db in `gradients`.

        grad_h int32 [H] (the same for every frame) or [T, H] with T >= the taped frames, dL/dh of the last
        layer in G units. `weights` receives dL/dW and is needed by a tape with checkpoints. Raises ValueError for a
        wrong shape or type, a tape already gone back over, or where `weights` is missing.
        """
        hidden = self.config.hidden
        per_frame = grad_h.ndim == 2
        shape = (max(len(grad_h), tape.frames_taped), hidden) if per_frame else (hidden,)
        _check_array("grad_h", grad_h, np.int32, shape)
        if tape.backward_done:
            raise ValueError("the tape was gone back over already: reset it first")
        if tape.checkpoint_every and weights is None:
            raise ValueError("a tape with checkpoints needs weight gradients: it cannot keep CM of all frames")
        if weights is not None:
            weights.clear()
        counters = np.zeros(COUNTERS, np.int64)
        backward_call(
            self.places,
            tape.places,
            gradients.places,
            _NOWHERE if weights is None else weights.places,
            np.require(grad_h.reshape(-1, hidden), requirements=["C", "W"]),
            int(per_frame),
            counters,
        )
        frames, found = tape.frames_taped, counters.tolist()
        taped = tape.entries_by_layer() if weights is not None else []
        counts = Counts(saturations=found[SATURATIONS])
        for k, layer in enumerate(self.config.layers):
            dense = layer.hidden * max(frames - 1, 0) + (layer.inputs * frames if k > 0 else 0)
            counts += count_backward(layer.hidden, frames, active=found[ACTIVE + k], dense=dense)
            if tape.checkpoint_every:
                counts += count_recompute(layer.hidden, frames, found[TAPED_ENTRIES + k], tape.checkpoint_every)
            if weights is not None:
                counts += count_gradient(layer.inputs, layer.hidden, frames, taped[k])
        return counts

    def update(
        self,
        tape: Tape,
        gradients: Gradients,
        mult: int,
        shift: int,
        step_seed: int,
        frozen_layers: Collection[int] = (),
        weights: WeightGradients | None = None,
        velocity: Velocity | None = None,
        momentum_q15: int = 0,
    ) -> Counts:
        """Descend: masters -= G * mult / 2^shift, stochastically rounded, biases at the same learning rate.

        mult 0..32767, shift 4..59: with CM16 in units of u and weights in Qs a learning rate lr is lr * u * 2^(s+10);
        step_seed 0..2^32-1, different for each step. They are for layer 0; a layer with another weight_shift gets the
        shift that makes the real learning rate the same. `weights`: what `backward` filled; without it the sums come
        from the tape. With `velocity` each step is momentum_q15 / 2^15 of the one before and this one (heavy ball).
        Every state of this network needs `State.refresh` (or `reset`) afterwards. Raises UsageError for a number out of
        range, ValueError before `backward` and for a tape with checkpoints without `weights`.
        """
        check_range("mult", mult, (0, MAX_MULT))
        check_range("step_seed", step_seed, (0, 2**32 - 1))
        check_range("momentum_q15", momentum_q15, (0, MAX_MULT))
        first = self.config.layers[0].weight_shift
        shifts = [shift + first - layer.weight_shift for layer in self.config.layers]
        for value in shifts:
            check_range("shift", value, SHIFT_RANGE)
        if not tape.backward_done:
            raise ValueError("update needs the backward pass before it")
        if tape.checkpoint_every and weights is None:
            raise ValueError("a tape with checkpoints needs the weight gradients that backward filled")
        counts = Counts()
        for k, layer in enumerate(self.config.layers):
            if k in frozen_layers:
                continue
            counters = np.zeros(COUNTERS, np.int64)
            update_call(
                self.places,
                tape.places,
                gradients.places,
                _NOWHERE if weights is None else weights.places,
                _NOWHERE if velocity is None else velocity.places,
                k,
                np.int32(mult),  # an int64 here would make every product of the update a scalar one on ARM
                shifts[k],
                np.int32(momentum_q15),
                step_seed,
                bias_limit(layer.inputs, layer.hidden),
                counters,
            )
            found = counters.tolist()
            if weights is None:
                entries = found[TAPED_ENTRIES + k]
                counts += count_gradient(layer.inputs, layer.hidden, tape.frames_taped, entries, found[PASSES + k])
            counts += count_update(
                layer.inputs,
                layer.hidden,
                touched=found[TOUCHED + k],
                saturations=found[SATURATIONS],
                dense=weights is not None,
                momentum=velocity is not None,
            )
        return counts

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
    frames = np.zeros((2, 8), np.int8)
    network.forward(state, frames)
    network.forward(state, frames, tape=tape)
    network.backward(tape, gradients, np.zeros(16, np.int32))
    network.update(tape, gradients, 0, SHIFT_RANGE[0], 0)
    state.refresh()


def _alloc(arena: Arena, name: str, regions: Iterator[Region]) -> dict[str, npt.NDArray[Any]]:
    return {region: arena.alloc(f"{name}.{region}", shape, dtype) for region, shape, dtype in regions}


def _check_array(name: str, array: npt.NDArray[Any], dtype: type, shape: tuple[int, ...]) -> None:
    if array.dtype != dtype or array.shape != shape or not array.flags.c_contiguous:
        wanted, given = (f"{np.dtype(t)}{list(s)}" for t, s in ((dtype, shape), (array.dtype, array.shape)))
        raise ValueError(f"{name} must be C-contiguous {wanted}, not {given}")


def _row(array: npt.NDArray[Any]) -> Int64Array:
    row: Int64Array = bind(_One(array))[0]
    return row


class _One(NamedTuple):
    array: npt.NDArray[Any]


# Stand-ins for absent arguments: a kernel compiles once, for one set of types.
_NO_POOL = np.zeros(0, np.int32)
_NO_HIDDEN = np.zeros((0, 0), np.int16)
_NOWHERE = np.zeros((0, 3), np.int64)
_INT8 = np.dtype(np.int8)
