"""Rows: one function of a matrix, whichever way it is carried out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from explorer.models import cnn, memory, mlp, rows
from explorer.models.rows import Rows, initial_rows, seeded

SHAPE, CLASSES, BATCH = (2, 4, 4), 3, 6


def mlp_module() -> nn.Module:
    return mlp.build(mlp.Options(width=5, depth=2), SHAPE, CLASSES).double()


def cnn_module() -> nn.Module:
    return cnn.build(cnn.Options(width=3), SHAPE, CLASSES).double()


class Tied(nn.Module):
    """One matrix used twice, a scalar parameter and a constant buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(32, 32, bias=False)
        self.second = nn.Linear(32, 32, bias=False)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("kept", torch.arange(3))
        self.last = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.scale * self.second(torch.tanh(self.first(x.flatten(1))))).index_select(
            1, self.kept
        )


def tied_module() -> nn.Module:
    return Tied().double()


BUILDERS = {"mlp": mlp_module, "cnn": cnn_module, "tied": tied_module}
WAYS = [("mlp", "stacked"), *((name, way) for name in BUILDERS for way in ("vmap", "loop"))]


def made(name: str, way: str, count: int = 3) -> tuple[Rows, Tensor, Tensor, Tensor, list[nn.Module]]:
    """Rows of random models (so that no default value hides a mistake), inputs, and the plain modules."""
    build = BUILDERS[name]
    forward = mlp.stacked_forward(mlp.Options(width=5, depth=2)) if way == "stacked" else None
    network = Rows(build(), forward, way)  # type: ignore[arg-type]
    modules = []
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        module = build()
        with torch.no_grad():
            for value in [*module.parameters(), *module.buffers()]:
                if value.is_floating_point():
                    value.copy_(0.5 + torch.rand(value.shape, generator=generator, dtype=torch.float64))
        modules.append(module)
    theta, buffers = (torch.stack(part) for part in zip(*(network.row(m) for m in modules), strict=True))
    x = torch.randn(count, BATCH, *SHAPE, generator=generator, dtype=torch.float64)
    return network, theta, buffers, x, modules


@pytest.mark.parametrize(("name", "way"), WAYS)
@pytest.mark.parametrize("training", [False, True])
def test_rows_are_the_plain_modules(name: str, way: str, training: bool) -> None:
    network, theta, buffers, x, modules = made(name, way)
    logits = network(theta, x, buffers, training=training)
    expected = torch.stack([m.train(training)(x[i]) for i, m in enumerate(modules)])
    torch.testing.assert_close(logits, expected)
    assert not torch.allclose(logits[0], logits[1])


@pytest.mark.parametrize(("name", "way"), WAYS)
@pytest.mark.parametrize("count", [1, 3])
def test_shared_inputs_are_the_same_inputs_for_each(name: str, way: str, count: int) -> None:
    network, theta, buffers, x, _ = made(name, way, count)
    shared = network(theta, x[:1], buffers)
    torch.testing.assert_close(shared, network(theta, x[:1].expand(count, -1, -1, -1, -1), buffers))
    assert shared.shape == (count, BATCH, CLASSES)


@pytest.mark.parametrize(("name", "way"), WAYS)
def test_gradients_are_those_of_the_plain_modules(name: str, way: str) -> None:
    network, theta, buffers, x, modules = made(name, way)
    leaf = theta.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((network(leaf, x, buffers, training=True) ** 2).sum(), leaf)
    for i, module in enumerate(modules):
        parameters = list(module.train().parameters())
        pieces = torch.autograd.grad((module(x[i]) ** 2).sum(), parameters)
        torch.testing.assert_close(
            gradient[i], torch.cat([p.flatten() for p in pieces]), rtol=1e-6, atol=1e-9
        )


@pytest.mark.parametrize("way", ["vmap", "loop"])
@pytest.mark.parametrize("count", [1, 3])
def test_batch_norm_statistics_move_as_in_the_plain_module(way: str, count: int) -> None:
    network, theta, buffers, x, modules = made("cnn", way, count)
    before = buffers.clone()
    for _ in range(2):
        network(theta, x, buffers, training=True)
        for i, module in enumerate(modules):
            module.train()(x[i])
    torch.testing.assert_close(buffers, torch.stack([network.row(m)[1] for m in modules]))
    assert not torch.allclose(buffers, before)
    settled = buffers.clone()
    network(theta, x, buffers)
    assert torch.equal(buffers, settled)  # evaluation mode


@pytest.mark.parametrize("way", ["vmap", "loop"])
@pytest.mark.parametrize(("per_batch", "card_bytes"), [(100, None), (5, None), (5, 1e3), (5, 1e9)])
def test_estimated_statistics_are_those_of_a_literal_pass(
    way: str, per_batch: int, card_bytes: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, theta, buffers, _, modules = made("cnn", way)
    x = torch.randn(20, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    monkeypatch.setattr(rows, "MEMORY", per_batch * network.activations(x))
    with memory.with_card_bytes(card_bytes):  # of a card: as much as it has, the batches are the same
        estimated = network.estimate_buffers(theta, buffers, x)
    for i, module in enumerate(modules):
        norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
        sums = [torch.zeros(2, norm.num_features, dtype=torch.float64) for norm in norms]

        def note(norm: nn.Module, inputs: tuple[Tensor, ...], place: int, into: list[Tensor] = sums) -> None:
            values = inputs[0].transpose(0, 1).flatten(1)  # (channels, batch · height · width)
            into[place] += len(inputs[0]) * torch.stack([values.mean(1), values.var(1)])

        for place, norm in enumerate(norms):
            norm.register_forward_pre_hook(lambda norm, inputs, place=place: note(norm, inputs, place))
        for part in x.split(20 if per_batch > 20 else 5):
            module.train()(part)
        torch.testing.assert_close(estimated[i], torch.cat([(s / len(x)).flatten() for s in sums]))
    assert [norm.momentum for norm in network.norms] == [0.1] * 3


def test_estimating_leaves_the_given_statistics_alone_and_ignores_them() -> None:
    network, theta, buffers, x, _ = made("cnn", "loop")
    before = buffers.clone()
    first = network.estimate_buffers(theta, buffers, x[0])
    assert torch.equal(buffers, before)
    torch.testing.assert_close(first, network.estimate_buffers(theta, buffers * 3 + 1, x[0]))
    plain, theta, none, x, _ = made("mlp", "stacked")
    assert plain.estimate_buffers(theta, none, x[0]) is none


@pytest.mark.parametrize("way", ["vmap", "loop"])
def test_statistics_can_be_estimated_where_one_input_would_be_left_over(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BatchNorm over one value is an error in PyTorch; a last chunk of one input must not arise."""
    with seeded(0):
        module = nn.Sequential(nn.Flatten(), nn.Linear(32, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    network = Rows(module, execution=way)  # type: ignore[arg-type]
    theta, buffers = network.row()
    x = torch.randn(9, *SHAPE, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(rows, "MEMORY", 4 * network.activations(x))
    assert torch.isfinite(network.estimate_buffers(theta[None], buffers[None], x)).all()


@pytest.mark.parametrize("per_chunk", [1, 4, 5, 9, 100])
def test_chunks_cover_every_input_once_within_the_budget(
    per_chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = made("mlp", "stacked")[0]
    x = torch.arange(9.0).view(9, 1, 1, 1).expand(9, *SHAPE)
    monkeypatch.setattr(rows, "MEMORY", per_chunk * network.activations(x.double()))
    parts = [x[part][:, 0, 0, 0] for part in network.chunks(x)]
    assert torch.cat(parts).tolist() == list(range(9))
    assert max(map(len, parts)) <= max(per_chunk, 3)


@pytest.mark.parametrize("name", BUILDERS)
def test_logits_in_chunks_are_the_logits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, theta, buffers, x, _ = made(name, "loop")
    whole = network.outputs(theta, x[0], buffers)
    monkeypatch.setattr(rows, "MEMORY", 2 * len(theta) * network.activations(x[0]))
    torch.testing.assert_close(network.outputs(theta, x[0], buffers), whole)
    torch.testing.assert_close(whole, network(theta, x[:1], buffers))


@pytest.mark.parametrize("name", BUILDERS)
def test_a_row_goes_to_a_module_and_back(name: str) -> None:
    network, theta, buffers, x, modules = made(name, "loop")
    again = network.to_module(theta[1], buffers[1])
    back_theta, back_buffers = network.row(again)
    assert torch.equal(back_theta, theta[1])
    assert torch.equal(back_buffers, buffers[1])
    torch.testing.assert_close(again(x[1]), modules[1].eval()(x[1]))
    with torch.no_grad():
        next(again.parameters()).zero_()
    assert not torch.equal(network.row(again)[0], theta[1])  # its own storage
    assert torch.equal(network.row(modules[1])[0], theta[1])


def test_tied_weights_are_one_piece() -> None:
    network = Rows(tied_module())
    assert network.parameters == 32 * 32 + 1 + 33 * CLASSES
    assert [name for name, _ in network.layers] == ["scale", "first.weight", "last.weight", "last.bias"]


@pytest.mark.parametrize("way", ["vmap", "loop"])
def test_the_module_given_is_not_touched(way: str) -> None:
    module = cnn_module().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network = Rows(module, execution=way)  # type: ignore[arg-type]
    theta, buffers = (part[None].repeat(2, 1) for part in network.row(module))
    x = torch.randn(2, BATCH, *SHAPE, dtype=torch.float64)
    network(theta.requires_grad_(), x, buffers, training=True).sum().backward()
    network.estimate_buffers(theta, buffers, x[0])
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(p.grad is None for p in module.parameters())


def test_initial_rows_follow_the_seeds_and_leave_the_global_generator_alone() -> None:
    network = Rows(cnn_module())
    state = torch.random.get_rng_state()
    theta, buffers = initial_rows(cnn_module, network, [5, 6])
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(99)
    again, _ = initial_rows(cnn_module, network, [6, 5])
    assert torch.equal(theta, again.flip(0))
    assert not torch.equal(theta[0], theta[1])
    assert buffers.shape == (2, 2 * (3 + 6 + 12))


def test_rows_one_after_the_other_hold_one_graph_at_a_time() -> None:
    network = Rows(cnn_module(), execution="loop")

    class Saved:
        alive = most = 0

        def __init__(self, tensor: torch.Tensor):
            self.tensor = tensor
            Saved.alive += 1
            Saved.most = max(Saved.most, Saved.alive)

        def __del__(self) -> None:
            Saved.alive -= 1

    def most(count: int) -> int:
        Saved.most = 0
        theta, buffers = (row.repeat(count, 1) for row in network.row())
        x, y = torch.zeros(1, 5, *SHAPE, dtype=theta.dtype), torch.zeros(1, 5, dtype=torch.long)
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor):
            network.loss_gradient(theta, x, y, buffers)
        return Saved.most

    assert 0 < most(1) <= most(5) < 1.5 * most(1), "four more models, and no more activations"


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(ValueError, match="stacked"):
        Rows(cnn_module(), execution="stacked")
    network, theta, _, x, _ = made("cnn", "loop")
    with pytest.raises(ValueError, match="buffers"):
        network(theta, x)


def test_row_of_a_module_needs_no_order_of_its_own() -> None:
    builders: list[Callable[[], nn.Module]] = [mlp_module, cnn_module]
    for build in builders:
        network = Rows(build())
        assert (
            network.row()[0].numel()
            == network.parameters
            == sum(p.numel() for p in network.module.parameters())
        )
