"""Probability that a cell belongs to each phase."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column, standard_error
from explorer.phases.cuts import PHASES, Cut


def memberships(cells: pd.DataFrame, cuts: Mapping[str, Cut]) -> pd.DataFrame:
    """Return the probability of each phase for each cell, columns ``PHASES``; a row sums to 1.

    Each measure that decides is modelled as normal around its mean with its standard error, independent of
    the others. If the error is unknown, the mean counts as exact. NaN if a measure that decides is missing.
    """
    low = _below(cells, "train_loss", cuts["train_loss"].value)
    connected = cuts["connected"].value
    borders = (-connected, 0.0, np.nextafter(connected, np.inf))  # mc = connected is connected
    under, negative, upto = (_below(cells, "mode_connectivity", border) for border in borders)
    level = low * (upto - under)
    unlike = _below(cells, "cka", cuts["cka"].value)
    unlike = np.where(np.isnan(unlike) & (level < 1e-9), 0.0, unlike)
    shares = {
        "I": (1 - low) * negative,
        "II": (1 - low) * (1 - negative) + low * (1 - upto),
        "III": low * under,
        "IV-A": level * unlike,
        "IV-B": level * (1 - unlike),
    }
    return pd.DataFrame(shares, index=cells.index)[list(PHASES)]


def _below(cells: pd.DataFrame, name: str, border: float) -> np.ndarray:
    """Return the probability that each cell's mean lies below a border."""
    mean, error = column(cells, name).to_numpy(), standard_error(cells, name).fillna(0.0).to_numpy()
    known = error > 0
    z = np.divide(border - mean, error, out=np.zeros(len(mean)), where=known)
    smooth = np.array([0.5 * (1 + math.erf(v / math.sqrt(2))) if math.isfinite(v) else 0.5 for v in z])
    sharp = np.where(mean < border, 1.0, 0.0)
    return np.where(np.isnan(mean), np.nan, np.where(known, smooth, sharp))
