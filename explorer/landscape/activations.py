"""Correlations between the units of two networks, over inputs and positions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from explorer.landscape.operator import graph_parts
from explorer.landscape.permutations import Site, Spec
from explorer.landscape.positions import tokens_of
from explorer.models.rows import Rows

Place = tuple[str, str]  # a module's name, and its input or output


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
            f"matching activations needs to know where those of group {missing[0]} are read; "
            "match weights, or give the Spec its sites"
        )
    modules = [network.to_module(*row) for row in zip(thetas, buffers, strict=True)]
    places = {(s.module, s.side) for sites in spec.sites.values() for s in sites}
    sums: dict[tuple[int, int], Comoments] = {}
    for part in graph_parts(network, x):  # the outputs of all layers are in memory
        seen = [_activations(module, places, x[part]) for module in modules]
        for group, sites in spec.sites.items():
            for number, site in enumerate(sites):
                for pair in zip(*(s[site.module, site.side] for s in seen), strict=True):
                    units = [_units(v, site, spec.groups[group], network, x[part]) for v in pair]
                    sums.setdefault((group, number), Comoments(*units)).add(*units)
    found = {group: torch.zeros(size, size, dtype=torch.float64) for group, size in spec.groups.items()}
    for (group, _), moments in sums.items():
        found[group] += moments.correlation().cpu()
    return found


class Comoments:
    """Sums of products of deviations from the mean, over samples added in parts (Chan et al., 1983)."""

    def __init__(self, left: Tensor, right: Tensor) -> None:
        size = len(left)
        self.count = 0
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
        apart = [mean - before for mean, before in zip(means, self.means, strict=True)]
        centred = [v - m[:, None] for v, m in zip((left, right), means, strict=True)]
        weight = self.count * new / total
        self.products += centred[0] @ centred[1].T + weight * torch.outer(*apart)
        for side in range(2):
            self.squares[side] += centred[side].square().sum(1) + weight * apart[side].square()
            self.means[side] = self.means[side] + apart[side] * (new / total)
        self.count = total

    def correlation(self) -> Tensor:
        """Return correlations (units of left, units of right); 0 if a unit is constant."""
        lengths = [square.sqrt() for square in self.squares]
        # A constant unit has only rounding noise.
        scales = [torch.where(s > 1e-9 * s.max(), 1 / s, 0.0) for s in lengths]
        return self.products * scales[0][:, None] * scales[1]


def _activations(module: nn.Module, places: set[Place], x: Tensor) -> dict[Place, list[Tensor]]:
    """Return inputs or outputs of layers, each time a layer is used."""
    found: dict[Place, list[Tensor]] = {place: [] for place in places}
    with _watching(module, found):
        module(x)
    return found


@contextmanager
def _watching(module: nn.Module, found: dict[Place, list[Tensor]]) -> Iterator[None]:
    def keep(place: Place) -> Callable[..., None]:
        def hook(_layer: nn.Module, inputs: tuple[Tensor, ...], *output: Tensor) -> None:
            # A copy, because a later layer may work in place.
            found[place].append((output or inputs)[0].to(torch.float64, copy=True))

        return hook

    hooks = []
    for name, side in found:
        layer = module.get_submodule(name)
        add = layer.register_forward_pre_hook if side == "input" else layer.register_forward_hook
        hooks.append(add(keep((name, side))))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _units(values: Tensor, site: Site, size: int, network: Rows, x: Tensor) -> Tensor:
    """Return the units (size, samples) of a site."""
    values = tokens_of(values, network, site.module, x)
    dim = site.dim % values.dim()
    units = values.narrow(dim, site.start, site.length).unflatten(dim, (size, -1))
    return units.movedim(dim, 0).flatten(1)
