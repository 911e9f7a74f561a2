"""The small convolutional network for many models at once: outputs and hand-written gradient.

It requires no normalisation and a monotonically increasing activation. Then the maximum can be taken before
bias and activation, which reduces their work to a quarter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from explorer.models.convolution import Convolution, Dense, Sides
from explorer.models.mlp import SLOPE, CrossEntropy
from explorer.models.rows import blocks

# Numbers in a layer's patches per step of an evaluation, so that they fit into the cache of a core.
CACHE = 2**19
HELD = 2**21  # the same for a gradient; larger batches are processed in parts
KEPT = 8  # number of input sizes for which arrays are kept: of steps, of evaluations and of their last parts
DENSE = 16  # number of inputs from which on a dense map saves more than it costs

Layer = Convolution | Dense
Parameters = Sequence[Tensor]
Activate = Callable[[Tensor, Tensor], Tensor]  # (sums, where the result goes) -> result
Derive = Callable[[Tensor, Tensor], Tensor]  # (error of results, results) -> error of sums

ACTIVATIONS: dict[str, tuple[Activate, Derive]] = {
    "relu": (
        lambda z, out: torch.ops.aten.relu.out(z, out=out),
        lambda d, h: torch.ops.aten.threshold_backward(d, h, 0),
    ),
    "leaky_relu": (
        lambda z, out: torch.ops.aten.leaky_relu.out(z, SLOPE, out=out),
        lambda d, h: torch.ops.aten.leaky_relu_backward(d, h, SLOPE, True),
    ),
    "tanh": (lambda z, out: torch.tanh(z, out=out), torch.ops.aten.tanh_backward),
}


class Stacked:
    """The network as a function of its parameters, each (models, *shape) in the module's order.

    It reuses arrays for recent input sizes, so it serves one call at a time.
    """

    def __init__(self, activation: str):
        self.activate, self.derive = ACTIVATIONS[activation]
        self.kept: dict[object, list[Layer]] = {}

    def forward(self, parameters: Parameters, x: Tensor) -> Tensor:
        """Return logits (models, batch, classes) of ``x`` (models or 1, batch, *shape), without a graph."""
        found: dict[int, list[Tensor]] = {}
        for own, part in _blocks(parameters, x, CACHE):
            some = [p[own] for p in parameters]
            outputs = self._outputs(some, _of(x, own)[:, part], gradient=False)[1].mT
            found.setdefault(own.start, []).append(outputs)
        return torch.cat([torch.cat(parts, 1) for parts in found.values()])

    def gradient(self, parameters: Parameters, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return mean losses (models,) for labels (models or 1, batch), and gradients of the parameters."""
        found = list(_blocks(parameters, x, HELD))
        if len(found) == 1:
            return self._gradient(parameters, x, y)
        losses, total = (
            parameters[-1].new_zeros(len(parameters[0])),
            [torch.zeros_like(p) for p in parameters],
        )
        for own, part in found:
            inputs, labels = _of(x, own)[:, part], _of(y, own)[:, part]
            share = inputs.shape[1] / x.shape[1]
            of_part, pieces = self._gradient([p[own] for p in parameters], inputs, labels)
            losses[own].add_(of_part, alpha=share)
            for piece, whole in zip(pieces, total, strict=True):
                whole[own].add_(piece, alpha=share)
        return losses, total

    def _gradient(self, parameters: Parameters, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor]]:
        layers, scores, last, features = self._outputs(parameters, x, gradient=True)
        losses, error = CrossEntropy(scores)(scores, y, True)
        assert losses is not None
        gradients = [error.sum(2), torch.bmm(error, features.mT)]
        places = last.shape[2] * last.shape[3]
        error = torch.bmm(parameters[-2].mT, error).mul_(1 / places)[:, :, None, None].expand(last.shape)
        results = [*(layer.inside for layer in layers[1:]), last]
        for place in range(len(layers) - 1, -1, -1):
            error = self.derive(error, results[place])
            gradients.append(error.sum((2, 3, 4)))
            gradients.append(layers[place].of_weight(parameters[2 * place], error))
            if place:
                error = layers[place].of_inputs(parameters[2 * place])
        return losses, gradients[::-1]

    def _outputs(
        self, parameters: Parameters, x: Tensor, *, gradient: bool
    ) -> tuple[list[Layer], Tensor, Tensor, Tensor]:
        """Return layers, logits (models, classes, batch), the results of the last layer, and their means."""
        layers = self._layers(parameters, x, gradient=gradient)
        layers[0].inside.copy_(_as_images(x).permute(0, 2, 3, 4, 1))
        for place, layer in enumerate(layers):
            sums = layer.forward(parameters[2 * place])
            sums.add_(parameters[2 * place + 1][:, :, None, None, None])
            last = place == len(layers) - 1
            result = self.activate(sums, sums if last else layers[place + 1].inside)
        features = result.mean((2, 3))
        return layers, torch.baddbmm(parameters[-1].unsqueeze(2), parameters[-2], features), result, features

    def _layers(self, parameters: Parameters, x: Tensor, *, gradient: bool) -> list[Layer]:
        weights = parameters[:-2:2]
        like, batch, sides = weights[0], x.shape[1], _sides(x)
        key = (like.shape, like.dtype, like.device, batch, sides, gradient)
        if key not in self.kept:
            if len(self.kept) == KEPT:
                self.kept.clear()
            with torch.inference_mode(False):  # the arrays must outlive the inference mode of this call
                self.kept[key] = _made(weights, sides, batch, gradient=gradient)
        return self.kept[key]


def _as_images(x: Tensor) -> Tensor:
    """Return images, signals with channels or signals as (models, batch, channels, height, width)."""
    if x.dim() == 5:
        return x
    return x.unsqueeze(3) if x.dim() == 4 else x[:, :, None, None]


def _sides(x: Tensor) -> Sides:
    _, _, _, height, width = _as_images(x).shape
    return height, width


def _made(weights: Sequence[Tensor], sides: Sides, batch: int, *, gradient: bool) -> list[Layer]:
    layers: list[Layer] = []
    for place, weight in enumerate(weights):
        pooled = place < len(weights) - 1
        if not pooled and max(sides) <= 2 and batch >= DENSE:
            layers.append(Dense(weight, sides, batch, gradient=gradient))
        else:
            layers.append(
                Convolution(weight, sides, batch, pooled=pooled, gradient=gradient, first=place == 0)
            )
        sides = layers[-1].sides
    return layers


def _blocks(parameters: Parameters, x: Tensor, budget: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of models and of inputs whose patches fit into a budget of numbers.

    Inputs are split as for one model, so that sums over them do not depend on the other models.
    """
    size, inputs = max(1, budget // _patch_numbers(parameters, _sides(x))), x.shape[1]
    parts = [slice(start, min(start + size, inputs)) for start in range(0, inputs, size)]
    return blocks(len(parameters[0]), parts, size)


def _of(values: Tensor, rows: slice) -> Tensor:
    """Return the values of these models, or the values that all models share."""
    return values[rows] if len(values) > 1 else values


def _patch_numbers(parameters: Parameters, sides: Sides) -> int:
    """Return the largest number of values in the patches of one input in any layer."""
    (height, width), most = sides, 0
    for weight in parameters[:-2:2]:
        most = max(most, weight[0, 0].numel() * height * width)
        height, width = max(1, height // 2), max(1, width // 2)
    return most
