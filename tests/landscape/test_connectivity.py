from __future__ import annotations

import copy
import math

import pytest
import torch
from landscape_cases import labels, mlp_module, normal, stacked_mlp, two_cnns, two_mlps
from torch import Tensor, nn

from explorer.landscape import rows_of
from explorer.landscape.connectivity import (
    Converging,
    Fit,
    Profile,
    barrier,
    curve_rate,
    dip,
    fit_curves,
    fit_paths,
    fit_to_convergence,
    mode_connectivity,
    profile,
    profile_path,
)
from explorer.landscape.paths import Path, PathKind, straight
from explorer.models.rows import Rows
from explorer.tasks import Classification
from explorer.train.loop import Split, evaluate


class Ring(nn.Module):
    """Two parameters (u, v); the logit is sharp·(½ − (r² − 1)²), r² = u² + v²: low loss on the unit circle.

    Between (−1, 0) and (1, 0) the straight line runs through the origin, where the answer is wrong.
    """

    def __init__(self, u: float, v: float, sharp: float = 8.0):
        super().__init__()
        self.place = nn.Parameter(torch.tensor([u, v], dtype=torch.float64))
        self.sharp = sharp

    def forward(self, x: Tensor) -> Tensor:
        logit = self.sharp * (0.5 - (self.place.square().sum() - 1).square())
        return torch.stack([0 * x[:, 0], logit + 0 * x[:, 0]], 1)


def ring_loss(radius: float, sharp: float = 8.0) -> float:
    return math.log1p(math.exp(-sharp * (0.5 - (radius**2 - 1) ** 2)))


def one_class(inputs: int = 4) -> Split:
    x, y = torch.zeros(inputs, 1, dtype=torch.float64), torch.ones(inputs, dtype=torch.long)
    return Split(x, y, x, y, 2)


def split(inputs: int = 40, *, shape: tuple[int, ...] = (4,), seed: int = 0) -> Split:
    return Split(
        normal(inputs, *shape, seed=seed),
        labels(inputs, 3, seed=seed),
        normal(inputs, *shape, seed=seed + 1),
        labels(inputs, 3, seed=seed + 1),
        3,
    )


def test_mode_connectivity_is_the_formula_of_the_paper() -> None:
    errors = [[2.0, 5, 9, 4, 4], [6.0, 1, 2, 5, 8], [3.0, 3, 3, 3, 3], [0.0, 2, 1, -2.5, 0]]
    expected = []
    for e in errors:
        m = (e[0] + e[-1]) / 2
        star = max(range(len(e)), key=lambda i: abs(e[i] - m))
        expected.append(m - e[star])
    assert mode_connectivity(torch.tensor(errors)).tolist() == expected
    assert expected == [-6, 6, 0, 2.5]


def test_barrier_and_dip_are_rise_and_fall_around_the_mean_of_the_ends() -> None:
    errors = torch.tensor([[2.0, 5, 9, 1, 4], [6.0, 1, 2, 5, 8], [1.0, 1, 1, 1, 1]])
    assert barrier(errors).tolist() == [6, 1, 0]
    assert dip(errors).tolist() == [2, 6, 0]
    assert barrier(errors.flip(1)).tolist() == barrier(errors).tolist()


def test_curve_rate_is_flat_then_linear_then_flat() -> None:
    assert [curve_rate(i, 100) for i in (0, 50)] == [1, 1]
    assert curve_rate(70, 100) == pytest.approx((1 + 0.01) / 2)
    assert [curve_rate(i, 100) for i in (90, 99)] == pytest.approx([0.01, 0.01])


@pytest.mark.parametrize("kind", ["bezier", "chain"])
@pytest.mark.parametrize("bends", [0, 1, 3])
def test_paths_meet_their_ends_and_evenly_spaced_bends_make_the_straight_line(
    kind: PathKind, bends: int
) -> None:
    points = normal(2, bends + 2, 5, seed=0)
    path = Path(points, kind)
    torch.testing.assert_close(path.at(0.0), points[:, 0])
    torch.testing.assert_close(path.at(1.0), points[:, -1])
    share = torch.linspace(0, 1, bends + 2, dtype=torch.float64)[None, :, None]
    even = Path(points[:, :1] + share * (points[:, -1:] - points[:, :1]), kind)
    torch.testing.assert_close(even.at(0.3), straight(points[:, 0], points[:, -1]).at(0.3))


def test_the_quadratic_bezier_is_the_formula_and_a_chain_passes_through_its_bends() -> None:
    a, c, b = normal(3, 2, 5, seed=0)
    t = 0.3
    expected = (1 - t) ** 2 * a + 2 * t * (1 - t) * c + t**2 * b
    torch.testing.assert_close(Path(torch.stack([a, c, b], 1)).at(t), expected)
    chain = Path(torch.stack([a, c, b], 1), "chain")
    torch.testing.assert_close(chain.at(0.5), c)
    torch.testing.assert_close(chain.at(0.25), (a + c) / 2)


def test_a_bezier_of_higher_degree_is_de_casteljaus() -> None:
    points, t = normal(1, 5, 3, seed=1), 0.37
    levels = points[0]
    while len(levels) > 1:
        levels = (1 - t) * levels[:-1] + t * levels[1:]
    torch.testing.assert_close(Path(points).at(t), levels)


def test_a_landscape_with_a_known_barrier() -> None:
    network, theta, buffers = rows_of(Ring(-1, 0.0), Ring(1, 0.0))
    a, b = theta[:1], theta[1:]
    straight = profile(network, a, (a + b) / 2, b, buffers[:1], one_class(), points=5)
    radii = [1, 0.5, 0, 0.5, 1]
    torch.testing.assert_close(
        straight.train_loss[0], torch.tensor([ring_loss(r) for r in radii], dtype=torch.float64)
    )
    assert straight.train_error_percent[0].tolist() == [0, 100, 100, 100, 0]
    assert mode_connectivity(straight.train_error_percent).item() == -100
    assert barrier(straight.train_loss).item() == pytest.approx(ring_loss(0) - ring_loss(1))


def test_the_fitted_curve_goes_round_the_barrier() -> None:
    # Off the axis, so that the gradient points away from the ridge.
    network, theta, buffers = rows_of(Ring(-1, 0.02), Ring(1, 0.02))
    a, b, data = theta[:1], theta[1:], one_class()
    control = fit_curves(
        network,
        a,
        b,
        buffers[:1],
        data.x_train,
        data.y_train,
        seeds=[0],
        steps=600,
        batch_size=4,
        learning_rate=0.02,
    )
    curved = profile(network, a, control, b, buffers[:1], data, points=21)
    assert mode_connectivity(curved.train_error_percent).item() == 0
    assert barrier(curved.train_loss).item() < 0.05 * (ring_loss(0) - ring_loss(1))


def plain_curve(
    module: nn.Module,
    a: nn.Module,
    b: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    seed: int,
    steps: int,
    batch: int,
    rate: float,
    momentum: float,
    decay: float,
) -> list[Tensor]:
    """One curve fitted by a plain loop over parameter tensors with torch's own optimiser for the momentum."""
    ends = list(zip(a.parameters(), b.parameters(), strict=True))
    control = [nn.Parameter((p + q).detach() / 2) for p, q in ends]
    optimiser = torch.optim.SGD(control, lr=rate, momentum=momentum)
    orders = torch.Generator().manual_seed(seed)
    times = torch.rand(steps, generator=torch.Generator().manual_seed(seed ^ 1)).to(x)
    names, queue = [n for n, _ in module.named_parameters()], torch.zeros(0, dtype=torch.long)
    for step in range(steps):
        if len(queue) < batch:
            queue = torch.randperm(len(x), generator=orders)[: len(x) // batch * batch]
        index, queue = queue[:batch], queue[batch:]
        t = times[step]
        point = [
            (1 - t) ** 2 * p.detach() + 2 * t * (1 - t) * c + t**2 * q.detach()
            for (p, q), c in zip(ends, control, strict=True)
        ]
        state = dict(zip(names, point, strict=True)) | dict(module.named_buffers())
        loss = nn.functional.cross_entropy(torch.func.functional_call(module, state, (x[index],)), y[index])
        penalty = sum((decay / 2) * p.square().sum() for p in point)
        optimiser.param_groups[0]["lr"] = rate * curve_rate(step, steps)
        optimiser.zero_grad()
        (loss + penalty).backward()
        optimiser.step()
    return control


@pytest.mark.parametrize("cells", [two_mlps, two_cnns])
def test_fit_curves_is_the_plain_loop(cells) -> None:
    network, theta, buffers = cells()
    data = split(shape=(4,) if cells is two_mlps else (1, 6, 6))
    settings = {"steps": 30, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.8, "weight_decay": 0.01}
    control = fit_curves(
        network, theta[:1], theta[1:], buffers[:1], data.x_train, data.y_train, seeds=[5], **settings
    )
    a, b = (network.to_module(theta[i], buffers[i]) for i in range(2))
    expected = plain_curve(
        copy.deepcopy(a).train(),
        a,
        b,
        data.x_train,
        data.y_train,
        seed=5,
        steps=30,
        batch=8,
        rate=0.05,
        momentum=0.8,
        decay=0.01,
    )
    torch.testing.assert_close(control[0], torch.cat([c.detach().flatten() for c in expected]))


def test_curves_do_not_depend_on_their_neighbours_nor_on_how_rows_are_run() -> None:
    network, theta, buffers = rows_of(*(mlp_module(i) for i in range(4)))
    data = split()
    fits = {}
    for name, rows in {
        "loop": network,
        "vmap": Rows(mlp_module(0), execution="vmap"),
        "stacked": stacked_mlp(theta),
    }.items():
        fits[name] = fit_curves(
            rows,
            theta[:2],
            theta[2:],
            buffers[:2],
            data.x_train,
            data.y_train,
            seeds=[3, 4],
            steps=20,
            batch_size=16,
        )
    torch.testing.assert_close(fits["vmap"], fits["loop"])
    torch.testing.assert_close(fits["stacked"], fits["loop"])
    alone = fit_curves(
        network,
        theta[1:2],
        theta[3:],
        buffers[:1],
        data.x_train,
        data.y_train,
        seeds=[4],
        steps=20,
        batch_size=16,
    )
    torch.testing.assert_close(fits["loop"][1:], alone)
    assert not torch.allclose(fits["loop"][:1], alone)


def test_a_profile_re_estimates_batchnorm_at_every_point() -> None:
    network, theta, buffers = two_cnns()
    data = split(shape=(1, 6, 6))
    straight = profile(
        network, theta[:1], theta.mean(0, keepdim=True), theta[1:], buffers[:1], data, points=3
    )
    for column, place in enumerate((0.0, 0.5, 1.0)):
        module = network.to_module((1 - place) * theta[0] + place * theta[1], buffers[0])
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.reset_running_stats()
                layer.momentum = None  # a cumulative average
        module.train()
        with torch.no_grad():
            module(data.x_train)
            loss = nn.functional.cross_entropy(module.eval()(data.x_train), data.y_train)
            wrong = (module(data.x_test).argmax(1) != data.y_test).double().mean() * 100
        torch.testing.assert_close(straight.train_loss[0, column], loss)
        torch.testing.assert_close(straight.test_error_percent[0, column], wrong)


def test_neither_weights_nor_buffers_nor_the_random_state_change() -> None:
    network, theta, buffers = two_cnns()
    data = split(shape=(1, 6, 6))
    before = theta.clone(), buffers.clone(), torch.random.get_rng_state()
    constants = copy.deepcopy(network.module.state_dict())
    control = fit_curves(
        network,
        theta[:1],
        theta[1:],
        buffers[:1],
        data.x_train,
        data.y_train,
        seeds=[0],
        steps=3,
        batch_size=8,
    )
    profile(network, theta[:1], control, theta[1:], buffers[:1], data, points=3)
    assert torch.equal(theta, before[0])
    assert torch.equal(buffers, before[1])
    assert torch.equal(torch.random.get_rng_state(), before[2])
    for name, value in network.module.state_dict().items():
        assert torch.equal(value, constants[name]) or name.endswith("num_batches_tracked"), name
    assert all(norm.momentum == 0.1 for norm in network.norms)


def test_permuting_hidden_units_keeps_the_ends_but_not_the_straight_line() -> None:
    network, theta, buffers = two_mlps()
    data, order = split(), torch.tensor([4, 2, 0, 1, 3])
    module = network.to_module(theta[1], buffers[1])
    first, last = module[1], module[3]
    with torch.no_grad():
        first.weight.copy_(first.weight[order])
        first.bias.copy_(first.bias[order])
        last.weight.copy_(last.weight[:, order])
    permuted = network.row(module)[0][None]
    loss = Classification().loss(network(permuted, data.x_train[None]), data.y_train[None])
    torch.testing.assert_close(
        loss, Classification().loss(network(theta[1:], data.x_train[None]), data.y_train[None])
    )
    own = evaluate(network, (theta[:1] + theta[1:]) / 2, None, data.x_train, data.y_train)[0]
    moved = evaluate(network, (theta[:1] + permuted) / 2, None, data.x_train, data.y_train)[0]
    assert (own - moved).abs().item() > 1e-3


def rings(fit_options: dict) -> tuple[Fit, Profile]:
    network, theta, buffers = rows_of(Ring(-1, 0.02), Ring(1, 0.02))
    data = one_class()
    fit = fit_paths(
        network,
        theta[:1],
        theta[1:],
        buffers[:1],
        data.x_train,
        data.y_train,
        seeds=[0],
        batch_size=4,
        **{"steps": 600, "learning_rate": 0.02, **fit_options},
    )
    return fit, profile_path(network, fit.path, buffers[:1], data, points=21)


@pytest.mark.parametrize("kind", ["bezier", "chain"])
@pytest.mark.parametrize("bends", [2, 3])
def test_paths_with_more_bends_go_round_the_barrier_too(kind: PathKind, bends: int) -> None:
    fit, curved = rings({"kind": kind, "bends": bends, "learning_rate": 0.005})
    assert fit.path.points.shape == (1, bends + 2, 2)
    assert barrier(curved.train_loss).item() < 0.2 * (ring_loss(0) - ring_loss(1))


def test_a_fit_starts_where_it_is_told_to() -> None:
    below = torch.tensor([[[0.0, -1.5]]], dtype=torch.float64)
    (down, curved), (up, _) = (rings({"start": s, "learning_rate": 0.005}) for s in (below, -below))
    assert down.path.points[0, 1, 1] < -1
    assert up.path.points[0, 1, 1] > 1
    assert mode_connectivity(curved.train_error_percent).item() == 0
    with pytest.raises(ValueError, match=r"start has the shape \(1, 1, 2\)"):
        rings({"start": below, "bends": 2})


def converging(pairs: int = 1, **options) -> Converging:
    network, theta, buffers = rows_of(Ring(-1, 0.02), Ring(1, 0.02))
    a, b = (theta[i : i + 1].repeat(pairs, 1) for i in (0, 1))
    fitted = {"batch_size": 4, "learning_rate": 0.02, **options}
    return fit_to_convergence(
        network, a, b, buffers[:1].repeat(pairs, 1), one_class(), seeds=range(0, 10 * pairs, 10), **fitted
    )


def test_a_path_that_twice_the_steps_would_change_has_not_converged() -> None:
    assert not converging(steps=40, learning_rate=0.001).converged.item()
    assert converging(steps=3000).converged.item()
    assert not converging(steps=600, learning_rate=10.0).converged.item()  # it diverges


def test_a_path_that_hardly_moves_behind_a_barrier_has_not_converged() -> None:
    slow = converging(steps=400, learning_rate=1e-5)
    assert barrier(slow.curve.train_loss).item() > 0.5
    assert (barrier(slow.half_loss) - barrier(slow.curve.train_loss)).item() < 0.02  # as after convergence
    assert not slow.converged.item()


def test_steps_are_doubled_until_the_path_has_converged_or_the_limit_is_reached() -> None:
    long = converging(steps=40, at_most=10_000, learning_rate=0.001)
    assert long.converged.item()
    assert 40 < long.steps.item() < 10_000
    network, _, buffers = rows_of(Ring(-1, 0.02), Ring(1, 0.02))
    again = profile_path(network, long.path, buffers[:1], one_class())
    assert all(map(torch.equal, long.curve.columns, again.columns))
    short = converging(steps=40, at_most=159, learning_rate=0.001)
    assert not short.converged.item()
    assert short.steps.item() == 80
    assert converging(steps=200, learning_rate=0.0, at_most=400).steps.item() == 200  # it cannot change


def test_the_doubled_steps_of_a_path_do_not_depend_on_other_paths() -> None:
    alone, two = (
        converging(pairs, steps=40, at_most=5000, learning_rate=0.001, optimizer="adam") for pairs in (1, 2)
    )
    assert torch.equal(alone.path.points[0], two.path.points[0])
    assert alone.steps[0] == two.steps[0]


def test_adam_is_pytorchs_at_evenly_spread_positions() -> None:
    network, theta, buffers = rows_of(Ring(-1, 0.02), Ring(1, 0.02))
    x, y = one_class().x_train, one_class().y_train
    fit = fit_paths(
        network, theta[:1], theta[1:], buffers[:1], x, y, seeds=[0], steps=50, learning_rate=0.02,
        optimizer="adam",
    )  # fmt: skip
    bend = theta.mean(0).clone().requires_grad_()
    adam = torch.optim.Adam([bend], betas=(0.9, 0.99))
    t = torch.rand(1, generator=torch.Generator().manual_seed(1)).double()
    for step in range(50):
        adam.param_groups[0]["lr"] = 0.02 * curve_rate(step, 50)
        adam.zero_grad()
        point = (1 - t) ** 2 * theta[:1] + 2 * t * (1 - t) * bend + t**2 * theta[1:]
        Classification().loss(network(point, x[None], buffers[:1]), y[None]).sum().backward()
        adam.step()
        t = (t + (5**0.5 - 1) / 2) % 1
    torch.testing.assert_close(fit.path.points[0, 1], bend.detach(), atol=1e-4, rtol=1e-4)


def test_a_path_that_diverged_shows_as_a_barrier_between_intact_ends() -> None:
    _, curved = rings({"learning_rate": 10.0})
    assert curved.train_error_percent[0, [0, 1, 10, -1]].tolist() == [0, 100, 100, 0]
    assert mode_connectivity(curved.train_error_percent).item() == -100
    assert torch.isnan(curved.train_loss[0, 10])


def test_a_module_that_draws_random_numbers_leaves_the_global_state_alone() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)).double()
    network, theta, buffers = rows_of(module, copy.deepcopy(module))
    data, before = split(), torch.random.get_rng_state()
    options = {"seeds": [0], "steps": 5, "batch_size": 8}
    first, second = (
        fit_curves(network, theta[:1], theta[1:], buffers[:1], data.x_train, data.y_train, **options)
        for _ in range(2)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first, second)


def test_a_path_through_dropout_does_not_depend_on_its_neighbours() -> None:
    modules = [
        nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)) for _ in range(3)
    ]
    network, theta, buffers = rows_of(*(module.double() for module in modules))
    data = split()

    def fitted(first: list[int], second: list[int], seeds: list[int]) -> Tensor:
        ends = theta[first], theta[second], buffers[first]
        return fit_curves(network, *ends, data.x_train, data.y_train, seeds=seeds, steps=5, batch_size=8)

    assert torch.equal(fitted([0, 0], [1, 2], [5, 6])[1:], fitted([0], [2], [6]))
    assert not torch.equal(fitted([0], [2], [6]), fitted([0], [2], [7]))


def test_statistics_are_estimated_without_dropout() -> None:
    def module(share: float) -> nn.Module:
        layers = nn.Flatten(), nn.Linear(4, 6), nn.Dropout(share), nn.BatchNorm1d(6), nn.Linear(6, 3)
        return nn.Sequential(*layers).double()

    network, theta, buffers = rows_of(module(0.5))
    plain, _, _ = rows_of(module(0.0))
    x, before = split().x_train, torch.random.get_rng_state()
    estimated = network.estimate_buffers(theta, buffers, x)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(estimated, plain.estimate_buffers(theta, buffers, x))
    assert not torch.equal(estimated, buffers)
