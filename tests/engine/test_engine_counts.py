"""Counts are exact on a case small enough to do by hand, and add up."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgelearn.engine.counts import Counts
from tests.engine.engine_cases import config_of, make_network

N, H, ROWS = 8, 16, 64


def quiet_network():
    """One layer whose weights are 0: h stays 0, so that only x columns are ever active."""
    config = config_of((N, H), theta=128)
    zeros = np.zeros((N + H, ROWS), np.int8)
    bias = np.zeros(ROWS, np.int32)
    return make_network(config, {"layer0.weights_hi": zeros, "layer0.weights_lo": zeros, "layer0.bias": bias})


def test_counts_of_a_training_step_done_by_hand():
    network = quiet_network()
    state, tape = network.new_state("state"), network.new_tape(4, 50, "tape")
    frames = np.zeros((3, N), np.int8)
    frames[0, :5] = 10
    frames[1:, :5] = [[10, 10, 10, 10, 30]] * 2
    forward = network.forward(state, frames, None, tape)
    active, passes = 5 + 1 + 0, (1 + 1) + 1 + 0
    assert forward == Counts(
        frames=3,
        macs_forward=active * ROWS,
        macs_dense_forward=3 * 24 * ROWS,
        macs_dense_training=3 * 24 * ROWS,
        weight_bytes_read=active * ROWS,
        state_bytes=3 * (3 * N + 4 * H + 4 * ROWS + 6 * H) + 2 * active + passes * 8 * ROWS,
        tape_bytes=3 * (2 * ROWS + 2 * H + 2) + 4 * active,
        activations=3 * 5 * H,
        elementwise_ops=3 * (24 + ROWS + 3 * H),
        active_columns=active,
        total_columns=3 * 24,
    )
    assert forward.sparsity == 1 - 6 / 72

    gradients = network.new_backward("gradients")
    backward = network.backward(tape, gradients, np.zeros(H, np.int32))
    assert backward == Counts(
        macs_dense_training=2 * H * ROWS,
        state_bytes=3 * (16 * H + 8 * ROWS),
        tape_bytes=3 * (4 * ROWS + 4 * H + 2),
        activations=3 * H,
        elementwise_ops=3 * 20 * H,
    )

    update = network.update(tape, gradients, 1, 32, 1)
    touched, gradient_passes = 5, 4 + 1
    assert update == Counts(
        macs_gradient=active * ROWS,
        macs_dense_training=3 * 24 * ROWS,
        weight_bytes_read=2 * ROWS * touched + 4 * ROWS,
        weight_bytes_written=2 * ROWS * touched + 4 * ROWS,
        state_bytes=8 * ROWS * gradient_passes + 8 * ROWS * touched + 4 * ROWS,
        tape_bytes=(2 * ROWS + 4) * active + 2 * 3,
        elementwise_ops=ROWS * (touched + 1),
    )

    refresh = state.refresh()
    assert refresh == Counts(
        macs_forward=5 * ROWS,
        weight_bytes_read=5 * ROWS + 4 * ROWS,
        state_bytes=4 * ROWS + 8 * ROWS * 2 + 2 * 5,
    )


def test_dense_counts_are_what_theta_zero_costs(rng):
    config = config_of((N, H), (H, 20))
    params = {
        f"layer{k}.{name}": rng.integers(-9, 9, shape).astype(dtype)
        for k, (n, h) in enumerate(((N, H), (H, 20)))
        for name, shape, dtype in (
            ("weights_hi", (n + h, 4 * h), np.int8),
            ("weights_lo", (n + h, 4 * h), np.int8),
            ("bias", 4 * h, np.int32),
        )
    }
    network = make_network(config, params)
    state, tape = network.new_state("state"), network.new_tape(5, 500, "tape")
    gradients = network.new_backward("gradients")
    total = network.forward(state, rng.integers(-128, 128, (5, N)).astype(np.int8), None, tape)
    assert total.macs_forward == total.macs_dense_forward
    total += network.backward(tape, gradients, np.zeros(20, np.int32))
    total += network.update(tape, gradients, 1, 32, 1)
    assert total.macs_forward + total.macs_backward + total.macs_gradient == total.macs_dense_training
    assert total.sparsity == 0.0


def test_counts_add_and_name_their_fields():
    fields = [field.name for field in dataclasses.fields(Counts)]
    first, second = Counts(*range(16)), Counts(*range(100, 116))
    assert (first + second).as_dict() == dict(zip(fields, range(100, 132, 2), strict=True))
    assert Counts().sparsity == 0.0
