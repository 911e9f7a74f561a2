"""Networks that crash, hang or eat memory cost their own cells only, and the cause is told."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from conftest import explore

import explorer
from explorer.settings import InputError
from explorer.users import user_process

SOURCE = """
import ctypes
import math
import os
import subprocess
import sys
import time

from torch import nn


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Net(nn.Module):
    def __init__(self, shape, classes, does="learns"):
        super().__init__()
        self.layer, self.does = nn.Linear(math.prod(shape), classes), does

    def forward(self, x):
        do(self.does)
        return self.layer(x.flatten(1)) * (float("nan") if self.does == "gives NaN" else 1)


def do(what):
    if what == "raises":
        raise ValueError("no luck")
    if what == "cannot say":
        raise Mute("secret")
    if what == "shouts":
        raise ValueError("no " * 40_000)
    if what == "leaves":
        sys.exit(5)
    if what == "leaves at once":
        print("so long")
        os._exit(7)
    if what == "crashes":
        ctypes.string_at(0)
    if what == "loops":
        while True:
            pass
    if what == "eats":
        eaten = []
        while True:
            eaten.append(bytes(2**28))  # calloc: taken, but not written to
    if what == "prints":
        print("x" * 1_000_000)
    if what == "forks":
        os.fork()
    if what == "starts":
        subprocess.Popen(["sleep", "1000"])
    if what == "stays":  # as a daemon does
        if not os.fork():
            os.setsid()
            if not os.fork():
                subprocess.Popen(["sleep", "7654"], start_new_session=True)
                time.sleep(7654)
            os._exit(0)
        os.wait()
    if what == "kills":
        os.kill(os.getpid(), 9)


def data(does):
    do(does)
"""


def line(text: str) -> int:
    return next(n for n, one in enumerate(SOURCE.splitlines(), 1) if text in one)


# What a failure says. The networks of None learn.
SAYS = {
    "learns": None,
    "prints": None,
    "gives NaN": None,  # which is a result: diverged
    "raises": f"ValueError: no luck (crashing.py, line {line('no luck')})",
    "cannot say": f"Mute (crashing.py, line {line('secret')})",
    "shouts": f"ValueError: {'no ' * 162}n",
    "leaves": f"the training: it calls sys.exit(5), in crashing.py, line {line('exit(5)')}",
    "leaves at once": "the training ended its process with exit code 7, in crashing.py, "
    f"line {line('exit(7)')}; it printed last: so long",
    "crashes": "the training was killed by SIGSEGV (segmentation fault), in crashing.py, "
    f"line {line('string_at')}",
    "loops": "the training made no progress for 9 s and was ended, in crashing.py, line",
    "eats": "not enough memory, of which 3.2 GB were free",
    "forks": "it forks its process (os.fork), and the copy goes on as well; a network must not do that",
    "kills": "the training was killed by SIGKILL",
}


@pytest.fixture
def mine(tmp_path: Path, importable: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the module ``crashing``, and 3 GB of memory."""
    importable("crashing", SOURCE)
    monkeypatch.chdir(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (3 * 2**30, hard))
    user_process._here.close()  # a new process has this limit
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    user_process._here.close()


# Users' functions are called in a block that tells errors with what they were called for.
IN_DATA = {
    "raises": f"'crashing:data' failed for {{'does': 'raises'}}: {SAYS['raises']}",
    "leaves": f"'crashing:data' failed for {{'does': 'leaves'}}: it calls sys.exit(5) (crashing.py, line "
    f"{line('exit(5)')})",
    "eats": "'crashing:data' failed for {'does': 'eats'}: MemoryError (crashing.py, line",
    "prints": "'crashing:data' returned NoneType",
}


@pytest.mark.parametrize("does", [does for does in SAYS if SAYS[does] or does in IN_DATA])
def test_data_that_crash_are_one_sentence(mine: Path, does: str) -> None:
    function, options = "explorer.data.own:called", f'{{"does": "{does}"}}'
    patience_s = 9 if does == "loops" else 60
    with pytest.raises(InputError) as error:
        user_process.call(
            function, "crashing:data", options, None, what="the training", patience_s=patience_s
        )
    assert IN_DATA.get(does, SAYS[does] or "") in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("ends", ["as it should", "killed"])
def test_a_daemon_of_the_user_s_does_not_stay(mine: Path, ends: str) -> None:
    script = """
import os, signal, sys
from explorer.users import user_process
process = user_process.Process()
process.call("crashing:do", "stays", what="the call")
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
process.close()
"""
    mark = {"TEST_OF_DAEMONS": str(mine)}
    subprocess.run([sys.executable, "-c", script, ends], env=os.environ | mark, check=ends != "killed")
    deadline = time.monotonic() + (20 if ends == "killed" else 0)
    while left := [one for one in psutil.process_iter() if "TEST_OF_DAEMONS" in environment_of(one)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def environment_of(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


@pytest.mark.ray
@pytest.mark.slow
def test_a_network_that_crashes_costs_its_own_cells_only(mine: Path) -> None:
    space = {
        "name": "crashes",
        "data": {"name": "digits", "train_size": 100},
        "model": {"name": "crashing:Net", "does": "learns"},
        "load": {"does": [name for name in SAYS if name not in ("kills", "cannot say", "shouts")]},
        "seeds": 1,
        "training": {"steps": 10, "batch_size": 10, "learning_rate": 0.01},
        "measures": {"similarity": {"inputs": 20}},
        "resources": {"stuck_minutes": 0.15},
    }
    (mine / "space.yaml").write_text(str(space))
    done = explore("run", "space.yaml", "--workers", "2", cwd=mine)
    assert done.returncode == 3, done.stdout + done.stderr
    run = explorer.load(mine / "runs/crashes")
    status = {does: set(rows["status"]) for does, rows in run.models.groupby("does")}
    told = {does: set(rows["error"]) for does, rows in run.models.groupby("does")}
    for does in space["load"]["does"]:
        (error,) = told[does]
        assert status[does] == {"failed" if SAYS[does] else "diverged" if does == "gives NaN" else "ok"}, (
            error
        )
        assert (SAYS[does] or "") in error.replace(f"{mine}/", "")
    told = done.stdout.replace("\n", " ").replace(f"{mine}/", "")
    assert "its first step was killed by SIGSEGV (segmentation fault), in crashing.py" in told
    assert "its first step made no progress for 9 s and was ended" in told
