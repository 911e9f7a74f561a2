"""What the training histories of replicates say of stopping early."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from explorer.phases.words import ACCURACY


def gains_of_stopping(models: pd.DataFrame, epochs: pd.DataFrame) -> dict[Any, np.ndarray]:
    """Accuracy that each model gains, stopped at the step that was best for its cell's *other* replicates.

    By ``cell_id``, in points against the end, (models,); only cells of two models or more whose histories
    have two steps in common. Empty where the tables do not tell.
    """
    if not {"model_id", "cell_id"} <= set(models) or not {"model_id", "step", ACCURACY} <= set(epochs):
        return {}
    ok = models[models["status"].eq("ok")] if "status" in models else models
    history = epochs.merge(ok[["model_id", "cell_id"]], on="model_id")
    every = history.pivot_table(index=["cell_id", "model_id"], columns="step", values=ACCURACY)
    known = every.notna().to_numpy()
    filled = every.ffill(axis="columns").to_numpy()  # a model that has ended before the others stays as it is
    gains = {}
    for cell, places in every.groupby(level="cell_id").indices.items():
        table = filled[places][:, known[places].any(axis=0)]  # other cells may have steps of their own
        table = table[:, ~np.isnan(table).any(axis=0)]  # (models, steps)
        if min(table.shape) >= 2:
            others = (table.sum(axis=0) - table) / (len(table) - 1)  # (models, steps)
            stop = others.argmax(axis=1)
            gains[cell] = table[np.arange(len(table)), stop] - table[:, -1]
    return gains
