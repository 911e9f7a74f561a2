"""The hand-written gradient of the MLP is that of automatic differentiation."""

from __future__ import annotations

import pytest
import torch

from explorer.models import mlp
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows
from explorer.tasks import Classification


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "tanh"])
@pytest.mark.parametrize("shared", [False, True])
def test_gradient(depth: int, activation: str, shared: bool) -> None:
    build, rows = network("mlp", mlp.Options(width=5, depth=depth, activation=activation), (2, 3), 4)  # type: ignore[arg-type]
    assert rows.gradient is not None
    theta = initial_rows(build, rows, range(3))[0].double()
    theta += 0.1 * torch.randn(theta.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(1 if shared else 3, 7, 2, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 4, (1 if shared else 3, 7), generator=generator)
    losses, gradient = rows.loss_gradient(theta, x, y)
    leaf = theta.clone().requires_grad_()
    expected = Classification().loss(rows(leaf, x, training=True), y)
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), leaf)[0])
    plain = Rows(rows.module, rows.forward)
    torch.testing.assert_close(plain.loss_gradient(theta, x, y), (losses, gradient))


@pytest.mark.parametrize("depth", [1, 3])
def test_a_bound_gradient_follows_parameters_that_change_in_place(depth: int) -> None:
    build, rows = network("mlp", mlp.Options(width=5, depth=depth), (2, 3), 4)
    theta = initial_rows(build, rows, range(3))[0]
    bound = rows.bound(theta)
    assert bound is not None
    generator = torch.Generator().manual_seed(2)
    for batch in (7, 7, 5):
        x = torch.randn(3, batch, 2, 3, generator=generator)
        y = torch.randint(0, 4, (3, batch), generator=generator)
        losses, gradient = rows.loss_gradient(theta.clone(), x, y)
        found = bound.step(x, y, True)
        assert found is not None
        assert torch.equal(found, losses)
        assert torch.equal(bound.gradient, gradient)
        assert bound.step(x, y, False) is None
        assert torch.equal(bound.gradient, gradient)
        theta -= gradient
    assert Rows(rows.module, rows.forward).bound(theta) is None
