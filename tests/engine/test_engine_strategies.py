"""Strategies of learning give the same integers: tapes with and without checkpoints, gradients stored and not."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from edgelearn.device.arena import Arena
from edgelearn.engine import optimizer
from edgelearn.engine.network import (
    Network,
    tape_bytes,
    velocity_bytes,
    weight_gradients_bytes,
)
from edgelearn.engine.pairs import HAS_PAIRS
from edgelearn.errors import UsageError
from tests import reference
from tests.engine.engine_cases import (
    config_of,
    extreme_params,
    make_network,
    make_reference,
    random_frames,
    random_params,
    random_walk,
)

SHAPES = pytest.mark.parametrize(
    "shapes", [((9, 17),), ((9, 17), (17, 16)), ((9, 17), (17, 16), (16, 18))], ids=["1", "2", "3"]
)
FRAMES, RATE = 11, (30000, 17)


def learn(network, frames, grad_h, seed, checkpoint_every, dense, velocity=None, momentum_q15=0):
    """One step from the zero state; returns the network's weights after it and the operation counts."""
    name = f"{seed}"
    state = network.new_state(f"state{name}")
    tape = network.new_tape(len(frames), 2000, f"tape{name}", checkpoint_every)
    gradients = network.new_backward(f"gradients{name}")
    weights = network.new_weight_gradients(f"weights{name}") if dense else None
    network.forward(state, frames, None, tape)
    counts = network.backward(tape, gradients, grad_h, weights)
    counts += network.update(
        tape, gradients, *RATE, seed, weights=weights, velocity=velocity, momentum_q15=momentum_q15
    )
    return network.params(), counts, weights


def same(first, second):
    return all(np.array_equal(first[key], second[key]) for key in first)


@SHAPES
@pytest.mark.parametrize("theta", [0, 700])
@pytest.mark.parametrize("every", [1, 3, FRAMES - 1, FRAMES, 40])
def test_checkpoints_give_the_gradients_of_the_full_tape(shapes, theta, every, rng):
    config = config_of(*shapes, theta=theta)
    params = random_params(config, rng)
    frames = random_walk(FRAMES, config.inputs, rng)
    grad_h = rng.integers(-(2**20), 2**20, (FRAMES, config.hidden)).astype(np.int32)
    full, counted, _ = learn(make_network(config, params), frames, grad_h, 5, 0, dense=False)
    stored, _, gradient = learn(make_network(config, params), frames, grad_h, 5, 0, dense=True)
    checkpointed, counts, recomputed = learn(make_network(config, params), frames, grad_h, 5, every, dense=True)
    assert not same(full, params)
    assert same(full, stored)
    assert same(full, checkpointed)
    for mine, theirs in zip(gradient.layers, recomputed.layers, strict=True):
        assert np.array_equal(mine, theirs)
    assert counts.saturations == counted.saturations
    assert counts.macs_gradient == counted.macs_gradient
    # Recomputing adds the columns of the forward pass once more.
    added = counts.macs_backward - counted.macs_backward
    assert added == counted.macs_gradient


@SHAPES
def test_the_dense_gradient_equals_reference(shapes, rng):
    config = config_of(*shapes, weight_shift=6, theta=100)
    params = extreme_params(config, rng)
    frames = random_frames(FRAMES, config.inputs, rng)
    grad_h = rng.choice([-(2**31), 2**31 - 1, 0, 2**30], (FRAMES, config.hidden)).astype(np.int32)
    _, _, gradient = learn(make_network(config, params), frames, grad_h, 5, 4, dense=True)
    layers, tape = make_reference(config, params), reference.Tape(FRAMES, 2000)
    reference.forward(layers, [reference.new_state(layer) for layer in layers], frames.tolist(), tape)
    reference.backward(layers, tape, grad_h.tolist())
    for k, layer in enumerate(layers):
        assert gradient.layers[k].tolist() == reference.weight_gradient(layer, tape, k)


@SHAPES
@pytest.mark.parametrize(
    ("momentum_q15", "params_of"), [(0, random_params), (29491, random_params), (32767, extreme_params)]
)
def test_momentum_equals_reference(shapes, momentum_q15, params_of, rng):
    config = config_of(*shapes, theta=300)
    params = params_of(config, rng)
    network, layers = make_network(config, params), make_reference(config, params)
    velocity = network.new_velocity("velocity")
    expected = [([[0] * (4 * n.hidden) for _ in range(n.inputs + n.hidden)], [0] * (4 * n.hidden)) for n in layers]
    for seed in range(3):
        frames = random_walk(FRAMES, config.inputs, rng)
        grad_h = rng.integers(-(2**22), 2**22, config.hidden).astype(np.int32)
        _, counts, _ = learn(network, frames, grad_h, seed, 0, False, velocity, momentum_q15)
        tape = reference.Tape(FRAMES, 2000)
        reference.forward(layers, [reference.new_state(layer) for layer in layers], frames.tolist(), tape)
        gradients, _ = reference.backward(layers, tape, [grad_h.tolist()] * FRAMES)
        for k, layer in enumerate(layers):
            reference.update_with_momentum(layer, tape, k, gradients[k], expected[k], *RATE, momentum_q15, seed)
        for k, layer in enumerate(layers):
            assert velocity.layers[k].weights.tolist() == expected[k][0]
            assert velocity.layers[k].bias.tolist() == expected[k][1]
            assert network.layers[k].weights_hi.tolist() == layer.hi
            assert network.layers[k].weights_lo.tolist() == layer.lo
            assert network.layers[k].bias.tolist() == layer.bias
    assert counts.weight_bytes_read >= sum(2 * 4 * n.hidden * (n.inputs + n.hidden) for n in layers)
    velocity.reset()
    assert not any(array.any() for layer in velocity.layers for array in layer)


def test_a_constant_gradient_with_momentum_reaches_the_speed_of_heavy_ball():
    """v = m v + s has the limit s / (1 - m); rounding is stochastic, so in the mean."""
    rows = 4096
    hi, lo = np.zeros((1, rows), np.int8), np.zeros((1, rows), np.int8)
    velocity = np.zeros((1, rows), np.int16)
    total = np.full(rows, 1 << 12, np.int32)
    for seed in range(60):
        optimizer.update_column_with_momentum(hi, lo, velocity, 0, total, np.int32(24), 20, np.int32(26214), seed, 0)
    step = 24 * 2**12 / 2**20 * 2**optimizer.VELOCITY_BITS
    assert velocity.mean() == pytest.approx(step / (1 - 26214 / 32768), rel=0.01)
    mean = 24 * 2**12 / 2**20
    expected = sum(mean * (1 - 0.8**k) / 0.2 for k in range(1, 61))
    assert -(256.0 * hi + lo).mean() == pytest.approx(expected, rel=0.01)


def test_a_tape_with_checkpoints_needs_stored_gradients(rng):
    config = config_of((9, 17))
    network = make_network(config, random_params(config, rng))
    state, gradients = network.new_state("state"), network.new_backward("gradients")
    tape = network.new_tape(4, 400, "tape", checkpoint_every=2)
    weights = network.new_weight_gradients("weights")
    network.forward(state, random_walk(4, 9, rng), None, tape)
    with pytest.raises(ValueError, match="weight gradients"):
        network.backward(tape, gradients, np.zeros(17, np.int32))
    network.backward(tape, gradients, np.zeros(17, np.int32), weights)
    with pytest.raises(ValueError, match="weight gradients"):
        network.update(tape, gradients, 1, 32, 1)
    with pytest.raises(UsageError, match="every -1"):
        network.new_tape(4, 400, "other", checkpoint_every=-1)


@SHAPES
@pytest.mark.parametrize("every", [0, 1, 4, 7, 30])
def test_byte_twins_equal_what_is_allocated(shapes, every):
    config = config_of(*shapes)
    arena = Arena(1 << 20)
    network = Network(config, arena)
    sizes = []
    for allocate in (
        lambda: network.new_tape(7, 50, "tape", every),
        lambda: network.new_weight_gradients("weights"),
        lambda: network.new_velocity("velocity"),
    ):
        before = arena.used_bytes
        allocate()
        sizes.append(arena.used_bytes - before)
    assert sizes == [tape_bytes(config, 7, 50, every), weight_gradients_bytes(config), velocity_bytes(config)]


def test_checkpoints_hold_a_second_in_little_more_than_half_the_memory():
    config = config_of((32, 128))
    entries = int(50 * 160 * 0.3)
    full, sparse = tape_bytes(config, 50, entries), tape_bytes(config, 50, entries, 7)
    assert (full, sparse) == (76620, 40268)


LEARNING_STEP = """
import zlib
import numpy as np
from edgelearn.engine.pairs import HAS_PAIRS
from tests.engine.engine_cases import config_of, make_network, random_frames, random_params
rng = np.random.default_rng(1)
config = config_of((9, 21), (21, 40), theta=300)
network = make_network(config, random_params(config, rng))
state, tape, gradients = network.new_state("s"), network.new_tape(20, 2000, "t"), network.new_backward("g")
for seed in range(5):
    state.reset()
    tape.reset()
    network.forward(state, random_frames(20, 9, rng), None, tape)
    network.backward(tape, gradients, rng.integers(-(2**20), 2**20, 40).astype(np.int32))
    network.update(tape, gradients, 30000, 17, seed)
print(HAS_PAIRS, *(zlib.crc32(array.tobytes()) for array in network.params().values()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not HAS_PAIRS, reason="this processor has no pmaddwd: plain loops are all there is")
def test_plain_loops_give_the_same_integers_as_those_by_pairs(tmp_path):
    results = []
    for plain in ("", "1"):
        settings = {"EDGELEARN_PLAIN_LOOPS": plain, "NUMBA_CACHE_DIR": str(tmp_path / f"cache{plain}")}
        done = subprocess.run(
            [sys.executable, "-c", LEARNING_STEP], env=os.environ | settings, capture_output=True, text=True, check=True
        )
        results.append(done.stdout.split())
    assert (results[0][0], results[1][0]) == ("True", "False")
    assert results[0][1:] == results[1][1:]


@pytest.mark.slow
@pytest.mark.parametrize("shapes", [((64, 512),), ((8, 512), (512, 16))], ids=["64-512", "8-512-16"])
def test_the_widest_networks_equal_reference(shapes, rng):
    config = config_of(*shapes, weight_shift=6, theta=200)
    params = extreme_params(config, rng)
    frames = random_frames(2, config.inputs, rng)
    grad_h = rng.choice([-(2**31), 2**31 - 1, 2**30], (2, config.hidden)).astype(np.int32)
    network = Network(config, Arena(1 << 24))
    network.load(params)
    state, tape = network.new_state("state"), network.new_tape(2, 4000, "tape")
    gradients = network.new_backward("gradients")
    network.forward(state, frames, None, tape)
    network.backward(tape, gradients, grad_h)
    network.update(tape, gradients, *RATE, 3)
    layers, expected_tape = make_reference(config, params), reference.Tape(2, 4000)
    states = [reference.new_state(layer) for layer in layers]
    reference.forward(layers, states, frames.tolist(), expected_tape)
    expected, _ = reference.backward(layers, expected_tape, grad_h.tolist())
    for k, layer in enumerate(layers):
        assert state.layers[k].memory.tolist() == states[k].memory
        assert gradients.layers[k].memory.tolist() == expected[k].memory
        shift = RATE[1] + config.layers[0].weight_shift - config.layers[k].weight_shift
        reference.update(layer, expected_tape, k, expected[k], RATE[0], shift, 3)
        assert network.layers[k].weights_hi.tolist() == layer.hi
        assert network.layers[k].weights_lo.tolist() == layer.lo
