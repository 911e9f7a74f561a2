"""Similarity of models: linear CKA of outputs or layers, and distance of parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from explorer.landscape.activations import record, tokens_of
from explorer.models.rows import Rows
from explorer.tasks import Task

Estimator = Literal["biased", "debiased"]
GROUPS = 20  # of inputs, for the error of CKA


def l2_distance(theta_a: Tensor, theta_b: Tensor) -> Tensor:
    """Return Euclidean distances (pairs,) between parameter vectors (pairs, parameters)."""
    return torch.linalg.vector_norm(theta_a.double() - theta_b.double(), dim=1)


def mixup(x: Tensor, *, inputs: int, seed: int, alpha: float = 16.0) -> Tensor:
    """Return mixup inputs (inputs, *shape): λ·x_i + (1 − λ)·x_j, with its own λ ~ Beta(alpha, alpha) each.

    If there are enough inputs, pairs i, j are drawn without replacement (Zhang et al., 2018).
    """
    generator = np.random.default_rng(seed)
    n = len(x)
    first, second = (generator.permutation(n)[np.arange(inputs) % n] for _ in range(2))
    weights = generator.beta(alpha, alpha, size=inputs)
    share = torch.as_tensor(weights, dtype=x.dtype, device=x.device).view(-1, *[1] * (x.dim() - 1))
    i, j = (torch.as_tensor(order, device=x.device) for order in (first, second))
    return share * x[i] + (1 - share) * x[j]


def probes(task: Task, x: Tensor, y: Tensor, *, inputs: int, seed: int) -> tuple[Tensor, Tensor | None]:
    """Return inputs for CKA: mixup inputs, or, for token inputs, unmixed sequences with their targets.

    Tokens cannot be mixed. Whole sequences are drawn until they have ``inputs`` scored tokens.
    """
    if x.is_floating_point():
        return mixup(x, inputs=inputs, seed=seed), None
    order = torch.as_tensor(np.random.default_rng(seed).permutation(len(x)), device=x.device)
    tokens = task.count_items(y[order][:, None]).cumsum(0)
    order = order[: int((tokens < inputs).sum()) + 1]
    return x[order], y[order]


def linear_cka(outputs: Tensor, *, estimator: Estimator = "biased") -> Tensor:
    """Compute linear CKA (models, models) of all pairs of outputs or features (models, inputs, features).

    CKA is HSIC(X, Y) / √(HSIC(X, X)·HSIC(Y, Y)) with linear kernels (Kornblith et al., 2019). It is 1 for
    outputs that agree up to rotation, scale and shift. ``biased`` is ‖YᵀX‖² / (‖XᵀX‖·‖YᵀY‖) of centred
    features, as in the paper. It grows towards 1 if there are more features than inputs. ``debiased`` uses
    the unbiased HSIC (Song et al., 2012; Nguyen et al., 2021). It is 0 on average for unrelated features, can
    be negative, and needs at least 4 inputs.

    If there are fewer features than inputs, CKA is computed in feature space, otherwise with inputs × inputs
    Gram matrices. It is NaN if the output of a model does not depend on its input.

    Raises:
        ValueError: ``debiased`` with fewer than 4 inputs.
    """
    outputs = outputs.double().contiguous()
    centred = outputs - outputs.mean(1, keepdim=True)
    # A centred constant output consists of rounding noise, at the precision of its computation.
    spread, size = centred.square().sum((1, 2)), outputs.square().sum((1, 2))
    centred = torch.where((spread > 1e-12 * size)[:, None, None], centred, torch.nan)
    if estimator == "debiased":
        hsic = _unbiased_hsic(centred)
    else:
        hsic = _inner_products(centred)
    norm = hsic.diagonal().sqrt()  # NaN if the unbiased estimate is negative
    return hsic / (norm[:, None] * norm[None, :])


def linear_cka_stderr(outputs: Tensor) -> Tensor:
    """Return the standard error (models, models) of :func:`linear_cka` over draws of its inputs.

    It is the jackknife over GROUPS groups of inputs, so it contains all that differs between two draws: which
    inputs are mixed, and in which shares.
    """
    groups = torch.arange(outputs.shape[1], device=outputs.device) * GROUPS // outputs.shape[1]
    without = [linear_cka(outputs[:, groups != group]) for group in range(GROUPS)]
    # Python's sums add in one order; the rounding of a tensor's would depend on the number of models.
    mean = sum(without, torch.zeros_like(without[0])) / GROUPS
    squares = sum(((cka - mean).square() for cka in without), torch.zeros_like(mean))
    return (squares * (GROUPS - 1) / GROUPS).sqrt()


def _inner_products(x: Tensor) -> Tensor:
    """Return ⟨XXᵀ, YYᵀ⟩ = ‖XᵀY‖² (models, models) of all pairs of features (models, inputs, features)."""
    # One product per pair: the rounding of a batched product would depend on the number of models.
    if x.shape[2] > x.shape[1]:
        return _of_pairs(lambda one, other: (one * other).sum(), [features @ features.mT for features in x])
    return _of_pairs(lambda one, other: (one.mT @ other).square().sum(), list(x))


def _of_pairs(of: Callable[[Tensor, Tensor], Tensor], values: Sequence[Tensor]) -> Tensor:
    """Return a symmetric function of two values as a matrix (models, models)."""
    found = values[0].new_empty(len(values), len(values))
    for i, one in enumerate(values):
        for j in range(i, len(values)):
            found[i, j] = found[j, i] = of(one, values[j])
    return found


def _unbiased_hsic(x: Tensor) -> Tensor:
    """Return the unbiased HSIC (models, models) of all pairs, times a constant.

    ``x`` holds centred features (models, inputs, features). With K̃ = XXᵀ without its diagonal, HSIC is tr
    K̃L̃ + 1ᵀK̃1·1ᵀL̃1 / ((n−1)(n−2)) − 2/(n−2)·1ᵀK̃L̃1. As the features are centred, XXᵀ1 = 0 and so K̃1 =
    −diag(XXᵀ).
    """
    n = x.shape[1]
    if n < 4:
        raise ValueError(f"the debiased CKA needs at least 4 inputs; there are {n}")
    diagonal = x.square().sum(2)  # (models, inputs)
    along, total = _of_pairs(lambda one, other: (one * other).sum(), list(diagonal)), diagonal.sum(1)
    return _inner_products(x) - along + torch.outer(total, total) / ((n - 1) * (n - 2)) - 2 / (n - 2) * along


@torch.no_grad()
def layer_outputs(
    network: Rows, theta: Tensor, buffers: Tensor, x: Tensor, layers: Sequence[str]
) -> dict[str, Tensor]:
    """Return outputs (models, inputs, features) of chosen layers in evaluation mode, flattened per input.

    For tasks on sequences, outputs are (models, tokens, features), in the order of inputs and positions,
    without padding.

    Args:
        theta: (models, parameters); ``buffers`` (models, numbers); ``x`` (inputs, *shape).
        layers: names of submodules, as in ``named_modules()``.

    Raises:
        ValueError: a layer does not exist; the message lists the layers. Or a layer is not used exactly once,
            or does not have a value for each input or token.
    """
    names = [name for name, _ in network.module.named_modules() if name]
    missing = [name for name in layers if name not in names]
    if missing:
        raise ValueError(f"there is no layer {missing[0]!r}; there are {', '.join(names)}")
    models = [_layers(network, *row, x, layers) for row in zip(theta, buffers, strict=True)]
    return {name: torch.stack([outputs[name] for outputs in models]) for name in layers}


def _layers(
    network: Rows, theta: Tensor, buffers: Tensor, x: Tensor, layers: Sequence[str]
) -> dict[str, Tensor]:
    """Return outputs (items, features) of the layers of one model."""
    module = network.to_module(theta, buffers)
    outputs = record(module, [(name, "output") for name in layers])
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    for part in network.chunks(x):
        module(x[part])
        for (name, _), values in outputs.items():
            found[name].append(_only(values, name, network, x[part]))
            values.clear()
    return {name: torch.cat(parts) for name, parts in found.items()}


def _only(outputs: list[object], layer: str, network: Rows, x: Tensor) -> Tensor:
    """Return the output (items, features) of a layer that is used exactly once."""
    if len(outputs) != 1:
        raise ValueError(
            f"layer {layer!r} is used {len(outputs)} times for an input; CKA needs one that is used once"
        )
    (output,) = outputs
    if not isinstance(output, Tensor):
        raise ValueError(f"layer {layer!r} returns {type(output).__name__}; CKA needs a tensor")
    return tokens_of(output, network, layer, x).flatten(1)
