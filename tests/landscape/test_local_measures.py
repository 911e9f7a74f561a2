from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from landscape_cases import labels, mlp_module, normal, two_cnns, two_mlps
from torch import nn
from torch.nn.functional import cross_entropy

from explorer.landscape import rows_of
from explorer.landscape.noise import noise_scale
from explorer.landscape.sharpness import sharpness
from explorer.landscape.spectra import fit_power_law, weight_spectra
from explorer.models.rows import Rows


def test_one_step_of_sharpness_is_sams_ascent() -> None:
    module = mlp_module(1)
    network, theta, buffers = rows_of(module)
    x, y = normal(30, 4, seed=3), labels(30, 3, seed=3)
    loss = cross_entropy(module(x), y)
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    length = torch.cat([g.flatten() for g in gradients]).norm()
    with torch.no_grad():
        for p, g in zip(module.parameters(), gradients, strict=True):
            p.add_(0.1 * g / length)
        expected = cross_entropy(module(x), y) - loss
    found = sharpness(network, theta, x, y, buffers=buffers, radius=0.1)
    torch.testing.assert_close(found.rise[0], expected)
    torch.testing.assert_close(found.loss[0], loss.detach())


def test_adaptive_sharpness_ignores_a_rescaling_of_the_layers_and_plain_sharpness_does_not() -> None:
    module = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)).double()
    scaled = nn.Sequential(nn.Linear(4, 6, bias=False), nn.ReLU(), nn.Linear(6, 3, bias=False)).double()
    with torch.no_grad():
        module[0].weight.copy_(normal(6, 4, seed=0))
        module[2].weight.copy_(normal(3, 6, seed=1))
        scaled[0].weight.copy_(5 * module[0].weight)
        scaled[2].weight.copy_(module[2].weight / 5)
    network, theta, buffers = rows_of(module, scaled)
    x, y = normal(30, 4, seed=3), labels(30, 3, seed=3)
    for steps in (1, 5):
        own, other = sharpness(network, theta, x, y, buffers=buffers, adaptive=True, steps=steps).rise
        assert own.item() == pytest.approx(other.item(), rel=1e-9)
    own, other = sharpness(network, theta, x, y, buffers=buffers).rise
    assert own.item() != pytest.approx(other.item(), rel=0.1)


def test_sharpness_at_a_small_radius_is_radius_times_the_gradients_length() -> None:
    network, theta, buffers = two_mlps()
    x, y = normal(30, 4, seed=3), labels(30, 3, seed=3)
    for row in range(2):
        module = network.to_module(theta[row], buffers[row])
        gradients = torch.autograd.grad(cross_entropy(module(x), y), list(module.parameters()))
        length = torch.cat([g.flatten() for g in gradients]).norm().item()
        assert sharpness(network, theta, x, y, radius=1e-5).rise[row].item() == pytest.approx(
            1e-5 * length, rel=1e-3
        )


def test_more_steps_find_no_lower_a_point_of_a_large_ball_and_nothing_is_changed() -> None:
    network, theta, buffers = two_cnns()
    x, y = normal(30, 1, 6, 6, seed=3), labels(30, 3, seed=3)
    before = theta.clone(), buffers.clone()
    one, many = (sharpness(network, theta, x, y, buffers=buffers, radius=2.0, steps=n).rise for n in (1, 20))
    assert (many > one).all()
    assert torch.equal(theta, before[0])
    assert not theta.requires_grad
    assert torch.equal(buffers, before[1])
    with pytest.raises(ValueError, match="radius is 0"):
        sharpness(network, theta, x, y, radius=0.0)


def single_gradients(network: Rows, theta: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Gradients (inputs, parameters) of one model for each input alone."""
    theta = theta.clone().requires_grad_()
    losses = [
        network.task.loss(network(theta[None], x[None, i : i + 1]), y[None, i : i + 1]) for i in range(len(x))
    ]
    return torch.stack([torch.autograd.grad(loss.sum(), theta)[0] for loss in losses])


@pytest.mark.parametrize(("batch_size", "batch_count"), [(1, 64), (4, 5), (4, 16), (4, 40), (8, 12)])
def test_noise_scale_has_the_moments_of_the_single_input_gradients(batch_size: int, batch_count: int) -> None:
    """On average over draws of batches, below, at and above the number of inputs."""
    network, theta, _ = two_mlps()
    x, y = normal(64, 4, seed=3), labels(64, 3, seed=3)
    single = single_gradients(network, theta[0], x, y)
    variance, squared = single.var(0).sum(), single.mean(0).square().sum()
    runs = noise_scale(
        network,
        theta[:1].repeat(400, 1),
        x,
        y,
        seeds=range(400),
        batch_size=batch_size,
        batch_count=batch_count,
    )
    torch.testing.assert_close(runs.variance.mean(), variance, rtol=0.06, atol=0)
    torch.testing.assert_close(runs.squared_gradient.mean(), squared, rtol=0.06, atol=0)
    if batch_size * batch_count >= 64:
        torch.testing.assert_close(runs.squared_gradient, squared.expand(400))


def test_the_jackknife_error_covers_the_spread_over_seeds() -> None:
    network, theta, _ = rows_of(mlp_module(1))
    x, y = normal(2000, 4, seed=3), (normal(2000, 4, seed=3)[:, 0] > 0).long()
    found = noise_scale(network, theta.expand(60, -1), x, y, seeds=range(60), batch_size=8, batch_count=40)
    assert found.scale_stderr.mean().item() == pytest.approx(found.scale.std().item(), rel=0.4)


def test_noise_scale_refuses_budgets_that_cannot_tell() -> None:
    network, theta, _ = two_mlps()
    with pytest.raises(ValueError, match="at most half"):
        noise_scale(network, theta, normal(10, 4, seed=0), labels(10, 3, seed=0), seeds=[0, 1], batch_size=6)


def pareto(alpha: float, n: int, seed: int) -> torch.Tensor:
    return torch.tensor(1 + np.random.default_rng(seed).pareto(alpha - 1, n))


@pytest.mark.parametrize("alpha", [2.0, 3.5])
def test_power_law_exponent_of_pareto_samples(alpha: float) -> None:
    fits = [fit_power_law(pareto(alpha, 300, seed)).alpha for seed in range(10)]
    assert np.mean(fits) == pytest.approx(alpha, rel=0.08)


def test_the_minimum_is_found_where_a_power_law_begins() -> None:
    body = torch.tensor(np.random.default_rng(0).uniform(0.01, 1, 500))
    fit = fit_power_law(torch.cat([body, pareto(3.0, 500, 1)]))
    assert fit.minimum == pytest.approx(1, rel=0.25)
    assert fit.alpha == pytest.approx(3, rel=0.15)
    assert fit.tail > 350


def weightwatcher(values: np.ndarray) -> tuple[float, float]:
    """Exponent and distance of WeightWatcher 0.7.7 (``WWFit``), literally."""
    data = np.sort(values)
    logs, n = np.log(data), len(data)
    alphas, distances = np.zeros(n - 1), np.ones(n - 1)
    few = n < 20  # fit_powerlaw_smallN
    for i, least in enumerate(data[:-1]):
        k = float(n - i)
        if few and k < 8 and i > 0:
            continue
        alphas[i] = 1 + (k - few) / (np.sum(logs[i:]) - k * logs[i])
        distances[i] = np.max(np.abs(1 - (data[i:] / least) ** (-alphas[i] + 1) - np.arange(k) / k))
    return alphas[np.argmin(distances)], distances.min()


@pytest.mark.parametrize("n", [2, 5, 8, 9, 19, 20, 40])
def test_power_law_is_weightwatchers(n: int) -> None:
    values = pareto(2.5, n, seed=n)
    fit = fit_power_law(values)
    assert (fit.alpha, fit.distance) == pytest.approx(weightwatcher(values.numpy()))
    assert math.isnan(fit_power_law(values[:1]).alpha)
    assert math.isnan(fit_power_law(torch.ones(20)).alpha)


def test_weight_spectra_are_of_each_layer_with_eight_eigenvalues() -> None:
    network, theta, buffers = rows_of(mlp_module(0, width=20, inputs=16), mlp_module(1, width=20, inputs=16))
    found = weight_spectra(network, theta)
    assert found.layers == ["1.weight"]  # the other has three classes: three eigenvalues
    weight = network.to_module(theta[1], buffers[1])[1].weight.detach()
    values = torch.linalg.eigvalsh(weight @ weight.T)
    assert found.largest[1, 0].item() == pytest.approx(values[-1].item())
    assert found.alpha[1, 0].item() == pytest.approx(fit_power_law(values.flip(0)[:16]).alpha)
    torch.testing.assert_close(found.mean_alpha, found.alpha[:, 0])
    none = weight_spectra(*rows_of(nn.Linear(4, 3))[:2])
    assert none.layers == []
    assert none.mean_alpha.isnan().all()


def test_a_convolution_has_the_eigenvalues_of_all_slices_of_its_kernel() -> None:
    module = nn.Conv2d(4, 3, 3)
    found = weight_spectra(*rows_of(module)[:2])
    slices = [module.weight.detach()[:, :, i, j].double().numpy() for i in range(3) for j in range(3)]
    values = np.concatenate([np.linalg.svd(piece, compute_uv=False) ** 2 for piece in slices]) / 2
    assert found.layers == ["weight"]
    assert found.largest.item() == pytest.approx(values.max())
    assert found.alpha.item() == pytest.approx(weightwatcher(values[values > 1e-5])[0], rel=1e-5)
