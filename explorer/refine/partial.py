"""A grid with known cells: phases of the others, and the cells to run next."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from explorer.phases import PHASES, Cut, column, find_cuts
from explorer.phases.cuts import sort_cells
from explorer.refine.domain import Domain
from explorer.refine.grid import Grid
from explorer.refine.measures import MEASURES, in_units
from explorer.refine.models import Model, fit_model, fit_models
from explorer.refine.probabilities import shares_of_phases, sharpened
from explorer.refine.process import one_thread
from explorer.settings import InputError

Cuts = Mapping[str, Any]
POWERS = np.geomspace(0.5, 4, 31)  # of the phases' probabilities
POWER_DEVIATION = 0.5  # of its logarithm, before measured cells are predicted from each other
SOURCES = ("measured", "predicted")


class PartialGrid:
    """A domain with its known cells, for both predictions and proposals: their models are fitted once.

    Args:
        cells, domain, cuts: as in :func:`propose`, with its errors.
    """

    def __init__(self, cells: pd.DataFrame, domain: Domain | pd.DataFrame, cuts: Cuts | None = None) -> None:
        self.grid = Grid(cells, domain)
        self.cuts = _cuts(self.grid.rows, cuts)

    @cached_property
    def models(self) -> dict[str, Model]:
        """The model of each measure; some cells are known, and some are not."""
        return fit_models(self.grid, self.cuts)

    def predict(self) -> pd.DataFrame:
        """Return what :func:`predict` returns."""
        grid, cuts, known = self.grid, self.cuts, self.grid.known
        if not known.any():
            raise InputError("no cell of the domain is known yet, so no phase can be predicted")
        measured = sort_cells(grid.rows, cuts).phase
        phase = measured.copy()
        shares = np.where(measured == "", np.nan, measured == np.array(PHASES)[:, None]).T
        predicted = {}
        if not known.all():
            with one_thread():
                predicted = {name: model.predictions() for name, model in self.models.items()}
                power = self._power(measured)
            shares[~known] = sharpened(shares_of_phases(predicted, cuts)[~known], power)
            phase[~known] = np.array(PHASES)[shares[~known].argmax(axis=1)]
            predicted["cka"] = self._cka(predicted["cka"], np.isin(phase, PHASES[:2]))
        out = grid.points.copy()
        out["source"] = np.where(known, *SOURCES)
        out["phase"] = phase
        out["probability"] = shares.max(axis=1)
        out[list(PHASES)] = shares
        for name in (name for name in MEASURES if name in grid.rows):
            own, spread = column(grid.rows, name).to_numpy(), column(grid.rows, f"{name}_std").to_numpy()
            mean, deviation = (
                in_units(name, *predicted[name], cuts, own) if name in predicted else (np.nan, np.nan)
            )
            out[name] = np.where(known, own, mean)
            out[f"{name}_std"] = np.where(known, spread, deviation)
        return out

    def _cka(self, of_low: tuple[np.ndarray, np.ndarray], high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of CKA: from all measured cells where the loss is ``high``, (cells,)."""
        with one_thread():
            of_all = fit_model(self.grid, "cka", self.cuts, self.grid.known).predictions()
        mean, spread = (np.where(high, every, low) for every, low in zip(of_all, of_low, strict=True))
        return mean, spread

    def _power(self, measured: np.ndarray) -> float:
        """Return the power of the phases' probabilities that suits the measured cells.

        Measures jump at borders, so their deviations far from borders are smaller than the models say. Each
        measured cell is predicted from the others. With the power, their phases are most likely.
        """
        has_phase = measured != ""
        left_out = {name: model.left_out() for name, model in self.models.items()}
        shares = shares_of_phases(left_out, self.cuts)[has_phase]
        own = measured[has_phase, None] == PHASES
        fit = [np.log(np.maximum(sharpened(shares, power)[own], 1e-4)).sum() for power in POWERS]
        return float(POWERS[np.argmax(fit - (np.log(POWERS) / POWER_DEVIATION) ** 2 / 2)])

    def propose_places(self, n: int) -> list[int]:
        """Return what :func:`propose_places` returns."""
        if not self.grid.known.any():
            return self.grid.spread(n)
        with one_thread():
            return self._least_known(n)

    def _least_known(self, n: int) -> list[int]:
        """Return the places of the ``n`` cells whose phase is least sure, each after those before it."""
        grid, known = self.grid, self.grid.known.copy()
        chosen: list[int] = []
        doubt, changed = np.full(len(known), -1.0), np.unique(grid.maps)
        following = {k: {name: model.following(k) for name, model in self.models.items()} for k in changed}
        while len(chosen) < n and not known.all():
            for number in changed:
                here = grid.maps == number
                predicted = {name: one.predictions() for name, one in following[number].items()}
                most = shares_of_phases(predicted, self.cuts).max(axis=1)
                unsure = np.round(1 - most, 6) if known[here].any() else 1.0
                doubt[here] = np.where(known[here], -1.0, unsure)
            best = np.flatnonzero(doubt == doubt.max())
            place = int(best[grid.distance(known)[best].argmax() if len(best) > 1 else 0])
            chosen.append(place)
            known[place] = True
            changed = [grid.maps[place]]
            for one in following[grid.maps[place]].values():
                one.add(int((grid.maps[:place] == grid.maps[place]).sum()))
        return chosen


def _cuts(rows: pd.DataFrame, cuts: Cuts | None) -> dict[str, Cut]:
    """Return the cuts: those given, as numbers or as ``Cut``, and the others found from the known cells."""
    if cuts is not None and not isinstance(cuts, Mapping):
        raise InputError(f"cuts is a {type(cuts).__name__}; give {{'train_loss': 0.01}}")
    if cuts and len(cuts) == 3 and all(isinstance(cut, Cut) for cut in cuts.values()):
        return dict(cuts)
    cuts = {name: cut.value if isinstance(cut, Cut) else cut for name, cut in (cuts or {}).items()}
    try:
        return find_cuts(rows, cuts)
    except ValueError as error:
        raise InputError(str(error)) from error
