"""Where a run's time went, as its page says it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from explorer.report import spent
from explorer.results import RunTables


def with_sessions(run: RunTables, *sessions: Any) -> RunTables:
    return replace(run, info={**run.info, "sessions": list(sessions)})


def test_a_session_is_a_row_with_its_stages_in_their_order(run: RunTables) -> None:
    first = {
        "started": "2026-11-24T06:00:00.123+00:00",
        "stages": {"pages_s": 2.25, "training_s": 1234.56, "start_up_s": 4.06},
        "wall_s": 1240.9,
        "trained": 1200,
        "measured": 3,
        "failed": 0,
    }
    second = {"stages": {"measuring_s": 3, "proof_reading_s": 0.5}}
    found = spent.stages(with_sessions(run, first, second))
    assert found["heads"] == ["Start-up", "Training", "Measuring", "Pages", "Proof reading"]
    assert [row["seconds"] for row in found["rows"]] == [
        ["4.1", "1,235", "–", "2.2", "–"],
        ["–", "–", "3.0", "–", "0.5"],
    ]
    assert [row["started"] for row in found["rows"]] == ["2026-11-24 06:00", ""]
    assert [row["all"] for row in found["rows"]] == ["1,241", "–"]
    assert [row["counts"] for row in found["rows"]] == [["1,200", "3", "0"], ["–"] * 3]


def test_workers_seconds_are_added_up_over_sessions_and_shared_out(run: RunTables) -> None:
    found = spent.workers(
        with_sessions(run, {"workers": {"training_s": 10, "hessian_s": 5}}, {"workers": {"training_s": 25}})
    )
    assert found == [
        {"what": "Training", "seconds": "35.0", "share": "88 %"},
        {"what": "Hessian", "seconds": "5.0", "share": "12 %"},
    ]


@pytest.mark.parametrize(
    "session", [3, {}, {"stages": None, "workers": [1]}, {"workers": {"a_s": "long", "b_s": float("nan")}}]
)
def test_what_is_no_number_is_left_out(run: RunTables, session: Any) -> None:
    odd = with_sessions(run, session)
    assert spent.workers(odd) == []
    assert spent.stages(odd)["heads"] == []


def test_the_page_has_both_tables(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    section = html[html.index("Where the time went") :]
    by_stage, by_kind = re.findall(r"<table.*?</table>", section, re.S)[:2]
    assert re.findall(r"<th[^>]*>([^<]*)</th>", by_stage)[:5] == [
        *("Started", "Start-up", "Training", "Measuring", "All")
    ]
    assert re.findall(r'<td class="num">([^<]*)</td>', by_stage)[:4] == ["4.1", "21.0", "18.2", "44.0"]
    assert re.findall(r"<td>([^<]*)</td>", by_kind) == ["Training", "Connectivity", "Hessian", "Similarity"]
