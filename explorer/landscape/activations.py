"""Activations of layers, and their correlations between the units of two networks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from explorer.landscape.operator import graph_parts
from explorer.models.rows import Rows
from explorer.models.symmetries import Site, Spec

Place = tuple[str, str]  # a module's name, and its input or output


def record(module: nn.Module, places: Iterable[Place]) -> dict[Place, list[Any]]:
    """Return lists to which each call of ``module`` appends copies of the inputs or outputs of layers."""
    found: dict[Place, list[Any]] = {place: [] for place in places}

    def append_to(values: list[Any]) -> Callable[..., None]:
        def hook(_layer: nn.Module, inputs: tuple[Any, ...], *output: Any) -> None:
            value = (output or inputs)[0]
            # A copy, because a later layer may work in place.
            values.append(value.clone() if isinstance(value, Tensor) else value)

        return hook

    for (name, side), values in found.items():
        layer = module.get_submodule(name)
        add = layer.register_forward_pre_hook if side == "input" else layer.register_forward_hook
        add(append_to(values))
    return found


def positions(network: Rows, layer: str, x: Tensor) -> Tensor | None:
    """Return where (inputs, length) the layer sees tokens, not padding; None for a task without sequences.

    A network defines this by a method ``positions(layer, x)``. Without one, tokens (inputs, length) are
    assumed to have no padding.

    Raises:
        ValueError: the inputs are two sequences, and the network does not say which one the layer sees.
    """
    if not network.task.by_token:
        return None
    of_network = getattr(network.module, "positions", None)
    if of_network is not None:
        return of_network(layer, x)
    if x.dim() == 2:
        return torch.ones_like(x, dtype=torch.bool)
    raise ValueError(
        f"it is unknown whether layer {layer!r} sees source or target tokens, and where they are padding; "
        "give the network a method positions(layer, x) that returns where (inputs, length) it sees tokens"
    )


def tokens_of(values: Tensor, network: Rows, layer: str, x: Tensor) -> Tensor:
    """Return the values (tokens, features) of a layer at tokens; for other tasks, all values unchanged.

    Raises:
        ValueError: the values are not one vector for each token.
    """
    where = positions(network, layer, x)
    if where is None:
        return values
    if values.dim() != 3 or values.shape[:2] != where.shape:
        raise ValueError(
            f"layer {layer!r} has values of shape {tuple(values.shape)}, which are not one vector for each "
            f"of {tuple(where.shape)} tokens"
        )
    return values[where.to(values.device)]


@torch.no_grad()
def correlations(
    network: Rows, spec: Spec, thetas: tuple[Tensor, Tensor], buffers: tuple[Tensor, Tensor], x: Tensor
) -> dict[int, Tensor]:
    """Return correlations (units of the first, units of the second) per group, summed over its sites.

    The samples of a unit are its activations at all inputs x (inputs, *shape) and positions. In sequences,
    only positions with tokens count. A constant unit has correlation 0. Only a few inputs are in memory at a
    time.

    Raises:
        ValueError: ``spec`` has a group without a site.
    """
    missing = [group for group in spec.groups if not spec.sites.get(group)]
    if missing:
        raise ValueError(
            f"the Spec does not say which modules have the activations of group {missing[0]}; add its sites, "
            "or use the method weights"
        )
    modules = [network.to_module(*row) for row in zip(thetas, buffers, strict=True)]
    places = {(s.module, s.side) for sites in spec.sites.values() for s in sites}
    sums: dict[tuple[int, int], Comoments] = {}
    records = [record(module, places) for module in modules]
    for part in graph_parts(network, x):  # the outputs of all layers are in memory
        for module in modules:
            module(x[part])
        for group, sites in spec.sites.items():
            for number, site in enumerate(sites):
                for pair in zip(*(r[site.module, site.side] for r in records), strict=True):
                    units = [_units(v, site, spec.groups[group], network, x[part]) for v in pair]
                    sums.setdefault((group, number), Comoments(*units)).add(*units)
        for values in itertools.chain(*(found.values() for found in records)):
            values.clear()
    total = {group: torch.zeros(size, size, dtype=torch.float64) for group, size in spec.groups.items()}
    for (group, _), moments in sums.items():
        total[group] += moments.correlation().cpu()
    return total


class Comoments:
    """Sums of products of deviations from the mean, over samples added in parts (Chan et al., 1983)."""

    def __init__(self, left: Tensor, right: Tensor) -> None:
        self.count, size = 0, len(left)
        self.means = [left.new_zeros(size), left.new_zeros(size)]
        self.squares = [left.new_zeros(size), left.new_zeros(size)]
        self.products = left.new_zeros(size, size)

    def add(self, left: Tensor, right: Tensor) -> None:
        """Add samples (units, samples) of both networks."""
        new = left.shape[1]
        if not new:
            return
        total = self.count + new
        means = [values.mean(1) for values in (left, right)]
        shifts = [mean - before for mean, before in zip(means, self.means, strict=True)]
        centred = [v - m[:, None] for v, m in zip((left, right), means, strict=True)]
        weight = self.count * new / total
        self.products += centred[0] @ centred[1].T + weight * torch.outer(*shifts)
        for side in range(2):
            self.squares[side] += centred[side].square().sum(1) + weight * shifts[side].square()
            self.means[side] = self.means[side] + shifts[side] * (new / total)
        self.count = total

    def correlation(self) -> Tensor:
        """Return correlations (units of left, units of right); 0 if a unit is constant."""
        lengths = [square.sqrt() for square in self.squares]
        # A constant unit has only rounding noise.
        scales = [torch.where(s > 1e-9 * s.max(), 1 / s, 0.0) for s in lengths]
        return self.products * scales[0][:, None] * scales[1]


def _units(values: Tensor, site: Site, size: int, network: Rows, x: Tensor) -> Tensor:
    """Return the units (size, samples) of a site."""
    values = tokens_of(values.double(), network, site.module, x)
    dim = site.dim % values.dim()
    units = values.narrow(dim, site.start, site.length).unflatten(dim, (size, -1))
    return units.movedim(dim, 0).flatten(1)
