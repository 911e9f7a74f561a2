"""Many models under vmap on a GPU, in few kernels: their parameters and their BatchNorm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

CONTIGUOUS = torch.contiguous_format


class ContiguousPieces:
    """Splits matrices (models, numbers) into contiguous pieces (models, *shape), which can be differentiated.

    Biases and the like are gathered by one kernel. Vmap would copy each of them by itself.
    """

    def __init__(self, shapes: Sequence[torch.Size]):
        self.shapes = tuple(shapes)
        self._orders: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(self, matrix: Tensor) -> tuple[Tensor, ...]:
        key = len(matrix), matrix.device
        if key not in self._orders:
            with torch.inference_mode(False):
                self._orders[key] = self._order(len(matrix)).to(matrix.device)
        return _Pieces.apply(matrix, self._orders[key], self.shapes)  # pyright: ignore[reportReturnType]

    def _order(self, models: int) -> Tensor:
        """Return the places of the pieces with less than two dimensions in the flat matrix, in order."""
        whole, start = sum(shape.numel() for shape in self.shapes), 0
        places = [torch.zeros(0, dtype=torch.int64)]
        for shape in self.shapes:
            if len(shape) < 2:
                own = torch.arange(start, start + shape.numel())
                places.append((whole * torch.arange(models)[:, None] + own).flatten())
            start += shape.numel()
        return torch.cat(places)


class _Pieces(torch.autograd.Function):
    @staticmethod
    def forward(matrix: Tensor, order: Tensor, shapes: tuple[torch.Size, ...]) -> tuple[Tensor, ...]:
        sizes, models = [shape.numel() for shape in shapes], len(matrix)
        small = [models * size for size, shape in zip(sizes, shapes, strict=True) if len(shape) < 2]
        gathered = iter(matrix.flatten().index_select(0, order).split(small))
        pieces = zip(matrix.split(sizes, 1), shapes, strict=True)
        return tuple(
            (next(gathered) if len(shape) < 2 else piece.clone(memory_format=CONTIGUOUS)).view(models, *shape)
            for piece, shape in pieces
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return torch.cat([g.flatten(1) for g in gradients], 1), None, None


class TogetherBatchNorm(TorchFunctionMode):
    """Within this block, vmap normalises the channels of all models by one BatchNorm.

    By itself, it takes scale and shift apart, which needs several more kernels forwards and backwards.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.batch_norm:
            return _BatchNorm.apply(*_arguments(*args, **(kwargs or {})))
        return func(*args, **(kwargs or {}))


def _arguments(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> tuple[Any, ...]:
    """Return the arguments of ``functional.batch_norm`` in their order."""
    return input, running_mean, running_var, weight, bias, training, momentum, eps


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(*args: Any) -> Tensor:
        return functional.batch_norm(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, *rest: Any) -> tuple[Tensor, int]:
        models = info.batch_size

        def channels(value: Tensor | None, dim: int | None) -> Tensor | None:
            if value is None:
                return None
            return (value.expand(models, -1) if dim is None else value.movedim(dim, 0)).flatten()

        x = (
            x.unsqueeze(1).expand(-1, models, *x.shape[1:])
            if in_dims[0] is None
            else x.movedim(in_dims[0], 1)
        )
        own = [channels(value, dim) for value, dim in zip(rest[:4], in_dims[1:5], strict=True)]
        return functional.batch_norm(x.flatten(1, 2), *own, *rest[4:]).unflatten(1, (models, -1)), 1  # pyright: ignore[reportArgumentType]
