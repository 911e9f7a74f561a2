"""From the records of a run to its tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_hashable

from explorer import columns
from explorer.measures import tables
from explorer.runs.store import Store, locate
from explorer.settings import InputError, plugin
from explorer.space import recorded
from explorer.space.model import TrainingOptions
from explorer.space.reading import parse
from explorer.tasks import TASKS, Task

if TYPE_CHECKING:
    from torch import nn

    from explorer.data.dataset import Arrays
    from explorer.phases import Cut
    from explorer.space.model import Cell

TABLES = ("models", "epochs", "pairs", "curves", "cells")


@dataclass
class Run:
    """The tables of a run, as pandas, and what is known about how they came to be.

    ``axes`` is ``{"load": [...], "temperature": [...]}``, the names of the swept settings, which are
    columns of every table but ``epochs`` and ``curves`` (those carry ``model_id``, or ``model_a`` and
    ``model_b``). ``info`` is ``run.yaml`` and the ``sessions``.
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
        """A row a grid point: means, spreads, numbers; the cells before they are sorted into phases."""
        from explorer import phases

        grid = phases.cells(self.models, self.pairs, self.axes)
        return grid.merge(self.of_cells, on="cell_id", how="left") if len(self.of_cells) else grid

    @property
    def task(self) -> Task:
        """What its models learn; classification, where tables from elsewhere do not say."""
        return TASKS.get(str(self._space("task")), TASKS["classification"])

    def _space(self, key: str) -> Any:
        """What its space says of ``key``; None where there is no space, or it does not say."""
        space = self.info.get("space")
        return space.get(key) if isinstance(space, dict) else None

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The grid with its phases, by the cuts of the space."""
        from explorer import phases

        return phases.classify(self.grid, self.cuts())

    def cuts(self, given: Mapping[str, Any] | None = None) -> dict[str, Cut]:
        """The borders between its phases, each as ``given`` by name, else as its space says, else found.

        Raises:
            InputError: a cut of another name, or one that is neither a positive number nor ``auto``.
        """
        from explorer import phases

        own = self._space("phases")
        both = {**(own if isinstance(own, dict) else {}), **(given or {})}
        try:
            return phases.find_cuts(self.grid, both, self.task.fitted)
        except ValueError as error:
            raise InputError(f"{self.folder}: {error}") from error

    def model(self, model_id: str) -> nn.Module:
        """A trained model as a module, in evaluation mode; inputs as :meth:`data` has them.

        Raises:
            KeyError: the run has no such model, or it failed.
        """
        import torch

        from explorer.models.base import network

        row, cell = self._trained(model_id)
        data = self.data(model_id)
        _, rows = network(cell.model_name, cell.model, data.shape, data.classes, task=cell.task)
        weights = Store(self.folder).read_model(row["stack"], model_id, row["weights_sha256"])
        return rows.to_module(*(torch.tensor(numbers) for numbers in weights))

    def data(self, model_id: str) -> Arrays:
        """The arrays a model was trained and tested on: subset, noise and scale as its settings say."""
        import explorer.data
        from explorer.data.base import prepare

        row, cell = self._trained(model_id)
        clean = plugin(explorer.data, cell.data_name, "data set").load(cell.data)
        return prepare(clean, cell.data.of_replicate(int(row["seed"])), cell.data_name)

    def _trained(self, model_id: str) -> tuple[pd.Series, Cell]:
        found = self.models[self.models["model_id"] == model_id]
        if not len(found) or found.iloc[0]["status"] == "failed":
            raise KeyError(f"run {self.name!r} has no trained model {model_id!r}")
        row = found.iloc[0]
        cells = {cell.id: cell for cell in parse(self.info["space"]).cells}
        return row, cells[row["cell_id"]]


def load(name_or_folder: str | Path, storage: str = "runs") -> Run:
    """A run by name or folder, or any folder that holds some of the tables as Parquet or CSV.

    Works while a sweep runs: it shows what is finished.

    Raises:
        InputError: neither a run nor a folder with tables.
    """
    folder = Path(str(name_or_folder))
    if "://" not in str(name_or_folder) and folder.is_dir() and not (folder / "run.yaml").exists():
        return load_tables(folder)
    return read(locate(name_or_folder, storage))


def read(store: Store) -> Run:
    """The tables of a run folder, from its records."""
    info = recorded.read_info(store)
    space = info["space"]
    axes = {kind: list(space.get(kind) or {}) for kind in ("load", "temperature")}
    names = [*axes["load"], *axes["temperature"]]

    models = store.read_records("models").to_pandas()
    failures = store.read_records("failures").to_pandas()
    failed = failures[failures["kind"] == "models"] if len(failures) else failures
    if len(failed):
        failed = failed.drop(columns=["kind", "traceback"]).dropna(axis=1, how="all").assign(status="failed")
        done = set(models["model_id"]) if len(models) else set()
        models = pd.concat([models, failed[~failed["model_id"].isin(done)]], ignore_index=True)
    for kind in _measures(space, "model"):
        measured = store.read_records(kind).to_pandas()
        if len(measured) and len(models):
            models = models.merge(measured.drop_duplicates("model_id"), on="model_id", how="left")
    models = _complete(models, [*columns.IDS, *columns.SETTINGS, *names, *_columns(tables.MODELS, space)])
    models = _sorted(models, [*names, "seed"])

    pairs = pd.DataFrame(columns=["model_a", "model_b"])
    for kind in _measures(space, "pair"):
        measured = store.read_records(kind).to_pandas()
        if len(measured):
            measured = measured.drop_duplicates(["model_a", "model_b"])
            pairs = pairs.merge(measured, on=["model_a", "model_b"], how="outer") if len(pairs) else measured
    # A model may be missing whose pairs are there: its record was damaged, or came just now.
    known = set(models["model_id"])
    pairs = _of_known(pairs, known, "model_a", "model_b")
    pairs = _of_known(_with_failures(pairs, failures), known, "model_a")
    pairs = _pairs_described(pairs, models, names, _columns(tables.PAIRS, space))
    points = [store.read_records(kind).to_pandas() for kind in _extra(space, "curves")]
    curves = pd.concat([p for p in points if len(p)] or [pd.DataFrame()], ignore_index=True)
    # A part of a stack that was lost and made again as another one has left points that are there twice.
    curves = _complete(curves, ["model_a", "model_b", *columns.CURVES])
    curves = _of_known(
        curves.drop_duplicates(["model_a", "model_b", "path", "t"]), known, "model_a", "model_b"
    )
    epochs = _complete(store.read_records("epochs").to_pandas(), ["model_id", *columns.EPOCHS])
    epochs = _of_known(epochs.drop_duplicates(["model_id", "step"]), known, "model_id")
    if len(failures):
        unmeasured = failures[failures["kind"] == "measures"]
        subject = [column for column in ("model_id", "cell_id") if column in unmeasured]
        info["failed_measures"] = [
            {"subject": next(v for v in row[:-1] if isinstance(v, str)), "error": row[-1]}
            for row in unmeasured[[*subject, "error"]].itertuples(index=False)
        ]
    order = {model_id: place for place, model_id in enumerate(models["model_id"])}
    curves = curves[curves["model_a"].isin(order.keys()) & curves["model_b"].isin(order.keys())]
    return Run(
        name=info["name"],
        folder=store.location,
        axes=axes,
        models=models,
        epochs=_by_place(epochs, order, ["model_id"], ["step"]),
        pairs=pairs,
        curves=_by_place(curves, order, ["model_a", "model_b"], ["path", "t"]),
        info=info,
        of_cells=_of_cells(store, space),
    )


def _of_known(frame: pd.DataFrame, models: set[str], *names: str) -> pd.DataFrame:
    """The rows whose models there are."""
    return frame[frame[list(names)].isin(models).all(axis=1)] if len(frame) else frame


def _columns(documented: dict[str, columns.Column], space: dict[str, Any]) -> list[str]:
    """The documented columns but for those of measures that the space does not take."""
    import explorer.measures

    untaken = [name for name in explorer.measures.NAMES if name not in space["measures"]]
    absent = {c for name in untaken for c in plugin(explorer.measures, name, "measure").COLUMNS}
    return [name for name in documented if name not in absent]


def _measures(space: dict[str, Any], kind: str) -> list[str]:
    import explorer.measures

    return [name for name in space["measures"] if kind == plugin(explorer.measures, name, "measure").KIND]


def _extra(space: dict[str, Any], prefix: str) -> list[str]:
    """Kinds of records that the measures of the space leave beside their own, such as points of paths."""
    import explorer.measures

    extra = [kind for name in space["measures"] for kind in plugin(explorer.measures, name, "measure").EXTRA]
    return [kind for kind in extra if kind.startswith(prefix)]


def _of_cells(store: Store, space: dict[str, Any]) -> pd.DataFrame:
    """What is measured of whole cells, by ``cell_id``: of the largest set of models, where there are some."""
    table = pd.DataFrame(columns=["cell_id"])
    for name in _measures(space, "cell"):
        measured = store.read_records(name).to_pandas()
        if len(measured):
            size = next(column for column in measured if column.endswith("_models"))
            measured = measured.sort_values(size, kind="stable").drop_duplicates("cell_id", keep="last")
            table = table.merge(measured.drop(columns="members"), on="cell_id", how="outer")
    return table


def _with_failures(pairs: pd.DataFrame, failures: pd.DataFrame) -> pd.DataFrame:
    """With ``status`` and ``error``. A pair of which something is measured counts, whatever else failed."""
    something = [column for column in pairs if column not in ("model_a", "model_b")]
    pairs = pairs.assign(status="ok", error="")
    failed = failures[failures["kind"] == "pairs"] if len(failures) else failures
    if not len(failed):
        return pairs
    failed = (
        failed[["model_a", "model_b", "error"]].groupby(["model_a", "model_b"], as_index=False).agg("; ".join)
    )
    merged = pairs.merge(failed.rename(columns={"error": "failure"}), on=["model_a", "model_b"], how="outer")
    wrong = merged["failure"].notna()
    nothing = wrong & merged[something].isna().all(axis=1)
    return merged.assign(
        status=merged["status"].fillna("ok").where(~nothing, "failed"),
        error=merged["error"].where(~wrong, merged["failure"]),
    ).drop(columns="failure")


def _pairs_described(
    pairs: pd.DataFrame, models: pd.DataFrame, names: list[str], measured: list[str]
) -> pd.DataFrame:
    wanted = [*columns.PAIR_IDS, "cell_id", "task", "dataset", "architecture", *names, *measured]
    if not len(pairs):
        return _complete(pd.DataFrame(), wanted)
    own = models[["model_id", "cell_id", "task", "dataset", "architecture", "seed", *names]]
    pairs = pairs.merge(
        own.rename(columns={"model_id": "model_a", "seed": "seed_a"}), on="model_a", how="left"
    )
    other = {"model_id": "model_b", "seed": "seed_b", "cell_id": "cell_id_b"}
    pairs = pairs.merge(own[list(other)].rename(columns=other), on="model_b", how="left")
    # A model that is lost is trained again, to the same bits; its pairs count again then.
    pairs = pairs[pairs["cell_id"].notna() & pairs["cell_id_b"].notna()]
    return _sorted(_complete(pairs, wanted), [*names, "seed_a", "seed_b"])


def _complete(frame: pd.DataFrame, first: list[str]) -> pd.DataFrame:
    """All the columns in ``first``, in this order and type, then what else there is."""
    known = tables.EVERY
    empty = {"text": "str", "integer": "Int64", "number": "float64", "numbers": "object", "flag": "boolean"}
    first = list(dict.fromkeys(first))
    for name in first:
        if name not in frame:
            frame[name] = pd.Series(
                [None] * len(frame),
                index=frame.index,
                dtype=empty[known[name].kind if name in known else "number"],
            )
    return frame[[*first, *(c for c in frame.columns if c not in first)]]


def _sorted(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    return frame.sort_values(by, kind="stable", ignore_index=True)


def _by_place(frame: pd.DataFrame, order: dict[str, int], ids: list[str], then: list[str]) -> pd.DataFrame:
    keys = frame[ids].apply(lambda column: column.map(order))
    keys = keys.rename(columns={name: f"_{name}" for name in ids})
    joined = pd.concat([frame, keys], axis=1).sort_values(
        [*keys.columns, *then], kind="stable", ignore_index=True
    )
    return joined.drop(columns=list(keys.columns))


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


def _read_csv(place: Path) -> pd.DataFrame:
    """Raises ValueError where a column is there twice, of which pandas would take the first."""
    first = pd.read_csv(place, header=None, nrows=1, dtype="string", skipinitialspace=True)
    names = first.iloc[0].dropna()
    if twice := sorted(set(names[names.duplicated()])):
        raise ValueError(f"there are several columns {', '.join(twice)}")
    table = pd.read_csv(place, skipinitialspace=True)
    empty = [
        n for n in table if getattr(tables.EVERY.get(str(n)), "kind", "") == "text" and table[n].isna().all()
    ]
    return table.astype(dict.fromkeys(empty, "object"))  # no numbers, as which pandas reads what is not there


def _check_columns(table: pd.DataFrame, place: Path) -> None:
    """Raises InputError where no column is known, as when a CSV has semicolons."""
    names = [str(name) for name in table]
    known = {*tables.EVERY, *LOAD_NAMES, *TEMPERATURE_NAMES}
    if not any(name.removesuffix("_std") in known for name in names):
        raise InputError(
            f"{place}: no column has a name of docs/tables.md; the first is {names[:1]}. "
            "A CSV has commas between its columns, and points in its numbers"
        )


def _check_numbers(table: pd.DataFrame, place: Path) -> None:
    for name in table:
        known = tables.EVERY.get(str(name).removesuffix("_std"))
        if known is None or known.kind not in ("integer", "number"):
            continue
        words = table[name][table[name].notna() & pd.to_numeric(table[name], errors="coerce").isna()]
        if len(words):
            raise InputError(f"{place}: {name} should hold numbers, not {words.iloc[0]!r}")


def load_tables(folder: Path) -> Run:
    """Tables that somebody has from elsewhere: Parquet or CSV files named as ours.

    Axes are the known settings that take more than one value, and what else tells cells apart that
    ``cell_id`` keeps apart: their models would be averaged otherwise.

    Raises:
        InputError: the folder has none of the tables, one cannot be read, or has words where numbers are due.
    """
    found: dict[str, pd.DataFrame] = {}
    for name in TABLES:
        for place in (
            folder / f"{name}.parquet",
            folder / f"{name}.csv",
            folder / "tables" / f"{name}.parquet",
        ):
            if place.exists() and name not in found:
                try:
                    found[name] = pd.read_parquet(place) if place.suffix == ".parquet" else _read_csv(place)
                except Exception as error:
                    said = str(error).partition("\n")[0]
                    raise InputError(f"{place} cannot be read as a table: {said}") from error
                _check_columns(found[name], place)
                _check_numbers(found[name], place)
    if not found:
        runs = ", ".join(sorted(str(file.parent) for file in folder.glob("*/run.yaml"))[:10])
        raise InputError(
            f"{folder} is neither a run (no run.yaml) nor a folder of tables "
            f"({', '.join(TABLES)} as .parquet or .csv){f'; it holds the runs {runs}' if runs else ''}"
        )
    axes: dict[str, list[str]] = {"load": [], "temperature": []}
    for name in ("models", "cells", "pairs"):  # the first that takes more than one value of a setting
        if name in found and not any(axes.values()):
            table = found[name]
            axes = {
                kind: [n for n in names if n in table and table[n].nunique() > 1]
                for kind, names in (("load", LOAD_NAMES), ("temperature", TEMPERATURE_NAMES))
            }
            for setting in _apart(table, [*axes["load"], *axes["temperature"]]):
                axes["temperature" if setting in TrainingOptions.model_fields else "load"].append(setting)
    run = Run(
        name=folder.resolve().name,
        folder=str(folder),
        axes=axes,
        models=found.get("models", pd.DataFrame()),
        epochs=found.get("epochs", pd.DataFrame()),
        pairs=found.get("pairs", pd.DataFrame()),
        curves=found.get("curves", pd.DataFrame()),
    )
    if "cells" in found and not {"models", "pairs"} & set(found):
        from explorer import phases

        run.grid = phases.foreign_cells(found["cells"], axes)
    return run


def _apart(table: pd.DataFrame, axes: list[str]) -> list[str]:
    """Further columns, the same within each cell, that tell cells of the same place on the axes apart.

    None where no cell has several rows: a measure would be the same within each, too.
    """
    cells = table["cell_id"].nunique() if "cell_id" in table else 0
    found: list[str] = []
    if not 0 < cells < len(table):
        return found

    def distinct(names: list[str]) -> int:
        return len(table[names].drop_duplicates()) if names else 1

    own = {name for name in tables.EVERY if name != "steps"}  # what the tables know as no setting
    places = distinct(axes)
    for name in table.columns.difference([*own, *axes], sort=False):
        if places >= cells:
            break
        if not table[name].map(is_hashable).all() or distinct(["cell_id", name]) > cells:
            continue
        apart = distinct([*axes, *found, name])
        if apart > places:
            found, places = [*found, name], apart
    return found
