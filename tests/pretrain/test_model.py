"""The PyTorch Delta LSTM: its gradients are those of autograd, its numbers those of the device."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgelearn.device.arena import Arena  # noqa: E402 - torch may be missing
from edgelearn.engine.network import LayerConfig, Network, NetworkConfig  # noqa: E402
from edgelearn.pretrain.export import fixed_point  # noqa: E402
from edgelearn.pretrain.model import BaseModel, DeltaLstmFunction, movement, on_grid  # noqa: E402
from edgelearn.pretrain.train import arrays  # noqa: E402
from tests.engine.engine_cases import random_walk  # noqa: E402


def plain_delta_lstm(x, weights, bias, theta_x, theta_h, masks=None):
    """The equations of the forward pass; with the masks of a run before, a graph that autograd can go back over."""
    hidden = len(bias) // 4
    memory, hat = bias.expand(x.shape[1], -1), x.new_zeros(x.shape[1], len(weights))
    h = c = x.new_zeros(x.shape[1], hidden)
    theta = torch.cat((x.new_full((x.shape[2],), theta_x), x.new_full((hidden,), theta_h)))
    outputs, used = [], []
    for t in range(len(x)):
        delta = torch.cat((x[t], h), 1) - hat
        mask = (delta.abs() >= theta).to(x.dtype) if masks is None else masks[t]
        used.append(mask.detach())
        hat = hat + delta * mask
        memory = memory + (delta * mask) @ weights
        i, f, g, o = memory.split(hidden, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    return torch.stack(outputs), used


@pytest.mark.parametrize(("theta_x", "theta_h"), [(0.0, 0.0), (0.3, 0.12), (1.0, 0.05)])
def test_gradients_are_those_of_autograd_given_the_masks(theta_x: float, theta_h: float) -> None:
    torch.manual_seed(1)
    x = (torch.randn(12, 3, 5, dtype=torch.double).cumsum(0) / 2).requires_grad_()
    weights = (0.6 * torch.randn(12, 28, dtype=torch.double)).requires_grad_()
    bias = torch.randn(28, dtype=torch.double, requires_grad=True)
    grad = torch.randn(12, 3, 7, dtype=torch.double)
    with torch.no_grad():
        _, masks = plain_delta_lstm(x, weights, bias, theta_x, theta_h)
    density = float(torch.stack(masks).mean())
    assert (density == 1) if theta_x == 0 else (0.2 < density < 0.6)
    wanted, _ = plain_delta_lstm(x, weights, bias, theta_x, theta_h, masks)
    got = DeltaLstmFunction.apply(x, weights, bias, theta_x, theta_h, False)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    parameters = (x, weights, bias)
    for mine, theirs in zip(
        torch.autograd.grad(got, parameters, grad), torch.autograd.grad(wanted, parameters, grad), strict=True
    ):
        assert float((mine - theirs).norm()) < 1e-6 * float(theirs.norm())


def test_with_quantised_the_output_is_on_the_grid_of_the_device() -> None:
    torch.manual_seed(2)
    h = DeltaLstmFunction.apply(torch.randn(6, 2, 8), torch.randn(24, 64), torch.zeros(64), 0.3, 0.1, True)
    torch.testing.assert_close(h * 8192, (h * 8192).round(), rtol=0, atol=0)


def quantised_model(seed: int, theta_h: float = 0.12) -> BaseModel:
    torch.manual_seed(seed)
    model = BaseModel(32, 64, 5, 6)
    model.quantised, model.theta_x, model.theta_h = True, 0.3, theta_h
    return model


def device_embeddings(model: BaseModel, clips: list[np.ndarray]) -> np.ndarray:
    config = NetworkConfig((LayerConfig(32, 64, 6, round(model.theta_x * 8192), round(model.theta_h * 8192)),))
    values = arrays(model, 5)
    network = Network(config, Arena(1 << 17))
    network.load(fixed_point(values["weights"], values["bias"], 6))
    rows = []
    for n, frames in enumerate(clips):
        pool = np.zeros(64, np.int32)
        network.forward(network.new_state(f"state{n}"), frames, pool)
        rows.append(pool / np.linalg.norm(pool))
    return np.array(rows)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    ("on_int8_grid", "theta_h", "least"), [(True, 0.0, 1 - 1e-6), (False, 0.0, 0.9998), (False, 0.12, 0.999)]
)
def test_embeddings_are_those_of_the_fixed_point_engine(
    seed: int, on_int8_grid: bool, theta_h: float, least: float, rng: np.random.Generator
) -> None:
    """What differs: tables and Q formats; a weight in 512, rounded twice on the device; deltas near theta_h."""
    model = quantised_model(seed, theta_h)
    if on_int8_grid:
        model.weights.data.copy_(on_grid(model.weights.data, model.step, 127))
    clips = [random_walk(int(length), 32, rng) for length in rng.integers(20, 60, 6)]
    features = torch.zeros(6, 60, 32, dtype=torch.int8)
    for n, frames in enumerate(clips):
        features[n, : len(frames)] = torch.from_numpy(frames)
    with torch.no_grad():
        mine = model.embed(features, torch.tensor([len(frames) for frames in clips])).numpy()
    assert (mine * device_embeddings(model, clips)).sum(axis=1).min() > least


def test_frames_beyond_the_length_do_not_count() -> None:
    model = quantised_model(1)
    features = torch.randint(-100, 100, (2, 20, 32), dtype=torch.int8)
    with torch.no_grad():
        short = model.embed(features[:, :12], torch.tensor([12, 12]))
        torch.testing.assert_close(model.embed(features, torch.tensor([12, 12])), short)


def test_movement_is_the_mean_step_within_the_utterances() -> None:
    h = torch.zeros(4, 2, 3)
    h[:, 0] = torch.tensor([0.0, 1.0, -1.0, 5.0])[:, None]
    h[:, 1] = torch.tensor([0.0, 0.0, 0.5, 0.5])[:, None]
    # the first utterance has 3 frames and moves by 1 and 2, the second has 4 and moves by 0.5
    assert float(movement(h, torch.tensor([3, 4]))) == pytest.approx((1 + 2 + 0.5) / 7)


def test_rounding_to_a_grid_lets_the_gradient_pass() -> None:
    values = torch.tensor([0.24, -0.26, 9.0], requires_grad=True)
    rounded = on_grid(values, 0.5, 4)
    assert rounded.tolist() == [0.0, -0.5, 2.0]
    rounded.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, 1.0, 1.0]


def test_scores_are_cosines_and_weights_stay_in_int8() -> None:
    model = quantised_model(1)
    model.weights.data.mul_(100)
    model.clip()
    assert float(model.weights.detach().abs().max()) == 127 / 64
    scores = model.scores(torch.nn.functional.normalize(model.classes.detach(), dim=1))
    torch.testing.assert_close(scores.diag(), torch.ones(5))
