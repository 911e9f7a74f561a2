"""Progress of a run as text. Reads the run folder only, so it works during a sweep."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.markup import escape
from rich.table import Table

from explorer.plan.progress import Progress, progress
from explorer.runs.files import Files, join
from explorer.runs.store import Store
from explorer.settings import InputError, cut
from explorer.space import recorded
from explorer.units import duration, plural, size
from explorer.users import sources


def describe(store: Store) -> tuple[Table, Progress]:
    """Return a terminal table (trained, measured, at work, failed, time, size), and the progress.

    Reads only the columns that it shows, which keeps it fast for runs with many models.
    """
    info = recorded.read_info(store)
    space = recorded.space_of(info)
    table = Table(
        box=None,
        show_header=False,
        title=escape(f"Run {store.files.name}"),
        title_justify="left",
        title_style="bold",
    )
    now = progress(space, store)
    lost = f", {now.diverged} of them diverged" if now.diverged else ""
    table.add_row("trained", f"{now.models}{lost}")
    if space.refine:
        table.add_row("cells", f"{now.cells} chosen{', more are to be chosen' if now.choosing else ''}")
    table.add_row("measured", now.measured or "everything")
    curves = store.read_records("connectivity", ["curve_converged"]).to_pydict().get("curve_converged", [])
    if curves:
        table.add_row("curves", f"{sum(map(bool, curves)):,} of {len(curves):,} converged")
    table.add_row("at work", escape(now.holder) or "nobody")
    errors = store.read_records("failures", ["error"]).to_pydict().get("error", [])
    table.add_row(
        "failed", f"{len(errors)}" + (f"; the first: {escape(cut(str(errors[0]), 1000))}" if errors else "")
    )
    if changed := sources.history(info):
        table.add_row("sources", escape(changed))
    if "verification" in info:
        table.add_row("verification", info["verification"])
    sessions = info["sessions"]
    spent = sum(s.get("wall_s", 0) for s in sessions)
    table.add_row("time spent", f"{duration(spent)} in {plural(len(sessions), 'session')}")
    worker_times = _worker_times(sessions)
    if worker_times:
        table.add_row("of the workers", worker_times)
    table.add_row("size", f"{size(store.files.size_bytes())} in {escape(store.location)}")
    return table, now


def overview(storage: str) -> tuple[Table, list[str]]:
    """Return a terminal table of all runs in a folder or at a URI, and a line for each unreadable one.

    Raises:
        InputError: there is no run.
    """
    table = Table("run", "state", "trained", "failed", "started", box=None)
    unread, files = [], Files(storage)
    for name in sorted(files.folders_with("run.yaml")):
        store = Store(join(storage, name), mend=False)
        try:
            info = recorded.read_info(store)
            now = progress(recorded.space_of(info), store)
        except InputError as error:
            unread.append(f"{name} cannot be read: {error}")
            continue
        failed = len(store.read_records("failures", ["kind"]))
        state = "complete" if now.complete else f"{now.holder} works on it" if now.holder else "unfinished"
        started = str(info.get("created", ""))[:16].replace("T", " ")
        table.add_row(escape(name), escape(state), str(now.models), str(failed or ""), started)
    if not table.rows and not unread:
        raise InputError(f"there is no run in {storage}; `run SPACE` starts one")
    return table, unread


def _worker_times(sessions: list[dict[str, Any]]) -> str:
    """Return the workers' total time for each kind of work, longest first; empty if not recorded."""
    seconds: Counter[str] = Counter()
    for session in sessions:
        for name, spent in session.get("workers", {}).items():
            seconds[name.removesuffix("_s")] += spent
    return escape(cut(", ".join(f"{name} {duration(spent)}" for name, spent in seconds.most_common()), 1000))
