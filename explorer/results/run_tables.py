"""The tables of a run as pandas data frames."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pandas as pd

from explorer.runs.store import Store
from explorer.settings import InputError
from explorer.space import recorded
from explorer.space.trust import require_trust
from explorer.tasks import TASKS, Task

if TYPE_CHECKING:
    from torch import nn

    from explorer.data.dataset import Arrays
    from explorer.phases import Cut
    from explorer.phases.claims import Claim
    from explorer.space.model import Cell

TABLES = ("models", "epochs", "pairs", "curves", "cells")


@dataclass(repr=False)
class RunTables:
    """Tables of a run as pandas data frames, with the run's provenance.

    ``axes`` is ``{"load": [...], "temperature": [...]}``, the names of the swept settings. They are columns
    of every table except ``epochs`` (which has ``model_id``) and ``curves`` (which has ``model_a`` and
    ``model_b``). ``info`` is the content of ``run.yaml`` and the ``sessions``.
    """

    name: str
    folder: str
    axes: dict[str, list[str]]
    models: pd.DataFrame
    epochs: pd.DataFrame
    pairs: pd.DataFrame
    curves: pd.DataFrame
    info: dict[str, Any] = field(default_factory=dict)
    of_cells: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["cell_id"]))

    @cached_property
    def grid(self) -> pd.DataFrame:
        """One row per grid point with means, spreads and counts, before classification into phases.

        >>> run.grid[["width", "batch_size", "n_models"]].iloc[0].tolist()
        [2, 8, 3]
        """
        from explorer import phases

        grid = phases.cells(self.models, self.pairs, self.axes)
        return grid.merge(self.of_cells, on="cell_id", how="left") if len(self.of_cells) else grid

    @property
    def task(self) -> Task:
        """The task of the models. Tables from elsewhere that do not name a task count as classification.

        >>> run.task.name
        'classification'
        """
        return TASKS.get(str(self._space("task")), TASKS["classification"])

    def _space(self, key: str) -> Any:
        """Return the value of ``key`` in the run's space, or None without a space or without the key."""
        space = self.info.get("space")
        return space.get(key) if isinstance(space, dict) else None

    @property
    def label_noise(self) -> float:
        """The share of noisy training labels of all models, from the space or the table; 0 if unknown.

        >>> run.label_noise
        0.0
        """
        data = self._space("data")
        share = data.get("label_noise") if isinstance(data, dict) else None
        if isinstance(share, (int, float)):
            return float(share)
        from explorer.phases import column

        shares = column(self.models, "label_noise").unique()
        return float(shares[0]) if len(shares) == 1 and shares[0] > 0 else 0.0

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The grid with the phase of each cell, from the cuts of the space.

        >>> len(run.cells), {"phase", "phase_probability", "mode_connectivity"} <= {*run.cells}
        (4, True)
        """
        from explorer import phases

        return phases.classify(self.grid, self.cuts())

    def check_claims(self, cells: pd.DataFrame, cuts: Mapping[str, Cut], **unfinished: Any) -> list[Claim]:
        """Return the claims of the paper with their verdicts; see ``explorer.phases.claims.check_claims``.

        >>> len(run.check_claims(run.cells, run.cuts({"connected": 1.0})))
        19
        """
        from explorer.phases.claims import check_claims

        tables = {"models": self.models, "pairs": self.pairs, "epochs": self.epochs}
        return check_claims(cells, cuts, self.axes, **tables, noise=self.label_noise, **unfinished)

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """The rounds of a refined run: ``cells`` (their ids) and the share ``expected`` to be right.

        >>> run.rounds  # it is not refined
        []
        """
        return recorded.rounds_of(self.info)

    def of_rounds(self, number: int | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the cells that are known after this many rounds, and all cells of the grid.

        By default, these are all cells that were run. Cells of a round without any result are known, too.

        Returns:
            A row per known cell, as in ``grid``; and the axes of each cell of the domain.

        >>> [len(table) for table in run.of_rounds()]
        [4, 4]
        """
        grid, names = self.grid, list(dict.fromkeys([*self.axes["load"], *self.axes["temperature"]]))
        if self._space("model") is None:
            values = {name: sorted(grid[name].dropna().unique().tolist()) for name in names}
            return grid, pd.DataFrame(itertools.product(*values.values()), columns=pd.Index(names))
        domain = recorded.space_of(self.info).domain
        ids = {cell for one in self.rounds[:number] for cell in one["cells"]}
        if number is None:
            ids |= set(grid["cell_id"])
        points = pd.DataFrame([cell.at for cell in domain])
        known = points.assign(cell_id=[cell.id for cell in domain])
        known = known[known["cell_id"].isin(ids)]
        lacking = [name for name in ("train_loss", "mode_connectivity", "cka") if name not in grid]
        grid = grid.reindex(columns=[*grid.columns.difference(names, sort=False), *lacking])
        return known.merge(grid, on="cell_id", how="left"), points

    @cached_property
    def map(self) -> pd.DataFrame:
        """Every cell of the grid with its phase, measured or predicted; see ``explorer.refine.predict``.

        The column ``round`` has the number of the round in which a refined run has run the cell, from 1.

        Raises:
            InputError: no cell was run, or measures that decide on phases are missing.

        >>> len(run.map), "phase" in run.map
        (4, True)
        """
        from explorer import refine

        cells, domain = self.of_rounds()
        predicted = refine.predict(cells, domain, self.cuts())
        if self.rounds:
            ids = [cell.id for cell in recorded.space_of(self.info).domain]
            of = {cell: k for k, one in enumerate(self.rounds, 1) for cell in one["cells"]}
            rounds = pd.Series([of.get(i) for i in ids], dtype="Int64")
            predicted.insert(len(domain.columns), "round", rounds)
        return predicted

    @cached_property
    def _claims(self) -> list[Claim]:
        return self.check_claims(self.cells, self.cuts())

    @property
    def claims(self) -> pd.DataFrame:
        """The claims of the paper, a row for each.

        ``claim``, ``verdict``, ``effect``; ``low`` and ``high`` are the ends of a 95 % interval; ``p`` is
        corrected for the number of claims; ``n`` counts the cells or lines behind the effect;
        ``would_decide`` says what would decide a claim that the run does not decide.

        >>> list(run.claims)
        ['claim', 'verdict', 'effect', 'low', 'high', 'p', 'n', 'would_decide']
        """
        names = ["verdict", "effect", "low", "high", "p", "n", "would_decide"]
        rows = [[c.name, *(getattr(c, name) for name in names)] for c in self._claims]
        return pd.DataFrame(rows, columns=["claim", *names])

    @property
    def findings(self) -> list[str]:
        """What the run shows, as sentences with their numbers.

        >>> run.findings[0].startswith("The best test accuracy, ")
        True
        """
        from explorer import phases

        sentences = phases.findings(self.cells, self.cuts(), self.axes, self._claims, noise=self.label_noise)
        return [self.task.words.reword(sentence) for sentence in sentences]

    @cached_property
    def advice(self) -> pd.DataFrame:
        """What to change: a row for each cell and change; see ``explorer.phases.advice.advice_table``.

        ``gain`` (points of test accuracy) has the 95 % interval from ``low`` to ``high``.

        >>> {"question", "answer", "change", "gain", "confidence"} <= {*run.advice}
        True
        """
        from explorer import phases
        from explorer.phases.advice import advice_table, advise_cells

        stopping = phases.gains_of_stopping(self.models, self.epochs)
        each = advise_cells(self.cells, self.cuts(), self.axes, stopping=stopping, noise=self.label_noise)
        return advice_table(self.cells, each, self.axes)

    def cuts(
        self, given: Mapping[str, Any] | None = None, cells: pd.DataFrame | None = None
    ) -> dict[str, Cut]:
        """Return the cuts between the phases.

        Each cut comes from ``given`` if it is named there, otherwise from the run's space; ``auto`` finds it
        from the data, which are the whole grid or some of its ``cells``.

        Raises:
            InputError: a cut has an unknown name, or is neither a positive number nor ``auto``.

        >>> cuts = run.cuts({"connected": 1.0})  # percentage points
        >>> cuts["connected"].value, sorted(cuts)
        (1.0, ['cka', 'connected', 'train_loss'])
        """
        from explorer import phases

        from_space = self._space("phases")
        merged = {**(from_space if isinstance(from_space, dict) else {}), **(given or {})}
        try:
            cells = self.grid if cells is None else cells
            return phases.find_cuts(cells, merged, self.task.fitted, self.task.fitted_error)
        except ValueError as error:
            raise InputError(f"{self.folder}: {error}") from error

    def model(self, model_id: str, *, trust: bool = False) -> nn.Module:
        """Return a trained model as a module in evaluation mode. Its inputs are scaled as in :meth:`data`.

        Args:
            trust: run the user's code that the run names, also if the run folder is not yours.

        Raises:
            KeyError: the run has no such model, or the model failed.
            InputError: the code must not be run; see ``trust``.
            DamagedError: the weights are missing or damaged.

        >>> module = run.model(run.models["model_id"][0])
        >>> module.training
        False
        """
        import torch

        from explorer.models.base import network

        row, cell = self._trained(model_id, trust)
        data = _data_of(row, cell)
        _, rows = network(cell.model_name, cell.model, data.shape, data.classes, task=cell.task)
        store, stack = Store(self.folder, mend=False), row["stack"]
        weights = store.read_model(stack, model_id, row["weights_sha256"], rows.matrices)
        return rows.to_module(*(torch.tensor(numbers) for numbers in weights))

    def data(self, model_id: str, *, trust: bool = False) -> Arrays:
        """Return the arrays that a model was trained and tested on, with its subset, noise and scaling.

        Inputs are float32 (inputs, *shape), and labels int64 (inputs,).

        Args:
            trust: see :meth:`model`.

        >>> run.data(run.models["model_id"][0]).x_train.shape
        (200, 1, 8, 8)
        """
        return _data_of(*self._trained(model_id, trust))

    def _trained(self, model_id: str, trust: bool) -> tuple[pd.Series, Cell]:
        matches = self.models[self.models["model_id"] == model_id]
        if not len(matches) or matches.iloc[0]["status"] == "failed":
            raise KeyError(f"run {self.name!r} has no trained model {model_id!r}")
        row = matches.iloc[0]
        require_trust(self.info, Store(self.folder), trust=trust, how="pass trust=True")
        cells = {cell.id: cell for cell in recorded.working_space_of(self.info).cells}
        if row["cell_id"] not in cells:
            raise InputError(
                f"the model {model_id!r} of run {self.name!r} was trained by a version of Explorer that "
                f"gives other models; `resume {self.name}` trains it anew"
            )
        return row, cells[row["cell_id"]]


def _data_of(row: pd.Series, cell: Cell) -> Arrays:
    """Return the arrays of a row of ``models``."""
    from explorer.data.base import prepare

    return prepare(cell.load_data(), cell.data.of_replicate(int(row["seed"])), cell.data_name)


def moved_cuts(run: RunTables, cuts: Mapping[str, Cut], found: pd.DataFrame) -> str:
    """Return a sentence if the last round of a refined run moved cuts, and more than 1 % of the phases.

    Cuts that are given do not move.

    Args:
        found: what :func:`explorer.refine.predict` returns for all cells that were run, with these cuts.
    """
    from explorer.phases.numbers import format_number
    from explorer.refine import predict

    if len(run.rounds) < 2:
        return ""
    cells, domain = run.of_rounds()
    given = {name: cut.value for name, cut in cuts.items() if cut.by_user}
    before = run.cuts(given, run.of_rounds(len(run.rounds) - 1)[0])
    moved = [name for name, cut in cuts.items() if cut.value != before[name].value]
    if not moved:
        return ""
    changed = int((found["phase"] != predict(cells, domain, before)["phase"]).sum())
    if changed <= 0.01 * len(found):
        return ""
    ends = [
        f"{name} from {format_number(before[name].value)} to {format_number(cuts[name].value)}"
        for name in moved
    ]
    return (
        f"The last round moved the cut of {' and of '.join(ends)}: {changed} of {len(found)} cells have "
        "another phase than with the cut before, which the expected share does not count. "
        f"A given cut stays: `phases: {{{moved[0]}: …}}` in the space."
    )
