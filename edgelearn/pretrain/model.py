"""The Delta LSTM for batches in PyTorch, with the device's quantisation in the loop: what is trained is what runs.

Forward and backward are written out (the delta LSTM of Chen et al., AAAI 2024): the masks of the forward pass are those
of the backward pass, so given the masks the gradient is exact, and no straight-through estimate is made for the
thresholds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgelearn.pretrain.recurrence import encode, spread, step_back, step_cell

ACTIVATION_SCALE = 8192.0  # Q13


class DeltaLstmFunction(torch.autograd.Function):
    """One Delta LSTM layer over a batch: x [T, B, N], weights [N + H, 4H], bias [4H] to h [T, B, H]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weights: Tensor, bias: Tensor, theta_x: float, theta_h: float, quantised: bool
    ) -> Tensor:
        """Run the layer from its zero state; with `quantised` h is rounded to Q13 as on the device."""
        steps, batch, inputs = x.shape
        hidden = bias.shape[0] // 4
        memory = bias.expand(batch, -1).clone()
        hat = np.zeros((batch, inputs + hidden), x.numpy().dtype)
        theta = (hat.dtype.type(theta_x), hat.dtype.type(theta_h))
        deltas = x.new_empty(steps, batch, inputs + hidden)
        gates = x.new_empty(steps, batch, 4 * hidden)
        cells = x.new_zeros(steps + 1, batch, hidden)
        squashed = x.new_empty(steps, batch, hidden)
        output = x.new_zeros(steps, batch, hidden)
        masks = torch.empty(steps, batch, inputs + hidden, dtype=torch.bool)
        for t in range(steps):
            h = output[t - 1] if t else output[0]
            encode(x[t].numpy(), h.numpy(), hat, *theta, deltas[t].numpy(), masks[t].numpy())
            memory.addmm_(deltas[t], weights)
            gate = gates[t]
            torch.sigmoid(memory, out=gate)
            torch.tanh(memory[:, 2 * hidden : 3 * hidden], out=gate[:, 2 * hidden : 3 * hidden])
            step_cell(gate.numpy(), cells[t].numpy(), cells[t + 1].numpy())
            torch.mul(gate[:, 3 * hidden :], torch.tanh(cells[t + 1], out=squashed[t]), out=output[t])
            if quantised:
                output[t].mul_(ACTIVATION_SCALE).round_().div_(ACTIVATION_SCALE)
        ctx.save_for_backward(weights, deltas, gates, cells, squashed, masks)
        return output

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, weights and bias; skipped columns are skipped here as well."""
        weights, deltas, gates, cells, squashed, masks = ctx.saved_tensors
        steps, batch, width = deltas.shape
        hidden = squashed.shape[2]
        inputs = width - hidden
        c_now = grad.new_zeros(batch, width)  # gradient of [x_t, h_{t-1}]
        c_hat = grad.new_zeros(batch, width)
        c_cell = grad.new_zeros(batch, hidden)
        c_memory = grad.new_zeros(batch, 4 * hidden)
        c_memories = grad.new_empty(steps, batch, 4 * hidden)
        c_x = grad.new_empty(steps, batch, inputs)
        c_delta = grad.new_empty(batch, width)
        transposed = weights.t().contiguous()
        carried = (c_now.numpy(), c_cell.numpy(), c_memory.numpy())
        for t in range(steps - 1, -1, -1):
            step_back(
                gates[t].numpy(),
                squashed[t].numpy(),
                cells[t].numpy(),
                grad[t].numpy(),
                *carried,
                c_memories[t].numpy(),
            )
            torch.mm(c_memory, transposed, out=c_delta)
            spread(c_delta.numpy(), masks[t].numpy(), c_hat.numpy(), c_now.numpy())
            c_x[t] = c_now[:, :inputs]
        c_weights = deltas.view(-1, width).t() @ c_memories.view(-1, 4 * hidden)
        return c_x, c_weights, c_memories[0].sum(0), None, None, None


def on_grid(values: Tensor, step: float, limit: int) -> Tensor:
    """Round to multiples of `step` within +-limit steps; the gradient passes as if nothing had happened."""
    rounded = (values / step).round().clamp(-limit, limit) * step
    return values + (rounded - values).detach()


def valid_frames(h: Tensor, lengths: Tensor) -> Tensor:
    """Return 1 where frame t of h [T, B, H] is one of the first lengths [B], else 0: shape [T, B, 1]."""
    return (torch.arange(h.shape[0])[:, None] < lengths[None, :]).to(h.dtype)[:, :, None]


def summed(h: Tensor, lengths: Tensor) -> Tensor:
    """Return the sum of h [T, B, H] over the first `lengths` frames, shape [B, H]."""
    return (h * valid_frames(h, lengths)).sum(0)


def pool(h: Tensor, lengths: Tensor) -> Tensor:
    """Return unit embeddings [B, H]: the sum of h [T, B, H] over the first `lengths` frames."""
    return torch.nn.functional.normalize(summed(h, lengths), dim=1)


def movement(h: Tensor, lengths: Tensor) -> Tensor:
    """Return the mean step |h_t - h_(t-1)| of a unit: what moves less is transmitted less often."""
    valid = valid_frames(h, lengths)
    return ((h[1:] - h[:-1]).abs() * valid[1:]).sum() / (valid.sum() * h.shape[2])


def batch_of(utterances: Sequence[NDArray[np.int8]]) -> tuple[Tensor, Tensor]:
    """Return utterances (int8 Q6, [T, bands] each) as features [B, longest, bands], 0 behind the ends, and lengths."""
    lengths = torch.tensor([len(frames) for frames in utterances])
    features = torch.zeros(len(utterances), int(lengths.max()), utterances[0].shape[1], dtype=torch.int8)
    for n, frames in enumerate(utterances):
        features[n, : len(frames)] = torch.from_numpy(frames)
    return features, lengths


class BaseModel(torch.nn.Module):
    """Delta LSTM, the sum of h over an utterance, and one unit vector a class: the score of a class is a cosine."""

    def __init__(self, inputs: int, hidden: int, classes: int, weight_shift: int) -> None:
        super().__init__()
        bound = hidden**-0.5
        self.hidden = hidden
        self.weights = torch.nn.Parameter(torch.empty(inputs + hidden, 4 * hidden).uniform_(-bound, bound))
        bias = torch.zeros(4 * hidden)
        bias[hidden : 2 * hidden] = 1.0
        self.bias = torch.nn.Parameter(bias)
        self.classes = torch.nn.Parameter(torch.randn(classes, hidden))
        self.step = 2.0**-weight_shift
        self.theta_x = 0.0
        self.theta_h = 0.0
        self.quantised = False

    def states(self, features: Tensor) -> Tensor:
        """Return h [T, B, H] over features int8 [B, T, N] (Q6)."""
        x = (features.float() / 64).transpose(0, 1).contiguous()
        weights = on_grid(self.weights, self.step, 127) if self.quantised else self.weights
        h: Tensor = DeltaLstmFunction.apply(x, weights, self.bias, self.theta_x, self.theta_h, self.quantised)
        return h

    def embed(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Return unit embeddings [B, H] of features int8 [B, T, N] (Q6) with `lengths` valid frames each."""
        return pool(self.states(features), lengths)

    def scores(self, embedding: Tensor) -> Tensor:
        """Return the cosine of each embedding to each class, shape [B, classes]."""
        return embedding @ torch.nn.functional.normalize(self.classes, dim=1).t()

    def clip(self) -> None:
        """Keep the weights inside what int8 can hold."""
        with torch.no_grad():
            self.weights.clamp_(-127 * self.step, 127 * self.step)
