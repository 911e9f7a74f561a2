"""Steps between neighbouring cells of a grid: the change of setting and the change of accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column, standard_error
from explorer.phases.claims.resampling import lines
from explorer.phases.words import ACCURACY

# Meaning of a larger and of a smaller value of each axis.
SIZES = ("width", "depth", "layers", "feed_forward", "channels", "embedding_width", "model_size")
DIRECTIONS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(SIZES, ("larger model", "smaller model")),
    **dict.fromkeys(("train_size", "pairs", "points", "collocation", "signals"), ("more data", "less data")),
    **dict.fromkeys(("label_noise", "pixel_noise", "noise"), ("noisier data", "cleaner data")),
    "batch_size": ("colder training", "hotter training"),
    **dict.fromkeys(("learning_rate", "weight_decay", "momentum"), ("hotter training", "colder training")),
    **dict.fromkeys(("steps", "epochs", "checkpoint"), ("longer training", "shorter training")),
}


class Move(NamedTuple):
    """A step from a cell to a neighbour.

    ``cell`` is the cell's row number, ``gain`` the change of test accuracy in points, ``stderr`` its standard
    error (NaN if a spread is unknown).
    """

    cell: int
    axis: str
    direction: str
    gain: float
    stderr: float


def moves(cells: pd.DataFrame, names: Sequence[str]) -> list[Move]:
    """Return each step between neighbouring cells whose accuracy is known, in both directions."""
    cells = cells.reset_index(drop=True)
    accuracy, error = column(cells, ACCURACY).to_numpy(), standard_error(cells, ACCURACY).to_numpy()
    found = []
    for axis in (n for n in names if n in DIRECTIONS and pd.api.types.is_numeric_dtype(cells[n])):
        up, down = DIRECTIONS[axis]
        for line in lines(cells, axis, names)[0]:
            for a, b in pairwise(int(cell) for cell in line if cell >= 0):
                gain, stderr = float(accuracy[b] - accuracy[a]), float(np.hypot(error[a], error[b]))
                found += [Move(a, axis, up, gain, stderr), Move(b, axis, down, -gain, stderr)]
    return [move for move in found if not np.isnan(move.gain)]
