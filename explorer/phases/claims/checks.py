"""Checks of claims, and their input: the tables of a run, with its resampled means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from explorer.phases.aggregate import axis_names, column, standard_error
from explorer.phases.claims.estimates import Estimate, mean_of, resampled, rising_lines
from explorer.phases.claims.evidence import Evidence
from explorer.phases.cuts import Cut
from explorer.phases.numbers import words_of
from explorer.phases.resampling import Draws, cells_again, draws_for, lines, spearman
from explorer.units import plural

FEWEST_CELLS = 8
FEWEST_LINES = 3
# The smallest p of so many draws, two sided, is .002. So a claim can hold among up to 25 (Holm's method).
FEWEST_DRAWS = 1000
FEWEST_MATCHED = 5  # groups of cells to compare; by chance, five have the same sign 1 time in 16
# Short training stops while the model is still hot; phase II covers both.
HOT_IS_SMALL = frozenset({"batch_size", "steps", "epochs", "checkpoint"})
SEEDS = "at least 2 seeds in each cell"
HESSIAN = ("hessian_trace", "hessian_top_eigenvalue")


class Undecided(Exception):
    """A run does not decide a claim: the reason, and what would decide it (``wanted``)."""

    def __init__(self, reason: str, wanted: str):
        super().__init__(reason)
        self.wanted = wanted


class NotTestable(Undecided):
    """The run lacks the axis or the measure that a claim is about."""


class CannotTell(Undecided):
    """The run has what the claim is about, but not enough of it."""


@dataclass(frozen=True)
class ClaimTables:
    """The tables on which claims are checked, with cuts and resampled means; ``cells`` are classified.

    ``noise`` is the share of noisy training labels, if it is the same for all cells. ``asked`` collects the
    axes and columns that a check asks for, and ``loss_cut`` whether it asks which cells have low loss.
    """

    cells: pd.DataFrame
    cuts: Mapping[str, Cut]
    axes: Mapping[str, Sequence[str]]
    models: pd.DataFrame
    pairs: pd.DataFrame
    epochs: pd.DataFrame
    noise: float = 0.0
    asked: set[str] = field(default_factory=set)
    loss_cut: set[bool] = field(default_factory=set)

    @cached_property
    def draws(self) -> Draws:
        return Draws(self.cells, self.models, self.pairs, self.names)

    @property
    def names(self) -> list[str]:
        return [n for n in axis_names(self.axes) if n in self.cells]

    @property
    def numeric_temperatures(self) -> list[str]:
        """The temperature-like axes with several numbers."""
        return [n for n in self.axes.get("temperature", ()) if n in self.cells and self._numeric(n)]

    @property
    def temperature(self) -> str:
        """The first numeric temperature-like axis; raises NotTestable without one."""
        self.asked.add((*self.axes.get("temperature", ()), "temperature")[0])
        if not self.numeric_temperatures:
            raise NotTestable(
                "The run has no temperature-like axis.", "an axis batch_size, or another temperature"
            )
        return self.numeric_temperatures[0]

    def _numeric(self, name: str) -> bool:
        return pd.api.types.is_numeric_dtype(self.cells[name]) and self.cells[name].nunique() > 1

    def axis(self, name: str, description: str) -> str:
        """Return the name of an axis; raise NotTestable if the run does not vary it."""
        self.asked.add(name)
        if name not in self.names or not self._numeric(name):
            raise NotTestable(f"The run does not vary {description}.", f"an axis {name}")
        return name

    def require(self, *names: str) -> None:
        """Raise NotTestable if a measure is missing."""
        self.asked.update(names)
        absent = [words_of(n) for n in names if not self.measured(n)]
        if absent:
            listed = ", ".join(absent)
            raise NotTestable(f"The run has no values of: {listed}.", f"values of {listed}")

    def measured(self, name: str) -> bool:
        return bool(column(self.cells, name).notna().any())

    @property
    def curvatures(self) -> list[str]:
        """The Hessian measures of the run, the trace first; raises NotTestable without one."""
        self.asked.update(HESSIAN)
        found = [name for name in HESSIAN if self.measured(name)]
        if not found:
            raise NotTestable("No Hessian was measured.", "the measure hessian")
        return found

    @property
    def low_loss(self) -> np.ndarray:
        self.loss_cut.add(True)
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
    ) -> tuple[Estimate, int]:
        """Return the estimate of a statistic of columns over cells, with cells resampled; and n.

        ``statistic`` takes the draws and the columns of the cells, and returns a number for each draw. Means
        of cells contain the noise of their replicates, so replicates are not resampled as well.

        Raises:
            CannotTell: fewer than FEWEST_CELLS cells have all the measures.
        """
        self.require(*names)
        known = np.all([column(self.cells, n).notna() for n in names], axis=0)
        at = np.flatnonzero(known if among is None else known & among)
        if len(at) < FEWEST_CELLS:
            few = f"Only {plural(len(at), what.removesuffix('s'))}" if len(at) else f"No {what}"
            wanted = f"at least {FEWEST_CELLS - len(at)} {'more ' if len(at) else ''}{what}"
            raise CannotTell(f"{few}; at least {FEWEST_CELLS} are needed.", wanted)
        columns = [column(self.cells, n).to_numpy()[at] for n in names]
        drawn = cells_again(len(at), *names, draws=max(draws_for(len(at)), FEWEST_DRAWS))
        return resampled(np.concatenate([statistic(again, *columns) for again in drawn])), len(at)

    def on_lines(
        self, along: str, names: Sequence[str], fewest: int, *, logs: Sequence[str] = ()
    ) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
        """Return axis values, measures (lines, values) and cell positions of complete lines.

        Measures of ``logs`` are returned as their common logarithm. A line is left out if a cell of it lacks
        a measure, or if a measure of ``logs`` is not positive.

        Raises:
            CannotTell: no line is left, or neither replicates nor many lines show how much a line varies.
        """
        self.require(*names)
        grid, steps = lines(self.cells, along, self.names)
        known = np.all([column(self.cells, n).notna() for n in names], axis=0)
        known &= np.all([column(self.cells, n) > 0 for n in logs], axis=0)
        whole = grid[((grid >= 0) & known[grid]).all(axis=1)] if len(grid) else grid
        if len(steps) < fewest or not len(whole):
            wanted = f"at least {fewest} values of {along}"
            raise CannotTell(f"No line of at least {fewest} complete cells along {words_of(along)}.", wanted)
        if not self.replicated(*names) and len(whole) < FEWEST_CELLS:
            raise CannotTell(
                f"The spread between replicates is unknown, and {plural(len(whole), 'line')} of cells along "
                f"{words_of(along)} cannot replace it; {FEWEST_CELLS} lines could.",
                SEEDS,
            )
        measured = {n: column(self.cells, n).to_numpy()[whole] for n in names}
        return steps, [np.log10(v) if n in logs else v for n, v in measured.items()], whole

    def over_lines(
        self,
        name: str,
        whole: np.ndarray,
        statistic: Callable[[np.ndarray], np.ndarray],
        *,
        log: bool = False,
    ) -> Estimate:
        """Return the estimate of the mean over lines of ``drawn_on_lines``."""
        values = self.drawn_on_lines(name, whole, statistic, log=log)
        return mean_of(values[0], values[1:].var(axis=0))

    def drawn_on_lines(
        self,
        name: str,
        whole: np.ndarray,
        statistic: Callable[[np.ndarray], np.ndarray],
        *,
        log: bool = False,
    ) -> np.ndarray:
        """Return a statistic of a measure for each line, (1 + draws, lines), with replicates resampled.

        ``whole`` (lines, values) are the positions of the cells, and ``statistic`` takes the measure, (draws,
        lines, values), to (draws, lines). With ``log``, it takes its common logarithm; its draws have the
        relative error of the measure.

        Raises:
            CannotTell: fewer than FEWEST_LINES lines.
        """
        n = len(whole)
        if n < FEWEST_LINES:
            raise CannotTell(
                f"{plural(n, 'line')} of cells cannot decide; {FEWEST_LINES} are needed.",
                f"at least {plural(FEWEST_LINES - n, 'more line')} of cells",
            )
        mean, found = column(self.cells, name).to_numpy()[whole], []
        for means in self.draws.some_of(name):
            drawn = means[:, whole]
            found.append(statistic(np.log10(mean) + (drawn / mean - 1) / np.log(10) if log else drawn))
        return np.concatenate(found)

    def mean_trend(self, along: str, name: str, fewest: int = 3) -> tuple[Estimate, str]:
        """Return a measure's rank correlation with an axis, mean over lines, and what it is based on."""
        steps, _, whole = self.on_lines(along, [name], fewest)
        basis = f"{plural(len(whole), 'line')} of {len(steps)} cells"
        rho = self.drawn_on_lines(
            name, whole, lambda drawn: spearman(np.broadcast_to(steps, drawn.shape), drawn)
        )
        if np.abs(rho[0]).min() > 1 - 1e-9:  # as of all lines of two cells: correlations do not spread
            places = np.arange(len(steps)) - (len(steps) - 1) / 2
            changes = self.drawn_on_lines(name, whole, lambda drawn: drawn @ places)
            return rising_lines(changes[0], changes[1:].var(axis=0)), basis
        return mean_of(rho[0], rho[1:].var(axis=0)).within(-1.0, 1.0), basis


class Check(NamedTuple):
    """A claim of the paper, and the function that checks it on the tables of a run."""

    name: str
    statement: str
    evidence: Callable[[ClaimTables], Evidence]


def claim(statement: str) -> Callable[[Callable[[ClaimTables], Evidence]], Check]:
    """Decorate the function that checks a claim. The claim has the function's name, with ``-`` for ``_``."""
    return lambda function: Check(function.__name__.replace("_", "-"), statement, function)
