"""The physics-informed network: its derivatives are those of its solution."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from explorer.models import pinn
from explorer.models.rows import Rows
from explorer.settings import InputError
from models.sequence_cases import check_second_derivative, check_ways, made


def points(*shape: int, seed: int = 0) -> Tensor:
    """(x, t, β) with x in [0, 2π), t in [0, 1), β in [1, 3)."""
    uniform = torch.rand(*shape, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return uniform * torch.tensor([2 * math.pi, 1, 2]) + torch.tensor([0, 0, 1])


def squares(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean squared error (rows,) over the numbers that are asked for."""
    asked = y.isfinite().expand_as(outputs)
    return torch.stack([(o[a] - t[a]).square().mean() for o, t, a in zip(outputs, y, asked, strict=True)])


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_second_output_is_the_residual_of_the_first(periodic: bool, depth: int) -> None:
    rows, theta = made(pinn, (3,), 2, "loop", 1, width=6, depth=depth, periodic=periodic)
    module, x = rows.to_module(theta[0], theta.new_zeros(0)), points(9)

    def u(at: Tensor) -> Tensor:
        return module(at[None])[0, 0]

    slopes = torch.func.vmap(torch.func.jacrev(u))(x)  # (inputs, 3)
    outputs = module(x)
    torch.testing.assert_close(outputs[:, 1], slopes[:, 1] + x[:, 2] * slopes[:, 0])
    assert slopes[:, 2].abs().max() == 0  # u itself does not know β
    assert not torch.allclose(outputs[:, 1], slopes[:, 1] - x[:, 2] * slopes[:, 0])


def test_the_value_is_a_plain_perceptron() -> None:
    rows, theta = made(pinn, (3,), 2, "loop", 1, width=6, depth=2, periodic=False)
    module: Any = rows.to_module(theta[0], theta.new_zeros(0))
    x = points(9)
    h = x[:, :2]
    for layer in module.hidden:
        h = torch.tanh(h @ layer.weight.T + layer.bias)
    torch.testing.assert_close(module(x)[:, :1], h @ module.last.weight.T + module.last.bias)


def test_periodic_is_periodic() -> None:
    turn = torch.tensor([2 * math.pi, 0, 0], dtype=torch.float64)
    for periodic in (True, False):
        rows, theta = made(pinn, (3,), 2, width=6, depth=2, periodic=periodic)
        x = points(1, 9)
        assert torch.allclose(rows(theta, x + turn), rows(theta, x)) == periodic


def test_rows_are_the_plain_modules() -> None:
    check_ways(pinn, (3,), 2, points(3, 7), width=5, depth=2)


@pytest.mark.parametrize("way", ["stacked", "vmap", "loop"])
def test_hessian_vector_products_are_differences_of_gradients(way: str) -> None:
    rows, theta = made(pinn, (3,), 2, way, 2, width=5, depth=2)
    y = torch.zeros(2, 7, 2, dtype=torch.float64)
    y[:, :3, 1] = y[:, 3:, 0] = torch.nan  # initial points ask for u, the others for the residual
    x = points(2, 7)
    check_second_derivative(lambda at: squares(rows(at, x), y).sum(), theta)


def test_third_derivatives() -> None:
    rows, theta = made(pinn, (3,), 2, count=1, width=4, depth=2)
    x = points(1, 5)

    def along(step: Tensor) -> Tensor:
        return rows(theta + step * theta.cos(), x)[..., 1].square().mean()

    third = torch.func.grad(torch.func.grad(torch.func.grad(along)))(torch.zeros((), dtype=torch.float64))
    second = torch.func.grad(torch.func.grad(along))
    step = torch.tensor(1e-5, dtype=torch.float64)
    torch.testing.assert_close(third, (second(step) - second(-step)) / (2 * step), rtol=1e-6, atol=1e-8)
    assert third.abs() > 1e-3


def test_it_learns_the_equation_from_the_initial_condition_alone() -> None:
    """u(x, 0) = sin x and the residual at random points give u = sin(x − βt)."""
    rows, theta = made(pinn, (3,), 2, count=1, width=16, depth=2)
    start, inside = points(40), points(200, seed=1)
    start[:, 1], start[:, 2], inside[:, 2] = 0, 1, 1
    nothing = torch.full((40, 1), torch.nan, dtype=torch.float64)
    y = torch.cat(
        [
            torch.cat([start[:, :1].sin(), nothing], 1),
            torch.cat([nothing.expand(5, 40, 1).reshape(200, 1), torch.zeros(200, 1)], 1),
        ]
    )
    x, leaf = torch.cat([start, inside])[None], theta.clone().requires_grad_()
    optimiser = torch.optim.Adam([leaf], lr=0.02)
    for _ in range(400):
        optimiser.zero_grad()
        squares(rows(leaf, x), y[None]).sum().backward()
        optimiser.step()
    new = points(300, seed=2)
    new[:, 2] = 1
    exact = torch.sin(new[:, 0] - new[:, 1])
    error = (rows(leaf, new[None])[0, :, 0] - exact).square().mean() / exact.square().mean()
    assert error < 0.02


def test_number_of_parameters() -> None:
    for periodic, inputs in ((True, 3), (False, 2)):
        module = pinn.build(pinn.Options(width=7, depth=3, periodic=periodic), (3,), 2)
        assert Rows(module).parameters == (inputs + 1) * 7 + 2 * 8 * 7 + 8


def test_other_data_are_refused() -> None:
    for shape, outputs in (((2,), 1), ((3,), 1), ((1, 3), 2)):
        with pytest.raises(InputError, match="pinn needs inputs"):
            pinn.build(pinn.Options(), shape, outputs)
