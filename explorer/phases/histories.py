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
    gains = {}
    for cell, places in every.groupby(level="cell_id").indices.items():
        table = filled[places][:, known[places].any(axis=0)]  # other cells may have other steps
        table = table[:, ~np.isnan(table).any(axis=0)]  # (models, steps)
        if min(table.shape) >= 2:
            others = (table.sum(axis=0) - table) / (len(table) - 1)  # (models, steps)
            stop = others.argmax(axis=1)
            gains[cell] = table[np.arange(len(table)), stop] - table[:, -1]
    return gains
