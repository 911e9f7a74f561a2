"""Failures of a run in words: models that diverged, and models and measurements that failed."""

from __future__ import annotations

from collections.abc import Sequence

from explorer.results import RunTables
from explorer.settings import cut

LISTED = 20  # failures that are listed at once


def diverged(run: RunTables) -> str:
    """Return how many models diverged, and are excluded from all means, and why; empty if none did."""
    if "status" not in run.models:
        return ""
    lost = run.models[run.models["status"] == "diverged"]
    if lost.empty:
        return ""
    why = list(lost["error"].value_counts().items()) if "error" in lost else []
    reasons = f": {cut(', '.join(f'{n} × {error}' for error, n in why), 1000)}" if why else ""
    return f"{len(lost)} of {len(run.models)} models diverged and are excluded from the means{reasons}."


def failures(run: RunTables) -> tuple[int, list[str]]:
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
        f"{cut(some[0])}{f' and {len(some) - 1} more' if some[1:] else ''}: {cut(error, 1000)}"
        for error, some in subjects.items()
    ]
    return sum(len(some) for some in subjects.values()), lines


def first_lines(lines: Sequence[str]) -> list[str]:
    """Return the first lines of :func:`failures`, and how many more there are."""
    more = [f"… and {len(lines) - LISTED} more, in the report and the tables"] if lines[LISTED:] else []
    return [*lines[:LISTED], *more]
