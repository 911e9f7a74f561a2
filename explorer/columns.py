"""What the columns of the tables mean: name, type, unit, title.

Here are those that every run has. Those of a measure are defined in its own file, and
:mod:`explorer.measures.tables` knows both. ``docs/tables.md`` is printed from them
(``python -m explorer.report.reference``), and the tests compare it with what a run really writes.
A space's own axes appear as columns of ``models``, ``pairs`` and ``cells`` under the name of the
setting (``width``, ``batch_size``, …).
"""

from __future__ import annotations

from typing import NamedTuple


class Column(NamedTuple):
    """A column of a table, and what pages say of it.

    Args:
        kind: text, integer, number, numbers (a list), flag.
        unit: in words; empty for pure numbers.
        meaning: in a sentence, for ``docs/tables.md``.
        title: on pages; the name in words if empty.
        see: what a reader should look for in its map.
        averaged: a cell has its mean, under the same name, and its standard deviation ``<name>_std``.
        map: place of its map among those of a page, the smallest first; 0 for none.
        log: colours of a map go by the logarithm.
        diverging: colours of a map say the sign.
        digits: after the point in texts; three significant ones if None.
    """

    kind: str
    unit: str
    meaning: str
    title: str = ""
    see: str = ""
    averaged: bool = False
    map: int = 0
    log: bool = False
    diverging: bool = False
    digits: int | None = None


IDS: dict[str, Column] = {
    "model_id": Column("text", "", "the model: a hash of everything that decides it"),
    "cell_id": Column("text", "", "the grid point: a hash of its settings without the seed"),
}

SETTINGS: dict[str, Column] = {
    "task": Column("text", "", "what is learnt"),
    "dataset": Column("text", "", "data set by name"),
    "architecture": Column("text", "", "architecture by name"),
    "seed": Column("integer", "", "replicate within the cell, from 0"),
}

MODELS: dict[str, Column] = {
    "status": Column(
        "text", "", "`ok`, `diverged` (not finite, or dead: one answer for all inputs) or `failed`"
    ),
    "error": Column("text", "", "what went wrong; empty when all is well"),
    "steps": Column(
        "integer",
        "optimiser steps",
        "steps trained, up to the model's checkpoint or early stop; the axis's value, where it is an axis",
    ),
    "train_loss": Column(
        "number",
        "nats",
        "mean loss on the training set, evaluation mode: cross-entropy (a token), or squared error",
        title="Training loss",
        see="Tells fitted from underfitted cells: look for the drop of ten times or more.",
        averaged=True,
        map=20,
        log=True,
    ),
    "train_error_percent": Column(
        "number",
        "percent",
        "error on the training set (with its noisy labels): 0/1, of tokens, or unexplained variance",
        title="Training error",
        see="Where it is 0 over a region, mode connectivity there is near 0 for that reason alone.",
        averaged=True,
        map=61,
        digits=2,
    ),
    "test_loss": Column(
        "number",
        "nats",
        "mean loss on the test set",
        title="Test loss",
        see="Can grow while accuracy holds: models that are sure of their mistakes.",
        averaged=True,
        map=62,
    ),
    "test_accuracy_percent": Column(
        "number",
        "percent",
        "100 less the error on the test set (labels always clean)",
        title="Test accuracy",
        see="What all else is compared with: where do models generalise?",
        averaged=True,
        map=10,
        digits=1,
    ),
    "parameters": Column("integer", "", "trainable parameters of the model"),
    "wall_s": Column("number", "seconds", "training time of the model's stack divided by its models"),
    "weights_sha256": Column("text", "", "SHA-256 of the file of its weights, by which damage is noticed"),
    "stack": Column("text", "", "stack it was trained in; its weights are `weights/<stack>.safetensors`"),
    "peak_memory_mb": Column(
        "number", "megabytes", "peak memory of the worker (of the GPU, where there is one)"
    ),
}

EPOCHS: dict[str, Column] = {
    "step": Column("integer", "optimiser steps", "steps done"),
    "epoch": Column("number", "epochs", "passes over the training set done"),
    "learning_rate": Column("number", "", "rate of the next step (of the last step, at the end)"),
    **{k: MODELS[k] for k in ("train_loss", "train_error_percent", "test_loss", "test_accuracy_percent")},
}

PAIR_IDS: dict[str, Column] = {
    "model_a": Column("text", "", "`model_id` of the first model"),
    "model_b": Column("text", "", "`model_id` of the second model"),
    "seed_a": Column("integer", "", "seed of the first model"),
    "seed_b": Column("integer", "", "seed of the second model"),
    "cell_id_b": Column(
        "text", "", "`cell_id` of the second model; another one only for pairs beyond the cell"
    ),
}

PAIRS: dict[str, Column] = {
    "status": Column("text", "", "`ok`, or `failed` where nothing of the pair could be measured"),
    "error": Column("text", "", "what went wrong, maybe in one measure only; empty when all is well"),
}

CURVES: dict[str, Column] = {
    "path": Column("text", "", "`bezier` (fitted) or `linear` (straight)"),
    "t": Column("number", "", "place on the path: 0 = `model_a`, 1 = `model_b`"),
    "train_loss": MODELS["train_loss"],
    "train_error_percent": MODELS["train_error_percent"],
    "test_loss": MODELS["test_loss"],
    "test_error_percent": Column("number", "percent", "error on the test set, of the same kind"),
}

CELLS: dict[str, Column] = {
    "n_models": Column("integer", "", "models that count: status `ok`"),
    "n_diverged": Column("integer", "", "models left out: status `diverged` or `failed`"),
    "n_pairs": Column("integer", "", "pairs that count"),
    "n_curves": Column("integer", "", "those that have a curve: of so many is the mean mode connectivity"),
    "phase": Column("text", "", "`I`, `II`, `III`, `IV-A`, `IV-B`; empty where a measure is missing"),
    "near_cut": Column("text", "", "cuts that the cell lies so near to that its spread reaches over them"),
}
