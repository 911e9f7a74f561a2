"""Whether what is measured of a model has the same bits alone, beside others and elsewhere in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import same_bits


@pytest.fixture(scope="module")
def differences() -> dict[str, list[str]]:
    """Columns that differ, by case. In a process of its own: MKL reads the variable at its first product."""
    done = subprocess.run(
        [sys.executable, str(Path(same_bits.__file__))],
        env={**os.environ, "MKL_CBWR": "AUTO,STRICT", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", same_bits.CASES)
def test_measures_do_not_depend_on_neighbours_or_addresses(
    case: str, differences: dict[str, list[str]]
) -> None:
    assert differences[case] == []
