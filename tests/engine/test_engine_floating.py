"""The floating-point twin is right (central differences, autograd), and the integer engine agrees with it."""

from __future__ import annotations

import numpy as np
import pytest

from edgelearn.engine import floating
from edgelearn.engine.floating import FloatLayer
from edgelearn.engine.network import LayerConfig, NetworkConfig
from tests.engine.engine_cases import config_of, make_network, random_params, random_walk

SHAPES = {"1 layer": [(5, 7)], "2 layers": [(5, 7), (7, 6)]}


def random_layers(shapes, rng, theta=0.15):
    return [
        FloatLayer(rng.normal(0, 0.6, (n + h, 4 * h)), rng.normal(0, 0.5, 4 * h), theta, theta / 2) for n, h in shapes
    ]


def random_case(shapes, rng, frames=9):
    layers = random_layers(shapes, rng)
    inputs = np.cumsum(rng.normal(0, 0.25, (frames, shapes[0][0])), axis=0)
    return layers, inputs, rng.normal(0, 1, (frames, shapes[-1][1]))


def replaced(layers, k, **changes):
    fields = {"weights": layers[k].weights, "bias": layers[k].bias} | changes
    new = FloatLayer(fields["weights"], fields["bias"], layers[k].theta_x, layers[k].theta_h)
    return [*layers[:k], new, *layers[k + 1 :]]


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_gradient_equals_central_differences_with_the_masks_held(shapes, rng):
    layers, inputs, grad_h = random_case(shapes, rng)
    tapes = floating.forward(layers, inputs)
    masks = [tape.active for tape in tapes]
    assert 0.2 < 1 - np.concatenate([mask.ravel() for mask in masks]).mean() < 0.95
    gradients = floating.backward(layers, tapes, grad_h)

    def loss(changed_layers, changed_inputs):
        return float((floating.forward(changed_layers, changed_inputs, masks)[-1].h[1:] * grad_h).sum())

    def difference(array, index, evaluate):
        values = []
        for step in (1e-5, -1e-5):
            moved = array.copy()
            moved[index] += step
            values.append(evaluate(moved))
        return (values[0] - values[1]) / 2e-5

    for k, gradient in enumerate(gradients):
        for name in ("weights", "bias"):
            array, exact = getattr(layers[k], name), getattr(gradient, name)
            scale = np.abs(exact).max()
            for flat in rng.choice(array.size, 12, replace=False):
                index = np.unravel_index(flat, array.shape)
                numeric = difference(
                    array,
                    index,
                    lambda moved, k=k, name=name: loss(replaced(layers, k, **{name: moved}), inputs),
                )
                assert abs(numeric - exact[index]) <= 1e-6 * scale
    for index in [(0, 0), (3, 2), (8, 4)]:
        numeric = difference(inputs, index, lambda moved: loss(layers, moved))
        assert abs(numeric - gradients[0].inputs[index]) <= 1e-6 * np.abs(gradients[0].inputs).max()


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_gradient_equals_autograd_of_the_masked_graph(shapes, rng):
    torch = pytest.importorskip("torch")
    layers, inputs, grad_h = random_case(shapes, rng)
    tapes = floating.forward(layers, inputs)
    gradients = floating.backward(layers, tapes, grad_h)
    source = torch.tensor(inputs, requires_grad=True)
    params, outputs = [], source
    for layer, tape in zip(layers, tapes, strict=True):
        weights = torch.tensor(layer.weights, requires_grad=True)
        bias = torch.tensor(layer.bias, requires_grad=True)
        params.append((weights, bias))
        hidden = layer.hidden
        mask = torch.tensor(tape.active.astype(float))
        h, c = torch.zeros(hidden, dtype=torch.float64), torch.zeros(hidden, dtype=torch.float64)
        transmitted, memory, rows = torch.zeros(layer.inputs + hidden, dtype=torch.float64), bias, []
        for t in range(len(inputs)):
            delta = (torch.cat([outputs[t], h]) - transmitted) * mask[t]
            transmitted = transmitted + delta
            memory = memory + delta @ weights
            i, f, g, o = memory.reshape(4, hidden)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            rows.append(h)
        outputs = torch.stack(rows)
    (outputs * torch.tensor(grad_h)).sum().backward()
    for gradient, (weights, bias) in zip(gradients, params, strict=True):
        for mine, theirs in ((gradient.weights, weights.grad), (gradient.bias, bias.grad)):
            assert np.abs(mine - theirs.numpy()).max() <= 1e-6 * np.abs(mine).max()
    assert np.abs(gradients[0].inputs - source.grad.numpy()).max() <= 1e-6 * np.abs(gradients[0].inputs).max()


def test_no_threshold_is_the_plain_lstm(rng):
    layers = random_layers([(5, 7)], rng, theta=0.0)
    inputs = rng.normal(0, 1, (6, 5))
    h, c = np.zeros(7), np.zeros(7)
    for t, expected in enumerate(floating.forward(layers, inputs)[0].h[1:]):
        a = layers[0].bias + np.concatenate([inputs[t], h]) @ layers[0].weights
        i, f, o = (1 / (1 + np.exp(-a[k * 7 : (k + 1) * 7])) for k in (0, 1, 3))
        c = f * c + i * np.tanh(a[14:21])
        h = o * np.tanh(c)
        assert np.allclose(h, expected, rtol=0, atol=1e-12)


def cosine(a, b):
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


CASES = {
    "1 layer, dense": ([(32, 64)], 0),
    "1 layer, sparse": ([(32, 64)], 400),
    "2 layers, sparse": ([(32, 48), (48, 32)], 400),
}


@pytest.mark.parametrize(("shapes", "theta"), CASES.values(), ids=CASES)
def test_fixed_point_agrees_with_float(shapes, theta, rng):
    """Same masks, same int8 weights: h within 2e-3, gradients at a cosine above 0.999."""
    config = config_of(*shapes, weight_shift=6, theta=theta)
    params = random_params(config, rng, scale=1200.0)
    network = make_network(config, params)
    frames = random_walk(40, config.inputs, rng, step=4.0)
    state, tape = network.new_state("state"), network.new_tape(40, 40 * 200, "tape")
    gradients = network.new_backward("gradients")
    hidden = np.zeros((40, config.hidden), np.int16)
    counts = network.forward(state, frames, None, tape, hidden)
    assert theta == 0 or counts.sparsity > 0.5
    masks = []
    for k, layer in enumerate(config.layers):
        masks.append(np.zeros((40, layer.inputs + layer.hidden), np.bool_))
        for t in range(40):
            masks[k][t, tape.frame_deltas(k, t)[0]] = True

    layers = [floating.dequantise_layer(params, k, 6) for k in range(len(config.layers))]
    tapes = floating.forward(layers, frames / 64.0, masks)
    assert np.abs(tapes[-1].h[1:] - hidden / 8192.0).max() < 2e-3

    grad_h = rng.integers(-(2**13), 2**13, config.hidden).astype(np.int32)
    counts = network.backward(tape, gradients, grad_h)
    assert counts.saturations == 0
    exact = floating.backward(layers, tapes, grad_h.astype(float))
    for k, layer in enumerate(config.layers):
        assert cosine(exact[k].bias, gradients.layers[k].memory.astype(float)) > 0.999
        total = np.zeros((layer.inputs + layer.hidden, 4 * layer.hidden))
        for t in range(40):
            columns, deltas = tape.frame_deltas(k, t)
            total[columns] += np.outer(deltas / 8192.0, tape.layers[k].gates[t].astype(float)) * 64
        assert cosine(exact[k].weights, total) > 0.999
        assert np.abs(total).max() == pytest.approx(np.abs(exact[k].weights).max(), rel=0.02)


def test_an_update_moves_weights_and_biases_at_one_real_rate(rng):
    """Weights and biases of both layers move by -rate * gradient, though their formats differ."""
    config = NetworkConfig((LayerConfig(16, 24, 6), LayerConfig(24, 16, 5)))
    params = random_params(config, rng, scale=900.0)
    network = make_network(config, params)
    frames = random_walk(20, 16, rng, step=5.0)
    state, tape = network.new_state("state"), network.new_tape(20, 4000, "tape")
    gradients = network.new_backward("gradients")
    network.forward(state, frames, None, tape)
    grad_h = rng.integers(-(2**16), 2**16, 16).astype(np.int32)
    network.backward(tape, gradients, grad_h)
    shifts = [layer.weight_shift for layer in config.layers]
    layers = [floating.dequantise_layer(params, k, s) for k, s in enumerate(shifts)]
    exact = floating.backward(layers, floating.forward(layers, frames / 64.0), grad_h / 64.0)
    network.update(tape, gradients, 32767, 15, 5)
    rate = 32767 / 2.0**15 / 2.0 ** (6 + 10)
    before = [floating.dequantise_layer(params, k, s, masters=True) for k, s in enumerate(shifts)]
    after = [floating.dequantise_layer(network.params(), k, s, masters=True) for k, s in enumerate(shifts)]
    for old, new, gradient in zip(before, after, exact, strict=True):
        for name, at_least in (("weights", 0.98), ("bias", 0.999)):
            moved = getattr(old, name) - getattr(new, name)
            wanted = rate * getattr(gradient, name)
            assert cosine(moved, wanted) > at_least
            assert (moved * wanted).sum() / (wanted**2).sum() == pytest.approx(1.0, abs=0.03)


def test_quantised_weights_round_to_the_nearest_master(rng):
    weights, shift = rng.uniform(-1.98, 1.98, (40, 64)), 6
    hi, lo = floating.quantise_weights(weights, shift)
    bias = rng.normal(0, 1, 64)
    params = {
        "layer0.weights_hi": hi,
        "layer0.weights_lo": lo,
        "layer0.bias": floating.quantise_bias(bias, shift),
    }
    layer = floating.dequantise_layer(params, 0, shift, 820, 410, masters=True)
    assert np.abs(layer.weights - weights).max() <= 2.0 ** -(shift + 9)
    assert np.abs(layer.bias - bias).max() <= 2.0 ** -(shift + 14)
    assert (layer.theta_x, layer.theta_h) == (820 / 8192, 410 / 8192)
    forward = floating.dequantise_layer(params, 0, shift)
    assert np.abs(forward.weights - weights).max() <= 2.0 ** -(shift + 1) + 2.0 ** -(shift + 9)
