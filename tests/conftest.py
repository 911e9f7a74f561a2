"""Shared by all tests: a tiny space, and one real run of it."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from explorer.engine.cancel import STOPS

ROOT = Path(__file__).parent.parent
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")  # as workers have it
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # read when Ray is imported: loopback only
os.environ.setdefault("RAY_worker_niceness", "0")  # by default Ray's workers wait for all other tests

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
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Writes a module, by name and content, that this process and the workers it starts can import.

    It is forgotten afterwards.
    """
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")

    def write(name: str, content: str) -> None:
        (tmp_path / f"{name}.py").write_text(content)
        monkeypatch.delitem(sys.modules, name, raising=False)  # of another test

    yield write
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that no process is left alone with one of them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


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


BRAKED = """
import os, time
from pathlib import Path
from explorer.tasks import Classification

def loss(outputs, y):
    brake, deadline = Path(os.environ["BRAKE"]), time.monotonic() + 2
    if brake.exists():
        Path(f"{brake}-{os.getpid()}").touch()
    while brake.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return Classification().loss(outputs, y)
"""


@pytest.fixture
def brake(importable: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file exists, models with the loss ``braked:loss`` take 2 s a step.

    Their processes write a file of the same name with ``-`` and their id.
    """
    importable("braked", BRAKED)
    monkeypatch.setenv("BRAKE", str(tmp_path / "brake"))
    return tmp_path / "brake"


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Plain data of a space with 4 cells, 12 models, 12 pairs."""
    return copy.deepcopy(TINY)


def explore(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Call the command line as a user does, but in this process, which has imported everything already."""
    from explorer.__main__ import main

    command = [str(ROOT / "run_explore.py"), *map(str, arguments)]
    before = {number: signal.getsignal(number) for number in STOPS}
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(StringIO()) as output,
        redirect_stderr(StringIO()) as errors,
    ):
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "path", ["", *sys.path])
        patch.chdir(cwd)
        try:
            main()
            code: Any = 0
        except SystemExit as end:
            code = end.code
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for name, module in list(sys.modules.items()):  # the user's, which may change until the next call
                if str(getattr(module, "__file__", "")).startswith(str(cwd)) and cwd != ROOT:
                    del sys.modules[name]
    return subprocess.CompletedProcess(command, code, output.getvalue(), errors.getvalue())


def started(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.Popen[str]:
    """The command line in a process and a group of its own, with Ctrl-C working as in a terminal."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "run_explore.py"), *map(str, arguments)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Storage folder with a finished run ``tiny``, done by one worker. Tests that write copy it."""
    import explorer

    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root  # of all processes of this session
    storage = root / "finished"
    with FileLock(root / "finished.lock"):
        if not (root / "finished.ok").exists():
            # The URI is the same as the folder.
            explorer.run(copy.deepcopy(TINY), storage=storage.as_uri(), workers=1)
            (root / "finished.ok").touch()
    return storage


@pytest.fixture
def own_copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run's storage folder, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "runs"))
