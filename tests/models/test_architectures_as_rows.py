"""The larger architectures as rows: values, statistics and second derivatives are those of the modules."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from explorer.models import densenet40, resnet18, resnet50, vgg11, vit
from explorer.models.rows import Rows, initial_rows, seeded
from models.sequence_cases import check_second_derivative

CASES = [
    (package, norm)
    for package in (resnet18, resnet50, vgg11, densenet40)
    for norm in ("batch", "group", "none")
]
CASES.append((vit, None))
EACH = pytest.mark.parametrize(
    ("package", "norm"), CASES, ids=[f"{p.__name__.rsplit('.', 1)[-1]}-{norm}" for p, norm in CASES]
)


def rows_of(
    package: ModuleType, norm: str | None, way: str, count: int = 2
) -> tuple[Rows, Tensor, Tensor, Tensor]:
    # Two numbers after a LayerNorm are a sign, which has no derivative worth the name: 8 for the transformer.
    options = package.Options(width=2, norm=norm) if norm else package.Options(width=8)

    def build() -> nn.Module:
        return package.build(options, (1, 8, 8), 3).double()

    with seeded(0):
        network = Rows(build(), execution=way)  # type: ignore[arg-type]
        x = torch.randn(count, 4, 1, 8, 8, dtype=torch.float64)
    theta, buffers = initial_rows(build, network, range(count))
    with seeded(1):
        theta = theta + 0.05 * torch.randn_like(theta)  # off zeros and ones that hide mistakes
    return network, theta, buffers, x


@EACH
@pytest.mark.parametrize("way", ["vmap", "loop"])
@pytest.mark.parametrize("training", [False, True])
def test_rows_are_the_plain_modules(package: ModuleType, norm: str | None, way: str, training: bool) -> None:
    network, theta, buffers, x = rows_of(package, norm, way)
    modules = [network.to_module(t, b).train(training) for t, b in zip(theta, buffers, strict=True)]
    logits = network(theta, x, buffers, training=training)
    torch.testing.assert_close(logits, torch.stack([m(x[i]) for i, m in enumerate(modules)]))
    torch.testing.assert_close(buffers, torch.stack([network.row(m)[1] for m in modules]))
    assert not torch.allclose(logits[0], logits[1])


@EACH
def test_hessian_vector_products_are_differences_of_gradients(package: ModuleType, norm: str | None) -> None:
    network, theta, buffers, x = rows_of(package, norm, "loop", 1)
    y = torch.tensor([0, 1, 2, 0])

    check_second_derivative(lambda at: nn.functional.cross_entropy(network(at, x, buffers)[0], y), theta)
