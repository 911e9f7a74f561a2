"""Do diagnosers answer for data sets and architectures that they have not seen? Fits those of the package.

Command:  python benchmarks/fit_diagnoser.py                (seconds: from the cells that are committed)
          python benchmarks/fit_diagnoser.py --train FOLDER (trains the spaces first, with runs in FOLDER)
Claim:    an answer that `diagnose` shows is right in at least 10 % more of the cells than the commonest answer.
Method:   each space varies width, data and temperature. Each run is left out in turn: a diagnoser is fitted on the
          runs of other data sets and architectures and asked about its cells. The truth is the larger room for
          improvement in the run's own grid. The commonest answer is that of the run itself. Calibration: the
          expected calibration error of the probabilities in ten bins, over the cells that were left out.
Writes:   explorer/diagnosers.json, which `explorer.diagnosis.shipped` reads; results/diagnoser_cells.csv, the cells;
          results/fit_diagnoser.json.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
import pandas as pd
from engine_common import RESULTS, write

from explorer import diagnosis

CELLS = RESULTS / "diagnoser_cells.csv"
MEASURES = (*dict.fromkeys(f.column for f in diagnosis.FEATURES), "hessian_top_eigenvalue", "hessian_trace")
ABOUT_RUN = ("run", "data", "architecture")


def _space(
    name: str,
    data: dict[str, Any],
    model: dict[str, Any],
    widths: list[int],
    sizes: list[int],
    heat: dict[str, Any],
    **training: Any,
) -> dict[str, Any]:
    return {
        "name": name,
        "data": data,
        "model": {"activation": "leaky_relu", **model},
        "load": {"width": widths, "train_size": sizes},
        "temperature": heat,
        "seeds": 3 if model["name"] == "mlp" else 2,
        "training": {"momentum": 0.9, "schedule": "cosine", "history_points": 3, **training},
        "measures": {
            "hessian": {"inputs": 500, "lanczos_steps": 10, "probes": 4},
            "connectivity": {"steps": 700, "batch_size": 64, "learning_rate": 0.1, "points": 11},
            "similarity": {"inputs": 500},
        },
    }


DIGITS = {"name": "digits"}
FASHION = {"name": "fashion-mnist", "test_size": 2000, "label_noise": 0.1, "pool": 4}
MLP, CNN = {"name": "mlp"}, {"name": "cnn", "norm": "none"}
FEW, MANY = [125, 250, 500, 1000], [250, 1000, 4000]
BATCHES, RATE = {"batch_size": [4, 16, 64]}, {"learning_rate": 0.03}
SPACES = [
    _space("digits-mlp", DIGITS, MLP, [2, 4, 8, 16, 64], FEW, BATCHES, steps=2500, **RATE),
    _space(
        "digits-noise-mlp",
        {**DIGITS, "label_noise": 0.2},
        MLP,
        [2, 4, 8, 16, 64],
        FEW,
        BATCHES,
        steps=2500,
        **RATE,
    ),
    _space("mnist1d-cnn", {"name": "mnist1d"}, CNN, [2, 4, 8], MANY, BATCHES, steps=2000, **RATE),
    _space("fashion-cnn", FASHION, CNN, [2, 4, 8], MANY, {"batch_size": [2, 8, 32, 128]}, steps=1500, **RATE),
]


def train(folder: str) -> pd.DataFrame:
    """Return the cells of all spaces: settings, measures, accuracy, run, data set and architecture."""
    import explorer

    tables = []
    for space in SPACES:
        cells = explorer.run(space, storage=folder).cells
        settings = [name for part in ("load", "temperature") for name in space[part]]
        columns = [*settings, *MEASURES, diagnosis.ACCURACY]
        about = (space["name"], space["data"]["name"], space["model"]["name"])
        tables.append(cells[columns].assign(**dict(zip(ABOUT_RUN, about, strict=True))))
    return pd.concat(tables, ignore_index=True)


def calibration_error(probability: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """Return the expected calibration error: the mean distance of probability and share of right answers in bins."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    return float(
        sum(abs(probability[place == k].sum() - right[place == k].sum()) for k in np.unique(place))
        / len(place)
    )


def left_out(cells: pd.DataFrame, question: str) -> pd.DataFrame:
    """Return a row for each cell with an answer: its run, the probability, and whether the answer is right.

    The diagnoser of each run was fitted on runs of other data and architectures only.
    """
    truth = diagnosis.true_answers(cells, question)
    found = []
    for run, own in cells.groupby("run", sort=False):
        others = cells[~cells["data"].isin(own["data"]) & ~cells["architecture"].isin(own["architecture"])]
        asked = own[truth[own.index].notna()]
        if asked.empty:
            continue
        told = diagnosis.fit(others, question, truth[others.index]).predict(asked)
        commonest = float(truth[asked.index].value_counts(normalize=True).max())
        found.append(
            told.assign(run=run, right=told["answer"] == truth[asked.index], commonest=commonest).dropna()
        )
    return pd.concat(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--train", metavar="FOLDER", help="train the spaces, with their runs in this folder")
    options = parser.parse_args()
    if options.train:
        train(options.train).to_csv(CELLS, index=False, float_format="%.6g")
    cells = pd.read_csv(CELLS)
    diagnosers, rows = [], []
    for question in diagnosis.QUESTIONS:
        one = diagnosis.fit(cells, question)
        diagnosers.append(one.as_dict())
        told = left_out(cells, question)
        by_run = told.groupby("run", sort=False)[["right", "commonest"]].mean()
        error = calibration_error(told["probability"].to_numpy(float), told["right"].to_numpy(float))
        rows.append(
            {
                "question": question,
                "accuracy": one.accuracy,
                "commonest": one.baseline,
                "answers": one.useful,
                "calibration_error": error,
                "runs": by_run.round(3).reset_index().to_dict("records"),
            }
        )
        print(
            f"{question}: right {one.accuracy:.0%}, commonest {one.baseline:.0%}, calibration error {error:.3f}"
            f"{'' if one.useful else '; gives no answer'}\n{by_run.round(2)}"
        )
    diagnosis.SHIPPED.write_text(json.dumps(diagnosers, indent=1) + "\n")
    write("fit_diagnoser", {"cells": len(cells), "questions": rows})


if __name__ == "__main__":
    main()
