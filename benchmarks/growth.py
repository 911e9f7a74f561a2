"""Do time, memory and disk stay flat from 100 models to 20,000?

Command:  python benchmarks/growth.py           (about 8 minutes; --models 100 300 --repeats 1 for a look)
          python benchmarks/growth.py --figure  (draws docs/growth.svg from the results again)
Claim:    time a model and time a pair within 20 % of each other from 200 models and pairs to 20,000 models and
          100,000 pairs; driver memory at most 1.5 GB; a worker's peak memory the same within 10 %.
Method:   the engine as it is, through explorer.run with two workers: MLPs of width 8, trained for one step on 50
          digits, all three measures at their smallest budgets. Two series: 5 models a cell, so that there
          are many trials (4,000 at the end), and 11 a cell (55 pairs), so that there are many pairs (100,000).
          Each size is a run in a process of its own. Time a model or pair: from the first that is done to
          the last, so that the start of Ray and of the workers, which does not grow, is left out; the median of
          three runs up to 1,100 models. Memory: the kernel's peak of the driver's and of each worker's process,
          read every quarter of a second.
Hardware, versions and all sizes: benchmarks/results/growth.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from engine_common import RESULTS, ROOT, Clock, process, workers, write

from explorer.space.model import ResourceOptions

SERIES = {5: [200, 1000, 5000, 20_000], 11: [220, 1100, 5500, 20_130]}
FIGURE = ROOT / "docs/growth.svg"
PANELS = {
    "ms_a_model": "ms a model",
    "ms_a_pair": "ms a pair, all measures",
    "driver_mb": "driver, peak MB",
    "worker_mb": "worker, peak MB",
    "disk_kb_a_model": "kB of the run folder a model",
}


def space(models: int, seeds: int) -> dict[str, Any]:
    """A grid of about so many models, five values of the temperature."""
    cells = max(1, round(models / seeds / 5))
    plain = {"cells_per_trial": 1}  # a trial a cell
    return {
        "name": "growth",
        "data": {"name": "digits", "train_size": 50},
        "model": {"name": "mlp", "width": 8},
        "load": {"weight_decay": [i * 1e-6 for i in range(cells)]},
        "temperature": {"learning_rate": [0.001, 0.002, 0.003, 0.004, 0.005]},
        "seeds": seeds,
        "training": {"steps": 1, "history_points": 2, "batch_size": 4},
        "measures": {
            "hessian": {"inputs": 4, "lanczos_steps": 2, "probes": 4},
            "connectivity": {"steps": 1, "points": 3},
            "similarity": {"inputs": 8},
        },
        "resources": {name: value for name, value in plain.items() if name in ResourceOptions.model_fields},
    }


def child(models: int, seeds: int, storage: str) -> None:
    """One run; prints what it knows itself."""
    import explorer

    clock = Clock()
    run = explorer.run(space(models, seeds), storage=storage, workers=2, observer=clock)
    session = run.info["sessions"][-1]
    per_measurement, per_model = clock.seconds_each("measuring"), clock.seconds_each("training")
    told = {
        "models": len(run.models),
        "pairs": len(run.pairs),
        "cells": len(run.cells),
        "ok": int((run.models["status"] == "ok").sum()),
        "ms_a_model": 1000 * per_model,
        "ms_a_pair": 1000 * per_measurement * session["measured"] / len(run.pairs),
        "stages": session["stages"],
        "wall_s": session["wall_s"],
    }
    print(json.dumps(told))


def measured(models: int, seeds: int) -> dict[str, Any]:
    """A run of this size in a process of its own, watched from here."""
    with tempfile.TemporaryDirectory(prefix="growth-") as storage:
        command = [sys.executable, __file__, "--child", str(models), str(seeds), storage]
        running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        driver, peaks = 0.0, {}
        while running.poll() is None:
            own = process(running.pid)
            driver = max(driver, own.peak_mb if own else 0.0)
            for one in workers(running.pid):
                peaks[one.pid] = one.peak_mb
            time.sleep(0.25)
        output = running.communicate()[0]
        if running.returncode:
            raise SystemExit(f"a run of {models} models ended with {running.returncode}")
        size = sum(f.stat().st_size for f in Path(storage).rglob("*") if f.is_file())
    told = json.loads(output.strip().splitlines()[-1])
    return {
        "seeds": seeds,
        **told,
        "driver_mb": driver,
        "worker_mb": max(peaks.values()),
        "disk_mb": size / 1e6,
        "disk_kb_a_model": size / 1e3 / told["models"],
    }


def median_of(models: int, seeds: int, repeats: int) -> dict[str, Any]:
    """A size, several times where it is over soon: a few dozen trials are a short time to measure."""
    runs = [measured(models, seeds) for _ in range(repeats if models <= 1100 else 1)]
    numbers = {name: statistics.median(run[name] for run in runs) for name in PANELS}
    return {
        **runs[0],
        **numbers,
        "n": len(runs),
        "every": [{name: run[name] for name in PANELS} for run in runs],
    }


def spread(rows: list[dict[str, Any]], name: str) -> float:
    """Largest over smallest, less one, within the series that varies most."""
    series = [[r[name] for r in rows if r["seeds"] == seeds] for seeds in {r["seeds"] for r in rows}]
    return max(max(values) / min(values) - 1 for values in series)


def figure() -> None:
    """Five panels, the two series in each, in the theme of the pages."""
    import altair as alt
    import pandas as pd

    from explorer.report import theme

    rows = json.loads((RESULTS / "growth.json").read_text())["rows"]
    frame = pd.DataFrame(rows)
    frame["series"] = frame["seeds"].map(lambda n: f"{n} models a cell")
    order = list(dict.fromkeys(frame["series"]))
    colour = alt.Color("series:N", title=None, sort=order, scale=alt.Scale(range=[theme.TRAIN, theme.TEST]))
    panels = [
        alt.Chart(frame, title=title, width=190, height=150)
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "models:Q",
                scale=alt.Scale(type="log"),
                title="models",
                axis=alt.Axis(values=[100, 1000, 10_000]),
            ),
            y=alt.Y(f"{name}:Q", title=None, scale=alt.Scale(domainMin=0)),
            color=colour,
        )
        for name, title in PANELS.items()
    ]
    theme.enable()
    alt.concat(*panels, columns=3).properties(background="white").save(FIGURE)
    print(f"drawn as {FIGURE}")


def measure(sizes: list[int] | None, repeats: int, out: Path | None) -> None:
    """All sizes of both series."""
    rows = []
    for seeds, usual in SERIES.items():
        for models in sizes or usual:
            rows.append(median_of(models, seeds, repeats))
            r = rows[-1]
            print(f"{r['models']:,} models, {r['pairs']:,} pairs: {r['ms_a_model']:.2f} ms a model, "
                  f"{r['ms_a_pair']:.2f} ms a pair, driver {r['driver_mb']:.0f} MB, worker {r['worker_mb']:.0f} MB, "
                  f"disk {r['disk_mb']:.1f} MB", flush=True)  # fmt: skip
    result = {
        "question": "how time, memory and disk grow with the number of models and pairs",
        "spread": {name: spread(rows, name) for name in ("ms_a_model", "ms_a_pair", "worker_mb")},
        "rows": rows,
    }
    write("growth", result, out)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", type=int, nargs="+", help="these sizes instead, in both series")
    parser.add_argument("--repeats", type=int, default=3, help="of sizes up to 1,100 models")
    parser.add_argument(
        "--out", type=Path, help="where the result goes; left out: benchmarks/results/growth.json"
    )
    parser.add_argument(
        "--figure", action="store_true", help="draw docs/growth.svg from the results, measure nothing"
    )
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(int(arguments.child[0]), int(arguments.child[1]), arguments.child[2])
    elif arguments.figure:
        figure()
    else:
        measure(arguments.models, arguments.repeats, arguments.out)


if __name__ == "__main__":
    main()
