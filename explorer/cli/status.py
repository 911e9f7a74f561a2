"""Progress of a run as text. Reads the run folder only, so it works during a sweep."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from explorer import sources
from explorer.plan.progress import Progress, progress
from explorer.space import recorded
from explorer.units import duration, plural, size

if TYPE_CHECKING:
    from explorer.results import Run
    from explorer.runs.store import Store


def describe(store: Store) -> tuple[Table, Progress]:
    """Return a terminal table (trained, measured, at work, failed, time, size), and the progress.

    Reads only the columns that it shows, which keeps it fast for runs with many models.
    """
    info = recorded.read_info(store)
    space = recorded.space_of(info)
    table = Table(
        box=None, show_header=False, title=f"Run {store.files.name}", title_justify="left", title_style="bold"
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
    table.add_row("at work", now.holder or "nobody")
    errors = store.read_records("failures", ["error"]).to_pydict().get("error", [])
    table.add_row("failed", f"{len(errors)}" + (f"; the first: {escape(str(errors[0]))}" if errors else ""))
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
    table.add_row("size", f"{size(store.files.size_bytes())} in {store.location}")
    return table, now


def _worker_times(sessions: list[dict[str, Any]]) -> str:
    """Return the workers' total time for each kind of work, longest first; empty if not recorded."""
    seconds: Counter[str] = Counter()
    for session in sessions:
        for name, spent in session.get("workers", {}).items():
            seconds[name.removesuffix("_s")] += spent
    return ", ".join(f"{name} {duration(spent)}" for name, spent in seconds.most_common())


def diverged(run: Run) -> str:
    """Return how many models diverged, and are excluded from all means, and why; empty if none did."""
    if "status" not in run.models:
        return ""
    lost = run.models[run.models["status"] == "diverged"]
    if lost.empty:
        return ""
    why = list(lost["error"].value_counts().items()) if "error" in lost else []
    reasons = f": {', '.join(f'{n} × {error}' for error, n in why)}" if why else ""
    return f"{len(lost)} of {len(run.models)} models diverged and are excluded from the means{reasons}."


def failures(run: Run) -> tuple[int, list[str]]:
    """Return the number of models and measurements that failed, and one line per distinct error."""
    subjects: dict[str, list[str]] = {}  # by error
    names = [name for kind in run.axes.values() for name in kind]
    for what, frame in (("model", run.models), ("pair", run.pairs)):
        if "status" not in frame:
            continue
        wrong = frame["status"] == "failed"
        if what == "pair" and "error" in frame:  # also pairs with only some of their measures
            wrong |= frame["error"].fillna("") != ""
        for row in frame[wrong].to_dict("records"):
            at = ", ".join(f"{name} {row[name]}" for name in names if name in row)
            seeds = (
                f"seed {row.get('seed')}"
                if what == "model"
                else f"seeds {row.get('seed_a')} and {row.get('seed_b')}"
            )
            subjects.setdefault(str(row.get("error")), []).append(f"{what} at {at}, {seeds}")
    for failure in run.info.get("failed_measures", []):
        subjects.setdefault(failure["error"], []).append(failure["subject"])
    lines = [
        f"{some[0]}{f' and {len(some) - 1} more' if some[1:] else ''}: {error}"
        for error, some in subjects.items()
    ]
    return sum(len(some) for some in subjects.values()), lines
