"""Report pages: charts from the tables of a run, and a site of charts that opens from disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from explorer.plan.progress import Progress
from explorer.report.files import page_folder
from explorer.report.labels import in_words
from explorer.results import RunTables
from explorer.runs.files import Files

__all__ = ["compare", "page_folder", "write"]


def write(
    run: RunTables,
    out: Path | str,
    *,
    cuts: dict[str, Any] | None = None,
    images: bool = True,
    refresh_s: int | None = None,
    now: Progress | None = None,
) -> Path | str:
    """Write the site of a run to a folder or URI, and return the path or URI of its ``index.html``.

    ``out/index.html`` needs neither a network nor other files. Next to it are ``charts/`` (SVG and PNG,
    unless ``images`` is false or there are more than 1,000 cells) and ``tables/`` (cells, models and pairs as
    Parquet, small ones also as CSV). Large runs have details of cells in ``details/``.
    ``cuts`` fixes borders between phases by name (``explorer.phases.find_cuts``); all other cuts come from
    the run's own space. With ``refresh_s``, the page reloads itself every ``refresh_s`` seconds.
    ``now`` is how far the run is (``explorer.report.facts.progress_of``), if it is known already. The page
    names tables and columns that the run lacks. Every file is written completely, then renamed. A page of
    another run in ``out`` is replaced; :func:`page_folder` finds a folder that no other run uses.

    Raises:
        InputError: a cut or ``out`` is invalid; nothing has been written.
    """
    from explorer.report.site import write_site  # on use: Altair takes .3 s to import

    with in_words(run.task.words):
        return write_site(run, Files(out, sync=False), cuts=cuts, images=images, refresh_s=refresh_s, now=now)


def compare(runs: Sequence[RunTables], out: Path | str, *, cuts: dict[str, Any] | None = None) -> Path | str:
    """Write a page that compares runs side by side; return the path or URI of its ``index.html``.

    Cells are matched by the settings of the axes that all runs share. Maps share their scales. Next to them,
    a map shows the difference from the first run. ``cuts`` apply to all runs; each run keeps its other cuts.

    Raises:
        InputError: the runs share no axis or no cell.
    """
    from explorer.report.comparison import write_comparison

    with in_words(runs[0].task.words):
        return write_comparison(runs, Files(out, sync=False), cuts=cuts)
