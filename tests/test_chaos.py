"""The benchmark of random kills, in its short form: what it claims holds for a tiny space too."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_random_kills_change_nothing(tiny: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(str(tiny))
    command = [
        *(sys.executable, str(ROOT / "benchmarks/chaos.py"), "--space", str(tmp_path / "space.yaml")),
        *("--runs", "1", "--kills", "2", "--seed", "1", "--out", str(tmp_path / "chaos.json")),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = json.loads((tmp_path / "chaos.json").read_text())["runs"]
    assert run["differ"] == run["trained_again"] == run["left"] == []
    assert run["kills"]
