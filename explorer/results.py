"""Tables of a run, built from its records or loaded from a folder of tables."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from pandas.api.types import is_hashable, is_numeric_dtype

import explorer.measures
from explorer import columns
from explorer.columns import ROLES, fault_of, renames
from explorer.data.formats.tables import parse_table
from explorer.measures import own, tables
from explorer.runs.files import Files, join
from explorer.runs.store import Store, locate
from explorer.settings import InputError, listed, plugin, printable
from explorer.space import foreign, recorded
from explorer.space.model import TrainingOptions
from explorer.space.trust import require_trust
from explorer.tasks import TASKS, Task
from explorer.units import axis_value

if TYPE_CHECKING:
    from torch import nn

    from explorer.data.dataset import Arrays
    from explorer.phases import Cut
    from explorer.phases.claims import Claim
    from explorer.space.model import Cell

TABLES = ("models", "epochs", "pairs", "curves", "cells")
NO_RENAMES: Mapping[str, str] = {}


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


def load(
    name_or_folder: str | Path,
    storage: str | Path = "runs",
    *,
    columns: str | Sequence[str] | Mapping[str, str] = (),
) -> RunTables:
    """Load a run, or a folder of tables; see :func:`explorer.api.load` for the arguments and errors."""
    if holds_tables(name_or_folder, storage):
        return load_tables(Files(name_or_folder), renames(columns))
    if Path(name_or_folder).suffix in (".csv", ".tsv", ".parquet"):
        raise InputError(
            f"{name_or_folder} should be a folder: put the table into one, as models.csv with a row for each "
            "model or cells.csv with a row for each cell (or .parquet), and give the folder"
        )
    if columns:
        raise InputError(f"--columns is for folders of tables; {name_or_folder} is a run. Leave it out")
    return read(locate(name_or_folder, storage))


def holds_tables(name_or_folder: str | Path, storage: str | Path = "runs") -> bool:
    """Return whether this is a folder that is no run, and may have tables from elsewhere.

    If it has none, such as a folder of checkpoints, a run in ``storage`` may have its name.
    """
    folder = Files(name_or_folder)
    if not folder.is_folder() or folder.exists("run.yaml"):
        return False
    return any(map(folder.exists, _places())) or not Files(join(storage, folder.name)).exists("run.yaml")


def _places(kinds: Sequence[str] = TABLES) -> list[str]:
    """Return where tables from elsewhere may be in their folder."""
    return [place for kind in kinds for place in (f"{kind}.parquet", f"{kind}.csv", f"tables/{kind}.parquet")]


def read(store: Store) -> RunTables:
    """Build the tables of a run folder from its records."""
    info = recorded.read_info(store)
    space = info["space"]
    axes = {kind: list(space.get(kind) or {}) for kind in ("load", "temperature")}
    names = [*axes["load"], *axes["temperature"]]
    used = {name: plugin(explorer.measures, name, "measure") for name in space["measures"]}
    of_kind: dict[str, list[str]] = {"model": [], "pair": [], "cell": []}
    for name, measure in used.items():
        of_kind[measure.KIND].append(name)
    known = [*explorer.measures.NAMES, *explorer.measures.USERS]
    unused = [name for name in known if name not in used]
    absent = {c for name in unused for c in plugin(explorer.measures, name, "measure").COLUMNS}
    failures = _with_columns(store.read_records("failures").to_pandas(), ["model_id", "model_a", "model_b"])
    failed = dict(tuple(failures.groupby("kind"))) if len(failures) else {}

    models = store.read_records("models").to_pandas()
    if "models" in failed:
        trained = set(models["model_id"]) if len(models) else set()
        lost = failed["models"].drop(columns=["kind", "traceback"]).dropna(subset="model_id")
        lost = lost[~lost["model_id"].isin(trained)].dropna(axis=1, how="all").assign(status="failed")
        models = pd.concat([models, lost], ignore_index=True)
    own.forget_clashing(used, map(str, models))
    models = _without_replaced_models(models, info, [*names, "seed"], store)
    if len(models):
        for measured in _frames(store, of_kind["model"]):
            models = models.merge(measured.drop_duplicates("model_id"), on="model_id", how="left")
    for name in names:  # an axis with null is one of words: a missing number would have no place on a map
        if None in _values(space, name):
            models[name] = [axis_value(v) for v in models[name]]
    documented = [name for name in tables.MODELS if name not in absent]
    models = _with_columns(models, [*columns.IDS, *columns.SETTINGS, *names, *documented])
    models = models.sort_values([*names, "seed"], kind="stable", ignore_index=True)

    pairs = pd.DataFrame(columns=["model_a", "model_b"])
    for measured in _frames(store, of_kind["pair"]):
        measured = measured.drop_duplicates(["model_a", "model_b"])
        pairs = pairs.merge(measured, on=["model_a", "model_b"], how="outer") if len(pairs) else measured
    pairs = _with_failures(pairs, failed.get("pairs"))
    documented = [name for name in tables.PAIRS if name not in absent]
    pairs = _with_settings(pairs, models, names, documented)

    # Two copies of all rows take the most memory of a report.
    release = pa.default_memory_pool().release_unused
    extra = [kind for measure in used.values() for kind in measure.EXTRA if kind.startswith("curves")]
    curves = pd.concat(_frames(store, extra) or [pd.DataFrame()], ignore_index=True)
    curves = _with_columns(curves, ["model_a", "model_b", *columns.CURVES])
    curves = _in_order(curves, models, ["model_a", "model_b"], ["path", "t"])
    release()
    epochs = _with_columns(store.read_records("epochs").to_pandas(), ["model_id", *columns.EPOCHS])
    epochs = _in_order(epochs, models, ["model_id"], ["step"])
    release()
    if "measures" in failed:
        subject = [column for column in ("model_id", "cell_id") if column in failures]
        info["failed_measures"] = [
            {"subject": next(v for v in row[:-1] if isinstance(v, str)), "error": row[-1]}
            for row in failed["measures"][[*subject, "error"]].itertuples(index=False)
        ]
    return RunTables(
        name=store.files.name,
        folder=store.location,
        axes=axes,
        models=models,
        epochs=epochs,
        pairs=pairs,
        curves=curves,
        info=info,
        of_cells=_of_cells(store, of_kind["cell"]),
    )


def _values(space: dict[str, Any], axis: str) -> list[Any]:
    """Return the values of an axis that the space lists; none if it gives them by a rule."""
    values = {**(space.get("load") or {}), **(space.get("temperature") or {})}[axis]
    return values if isinstance(values, list) else []


def _frames(store: Store, kinds: Iterable[str]) -> list[pd.DataFrame]:
    """Return the records of each of these kinds, without the kinds that have none."""
    frames = [store.read_records(kind).to_pandas() for kind in kinds]
    return [frame for frame in frames if len(frame)]


def _without_replaced_models(
    models: pd.DataFrame, info: dict[str, Any], place: list[str], store: Store
) -> pd.DataFrame:
    """Return the models without those that another version has trained, if they were trained again since.

    Two models then have the same axis values and seed. Those that count are in the grid of today.
    """
    if not set(place) <= set(models) or not models.duplicated(place).any():
        return models
    grid = recorded.space_of(info)
    ids = {cell.model_id(seed) for cell in grid.cells for seed in cell.seeds}
    kept = models[models["model_id"].isin(ids)]
    store.warn(
        f"{store.location}: the tables leave out {len(models) - len(kept)} models of another version, "
        "which were trained again"
    )
    return kept


def _of_cells(store: Store, measures: list[str]) -> pd.DataFrame:
    """Return the measures of whole cells by ``cell_id``, each taken on the largest set of models."""
    table = pd.DataFrame(columns=["cell_id"])
    for measured in _frames(store, measures):
        size = next(str(column) for column in measured if str(column).endswith("_models"))
        measured = measured.sort_values(size, kind="stable").drop_duplicates("cell_id", keep="last")
        table = table.merge(measured.drop(columns="members"), on="cell_id", how="outer")
    return table


def _with_failures(pairs: pd.DataFrame, failed: pd.DataFrame | None) -> pd.DataFrame:
    """Add ``status`` and ``error``. A pair with at least one measure counts, even if others failed."""
    measured = [column for column in pairs if column not in ("model_a", "model_b")]
    pairs = pairs.assign(status="ok", error="")
    if failed is None:
        return pairs
    errors = failed[["model_a", "model_b", "error"]].groupby(["model_a", "model_b"], as_index=False)
    errors = errors.agg("; ".join)
    merged = pairs.merge(errors.rename(columns={"error": "failure"}), on=["model_a", "model_b"], how="outer")
    wrong = merged["failure"].notna()
    nothing = wrong & merged[measured].isna().all(axis=1)
    return merged.assign(
        status=merged["status"].fillna("ok").where(~nothing, "failed"),
        error=merged["error"].where(~wrong, merged["failure"]),
    ).drop(columns="failure")


def _with_settings(
    pairs: pd.DataFrame, models: pd.DataFrame, names: list[str], documented: list[str]
) -> pd.DataFrame:
    """Add the settings of both models, and sort by the axes and seeds.

    Pairs of other models are left out: the record of a model may be damaged, or may have been written after
    the models were read.
    """
    settings = ["cell_id", "task", "dataset", "architecture", *names]
    wanted = [*columns.PAIR_IDS, *settings, *documented]
    if not len(pairs):  # without columns to join by
        return _with_columns(pd.DataFrame(), wanted)
    first = {"model_id": "model_a", "seed": "seed_a"}
    second = {"model_id": "model_b", "seed": "seed_b", "cell_id": "cell_id_b"}
    pairs = pairs.merge(models[[*first, *settings]].rename(columns=first), on="model_a")
    pairs = pairs.merge(models[list(second)].rename(columns=second), on="model_b")
    by = [*names, "seed_a", "seed_b"]
    return _with_columns(pairs, wanted).sort_values(by, kind="stable", ignore_index=True)


def _with_columns(frame: pd.DataFrame, first: list[str]) -> pd.DataFrame:
    """Return a frame with all columns of ``first``, in this order and type, followed by the others."""
    empty = {"text": "str", "integer": "Int64", "number": "float64", "numbers": "object", "flag": "boolean"}
    first = list(dict.fromkeys(first))
    for name in first:
        if name not in frame:
            kind = tables.EVERY[name].kind if name in tables.EVERY else "number"
            frame[name] = pd.Series([None] * len(frame), index=frame.index, dtype=empty[kind])
    return frame[[*first, *(c for c in frame.columns if c not in first)]]


def _in_order(frame: pd.DataFrame, models: pd.DataFrame, ids: list[str], then: list[str]) -> pd.DataFrame:
    """Return the rows of existing models in the order of these models.

    If part of a lost stack was retrained as a different stack, some rows occur twice; the first is kept.
    """
    known = pd.Index(models["model_id"].drop_duplicates(keep="last"))
    keys = frame[then].assign(**{name: known.get_indexer(pd.Index(frame[name])) for name in ids})
    keys = keys[(keys[ids] >= 0).all(axis=1)].drop_duplicates().sort_values([*ids, *then], kind="stable")
    return frame.loc[keys.index].reset_index(drop=True)


# A folder of tables from somewhere else ---------------------------------------------------------------

LOAD_NAMES = (
    "width",
    "depth",
    "channels",
    "embedding_width",
    "model_size",
    "train_size",
    "label_noise",
    "pixel_noise",
    "activation",
    "architecture",
    "dataset",
)
TEMPERATURE_NAMES = ("batch_size", "learning_rate", "weight_decay", "momentum", "schedule", "optimizer")


def _read_table(folder: Files, name: str, new: Mapping[str, str], seen: list[str]) -> pd.DataFrame:
    """Read a table with new names of columns, and add their names in the file to ``seen``.

    Raises:
        InputError: the file is not a table, or none of its columns is known, or a numeric column has text.
    """
    path = join(folder.location, name)
    try:
        content = folder.read(name)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    table = parse_table(path, content)
    seen += map(str, table)
    table = foreign.in_percent(path, foreign.renamed(path, table, new), _tell)
    names = {str(name): str(name).removesuffix("_std") for name in table}
    if not {*names.values()} & {*tables.EVERY, *LOAD_NAMES, *TEMPERATURE_NAMES}:  # semicolons, for example
        _, rename = foreign.hints(list(names))
        how = f"rename columns with --columns {rename}; " if rename else ""
        raise InputError(
            f"{path}: no column is one of those in docs/tables.md; the first is {list(names)[:1]}; {how}"
            "a CSV file needs commas between columns and decimal points in numbers"
        )
    empty = []
    for name, base in names.items():
        kind = tables.EVERY[base].kind if base in tables.EVERY else ""
        if kind in ("integer", "number"):
            words = table[name][table[name].notna() & pd.to_numeric(table[name], errors="coerce").isna()]
            if len(words):
                raise InputError(f"{path}: {name} should hold numbers, not {words.iloc[0]!r}")
        elif kind == "text" and is_numeric_dtype(table[name]) and table[name].isna().all():
            empty.append(name)  # as pandas reads a text column of a CSV file without any text
    return table.astype(dict.fromkeys(empty, "object"))


def _tell(remark: str) -> None:
    """Say something about tables from elsewhere; standard output may be a result."""
    if remark:
        print(printable(remark), file=sys.stderr)


def load_tables(folder: Files, new: Mapping[str, str] = NO_RENAMES) -> RunTables:
    """Load tables that were made elsewhere: Parquet or CSV files with the names of our tables.

    ``new`` are our names of columns by theirs. Nothing is left out silently: columns that nothing shows, and
    models at the same place, are told on standard error.

    The axes are the known settings with more than one value. Further columns become axes if they are needed
    to distinguish cells with different ``cell_id``; otherwise models of different cells would be averaged.

    Raises:
        InputError: the folder has none of the tables, or a table is wrong.
    """
    loaded: dict[str, pd.DataFrame] = {}
    seen: list[str] = []
    files: dict[str, str] = {}
    for name in TABLES:
        if file := next(filter(folder.exists, _places([name])), None):
            loaded[name], files[name] = _read_table(folder, file, new, seen), join(folder.location, file)
    if not loaded:
        runs = listed(join(folder.location, name) for name in folder.folders_with("run.yaml"))
        raise InputError(
            f"{folder.location} is neither a run (no run.yaml) nor a folder of tables "
            f"({', '.join(TABLES)} as .parquet or .csv){f'; it holds the runs {runs}' if runs else ''}"
        )
    foreign.require_known(new, seen)
    axes: dict[str, list[str]] = {"load": [], "temperature": []}
    for name in ("models", "cells", "pairs"):  # the first table in which a setting varies
        if name in loaded and not any(axes.values()):
            table = loaded[name]
            axes = {
                kind: [n for n in _candidates(kind, names, new) if n in table and table[n].nunique() > 1]
                for kind, names in (("load", LOAD_NAMES), ("temperature", TEMPERATURE_NAMES))
            }
            for setting in _distinguishing_columns(table, [*axes["load"], *axes["temperature"]]):
                axes["temperature" if setting in TrainingOptions.model_fields else "load"].append(setting)
    for name in (*axes["load"], *axes["temperature"]):
        if fault := fault_of(name):
            raise InputError(f"{folder}: charts cannot show an axis {name!r}: {fault}; rename this column")
    run = RunTables(
        name=folder.name,
        folder=folder.location,
        axes=axes,
        models=loaded.get("models", pd.DataFrame()),
        epochs=loaded.get("epochs", pd.DataFrame()),
        pairs=loaded.get("pairs", pd.DataFrame()),
        curves=loaded.get("curves", pd.DataFrame()),
    )
    names = [*axes["load"], *axes["temperature"]]
    for name in (name for name in ("models", "cells", "pairs") if name in loaded):
        _tell(foreign.unknown_columns(files[name], loaded[name], names))
    if "models" in loaded:
        _tell(foreign.gaps(files["models"], loaded["models"], names))
        _tell(foreign.repeated_models(files["models"], loaded["models"], names))
    if "cells" in loaded and not {"models", "pairs"} & set(loaded):
        from explorer import phases

        try:
            run.grid = phases.foreign_cells(loaded["cells"], axes)
        except InputError as error:
            more = foreign.differences(loaded["cells"], names) if names else ""
            raise InputError(f"{error}.{more}") from None
    return run


def _candidates(kind: str, names: Sequence[str], new: Mapping[str, str]) -> list[str]:
    """Return the known names of axes of a kind, and the columns that the user makes such axes."""
    given = [theirs for theirs, role in new.items() if role == kind]
    return [*(name for name in names if new.get(name) not in ROLES), *given]


def _distinguishing_columns(table: pd.DataFrame, axes: list[str]) -> list[str]:
    """Return further columns, constant within each cell, that distinguish cells at the same grid point.

    Empty if no cell has several rows: then a measure would also be constant within each cell.
    """

    def distinct(names: list[str]) -> int:
        return len(table[names].drop_duplicates()) if names else 1

    cells = table["cell_id"].nunique() if "cell_id" in table else 0
    extra: list[str] = []
    if not 0 < cells < len(table):
        return extra
    measured = {name for name in tables.EVERY if name != "steps"}  # columns that are not settings
    for name in table.columns.difference([*measured, *axes], sort=False):
        points = distinct([*axes, *extra])
        if points >= cells:
            break
        constant = table[name].map(is_hashable).all() and distinct(["cell_id", name]) <= cells
        if constant and distinct([*axes, *extra, name]) > points:
            extra.append(name)
    return extra
