"""Phases of cells, with their probability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from explorer.phases.aggregate import column, standard_error
from explorer.phases.best import among_best
from explorer.phases.cuts import (
    PHASES,
    Cut,
    Sides,
    Sorted,
    fits_labels,
    resampled_cuts,
    sides_of_cka,
    sides_of_connectivity,
    sides_of_loss,
    sort_cells,
    sort_sides,
)
from explorer.phases.resampling import blocks, draws_for
from explorer.settings import seed_for

CERTAIN = 0.8  # a phase of less probability is drawn as uncertain
DECIDING = ("train_loss", "mode_connectivity", "cka")


def classify(
    cells: pd.DataFrame, cuts: Mapping[str, Cut], shares: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Return a copy of the cells with phase, its probability, the cuts nearby, and the cells among the best.

    Columns: ``phase`` (empty if a needed measure is missing), ``phase_probability`` (``memberships``; NaN if
    unknown), ``second_phase`` (the most probable other phase; empty if there is none), ``near_cut`` and
    ``among_best`` (``explorer.phases.best``). A cell is near a cut if its mean ± standard error reaches over
    the cut. If a cell fits its labels with a loss above the cut, its probability is below CERTAIN.

    Args:
        shares: the result of ``memberships``, if it is known.
    """
    out = cells.copy()
    found = sort_cells(cells, cuts)
    shares = memberships(cells, cuts) if shares is None else shares
    out["phase"] = found.phase
    rows = np.arange(len(cells))
    of_phase = np.array([PHASES.index(p) if p else -1 for p in found.phase.tolist()], dtype=int)
    values = shares.to_numpy()
    probability = np.where(of_phase >= 0, values[rows, of_phase], np.nan)
    unsure = found.without_confidence & (probability >= CERTAIN)
    out["phase_probability"] = np.where(unsure, CERTAIN - 0.01, probability)
    others = values.copy()
    others[rows[of_phase >= 0], of_phase[of_phase >= 0]] = 0.0
    most = np.nan_to_num(others, nan=0.0)
    names = np.array(PHASES)[most.argmax(axis=1)] if len(cells) else np.array([], dtype=str)
    out["second_phase"] = np.where((most.max(axis=1, initial=0.0) > 0) & (of_phase >= 0), names, "")
    out["near_cut"] = _near(cells, cuts, found)
    out["among_best"] = among_best(cells)
    return out


def _near(cells: pd.DataFrame, cuts: Mapping[str, Cut], found: Sorted) -> list[str]:
    """Return the cuts that lie within one standard error of each cell's mean, joined by commas."""

    def near(name: str, border: float) -> np.ndarray:
        return ((column(cells, name) - border).abs() <= standard_error(cells, name)).to_numpy()

    connected = cuts["connected"].value
    behind, beyond = near("mode_connectivity", -connected), near("mode_connectivity", connected)
    over = {
        "train_loss": near("train_loss", cuts["train_loss"].value),
        "connected": ((found.low | found.high) & behind) | (found.low & beyond),
        "cka": found.level & near("cka", cuts["cka"].value),
    }
    return [", ".join(n for n in over if over[n][row]) for row in range(len(cells))]


def memberships(cells: pd.DataFrame, cuts: Mapping[str, Cut]) -> pd.DataFrame:
    """Return the probability of each phase for each cell, columns ``PHASES``; a row sums to 1.

    It is the share of draws. In each draw, means are drawn with Student's t and their standard error (of the
    training loss: of its logarithm), and cuts that were found from the cells are found again from cells drawn
    with replacement. If a cell fits its labels with a loss above the cut, half of the draws count it as
    underfitted. NaN if a measure that decides is missing or its standard error is unknown.
    """
    n, draws = len(cells), draws_for(len(cells))
    random = np.random.default_rng(seed_for("phases"))
    models = column(cells, "n_models").to_numpy()
    df = np.where(models >= 2, np.maximum(models - 1, 1), 1e6)
    means = {name: column(cells, name).to_numpy() for name in DECIDING}
    errors = {name: standard_error(cells, name).to_numpy() for name in DECIDING}
    loss_cut, cka_cut = resampled_cuts(cells, cuts, draws)
    loss = np.maximum(means["train_loss"], 1e-12)

    def drawn(name: str) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield draws of Student's t times the standard error, in blocks."""
        for some in blocks(draws, n):
            yield some, np.nan_to_num(scale[name]) * random.standard_t(df, (some.stop - some.start, n))

    scale = {**errors, "train_loss": errors["train_loss"] / loss}
    with np.errstate(over="ignore"):
        of_loss = [sides_of_loss(loss * np.exp(t), loss_cut[some]) for some, t in drawn("train_loss")]
    connected = cuts["connected"].value
    mc, cka = means["mode_connectivity"], means["cka"]
    of_mc = [sides_of_connectivity(mc + t, connected) for _, t in drawn("mode_connectivity")]
    fits, counts, level = fits_labels(cells, cuts), np.zeros((n, len(PHASES))), np.zeros(n, bool)
    for (some, t), lows, barriers in zip(drawn("cka"), of_loss, of_mc, strict=True):
        lenient = fits & (np.arange(some.start, some.stop) % 2 == 0)[:, None]
        found = sort_sides(Sides(*lows, *barriers, *sides_of_cka(cka + t, cka_cut[some])), lenient)
        counts += np.stack([(found.phase == k).sum(axis=0) for k in range(1, 1 + len(PHASES))], axis=1)
        level |= found.level.any(axis=0)
    shares = counts / draws
    lacking = {name: ~np.isfinite(means[name] + errors[name]) for name in DECIDING}
    unknown = lacking["train_loss"] | lacking["mode_connectivity"] | (level & lacking["cka"])
    return pd.DataFrame(np.where(unknown[:, None], np.nan, shares), cells.index, list(PHASES))
