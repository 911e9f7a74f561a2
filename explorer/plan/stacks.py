"""Stacks of models that are trained together: replicates of a cell, and cells with models of one shape.

A step of a small network is dominated by the cost of launching its operations, which a stack shares among
its models. A step of a large network is dominated by memory traffic: models that together exceed a core's
cache slow each other down. Imports neither torch nor Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import explorer.models
from explorer.data.base import DataOptions
from explorer.data.dataset import Arrays
from explorer.plan.units import Part, architecture_key, settings_of_row
from explorer.settings import digest, plugin
from explorer.space.model import Cell, CheckedSpace
from explorer.space.training import Use, names_of

# Limits on a CPU, measured with networks of 1,000 to 400,000 parameters (``benchmarks/side_by_side.py``):
# more models do not help, and more parameters per stack are slower.
MODELS_PER_STACK, PARAMETERS_PER_STACK = 40, 2**19
FIRST = ("learning_rate", "weight_decay")  # with another order, runs would have different stacks
OWN_DATA = {"label_noise", "noise_kind"}  # settings that change the targets only

Shape = Callable[[Cell], tuple[tuple[int, ...], int]]  # shape of an input, and the number of classes
Sizes = Mapping[str, int]  # fastest number of models per stack, by architecture
NO_SIZES: Sizes = {}  # default: all replicates of one cell form a stack


def shape_of(clean: Arrays, cell: Cell) -> tuple[tuple[int, ...], int]:
    """Return the shape of a cell's input and its number of classes, from its clean data."""
    return clean.shape, len(getattr(cell.data, "classes", None) or range(clean.classes))


def sizes(space: CheckedSpace, shape: Shape, known: Sizes = NO_SIZES) -> dict[str, int]:
    """Return the stack sizes on a CPU for architectures that can count their parameters arithmetically.

    The sizes depend on the space and the shape of its data, not on the number of workers. With many workers
    this can leave some idle; ``cells_per_trial: 1`` then spreads the models over more workers.

    Args:
        known: sizes that the run has already chosen; they are kept.
    """
    result = dict(known)
    for cell in space.cells:
        if ":" in cell.model_name:
            continue
        count = getattr(plugin(explorer.models, cell.model_name, "architecture"), "parameters", None)
        key = architecture_key(cell)
        if count is not None and key not in result:
            result[key] = max(
                1, min(MODELS_PER_STACK, PARAMETERS_PER_STACK // count(cell.model, *shape(cell)))
            )
    return result


def parts(space: CheckedSpace, sizes: Sizes = NO_SIZES) -> Iterator[list[Part]]:
    """Yield the parts of each stack. They depend on the space and the sizes, not on finished work."""
    for family in _families(space):
        cell = family[0][-1]
        seeds = _seeds_at_once(cell, space.resources.replicates_per_trial, sizes)
        for group in _together(family, max(map(len, seeds)), space, sizes):
            for some in seeds:
                yield [Part(cells, some) for cells in group]


def _families(space: CheckedSpace) -> list[list[list[Cell]]]:
    """Group trainings that can share a stack. A training is a list of cells: its checkpoints."""
    trainings: dict[str, list[Cell]] = {}
    for cell in space.cells:
        trainings.setdefault(cell.final.id, []).append(cell)
    alone = space.resources.cells_per_trial == 1
    families: dict[str, list[list[Cell]]] = {}
    for name, cells in trainings.items():
        cells.sort(key=lambda cell: cell.training.checkpoint)
        families.setdefault(name if alone else _family(cells), []).append(cells)
    return list(families.values())


def _family(cells: list[Cell]) -> str:
    """Return a key that is equal for trainings that can share a stack."""
    cell, training = cells[-1], cells[-1].training
    alone = any(getattr(training, name) is not None for name in names_of(Use.ALONE))
    # A stopped model is computed until its stack stops; a user's optimiser has one rule for all rows.
    if alone or cell.data_per_seed or ":" in training.optimizer:
        return cell.final.id
    settings = cell.final.settings
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
    """Split the seeds of a cell into stacks of about equal size."""
    count = len(cell.seeds)
    if isinstance(replicates, int):
        return [cell.seeds[start : start + replicates] for start in range(0, count, replicates)]
    most = sizes.get(architecture_key(cell), count) if replicates == "auto" else count
    stacks = count if cell.data_per_seed else -(-count // most)
    return [cell.seeds[count * i // stacks : count * (i + 1) // stacks] for i in range(stacks)]


def _together(
    family: list[list[Cell]], seeds: int, space: CheckedSpace, sizes: Sizes
) -> Iterator[list[list[Cell]]]:
    """Split a family into one group of trainings per stack, by similar settings."""
    wanted, most = space.resources.cells_per_trial, 1
    if isinstance(wanted, int):
        most = wanted
    elif not isinstance(space.resources.replicates_per_trial, int):
        most = max(1, sizes.get(architecture_key(family[0][-1]), 1) // seeds)
    groups = -(-len(family) // most)
    ordered = sorted(family, key=lambda cells: _place(cells[-1]))
    for i in range(groups):
        yield ordered[len(family) * i // groups : len(family) * (i + 1) // groups]


def _place(cell: Cell) -> list[float]:
    """Return the place of a training among those that may share its stack."""
    settings = settings_of_row(cell.training)
    return [settings.pop(name) for name in FIRST] + [settings[name] for name in sorted(settings)]
