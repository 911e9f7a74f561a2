"""Part of a run: the cells with given values of some axes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from explorer import plainyaml
from explorer.phases import axis_names
from explorer.report.rows import values
from explorer.results import RunTables
from explorer.settings import InputError, listed, suggest


def select(run: RunTables, where: Sequence[str]) -> RunTables:
    """Return the run without the cells that have other values than ``axis=value``, and without these axes.

    A run that does not sweep a setting has one value of it, which must be the same.

    Raises:
        InputError: the run has no such axis, setting or value.
    """
    for text in where:
        axis, equals, said = text.partition("=")
        if not equals or not said:
            raise InputError(f"--where {text}: it should be axis=value, such as learning_rate=0.05")
        run = _selected(run, axis.strip(), said.strip(), f"--where {text}")
    return run


def _selected(run: RunTables, axis: str, said: str, given: str) -> RunTables:
    if axis not in run.models:
        known = axis_names(run.axes)
        raise InputError(f"{given}: run {run.name!r} has no axis {axis!r}; it has {suggest(axis, known)}")
    known = values(run.models, axis)
    value: Any = said  # a text that YAML reads as something else, or does not understand
    with suppress(plainyaml.NotPlain):
        read = plainyaml.parse(said)[0]
        value = read if read in known else said
    if value not in known:
        raise InputError(
            f"{given}: run {run.name!r} has no model with {axis} {value}; it has {listed(known)}"
        )
    models = run.models[run.models[axis] == value].reset_index(drop=True)
    kept = set(models["model_id"]) if "model_id" in models else set()
    axes = {kind: [name for name in names if name != axis] for kind, names in run.axes.items()}

    def of(table: Any, ids: list[str]) -> Any:
        if not len(table):
            return table
        kept_rows = table[axis] == value if axis in table else table[ids].isin(kept).all(axis=1)
        return table[kept_rows].reset_index(drop=True)

    return replace(
        run,
        axes=axes,
        models=models,
        epochs=of(run.epochs, ["model_id"]),
        pairs=of(run.pairs, ["model_a", "model_b"]),
        curves=of(run.curves, ["model_a", "model_b"]),
    )
