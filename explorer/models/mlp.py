"""Multi-layer perceptron: ``depth`` hidden layers of ``width`` units."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from explorer.models.base import ModelOptions

if TYPE_CHECKING:
    from torch import Tensor, nn

    from explorer.models.rows import BindGradient, Forward, Pieces, Step

Activation = Literal["relu", "leaky_relu", "gelu", "tanh"]
Norm = Literal["batch", "group", "none"]
SLOPE = 0.1  # slope of leaky_relu; plain ReLU gives dead models at widths of 2 to 4
HONOURED = ("width", "depth", "activation")  # supported by stacked functions


class Options(ModelOptions):
    """Parameters: (inputs + 1)·width + (depth - 1)·(width + 1)·width + (width + 1)·classes."""

    depth: int = Field(default=1, ge=1, le=64, description="hidden layers")
    activation: Activation = Field(
        default="leaky_relu", description="leaky_relu has slope 0.1, which keeps tiny networks alive"
    )


def activation_module(name: str) -> nn.Module:
    """Return the activation as a module."""
    from torch import nn

    if name == "leaky_relu":
        return nn.LeakyReLU(SLOPE)
    return {"relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh}[name]()


def he_initialise(module: nn.Module) -> None:
    """Initialise with normal weights of variance 2 / inputs (He et al., 2015) and biases of 0.

    Draws come from torch's global generator.
    """
    from torch import nn

    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def build(options: Options, shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build a freshly initialised module that maps (batch, *shape) to (batch, classes)."""
    from torch import nn

    layers: list[nn.Module] = [nn.Flatten()]
    size = math.prod(shape)
    for _ in range(options.depth):
        layers += [nn.Linear(size, options.width), activation_module(options.activation)]
        size = options.width
    module = nn.Sequential(*layers, nn.Linear(size, classes))
    he_initialise(module)
    return module


def parameters(options: Options, shape: tuple[int, ...], classes: int) -> int:
    """Return the number of parameters without building a model."""
    sizes = [math.prod(shape), *[options.width] * options.depth, classes]
    return sum((inputs + 1) * units for inputs, units in itertools.pairwise(sizes))


def stacked_forward(options: Options) -> Forward:
    """Return a forward pass with one ``baddbmm`` per layer for all models."""
    import torch
    from torch.nn import functional

    from explorer.models.arithmetic import product

    act = {
        "relu": functional.relu,
        "leaky_relu": lambda x: functional.leaky_relu(x, SLOPE),
        "gelu": functional.gelu,
        "tanh": torch.tanh,
    }[options.activation]

    def forward(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        # Units come before the batch, so gradients of weights and the loss need no transposed copies
        # (a step is 1.1 to 1.5 times faster, a Hessian-vector product 1.1 to 1.3 times).
        h = x.flatten(2).expand(parameters[0].shape[0], -1, -1).transpose(1, 2)  # (models, inputs, batch)
        for layer in range(0, len(parameters), 2):
            weight, bias = parameters[layer], parameters[layer + 1]
            h = product(weight, h if layer == 0 else act(h), bias.unsqueeze(2))
        return h.transpose(1, 2)  # (models, batch, classes)

    return forward


def stacked_gradient(options: Options) -> BindGradient:
    """Return the hand-written loss and gradient of all models.

    The arithmetic is that of automatic differentiation, but without its bookkeeping, which takes most of the
    time of a step of a small network. It is 1.7 to 3 times faster (``benchmarks/mlp_step.py``).
    """
    import torch

    from explorer.models.arithmetic import product

    act, derivative = {
        "relu": (torch.relu, lambda d, z: torch.ops.aten.threshold_backward(d, z, 0)),
        "leaky_relu": (
            lambda z: torch.nn.functional.leaky_relu(z, SLOPE),
            lambda d, z: torch.ops.aten.leaky_relu_backward(d, z, SLOPE, False),
        ),
        "gelu": (torch.nn.functional.gelu, torch.ops.aten.gelu_backward),
        "tanh": (torch.tanh, lambda d, z: torch.ops.aten.tanh_backward(d, torch.tanh(z))),
    }[options.activation]

    def bind(parameters: Pieces, places: Pieces) -> Step:
        rows, weights, transposed = len(parameters[0]), parameters[::2], [w.mT for w in parameters[::2]]
        biases = [bias.unsqueeze(2) for bias in parameters[1::2]]
        loss_and_error, direct = CrossEntropy(parameters[0]), parameters[0].device.type == "cuda"

        def step(x: Tensor, y: Tensor, wanted: bool) -> Tensor | None:
            shown = x.flatten(2).expand(rows, -1, -1)  # (models, batch, inputs)
            z = product(weights[0], shown.mT, biases[0])  # (models, units, batch)
            sums, results = [], []
            for weight, bias in zip(weights[1:], biases[1:], strict=True):
                sums.append(z)
                results.append(act(z))
                z = product(weight, results[-1], bias)
            losses, d = loss_and_error(z, y, wanted)
            for layer in range(len(sums), -1, -1):
                torch.sum(d, 2, out=places[2 * layer + 1])
                left = results[layer - 1].mT if layer else shown
                if direct and 1 not in (d.shape[1], d.shape[2], left.shape[2]):
                    torch.bmm(d, left, out=places[2 * layer])
                else:  # on a CPU, a product takes three times as long to non-contiguous memory
                    places[2 * layer].copy_(product(d, left))
                if layer:
                    d = derivative(product(transposed[layer], d), sums[layer - 1])
            return losses

        return step

    return bind


class CrossEntropy:
    """Mean cross-entropy, and its gradient with respect to the scores."""

    def __init__(self, like: Tensor):
        self.minus_one, self.classes = like.new_full((1,), -1.0), None

    def __call__(self, scores: Tensor, y: Tensor, wanted: bool) -> tuple[Tensor | None, Tensor]:
        """Return losses (models,), if ``wanted``, and gradients (models, classes, batch).

        ``scores`` is (models, classes, batch), ``y`` holds labels (models or 1, batch).
        """
        import torch

        from explorer.models.arithmetic import constant

        rows, classes, batch = scores.shape
        log_p, labels = torch.log_softmax(scores, 1), y.expand(rows, -1).unsqueeze(1)
        losses = log_p.gather(1, labels).sum((1, 2)).div_(-batch) if wanted else None
        # (softmax - label) / batch
        if scores.device.type == "cpu":
            error = log_p.exp_().scatter_add_(1, labels, self.minus_one.expand_as(labels))
        else:  # kernels that add at indices are slow if they must give the same bits each time
            if self.classes is None:
                self.classes = torch.arange(classes, device=scores.device)[:, None]
            error = log_p.exp_().add_(labels == self.classes, alpha=-1)
        return losses, error.mul_(constant(1 / batch, error.dtype))
