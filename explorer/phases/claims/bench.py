"""What the checks of claims work with."""

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
FEWEST_MATCHED = 5  # groups of cells that are compared; chance gives so many one sign 1 time in 16
# Where training was short it was stopped while hot: phase II is of both.
HOT_IS_SMALL = frozenset({"batch_size", "steps", "epochs", "checkpoint"})


class NotTestable(Exception):
    """The run has not the axis or the measure that a claim is about."""


class CannotTell(Exception):
    """The run has what the claim is about, but too little of it."""


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
        """The first temperature-like axis of numbers; NotTestable without one."""
        for name in self.axes.get("temperature", ()):
            if name in self.cells and self.numeric(name):
                return name
        raise NotTestable("The run has no temperature-like axis.")

    def numeric(self, name: str) -> bool:
        return pd.api.types.is_numeric_dtype(self.cells[name]) and self.cells[name].nunique() > 1

    def axis(self, name: str, said: str) -> str:
        """An axis by name; NotTestable where the run does not vary it."""
        if name not in self.names or not self.numeric(name):
            raise NotTestable(f"The run does not vary {said}.")
        return name

    def has(self, *names: str) -> None:
        """NotTestable where a measure is missing."""
        from explorer.phases.numbers import spoken

        absent = [spoken(n) for n in names if not column(self.cells, n).notna().any()]
        if absent:
            raise NotTestable(f"Without values: {', '.join(absent)}.")

    @property
    def curvature(self) -> str:
        """The Hessian measure at hand, the trace where there is one."""
        for name in ("hessian_trace", "hessian_top_eigenvalue"):
            if column(self.cells, name).notna().any():
                return name
        raise NotTestable("No Hessian was measured.")

    def low_loss(self) -> np.ndarray:
        return (column(self.cells, "train_loss") < self.cuts["train_loss"].value).to_numpy()

    def replicated(self, *names: str) -> bool:
        """Whether most cells tell how much each measure would vary between replicates."""
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
        """A statistic of columns over cells, (1 + draws,), cells and replicates drawn again; and n.

        CannotTell below FEWEST_CELLS cells that have all the measures.
        """
        self.has(*names)
        known = np.all([column(self.cells, n).notna() for n in names], axis=0)
        at = np.flatnonzero(known if among is None else known & among)
        if len(at) < FEWEST_CELLS:
            few = f"Only {len(at)} {what}" if len(at) != 1 else f"Only 1 {what.replace('cells', 'cell')}"
            raise CannotTell(f"{few}; fewer than {FEWEST_CELLS} cannot show it.")
        again = cells_again(len(at), *names)
        return statistic(*(np.take_along_axis(self.draws.of(n)[:, at], again, axis=1) for n in names)), len(
            at
        )
