from __future__ import annotations

import importlib
import itertools

import pytest
import torch
from in_process import train
from landscape_cases import cnn_module, labels, mlp_module, normal
from torch import Tensor, nn
from torch.nn import functional

from explorer.landscape import rows_of
from explorer.landscape.alignment import align, match_activations, match_weights, permute
from explorer.landscape.connectivity import barrier, profile_path
from explorer.landscape.paths import straight
from explorer.landscape.permutations import permutation_spec
from explorer.models import cnn, mlp
from explorer.models.base import network as build_network
from explorer.models.rows import Rows, initial_rows, seeded
from explorer.models.symmetries import Segment, Spec
from explorer.train.loop import Split


class Block(nn.Module):
    """A residual block with a projection where the channels change, as in ResNet18."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.project = nn.Conv2d(inputs, outputs, 1, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = functional.leaky_relu(self.norm(self.first(x)))  # ReLU units may be dead and so all alike
        return functional.leaky_relu(self.second(h) + self.project(x))


class Dense(nn.Module):
    """A block whose output is its input and its own features side by side, as in DenseNet."""

    def __init__(self, inputs: int, growth: int):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, growth, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(torch.relu(self.norm(x)))], 1)


def residual() -> nn.Module:
    body = [nn.Conv2d(1, 3, 3, padding=1), nn.LeakyReLU(), Block(3, 3), Block(3, 5), Block(5, 5)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))


def dense() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), Dense(3, 2), Dense(5, 2), nn.Flatten(), nn.Linear(7 * 36, 3)
    )


def convolutional() -> nn.Module:
    """Flattened with its positions, and a depthwise convolution."""
    layers = [
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=4),
        nn.Flatten(),
        nn.Linear(16, 6),
        nn.GELU(),
    ]
    return nn.Sequential(*layers, nn.Linear(6, 3))


def shared() -> nn.Module:
    """A layer that is used twice, so that its inputs and outputs are permuted alike."""
    twice = nn.Linear(6, 6)
    layers = [nn.Linear(4, 6), nn.LeakyReLU(), twice, nn.LeakyReLU(), twice, nn.LeakyReLU()]
    return nn.Sequential(*layers, nn.Linear(6, 3))


def of_this_package(name: str, **options: object) -> nn.Module:
    module = importlib.import_module(f"explorer.models.{name}")
    return module.build(module.Options(**options), (1, 6, 6), 3)


NETWORKS = {
    "mlp": lambda: mlp_module(0, depth=2, width=12),
    "cnn": lambda: cnn_module(0, width=3),
    "signal": lambda: cnn.build(cnn.Options(width=2), (12,), 3),
    "residual": residual,
    "dense": dense,
    "convolutional": convolutional,
    "shared": shared,
    "resnet18": lambda: of_this_package("resnet18", width=2),
    "resnet50": lambda: of_this_package("resnet50", width=1),
    "densenet40": lambda: of_this_package("densenet40", width=2),
}


SMALL = ["mlp", "cnn", "signal", "residual", "dense", "convolutional", "shared"]  # the others have dead units


def made(name: str, seed: int) -> nn.Module:
    """With statistics and affine parameters of BatchNorm that are not the initial ones."""
    with seeded(seed):
        module = NETWORKS[name]().double()
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                for piece in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    nn.init.uniform_(piece, 0.5, 1.5)
    return module.eval()


def inputs_of(name: str, count: int = 8) -> Tensor:
    shape = {"mlp": (4,), "shared": (4,), "signal": (12,)}.get(name, (1, 6, 6))
    return normal(count, *shape, seed=9)


def shuffled(groups: dict[int, int]) -> dict[int, Tensor]:
    """No unit stays at its place."""
    return {
        group: torch.roll(torch.arange(size), 1 + group % max(1, size - 1)) for group, size in groups.items()
    }


@pytest.mark.parametrize("name", NETWORKS)
def test_every_permutation_of_the_spec_leaves_the_function_unchanged(name: str) -> None:
    module = made(name, 1)
    network, theta, buffers = rows_of(module)
    x = inputs_of(name)
    spec = permutation_spec(module, x)
    moved, stats = permute(network, spec, shuffled(spec.groups), theta[0], buffers[0])
    assert not torch.equal(moved, theta[0])
    torch.testing.assert_close(
        network.outputs(moved[None], x, stats[None]), network.outputs(theta, x, buffers)
    )


def test_permuting_one_group_only_where_it_is_used_changes_the_function() -> None:
    """The negative control: the spec without the second layer's input axis is wrong."""
    module = made("mlp", 1)
    network, theta, buffers = rows_of(module)
    spec, x = permutation_spec(module, inputs_of("mlp")), inputs_of("mlp")
    axis = spec.axes.pop("3.weight")
    assert axis[1] == spec.axes["1.weight"][0]
    moved, stats = permute(network, spec, shuffled(spec.groups), theta[0], buffers[0])
    assert not torch.allclose(
        network.outputs(moved[None], x, stats[None]), network.outputs(theta, x, buffers)
    )


def test_groups_are_those_of_the_architecture() -> None:
    sizes = {n: sorted(permutation_spec(made(n, 0), inputs_of(n)).groups.values()) for n in NETWORKS}
    # A stem or projection a stage, and a hidden convolution in each of the two blocks of a stage.
    assert sizes["resnet18"] == sorted([2, 2, 2, 4, 4, 4, 8, 8, 8, 16, 16, 16])
    assert sizes["mlp"] == [12, 12]
    assert sizes["cnn"] == [3, 6, 12]
    # A stem of 3 that the first block's sum ties to its second convolution, and so for the 5 channels.
    assert sizes["residual"] == [3, 3, 5, 5, 5]
    assert sizes["dense"] == [2, 2, 3]
    assert sizes["convolutional"] == [4, 6]
    assert sizes["shared"] == [6]


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize("name", SMALL)
def test_a_permuted_copy_is_found_again(name: str, method: str) -> None:
    module = made(name, 1)
    network, theta, buffers = rows_of(module)
    x = inputs_of(name, 40)
    spec = permutation_spec(module, x)
    moved, stats = permute(network, spec, shuffled(spec.groups), theta[0], buffers[0])
    found = [
        align(network, theta, moved[None], buffers, stats[None], x, seeds=[seed], method=method)[0]
        for seed in range(1 if method == "activations" else 20)
    ]
    distances = [(f - theta).abs().max().item() for f in found]
    # Weight matching is a local search: the best of some orders.
    assert min(distances) < 1e-12


def test_weight_matching_of_one_layer_is_the_best_of_all_orders() -> None:
    network, theta, _ = rows_of(mlp_module(1), mlp_module(2))
    spec = permutation_spec(network.module, inputs_of("mlp"))
    (group,) = spec.groups
    found = match_weights(network, spec, theta[0], theta[1], seed=0)
    empty = theta.new_zeros(0)

    def distance(order: Tensor) -> float:
        return (permute(network, spec, {group: order}, theta[1], empty)[0] - theta[0]).norm().item()

    every = [distance(torch.tensor(order)) for order in itertools.permutations(range(5))]
    assert distance(found[group]) == pytest.approx(min(every))
    assert min(every) < distance(torch.arange(5))


def test_alignment_never_moves_the_models_apart_and_keeps_the_function() -> None:
    network, theta, buffers = rows_of(*(made("residual", seed) for seed in range(4)))
    x = inputs_of("residual")
    moved, stats = align(network, theta[:2], theta[2:], buffers[:2], buffers[2:], x, seeds=[0, 1])
    assert ((moved - theta[:2]).norm(dim=1) < (theta[2:] - theta[:2]).norm(dim=1)).all()
    torch.testing.assert_close(network.outputs(moved, x, stats), network.outputs(theta[2:], x, buffers[2:]))
    alone, _ = align(network, theta[1:2], theta[3:], buffers[1:2], buffers[3:], x, seeds=[1])
    assert torch.equal(alone, moved[1:])


def blobs(inputs: int, *, classes: int = 3, features: int = 8) -> Split:
    centres = 2 * normal(classes, features, seed=0)
    y = labels(inputs, classes, seed=1)
    x = (centres[y] + normal(inputs, features, seed=2)).float()
    half = inputs // 2
    return Split(x[:half], y[:half], x[half:], y[half:], classes)


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_the_aligned_linear_barrier_of_wide_networks_is_lower(method: str) -> None:
    data = blobs(400)
    build, network = build_network("mlp", mlp.Options(width=64, activation="relu"), (8,), 3)
    theta, buffers = initial_rows(build, network, [1, 2])
    trained = train(network, theta, buffers, data, seeds=[1, 2], batch_size=20, steps=600, learning_rate=0.1)
    a, b, stats = trained.theta[:1], trained.theta[1:], trained.buffers[:1]
    aligned, _ = align(network, a, b, stats, stats, data.x_train, seeds=[0], method=method)
    plain, better = (
        barrier(profile_path(network, straight(a, end), stats, data).train_loss).item()
        for end in (b, aligned)
    )
    assert better < 0.5 * plain


def test_units_that_are_alike_in_both_models_are_matched_by_their_answers() -> None:
    network, theta, buffers = rows_of(mlp_module(1), mlp_module(2))
    spec, x = permutation_spec(network.module, inputs_of("mlp")), inputs_of("mlp", 50)
    (group,) = spec.groups
    found = match_activations(network, spec, theta[0], theta[1], buffers[0], buffers[1], x)[group]
    a, b = (network.to_module(t, buffers[0])[:3](x).detach() for t in theta)
    likeness = torch.corrcoef(torch.cat([a, b], 1).T)[:5, 5:]
    every = [likeness[range(5), order].sum().item() for order in map(list, itertools.permutations(range(5)))]
    assert likeness[range(5), found].sum().item() == pytest.approx(max(every))


def test_an_unknown_layer_is_named() -> None:
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.PixelShuffle(2), nn.Flatten(), nn.Linear(64, 3)).double()
    with pytest.raises(ValueError, match="PixelShuffle"):
        permutation_spec(module, inputs_of("cnn"))


def test_a_spec_of_ones_own_needs_no_tracing_for_weights() -> None:
    network, theta, buffers = rows_of(mlp_module(1), mlp_module(2))
    x, unit = inputs_of("mlp"), (Segment(1, 5),)
    axes = {"1.weight": (unit, None), "1.bias": (unit,), "3.weight": (None, unit)}
    own, empty = Spec(axes, {1: 5}), buffers[:1]
    found, _ = align(network, theta[:1], theta[1:], empty, empty, x, seeds=[0], spec=own)
    derived, _ = align(network, theta[:1], theta[1:], empty, empty, x, seeds=[0])
    assert torch.equal(found, derived)
    with pytest.raises(ValueError, match="have the activations of group 1"):
        align(network, theta[:1], theta[1:], empty, empty, x, seeds=[0], spec=own, method="activations")


def test_alignment_leaves_the_network_as_it_is() -> None:
    module = made("residual", 1).train()
    network = Rows(module)
    state, before = (
        {k: v.clone() for k, v in network.module.state_dict().items()},
        torch.random.get_rng_state(),
    )
    theta, buffers = (t[None] for t in network.row())
    align(
        network, theta, theta + 0.1, buffers, buffers, inputs_of("residual"), seeds=[0], method="activations"
    )
    assert all(torch.equal(v, state[k]) for k, v in network.module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), before)
