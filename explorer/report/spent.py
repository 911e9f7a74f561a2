"""Time of a run: elapsed time of the stages of each session, and seconds of workers by activity."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from explorer import phases
from explorer.report.facts import mapping
from explorer.results import RunTables

# In display order; other stages of a session follow.
STAGES = {
    "start_up": "Start-up",
    "calibration": "Calibration",
    "choosing": "Choosing cells",
    "training": "Training",
    "measuring": "Measuring",
    "tables": "Tables",
    "pages": "Pages",
}
COUNTS = ("trained", "measured", "failed")


def stages(run: RunTables) -> dict[str, Any]:
    """Return a row per session: start, seconds of each stage (``heads``), total seconds, and counts."""
    sessions = _sessions(run)
    seconds = [_seconds(session.get("stages")) for session in sessions]
    names = list(dict.fromkeys([*STAGES, *(name for one in seconds for name in one)]))
    names = [n for n in names if any(n in one for one in seconds)]
    rows = [
        {
            "started": str(session.get("started") or "").replace("T", " ")[:16],
            "seconds": [_in_words(one.get(name)) for name in names],
            "all": _in_words(_seconds({"all": session.get("wall_s")}).get("all")),
            "counts": [_count(session.get(name, "–")) for name in COUNTS],
        }
        for session, one in zip(sessions, seconds, strict=True)
    ]
    return {"heads": [_title(name) for name in names], "rows": rows}


def workers(run: RunTables) -> list[dict[str, str]]:
    """Return seconds of all workers in all sessions by activity, with shares, largest first."""
    spent: Counter[str] = Counter()
    for session in _sessions(run):
        spent.update(_seconds(session.get("workers")))  # pyright: ignore[reportArgumentType]
    whole = sum(spent.values())
    return [
        {"what": _title(name), "seconds": _in_words(seconds), "share": f"{100 * seconds / whole:.0f} %"}
        for name, seconds in spent.most_common()
        if seconds
    ]


def _sessions(run: RunTables) -> list[dict[str, Any]]:
    return [dict(s) for s in run.info.get("sessions") or [] if isinstance(s, Mapping)]


def _seconds(value: Any) -> dict[str, float]:
    """Return ``{"training_s": 2}`` as ``{"training": 2.0}``; values that are not numbers are left out."""
    return {
        str(name).removesuffix("_s"): float(seconds)
        for name, seconds in mapping(value).items()
        if isinstance(seconds, (int, float)) and math.isfinite(seconds)
    }


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _in_words(seconds: float | None) -> str:
    return "–" if seconds is None else phases.format_number(seconds, 1 if seconds < 1000 else None)


def _title(name: str) -> str:
    return STAGES.get(name, name[:1].upper() + name[1:].replace("_", " "))
