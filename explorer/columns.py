"""Definitions of table columns: name, type, unit and title.

This module defines the columns that every run has. Each measure defines its own columns in its own file,
and :mod:`explorer.measures.tables` combines both. ``python -m explorer.report.reference`` prints
``docs/tables.md`` from these definitions, and the tests compare them with the tables that a run writes.
A space's own axes appear as columns of ``models``, ``pairs`` and ``cells`` under the name of the
setting (``width``, ``batch_size``, …).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from explorer.settings import InputError, suggest


class Column(NamedTuple):
    """A column of a table, with the texts that report pages show for it.

    Args:
        kind: text, integer, number, numbers (a list), flag.
        unit: in words; empty for dimensionless numbers.
        meaning: description for ``docs/tables.md``.
        title: title on pages; if empty, pages use the name in words.
        caption: what a reader should look for in the map of this column.
        averaged: the ``cells`` table has the mean of this column under the same name, and its standard
            deviation as ``<name>_std``.
        map: position of the column's map on a page, smallest first; 0 for no map.
        log: maps use a logarithmic colour scale.
        diverging: maps use a diverging colour scale, centred on 0.
        digits: decimal places in texts; if None, three significant digits.
    """

    kind: str
    unit: str
    meaning: str
    title: str = ""
    caption: str = ""
    averaged: bool = False
    map: int = 0
    log: bool = False
    diverging: bool = False
    digits: int | None = None


IDS: dict[str, Column] = {
    "model_id": Column("text", "", "the model: a hash of everything that determines it"),
    "cell_id": Column("text", "", "the grid point: a hash of its settings, excluding the seed"),
}

SETTINGS: dict[str, Column] = {
    "task": Column("text", "", "name of the task that the models learn"),
    "dataset": Column("text", "", "name of the data set"),
    "architecture": Column("text", "", "name of the architecture"),
    "seed": Column("integer", "", "seed of the replicate; by default 0, 1, …"),
}

MODELS: dict[str, Column] = {
    "status": Column(
        "text",
        "",
        "`ok`, `diverged` (loss not finite, or more than 10 times that before training, or dead: the same "
        "answer for all inputs) or `failed`",
    ),
    "error": Column("text", "", "error message; empty if there was no error"),
    "steps": Column(
        "integer",
        "optimiser steps",
        "steps trained, up to the model's checkpoint or early stop; if `steps` is an axis, its value",
    ),
    "train_loss": Column(
        "number",
        "nats",
        "mean loss on the training set in evaluation mode: cross-entropy (per token), or squared error",
        title="Training loss",
        caption="Separates fitted from underfitted cells. Look for a drop by a factor of ten or more.",
        averaged=True,
        map=20,
        log=True,
    ),
    "train_error_percent": Column(
        "number",
        "percent",
        "error on the training set (with its noisy labels): 0/1 error, token error or unexplained variance",
        title="Training error",
        caption="Where it is 0, mode connectivity cannot be above 0. Without errors on the curve, it is 0.",
        averaged=True,
        map=61,
        digits=2,
    ),
    "test_loss": Column(
        "number",
        "nats",
        "mean loss on the test set",
        title="Test loss",
        caption="Can grow while accuracy stays the same, when models become more confident in their "
        "mistakes.",
        averaged=True,
        map=62,
    ),
    "test_accuracy_percent": Column(
        "number",
        "percent",
        "100 minus the error on the test set (labels always clean)",
        title="Test accuracy",
        caption="Shows where models generalise. The other measures are compared with it.",
        averaged=True,
        map=10,
        digits=1,
    ),
    "parameters": Column("integer", "", "number of trainable parameters"),
    "wall_s": Column("number", "seconds", "training time of the stack divided by its number of models"),
    "weights_sha256": Column("text", "", "SHA-256 of the model's weight file, used to detect damage"),
    "weights_bytes": Column("integer", "bytes", "size of that file"),
    "stack": Column("text", "", "stack of the model; its weights are in `weights/<stack>.safetensors`"),
    "peak_memory_mb": Column("number", "megabytes", "peak memory of the worker; on a GPU, peak GPU memory"),
}

EPOCHS: dict[str, Column] = {
    "step": Column("integer", "optimiser steps", "steps completed"),
    "epoch": Column("number", "epochs", "passes over the training set completed"),
    "learning_rate": Column("number", "", "rate of the next step; at the end, of the last step"),
    **{k: MODELS[k] for k in ("train_loss", "train_error_percent", "test_loss", "test_accuracy_percent")},
}

PAIR_IDS: dict[str, Column] = {
    "model_a": Column("text", "", "`model_id` of the first model"),
    "model_b": Column("text", "", "`model_id` of the second model"),
    "seed_a": Column("integer", "", "seed of the first model"),
    "seed_b": Column("integer", "", "seed of the second model"),
    "cell_id_b": Column(
        "text", "", "`cell_id` of the second model; differs from `cell_id` only for pairs across cells"
    ),
}

PAIRS: dict[str, Column] = {
    "status": Column("text", "", "`ok`, or `failed` if no measure of the pair succeeded"),
    "error": Column("text", "", "error message, possibly from one measure only; empty if there was no error"),
}

CURVES: dict[str, Column] = {
    "path": Column("text", "", "`bezier` (fitted) or `linear` (straight)"),
    "t": Column("number", "", "position on the path: 0 = `model_a`, 1 = `model_b`"),
    "train_loss": MODELS["train_loss"],
    "train_error_percent": MODELS["train_error_percent"],
    "test_loss": MODELS["test_loss"],
    "test_error_percent": Column("number", "percent", "the same error on the test set"),
}

CELLS: dict[str, Column] = {
    "n_models": Column("integer", "", "number of models with status `ok`; only these enter the means"),
    "n_diverged": Column("integer", "", "number of models left out: status `diverged` or `failed`"),
    "n_pairs": Column("integer", "", "number of pairs with status `ok`; only these enter the means"),
    "n_curves": Column("integer", "", "number of those pairs with a curve; they enter mode connectivity"),
    "curves_converged_share": Column(
        "number",
        "",
        "share of those curves that converged, 0 to 1; below 1, more steps may change the cell's mode "
        "connectivity; empty if unknown",
        digits=2,
    ),
    "generalization_gap": Column(
        "number",
        "percentage points",
        "test error minus training error (with its noisy labels), mean over models",
        title="Generalisation gap",
        caption="Test error minus training error. Large where models overfit.",
        map=15,
        diverging=True,
        digits=1,
    ),
    "phase": Column("text", "", "`I`, `II`, `III`, `IV-A` or `IV-B`; empty if a needed measure is missing"),
    "phase_probability": Column(
        "number",
        "",
        "probability of the phase, over replicates and cuts; empty if a standard error is unknown",
    ),
    "second_phase": Column("text", "", "the most probable other phase; empty if there is none"),
    "among_best": Column(
        "flag", "", "whether the cell cannot be told from the most accurate one; empty if this is unknown"
    ),
    "near_cut": Column("text", "", "cuts that lie within one standard error of the cell's mean"),
}

MAP: dict[str, Column] = {
    "round": Column("integer", "", "round in which a refined run ran the cell, from 1; empty if in none"),
    "source": Column("text", "", "`measured`, or `predicted` for a cell that was not run"),
    "phase": Column(
        "text", "", "measured or most probable phase; empty if a measure of a cell that was run is missing"
    ),
    "probability": Column(
        "number", "", "probability that a run of the whole grid shows this phase: 1 if measured"
    ),
    **{
        phase: Column("number", "", f"probability of phase {phase}")
        for phase in ("I", "II", "III", "IV-A", "IV-B")
    },
    **{
        f"{name}{end}": Column(
            kind="number", unit=MODELS[name].unit if name in MODELS else unit, meaning=meaning
        )
        for name, unit in (
            ("train_loss", ""),
            ("mode_connectivity", "percentage points"),
            ("cka", ""),
            ("train_error_percent", ""),
        )
        for end, meaning in (
            ("", "mean over replicates, or prediction"),
            ("_std", "standard deviation over replicates, or of the prediction"),
        )
    },
}

# What people call our columns and settings, for hints; hints also find names that are spelt alike.
OTHER_NAMES = {
    "acc": "test_accuracy_percent",
    "accuracy": "test_accuracy_percent",
    "bs": "batch_size",
    "hidden": "width",
    "hidden_size": "width",
    "loss": "train_loss",
    "lr": "learning_rate",
    "n_train": "train_size",
    "replicate": "seed",
    "test_acc": "test_accuracy_percent",
    "test_accuracy": "test_accuracy_percent",
    "train_error": "train_error_percent",
    "training_loss": "train_loss",
    "val_acc": "test_accuracy_percent",
    "val_loss": "test_loss",
    "wd": "weight_decay",
}


def renames(given: str | Iterable[str] | Mapping[str, str]) -> dict[str, str]:
    """Return new names of columns by their names in a file, from texts such as ``bs=batch_size,acc=``.

    A mapping from names in the file to ours is understood, too. An empty new name leaves the column out.

    Raises:
        InputError: a text has another form, or names a column twice.
    """
    new: dict[str, str] = {}
    if isinstance(given, Mapping):
        given = [f"{theirs}={ours}" for theirs, ours in given.items()]
    given = [given] if isinstance(given, str) else given
    for part in (part.strip() for text in given for part in text.split(",")):
        theirs, sign, ours = (word.strip() for word in part.partition("="))
        if not (theirs and sign):
            raise InputError(
                f"--columns {part}: it should be theirs=ours, such as bs=batch_size, or theirs= to leave a "
                "column out"
            )
        if theirs in new or (ours and ours in new.values() and ours not in ROLES):
            twice = theirs if theirs in new else ours
            raise InputError(f"--columns {part}: {twice!r} is given twice; give each column once")
        new[theirs] = ours
    return new


ROLES = ("load", "temperature")  # new names that make a column an axis of this kind


# Names that every object of JavaScript has, so that a page cannot keep values under them.
JAVASCRIPT = {
    "constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString",
    "valueOf", "__proto__", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__",
}  # fmt: skip


def fault_of(name: str) -> str:
    """Return why pages cannot show a column of this name; empty if they can."""
    if set(name) & set("'\"\n\r"):
        return "it has quotes or ends of lines"
    return "every object of JavaScript has this name" if name in JAVASCRIPT else ""


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the known name that a column of a user most likely means; empty if none is near."""
    plain = name.lower().replace("-", "_").replace(" ", "_").rpartition("/")[2]
    if plain.startswith(("train_acc", "training_acc")):  # an accuracy is no error
        return ""
    other = OTHER_NAMES.get(plain, "")
    close = [other] if other in known else difflib.get_close_matches(plain, known, n=1, cutoff=0.75)
    return close[0] if close else ""


def nearest_first(name: str, known: Sequence[str]) -> str:
    """Return all known names as text, beginning with the one that ``name`` most likely means."""
    return suggest(nearest(name, known) or name, known)
