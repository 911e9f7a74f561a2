"""Prints ``docs/tables.md`` from the columns that the code knows: ``python -m explorer.report.reference``."""

from __future__ import annotations

from explorer.columns import CURVES, EPOCHS, IDS, PAIR_IDS, SETTINGS
from explorer.measures.tables import AVERAGED_MODELS, AVERAGED_PAIRS, CELLS, MODELS, PAIRS


def markdown() -> str:
    """``docs/tables.md``: every table with its columns."""
    parts = [HEAD]
    for name, (row, groups) in DOCUMENTED.items():
        columns = {column: c for group in groups for column, c in group.items()}
        head = "| column | type | unit | meaning |\n| --- | --- | --- | --- |\n"
        lines = "\n".join(f"| `{n}` | {c.kind} | {c.unit} | {c.meaning} |" for n, c in columns.items())
        parts += [f"## `{name}`", f"A row is {row}.", head + lines, NOTES.get(name, "")]
    return "\n\n".join(part for part in parts if part) + "\n"


DOCUMENTED = {
    "models": ("a model that was trained, or failed to be", (IDS, SETTINGS, MODELS)),
    "epochs": ("a point of a model's training", ({"model_id": IDS["model_id"]}, EPOCHS)),
    "pairs": (
        "a pair of models of one cell",
        (PAIR_IDS, {k: v for k, v in {**IDS, **SETTINGS}.items() if k not in ("model_id", "seed")}, PAIRS),
    ),
    "curves": (
        "a point on a path between two models",
        ({k: PAIR_IDS[k] for k in ("model_a", "model_b")}, CURVES),
    ),
    "cells": ("a grid point", ({"cell_id": IDS["cell_id"]}, CELLS)),
}

AVERAGED = ", ".join(f"`{name}`" for name in (*AVERAGED_MODELS, *AVERAGED_PAIRS))

NOTES = {
    "models": """Beside these: every setting of the data set, the architecture and the training, under its
own name (`width`, `batch_size`, …). A measure's columns are there when the space takes it.

`explorer.load("<name>").model(model_id)` is the trained module, `.data(model_id)` its data. Without
Explorer: `theta` in `weights/<stack>.safetensors` has a row a model. The file's metadata, JSON under
`explorer`, says which (`model_ids`, in the order of the rows) and how a row is cut into parameters
(`layers`: names and shapes).""",
    "pairs": """Beside these: the axes of the space. A measure's columns are there when the space takes it;
`cka_at_<layer>` for each of the `layers` of `similarity`.""",
    "cells": f"""Beside these: the axes of the space, and the mean (under its own name) and the standard
deviation (`<name>_std`) of {AVERAGED}.""",
}

HEAD = """# Tables

A run's tables lie in `runs/<name>/tables/*.parquet` when a run has ended; `explorer.load("<name>")` reads
them at any time, as `.models`, `.epochs`, `.pairs`, `.curves` and `.cells`. They are plain Parquet: pandas,
Polars and DuckDB read them. Missing values are NaN or null. `python -m explorer.report.reference` prints this
page.

`report` and `diagnose` also take any folder that holds some of these tables as Parquet or CSV."""

if __name__ == "__main__":
    print(markdown(), end="")
