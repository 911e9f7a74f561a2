"""Matching Transformers by weights and by activations; heads as a whole, padding left out."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from in_process import train
from landscape_cases import normal
from symmetric_cases import LENGTH, NETWORKS, WORDS, inputs_of, made, moved, shuffled
from torch import Tensor, nn

import explorer.models
from explorer.landscape.activations import correlations, positions
from explorer.landscape.alignment import Permutations, _assign, align, match_weights
from explorer.landscape.connectivity import barrier, profile_path
from explorer.landscape.paths import straight
from explorer.landscape.permutations import permutation_spec
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.models.symmetries import JointGroups, Spec
from explorer.settings import plugin
from explorer.train.loop import Split


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("case", NETWORKS)
def test_a_permuted_copy_is_found_again(case: str, method: Any) -> None:
    rows, theta = made(case)
    x = inputs_of(case, 40)
    spec = permutation_spec(rows.module, x)
    other, empty = moved(rows, spec, shuffled(spec), theta[0])[None], theta.new_zeros(1, 0)
    assert (other - theta[0]).abs().max() > 0.1
    # Weight matching is a local search: the best of some orders.
    distances = []
    for seed in range(1 if method == "activations" else 10):
        found, _ = align(rows, theta[:1], other, empty, empty, x, seeds=[seed], method=method)
        distances.append((found - theta[:1]).abs().max().item())
    assert min(distances) == 0


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("case", NETWORKS)
def test_alignment_keeps_the_function_and_does_not_move_weights_apart(case: str, method: Any) -> None:
    rows, theta = made(case)
    x, empty = inputs_of(case, 40), theta.new_zeros(1, 0)
    found, _ = align(rows, theta[:1], theta[1:], empty, empty, x, seeds=[0], method=method)
    torch.testing.assert_close(rows.outputs(found, x), rows.outputs(theta[1:], x))
    assert not torch.equal(found, theta[1:])
    if method == "weights":
        assert (found - theta[0]).norm() < (theta[1] - theta[0]).norm()


def test_matching_of_heads_is_the_best_of_all_orders() -> None:
    """Of 2 heads of 3 channels: 2 · 6⁴ orders of queries and values together."""
    likenesses = [normal(6, 6, seed=seed) for seed in (1, 2)]
    found = _assign(likenesses, JointGroups(2, (1, 2)))

    def total(orders: Any) -> float:
        return sum(
            own[range(6), list(order)].sum().item() for own, order in zip(likenesses, orders, strict=True)
        )

    of_channels = list(itertools.permutations(range(3)))
    every = []
    for heads in itertools.permutations(range(2)):
        orders = [
            [heads[0] * 3 + c for c in first] + [heads[1] * 3 + c for c in last]
            for first in of_channels
            for last in of_channels
        ]
        every += [total(pair) for pair in itertools.product(orders, orders)]
    assert len(every) == 2 * 6**4
    assert total(found) == pytest.approx(max(every))


def test_weight_matching_of_one_attention_is_the_best_of_all_orders() -> None:
    """Only the first attention may move; the distance itself is minimised, not the likeness."""
    rows, theta = made("gpt", width=4, layers=1, heads=2)
    full = permutation_spec(rows.module, inputs_of("gpt"))
    look, carry = full.heads[0].groups
    only = {look, carry}
    axes = {
        name: tuple(axis if any(b.group in only for b in axis or ()) else None for axis in own)
        for name, own in full.axes.items()
    }
    spec = Spec(axes, {g: full.groups[g] for g in only}, {}, full.heads)
    found = match_weights(rows, spec, theta[0], theta[1], seed=0)

    def distance(orders: Permutations) -> float:
        return (moved(rows, spec, orders, theta[1]) - theta[0]).norm().item()

    every = []
    inner = list(itertools.product([[0, 1], [1, 0]], repeat=4))
    for heads in itertools.permutations(range(2)):
        for a, b, c, d in inner:
            one = torch.tensor([heads[0] * 2 + i for i in a] + [heads[1] * 2 + i for i in b])
            two = torch.tensor([heads[0] * 2 + i for i in c] + [heads[1] * 2 + i for i in d])
            every.append(distance({look: one, carry: two}))
    assert distance(found) == pytest.approx(min(every))
    assert min(every) < distance({g: torch.arange(4) for g in only})


def entering(module: nn.Module, layer: str, x: Tensor, *, leaving: bool = False) -> Tensor:
    """What goes into a layer, or comes out of it."""
    seen: list[Tensor] = []
    module.get_submodule(layer).register_forward_hook(
        lambda _layer, inputs, output: seen.append((output if leaving else inputs[0]).detach())
    )
    module(x)
    return seen[-1]


@pytest.mark.parametrize("memory", [2**23, 1])  # all at once; two sentences at a time
def test_correlations_are_over_the_tokens_that_exist(memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.models.rows.MEMORY", memory)
    rows, theta = made("transformer")
    x, empty = inputs_of("transformer", 20), theta.new_zeros(0)
    spec = permutation_spec(rows.module, x)
    found = correlations(rows, spec, (theta[0], theta[1]), (empty, empty), x)
    modules = [rows.to_module(t, empty) for t in theta]
    there = {"encoder": x[:, 0] != 0, "decoder": x[:, 1] != 0}
    assert not torch.equal(there["encoder"], there["decoder"])

    def literal(first: Tensor, second: Tensor) -> Tensor:
        return torch.corrcoef(torch.cat([first, second], 1).T)[: first.shape[1], first.shape[1] :]

    (hidden,) = spec.axes["encoder.1.perceptron.0.weight"][0] or ()
    values = [entering(m, "encoder.1.perceptron.2", x)[there["encoder"]] for m in modules]
    torch.testing.assert_close(found[hidden.group or 0], literal(*values).nan_to_num())

    look, carry = spec.heads[-1].groups  # of the last block's attention across
    assert (
        spec.axes["decoder.1.across.queries.weight"][0]
        == (spec.axes["decoder.1.across.keys_values.weight"][0] or ())[:1]
    )
    values = [entering(m, "decoder.1.across.project", x)[there["decoder"]] for m in modules]
    torch.testing.assert_close(found[carry], literal(*values))
    queries = [entering(m, "decoder.1.across.queries", x, leaving=True)[there["decoder"]] for m in modules]
    keys = [
        entering(m, "decoder.1.across.keys_values", x, leaving=True)[there["encoder"]][:, :8] for m in modules
    ]
    torch.testing.assert_close(found[look], literal(*queries) + literal(*keys))
    everywhere = [entering(m, "decoder.1.across.project", x).flatten(0, 1) for m in modules]
    assert not torch.allclose(found[carry], literal(*everywhere), atol=1e-3)


def test_positions_are_those_of_the_layers_own_sequence() -> None:
    rows, _ = made("transformer", 1)
    x = inputs_of("transformer")
    for layer, side in {
        "encoder.0.attention.project": 0,
        "encoder_norm": 0,
        "decoder.1.across.keys_values": 0,
        "decoder.1.across.queries": 1,
        "decoder.0.attention.queries_keys_values": 1,
        "decoder_norm": 1,
        "output": 1,
    }.items():
        assert torch.equal(positions(rows, layer, x), x[:, side] != 0)  # pyright: ignore[reportArgumentType]
    assert positions(made("vit", 1)[0], "2", inputs_of("vit")) is None
    assert bool(positions(made("gpt", 1)[0], "norm", inputs_of("gpt")).all())  # pyright: ignore[reportOptionalMemberAccess]


def sums(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Windows whose every character is the sum of the two before it."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.randint(1, WORDS, (count, LENGTH + 1), generator=generator)
    for place in range(2, LENGTH + 1):
        text[:, place] = 1 + (text[:, place - 1] + text[:, place - 2]) % (WORDS - 1)
    return text[:, :-1], text[:, 1:]


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_trained_models_are_nearer_once_aligned(method: Any) -> None:
    (x, y), (test_x, test_y) = sums(300, 0), sums(100, 1)
    data = Split(x, y, test_x, test_y, classes=WORDS)
    options = plugin(explorer.models, "gpt", "architecture").Options(width=32, layers=1, heads=2)
    build, rows = network("gpt", options, (LENGTH,), WORDS, task="language")
    theta, buffers = initial_rows(build, rows, [1, 2])
    trained = train(
        rows, theta, buffers, data,
        seeds=[1, 2], batch_size=32, steps=300, learning_rate=0.003, optimizer="adamw", history_points=2,
    )  # fmt: skip
    assert all(end["train_loss"] < 2 for end in trained.final)
    a, b, empty = trained.theta[:1], trained.theta[1:], trained.buffers[:1]
    aligned, _ = align(rows, a, b, empty, empty, x, seeds=[0], method=method)
    assert (aligned - a).norm() < 0.95 * (b - a).norm()
    plain, better = (
        barrier(profile_path(rows, straight(a, end), empty, data).train_loss).item() for end in (b, aligned)
    )
    if method == "activations":  # weights that are near need no line that is low
        assert 0 < better < 0.8 * plain
