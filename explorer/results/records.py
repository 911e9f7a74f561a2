"""The tables of a run folder, joined from its records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import pyarrow as pa

import explorer.measures
from explorer import columns
from explorer.measures import own, tables
from explorer.results.run_tables import RunTables
from explorer.runs.store import Store
from explorer.settings import plugin
from explorer.space import recorded
from explorer.units import axis_value


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
