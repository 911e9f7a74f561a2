"""Input of the checks of claims: tables of a run, with its resampled means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from explorer.phases.aggregate import axis_names, column, standard_error
from explorer.phases.claims.resampling import Draws, cells_again
from explorer.phases.cuts import Cut

FEWEST_CELLS = 8
FEWEST_MATCHED = 5  # groups of cells to compare; by chance, five have the same sign 1 time in 16
# Short training stops while the model is still hot; phase II covers both.
HOT_IS_SMALL = frozenset({"batch_size", "steps", "epochs", "checkpoint"})


class NotTestable(Exception):
    """The run lacks the axis or the measure that a claim is about."""


class CannotTell(Exception):
    """The run has what the claim is about, but not enough of it."""


@dataclass(frozen=True)
class Bench:
    """The tables of a run, its cuts, and its resampled means; ``cells`` are classified."""

    cells: pd.DataFrame
    cuts: Mapping[str, Cut]
    axes: Mapping[str, Sequence[str]]
    models: pd.DataFrame
    pairs: pd.DataFrame
    epochs: pd.DataFrame

    @cached_property
    def draws(self) -> Draws:
        return Draws(self.cells, self.models, self.pairs, self.names)

    @property
    def names(self) -> list[str]:
        return [n for n in axis_names(self.axes) if n in self.cells]

    @property
    def temperature(self) -> str:
        """The first numeric temperature-like axis; raises NotTestable without one."""
        for name in self.axes.get("temperature", ()):
            if name in self.cells and self.numeric(name):
                return name
        raise NotTestable("The run has no temperature-like axis.")

    def numeric(self, name: str) -> bool:
        return pd.api.types.is_numeric_dtype(self.cells[name]) and self.cells[name].nunique() > 1

    def axis(self, name: str, description: str) -> str:
        """Return the name of an axis; raise NotTestable if the run does not vary it."""
        if name not in self.names or not self.numeric(name):
            raise NotTestable(f"The run does not vary {description}.")
        return name

    def has(self, *names: str) -> None:
        """Raise NotTestable if a measure is missing."""
        from explorer.phases.numbers import spoken

        absent = [spoken(n) for n in names if not column(self.cells, n).notna().any()]
        if absent:
            raise NotTestable(f"The run has no values of: {', '.join(absent)}.")

    @property
    def curvature(self) -> str:
        """The Hessian measure of the run: the trace if it was measured, otherwise the top eigenvalue."""
        for name in ("hessian_trace", "hessian_top_eigenvalue"):
            if column(self.cells, name).notna().any():
                return name
        raise NotTestable("No Hessian was measured.")

    def low_loss(self) -> np.ndarray:
        return (column(self.cells, "train_loss") < self.cuts["train_loss"].value).to_numpy()

    def replicated(self, *names: str) -> bool:
        """Return whether the spread of each measure between replicates is known for most cells."""
        return all(
            standard_error(self.cells, n)[column(self.cells, n).notna()].notna().mean() >= 0.5 for n in names
        )

    def over_cells(
        self,
        names: Sequence[str],
        statistic: Callable[..., np.ndarray],
        *,
        among: np.ndarray | None = None,
        what: str = "cells",
    ) -> tuple[np.ndarray, int]:
        """Return a statistic of columns over cells, (1 + draws,), with cells and replicates resampled; and n.

        Raises:
            CannotTell: fewer than FEWEST_CELLS cells have all the measures.
        """
        self.has(*names)
        known = np.all([column(self.cells, n).notna() for n in names], axis=0)
        at = np.flatnonzero(known if among is None else known & among)
        if len(at) < FEWEST_CELLS:
            few = f"Only {len(at)} {what}" if len(at) != 1 else f"Only 1 {what.replace('cells', 'cell')}"
            raise CannotTell(f"{few}; at least {FEWEST_CELLS} are needed.")
        again = cells_again(len(at), *names)
        return statistic(*(np.take_along_axis(self.draws.of(n)[:, at], again, axis=1) for n in names)), len(
            at
        )
