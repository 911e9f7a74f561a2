"""The Transformer: against PyTorch's with the same weights, its masks, and as rows."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from explorer.models import transformer
from explorer.models.rows import seeded
from explorer.settings import InputError
from explorer.space.reading import parse
from models.sequence_cases import check_second_derivative, check_ways, loss, made, sentences, tokens

LENGTH, WORDS = 7, 11
SMALL: dict[str, Any] = {"width": 8, "layers": 2, "heads": 2}


def module_of(seed: int = 0, **options: Any) -> Any:
    """With weights that are not the initial ones."""
    with seeded(seed):
        module = transformer.build(transformer.Options(**SMALL | options), (2, LENGTH), WORDS).double()
        with torch.no_grad():
            for p in module.parameters():
                p.add_(0.2 * torch.randn_like(p))
    return module


def copied(module: Any, norm: str) -> nn.Transformer:
    """PyTorch's own with the weights of ours."""
    layers: dict[str, Any] = {
        "d_model": 8,
        "nhead": 2,
        "dim_feedforward": 32,
        "dropout": 0.0,
        "batch_first": True,
    }
    layers["norm_first"] = norm == "pre"
    theirs = nn.Transformer(
        d_model=8, nhead=2, batch_first=True,
        custom_encoder=nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**layers), 2, nn.LayerNorm(8) if norm == "pre" else None,
            enable_nested_tensor=False,
        ),
        custom_decoder=nn.TransformerDecoder(
            nn.TransformerDecoderLayer(**layers), 2, nn.LayerNorm(8) if norm == "pre" else None
        ),
    ).double()  # fmt: skip

    def copy(there: Any, here: Any) -> None:
        with torch.no_grad():
            there.weight.copy_(here.weight)
            there.bias.copy_(here.bias)

    def copy_block(there: Any, here: Any) -> None:
        with torch.no_grad():
            there.self_attn.in_proj_weight.copy_(here.attention.queries_keys_values.weight)
            there.self_attn.in_proj_bias.copy_(here.attention.queries_keys_values.bias)
        copy(there.self_attn.out_proj, here.attention.project)
        copy(there.linear1, here.perceptron[0])
        copy(there.linear2, here.perceptron[2])
        copy(there.norm1, here.norm)
        if not hasattr(here, "across"):
            copy(there.norm2, here.perceptron_norm)
            return
        copy(there.norm2, here.across_norm)
        copy(there.norm3, here.perceptron_norm)
        parts = (here.across.queries, here.across.keys_values)
        with torch.no_grad():
            there.multihead_attn.in_proj_weight.copy_(torch.cat([p.weight for p in parts]))
            there.multihead_attn.in_proj_bias.copy_(torch.cat([p.bias for p in parts]))
        copy(there.multihead_attn.out_proj, here.across.project)

    for side in ("encoder", "decoder"):
        for there, here in zip(getattr(theirs, side).layers, getattr(module, side), strict=True):
            copy_block(there, here)
        if norm == "pre":
            copy(getattr(theirs, side).norm, getattr(module, side + "_norm"))
    return theirs


def literal_positions(length: int, width: int) -> Tensor:
    """PE(t, 2i) = sin(t / 10000^(2i / width)), PE(t, 2i + 1) = cos of the same (section 3.5 of the paper)."""
    table = torch.zeros(length, width, dtype=torch.float64)
    for t in range(length):
        for column in range(width):
            angle = t / 10_000 ** (2 * (column // 2) / width)
            table[t, column] = math.sin(angle) if column % 2 == 0 else math.cos(angle)
    return table


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("tied", [True, False])
def test_it_is_pytorchs_transformer_with_the_same_weights(norm: str, tied: bool) -> None:
    module = module_of(norm=norm, tied=tied)
    theirs = copied(module, norm)
    x, _ = sentences(5, length=LENGTH, vocabulary=WORDS)
    assert (x[:, 0] == 0).any()
    source, target = (
        e.weight[t] * math.sqrt(8) + literal_positions(LENGTH, 8)
        for e, t in ((module.source, x[:, 0]), (module.target, x[:, 1]))
    )
    hidden = theirs(
        source, target,
        tgt_mask=torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1),
        src_key_padding_mask=x[:, 0] == 0, memory_key_padding_mask=x[:, 0] == 0,
    )  # fmt: skip
    scores = hidden @ (module.source.weight if tied else module.output.weight).T
    torch.testing.assert_close(module(x), scores)
    # Without the masks it is another function.
    assert not torch.allclose(theirs(source, target) @ module.output.weight.T, scores)


def test_what_comes_later_changes_nothing_before() -> None:
    module = module_of()
    x = tokens(4, 2, LENGTH, vocabulary=WORDS)
    for place in range(1, LENGTH):
        changed = x.clone()
        changed[:, 1, place:] = tokens(4, LENGTH - place, vocabulary=WORDS, seed=place) % 8 + 3
        changed[:, 1, place] = (x[:, 1, place] - 2) % 8 + 3  # surely another one
        torch.testing.assert_close(module(changed)[:, :place], module(x)[:, :place], rtol=0, atol=1e-12)
        assert ((module(changed) - module(x))[:, place:].abs().amax((1, 2)) > 1e-3).all()


def test_more_padding_changes_nothing() -> None:
    module = module_of()
    x, y = sentences(6, length=LENGTH, vocabulary=WORDS)
    longer = torch.cat([x, torch.zeros(6, 2, 4, dtype=torch.long)], -1)
    torch.testing.assert_close(module(longer)[:, :LENGTH], module(x), rtol=0, atol=1e-12)
    seen = longer.clone()
    seen[:, 0, -1] = 5  # a word where the padding was
    assert ((module(seen)[:, :LENGTH] - module(x)).abs().amax(2)[y >= 0] > 1e-6).all()


def test_every_word_of_the_source_is_seen_everywhere() -> None:
    module = module_of()
    x = tokens(1, 2, LENGTH, vocabulary=WORDS)
    for place in range(LENGTH):
        changed = x.clone()
        changed[:, 0, place] = (x[:, 0, place] - 2) % 8 + 3
        assert ((module(changed) - module(x)).abs().amax(2) > 1e-6).all()


def test_the_order_of_the_source_matters() -> None:
    module = module_of()
    x = tokens(1, 2, LENGTH, vocabulary=WORDS)
    turned = torch.stack([x[:, 0].flip(-1), x[:, 1]], 1)
    assert (module(turned) - module(x)).abs().max() > 1e-3


@pytest.mark.parametrize("way", ["stacked", "vmap", "loop"])
def test_an_empty_source_gives_numbers(way: str) -> None:
    rows, theta = made(transformer, (2, LENGTH), WORDS, way, **SMALL)
    x, y = sentences(3, 5, length=LENGTH, vocabulary=WORDS)
    x[0, 1, 0] = 0
    x[2, 3] = 0
    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(rows(leaf, x), y).sum(), leaf)
    assert torch.isfinite(gradient).all()
    assert torch.isfinite(rows.loss_gradient(theta, x, y)[1]).all()


@pytest.mark.parametrize("options", [{}, {"norm": "post", "tied": False}, {"width": 7, "heads": 1}], ids=str)
def test_rows_are_the_plain_modules(options: dict[str, Any]) -> None:
    x, _ = sentences(3, 4, length=LENGTH, vocabulary=WORDS)
    check_ways(transformer, (2, LENGTH), WORDS, x, **SMALL | options)


@pytest.mark.parametrize("way", ["stacked", "vmap", "loop"])
def test_hessian_vector_products_are_differences_of_gradients(way: str) -> None:
    rows, theta = made(transformer, (2, LENGTH), WORDS, way, 2, **SMALL)
    x, y = sentences(2, 4, length=LENGTH, vocabulary=WORDS)
    check_second_derivative(lambda at: loss(rows(at, x), y).sum(), theta)


@pytest.mark.parametrize("way", ["stacked", "vmap", "loop"])
def test_mixed_precision_is_near(way: str) -> None:
    rows, theta = made(transformer, (2, LENGTH), WORDS, way, **SMALL)
    rows.module.float()
    x, y = sentences(3, 4, length=LENGTH, vocabulary=WORDS)
    theta = theta.float().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        logits = rows(theta, x)
    exact = rows(theta, x)
    assert (logits - exact).abs().max() < 0.1 * exact.std()
    assert not torch.equal(logits, exact)
    assert torch.isfinite(torch.autograd.grad(loss(logits, y).sum(), theta)[0]).all()


def test_dropout_or_chance_plays_no_part() -> None:
    module = module_of().train()
    x, _ = sentences(3, length=LENGTH, vocabulary=WORDS)
    assert torch.equal(module(x), module(x))


@pytest.mark.parametrize(("width", "layers", "feed"), [(8, 1, 4), (24, 3, 2)])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("tied", [True, False])
def test_number_of_parameters(width: int, layers: int, feed: int, norm: Any, tied: bool) -> None:
    options = transformer.Options(width=width, layers=layers, feed_forward=feed, norm=norm, tied=tied)
    module = transformer.build(options, (2, 5), 13)
    attention, perceptron = 4 * (width + 1) * width, (2 * feed * width + feed + 1) * width
    encoder, decoder = attention + perceptron + 4 * width, 2 * attention + perceptron + 6 * width
    expected = (
        layers * (encoder + decoder) + (1 if tied else 3) * 13 * width + (4 * width if norm == "pre" else 0)
    )
    assert sum(p.numel() for p in module.parameters()) == expected


def test_the_papers_base_model() -> None:
    """Table 3 of Vaswani et al. (2017): 65 million parameters with a shared vocabulary of 37,000."""
    with torch.device("meta"):
        options = transformer.Options(width=512, norm="post")
        module = transformer.build(options, (2, 5), 37_000)
    assert len(module.encoder) == len(module.decoder) == 6  # type: ignore[arg-type]
    assert module.encoder[0].attention.heads == 8  # type: ignore[index, union-attr]
    assert sum(p.numel() for p in module.parameters()) == pytest.approx(65e6, rel=0.05)


def test_initial_scores_and_gradients_have_an_even_scale_at_every_width() -> None:
    for width in (8, 64, 256):
        with seeded(0):
            module = transformer.build(transformer.Options(width=width), (2, 16), 100)
        x, _ = sentences(8, length=16, vocabulary=100)
        assert 0.5 < module(x).std().item() < 2


def test_heads_left_out_divide_the_width() -> None:
    for width, heads in ((2, 1), (16, 1), (32, 2), (48, 3), (64, 4), (34, 2), (31, 1), (128, 8), (512, 8)):
        module: Any = transformer.build(transformer.Options(width=width, layers=1), (2, 5), 9)
        assert module.encoder[0].attention.heads == heads


def test_wrong_heads_and_wrong_inputs_are_refused() -> None:
    with pytest.raises(InputError, match="heads 3 does not divide the width 64"):
        transformer.build(transformer.Options(heads=3), (2, 5), 9)
    for shape in ((3, 5), (5,), (1, 8, 8)):
        with pytest.raises(InputError, match="needs source and target tokens"):
            transformer.build(transformer.Options(), shape, 9)


@pytest.mark.parametrize("name", ["transformer", "gpt", "vit"])
def test_wrong_heads_are_told_before_anything_is_started(name: str) -> None:
    data = {"transformer": "multi30k", "gpt": "text", "vit": "mnist"}[name]
    space: dict[str, Any] = {
        "name": "heads",
        "data": {"name": data},
        "model": {"name": name, "heads": 3},
        "load": {"width": [12, 16]},
        "temperature": {"batch_size": [8]},
        "seeds": 1,
        "training": {"steps": 1},
        "measures": {},
    }
    with pytest.raises(InputError, match=f"{name}: heads 3 does not divide the width 16"):
        parse(space)
    space["load"]["heads"] = [2, 4]
    space["load"]["width"] = [12, 16]
    assert len(parse(space).cells) == 4
