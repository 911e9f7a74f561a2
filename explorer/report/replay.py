"""Replay of a finished grid as a refined run, to see how many phases would have been right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from explorer import phases
from explorer.refine import PartialGrid, coarse_places, expected_share, propose_places, start_size
from explorer.results import RunTables
from explorer.settings import InputError, suggest
from explorer.space.model import RefineOptions

RANDOM = 3  # sets of random cells, whose shares are averaged
LARGE = 500  # cells of a grid in which one set is enough


def replay(
    run: RunTables, options: RefineOptions, *, by: str | None = None, cuts: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Return how many phases were right after each round if the tables stood in for training.

    All cells of the budget are run (``until`` is ignored). Random cells and an evenly coarser grid of at most
    as many cells predict the phases of the others in the same way.

    Args:
        by: replay the cells of each value of this axis as a grid of their own.

    Returns:
        A row per grid and round: ``grid`` (the value of ``by``), ``cells`` that were run, ``of`` how many,
        and the shares ``refined``, ``expected`` (of the refined map), ``random`` and ``coarser``.

    Raises:
        InputError: there is no axis ``by``, or no cell has a phase.
    """
    names = phases.axis_names(run.axes)
    if by is not None and by not in names:
        raise InputError(f"--by {by}: there is no such axis; the axes are {suggest(by, names)}")
    if names == ([by] if by else []):
        raise InputError(f"{run.folder}: no axis has two values, so there is no grid to replay")
    grids = run.grid.groupby(by, sort=True) if by else [("", run.grid)]
    axes = [name for name in names if name != by]
    rows = [row for value, cells in grids for row in _rounds(run, cells, axes, options, cuts, value)]
    return pd.DataFrame(rows)


def _rounds(
    run: RunTables,
    cells: pd.DataFrame,
    axes: list[str],
    options: RefineOptions,
    given: Mapping[str, float] | None,
    value: Any,
) -> list[dict[str, Any]]:
    cells = cells.reset_index(drop=True)
    domain = cells[axes]
    truth = phases.classify(cells, run.cuts(given, cells))["phase"].to_numpy()
    known = truth != ""
    if not known.any():
        raise InputError(
            f"{run.folder}: no cell has a phase, so nothing can be replayed; phases need columns "
            "train_loss, mode_connectivity and cka"
        )

    def run_cells(places: Any) -> PartialGrid:
        table = cells.iloc[places]
        return PartialGrid(table, domain, run.cuts(given, table))

    def right(predicted: pd.DataFrame) -> float:
        return float((predicted["phase"].to_numpy() == truth)[known].mean())

    most, rows = options.most(len(cells)), []
    chosen = propose_places(pd.DataFrame(), domain, min(start_size(domain, options.start), max(most // 2, 1)))
    random = np.random.default_rng(0)
    while True:
        grid = run_cells(chosen)
        predicted = grid.predict()
        sets = [
            random.choice(len(cells), len(chosen), replace=False)
            for _ in range(RANDOM if len(cells) <= LARGE else 1)
        ]
        rows.append(
            {
                "grid": value,
                "cells": len(chosen),
                "of": len(cells),
                "refined": right(predicted),
                "expected": expected_share(predicted),
                "random": float(np.mean([right(run_cells(places).predict()) for places in sets])),
                "coarser": right(run_cells(coarse_places(domain, len(chosen))).predict()),
            }
        )
        if len(chosen) >= most:
            return rows
        number = min(options.next(len(cells)), most - len(chosen))
        chosen = [*chosen, *grid.propose_places(number)]
