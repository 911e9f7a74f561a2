"""Effect of early stopping, estimated from the training histories of replicates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from explorer.phases.aggregate import ok_rows
from explorer.phases.words import ACCURACY


def gains_of_stopping(models: pd.DataFrame, epochs: pd.DataFrame) -> dict[Any, np.ndarray]:
    """Return the accuracy that each model gains if stopped at the best step of its cell's *other* replicates.

    Gains (models,) by ``cell_id``, in points relative to the end of training. Only cells with at least two
    models and two common steps in their histories are included. Empty if the tables lack the columns.
    """
    if not {"model_id", "cell_id"} <= set(models) or not {"model_id", "step", ACCURACY} <= set(epochs):
        return {}
    history = epochs.merge(ok_rows(models)[["model_id", "cell_id"]], on="model_id")
    every = history.pivot_table(index=["cell_id", "model_id"], columns="step", values=ACCURACY)
    known = every.notna().to_numpy()
    filled = every.ffill(axis="columns").to_numpy()  # a model that ended early keeps its last value
    cells = every.groupby(level="cell_id").indices
    gains = {}
    for size in {len(places) for places in cells.values()} - {1}:
        some = [cell for cell, places in cells.items() if len(places) == size]
        places = np.array([cells[cell] for cell in some])
        table = filled[places]  # (cells, models, steps)
        common = known[places].any(axis=1) & ~np.isnan(table).any(axis=1)  # (cells, steps)
        others = (table.sum(axis=1, keepdims=True) - table) / (size - 1)
        stop = np.where(common[:, None], others, -np.inf).argmax(axis=2)[..., None]
        last = common.shape[1] - 1 - common[:, ::-1].argmax(axis=1)
        gained = np.take_along_axis(table, stop, 2)[..., 0] - table[np.arange(len(some)), :, last]
        enough = common.sum(axis=1) >= 2
        gains |= {cell: gain for cell, gain, it in zip(some, gained, enough, strict=True) if it}
    return {cell: gains[cell] for cell in cells if cell in gains}
