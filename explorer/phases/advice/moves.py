"""Steps between neighbouring cells of a grid: the change of setting and the change of accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column, standard_error
from explorer.phases.claims.resampling import lines
from explorer.phases.words import ACCURACY

# Meaning of a larger and of a smaller value of each axis.
DIRECTIONS: dict[str, tuple[str, str]] = {
    "width": ("larger model", "smaller model"),
    "depth": ("larger model", "smaller model"),
    "layers": ("larger model", "smaller model"),
    "feed_forward": ("larger model", "smaller model"),
    "channels": ("larger model", "smaller model"),
    "embedding_width": ("larger model", "smaller model"),
    "model_size": ("larger model", "smaller model"),
    "train_size": ("more data", "less data"),
    "pairs": ("more data", "less data"),
    "points": ("more data", "less data"),
    "collocation": ("more data", "less data"),
    "signals": ("more data", "less data"),
    "label_noise": ("noisier data", "cleaner data"),
    "pixel_noise": ("noisier data", "cleaner data"),
    "noise": ("noisier data", "cleaner data"),
    "batch_size": ("colder training", "hotter training"),
    "learning_rate": ("hotter training", "colder training"),
    "weight_decay": ("hotter training", "colder training"),
    "momentum": ("hotter training", "colder training"),
    "steps": ("longer training", "shorter training"),
    "epochs": ("longer training", "shorter training"),
    "checkpoint": ("longer training", "shorter training"),
}
COLUMNS = ("cell", "to", "axis", "value", "move", "gain", "stderr")


def moves(cells: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return one row for each step between neighbouring cells, in both directions.

    ``cell`` and ``to`` are row numbers of ``cells``; ``gain`` is the change of test accuracy in points,
    ``stderr`` its standard error (NaN if a spread is unknown).
    """
    cells = cells.reset_index(drop=True)
    accuracy, error = column(cells, ACCURACY).to_numpy(), standard_error(cells, ACCURACY).to_numpy()
    rows = []
    for axis in (n for n in names if n in DIRECTIONS and pd.api.types.is_numeric_dtype(cells[n])):
        grid, steps = lines(cells, axis, names)
        for line in grid:
            met = [(int(cell), steps[k]) for k, cell in enumerate(line) if cell >= 0]
            for (a, low), (b, high) in pairwise(met):
                up, down = DIRECTIONS[axis]
                stderr = float(np.hypot(error[a], error[b]))
                rows.append((a, b, axis, high, up, accuracy[b] - accuracy[a], stderr))
                rows.append((b, a, axis, low, down, accuracy[a] - accuracy[b], stderr))
    return pd.DataFrame(rows, columns=list(COLUMNS)).dropna(subset=["gain"]).reset_index(drop=True)
