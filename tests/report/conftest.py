"""A realistic run, and its page written once for all tests that only read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from explorer.report import write
from explorer.results import RunTables
from report.synthetic import synthetic_run


@pytest.fixture(scope="session")
def run() -> RunTables:
    return synthetic_run()


@pytest.fixture(scope="session")
def page(run: RunTables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(run, tmp_path_factory.mktemp("site"))
