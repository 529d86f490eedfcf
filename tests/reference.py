"""The slow, obvious twin of every engine kernel: plain Python, unbounded integers, lists, no cleverness.

A kernel is right if it gives these integers. Saturation is the only place where a number is limited, and each
one is counted; nothing wraps here, so an overflow in a kernel shows as a difference.
"""

from __future__ import annotations

from dataclasses import dataclass, field

G_LIMIT = 2**30
TANH_HALF = [  # of t over [start, start + width) in Q12
    (0, 8192, (15142, 25782, -11840, -3294, 4752)),
    (8192, 8192, (29660, 5924, -5368, 2841, -714)),
    (16384, 16384, (32606, 620, -1250, 2127, -2000)),
]


def rshift(v: int, n: int) -> int:
    """Round half up v / 2^n."""
    return (v + (1 << (n - 1))) >> n if n else v


class Saturations:
    """Limits numbers and counts how often that changed one."""

    def __init__(self) -> None:
        self.count = 0

    def limit(self, v: int, low: int, high: int) -> int:
        """Clamp v to [low, high]."""
        kept = min(max(v, low), high)
        self.count += kept != v
        return kept

    def g(self, v: int) -> int:
        """Clamp a gradient to +-2^30."""
        return self.limit(v, -G_LIMIT, G_LIMIT)


def clamp(v: int, limit: int) -> int:
    """Clamp to +-limit, as a format's normal behaviour: not counted."""
    return min(max(v, -limit), limit)


def tanh_half(a: int) -> int:
    """tanh(a/2), Q12 to Q15: Horner's scheme in integers."""
    for start, width, coefficients in TANH_HALF:
        if abs(a) < start + width:
            t = (abs(a) - start) * (65536 // width) - 32768
            y = 0
            for coefficient in reversed(coefficients):
                y = (y * t >> 16) + coefficient
            return y if a >= 0 else -y
    raise ValueError(a)


def sigmoid(a: int) -> int:
    """Q12 to Q15."""
    return 16384 + rshift(tanh_half(a), 1)


def tanh(a: int) -> int:
    """Q12 to Q15."""
    return tanh_half(clamp(2 * a, 32767))


def hash32(x: int) -> int:
    """lowbias32."""
    x ^= x >> 16
    x = x * 0x7FEB352D & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x846CA68B & 0xFFFFFFFF
    return x ^ x >> 16


def random_bits(seed: int, layer: int, column: int, row: int) -> int:
    """The 32 random bits of one row of a column in one update step."""
    key = hash32(hash32(seed) ^ (layer << 16 | column))
    return hash32((key + row * 0x9E3779B9) & 0xFFFFFFFF)


@dataclass
class Layer:
    """Weights as columns of rows, and the formats of a layer."""

    inputs: int
    hidden: int
    hi: list[list[int]]
    lo: list[list[int]]
    bias: list[int]
    shift: int
    theta_x: int
    theta_h: int
    bias_limit: int = 2**30


@dataclass
class State:
    """M, c, h, h^, x^ of a layer."""

    memory: list[int]
    c: list[int]
    h: list[int]
    h_hat: list[int]
    x_hat: list[int]


@dataclass
class Frame:
    """One layer's frame on the tape; `gates` become CM16 in the backward pass."""

    deltas: list[tuple[int, int]]
    gates: list[int]
    c_before: list[int]
    c: list[int]


@dataclass
class Gradient:
    """Gradients of a layer in G units."""

    h: list[int]
    c: list[int]
    memory: list[int]
    h_hat: list[int]
    x_hat: list[int]


@dataclass
class Tape:
    """Frames of all layers: frames[t][layer]."""

    capacity_frames: int
    capacity_entries: int
    frames: list[list[Frame]] = field(default_factory=list)
    left_out: int = 0

    def entries(self) -> int:
        """Deltas in the pool."""
        return sum(len(layer.deltas) for frame in self.frames for layer in frame)


def new_state(layer: Layer) -> State:
    """Start of a sequence."""
    zeros = [0] * layer.hidden
    return State(list(layer.bias), list(zeros), list(zeros), list(zeros), [0] * layer.inputs)


def gather_deltas(values: list[int], hat: list[int], theta: int, base: int) -> list[tuple[int, int]]:
    """Transmit what moved by theta or more; (column, delta) of it."""
    deltas = []
    for j, value in enumerate(values):
        if abs(value - hat[j]) >= theta:
            deltas.append((base + j, value - hat[j]))
            hat[j] = value
    return deltas


def accumulate_columns(hi: list[list[int]], deltas: list[tuple[int, int]], memory: list[int]) -> None:
    """M += W d."""
    for column, delta in deltas:
        for r, w in enumerate(hi[column]):
            memory[r] += w * delta


def exact_memory(layer: Layer, state: State) -> list[int]:
    """b + Wx x^ + Wh h^."""
    memory = list(layer.bias)
    accumulate_columns(layer.hi, list(enumerate(state.x_hat + state.h_hat)), memory)
    return memory


def step_cell(memory: list[int], shift: int, c: list[int], h: list[int], saturations: Saturations) -> list[int]:
    """New c and h in place; returns the gates."""
    units = len(c)
    a = [clamp(rshift(m, shift + 1), 32767) for m in memory]
    gates = [tanh(v) if r // units == 2 else sigmoid(v) for r, v in enumerate(a)]
    for j in range(units):
        i, f, g, o = (gates[k * units + j] for k in range(4))
        c[j] = saturations.limit(rshift(f * c[j] + rshift(i * g, 3), 15), -32768, 32767)
        h[j] = rshift(o * tanh(c[j]), 17)
    return gates


def step_layer(layer: Layer, state: State, x: list[int], saturations: Saturations) -> Frame:
    """One frame of one layer; x in Q13."""
    c_before = list(state.c)
    deltas = gather_deltas(x, state.x_hat, layer.theta_x, 0)
    deltas += gather_deltas(state.h, state.h_hat, layer.theta_h, layer.inputs)
    accumulate_columns(layer.hi, deltas, state.memory)
    gates = step_cell(state.memory, layer.shift, state.c, state.h, saturations)
    return Frame(deltas, gates, c_before, list(state.c))


def forward(
    layers: list[Layer], states: list[State], frames_x8: list[list[int]], tape: Tape | None = None
) -> tuple[list[list[int]], int]:
    """Run frames (Q6); returns the last layer's h of every frame and the number of saturations."""
    saturations, hidden = Saturations(), []
    for x8 in frames_x8:
        x, taped = [v << 7 for v in x8], []
        for layer, state in zip(layers, states, strict=True):
            taped.append(step_layer(layer, state, x, saturations))
            x = list(state.h)
        hidden.append(x)
        if tape is not None:
            entries = tape.entries() + sum(len(layer.deltas) for layer in taped)
            fits = len(tape.frames) < tape.capacity_frames and entries <= tape.capacity_entries
            if tape.left_out == 0 and fits:
                tape.frames.append(taped)
            else:
                tape.left_out += 1
    return hidden, saturations.count


def backward_cell(frame: Frame, grad: Gradient, grad_h: list[int] | None, saturations: Saturations) -> None:
    """One frame of one layer's cell; gates become CM16."""
    units = len(frame.c)
    for j in range(units):
        i, f, g, o = (frame.gates[k * units + j] for k in range(4))
        tc = tanh(frame.c[j])
        ch = saturations.g(grad.h[j] + (grad_h[j] if grad_h is not None else 0))
        slope = rshift(o * (32768 - rshift(tc * tc, 15)), 15)
        cc = saturations.g(grad.c[j] + rshift(ch * slope, 15))
        terms = [
            rshift(cc * rshift(g * rshift(i * (32768 - i), 15), 15), 15),
            rshift(cc * clamp(rshift(frame.c_before[j] * rshift(f * (32768 - f), 15), 13), 32767), 14),
            rshift(cc * rshift(i * (32768 - rshift(g * g, 15)), 15), 15),
            rshift(ch * rshift(tc * rshift(o * (32768 - o), 15), 15), 15),
        ]
        for k, term in enumerate(terms):
            grad.memory[k * units + j] = saturations.g(grad.memory[k * units + j] + term)
        grad.c[j] = rshift(cc * f, 15)
        grad.h[j] = 0
    frame.gates = [saturations.limit(rshift(m, 6), -32768, 32767) for m in grad.memory]


def column_gradient(layer: Layer, column: int, cm16: list[int], saturations: Saturations) -> int:
    """Cd of one column in G units."""
    total = sum(w * v for w, v in zip(layer.hi[column], cm16, strict=True))
    scaled = total << (6 - layer.shift) if layer.shift <= 6 else rshift(total, layer.shift - 6)
    return saturations.g(scaled)


def backward_columns(
    layer: Layer, frame: Frame, columns: range, hat: list[int], target: list[int], saturations: Saturations
) -> None:
    """Active columns out of `columns`: C += C^ + Cd, C^ = -Cd."""
    for column, _ in frame.deltas:
        if column in columns:
            j = column - columns.start
            cd = column_gradient(layer, column, frame.gates, saturations)
            target[j] = saturations.g(target[j] + hat[j] + cd)
            hat[j] = -cd


def new_gradients(layers: list[Layer]) -> list[Gradient]:
    """All zero."""
    return [
        Gradient([0] * n.hidden, [0] * n.hidden, [0] * (4 * n.hidden), [0] * n.hidden, [0] * n.inputs) for n in layers
    ]


def backward(layers: list[Layer], tape: Tape, grad_h: list[list[int]]) -> tuple[list[Gradient], int]:
    """Sparse BPTT; grad_h[t] of the last layer. Returns gradients and saturations; CM16 stays on the tape."""
    saturations, gradients = Saturations(), new_gradients(layers)
    for t in reversed(range(len(tape.frames))):
        for k in reversed(range(len(layers))):
            layer, grad, frame = layers[k], gradients[k], tape.frames[t][k]
            backward_cell(frame, grad, grad_h[t] if k == len(layers) - 1 else None, saturations)
            hidden_columns = range(layer.inputs, layer.inputs + layer.hidden)
            if t > 0:
                backward_columns(layer, frame, hidden_columns, grad.h_hat, grad.h, saturations)
            if k > 0:
                below = gradients[k - 1].h
                backward_columns(layer, frame, range(layer.inputs), grad.x_hat, below, saturations)
    return gradients, saturations.count


def weight_gradient(layer: Layer, tape: Tape, k: int) -> list[list[int]]:
    """Dense gradient of layer k's weights, [column][row], G units."""
    total = [[0] * (4 * layer.hidden) for _ in range(layer.inputs + layer.hidden)]
    for frame in tape.frames:
        for column, delta in frame[k].deltas:
            for r, cm in enumerate(frame[k].gates):
                total[column][r] += rshift(cm * delta, 15)
    return total


def update_master(hi: int, lo: int, change: int, saturations: Saturations) -> tuple[int, int]:
    """Subtract, clamp and split again."""
    master = saturations.limit(256 * hi + lo - change, -32640, 32639)
    high = rshift(master, 8)
    return high, master - 256 * high


def scaled(total: int, mult: int, shift: int) -> int:
    """Change of a master with 16 fraction bits, at most 2^14 masters."""
    if shift >= 32:
        return total * mult >> (shift - 16)
    limit = 2**30 >> (31 - shift)
    return clamp(total * mult >> 15, limit) << (31 - shift)


def column_changes(totals: list[int], mult: int, shift: int, seed: int, k: int, column: int) -> list[int]:
    """Changes of the masters of a column, rounded stochastically: a draw of 32 bits serves two rows."""
    half, changes = len(totals) // 2, []
    for r, total in enumerate(totals):
        bits = random_bits(seed, k, column, r % half)
        noise = bits & 0xFFFF if r < half else bits >> 16
        changes.append((scaled(total, mult, shift) + noise) >> 16)
    return changes


def bias_change(total: int, mult: int, shift: int, bits: int) -> int:
    """Change of a bias, in finer units than a weight, from a gradient in finer units."""
    return (total * mult + (bits << (shift + 3) >> 32)) >> (shift + 3)


def update(layer: Layer, tape: Tape, k: int, grad: Gradient, mult: int, shift: int, seed: int) -> int:
    """Apply the gradient of layer k to its weights and bias; returns the saturations."""
    saturations = Saturations()
    for column, rows in enumerate(weight_gradient(layer, tape, k)):
        for r, change in enumerate(column_changes(rows, mult, shift, seed, k, column)):
            hi, lo = layer.hi[column][r], layer.lo[column][r]
            layer.hi[column][r], layer.lo[column][r] = update_master(hi, lo, change, saturations)
    for r, total in enumerate(grad.memory):
        change = bias_change(total, mult, shift, random_bits(seed, k, len(layer.hi), r))
        layer.bias[r] = saturations.limit(layer.bias[r] - change, -layer.bias_limit, layer.bias_limit)
    return saturations.count


def update_with_momentum(
    layer: Layer, tape: Tape, k: int, grad: Gradient, velocity: tuple[list[list[int]], list[int]],
    mult: int, shift: int, momentum_q15: int, seed: int,
) -> int:  # fmt: skip
    """Heavy ball; velocity is (weights [column][row] in 2^-6 of a master's last bit, bias), changed in place."""
    saturations, (weights, biases) = Saturations(), velocity
    for column, rows in enumerate(weight_gradient(layer, tape, k)):
        for r, total in enumerate(rows):
            bits = random_bits(seed, k, column, r)
            pushed = (scaled(total, mult, shift) + (bits & 1023)) >> 10
            kept = (weights[column][r] * momentum_q15 + (bits >> 10 & 32767)) >> 15
            weights[column][r] = saturations.limit(kept + pushed, -32768, 32767)
            change = (weights[column][r] + (bits >> 26)) >> 6
            hi, lo = layer.hi[column][r], layer.lo[column][r]
            layer.hi[column][r], layer.lo[column][r] = update_master(hi, lo, change, saturations)
    for r, total in enumerate(grad.memory):
        bits = random_bits(seed, k, len(layer.hi), r)
        kept = (biases[r] * momentum_q15 + (hash32(bits) & 32767)) >> 15
        biases[r] = saturations.limit(kept + bias_change(total, mult, shift, bits), -(2**30), 2**30)
        layer.bias[r] = saturations.limit(layer.bias[r] - biases[r], -layer.bias_limit, layer.bias_limit)
    return saturations.count


def dense_forward(layer: Layer, xs: list[list[int]]) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """The plain LSTM, M recomputed from x and h in each frame; gates, c and h of each frame. x in Q13."""
    c, h = [0] * layer.hidden, [0] * layer.hidden
    gates, cs, hs = [], [], []
    for x in xs:
        memory = list(layer.bias)
        accumulate_columns(layer.hi, list(enumerate(x + h)), memory)
        gates.append(step_cell(memory, layer.shift, c, h, Saturations()))
        cs.append(list(c))
        hs.append(list(h))
    return gates, cs, hs


def dense_backward(
    layers: list[Layer], xs: list[list[int]], grad_h: list[list[int]]
) -> list[tuple[list[list[int]], list[int]]]:
    """BPTT of `dense_forward`, no masks, layer after layer: (weight gradient [column][row], bias gradient).

    Gradients are carried through differences of neighbouring frames, as the delta form rounds them.
    """
    inputs, runs = xs, []
    for layer in layers:
        runs.append((inputs, *dense_forward(layer, inputs)))
        inputs = runs[-1][3]
    results: list[tuple[list[list[int]], list[int]]] = []
    for layer, (x, gates, c, h) in zip(reversed(layers), reversed(runs), strict=True):
        unused, n = Saturations(), layer.inputs
        grad = new_gradients([layer])[0]
        total = [[0] * (4 * layer.hidden) for _ in range(n + layer.hidden)]
        grad_x: list[list[int]] = [[] for _ in x]
        after = [0] * (n + layer.hidden)
        zeros = [0] * layer.hidden
        for t in reversed(range(len(x))):
            frame = Frame([], list(gates[t]), c[t - 1] if t else zeros, c[t])
            backward_cell(frame, grad, grad_h[t], unused)
            now = x[t] + (h[t - 1] if t else zeros)
            before = x[t - 1] + (h[t - 2] if t > 1 else zeros) if t else [0] * (n + layer.hidden)
            cd = [column_gradient(layer, column, frame.gates, unused) for column in range(n + layer.hidden)]
            for column, rows in enumerate(total):
                for r, cm in enumerate(frame.gates):
                    rows[r] += rshift(cm * (now[column] - before[column]), 15)
            value = [unused.g(d - e) for d, e in zip(cd, after, strict=True)]
            grad_x[t], grad.h, after = value[:n], value[n:], cd
        results.insert(0, (total, grad.memory))
        grad_h = grad_x
    return results
