"""Permutation alignment: the order of hidden units in which one model is closest to another.

Two trained networks may be far apart only because their hidden units have a different order (Entezari et al.,
2022). After alignment, the straight line between them often has a much lower barrier (Ainsworth et al., 2023,
"Git Re-Basin"). In attention, whole heads are permuted, and channels within each head (Verma & Elbayad, 2024,
"Merging Text Transformer Models from Different Initializations").
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from explorer.landscape.activations import correlations
from explorer.landscape.permutations import permutation_spec, segments
from explorer.models.agreement import check_same_outputs
from explorer.models.rows import Rows
from explorer.models.symmetries import JointGroups, Segment, Segments, Spec

Permutations = dict[int, Tensor]
Method = Literal["weights", "activations"]


def align(
    network: Rows,
    a: Tensor,
    b: Tensor,
    buffers_a: Tensor,
    buffers_b: Tensor,
    x: Tensor,
    *,
    seeds: Sequence[int],
    method: Method = "weights",
    spec: Spec | None = None,
) -> tuple[Tensor, Tensor]:
    """Return ``b`` and ``buffers_b`` with hidden units permuted to match ``a``; functions stay the same.

    Args:
        a, b: (pairs, parameters); ``buffers_a``, ``buffers_b`` (pairs, numbers).
        x: inputs (inputs, *shape). The method ``activations`` compares activations at these inputs;
            ``weights`` needs only one input.
        seeds: of the order in which weight matching visits the layers, one per pair.
        spec: the allowed permutations; by default those that :func:`permutation_spec` finds.

    Raises:
        ValueError: the permutations of this network cannot be found.
        Disagreement: a permutation changed the outputs of a model of ``b``.
    """
    spec = spec or permutation_spec(network.to_module(a[0], buffers_a[0]), x)
    thetas, stats = [], []
    for row, seed in enumerate(seeds):
        if method == "weights":
            found = match_weights(network, spec, a[row], b[row], seed=seed)
        else:
            found = match_activations(network, spec, a[row], b[row], buffers_a[row], buffers_b[row], x)
        theta, buffer = permute(network, spec, found, b[row], buffers_b[row])
        check_same_outputs(network, (b[row], buffers_b[row]), (theta, buffer), x)
        thetas.append(theta)
        stats.append(buffer)
    return torch.stack(thetas), torch.stack(stats)


def permute(
    network: Rows, spec: Spec, permutations: Permutations, theta: Tensor, buffers: Tensor
) -> tuple[Tensor, Tensor]:
    """Permute a model (parameters,) and its buffers (numbers,): unit ``permutations[group][i]`` goes to i."""

    def permuted(names: Sequence[str], pieces: Sequence[Tensor]) -> list[Tensor]:
        named = zip(names, pieces, strict=True)
        return [_permuted(piece[0], spec.axes.get(name), permutations).flatten() for name, piece in named]

    parameters = permuted(network.names, network.split(theta[None]))
    stats = permuted(network.buffer_names, network.split_buffers(buffers[None]))
    return torch.cat(parameters), torch.cat(stats) if stats else buffers.clone()


def _permuted(
    piece: Tensor,
    axes: tuple[Segments | None, ...] | None,
    permutations: Permutations,
    *,
    skip: int | None = None,
) -> Tensor:
    """Permute the axes of a parameter, except axis ``skip``."""
    for place, axis in enumerate(axes or ()):
        if axis is not None and place != skip:
            piece = piece.index_select(place, _order(axis, permutations).to(piece.device))
    return piece


def _order(axis: Segments, permutations: Permutations) -> Tensor:
    """Return the indices along a permuted axis."""
    parts = []
    for block, start in segments(axis):
        order = torch.arange(block.size) if block.group is None else permutations[block.group]
        inner = torch.arange(block.repeat)
        parts.append(start + (order[:, None] * block.repeat + inner).flatten())
    return torch.cat(parts)


def match_weights(
    network: Rows, spec: Spec, a: Tensor, b: Tensor, *, seed: int, sweeps: int = 100
) -> Permutations:
    """Return permutations of ``b`` (parameters,) that bring its weights close to those of ``a``.

    Coordinate descent on ‖a − π(b)‖ (Ainsworth et al., 2023, algorithm 1). Groups are visited in random
    order. Each is solved exactly as an assignment problem with the others fixed, until no group improves. The
    groups of an attention's heads are solved together. The result is a local optimum; ``sweeps`` limits the
    number of visits of all groups.
    """
    pieces_a, pieces_b = (
        {n: p[0].double().cpu() for n, p in zip(network.names, network.split(t[None]), strict=True)}
        for t in (a, b)
    )
    found = {group: torch.arange(size) for group, size in spec.groups.items()}
    generator = np.random.default_rng(seed)
    matched = spec.matched_groups()
    for _ in range(sweeps):
        gained = False
        for number in generator.permutation(len(matched)).tolist():
            groups = matched[number].groups
            likenesses = [_likeness(pieces_a, pieces_b, spec, found, group) for group in groups]
            orders = _assign(likenesses, matched[number])
            gain = sum(
                _total(likeness, order) - _total(likeness, found[group])
                for likeness, order, group in zip(likenesses, orders, groups, strict=True)
            )
            if gain > 1e-12 * sum(likeness.abs().sum().item() for likeness in likenesses):
                found.update(zip(groups, orders, strict=True))
                gained = True
        if not gained:
            break
    return found


def _total(likeness: Tensor, order: Tensor) -> float:
    return likeness[torch.arange(len(order)), order].sum().item()


def _likeness(
    a: dict[str, Tensor], b: dict[str, Tensor], spec: Spec, found: Permutations, group: int
) -> Tensor:
    """Return inner products (units of a, units of b) of a group's weights, with other axes permuted."""
    size = spec.groups[group]
    total = torch.zeros(size, size, dtype=torch.float64)
    for name, axes in spec.axes.items():
        for place, axis in enumerate(axes if name in a else ()):
            blocks = [(block, start) for block, start in segments(axis or ()) if block.group == group]
            if blocks:
                pair = a[name], _permuted(b[name], axes, found, skip=place)
                total += sum(_products(pair, place, start, block) for block, start in blocks)
    return total


def _products(pair: tuple[Tensor, Tensor], place: int, start: int, block: Segment) -> Tensor:
    """Return inner products (units, units) of two parameters over the units in a block of axis ``place``."""
    segment = [p.narrow(place, start, block.size * block.repeat).movedim(place, 0) for p in pair]
    left, right = (p.reshape(block.size, -1) for p in segment)
    return left @ right.T


def match_activations(
    network: Rows, spec: Spec, a: Tensor, b: Tensor, buffers_a: Tensor, buffers_b: Tensor, x: Tensor
) -> Permutations:
    """Return permutations of ``b`` whose units correlate most with those of ``a`` on ``x`` (inputs, *shape).

    For each group, the permutation maximises the summed correlations of matched units over inputs and
    positions (Li et al., 2016; Ainsworth et al., 2023). Activations are read at the inputs of all layers that
    carry the group; queries and keys of attention are read at their outputs. Dead units have correlation 0.
    Padding of sequences does not count.
    """
    found: Permutations = {}
    alike = correlations(network, spec, (a, b), (buffers_a, buffers_b), x)
    for joint in spec.matched_groups():
        found.update(zip(joint.groups, _assign([alike[group] for group in joint.groups], joint), strict=True))
    return found


def _assign(likenesses: Sequence[Tensor], heads: JointGroups) -> list[Tensor]:
    """Return, per group, the unit of b for each unit of a (units,) that maximises the sum of ``likenesses``.

    Each likeness is (units of a, units of b). The solution is exact: channels are matched within each pair of
    heads, and then heads are matched by the resulting sums.
    """
    count = heads.count
    inner = []  # for each group the best order (heads of a, heads of b, channels) within each pair of heads
    likeness_of_heads = torch.zeros(count, count, dtype=torch.float64)
    for likeness in likenesses:
        size = len(likeness) // count
        pairs = likeness.view(count, size, count, size).transpose(1, 2)
        orders = torch.stack([torch.stack([_best(pair) for pair in row]) for row in pairs])
        likeness_of_heads += pairs.gather(3, orders[..., None]).sum((2, 3))
        inner.append(orders)
    order = _best(likeness_of_heads)
    rows = torch.arange(count)
    return [(order[:, None] * within.shape[2] + within[rows, order]).flatten() for within in inner]


def _best(likeness: Tensor) -> Tensor:
    """Return a different column for each matrix row, with the largest sum."""
    from scipy.optimize import linear_sum_assignment  # on use: half of the import time of this package

    return torch.as_tensor(linear_sum_assignment(likeness.numpy(), maximize=True)[1])
