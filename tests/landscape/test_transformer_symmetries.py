"""What may be permuted in Transformers: heads, their channels, hidden units and the residual stream."""

from __future__ import annotations

import pytest
import torch
from landscape_cases import normal
from symmetric_cases import NETWORKS, inputs_of, made, moved, shuffled
from torch import Tensor, nn

from explorer.landscape.alignment import Permutations, match_activations, match_weights
from explorer.landscape.permutations import permutation_spec
from explorer.models.rows import Rows, seeded
from explorer.models.symmetries import JointGroups, Spec, Symmetries


@pytest.mark.parametrize("case", NETWORKS)
def test_every_permutation_of_the_spec_leaves_the_function_unchanged(case: str) -> None:
    rows, theta = made(case)
    x = inputs_of(case)
    spec = permutation_spec(rows.module, x)
    for seed in range(3):
        other = moved(rows, spec, shuffled(spec, seed), theta[0])
        assert (other != theta[0]).double().mean() > 0.5
        torch.testing.assert_close(rows.outputs(other[None], x), rows.outputs(theta[:1], x))


@pytest.mark.parametrize("case", NETWORKS)
def test_each_group_is_moved_alone_and_heads_together(case: str) -> None:
    """No group leans on another: only heads of queries and of values must come in one order."""
    rows, theta = made(case)
    x = inputs_of(case)
    spec = permutation_spec(rows.module, x)
    whole, same = shuffled(spec), {g: torch.arange(size) for g, size in spec.groups.items()}
    for joint in spec.matched_groups():
        own = same | {group: whole[group] for group in joint.groups}
        other = moved(rows, spec, own, theta[0])
        assert not torch.equal(other, theta[0])
        torch.testing.assert_close(rows.outputs(other[None], x), rows.outputs(theta[:1], x))


def changed(rows: Rows, spec: Spec, found: Permutations, theta: Tensor, x: Tensor) -> bool:
    other = moved(rows, spec, found, theta[0])
    return not torch.allclose(rows.outputs(other[None], x), rows.outputs(theta[:1], x), atol=1e-6)


def test_what_is_no_symmetry_changes_the_function() -> None:
    """The negative controls: heads of the values alone, channels across heads, the stream's sinusoids."""
    rows, theta = made("transformer")
    x = inputs_of("transformer")
    spec = permutation_spec(rows.module, x)
    same = {g: torch.arange(size) for g, size in spec.groups.items()}
    look, carry = spec.heads[0].groups
    two_heads = torch.arange(8).roll(2)
    assert not changed(rows, spec, same | {look: two_heads, carry: two_heads}, theta, x)
    assert changed(rows, spec, same | {carry: two_heads}, theta, x)
    assert changed(rows, spec, same | {look: two_heads}, theta, x)
    across_heads = torch.arange(8).roll(1)
    assert changed(rows, spec, same | {look: across_heads, carry: across_heads}, theta, x)


def test_positions_that_stay_pin_the_stream() -> None:
    """Why that of `transformer` is left as it is: its sinusoids are no parameters."""
    rows, theta = made("gpt")
    x = inputs_of("gpt")
    spec = permutation_spec(rows.module, x)
    same = {g: torch.arange(size) for g, size in spec.groups.items()}
    (stream,) = spec.axes["position.weight"][1] or ()
    order = same | {stream.group or 0: torch.arange(8).roll(1)}
    assert not changed(rows, spec, order, theta, x)
    del spec.axes["position.weight"]
    assert changed(rows, spec, order, theta, x)


def test_groups_are_those_of_the_architecture() -> None:
    specs = {case: permutation_spec(made(case, 1)[0].module, inputs_of(case)) for case in NETWORKS}
    assert len(specs["transformer"].heads) == 2 + 2 + 2  # within encoder and decoder, and across
    assert len(specs["transformer"].groups) == 2 * 6 + 4  # no stream: its positions are sinusoids
    assert len(specs["gpt"].groups) == 1 + 2 * 2 + 2
    assert len(specs["vit"].groups) == 1 + 2 * 2 + 2
    assert list(specs["pinn"].groups.values()) == [8, 8]
    for case, spec in specs.items():
        module = made(case, 1)[0].module
        names = {name for name, _ in module.named_parameters()}
        left = names - set(spec.axes)
        if "transformer" in case:
            assert all("output" in n or "source" in n or "target" in n or "coder_norm" in n for n in left)
        else:
            assert not left


class Declared(nn.Module):
    """A user's attention, whose symmetries the module says itself."""

    def __init__(self, said: Spec | None = None) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.output = nn.Linear(8, 3)
        if said is not None:
            self.symmetries = lambda: said

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.attention(x, x, x, need_weights=False)[0]).mean(1)


def said(**sizes: int) -> Spec:
    """Of `Declared`: PyTorch's attention holds queries, keys and values as this package's does."""
    found = Symmetries()
    look, carry = found.heads(sizes.get("width", 8), sizes.get("heads", 2))
    inner = found.group(8)
    found.axes |= {
        "attention.in_proj_weight": (look + look + carry, None),
        "attention.in_proj_bias": (look + look + carry,),
        "attention.out_proj.weight": (inner, carry),
        "attention.out_proj.bias": (inner,),
    }
    found.linear("output", inner, None)
    return found.spec()


def test_attention_of_others_is_refused_unless_the_network_says_its_symmetries() -> None:
    x = normal(6, 5, 8, seed=0)
    with pytest.raises(ValueError, match=r"how attention .*MultiheadAttention.*a method symmetries\(\)"):
        permutation_spec(Declared(), x)
    with seeded(0):
        rows = Rows(Declared(said()).double())
    nn.init.normal_(rows.module.attention.in_proj_bias)  # pyright: ignore
    theta, spec = rows.row()[0], permutation_spec(rows.module, x)
    other = moved(rows, spec, shuffled(spec), theta)
    assert not torch.equal(other, theta)
    torch.testing.assert_close(rows.outputs(other[None], x), rows.outputs(theta[None], x))
    found = match_weights(rows, spec, theta, other, seed=0)
    assert torch.equal(moved(rows, spec, found, other), theta)
    with pytest.raises(ValueError, match="have the activations of group 1"):
        match_activations(rows, spec, theta, other, theta[:0], theta[:0], x)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (said(width=6), r"'attention.in_proj_weight' has axes of \[18, None\]; its shape is \(24, 8\)"),
        (said(heads=3), r"3 heads in groups of \[8, 8\] channels"),
        (Spec({}, {1: 4}, {}, (JointGroups(2, (1, 2)),)), r"2 heads in groups of \[4, 0\] channels"),
        (Spec(said().axes, {1: 8, 2: 8}), "has 8 channels of group 3 on an axis; the group has None"),
    ],
)
def test_symmetries_that_do_not_fit_are_refused(spec: Spec, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        permutation_spec(Declared(spec), normal(6, 5, 8, seed=0))
