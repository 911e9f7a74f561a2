"""Predicted phases of the cells that a refined run has not run, for its page, round by round."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from explorer import phases
from explorer.plan.progress import Progress
from explorer.refine import expected_share, keys_of, predict, share_in_words
from explorer.results import RunTables, moved_cuts

MOST_CELLS = 1000  # with more, the page has no slider: each round would be predicted anew
NO_PHASE = ("", None)


def refinement_sentence(run: RunTables, now: Progress | None, cuts: Mapping[str, phases.Cut]) -> str:
    """Return how much of the grid a refined run has run, and how sure the rest is; empty for other runs."""
    if not run.rounds or not now or not now.cells.missing:
        return ""
    expected, moved = math.nan, ""
    if "expected" in run.rounds[-1]:  # the last round is finished
        phases_now = predict(*run.of_rounds(), cuts)
        expected, moved = expected_share(phases_now), moved_cuts(run, cuts, phases_now)
    said = [
        share_in_words(now.cells.done, now.cells.wanted, expected),
        moved,
        "Claims, correlations and advice use only the cells that were run.",
    ]
    return " ".join(filter(None, said))


def with_predictions(
    run: RunTables, grid: pd.DataFrame, cuts: Mapping[str, phases.Cut]
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Return the grid with the predicted phases of cells that were not run, and each round for the slider.

    Args:
        grid: every point of the grid, also if it was not run.

    Returns:
        The grid with the columns ``predicted`` (a phase; empty if the cell was run) and
        ``predicted_probability``; it is unchanged if the run is not refined. For each round, the last one
        included: its ``text``, and ``predicted`` and ``probability`` of each row of the grid.
    """
    rounds = run.rounds
    cells, domain = run.of_rounds() if rounds else (grid, grid)
    if not rounds or len(cells) == len(domain):
        return grid, []
    names, last, shown = list(domain.columns), len(rounds), []
    keys = keys_of(grid, names)
    for number in range(1 if len(domain) <= MOST_CELLS else last, last + 1):
        known, _ = run.of_rounds(number if number < last else None)
        every = predict(known, domain, cuts)
        expected = expected_share(every) if "expected" in rounds[number - 1] else math.nan
        others = every[every["source"] == "predicted"]
        rows = zip(others["phase"], others["probability"].round(3).tolist(), strict=True)
        of = dict(zip(keys_of(others, names), rows, strict=True))
        text = share_in_words(len(known), len(domain), expected)
        predicted, probability = zip(*(of.get(key, NO_PHASE) for key in keys), strict=True)
        shown.append({"text": f"Round {number}: {text}", "predicted": predicted, "probability": probability})
    end = shown[-1]
    return grid.assign(predicted=end["predicted"], predicted_probability=end["probability"]), shown
