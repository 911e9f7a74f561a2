"""Claim: a landscape study takes a fraction of the time that it takes in the usual way, to the same numbers.

    python benchmarks/usual_way.py benchmarks/digits.yaml      # bar: 12 times
    python benchmarks/usual_way.py spaces/fashion.yaml         # bar: 6 times
    python benchmarks/usual_way.py benchmarks/small_cnn.yaml   # bar: 2 times

The usual way is what a competent researcher writes without Explorer (``usual_train.py``,
``usual_measure.py``): a process a model with a ``DataLoader`` loop, then a process a cell that measures:
power iteration and Hutchinson a model, a curve with curve modules a pair, CKA an ordered pair with Gram
matrices. Two processes side by side, one torch thread each. The same grid, seeds, data, initialisation,
steps, batch sizes, rates and points of evaluation as the space file says.

In doubt the usual way is favoured: the prepared data are given to it for nothing, evaluation needs no data
loader, a cell is measured in one process, Hutchinson's trace may be less exact, fewer columns are written,
and there is no report page. Explorer's time is that of the whole command, from start to page.

Both take turns, Explorer first and last; a ratio is a run of the usual way over the mean of the runs of
Explorer before and after it. ``--every K`` does the usual way for every K-th cell along the diagonals of the
grid (K should divide the number of load values: each temperature is then taken equally often) and scales
its seconds up to the whole grid; Explorer always does all of it.

That both come to the same is checked on the means of each cell: the mean difference over cells, with its
standard error. Seeds and orders of data differ, so the difference is noise around 0.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from landscape_common import RESULTS, provenance
from usual_networks import NETWORKS

import explorer.data
from explorer.data.base import prepare
from explorer.settings import InputError, digest, plugin
from explorer.space.model import Cell, CheckedSpace
from explorer.space.reading import read

ROOT = Path(__file__).parent.parent
BARS = {"digits": 12, "fashion": 6, "small-cnn": 2}
# What the scripts of the usual way do. A space that says something else cannot be compared.
MODEL = {"depth": 1, "activation": "leaky_relu", "norm": "none"}
TRAINING = {"optimizer": "sgd", "loss": None, "schedule": "cosine", "weight_decay": 0.0, "warmup": 0.0,
            "checkpoint": 1.0, "keep": "last", "augment": False, "early_stop": None, "stop_at_loss": None}  # fmt: skip
CURVE = {"pairs": "all", "path": "bezier", "bends": 1, "start": "midpoint", "weight_decay": 0.0,
         "optimizer": "sgd"}  # fmt: skip
# Both ways fit curves with plain SGD and the same number of steps.
PLAIN = ["measures.connectivity.steps=1000", "measures.connectivity.optimizer=sgd"]
# Compared on the means of cells; ``log``: by their ratio.
QUANTITIES = {
    "test_accuracy_percent": "difference", "train_loss": "log", "hessian_top_eigenvalue": "log", "hessian_trace": "log",
    "mode_connectivity": "difference", "curve_loss": "log", "cka": "difference", "disagreement_percent": "difference",
    "l2_distance": "log",
}  # fmt: skip


def comparable(space: CheckedSpace) -> dict[str, Any]:
    """The options of the measures, once it is clear that the usual way does what the space says.

    Raises:
        InputError: it does not; the message names the setting.
    """
    if set(space.measures) != {"hessian", "connectivity", "similarity"} or len(space.seed_numbers) < 2:
        raise InputError("usual_way compares hessian, connectivity and similarity of 2 or more seeds")
    options = {
        name: plugin(explorer.measures, name, "measure").Options.model_validate(values)
        for name, values in space.measures.items()
    }
    said: list[tuple[dict[str, Any], dict[str, Any]]] = [(options["connectivity"].model_dump(), CURVE)]
    for cell in space.cells:
        if cell.model_name not in NETWORKS:
            raise InputError(
                f"usual_way knows the architectures {', '.join(NETWORKS)}, not {cell.model_name}"
            )
        said += [(cell.model.model_dump(), MODEL), (cell.training.model_dump(), TRAINING)]
    for settings, wanted in said:
        for name, value in wanted.items():
            if settings.get(name, value) != value:
                raise InputError(f"usual_way has {name} {value}; the space has {settings[name]}")
    if len({digest([cell.data_name, cell.data.model_dump()]) for cell in space.cells}) > 1:
        raise InputError("usual_way compares spaces whose cells share their data")
    return options


def sample(space: CheckedSpace, every: int) -> list[int]:
    """Places of every ``every``-th cell along the diagonals of the grid."""
    places = {axis: {value: i for i, value in enumerate(values)} for axis, values in space.axes.items()}
    return [
        number
        for number, cell in enumerate(space.cells)
        if sum(places[axis][value] for axis, value in cell.at.items()) % every == 0
    ]


def flags(settings: dict[str, Any]) -> list[str]:
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]


def training_commands(cell: Cell, data: str, out: str) -> list[list[str]]:
    """A command a model."""
    t = cell.training
    settings = {
        "data": data, "network": cell.model_name, "width": cell.model.width, "batch_size": t.batch_size,
        "steps": cell.steps, "learning_rate": t.rate, "momentum": t.momentum, "points": t.history_points, "out": out,
    }  # fmt: skip
    script = [sys.executable, str(ROOT / "benchmarks/usual_train.py"), *flags(settings)]
    return [[*script, "--seed", str(seed)] for seed in cell.seeds]


def measuring_command(cell: Cell, options: dict[str, Any], data: str, out: str, seed: int) -> list[str]:
    """The command that measures a cell."""
    curve, inputs = options["connectivity"], options["hessian"].inputs
    settings = {
        "data": data, "network": cell.model_name, "width": cell.model.width, "points": curve.points, "out": out,
        "hessian_inputs": cell.inputs if inputs == "all" else inputs, "cka_inputs": options["similarity"].inputs,
        "curve_steps": curve.steps, "curve_batch_size": min(curve.batch_size, cell.inputs),
        "curve_learning_rate": curve.learning_rate, "curve_momentum": curve.momentum,
        "seed": seed,
    }  # fmt: skip
    models = [f"{out}_seed{seed}.safetensors" for seed in cell.seeds]
    return [sys.executable, str(ROOT / "benchmarks/usual_measure.py"), *flags(settings), "--models", *models]


def side_by_side(commands: list[list[str]], processes: int) -> float:
    """Seconds of all commands, so many at a time, one thread each."""
    started = time.perf_counter()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(lambda command: subprocess.run(command, env=environment, check=True), commands))
    return time.perf_counter() - started


def usual(
    space: CheckedSpace, options: dict[str, Any], numbers: list[int], folder: Path, processes: int
) -> dict[str, float]:
    """Train and measure these cells in the usual way; seconds, and what they come to for all cells."""
    cell = space.cells[0]
    clean = plugin(explorer.data, cell.data_name, "data set").load(cell.data)
    arrays, data = prepare(clean, cell.data, cell.data_name), str(folder / "data.npz")
    np.savez(data, **{name: getattr(arrays, name) for name in ("x_train", "y_train", "x_test", "y_test")})
    train, measure = [], []
    for number in numbers:
        cell, out = space.cells[number], str(folder / f"cell{number}")
        train += training_commands(cell, data, out)
        measure.append(measuring_command(cell, options, data, out, seed=number))
    training, measuring = side_by_side(train, processes), side_by_side(measure, processes)
    whole = (training + measuring) * len(space.cells) / len(numbers)
    return {"training_s": training, "measuring_s": measuring, "whole_job_s": whole}


def command_to_page(file: str, overrides: list[str], folder: Path, processes: int) -> float:
    """Seconds of Explorer's whole command."""
    started = time.perf_counter()
    command = [
        sys.executable,
        str(ROOT / "run_explore.py"),
        "run",
        file,
        "--name",
        "run",
        "--storage",
        str(folder),
    ]
    command += ["--reports", str(folder / "reports"), "--workers", str(processes)]
    command += [part for override in overrides for part in ("--set", override)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def usual_means(folder: Path, numbers: list[int]) -> pd.DataFrame:
    """Means of the cells (cells, quantities) that the usual way has found."""
    rows = []
    for number in numbers:
        trained = [pd.read_csv(file).iloc[-1] for file in sorted(folder.glob(f"cell{number}_seed*.csv"))]
        curves = pd.read_csv(folder / f"cell{number}_curves.csv")
        of_pairs = pd.read_csv(folder / f"cell{number}_pairs.csv")
        of_models = pd.concat(
            [pd.DataFrame(trained).reset_index(drop=True), pd.read_csv(folder / f"cell{number}_hessian.csv")],
            axis=1,
        )
        means = {**of_models.mean(numeric_only=True), **of_pairs.mean(numeric_only=True)}
        rows.append({**means, "curve_loss": curves[curves["path"] == "bezier"]["train_loss"].mean()})
    return pd.DataFrame(rows, index=numbers)[list(QUANTITIES)]


def explorer_means(folder: Path, space: CheckedSpace, numbers: list[int]) -> pd.DataFrame:
    """The same from the tables of Explorer's run."""
    tables = {
        name: pd.read_parquet(folder / f"run/tables/{name}.parquet") for name in ("models", "pairs", "curves")
    }
    cell_of = tables["models"].set_index("model_id")["cell_id"]
    bezier = tables["curves"][tables["curves"]["path"] == "bezier"]
    bezier = bezier.assign(cell_id=bezier["model_a"].map(cell_of), curve_loss=bezier["train_loss"])
    ids = [space.cells[number].id for number in numbers]
    found = {
        name: table.groupby("cell_id")[name].mean().reindex(ids).to_numpy()
        for name in QUANTITIES
        for table in [next(t for t in (tables["models"], tables["pairs"], bezier) if name in t)]
    }
    return pd.DataFrame(found, index=numbers)


def agreement(theirs: pd.DataFrame, ours: pd.DataFrame) -> list[dict[str, Any]]:
    """A row a quantity: means over cells, their mean difference (or ratio, less 1) and its standard error."""
    rows = []
    for name, kind in QUANTITIES.items():
        both: list[Any] = [np.log(t[name]) if kind == "log" else t[name] for t in (theirs, ours)]
        apart = (both[0] - both[1]).dropna()
        means = [math.exp(v.mean()) if kind == "log" else float(v.mean()) for v in both]
        rows.append({
            "quantity": name, "usual": means[0], "explorer": means[1], "compared_by": kind,
            "difference": float(apart.mean()), "stderr": float(apart.sem()) if len(apart) > 1 else None, "cells": len(apart),
        })  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("space", help="a space file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a setting")
    parser.add_argument("--runs", type=int, default=1, help="of the usual way; Explorer has one more")
    parser.add_argument("--every", type=int, default=1, help="the usual way for every so-manyth cell only")
    parser.add_argument("--processes", type=int, default=2, help="side by side, in both ways")
    parser.add_argument("--out", type=Path, help="left out: results/usual_way_<space>.json")
    given = parser.parse_args()

    if read(given.space, given.set).measures.get("connectivity", {}).get("optimizer") == "adam":
        given.set += PLAIN
    space = read(given.space, given.set)
    options, numbers = comparable(space), sample(space, given.every)
    load = os.getloadavg()
    subprocess.run(
        [sys.executable, "-c", "import torch, ray.tune, pandas, altair, sklearn.datasets"], check=True
    )
    ours, theirs, compared = [], [], []
    for run in range(given.runs + 1):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            ours.append(command_to_page(given.space, given.set, folder, given.processes))
            print(f"Explorer: {ours[-1]:.1f} s", flush=True)
            if run < given.runs:
                theirs.append(usual(space, options, numbers, folder, given.processes))
                print(f"usual way: {theirs[-1]['whole_job_s']:.1f} s ({theirs[-1]})", flush=True)
                compared = agreement(usual_means(folder, numbers), explorer_means(folder, space, numbers))
    ratios = [t["whole_job_s"] / statistics.mean(ours[run : run + 2]) for run, t in enumerate(theirs)]
    for row in compared:
        print(row)
    print(f"{statistics.median(ratios):.1f} times faster")
    cells = len(space.cells)
    content = {
        "question": "a landscape study against the usual way", **provenance(), "load_before": load, "space": space.name,
        "overrides": given.set, "cells": cells, "models": cells * len(space.seed_numbers),
        "pairs": cells * math.comb(len(space.seed_numbers), 2), "processes": given.processes,
        "cells_of_the_usual_way": len(numbers), "bar": BARS.get(space.name), "n": given.runs,
        "times_faster": statistics.median(ratios), "ratios": ratios, "usual": theirs, "explorer_s": ours,
        "agreement": compared,
    }  # fmt: skip
    out = given.out or RESULTS / f"usual_way_{space.name.replace('-', '_')}.json"
    out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
