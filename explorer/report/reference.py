"""Reference of all tables: ``python -m explorer.report.reference`` prints ``docs/tables.md``."""

from __future__ import annotations

from explorer.columns import CURVES, EPOCHS, IDS, MAP, PAIR_IDS, SETTINGS
from explorer.measures.tables import AVERAGED_MODELS, AVERAGED_PAIRS, CELLS, MODELS, PAIRS


def markdown() -> str:
    """Return ``docs/tables.md``: every table with its columns."""
    parts = [HEAD]
    for name, (row, groups) in DOCUMENTED.items():
        columns = {column: c for group in groups for column, c in group.items()}
        head = "| column | type | unit | meaning |\n| --- | --- | --- | --- |\n"
        lines = "\n".join(f"| `{n}` | {c.kind} | {c.unit} | {c.meaning} |" for n, c in columns.items())
        parts += [f"## `{name}`", f"Each row is {row}.", head + lines, NOTES.get(name, "")]
    return "\n\n".join(part for part in parts if part) + "\n"


DOCUMENTED = {
    "models": ("a model, trained or failed", (IDS, SETTINGS, MODELS)),
    "epochs": ("a point in the training history of a model", ({"model_id": IDS["model_id"]}, EPOCHS)),
    "pairs": (
        "a pair of models of one cell",
        (PAIR_IDS, {k: v for k, v in {**IDS, **SETTINGS}.items() if k not in ("model_id", "seed")}, PAIRS),
    ),
    "curves": (
        "a point on a path between two models",
        ({k: PAIR_IDS[k] for k in ("model_a", "model_b")}, CURVES),
    ),
    "cells": ("a grid point", ({"cell_id": IDS["cell_id"]}, CELLS)),
    "map": ("a grid point, run or not", (MAP,)),
}

AVERAGED = ", ".join(f"`{name}`" for name in (*AVERAGED_MODELS, *AVERAGED_PAIRS))

NOTES = {
    "models": """The table also has every setting of the data set, the architecture and the training,
under its own name (`width`, `batch_size`, …). If the space takes a measure, the table has its columns.

`explorer.load("<name>").model(model_id)` is the trained module, `.data(model_id)` its data. You can also
read the weights without Explorer: `theta` in `weights/<stack>.safetensors` has one row per model. The
metadata of the file is JSON under the key `explorer`. It lists the models in the order of the rows
(`model_ids`), and the names and shapes of the parameters that each row consists of (`layers`).""",
    "pairs": """The table also has the axes of the space. If the space takes a measure, the table has its
columns, and `cka_at_<layer>` for each of the `layers` of `similarity`.""",
    "cells": f"""The table also has the axes of the space, and the mean (under its own name) and the standard
deviation (`<name>_std`) of {AVERAGED}.""",
    "map": """The table also has the axes of the space. It is written if the space has `refine`; `run.map` has
it for every run. Without a training error in `cells`, the table has none.""",
}

HEAD = """# Tables

When a run has ended, its tables are in `runs/<name>/tables/*.parquet`. `explorer.load("<name>")` reads them
at any time, as `.models`, `.epochs`, `.pairs`, `.curves` and `.cells`. They are plain Parquet, which pandas,
Polars and DuckDB can read. Missing values are NaN or null. `python -m explorer.report.reference` prints this
page.

`report`, `diagnose` and `export` also take any folder that holds some of these tables as Parquet or CSV.
Columns with other names get ours with `--columns bs=batch_size,test_acc=test_accuracy_percent`. An empty
name leaves a column out, and `--columns dropout=load` (or `temperature`) makes any column an axis. Explorer
names the columns that it does not know, each with the nearest of ours, and rows at the same place, with the
columns in which they differ. Accuracies up to 1 are read as shares."""

if __name__ == "__main__":
    print(markdown(), end="")
