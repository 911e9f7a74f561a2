"""Small tables of scikit-learn as data sets of spaces: ``data: {name: tabular:diabetes}``."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_diabetes


def diabetes(train: int = 300) -> dict[str, np.ndarray]:
    """Return 442 patients in a fixed random order: ten measurements and the progress of the disease a year later."""
    x, y = (np.asarray(part, dtype=np.float32) for part in load_diabetes(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order], y[order]
    return {"x_train": x[:train], "y_train": y[:train], "x_test": x[train:], "y_test": y[train:]}
