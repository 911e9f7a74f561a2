"""Promises of the measures: gradient noise scale, error of CKA, sign of mode connectivity."""

from __future__ import annotations

import torch
from torch import nn
from worlds import Promise

from explorer.landscape.connectivity import mode_connectivity
from explorer.landscape.noise import noise_scale
from explorer.landscape.rows_of import rows_of
from explorer.landscape.similarity import linear_cka, linear_cka_stderr, mixup


def trained(world: int, models: int, steps: int, inputs: int = 300):
    """Small networks trained on ``inputs`` random points of three noisy classes."""
    draw = torch.Generator().manual_seed(world)
    x = torch.randn(inputs, 5, generator=draw)
    y = (x[:, :3] + 0.5 * torch.randn(inputs, 3, generator=draw)).argmax(1)
    modules = []
    for seed in range(models):
        torch.manual_seed(1000 * world + seed)
        module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3))
        adam = torch.optim.Adam(module.parameters(), lr=0.02)
        for _ in range(steps):
            adam.zero_grad()
            nn.functional.cross_entropy(module(x), y).backward()
            adam.step()
        modules.append(module)
    return rows_of(*modules), x, y


def noise_scale_covers(worlds: int, batch_count: int, steps: int) -> float:
    """Share of worlds whose true scale, from the gradient of each input alone, lies within 2 standard errors."""
    kept = 0
    for world in range(worlds):
        (network, theta, buffers), x, y = trained(world, 1, steps)
        module = network.to_module(theta[0], buffers[0])
        losses = (nn.functional.cross_entropy(module(x[i : i + 1]), y[i : i + 1]) for i in range(len(x)))
        gradients = (torch.autograd.grad(loss, list(module.parameters())) for loss in losses)
        single = torch.stack([torch.cat([g.flatten() for g in one]) for one in gradients]).double()
        truth = single.var(0).sum() / single.mean(0).square().sum()
        found = noise_scale(network, theta, x, y, seeds=[world], buffers=buffers, batch_count=batch_count)
        kept += bool((found.scale[0] - truth).abs() <= 2 * found.scale_stderr[0])
    return kept / worlds


def cka_error_covers(worlds: int, draws: int = 20) -> float:
    """Share of draws of the mixup inputs whose CKA lies within 2 reported errors of the mean over draws."""
    kept = []
    for world in range(worlds):
        (network, theta, buffers), x, _ = trained(world, 2, 40)
        values, errors = [], []
        for seed in range(draws):
            outputs = network.outputs(theta, mixup(x, inputs=300, seed=seed), buffers).softmax(2)
            values.append(linear_cka(outputs)[0, 1])
            errors.append(linear_cka_stderr(outputs)[0, 1])
        apart = (torch.stack(values) - torch.stack(values).mean()).abs()
        kept.append((apart <= 2 * torch.stack(errors)).double().mean().item())
    return sum(kept) / worlds


def signs(worlds: int, height: float, apart: float = 20.0, noise: float = 1.0) -> torch.Tensor:
    """Signs of the mode connectivity of curves whose ends differ by ``apart`` points.

    The middle of the curve is ``height`` points above the mean of the ends.
    """
    draw = torch.Generator().manual_seed(0)
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    errors = 30 + apart * (t - 0.5) + height * 4 * t * (1 - t)
    sampled = errors + noise * torch.randn(worlds, 11, generator=draw, dtype=torch.float64)
    return mode_connectivity(sampled).sign()


PROMISES = [
    Promise("noise scale within 2 errors of its truth, fewer batches than inputs", lambda n: noise_scale_covers(n, 12, 0), low=0.9, few=12),
    Promise("noise scale within 2 errors of its truth, more batches than inputs", lambda n: noise_scale_covers(n, 64, 60), low=0.9, few=12),
    Promise("noise scale of fitted models within 2 errors of its truth", lambda n: noise_scale_covers(n, 64, 600), low=0.9, worlds=60, few=4),
    Promise("CKA of another draw within 2 reported errors", cka_error_covers, low=0.93, worlds=20, few=2),
    Promise("sign of mode connectivity between unequal ends without a barrier", lambda n: (signs(n, 0.0) != 0).double().mean().item(), high=0.05, worlds=2000, few=300),
    Promise("barrier beyond the ends' difference is found, with its sign", lambda n: (signs(n, 25.0) == -1).double().mean().item(), low=0.95, worlds=2000, few=300),
]  # fmt: skip
