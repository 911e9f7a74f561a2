"""The next cells of a grid to run, and the phases of the cells that were not run.

A phase map consists mostly of even regions; what matters is where the borders run. A Gaussian process over
the grid predicts training loss, mode connectivity, CKA and training error in every cell. This gives the
probability of each phase. The next cells are those whose phase is least sure.

>>> import explorer.refine, pandas as pd
>>> domain = {"width": [2, 4, 8, 16, 32], "batch_size": [8, 16, 32, 64]}
>>> explorer.refine.propose(pd.DataFrame(), domain, 4)
[{'width': 2, 'batch_size': 8}, {'width': 2, 'batch_size': 64}, {'width': 32, 'batch_size': 8}, \
{'width': 32, 'batch_size': 64}]
"""

from __future__ import annotations

import math
from numbers import Integral
from typing import Any

import pandas as pd

from explorer.refine.domain import Domain, keys_of, points_of
from explorer.refine.grid import coarse_places, start_size
from explorer.refine.partial import Cuts, PartialGrid
from explorer.settings import InputError

__all__ = [
    "PartialGrid",
    "coarse_places",
    "expected_share",
    "keys_of",
    "predict",
    "propose",
    "propose_places",
    "share_in_words",
    "start_size",
]


def propose(
    cells: pd.DataFrame, domain: Domain | pd.DataFrame, n: int, cuts: Cuts | None = None
) -> list[dict[str, Any]]:
    """Return the settings of the next ``n`` cells to run, the most informative first.

    Each is the cell whose most probable phase has the smallest probability, given the cells that are known
    and those proposed before it. A map without known cells gets one first. Without any known cell, the
    proposal covers the grid evenly, with its ends. The result depends on the arguments only.

    Args:
        cells: one row per known cell, with the axes, ``train_loss``, ``mode_connectivity``, ``cka`` and, if
            known, ``train_error_percent``. A cell without values (failed, diverged) is known too.
        domain: the values of each axis, or a table of the cells for a grid with gaps. Axes of words or truth
            values have no order: each of their values has a map of its own.
        n: number of cells; fewer are returned if fewer are left.
        cuts: borders between phases, as ``{"train_loss": 0.01, "connected": 1, "cka": 0.65}``; borders that
            are not given are found from the cells.

    Raises:
        InputError: a column is missing, two rows have the same settings, no row is a cell of the domain, or
            an argument has a wrong type or value.

    >>> import pandas as pd
    >>> places = [(width, size) for width in (2, 4, 8, 16) for size in (8, 32, 128)]
    >>> domain = pd.DataFrame(places, columns=["width", "batch_size"])
    >>> len(explorer.refine.propose(pd.DataFrame(), domain, 6))
    6
    """
    if isinstance(n, bool) or not isinstance(n, Integral) or n < 0:
        raise InputError(f"n is {n!r}; give a whole number of cells, 0 or more")
    points = points_of(domain)
    places = propose_places(cells, points, n, cuts)
    return [{str(name): points[name].tolist()[place] for name in points} for place in places]


def propose_places(
    cells: pd.DataFrame, domain: Domain | pd.DataFrame, n: int, cuts: Cuts | None = None
) -> list[int]:
    """Return what :func:`propose` returns, as positions in the domain: its axes' product in their order."""
    return PartialGrid(cells, domain, cuts).propose_places(n)


def predict(cells: pd.DataFrame, domain: Domain | pd.DataFrame, cuts: Cuts | None = None) -> pd.DataFrame:
    """Return one row per cell of the domain with its phase, measured or predicted.

    Args:
        cells, domain, cuts: as in :func:`propose`.

    Returns:
        The axes; ``source`` (``measured`` or ``predicted``); ``phase`` (for a measured cell that of its
        means, empty if it lacks a measure; for a predicted cell the most probable one); ``probability`` that
        the whole grid would show this phase (1 if measured; NaN without a phase); a probability for each
        phase, columns ``I`` to ``IV-B``; and mean and standard deviation of each measure, as ``train_loss``
        and ``train_loss_std``: of the replicates if measured, of the prediction if predicted.

    Raises:
        InputError: as in :func:`propose`, or no cell is known.

    >>> found = explorer.refine.predict(run.cells, run.cells[["width", "batch_size"]], run.cuts())
    >>> len(found)
    4
    """
    return PartialGrid(cells, domain, cuts).predict()


def expected_share(predicted: pd.DataFrame) -> float:
    """Return the share of phases of a :func:`predict` table that is expected to be right."""
    return float(predicted["probability"].mean())


def share_in_words(run: int, cells: int, expected: float) -> str:
    """Return the sentence at the top of a page of a refined run."""
    share = f" {100 * expected:.0f} % of phases are expected to be right" if math.isfinite(expected) else ""
    return f"{run} of {cells} cells were run{';' if share else ''}{share}."
