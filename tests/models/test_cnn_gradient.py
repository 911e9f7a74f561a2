"""Stacked convolutional networks: outputs and the hand-written gradient are those of the modules."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from explorer.landscape.operator import HessianOperator
from explorer.models import cnn, stacked_cnn
from explorer.models.base import needs_timing, network
from explorer.models.rows import Rows, initial_rows

ROWS, CLASSES = 3, 4
SHAPES = [(1, 8, 8), (2, 9, 6), (1, 4, 4), (2, 5, 13), (40,), (3, 11), (7,)]


def both(activation: Any, shape: tuple[int, ...], width: int = 3) -> tuple[Rows, Rows, Tensor]:
    """The stacked network, the same one row after the other, and models in double precision."""
    options = cnn.Options(width=width, norm="none", activation=activation)
    build, own = network("cnn", options, shape, CLASSES)
    assert own.execution == "stacked"
    assert own.gradient is not None
    generator = torch.Generator().manual_seed(1)
    theta = initial_rows(build, own, range(ROWS))[0].double()
    theta += 0.1 * torch.randn(theta.shape, generator=generator, dtype=torch.float64)
    return own, network("cnn", options, shape, CLASSES, "loop")[1], theta


def batch(shape: tuple[int, ...], size: int, rows: int = ROWS, seed: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, size, *shape, generator=generator, dtype=torch.float64)
    return x, torch.randint(0, CLASSES, (rows, size), generator=generator)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "tanh"])
def test_gradient(activation: str, shape: tuple[int, ...]) -> None:
    own, plain, theta = both(activation, shape)
    sizes = (1, 5, stacked_cnn.DENSE + 3)
    # In turns, so that a batch meets what other batches of its size and of others have left.
    for place, (size, rows) in enumerate([(size, rows) for size in sizes for rows in (1, ROWS)] * 2):
        x, y = batch(shape, size, rows, seed=place)
        torch.testing.assert_close(own.loss_gradient(theta, x, y), plain.loss_gradient(theta, x, y))


@pytest.mark.parametrize("rows", [1, ROWS])
def test_gradient_of_a_batch_in_parts(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    own, plain, theta = both("leaky_relu", (1, 8, 8))
    monkeypatch.setattr(
        stacked_cnn, "HELD", 4 * ROWS * 27 * 16
    )  # the patches of 4 inputs in the second layer
    x, y = batch((1, 8, 8), 11, rows)
    torch.testing.assert_close(own.loss_gradient(theta, x, y), plain.loss_gradient(theta, x, y))


@pytest.mark.parametrize("size", [6, 1500])
def test_other_losses_are_differentiated_automatically(size: int) -> None:
    options = cnn.Options(width=3, norm="none")
    build, own = network("cnn", options, (12,), 2, task="regression")
    plain = network("cnn", options, (12,), 2, "loop", "regression")[1]
    assert own.gradient is None
    assert own.execution == "stacked"
    theta = initial_rows(build, own, range(ROWS))[0].double()
    x = batch((12,), size)[0]
    y = x[..., :2].sin()
    torch.testing.assert_close(own.loss_gradient(theta, x, y), plain.loss_gradient(theta, x, y))


@pytest.mark.parametrize("shape", SHAPES)
def test_outputs(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    own, plain, theta = both("leaky_relu", shape)
    x, _ = batch(shape, 23)
    with torch.no_grad():
        expected, whole = plain(theta, x), own(theta, x)
        torch.testing.assert_close(whole, expected)
        monkeypatch.setattr(stacked_cnn, "CACHE", 1)  # one input after the other
        torch.testing.assert_close(own(theta, x), expected)
        own(theta, x.flip(1))
        torch.testing.assert_close(whole, expected)  # not overwritten by later calls


def test_equal_values_under_a_maximum() -> None:
    """Dark images give equal sums at most places; the gradient is still that of PyTorch's pooling."""
    own, plain, theta = both("relu", (1, 8, 8))
    x, y = batch((1, 8, 8), 6)
    x[..., :5, :] = 0
    x[:, 0] = 0
    torch.testing.assert_close(own.loss_gradient(theta, x, y), plain.loss_gradient(theta, x, y))


@pytest.mark.parametrize(("size", "way"), [(8, "vmap"), (2000, "loop")])
def test_second_derivatives(size: int, way: str) -> None:
    own, plain, theta = both("tanh", (12,))
    assert own.derived is not None
    assert own.derived(size) == way
    x, y = batch((12,), size, rows=1)
    vectors = torch.randn(theta.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    products = [HessianOperator(network, theta, x[0], y[0])(vectors) for network in (own, plain)]
    torch.testing.assert_close(*products)


def test_arrays_are_kept_for_some_sizes_only() -> None:
    stack = stacked_cnn.StackedCnn("relu")
    _, plain, theta = both("relu", (7,))
    for size in range(1, 3 * stacked_cnn.RECENT):
        x, _ = batch((7,), size)
        with torch.no_grad():
            torch.testing.assert_close(stack.forward(plain.split(theta), x), plain(theta, x))
        assert len(stack.recent) <= stacked_cnn.RECENT


@pytest.mark.parametrize("options", [{"norm": "batch"}, {"norm": "none", "activation": "gelu"}])
def test_other_options_run_as_modules(options: dict[str, Any]) -> None:
    given = cnn.Options(width=4, **options)
    rows = network("cnn", given, (8,), CLASSES)[1]
    assert (rows.execution, rows.forward, rows.gradient) == ("loop", None, None)
    assert needs_timing("cnn", given, gpus=False)


def test_nothing_is_tried_where_the_stack_is_known_to_be_fastest() -> None:
    given = cnn.Options(width=16, norm="none")
    assert not needs_timing("cnn", given, gpus=False)
    assert needs_timing("cnn", given, gpus=True)
    assert needs_timing("cnn", cnn.Options(width=32, norm="none"), gpus=False)
