"""What a run shows, with two stages side by side."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from explorer.engine import display as console
from explorer.engine.display import Display


def shown(terminal: bool) -> str:
    screen = Console(file=io.StringIO(), force_terminal=terminal, width=100)
    with Display(screen) as display:
        display.stage("start_up", 0)
        display.stage("training", 6)
        display.stage("measuring", 9)
        display.advance("training", 3, 0)
        display.advance("measuring", 3, 1)
        display.advance("training", 3, 0)
        display.stage("measuring", 3)  # three of the nine cannot be: a model diverged
        display.advance("measuring", 3, 0)
        display.stage("tables", 0)
    return screen.file.getvalue()  # type: ignore[attr-defined]


def test_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "QUIET_S", 0.0)
    assert [line.split(", about")[0] for line in shown(terminal=False).splitlines()] == [
        "Starting Ray.",
        "Training: 6 models.",
        "Measuring: 9 measurements.",
        "Training: 3 of 6 models",
        "Measuring: 3 of 9 measurements, 1 failed",
        "Training: 6 of 6 models",
        "Measuring: 6 of 6 measurements, 1 failed",
        "Writing tables.",
    ]


def test_bars_of_a_terminal() -> None:
    text = shown(terminal=True)
    for said in ("Training", "6/6", "Measuring", "measurements, 1 failed", "Writing tables"):
        assert said in text
