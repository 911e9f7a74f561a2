"""The GPT: against PyTorch's layers with the same weights, its mask, and as rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from explorer.models import gpt
from explorer.models.rows import seeded
from explorer.settings import InputError
from models.sequence_cases import check_second_derivative, check_ways, loss, made, tokens

LENGTH, LETTERS = 6, 9
SMALL: dict[str, Any] = {"width": 8, "layers": 2, "heads": 2}


def module_of(**options: Any) -> Any:
    with seeded(0):
        module = gpt.build(gpt.Options(**SMALL | options), (LENGTH,), LETTERS).double()
        with torch.no_grad():
            for p in module.parameters():
                p.add_(0.2 * torch.randn_like(p))
    return module


def literal(module: Any, x: Tensor) -> Tensor:
    """GPT-2 as in its paper, with PyTorch's multi-head attention."""
    h = module.embedding.weight[x] + module.position.weight[: x.shape[1]]
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
    for block in module.blocks:
        attention = nn.MultiheadAttention(8, 2, batch_first=True).double()
        with torch.no_grad():
            attention.in_proj_weight.copy_(block.attention.queries_keys_values.weight)
            attention.in_proj_bias.copy_(block.attention.queries_keys_values.bias)
            attention.out_proj.weight.copy_(block.attention.project.weight)
            attention.out_proj.bias.copy_(block.attention.project.bias)
        normal = nn.functional.layer_norm(h, (8,), block.norm.weight, block.norm.bias)
        h = h + attention(normal, normal, normal, attn_mask=mask)[0]
        normal = nn.functional.layer_norm(h, (8,), block.perceptron_norm.weight, block.perceptron_norm.bias)
        first, _, second = block.perceptron
        hidden = nn.functional.gelu(normal @ first.weight.T + first.bias)
        h = h + hidden @ second.weight.T + second.bias
    return nn.functional.layer_norm(h, (8,), module.norm.weight, module.norm.bias) @ module.output.weight.T


@pytest.mark.parametrize("tied", [True, False])
def test_it_is_gpt_2(tied: bool) -> None:
    module = module_of(tied=tied)
    x = tokens(5, LENGTH, vocabulary=LETTERS)
    torch.testing.assert_close(module(x), literal(module, x))
    assert (module.output.weight is module.embedding.weight) == tied


def test_what_comes_later_changes_nothing_before() -> None:
    module = module_of()
    x = tokens(4, LENGTH, vocabulary=LETTERS)
    for place in range(LENGTH):
        changed = x.clone()
        changed[:, place] = (x[:, place] - 2) % 6 + 3
        difference = (module(changed) - module(x)).abs().amax(2)
        assert (difference[:, :place] < 1e-12).all()
        assert (difference[:, place:] > 1e-6).all()


def test_rows_are_the_plain_modules() -> None:
    x = tokens(3, 4, LENGTH, vocabulary=LETTERS)
    check_ways(gpt, (LENGTH,), LETTERS, x, **SMALL)
    check_ways(gpt, (LENGTH,), LETTERS, x, **SMALL, tied=False)


@pytest.mark.parametrize("way", ["stacked", "vmap", "loop"])
def test_hessian_vector_products_are_differences_of_gradients(way: str) -> None:
    rows, theta = made(gpt, (LENGTH,), LETTERS, way, 2, **SMALL)
    x = tokens(2, 4, LENGTH + 1, vocabulary=LETTERS)
    check_second_derivative(lambda at: loss(rows(at, x[..., :-1]), x[..., 1:]).sum(), theta)


def test_the_published_size() -> None:
    """GPT-2 small has 124,439,808 parameters."""
    with torch.device("meta"):
        options = gpt.Options(width=768, layers=12, heads=12)
        module = gpt.build(options, (1024,), 50_257)
    assert sum(p.numel() for p in module.parameters()) == 124_439_808


def test_initial_weights_are_those_of_gpt_2() -> None:
    with seeded(0):
        module: Any = gpt.build(gpt.Options(width=128, layers=2), (64,), 100)
    block = module.blocks[0]
    assert block.perceptron[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    for end in (block.perceptron[2], block.attention.project):
        assert end.weight.std().item() == pytest.approx(0.02 / 2, rel=0.05)
        assert end.bias.abs().max() == 0
    assert module.embedding.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_wrong_inputs_and_heads_are_refused() -> None:
    with pytest.raises(InputError, match=r"gpt needs tokens \(length,\).*\(2, 5\)"):
        gpt.build(gpt.Options(), (2, 5), 9)
    with pytest.raises(InputError, match="gpt: heads 3 does not divide the width 8"):
        gpt.build(gpt.Options(width=8, heads=3), (5,), 9)
