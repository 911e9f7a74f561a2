"""Shared by all tests: a tiny space, and one real run of it."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # as workers have it
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # read when Ray is imported: loopback only

TINY: dict[str, Any] = {
    "name": "tiny",
    "description": "A test's <b>space</b>.",
    "data": {"name": "digits", "train_size": 200},
    "model": {"name": "mlp"},
    "load": {"width": [2, 8]},
    "temperature": {"batch_size": [8, 50]},
    "seeds": 3,
    "training": {"steps": 150, "learning_rate": 0.05, "history_points": 5},
    "measures": {
        "hessian": {"inputs": 100, "lanczos_steps": 5, "probes": 4},
        "connectivity": {"steps": 60, "points": 5},
        "similarity": {"inputs": 100},
    },
}


OPTIONAL = ("mnist1d", "axe-core", "mlflow", "wandb")  # extras that the test command does not install


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes a module, by name and content, that this process and the workers it starts can import."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    def write(name: str, content: str) -> None:
        (tmp_path / f"{name}.py").write_text(content)

    return write


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """With EXPLORER_TEST_ALL set, a test that would skip (no browser, no images) fails instead."""
    report = yield
    if (
        report.skipped
        and os.environ.get("EXPLORER_TEST_ALL")
        and not any(o in str(report.longrepr) for o in OPTIONAL)
    ):
        report.outcome = "failed"
    return report


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Plain data of a space with 4 cells, 12 models, 12 pairs."""
    return copy.deepcopy(TINY)


def explore(
    *arguments: str | Path, cwd: Path = ROOT, timeout: float = 800
) -> subprocess.CompletedProcess[str]:
    """Call the command line as a user does."""
    command = [sys.executable, str(ROOT / "run_explore.py"), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Storage folder with a finished run ``tiny``, done by one worker. Tests that write copy it."""
    import explorer

    storage = tmp_path_factory.mktemp("finished") / "runs"
    explorer.run(copy.deepcopy(TINY), storage=storage.as_uri(), workers=1)  # the same as the folder
    return storage


@pytest.fixture
def own_copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run's storage folder, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "runs"))
