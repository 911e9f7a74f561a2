"""Report pages: from the tables of a run to charts, from charts to one site that opens from disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explorer.results import Run

__all__ = ["compare", "write"]


def write(
    run: Run,
    out: Path | str,
    *,
    cuts: dict[str, Any] | None = None,
    images: bool = True,
    refresh_s: int | None = None,
) -> Path:
    """Write the site of a run and return the path of its ``index.html``.

    ``out/index.html`` needs no network and no neighbour; beside it lie ``charts/`` (SVG and PNG, unless
    ``images`` is false) and ``tables/`` (cells, models, pairs as Parquet, the small ones also as CSV).
    ``cuts`` fixes borders between phases by name (``explorer.phases.find_cuts``); the others are those of
    the run's own space. With ``refresh_s`` the page loads itself again every so many seconds. Tables
    and columns that the run lacks are named on the page. Every file is written whole, by rename. Raises
    ValueError for a wrong cut, before anything is written.
    """
    from explorer.report.site import write_site  # Altair takes .3 s to import: not before it is needed

    return write_site(run, Path(out), cuts=cuts, images=images, refresh_s=refresh_s)


def compare(runs: Sequence[Run], out: Path | str, *, cuts: dict[str, Any] | None = None) -> Path:
    """Write a page that puts runs side by side, and return the path of its ``index.html``.

    Cells are matched by the settings of the axes that all runs share; maps share their scales, and beside
    them stands the difference from the first run. ``cuts`` hold for all; the others are each run's own.
    Raises InputError where the runs share no axis or no cell.
    """
    from explorer.report.comparison import write_comparison

    return write_comparison(runs, Path(out), cuts=cuts)
