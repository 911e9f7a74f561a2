"""Which models are trained side by side: replicates of a cell, and cells whose models have the same shape.

A small network's step is mostly the cost of starting its operations, which many models share; a large
one's is memory traffic, and models that no longer fit into a core's cache together slow each other down.
No torch, no Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import explorer.models
from explorer.data.base import DataOptions
from explorer.data.dataset import Arrays
from explorer.plan.units import Part, architecture_key
from explorer.settings import digest, plugin
from explorer.space.model import Cell, Space
from explorer.space.training import Use, names_of

# On a CPU, measured with networks of 1,000 to 400,000 parameters (``benchmarks/side_by_side.py``): beyond
# so many models nothing more is gained, and beyond so many parameters all together it gets slower.
MODELS_PER_STACK, PARAMETERS_PER_STACK = 40, 2**19
OWN_DATA = {"label_noise", "noise_kind"}  # they change the targets only

Shape = Callable[[Cell], tuple[tuple[int, ...], int]]  # of an input, and the number of classes
Sizes = Mapping[str, int]  # models that run fastest side by side, by architecture
NO_SIZES: Sizes = {}  # nothing is known: all replicates of a cell side by side, and no two cells


def shape_of(clean: Arrays, cell: Cell) -> tuple[tuple[int, ...], int]:
    """Shape of an input of a cell, and the number of its classes, of the clean data that it starts from."""
    return clean.shape, len(getattr(cell.data, "classes", None) or range(clean.classes))


def sizes(space: Space, shape: Shape, known: Sizes = NO_SIZES) -> dict[str, int]:
    """The sizes of stacks on a CPU, of the architectures whose parameters can be counted by arithmetic.

    They follow from the space and the shape of its data. That they do not from the number of workers has
    its price where those are many: ``cells_per_trial: 1`` spreads the models over more of them.

    Args:
        known: what the run has chosen already, which stays.
    """
    found = dict(known)
    for cell in space.cells:
        count = None if ":" in cell.model_name else getattr(_module(cell), "parameters", None)
        key = architecture_key(cell)
        if count is not None and key not in found:
            found[key] = max(
                1, min(MODELS_PER_STACK, PARAMETERS_PER_STACK // count(cell.model, *shape(cell)))
            )
    return found


def _module(cell: Cell) -> object:
    return plugin(explorer.models, cell.model_name, "architecture")


def parts(space: Space, sizes: Sizes = NO_SIZES) -> Iterator[list[Part]]:
    """The stacks: what each consists of. They follow from the space and the sizes, not from what is done."""
    for family in _families(space):
        cell = family[0][-1]
        seeds = _seeds_at_once(cell, space.resources.replicates_per_trial, sizes)
        for group in _together(family, max(map(len, seeds)), space, sizes):
            for some in seeds:
                yield [Part(cells, some) for cells in group]


def _families(space: Space) -> list[list[list[Cell]]]:
    """Trainings (cells that are checkpoints of one), those of a list can be rows of one stack."""
    trainings: dict[str, list[Cell]] = {}
    for cell in space.cells:
        trainings.setdefault(cell.whole.id, []).append(cell)
    alone = space.resources.cells_per_trial == 1
    families: dict[str, list[list[Cell]]] = {}
    for name, cells in trainings.items():
        cells.sort(key=lambda cell: cell.training.checkpoint)
        families.setdefault(name if alone else _family(cells), []).append(cells)
    return list(families.values())


def _family(cells: list[Cell]) -> str:
    """The same for trainings of one shape: all but what each row of a stack may have of its own."""
    cell, training = cells[-1], cells[-1].training
    alone = any(getattr(training, name) is not None for name in names_of(Use.ALONE))
    if (
        alone or cell.own_data or ":" in training.optimizer
    ):  # it would be computed on until the last of the stack stops; or it has one rule for all rows
        return cell.whole.id
    settings = cell.whole.settings
    own = OWN_DATA if cell.task == "classification" and isinstance(cell.data, DataOptions) else set()
    return digest(
        {
            **settings,
            "data": {name: value for name, value in settings["data"].items() if name not in own},
            "training": {k: v for k, v in settings["training"].items() if k not in names_of(Use.MODEL)},
            "checkpoints": [cell.checkpoint_step for cell in cells],
        }
    )


def _seeds_at_once(cell: Cell, replicates: int | str, sizes: Sizes) -> list[list[int]]:
    """Seeds of a cell, in stacks of about equal size."""
    count = cell.seeds
    if isinstance(replicates, int):
        return [list(range(start, min(start + replicates, count))) for start in range(0, count, replicates)]
    most = sizes.get(architecture_key(cell), count) if replicates == "auto" else count
    stacks = count if cell.own_data else -(-count // most)
    return [list(range(count * i // stacks, count * (i + 1) // stacks)) for i in range(stacks)]


def _together(family: list[list[Cell]], seeds: int, space: Space, sizes: Sizes) -> Iterator[list[list[Cell]]]:
    """The trainings of a family in groups, each for one stack; what has the same settings side by side."""
    wanted, most = space.resources.cells_per_trial, 1
    if isinstance(wanted, int):
        most = wanted
    elif not isinstance(space.resources.replicates_per_trial, int):
        most = max(1, sizes.get(architecture_key(family[0][-1]), 1) // seeds)
    groups = -(-len(family) // most)
    ordered = sorted(family, key=lambda cells: _settings(cells[-1]))
    for i in range(groups):
        yield ordered[len(family) * i // groups : len(family) * (i + 1) // groups]


def _settings(cell: Cell) -> tuple[float, ...]:
    t = cell.training
    return t.rate, t.weight_decay, t.momentum, t.rho
