"""Trace of a run: one track per process, one event per piece of work.

The format is Chrome's ``traceEvents`` (JSON), which chrome://tracing and https://ui.perfetto.dev open.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from explorer.plan.units import Span


@dataclass(frozen=True)
class Event:
    """A piece of work of a process: its name, its time span and its location in the grid."""

    name: str
    span: Span
    at: dict[str, Any]


def chrome(events: list[Event]) -> bytes:
    """Return the events as JSON. Times are in microseconds since the start of the first event."""
    zero = min((event.span.began for event in events), default=0.0)
    hosts = {host: place for place, host in enumerate(dict.fromkeys(e.span.host for e in events))}
    listed: list[dict[str, Any]] = [
        {"ph": "M", "name": "process_name", "pid": place, "tid": 0, "args": {"name": host}}
        for host, place in hosts.items()
    ]
    listed += [
        {
            "ph": "X",
            "name": event.name,
            "pid": hosts[event.span.host],
            "tid": event.span.pid,
            "ts": round(1e6 * (event.span.began - zero)),
            "dur": round(1e6 * event.span.seconds),
            "args": event.at,
        }
        for event in sorted(events, key=lambda e: e.span.began)
    ]
    return json.dumps({"traceEvents": listed, "displayTimeUnit": "ms"}).encode()
