"""The command ``simulate``: a finished table stands in for training, to see how well ``refine`` would do."""

from __future__ import annotations

from typing import Annotated

import typer

from explorer.cli.app import console
from explorer.cli.options import CutOption, RunOrTables, Storage
from explorer.cli.pages import cuts_of
from explorer.settings import InputError

HEADS = {"grid": "grid", "cells": "cells run", "refined": "refined", "expected": "expected"}
HEADS |= {"random": "at random", "coarser": "evenly coarser"}


def simulate(
    run: RunOrTables,
    refine: Annotated[float, typer.Option(help="share of the cells to run, or their number")] = 0.35,
    start: Annotated[int, typer.Option(help="values per axis at first")] = 4,
    round_: Annotated[
        int | None, typer.Option("--round", help="cells a round; default: 4 % of the grid, at least 4")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="replay each value of this axis as a grid of its own")
    ] = None,
    cut: CutOption = None,
    storage: Storage = "runs",
) -> None:
    """Replay a finished grid as a refined run: the share of right phases after each round."""
    from pydantic import ValidationError
    from rich.table import Table

    from explorer.space.model import RefineOptions

    try:
        options = RefineOptions.model_validate({"budget": refine, "start": start, "round": round_})
    except ValidationError:
        raise InputError(
            f"--refine {refine:g} --start {start} --round {round_}: give a share below 1 or a number of "
            "cells to --refine, 2 to 100 to --start, and 1 or more to --round"
        ) from None
    from explorer.report.replay import replay
    from explorer.results import load

    rounds = replay(load(run, storage), options, by=by, cuts=cuts_of(cut or []))
    table = Table(box=None, title="Phases that are right", title_justify="left", title_style="bold")
    for name, head in HEADS.items():
        if name != "grid" or by:
            table.add_column(by if by and name == "grid" else head, justify="right")
    last = rounds.groupby("grid", sort=False).tail(1)
    for row in rounds.to_dict("records"):
        table.add_row(*_line(row, by))
    if by and len(last) > 1:
        mean = last[list(HEADS)[1:]].mean().to_dict() | {"grid": "mean", "of": last["of"].mean()}
        table.add_row(*_line(mean, by), style="bold")
    console.print(table)


def _line(row: dict, by: str | None) -> list[str]:
    shares = [f"{100 * row[name]:.1f} %" for name in ("refined", "expected", "random", "coarser")]
    return [*([str(row["grid"])] if by else []), f"{row['cells']:.0f} of {row['of']:.0f}", *shares]
