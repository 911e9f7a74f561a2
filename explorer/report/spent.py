"""Time of a run: elapsed time of the stages of each session, and seconds of workers by activity."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from explorer import phases
from explorer.report.facts import mapping
from explorer.results import Run

# In display order; other stages of a session follow.
STAGES = {
    "start_up": "Start-up",
    "calibration": "Calibration",
    "training": "Training",
    "measuring": "Measuring",
    "tables": "Tables",
    "pages": "Pages",
}
COUNTS = ("trained", "measured", "failed")


def stages(run: Run) -> dict[str, Any]:
    """Return a row per session: start, seconds of each stage (``heads``), total seconds, and counts."""
    found = _sessions(run)
    spent = [_seconds(session.get("stages")) for session in found]
    names = list(dict.fromkeys([*STAGES, *(name for one in spent for name in one)]))
    names = [n for n in names if any(n in one for one in spent)]
    rows = [
        {
            "started": str(session.get("started") or "").replace("T", " ")[:16],
            "seconds": [_told(one.get(name)) for name in names],
            "all": _told(_number(session.get("wall_s"))),
            "counts": [_count(session.get(name, "–")) for name in COUNTS],
        }
        for session, one in zip(found, spent, strict=True)
    ]
    return {"heads": [_title(name) for name in names], "rows": rows}


def workers(run: Run) -> list[dict[str, str]]:
    """Return seconds of all workers in all sessions by activity, with shares, largest first."""
    spent: Counter[str] = Counter()
    for session in _sessions(run):
        spent.update(_seconds(session.get("workers")))  # pyright: ignore[reportArgumentType]
    whole = sum(spent.values())
    return [
        {"what": _title(name), "seconds": _told(seconds), "share": f"{100 * seconds / whole:.0f} %"}
        for name, seconds in spent.most_common()
        if seconds
    ]


def _sessions(run: Run) -> list[dict[str, Any]]:
    return [dict(s) for s in run.info.get("sessions") or [] if isinstance(s, Mapping)]


def _seconds(value: Any) -> dict[str, float]:
    """Return ``{"training_s": 2}`` as ``{"training": 2.0}``; values that are not numbers are left out."""
    read = {str(name).removesuffix("_s"): _number(given) for name, given in mapping(value).items()}
    return {name: seconds for name, seconds in read.items() if seconds is not None}


def _number(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _told(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    return phases.number(seconds, 1 if seconds < 1000 else None)


def _title(name: str) -> str:
    return STAGES.get(name, name[:1].upper() + name[1:].replace("_", " "))
