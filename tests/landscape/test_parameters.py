from __future__ import annotations

import pytest
import torch
from landscape_cases import mlp_module, normal, two_cnns
from torch import nn

from explorer.landscape import rows_of
from explorer.landscape.similarity import l2_distance


def test_l2_distance_of_each_pair() -> None:
    a, b = torch.zeros(2, 2), torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    torch.testing.assert_close(l2_distance(a, b), torch.tensor([5.0, 2.0], dtype=torch.float64))


def test_l2_distance_is_accumulated_in_double_precision() -> None:
    a = torch.zeros(1, 3_000_000)
    assert l2_distance(a, a + 0.1).item() == pytest.approx(0.1 * 3_000_000**0.5, rel=1e-7)


def test_rows_of_keeps_the_function_of_each_module() -> None:
    network, theta, buffers = two_cnns()
    x = normal(7, 1, 6, 6, seed=0)
    for row in range(2):
        expected = network.to_module(theta[row], buffers[row])(x)
        torch.testing.assert_close(network.outputs(theta, x, buffers)[row], expected)


def test_rows_of_names_the_parameters_in_which_modules_differ() -> None:
    with pytest.raises(ValueError, match=r"1\.weight"):
        rows_of(mlp_module(0, width=4), mlp_module(1, width=5))
    with pytest.raises(ValueError, match="at least one"):
        rows_of()


def test_rows_of_rejects_functions_that_a_copy_would_share() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    last = module[1]
    module.register_forward_hook(lambda _module, _inputs, output: output + last.bias)
    with pytest.raises(ValueError, match="_forward_hooks is a function that has captured a layer"):
        rows_of(module)


def test_rows_of_copies() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    _, theta, _ = rows_of(module)
    theta.zero_()
    assert module[1].weight.abs().sum() > 0
