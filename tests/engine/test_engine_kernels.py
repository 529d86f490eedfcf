"""Every kernel equals its twin in Python integers, on random input and at the ends of every range."""

from __future__ import annotations

import math
import operator

import numba
import numpy as np
import pytest

from edgelearn.engine import backward, fixedpoint, forward, int32, optimizer
from edgelearn.jit import kernel
from tests import reference
from tests.engine.engine_cases import all_lists

INT32 = [-(2**31), -(2**31) + 1, -(2**30), -65537, -32, -1, 0, 1, 31, 32, 33, 65536, 2**30, 2**31 - 1]


@pytest.mark.parametrize("bits", [1, 2, 6, 13, 31])
def test_rshift32_rounds_half_up_without_overflow(bits):
    values = [v for v in [*INT32, 2**31 - 1 - 2 ** (bits - 1)] if v <= 2**31 - 1 - 2 ** (bits - 1)]
    assert [int(fixedpoint.rshift32(np.int32(v), bits)) for v in values] == [reference.rshift(v, bits) for v in values]


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (int32.add32, operator.add),
        (int32.sub32, operator.sub),
        (int32.mul32, operator.mul),
        (int32.min32, min),
        (int32.max32, max),
        (int32.left32, lambda a, b: a << (b & 31)),
        (int32.right32, lambda a, b: a >> (b & 31)),
    ],
)
def test_32_bit_operations_wrap_as_int32_does(operation, expected):
    shifts = operation in (int32.left32, int32.right32)
    pairs = [(a, b & 31 if shifts else b) for a in INT32 for b in INT32]
    first, second = (np.array(values, np.int64) for values in zip(*pairs, strict=True))
    compiled = numba.njit(lambda a, b: operation(a, b))
    results = [int(compiled(a, b)) for a, b in zip(first, second, strict=True)]
    assert results == [(expected(a, b) + 2**31) % 2**32 - 2**31 for a, b in pairs]


@pytest.mark.parametrize("bits", [0, 1, 6, 15, 62])
def test_rshift64_rounds_half_up_without_overflow(bits):
    values = [*INT32, -(2**62), 2**62 - 1, 2**46 - 1, -(2**46)]
    assert [int(fixedpoint.rshift64(np.int64(v), bits)) for v in values] == [reference.rshift(v, bits) for v in values]


def all_activations():
    values = np.arange(-32767, 32768)
    return values, [fixedpoint.sigmoid_q15, fixedpoint.tanh_q15, fixedpoint.tanh_half_q15]


@kernel
def apply(function, values, results):
    for k in range(values.shape[0]):
        results[k] = function(np.int32(values[k]))


def test_sigmoid_and_tanh_equal_reference_for_every_argument():
    values, kernels = all_activations()
    for function, expected in zip(kernels, (reference.sigmoid, reference.tanh, reference.tanh_half), strict=True):
        results = np.zeros(len(values), np.int64)
        apply(function, values, results)
        assert results.tolist() == [expected(int(a)) for a in values]
    assert int(fixedpoint.tanh_q15(np.int32(-32768))) == reference.tanh(-32768)


def test_sigmoid_and_tanh_are_within_their_stated_errors():
    """In units of 2^-15; the table with chords that they replaced had 1.2, 22 and 2.3."""
    values = np.arange(-32767, 32768)
    reals = values / 4096
    sigmoid = np.array([reference.sigmoid(int(a)) for a in values])
    half = np.array([reference.tanh_half(int(a)) for a in values])
    tanh = np.array([reference.tanh(int(a)) for a in values])
    assert np.abs(sigmoid - 32768 / (1 + np.exp(-reals))).max() < 2.4
    assert np.abs(half - 32768 * np.tanh(reals / 2)).max() < 3.7
    # The argument is doubled and clamped at 8, so tanh ends at 32743.
    assert np.abs(tanh - 32768 * np.tanh(reals)).max() < 25
    assert np.abs(tanh - 32768 * np.tanh(reals))[np.abs(reals) < 3.5].max() < 3.7
    assert (sigmoid.min(), sigmoid[32767], sigmoid.max(), tanh[32767]) == (12, 16384, 32756, 0)


def test_hash_and_random_numbers_equal_reference(rng):
    for value in [0, 1, 2**31, 2**32 - 1, *rng.integers(0, 2**32, 50).tolist()]:
        assert int(fixedpoint.hash32(np.uint32(value))) == reference.hash32(value)
    for seed, layer, column, row in [(0, 0, 0, 0), (2**32 - 1, 1, 1024, 2047), (5, 1, 160, 511)]:
        key = fixedpoint.column_key(seed, layer, column)
        assert int(fixedpoint.random_bits(key, row)) == reference.random_bits(seed, layer, column, row)


def test_split_master_rounds_to_the_high_byte():
    master = np.arange(-32768, 32768)
    hi, lo = fixedpoint.split_master(master)
    assert (hi.min(), hi.max(), lo.min(), lo.max()) == (-127, 127, -128, 127)
    assert np.array_equal(fixedpoint.join_master(hi, lo), np.clip(master, -32640, 32639))
    inside = np.abs(master) <= 32639
    assert np.array_equal(hi[inside], (master[inside] + 128) >> 8)


@pytest.mark.parametrize("theta", [0, 1, 5000, 32640, 32767])
@pytest.mark.parametrize("kind", ["features", "hidden"])
def test_gather_deltas(theta, kind, rng):
    if kind == "features":
        source, bits = rng.choice([-128, 127, 0, 3], 40).astype(np.int8), 7
        before = rng.choice([-16384, 16256, 0, 384], 40)
    else:
        source, bits = rng.choice([-8192, 8192, 0, 5], 40).astype(np.int16), 0
        before = rng.choice([-8192, 8192, 0, 5], 40)
    transmitted, expected_hat = before.astype(np.int16), before.tolist()
    columns, deltas = np.zeros(43, np.uint16), np.zeros(43, np.int16)
    used = forward.gather_deltas(source, bits, transmitted, theta, 9, columns, deltas, 3)
    values = [v << bits for v in source.tolist()]
    expected = reference.gather_deltas(values, expected_hat, theta, 9)
    assert list(zip(columns[3:used].tolist(), deltas[3:used].tolist(), strict=True)) == expected
    assert transmitted.tolist() == expected_hat


@pytest.mark.parametrize("used", [0, 1, 3, 4, 5, 11, 16, 21])
def test_accumulate_columns(used, rng):
    hi = rng.integers(-127, 128, (21, 68)).astype(np.int8)
    columns = rng.permutation(21).astype(np.uint16)
    deltas = rng.choice([-32640, 32640, 1, -77], 21).astype(np.int16)
    memory = rng.integers(-(2**20), 2**20, 68).astype(np.int32)
    expected = memory.tolist()
    pairs = list(zip(columns.tolist(), deltas.tolist(), strict=True))[:used]
    reference.accumulate_columns(hi.tolist(), pairs, expected)
    passes = forward.accumulate_columns(hi, columns, deltas, used, memory)
    assert memory.tolist() == expected
    assert passes == used // 8 + (used % 8).bit_count()


@pytest.mark.parametrize("inputs", [8, 128, 512])
@pytest.mark.parametrize("sign", [-1, 1])
def test_memory_cannot_overflow_at_its_worst_case(inputs, sign):
    """b, x^, h^ and hi at their limits with one sign, reached by the largest deltas."""
    hidden = 512
    hi = np.full((inputs + hidden, 8), 127, np.int8)
    bias = sign * fixedpoint.bias_limit(inputs, hidden)
    start = np.repeat([-16384 * sign, -8192 * sign], [inputs, hidden])
    memory = np.full(8, bias + int(127 * start.sum()), np.int32)
    columns = np.arange(inputs + hidden).astype(np.uint16)
    largest = np.repeat([32640 * sign, 16384 * sign], [inputs, hidden]).astype(np.int16)
    forward.accumulate_columns(hi, columns, largest, len(columns), memory)
    end = int(bias + 127 * (start + largest.astype(int)).sum())
    assert memory.tolist() == [end] * 8
    assert abs(bias) + fixedpoint.weight_sum_limit(inputs, hidden) <= 2**31 - 1
    assert abs(bias) > 2**28


@pytest.mark.parametrize("weight_shift", [0, 5, 12])
def test_step_cell(weight_shift, rng):
    units = 40
    memory = np.concatenate([rng.integers(-(2**31), 2**31, 120), rng.choice(INT32, 40)]).astype(np.int32)
    c = rng.choice([-32768, 32767, 0, 1, -4096], units).astype(np.int16)
    h, gates = np.zeros(units, np.int16), np.zeros(4 * units, np.int16)
    expected_c, expected_h, saturations = c.tolist(), h.tolist(), reference.Saturations()
    expected = reference.step_cell(memory.tolist(), weight_shift, expected_c, expected_h, saturations)
    count = forward.step_cell(memory, weight_shift, c, h, gates)
    assert gates.tolist() == expected
    assert (c.tolist(), h.tolist()) == (expected_c, expected_h)
    assert count == saturations.count


@pytest.mark.parametrize("c", [-32768, 32767])
def test_step_cell_counts_every_saturation_of_c(c):
    memory = np.full(16, 2**31 - 1 if c > 0 else -(2**31), np.int32)
    memory[:8] = 2**31 - 1
    cells, h, gates = np.full(4, c, np.int16), np.zeros(4, np.int16), np.zeros(16, np.int16)
    assert forward.step_cell(memory, 5, cells, h, gates) == 4
    assert cells.tolist() == [c] * 4


def gradient_arrays(units, inputs, values):
    sizes = (units, units, 4 * units, units, inputs)
    return backward.GradientArrays(*(values(n).astype(np.int32) for n in sizes))


@pytest.mark.parametrize("case", ["random", "extreme"])
@pytest.mark.parametrize("with_grad_h", [True, False])
def test_backward_cell(case, with_grad_h, rng):
    units = 60
    if case == "random":
        gates = rng.integers(0, 32768, 4 * units)
        gates[2 * units : 3 * units] = rng.integers(-32767, 32768, units)
        cells = rng.integers(-32768, 32768, (2, units))
        grad = gradient_arrays(units, 9, lambda n: rng.integers(-(2**20), 2**20, n))
    else:
        gates = rng.choice([0, 11, 16384, 32767], 4 * units)
        gates[2 * units : 3 * units] = rng.choice([-32767, 0, 32767], units)
        cells = rng.choice([-32768, 0, 32767], (2, units))
        grad = gradient_arrays(units, 9, lambda n: rng.choice([-(2**30), 0, 2**30], n))
    gates, cells = gates.astype(np.int16), cells.astype(np.int16)
    grad_h = rng.choice(INT32, units).astype(np.int32) if with_grad_h else np.zeros(0, np.int32)
    frame = reference.Frame([], gates.tolist(), cells[1].tolist(), cells[0].tolist())
    expected, saturations = reference.Gradient(*all_lists(grad)), reference.Saturations()
    reference.backward_cell(frame, expected, grad_h.tolist() if with_grad_h else None, saturations)
    count = backward.backward_cell(gates, cells[0], cells[1], grad_h, grad)
    assert all_lists(grad) == [expected.h, expected.c, expected.memory, expected.h_hat, expected.x_hat]
    assert gates.tolist() == frame.gates
    assert count == saturations.count
    assert case == "random" or count > 0


@pytest.mark.parametrize("weight_shift", [0, 6, 9])
@pytest.mark.parametrize("hidden", [16, 128, 200])
def test_backward_columns(weight_shift, hidden, rng):
    inputs, rows = 10, 4 * hidden
    hi = rng.choice([-127, 127, 5], (12, rows)).astype(np.int8)
    hi[0] = 127
    cm16 = rng.choice([-32768, 32767, -3], rows).astype(np.int16)
    cm16[::2] = -32768
    columns = np.array([0, 2, 3, 4, 7, 8, 10, 11], np.uint16)
    limits = [-(2**30), 2**30, 0, 7]
    hat, target = (rng.choice(limits, inputs).astype(np.int32) for _ in range(2))
    layer = reference.Layer(inputs, hidden, hi.tolist(), [], [], weight_shift, 0, 0)
    frame = reference.Frame([(c, 1) for c in columns.tolist()], cm16.tolist(), [], [])
    expected_hat, expected_target, saturations = hat.tolist(), target.tolist(), reference.Saturations()
    reference.backward_columns(layer, frame, range(inputs), expected_hat, expected_target, saturations)
    stop = backward.first_hidden_entry(columns, 0, 8, inputs)
    assert stop == 6
    count = backward.backward_columns(hi, weight_shift, cm16, columns, 0, stop, 0, hat, target)
    assert (hat.tolist(), target.tolist()) == (expected_hat, expected_target)
    assert count == saturations.count


@pytest.mark.parametrize(("cm", "weight"), [(-32768, 127), (-32768, -127), (32767, 127)])
@pytest.mark.parametrize("rows", [512, 2048])
def test_transposed_product_cannot_overflow_at_its_worst_case(cm, weight, rows):
    hat, target = np.zeros(1, np.int32), np.zeros(1, np.int32)
    hi, cm16 = np.full((1, rows), weight, np.int8), np.full(rows, cm, np.int16)
    backward.backward_columns(hi, 12, cm16, np.zeros(1, np.uint16), 0, 1, 0, hat, target)
    assert target.tolist() == [reference.rshift(cm * weight * rows, 6)]


@pytest.mark.parametrize("entries", [[], [0, 1], [9, 10, 11], [10], [3, 9, 10]])
def test_first_hidden_entry(entries):
    columns = np.array([99, *entries], np.uint16)
    expected = 1 + sum(column < 10 for column in entries)
    assert backward.first_hidden_entry(columns, 1, len(columns), 10) == expected


@pytest.mark.parametrize("used", [0, 1, 4, 7, 9])
def test_accumulate_gradient(used, rng):
    cm16 = rng.choice([-32768, 32767, 5, -1], (9, 64)).astype(np.int16)
    frames = rng.permutation(9).astype(np.uint16)
    deltas = rng.choice([-32640, 32640, 3, -1], 9).astype(np.int16)
    total = np.full(64, 99, np.int32)
    optimizer.accumulate_gradient(cm16, frames, deltas, used, total)
    expected = [
        sum(reference.rshift(int(cm16[t, r]) * int(d), 15) for t, d in zip(frames[:used], deltas[:used], strict=True))
        for r in range(64)
    ]
    assert total.tolist() == expected


@pytest.mark.parametrize("delta", [-32640, 32640])
def test_gradient_sum_cannot_overflow_at_its_worst_case(delta):
    frames = optimizer.MAX_TAPE_FRAMES
    total = np.zeros(8, np.int32)
    optimizer.accumulate_gradient(
        np.full((frames, 8), -32768, np.int16),
        np.arange(frames).astype(np.uint16),
        np.full(frames, delta, np.int16),
        frames,
        total,
    )
    assert total.tolist() == [-delta * frames] * 8
    assert abs(delta * frames) < 2**25


RATES = pytest.mark.parametrize(
    ("mult", "shift"),
    [(0, 4), (32767, 4), (32767, 16), (9, 20), (32767, 31), (32767, 32), (32767, 59), (500, 37), (1, 33)],
)


@RATES
def test_update_column_and_bias(mult, shift, rng):
    hi, lo = fixedpoint.split_master(rng.choice([-32640, 32639, 0, 127, 128, -129, 3], (3, 64)))
    total = rng.choice([-(2**31), 2**31 - 1, 2**25, -(2**25), 2**20, -5, 0], 64).astype(np.int32)
    saturations = reference.Saturations()
    changes = reference.column_changes(total.tolist(), mult, shift, 77, 1, 2)
    expected = [reference.update_master(int(hi[2, r]), int(lo[2, r]), changes[r], saturations) for r in range(64)]
    count = optimizer.update_column(hi, lo, 2, total, mult, shift, 77, 1)
    assert list(zip(hi[2].tolist(), lo[2].tolist(), strict=True)) == expected
    assert count == saturations.count

    bias = rng.choice([-(2**30), 2**30, 0, 5], 64).astype(np.int32)
    grad = rng.choice([-(2**30), 2**30, -1, 0, 2**20], 64).astype(np.int32)
    saturations, expected = reference.Saturations(), []
    for r in range(64):
        change = reference.bias_change(int(grad[r]), mult, shift, reference.random_bits(77, 1, 3, r))
        expected.append(saturations.limit(int(bias[r]) - change, -(2**30), 2**30))
    count = optimizer.update_bias(bias, grad, 3, mult, shift, 77, 1, 2**30)
    assert bias.tolist() == expected
    assert count == saturations.count


@pytest.mark.parametrize(("total", "shift"), [(3 << 16, 36), (-3 << 16, 36), (1 << 20, 40), (5 * 2**31 // 7, 48)])
def test_stochastic_rounding_is_unbiased(total, shift):
    """But for the floor after 16 fraction bits, far below what 32,768 draws can show."""
    rows = 4096
    hi, lo = np.zeros((1, rows), np.int8), np.zeros((1, rows), np.int8)
    totals = np.full(rows, total, np.int32)
    for seed in range(8):
        optimizer.update_column(hi, lo, 0, totals, 300, shift, seed, 0)
    mean = -fixedpoint.join_master(hi, lo).astype(float).mean()
    exact = 8 * 300 * total / 2**shift
    assert mean == pytest.approx(exact, abs=5 * math.sqrt(8 * 0.25 / rows))


def test_random_numbers_do_not_repeat_between_columns_and_steps():
    draws = {
        int(fixedpoint.random_bits(fixedpoint.column_key(seed, layer, column), row))
        for seed in range(3)
        for layer in range(2)
        for column in range(8)
        for row in range(8)
    }
    assert len(draws) == 3 * 2 * 8 * 8
