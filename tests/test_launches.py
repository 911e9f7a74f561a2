"""Kernels that a training step launches on a GPU, and waits of the host for it, counted on a pretended card."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from pretended_card import PretendedCard, pretended_card
from torch import Tensor

import explorer.models
from explorer.landscape.lanczos import lanczos
from explorer.landscape.operator import HessianOperator, Vectors
from explorer.landscape.trace import DeflatedTrace
from explorer.models import memory
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows
from explorer.settings import plugin
from explorer.train.loop import Recipe, Split, evaluate, train

IMAGES, TOKENS = (3, 8, 8), (12,)
CASES: dict[str, Any] = {  # options, shape, task, execution, launches a step at most
    "mlp": ({"width": 8}, (16,), "classification", None, 20),
    "resnet18": ({"width": 1}, IMAGES, "classification", "vmap", 200),
    "gpt": ({"width": 8, "layers": 2}, TOKENS, "language", None, 155),
    "gpt of 4 layers": ({"width": 8}, TOKENS, "language", None, 270),
    "transformer": ({"width": 8, "layers": 1}, (2, *TOKENS), "translation", None, 260),
}


@pytest.fixture
def card() -> Iterator[PretendedCard]:
    with pretended_card() as found:
        yield found


def started(name: str, *, host: bool = False) -> tuple[Rows, Tensor, Tensor, Split]:
    """Two models and random data on the card, or inputs in host memory."""
    options, shape, task, execution, _ = CASES[name]
    generator, tokens = torch.Generator().manual_seed(0), task in ("language", "translation")
    x = torch.randint(1, 20, (32, *shape), generator=generator) if tokens else torch.randn(32, *shape)
    y = torch.randint(0, 10, (32, shape[-1]) if tokens else (32,), generator=generator).to("cuda")
    x = x.pin_memory() if host else x.to("cuda")
    name = name.split()[0]
    module = plugin(explorer.models, name, "architecture")
    build, rows = network(name, module.Options(**options), shape, 20 if tokens else 10, execution, task)  # type: ignore[arg-type]
    theta, buffers = (t.to("cuda") for t in initial_rows(build, rows, range(2)))
    return rows.to("cuda"), theta, buffers, Split(x, y, x[:8], y[:8], 20 if tokens else 10)


def a_step(card: PretendedCard, work: Callable[[int], object]) -> tuple[float, float]:
    """Launches and waits of one step of ``work(steps)``, without start and end."""
    counts = []
    for steps in (2, 2, 4):  # the first counts what is done once
        card.launches.clear()
        card.waits.clear()
        work(steps)
        counts.append((card.launches.total(), card.waits.total()))
    launches, waits = ((b - a) / 2 for a, b in zip(counts[1], counts[2], strict=True))
    return launches, waits


@pytest.mark.parametrize("host", [False, True], ids=["data on the card", "data in host memory"])
@pytest.mark.parametrize("name", CASES)
def test_a_training_step_launches_few_kernels_and_never_waits(
    name: str, host: bool, card: PretendedCard
) -> None:
    rows, theta, buffers, data = started(name, host=host)

    def work(steps: int) -> None:
        recipe = Recipe(batch_size=8, steps=steps, learning_rate=0.01, history_points=2)
        train(rows, theta, buffers, data, recipe, seeds=[0, 1])

    launches, waits = a_step(card, work)
    assert launches <= CASES[name][-1]
    assert waits == 0


def test_augmentation_never_waits_and_depends_on_seed_and_step_only(card: PretendedCard) -> None:
    from explorer.train.augmentation import crop_and_flip

    x = torch.randn(1, 64, 3, 32, 32).to("cuda").expand(2, -1, -1, -1, -1)
    card.waits.clear()
    both, alone, later = (
        crop_and_flip(x[-k:], seeds, step) for k, seeds, step in ((2, [5, 6], 3), (1, [6], 3), (1, [6], 4))
    )
    assert not card.waits
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(alone, later)
    # Every image is one of the 9 × 9 shifts, mirrored or not, and half are mirrored.
    shifts = [
        torch.nn.functional.pad(x[0], (4, 4, 4, 4))[..., i : i + 32, j : j + 32]
        for i in range(9)
        for j in range(9)
    ]
    known = torch.stack([image for shift in shifts for image in (shift, shift.flip(-1))])  # (162, 64, …)
    which = (known == alone).flatten(2).all(2)
    assert which.any(0).all()
    assert 15 < which[1::2].any(0).sum() < 49


def test_an_evaluation_waits_once_whatever_its_chunks(card: PretendedCard) -> None:
    rows, theta, buffers, data = started("mlp")
    for card_bytes in (2**30, 2**14):
        with memory.with_card_bytes(card_bytes):
            assert len(rows.chunks(data.x_train)) == 1 or card_bytes < 2**30
            card.waits.clear()
            evaluate(rows, theta, buffers, data.x_train, data.y_train)
            assert card.waits.total() == 1


def test_lanczos_waits_once_a_step(card: PretendedCard) -> None:
    rows, theta, buffers, data = started("mlp")
    operator, vectors = (
        HessianOperator(rows, theta, data.x_train, data.y_train, buffers),
        Vectors([0, 1], theta),
    )

    def work(steps: int) -> None:
        trace = DeflatedTrace(operator, vectors.signs, probes_max=4, tolerance=0.0)
        lanczos(operator, vectors.normal(), steps=steps, tolerance=-1.0, watch=trace)

    assert a_step(card, work)[1] <= 1


def test_signs_from_bits_are_fair_and_differ_by_seed(card: PretendedCard) -> None:
    vectors = Vectors([0, 1], torch.zeros(2, 10_001).to("cuda"))
    card.waits.clear()
    signs = torch.cat([vectors.signs(), vectors.signs()])
    assert not card.waits
    signs = signs.cpu()
    assert signs.dtype == torch.float32
    assert (signs.abs() == 1).all()
    correlations = signs @ signs.T / signs.shape[1]
    assert (correlations - torch.eye(4)).abs().max() < 0.05
    assert signs.mean(1).abs().max() < 0.05
    eighths = signs[:, :10_000].reshape(-1, 8).mean(0)  # each bit of an octet
    assert eighths.abs().max() < 0.05


@pytest.mark.parametrize("training", [True, False])
def test_models_under_vmap_are_normalised_together_as_one_by_one(training: bool, card: PretendedCard) -> None:
    rows, theta, buffers, data = started("resnet18")
    found = []
    for execution in ("vmap", "loop"):
        rows.execution, stats = execution, buffers.clone()
        leaf = theta.detach().clone().requires_grad_()
        loss = rows.task.loss(
            rows(leaf, data.x_train[None], stats, training=training), data.y_train[None]
        ).sum()
        (gradient,) = torch.autograd.grad(loss, leaf, create_graph=True)
        (product,) = torch.autograd.grad(gradient.square().sum(), leaf)
        found.append((loss.detach(), gradient.detach(), product, stats))
    for together, apart in zip(*found, strict=True):
        assert (together - apart).norm() <= 1e-3 * apart.norm()
