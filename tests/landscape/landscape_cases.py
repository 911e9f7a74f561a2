"""Small networks whose measures can be computed exactly, for the tests of the landscape."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call

from explorer.landscape import rows_of
from explorer.models import cnn, mlp
from explorer.models.rows import Rows, seeded


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def labels(inputs: int, classes: int, *, seed: int) -> Tensor:
    return torch.randint(0, classes, (inputs,), generator=generator(seed))


def mlp_module(seed: int, *, width: int = 5, depth: int = 1, inputs: int = 4, classes: int = 3) -> nn.Module:
    """Smooth (tanh), so that its Hessian exists everywhere."""
    options = mlp.Options(width=width, depth=depth, activation="tanh")
    with seeded(seed):
        return mlp.build(options, (inputs,), classes).double()


def cnn_module(
    seed: int, *, width: int = 2, shape: tuple[int, ...] = (1, 6, 6), classes: int = 3
) -> nn.Module:
    """With BatchNorm whose statistics and affine parameters are not the initial ones."""
    options = cnn.Options(width=width, activation="tanh")
    with seeded(seed):
        module = cnn.build(options, shape, classes).double()
        module.train()
        for _ in range(3):
            module(torch.randn(32, *shape, dtype=torch.float64) + 0.3)
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.3)
    return module.eval()


def stacked_mlp(theta: Tensor, *, width: int = 5, depth: int = 1) -> Rows:
    """The same network as :func:`mlp_module` with the architecture's own stacked forward."""
    options = mlp.Options(width=width, depth=depth, activation="tanh")
    module = mlp_module(0, width=width, depth=depth)
    assert theta.shape[1] == sum(p.numel() for p in module.parameters())
    return Rows(module, mlp.stacked_forward(options), "stacked")


def dense_hessian(network: Rows, theta: Tensor, x: Tensor, y: Tensor, buffers: Tensor) -> Tensor:
    """The Hessian (parameters, parameters) of one model by forward-over-reverse differentiation."""
    module = network.to_module(theta, buffers)
    names = [name for name, _ in module.named_parameters()]
    sizes = [p.numel() for p in module.parameters()]
    shapes = [p.shape for p in module.parameters()]

    def loss(vector: Tensor) -> Tensor:
        pieces = [piece.view(shape) for piece, shape in zip(vector.split(sizes), shapes, strict=True)]
        logits = functional_call(module, dict(zip(names, pieces, strict=True)), (x,))
        return nn.functional.cross_entropy(logits, y)

    return torch.func.hessian(loss)(theta.detach())


def two_mlps(**shape: int) -> tuple[Rows, Tensor, Tensor]:
    return rows_of(mlp_module(1, **shape), mlp_module(2, **shape))


def two_cnns(**shape: int) -> tuple[Rows, Tensor, Tensor]:
    return rows_of(cnn_module(1, **shape), cnn_module(2, **shape))
