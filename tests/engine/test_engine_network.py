"""The whole network equals its twin in Python integers: forward, tape, backward, update, invariants."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgelearn.device.arena import Arena
from edgelearn.engine.network import (
    LayerConfig,
    Network,
    NetworkConfig,
    gradients_bytes,
    network_bytes,
    state_bytes,
    tape_bytes,
)
from edgelearn.errors import EdgelearnError, ModelFileError, UsageError
from tests import reference
from tests.engine.engine_cases import (
    all_lists,
    config_of,
    extreme_params,
    make_network,
    make_reference,
    random_frames,
    random_params,
    random_walk,
)

ONE = ((9, 17),)
TWO = ((9, 17), (17, 16))
THREE = ((9, 17), (17, 16), (16, 18))
SHAPES = pytest.mark.parametrize("shapes", [ONE, TWO, THREE], ids=["1 layer", "2 layers", "3 layers"])


def run_both(config, params, frames, grad_h, tape_size, update=(16000, 16, 7)):
    """Forward with tape, backward and update, in the engine and in the reference: all is equal."""
    network, layers = make_network(config, params), make_reference(config, params)
    state, states = network.new_state("state"), [reference.new_state(layer) for layer in layers]
    tape, expected_tape = network.new_tape(*tape_size, "tape"), reference.Tape(*tape_size)
    gradients = network.new_backward("gradients")
    hidden = np.zeros((len(frames), config.hidden), np.int16)
    pool = np.zeros(config.hidden, np.int32)

    counts = network.forward(state, frames, pool, tape, hidden)
    expected_hidden, saturations = reference.forward(layers, states, frames.tolist(), expected_tape)
    assert hidden.tolist() == expected_hidden
    assert pool.tolist() == hidden.sum(axis=0).tolist()
    assert counts.saturations == saturations
    for mine, theirs in zip(state.layers, states, strict=True):
        assert all_lists(mine) == [theirs.memory, theirs.c, theirs.h, theirs.h_hat, theirs.x_hat]
    assert tape.frames_taped == len(expected_tape.frames)
    assert tape.frames_left_out == expected_tape.left_out
    assert sum(tape.entries_by_layer()) == expected_tape.entries()
    for t, frame in enumerate(expected_tape.frames):
        for k, taped in enumerate(frame):
            columns, deltas = tape.frame_deltas(k, t)
            assert list(zip(columns.tolist(), deltas.tolist(), strict=True)) == taped.deltas
            assert tape.layers[k].gates[t].tolist() == taped.gates
            assert tape.layers[k].c[t].tolist() == taped.c_before
            assert tape.layers[k].c[t + 1].tolist() == taped.c

    counts = network.backward(tape, gradients, grad_h)
    per_frame = np.broadcast_to(grad_h, (len(frames), config.hidden)).tolist()
    expected_gradients, saturations = reference.backward(layers, expected_tape, per_frame)
    assert counts.saturations == saturations
    for k, expected in enumerate(expected_gradients):
        assert gradients.layers[k].memory.tolist() == expected.memory
        for t, frame in enumerate(expected_tape.frames):
            assert tape.layers[k].gates[t].tolist() == frame[k].gates

    mult, shift, seed = update
    counts = network.update(tape, gradients, mult, shift, seed)
    shifts = [shift + config.layers[0].weight_shift - layer.weight_shift for layer in config.layers]
    expected_saturations = sum(
        reference.update(layer, expected_tape, k, expected_gradients[k], mult, shifts[k], seed)
        for k, layer in enumerate(layers)
    )
    assert counts.saturations == expected_saturations
    for mine, theirs in zip(network.layers, layers, strict=True):
        assert mine.weights_hi.tolist() == theirs.hi
        assert mine.weights_lo.tolist() == theirs.lo
        assert mine.bias.tolist() == theirs.bias
    return network, saturations + expected_saturations


@SHAPES
@pytest.mark.parametrize("theta", [0, 700])
def test_training_step_equals_reference(shapes, theta, rng):
    config = config_of(*shapes, theta=theta)
    grad_h = rng.integers(-(2**20), 2**20, config.hidden).astype(np.int32)
    run_both(config, random_params(config, rng), random_walk(7, config.inputs, rng), grad_h, (8, 1000))


@SHAPES
@pytest.mark.parametrize("weight_shift", [0, 6, 12])
def test_extreme_training_step_equals_reference(shapes, weight_shift, rng):
    config = config_of(*shapes, weight_shift=weight_shift, theta=100)
    frames = random_frames(9, config.inputs, rng)
    grad_h = rng.choice([-(2**31), 2**31 - 1, 0, 2**30], (9, config.hidden)).astype(np.int32)
    _, saturations = run_both(
        config, extreme_params(config, rng), frames, grad_h, (9, 1000), update=(32767, 16, 2**32 - 1)
    )
    assert saturations > 0


def test_a_second_layer_of_another_format_learns_at_the_same_real_rate(rng):
    config = NetworkConfig((LayerConfig(9, 17, 6, 50, 60), LayerConfig(17, 16, 4, 70, 80)))
    grad_h = rng.integers(-(2**20), 2**20, (6, 16)).astype(np.int32)
    run_both(config, random_params(config, rng), random_walk(6, 9, rng), grad_h, (8, 1000))


@given(
    inputs=st.integers(8, 20),
    hidden=st.lists(st.integers(16, 22), min_size=1, max_size=3),
    frames=st.integers(0, 5),
    theta_x=st.integers(0, 3000),
    theta_h=st.integers(0, 3000),
    weight_shift=st.integers(0, 12),
    tape_frames=st.integers(1, 6),
    pool=st.integers(1, 300),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_shape_equals_reference(inputs, hidden, frames, theta_x, theta_h, weight_shift, tape_frames, pool, seed):
    rng = np.random.default_rng(seed)
    widths = [inputs, *hidden]
    config = NetworkConfig(
        tuple(LayerConfig(n, h, weight_shift, theta_x, theta_h) for n, h in itertools.pairwise(widths))
    )
    grad_h = rng.integers(-(2**20), 2**20, config.hidden).astype(np.int32)
    params = random_params(config, rng, scale=8000.0)
    run_both(config, params, random_frames(frames, inputs, rng), grad_h, (tape_frames, pool), update=(77, 16, seed))


@pytest.mark.parametrize("params_of", [random_params, extreme_params])
def test_memory_is_exact_after_every_frame(params_of, rng):
    config = config_of(*TWO, theta=900)
    params = params_of(config, rng)
    network, layers = make_network(config, params), make_reference(config, params)
    state = network.new_state("state")
    for frame in random_frames(20, config.inputs, rng):
        network.forward(state, frame[None])
        for mine, layer in zip(state.layers, layers, strict=True):
            theirs = reference.State(*all_lists(mine))
            assert mine.memory.tolist() == reference.exact_memory(layer, theirs)


@SHAPES
def test_theta_zero_is_the_dense_lstm_and_its_bptt_bit_for_bit(shapes, rng):
    config = config_of(*shapes)
    params = random_params(config, rng)
    frames = random_walk(6, config.inputs, rng)
    grad_h = rng.integers(-(2**20), 2**20, (6, config.hidden)).astype(np.int32)
    network, layers = make_network(config, params), make_reference(config, params)
    state, tape = network.new_state("state"), network.new_tape(6, 1000, "tape")
    gradients = network.new_backward("gradients")
    hidden = np.zeros((6, config.hidden), np.int16)
    network.forward(state, frames, None, tape, hidden)

    xs = (frames.astype(int) << 7).tolist()
    expected = xs
    for layer in layers:
        _, _, expected = reference.dense_forward(layer, expected)
    assert hidden.tolist() == expected

    network.backward(tape, gradients, grad_h)
    results = reference.dense_backward(layers, xs, grad_h.tolist())
    for k, (weights, bias) in enumerate(results):
        assert gradients.layers[k].memory.tolist() == bias
        total = np.zeros_like(weights)
        for t in range(6):
            columns, deltas = tape.frame_deltas(k, t)
            products = tape.layers[k].gates[t].astype(np.int64) * deltas[:, None].astype(np.int64)
            total[columns] += (products + (1 << 14)) >> 15
        assert total.tolist() == weights


@pytest.mark.parametrize("sizes", [[1] * 12, [5, 7], [0, 3, 0, 9], [11, 1]])
def test_any_chunking_gives_the_same_integers(sizes, rng):
    config = config_of(*TWO, theta=500)
    params = random_params(config, rng)
    frames = random_walk(12, config.inputs, rng)
    results = []
    for chunks in ([12], sizes):
        network = make_network(config, params)
        state, tape = network.new_state("state"), network.new_tape(10, 400, "tape")
        pool, start = np.zeros(config.hidden, np.int32), 0
        counts = network.forward(state, frames[:0])
        for size in chunks:
            counts += network.forward(state, frames[start : start + size], pool, tape)
            start += size
        taped = [all_lists(layer) for layer in tape.layers] + all_lists(tape.arrays)
        results.append((pool.tolist(), [all_lists(layer) for layer in state.layers], taped, counts))
    assert results[0] == results[1]


def test_refresh_rebuilds_memory_exactly_for_new_weights(rng):
    config = config_of(*TWO, theta=600)
    network = make_network(config, random_params(config, rng))
    state = network.new_state("state")
    network.forward(state, random_walk(15, config.inputs, rng))
    before = [all_lists(layer) for layer in state.layers]
    state.refresh()
    assert [all_lists(layer) for layer in state.layers] == before
    params = random_params(config, rng)
    network.load(params)
    state.refresh()
    for mine, layer in zip(state.layers, make_reference(config, params), strict=True):
        assert mine.memory.tolist() == reference.exact_memory(layer, reference.State(*all_lists(mine)))


def test_a_full_pool_truncates_and_reports_and_stays_truncated(rng):
    config = config_of(*ONE)
    network = make_network(config, random_params(config, rng))
    state, tape = network.new_state("state"), network.new_tape(8, 26 * 3 + 25, "tape")
    network.forward(state, random_walk(5, 9, rng), None, tape)
    assert (tape.frames_taped, tape.frames_left_out, tape.entries_by_layer()) == (3, 2, [78])
    tape.reset()
    network.forward(state, random_walk(2, 9, rng), None, tape)
    assert (tape.frames_taped, tape.frames_left_out) == (2, 0)


def test_tape_in_the_middle_of_a_stream_starts_from_the_state_it_found(rng):
    config = config_of(*ONE, theta=300)
    network = make_network(config, random_params(config, rng))
    state, tape = network.new_state("state"), network.new_tape(4, 200, "tape")
    frames = random_walk(10, 9, rng)
    network.forward(state, frames[:6])
    c = state.layers[0].c.tolist()
    network.forward(state, frames[6:], None, tape)
    assert tape.layers[0].c[0].tolist() == c
    assert tape.layers[0].c[4].tolist() == state.layers[0].c.tolist()


@pytest.mark.parametrize("shapes", [ONE, TWO, ((32, 128),)], ids=["1 layer", "2 layers", "default"])
def test_byte_twins_equal_what_is_allocated(shapes):
    config = config_of(*shapes)
    arena = Arena(1 << 20)
    used = [arena.used_bytes]
    network = Network(config, arena)
    for make in (
        lambda: network.new_state("state"),
        lambda: network.new_tape(7, 33, "tape"),
        lambda: network.new_backward("gradients"),
    ):
        used.append(arena.used_bytes)
        make()
    used.append(arena.used_bytes)
    assert np.diff(used).tolist() == [
        network_bytes(config),
        state_bytes(config),
        tape_bytes(config, 7, 33),
        gradients_bytes(config),
    ]


def test_frozen_layers_do_not_change(rng):
    config = config_of(*TWO)
    network = make_network(config, random_params(config, rng))
    state, tape = network.new_state("state"), network.new_tape(4, 400, "tape")
    gradients = network.new_backward("gradients")
    network.forward(state, random_walk(4, 9, rng), None, tape)
    network.backward(tape, gradients, np.full(16, 30000, np.int32))
    before = network.params()
    network.update(tape, gradients, 32767, 16, 3, frozen_layers=(0,))
    changed = {key for key, array in network.params().items() if not np.array_equal(array, before[key])}
    assert {"layer1.weights_lo", "layer1.bias"} <= changed <= {"layer1.weights_hi", "layer1.weights_lo", "layer1.bias"}


def test_update_is_repeatable_and_depends_on_the_seed(rng):
    config = config_of(*ONE)
    params, frames = random_params(config, rng), random_walk(4, 9, rng)
    results = []
    for seed in (1, 1, 2):
        network = make_network(config, params)
        state, tape = network.new_state("state"), network.new_tape(4, 400, "tape")
        gradients = network.new_backward("gradients")
        network.forward(state, frames, None, tape)
        network.backward(tape, gradients, np.full(17, 30000, np.int32))
        network.update(tape, gradients, 20000, 25, seed)
        results.append(network.masters(0).tolist())
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inputs", 7),
        ("inputs", 513),
        ("hidden", 15),
        ("hidden", 513),
        ("weight_shift", 13),
        ("theta_x_q13", -1),
    ],
)
def test_a_layer_outside_its_bounds_is_a_usage_error_naming_it(field, value):
    with pytest.raises(UsageError, match=rf"{field} = {value} is outside"):
        dataclasses.replace(LayerConfig(9, 17, 6), **{field: value})


def test_layers_must_fit_on_each_other():
    with pytest.raises(UsageError, match="1 to 3 layers"):
        NetworkConfig(())
    with pytest.raises(UsageError, match="18 inputs does not fit on one of 17"):
        config_of((9, 17), (18, 16))


@pytest.mark.parametrize("size", [(0, 10), (1025, 10), (5, 0)])
def test_a_tape_outside_its_bounds_is_a_usage_error(size):
    with pytest.raises(UsageError, match="tape"):
        Network(config_of(*ONE), Arena(1 << 20)).new_tape(*size, "tape")


def test_load_refuses_what_could_overflow_or_does_not_fit(rng):
    config = config_of(*ONE)
    good = random_params(config, rng)
    network = make_network(config, good)
    hi, bias = good["layer0.weights_hi"], good["layer0.bias"]
    for change in (
        {"layer0.weights_hi": hi[1:]},
        {"layer0.weights_hi": hi.astype(np.int16)},
        {"layer0.weights_hi": np.full_like(hi, -128)},
        {"layer0.bias": np.full_like(bias, 2**30 + 1)},
        {"layer1.bias": bias},
    ):
        with pytest.raises(ModelFileError):
            network.load(good | change)
    for key, array in network.params().items():
        assert np.array_equal(array, good[key])


def test_misuse_raises_before_any_kernel_runs(rng):
    config = config_of(*ONE)
    network = make_network(config, random_params(config, rng))
    state, tape = network.new_state("state"), network.new_tape(4, 400, "tape")
    gradients = network.new_backward("gradients")
    frames = random_walk(4, 9, rng)
    with pytest.raises(ValueError, match="frames_x8"):
        network.forward(state, frames[:, :8])
    with pytest.raises(ValueError, match="pool"):
        network.forward(state, frames, np.zeros(17, np.int64))
    with pytest.raises(ValueError, match="hidden_out"):
        network.forward(state, frames, None, None, np.zeros((3, 17), np.int16))
    network.forward(state, frames, None, tape)
    with pytest.raises(ValueError, match="before"):
        network.update(tape, gradients, 1, 32, 1)
    with pytest.raises(ValueError, match="grad_h"):
        network.backward(tape, gradients, np.zeros((3, 17), np.int32))
    network.backward(tape, gradients, np.zeros((4, 17), np.int32))
    with pytest.raises(ValueError, match="reset"):
        network.forward(state, frames, None, tape)
    with pytest.raises(ValueError, match="reset"):
        network.backward(tape, gradients, np.zeros(17, np.int32))
    for mult, shift, seed in ((-1, 32, 1), (32768, 32, 1), (1, 60, 1), (1, 3, 1), (1, 32, 2**32)):
        with pytest.raises(EdgelearnError):
            network.update(tape, gradients, mult, shift, seed)


def test_read_only_features_are_accepted(rng):
    config = config_of(*ONE)
    network = make_network(config, random_params(config, rng))
    frames = random_walk(3, 9, rng)
    states = [network.new_state("a"), network.new_state("b")]
    network.forward(states[0], frames)
    network.forward(states[1], np.frombuffer(frames.tobytes(), np.int8).reshape(3, 9))
    assert all_lists(states[0].layers[0]) == all_lists(states[1].layers[0])


@SHAPES
@pytest.mark.parametrize(
    ("theta", "theta_q8", "expected"), [(301, 384, 452), (301, 0, 0), (0, 384, 0), (30000, 512, 32767)]
)
def test_a_state_at_other_thresholds_is_that_of_a_network_with_them(shapes, theta, theta_q8, expected, rng):
    config = config_of(*shapes, theta=theta)
    params, frames = random_params(config, rng), random_walk(30, config.inputs, rng)
    network, other = make_network(config, params), make_network(config_of(*shapes, theta=expected), params)
    state = network.new_state("state")
    used = network._arena.used_bytes
    at_others = state.at_thresholds(theta_q8)
    assert network._arena.used_bytes == used
    pools = np.zeros((4, config.hidden), np.int32)
    before = network.forward(state, frames, pools[0])
    at_others.reset()
    assert network.forward(at_others, frames, pools[1]) == other.forward(other.new_state("state"), frames, pools[2])
    np.testing.assert_array_equal(pools[1], pools[2])
    # and the state itself is what it was
    state.reset()
    assert network.forward(state, frames, pools[3]) == before
    np.testing.assert_array_equal(pools[3], pools[0])
