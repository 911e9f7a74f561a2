"""Ctrl-C at any moment: nothing is left half-done, no process and no file of Ray's."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from test_engine import descendants, longer, processes, started, wait_for_records

from explorer.engine import cancel


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts back what the test changes."""
    before = {number: signal.getsignal(number) for number in cancel.STOPS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_signal_waits_for_the_end_of_what_must_not_be_broken_off(handlers: None) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done = []

    def work() -> None:
        with cancel.held_back():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # in the background of a shell
    with cancel.held_back():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_who_presses_twice_does_not_hinder_the_end(handlers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    cancel.end_once()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)  # the terminal is closed
    monkeypatch.setattr(cancel, "GRACE_S", 0.0)  # it hangs: who presses again means it
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    cancel.end_once()
    signal.raise_signal(signal.SIGHUP)


def test_a_stop_while_python_still_imports_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt")
    paths = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    for program in ([str(ROOT / "run_explore.py")], ["-m", "explorer"]):
        command = [sys.executable, *program, "spaces"]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_stop_while_ray_starts_leaves_nothing(tiny: dict[str, Any], tmp_path: Path, times: int) -> None:
    (tmp_path / "space.yaml").write_text(str(tiny))
    ray = Path(tempfile.mkdtemp(prefix="ray"))  # a short path, as its sockets need
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_explore.py"), "run", "space.yaml", "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "RAY_TMPDIR": str(ray), "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        until = time.monotonic() + 200
        while not list(ray.glob("explorer-*/ray/session_2*/logs/raylet*")):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.01)
        everything = descendants(process.pid)
        for _ in range(times):
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            time.sleep(0.3)
            everything |= descendants(process.pid)
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 130, output
        assert "resume tiny" in output
        assert "Traceback" not in output
        assert not everything & set(processes())
        assert not list(ray.iterdir())
        assert not list(scratch.iterdir())
        assert not (tmp_path / "runs/tiny/hold.yaml").exists()
    finally:
        process.kill()
        shutil.rmtree(ray)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("server", ["gcs_server", "raylet/raylet"])
def test_a_killed_server_of_ray_ends_the_run_with_what_to_do(
    tiny: dict[str, Any], tmp_path: Path, server: str
) -> None:
    process = started(longer(tiny), tmp_path)
    wait_for_records(tmp_path, "models", 1)
    everything = descendants(process.pid)
    (victim,) = [
        pid for pid in everything if server in Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0]
    ]
    os.kill(victim, signal.SIGKILL)
    output, _ = process.communicate(timeout=50)  # Ray itself would wait for a minute for its gcs_server
    assert process.returncode == 3, output
    assert f"Ray's {server.partition('/')[0]} has ended" in output
    assert "resume" in output
    assert "Traceback" not in output
    assert "resume tiny" in output
    assert not (tmp_path / "runs/tiny/hold.yaml").exists()
    until = time.monotonic() + 90  # Ray's agents miss a control service that is gone for a minute
    while everything & set(processes()) and time.monotonic() < until:
        time.sleep(0.1)
    assert not everything & set(processes())
