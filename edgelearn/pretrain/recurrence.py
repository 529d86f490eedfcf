"""The element-wise work of a batched Delta LSTM, each step in one pass over memory; PyTorch does the products.

Arrays are float32 or float64, one row an utterance of the batch; N inputs, H units, gates in the order i, f, g, o.
"""

from __future__ import annotations

from typing import Any

from edgelearn.jit import kernel


@kernel
def encode(x: Any, h: Any, hat: Any, theta_x: Any, theta_h: Any, delta: Any, mask: Any) -> None:
    """Write the active differences of [x | h] (x [B, N], h [B, H]) to `delta` and `mask` [B, N+H], and move `hat`."""
    inputs = x.shape[1]
    for b in range(x.shape[0]):
        for j in range(inputs):
            d = x[b, j] - hat[b, j]
            m = abs(d) >= theta_x
            d = d if m else d - d
            mask[b, j] = m
            delta[b, j] = d
            hat[b, j] += d
        for j in range(h.shape[1]):
            d = h[b, j] - hat[b, inputs + j]
            m = abs(d) >= theta_h
            d = d if m else d - d
            mask[b, inputs + j] = m
            delta[b, inputs + j] = d
            hat[b, inputs + j] += d


@kernel
def step_cell(gates: Any, before: Any, after: Any) -> None:
    """Write f c + i g to `after`, from the squashed gates [B, 4H] and the cells `before` [B, H]."""
    hidden = before.shape[1]
    for b in range(before.shape[0]):
        for j in range(hidden):
            after[b, j] = gates[b, hidden + j] * before[b, j] + gates[b, j] * gates[b, 2 * hidden + j]


@kernel
def step_back(
    gates: Any, squashed: Any, before: Any, grad: Any, c_now: Any, c_cell: Any, c_memory: Any, c_memories: Any
) -> None:
    """Go back through the cell of one frame.

    gates [B, 4H], squashed = tanh c, before = c of the frame before, grad = dL/dh of this frame, c_now [B, N+H] what
    comes back from the next frame; c_cell [B, H] and c_memory [B, 4H] are carried from frame to frame, and c_memory
    is copied to c_memories.
    """
    hidden = squashed.shape[1]
    inputs = c_now.shape[1] - hidden
    for b in range(squashed.shape[0]):
        for j in range(hidden):
            i, f = gates[b, j], gates[b, hidden + j]
            g, o = gates[b, 2 * hidden + j], gates[b, 3 * hidden + j]
            s = squashed[b, j]
            c_h = c_now[b, inputs + j] + grad[b, j]
            cell = c_cell[b, j] + c_h * o * (1 - s * s)
            c_memory[b, j] += cell * g * i * (1 - i)
            c_memory[b, hidden + j] += cell * before[b, j] * f * (1 - f)
            c_memory[b, 2 * hidden + j] += cell * i * (1 - g * g)
            c_memory[b, 3 * hidden + j] += c_h * s * o * (1 - o)
            c_cell[b, j] = cell * f
        for j in range(4 * hidden):
            c_memories[b, j] = c_memory[b, j]


@kernel
def spread(c_delta: Any, mask: Any, c_hat: Any, c_now: Any) -> None:
    """Share the gradient of the deltas [B, N+H] between the values of this frame and the ones transmitted before."""
    for b in range(c_delta.shape[0]):
        for j in range(c_delta.shape[1]):
            m = mask[b, j]
            d = c_delta[b, j]
            hat = c_hat[b, j]
            c_now[b, j] = hat + d if m else d - d
            c_hat[b, j] = -d if m else hat
