"""Small random networks that say their own symmetries, and permutations of their symmetries."""

from __future__ import annotations

from typing import Any

import torch
from landscape_cases import normal
from torch import Tensor

import explorer.models
from explorer.landscape.alignment import Permutations, permute
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows, seeded
from explorer.models.symmetries import Spec
from explorer.settings import plugin

WORDS, LENGTH = 11, 6
SIZES: dict[str, Any] = {"width": 8, "layers": 2, "heads": 4, "feed_forward": 1}
NETWORKS: dict[str, dict[str, Any]] = {
    "transformer": SIZES,
    "transformer untied": {**SIZES, "tied": False},
    "transformer post": {**SIZES, "norm": "post"},
    "gpt": SIZES,
    "gpt untied": {**SIZES, "tied": False},
    "vit": {"width": 8, "depth": 2, "heads": 2, "patch": 3},
    "pinn": {"width": 8, "depth": 2},
}
SHAPES = {"transformer": (2, LENGTH), "gpt": (LENGTH,), "vit": (1, 6, 6), "pinn": (3,)}
TASKS = {"transformer": "translation", "gpt": "language", "vit": "classification", "pinn": "regression"}


def made(case: str, count: int = 2, **sizes: Any) -> tuple[Rows, Tensor]:
    """Random models (count, parameters) in float64, off the zeros and ones that hide mistakes."""
    name = case.split()[0]
    options = plugin(explorer.models, name, "architecture").Options(**NETWORKS[case] | sizes)
    classes = 2 if name == "pinn" else WORDS
    build, rows = network(name, options, SHAPES[name], classes, task=TASKS[name])
    rows.module.double()
    theta = initial_rows(build, rows, range(count))[0].double()
    with seeded(2):  # no unit is dead
        return rows, theta + 0.3 * torch.randn_like(theta)


def inputs_of(case: str, count: int = 12) -> Tensor:
    name = case.split()[0]
    if name in ("vit", "pinn"):
        return normal(count, *SHAPES[name], seed=9)
    generator = torch.Generator().manual_seed(9)
    x = torch.randint(1, WORDS, (count, *SHAPES[name]), generator=generator)
    if name == "transformer":
        ends = torch.randint(1, LENGTH + 1, (count, 2, 1), generator=generator)
        x = x.masked_fill(torch.arange(LENGTH) >= ends, 0)
    return x


def shuffled(spec: Spec, seed: int = 0) -> Permutations:
    """A random element of the symmetries: heads alike in their groups, channels within their head."""
    generator = torch.Generator().manual_seed(seed)
    found: Permutations = {}
    for joint in spec.matched_groups():
        heads = torch.randperm(joint.count, generator=generator)
        for group in joint.groups:
            size = spec.groups[group] // joint.count
            within = [torch.randperm(size, generator=generator) for _ in heads]
            found[group] = torch.cat([h * size + w for h, w in zip(heads, within, strict=True)])
    return found


def moved(rows: Rows, spec: Spec, found: Permutations, theta: Tensor) -> Tensor:
    return permute(rows, spec, found, theta, theta.new_zeros(0))[0]
