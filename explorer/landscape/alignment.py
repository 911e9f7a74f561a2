"""Permutation alignment: the order of hidden units in which one model lies nearest to another.

Two trained networks may be far apart only because their hidden units come in another order (Entezari et
al., 2022). Aligned, the straight line between them often has a much lower barrier (Ainsworth et al.,
2023, "Git Re-Basin").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, fx

from explorer.landscape.permutations import Axis, Spec, permutation_spec
from explorer.models.rows import Rows

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
    """``b`` and ``buffers_b`` with hidden units permuted to match ``a``: the same functions, pair by pair.

    Args:
        a, b: (pairs, parameters); ``buffers_a``, ``buffers_b`` (pairs, numbers).
        x: inputs (inputs, *shape); their activations are compared by ``activations``, ``weights`` needs
            one only.
        seeds: of the order in which weight matching visits the layers, one a pair.
        spec: the permutations allowed; by default those found by :func:`permutation_spec`.

    Raises:
        ValueError: the permutations of this network cannot be found.
    """
    spec = spec or permutation_spec(network.to_module(a[0], buffers_a[0]), x)
    thetas, stats = [], []
    for row, seed in enumerate(seeds):
        if method == "weights":
            found = match_weights(network, spec, a[row], b[row], seed=seed)
        else:
            found = match_activations(network, spec, a[row], b[row], buffers_a[row], buffers_b[row], x)
        theta, buffer = permute(network, spec, found, b[row], buffers_b[row])
        thetas.append(theta)
        stats.append(buffer)
    return torch.stack(thetas), torch.stack(stats)


def permute(
    network: Rows, spec: Spec, permutations: Permutations, theta: Tensor, buffers: Tensor
) -> tuple[Tensor, Tensor]:
    """One model (parameters,) and its buffers (numbers,) with unit ``permutations[group][i]`` at place i."""
    pieces = network._split(theta[None])
    stats = network._split_buffers(buffers[None])
    moved = [
        _permuted(piece[0], spec.axes.get(name), permutations).flatten()
        for name, piece in [
            *zip(network._names, pieces, strict=True),
            *zip(network._buffer_names, stats, strict=True),
        ]
    ]
    count = len(pieces)
    return torch.cat(moved[:count]), torch.cat(moved[count:]) if stats else buffers.clone()


def _permuted(
    piece: Tensor,
    axes: tuple[Axis | None, ...] | None,
    permutations: Permutations,
    *,
    skip: int | None = None,
) -> Tensor:
    """A parameter with its axes permuted, all but axis ``skip``."""
    for place, axis in enumerate(axes or ()):
        if axis is not None and place != skip:
            piece = piece.index_select(place, _order(axis, permutations).to(piece.device))
    return piece


def _order(axis: Axis, permutations: Permutations) -> Tensor:
    """Indices along an axis."""
    parts, start = [], 0
    for block in axis:
        order = torch.arange(block.size) if block.group is None else permutations[block.group]
        inner = torch.arange(block.repeat)
        parts.append(start + (order[:, None] * block.repeat + inner).flatten())
        start += block.size * block.repeat
    return torch.cat(parts)


def match_weights(
    network: Rows, spec: Spec, a: Tensor, b: Tensor, *, seed: int, sweeps: int = 100
) -> Permutations:
    """Permutations of ``b`` (parameters,) that bring its weights near to those of ``a``.

    Coordinate descent on ‖a − π(b)‖: the groups take turns in random order, each solved exactly as an
    assignment problem with the others held, until no group gains (Ainsworth et al., 2023, algorithm 1). A
    local optimum; ``sweeps`` bounds the turns of all groups.
    """
    pieces_a, pieces_b = (
        {n: p[0].double().cpu() for n, p in zip(network._names, network._split(t[None]), strict=True)}
        for t in (a, b)
    )
    found = {group: torch.arange(size) for group, size in spec.groups.items()}
    generator = np.random.default_rng(seed)
    uses = {
        group: [
            (name, place)
            for name, axes in spec.axes.items()
            if name in pieces_a
            for place, axis in enumerate(axes)
            if any(block.group == group for block in axis or ())
        ]
        for group in spec.groups
    }
    for _ in range(sweeps):
        gained = False
        for group in generator.permutation(list(spec.groups)).tolist():
            likeness = torch.zeros(spec.groups[group], spec.groups[group], dtype=torch.float64)
            for name, place in uses[group]:
                likeness += _likeness(pieces_a[name], pieces_b[name], spec.axes[name], found, place, group)
            order = _assign(likeness)
            rows = torch.arange(len(order))
            gain = likeness[rows, order].sum() - likeness[rows, found[group]].sum()
            if gain > 1e-12 * likeness.abs().sum():
                found[group], gained = order, True
        if not gained:
            break
    return found


def _likeness(
    a: Tensor, b: Tensor, axes: tuple[Axis | None, ...], found: Permutations, place: int, group: int
) -> Tensor:
    """Inner products (units of a, units of b) along axis ``place``, all other axes permuted as found."""
    b = _permuted(b, axes, found, skip=place)
    total, start = torch.zeros((), dtype=a.dtype), 0
    for block in axes[place] or ():
        length = block.size * block.repeat
        if block.group == group:
            left, right = (
                p.narrow(place, start, length).movedim(place, 0).reshape(block.size, -1) for p in (a, b)
            )
            total = total + left @ right.T
        start += length
    return total


def match_activations(
    network: Rows, spec: Spec, a: Tensor, b: Tensor, buffers_a: Tensor, buffers_b: Tensor, x: Tensor
) -> Permutations:
    """Permutations of ``b`` whose units correlate most with those of ``a`` on inputs ``x`` (inputs, *shape).

    For each group, the sum of the correlations over inputs and positions of matched units is largest, at
    all inputs of layers that carry the group (Li et al., 2016; Ainsworth et al., 2023). Dead units count 0.
    """
    if spec.trace is None:
        raise ValueError(
            "matching activations needs a traced network; match weights, or use permutation_spec"
        )
    graph, wanted = spec.trace.graph, {name for sites in spec.sites.values() for name, _, _ in sites}
    units_a, units_b = (
        _activations(
            fx.GraphModule(network.to_module(theta, buffers), graph), wanted, x, network.chunks(1, x)
        )
        for theta, buffers in ((a, buffers_a), (b, buffers_b))
    )
    found = {}
    for group, sites in spec.sites.items():
        likeness = torch.zeros(spec.groups[group], spec.groups[group], dtype=torch.float64)
        for site in sites:
            left, right = (_units(units[site[0]], site, spec.groups[group]) for units in (units_a, units_b))
            likeness += left @ right.T
        found[group] = _assign(likeness)
    return found


@torch.no_grad()
def _activations(
    trace: fx.GraphModule, wanted: set[str], x: Tensor, parts: Iterable[slice]
) -> dict[str, Tensor]:
    """Activations (inputs, channels, *positions) of the nodes ``wanted``."""
    interpreter = fx.Interpreter(trace, garbage_collect_values=False)
    found: dict[str, list[Tensor]] = {name: [] for name in wanted}
    for part in parts:
        interpreter.run(x[part])
        for node, value in interpreter.env.items():
            if node.name in wanted:
                found[node.name].append(value.double().cpu())
    return {name: torch.cat(pieces) for name, pieces in found.items()}


def _units(values: Tensor, site: tuple[str, int, int], size: int) -> Tensor:
    """A site's units (size, samples), each of mean 0 and length 1; a constant unit becomes 0."""
    _, start, length = site
    units = values.narrow(1, start, length).unflatten(1, (size, -1)).transpose(0, 1).flatten(1)
    units = units - units.mean(1, keepdim=True)
    length = units.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-9 * length.max(), units / length, 0.0)


def _assign(likeness: Tensor) -> Tensor:
    """The unit of b for each unit of a (units,): the largest sum of ``likeness`` (units of a, of b)."""
    from scipy.optimize import linear_sum_assignment  # here: half of what importing the landscape would take

    return torch.as_tensor(linear_sum_assignment(likeness.numpy(), maximize=True)[1])
