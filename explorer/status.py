"""How far a run is, in words. Reads the run folder only, so it works while a sweep runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from explorer.console import duration, size
from explorer.spacefile import parse

if TYPE_CHECKING:
    from explorer.results import Run
    from explorer.store import Store


def describe(store: Store) -> tuple[Table, bool]:
    """A table for the terminal (trained, measured, failed, time, size), and whether all is done."""
    from explorer import results

    run = results.read(store)
    space = parse(run.info["space"])
    table = Table(
        box=None, show_header=False, title=f"Run {run.name}", title_justify="left", title_style="bold"
    )
    wanted = len(space.cells) * space.seeds
    counts = run.models["status"].value_counts()
    trained = int(counts.get("ok", 0) + counts.get("diverged", 0))
    table.add_row(
        "trained",
        f"{trained} of {wanted} models"
        + (f", {counts['diverged']} of them diverged" if "diverged" in counts else ""),
    )
    missing = _missing(run, store)
    table.add_row("measured", "everything trained so far" if not missing else f"all but {missing}")
    failed = failures(run)
    table.add_row("failed", f"{len(failed)}" + (f"; the first: {failed[0]}" if failed else ""))
    sessions = run.info["sessions"]
    spent = sum(s.get("wall_s", 0) for s in sessions)
    table.add_row(
        "time spent", f"{duration(spent)} in {len(sessions)} session{'s' if len(sessions) != 1 else ''}"
    )
    table.add_row("size", f"{size(store.files.size_bytes())} in {store.location}")
    complete = trained >= wanted and not missing
    if not complete:
        table.add_row("go on with", f"run_explore.py resume {run.name}")
    return table, complete


def complete(store: Store) -> bool:
    """Whether every model of the grid has its row and nothing is left to measure."""
    from explorer import results

    run = results.read(store)
    space = parse(run.info["space"])
    return len(run.models) >= len(space.cells) * space.seeds and not _missing(run, store)


def _missing(run: Run, store: Store) -> str:
    """Numbers of what is trained but not measured, by measure; empty when there is nothing."""
    from explorer.engine.plan import missing_tasks

    counts: dict[str, int] = {}
    for task in missing_tasks(parse(run.info["space"]), store):
        counts[task.measure] = counts.get(task.measure, 0) + len(task.subjects)
    return ", ".join(f"{number} of {name}" for name, number in counts.items())


def failures(run: Run) -> list[str]:
    """What failed for good, a line each."""
    lines = []
    names = [name for kind in run.axes.values() for name in kind]
    for what, frame in (("model", run.models), ("pair", run.pairs)):
        if "status" not in frame:
            continue
        for row in frame[frame["status"] == "failed"].to_dict("records"):
            at = ", ".join(f"{name} {row[name]}" for name in names if name in row)
            seeds = (
                f"seed {row.get('seed')}"
                if what == "model"
                else f"seeds {row.get('seed_a')} and {row.get('seed_b')}"
            )
            lines.append(f"{what} at {at}, {seeds}: {row.get('error')}")
    return [*lines, *(f"{f['subject']}: {f['error']}" for f in run.info.get("failed_measures", []))]
