"""Is the map of digits-refined, from 30 % of its cells, that of the whole grid?

Command:  python benchmarks/refined.py   (about 6 minutes on an idle machine; after an interruption, the same command continues)
Claim:    at least 95 % of the phases of the map after the last round are those of the whole grid, and the share that
          was expected to be right is within 3 points of this.
Method:   spaces/digits-refined.yaml is run as it is, and then without refine, which trains the rest of its 160 cells.
          The space gives the cut of the loss. The phases after each round are predicted from the cells that were known
          then, with the cut of CKA found from them. They are compared with the phases of the whole grid, with its own
          cut of CKA (right) and with that of the known cells (right_with_same_cuts). Beside them: as many random cells (mean of 5 sets), and an evenly coarser
          grid of at most as many cells, of the same trained models.
Hardware, versions and phases: benchmarks/results/refined.json.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd
from engine_common import ROOT, write

import explorer
from explorer import phases, refine
from explorer.results import RunTables
from explorer.settings import InputError

SPACE = ROOT / "spaces/digits-refined.yaml"
RANDOM = 5


def compare(run: RunTables) -> list[dict[str, Any]]:
    """Return a row for each round of a refined run whose whole grid was run later."""
    truth = run.cells.merge(run.of_rounds()[1], how="right")
    _, domain = run.of_rounds()
    random = np.random.default_rng(0)

    def shares(cells: pd.DataFrame) -> tuple[float, float, float]:
        cuts = run.cuts(None, cells)
        found = refine.predict(cells, domain, cuts)
        same = phases.classify(truth, cuts)["phase"]
        right, right_same = ((found["phase"] == phase).mean() for phase in (truth["phase"], same))
        return float(right), float(right_same), refine.expected_share(found)

    rows = []
    for number in range(1, len(run.rounds) + 1):
        known, _ = run.of_rounds(number)
        right, same, expected = shares(known)
        sets = [random.choice(len(truth), len(known), replace=False) for _ in range(RANDOM)]
        coarse = refine.coarse_places(domain, len(known))
        rows.append(
            {
                "cells": len(known),
                "of": len(domain),
                "right": right,
                "right_with_same_cuts": same,
                "expected": expected,
                "random": float(np.mean([shares(truth.iloc[places])[0] for places in sets])),
                "coarser": shares(truth.iloc[coarse])[0],
                "coarser_cells": len(coarse),
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--storage", default=str(ROOT / "runs"))
    parser.add_argument("--max-hours", type=float, help="stop the training after so long; then call it again")
    options = parser.parse_args()
    where: dict[str, Any] = {"storage": options.storage, "max_hours": options.max_hours}
    run = explorer.run(SPACE, **where) if not _is_whole(options.storage) else None
    if run is None or "stopped" not in run.info["sessions"][-1]:
        run = explorer.run(SPACE, set=["refine=null"], **where)
    if "stopped" in run.info["sessions"][-1]:
        print("Stopped; the same command continues.")
        return
    rows = compare(run)
    for row in rows:
        print(row)
    cells = run.cells
    table = cells.pivot(index="batch_size", columns="width", values="phase")
    write(
        "refined",
        {
            "rows": rows,
            "phases": {str(k): list(v) for k, v in zip(table.index, table.to_numpy(), strict=True)},
        },
    )


def _is_whole(storage: str) -> bool:
    """Whether the run without refine has begun."""
    try:
        return "refine" not in explorer.load("digits-refined", storage).info["space"]
    except InputError:
        return False


if __name__ == "__main__":
    main()
