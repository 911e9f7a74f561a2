"""Do diagnosers answer for data sets and architectures that they have not seen? Fits those of the package.

Command:  python benchmarks/fit_diagnoser.py                (seconds: from the cells that are committed)
          python benchmarks/fit_diagnoser.py --train FOLDER (trains the spaces first, with runs in FOLDER: half an hour)
Claim:    an answer that `diagnose` shows is right in at least 10 % more of the cells than the commonest answer.
Method:   each space varies width, data and temperature. Each run is left out in turn: a diagnoser is fitted on the
          runs of other data sets and architectures (two or three) and asked about its cells: all of them in one table,
          and each alone. The truth is the larger room for improvement in the run's own grid. The commonest answer is
          that of the run itself. Calibration: the expected calibration error in ten bins over all answers, with
          probabilities that the answers in all other runs calibrate, as in the package's diagnosers. Beside it is the
          error that true probabilities have in so few cells: it is not 0, since answers are random. Runs differ more
          than cells: the distance of mean probability and share of right answers in a run is a mean over runs.
          A diagnoser of one run is asked about the same grid with noisier labels: its probabilities do not know of that.
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
    _space("mnist1d-mlp", {"name": "mnist1d"}, MLP, [2, 4, 8, 16, 64], MANY, BATCHES, steps=2500, **RATE),
    _space("fashion-mlp", FASHION, MLP, [2, 4, 8, 16, 64], MANY, BATCHES, steps=2500, **RATE),
    _space("digits-cnn", DIGITS, CNN, [2, 4, 8], FEW, BATCHES, steps=1500, **RATE),
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


def error_by_chance(probability: np.ndarray, draws: int = 1000) -> float:
    """Return the mean calibration error of answers that are right with exactly these probabilities."""
    draw = np.random.default_rng(0)
    return float(
        np.mean(
            [
                calibration_error(probability, draw.random(len(probability)) < probability)
                for _ in range(draws)
            ]
        )
    )


def left_out(cells: pd.DataFrame, question: str) -> pd.DataFrame:
    """Return a row for each cell with an answer: its run, and whether it is right, in a table and alone.

    The diagnoser of each run was fitted on runs of other data and architectures only. The answers in all other
    runs calibrate ``probability`` (in a table) and ``probability_alone``.
    """
    truth = diagnosis.true_answers(cells, question)
    found = []
    for run, own in cells.groupby("run", sort=False):
        others = cells[~cells["data"].isin(own["data"]) & ~cells["architecture"].isin(own["architecture"])]
        diagnoser = diagnosis.fit(others, question, truth[others.index])
        told, alone = diagnoser.predict(own), diagnoser.predict(own.assign(run=range(len(own))))
        share = (told["probability"].astype(float) - diagnosis.LAPSE) / (1 - 2 * diagnosis.LAPSE)
        one = pd.DataFrame(
            {
                "run": run,
                "right": told["answer"] == truth[own.index],
                "right_alone": alone["answer"] == truth[own.index],
                "odds": np.log(share / (1 - share)) / diagnoser.slope,
            }
        )[truth[own.index].notna() & told["answer"].notna()]
        commonest = truth[one.index].value_counts(normalize=True).max()
        found.append(one.assign(commonest=float(commonest)))
    told = pd.concat(found)
    for run in told["run"].unique():
        own, rest = told["run"] == run, told[told["run"] != run]
        slope = diagnosis.calibrate(rest["odds"].where(rest["right"], -rest["odds"]).to_numpy())
        told.loc[own, "probability"] = diagnosis.share_right(slope * told.loc[own, "odds"].to_numpy())
        told.loc[own, "probability_alone"] = diagnosis.probability_of(
            rest.groupby("run")["right_alone"].mean()
        )
    return told


def with_noisier_labels(cells: pd.DataFrame, question: str) -> tuple[float, float]:
    """Return the share of right answers and the mean probability of a diagnoser of one run, in a noisier run."""
    clean, noisy = (cells[cells["run"] == run] for run in ("digits-mlp", "digits-noise-mlp"))
    told = diagnosis.fit(clean, question).predict(noisy)
    truth = diagnosis.true_answers(noisy, question)
    asked = truth.notna() & told["answer"].notna()
    right = (told["answer"] == truth)[asked]
    return float(right.mean()), float(told["probability"][asked].astype(float).mean())


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
        by_run = told.groupby("run", sort=False)[
            ["right", "right_alone", "commonest", "probability", "probability_alone"]
        ].mean()
        noisier = with_noisier_labels(cells, question)
        row = {"question": question, "commonest": one.baseline, "enough": one.baseline + diagnosis.MARGIN}
        for name, accuracy in (("", one.accuracy), ("_alone", one.alone)):
            right, probability = (told[f"{word}{name}"].to_numpy(float) for word in ("right", "probability"))
            row |= {
                f"accuracy{name}": accuracy,
                f"clearly_better{name}": int((by_run[f"right{name}"] >= by_run["commonest"] + 0.1).sum()),
                f"calibration_error{name}": calibration_error(probability, right),
                f"calibration_error_by_chance{name}": error_by_chance(probability),
                f"distance_in_a_run{name}": float(
                    (by_run[f"right{name}"] - by_run[f"probability{name}"]).abs().mean()
                ),
            }
        row |= {"noisier_right": noisier[0], "noisier_probability": noisier[1]}
        rows.append(row | {"runs": by_run.round(3).reset_index().to_dict("records")})
        print(pd.Series(row).to_string(), by_run.round(2), sep="\n", end="\n\n")
    diagnosis.SHIPPED.write_text(json.dumps(diagnosers, indent=1) + "\n")
    write("fit_diagnoser", {"cells": len(cells), "questions": rows})


if __name__ == "__main__":
    main()
