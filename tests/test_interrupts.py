"""Ctrl-C at any moment: nothing is left half-done, no process and no file of Ray's."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import in_process
import pytest
from conftest import ROOT, explore, started
from test_engine import (
    assert_equal_runs,
    descendants,
    model_files,
    processes,
    wait_for,
    wait_for_records,
)

import explorer
from explorer.engine import cancel, local_ray


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
        with cancel.delay_signals():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            done.append("all of it")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["all of it"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # in the background of a shell
    with cancel.delay_signals():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_who_presses_twice_does_not_hinder_the_end(handlers: None, monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    monkeypatch.setattr(cancel, "leave_terminal", lambda: None)  # of the tests
    cancel.end_on_first_signal()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)  # the terminal is closed
    monkeypatch.setattr(cancel, "GRACE_S", 0.0)  # it hangs: who presses again means it
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)):
        with pytest.raises(cancel.Stopped) as stop:
            signal.raise_signal(number)
        assert stop.value.code == code
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    cancel.end_on_first_signal()
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
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_with_its_own_code_without_an_output(
    tiny: dict[str, Any], brake: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """SIGTERM comes to a program whose outputs are closed, SIGHUP to one whose terminal has gone."""

    def closed() -> None:
        os.closerange(0, 3)

    def shown() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    def drain(terminal: int) -> None:
        with contextlib.suppress(OSError):  # until it is closed
            while os.read(terminal, 2**16):
                pass

    tiny["training"]["loss"] = "braked:loss"
    tiny["load"]["width"] = [2, 3, 4, 5, 6, 8, 12, 16]
    (tmp_path / "space.yaml").write_text(str(tiny))
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "run_explore.py"), "run", "space.yaml", "--workers", "1"],
        cwd=tmp_path,
        **dict.fromkeys(("stdin", "stdout", "stderr"), end),
        start_new_session=True,
        preexec_fn=closed if number == signal.SIGTERM else shown,
    )
    os.close(end)
    threading.Thread(target=drain, args=[terminal], daemon=True).start()
    try:
        wait_for_records(tmp_path, "models", 1)
        brake.touch()
        wait_for(lambda: list(tmp_path.glob("brake-*")), 100)
        everything = descendants(process.pid)
        os.close(terminal)
        process.send_signal(number)
        assert process.wait(timeout=60) == 128 + number
        wait_for(lambda: not everything & set(processes()), 30)
        assert not (tmp_path / "runs/tiny/hold.yaml").exists()
    finally:
        process.kill()


def test_sigterm_while_ray_starts_has_its_own_code(
    handlers: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(**_: object) -> None:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))  # as Ray does
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("ray.init", start)
    cancel.end_on_first_signal()
    with (
        pytest.raises(cancel.Stopped) as stop,
        local_ray.local_ray(1, None, cancel.Cancellation(), str(tmp_path)),
    ):
        pass
    assert stop.value.code == 143


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_a_stop_while_ray_starts_leaves_nothing(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    (tmp_path / "space.yaml").write_text(str(tiny))
    ray = Path(tempfile.mkdtemp(prefix="ray"))  # a short path, as its sockets need
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(ray))
    monkeypatch.setenv("TMPDIR", str(scratch))
    process = started("run", "space.yaml", "--workers", "2", cwd=tmp_path)
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
        assert "left no run folder; the same command starts it again" in output
        assert "Traceback" not in output
        wait_for(lambda everything=everything: not everything & set(processes()), 30)
        assert not list(ray.iterdir())
        assert not list(scratch.iterdir())
        assert not list((tmp_path / "runs").iterdir())
    finally:
        process.kill()
        shutil.rmtree(ray)


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_that_is_ended_in_every_way_ends_as_an_undisturbed_one(
    tiny: dict[str, Any], brake: Path, tmp_path: Path
) -> None:
    """Servers of Ray killed, Ctrl-C, killed while training and while measuring; each in the middle of it."""
    tiny["load"]["width"] = [2, 3, 4, 5, 6, 8, 12, 16]
    tiny["training"]["loss"] = "braked:loss"
    tiny["resources"] = {"save_every_minutes": 0.002}
    (tmp_path / "space.yaml").write_text(str(tiny))
    folder = tmp_path / "runs/tiny"
    kept: dict[str, int] = {}

    def in_mid_training() -> subprocess.Popen[str]:
        nonlocal kept
        assert kept.items() <= model_files(tmp_path / "runs").items(), "what was finished was done again"
        kept = model_files(tmp_path / "runs")
        brake.unlink(missing_ok=True)
        process = started("run", "space.yaml", "--workers", "2", cwd=tmp_path)
        wait_for_records(tmp_path, "models", len(kept) + 1)
        brake.touch()
        return process

    for server in ("gcs_server", "raylet"):
        process = in_mid_training()
        second = explore("resume", "tiny", cwd=tmp_path)
        assert second.returncode == 2
        assert f"held by process {process.pid}" in second.stderr
        everything = descendants(process.pid)
        names = {pid: Path(f"/proc/{pid}/cmdline").read_text().split("\0")[0] for pid in everything}
        (victim,) = [pid for pid, name in names.items() if name.endswith(f"/{server}")]
        os.kill(victim, signal.SIGKILL)
        output, _ = process.communicate(timeout=50)  # Ray itself would wait for a minute for its gcs_server
        assert process.returncode == 3, output
        assert f"Ray's {server} has ended" in output
        assert "resume tiny" in output
        assert "Traceback" not in output
        assert not (folder / "hold.yaml").exists()
        wait_for(lambda everything=everything: not everything & set(processes()), 30)

    process = in_mid_training()
    everything = descendants(process.pid)
    assert len(everything) > 3
    process.send_signal(signal.SIGINT)
    mark = time.monotonic()
    output, _ = process.communicate(timeout=100)
    assert time.monotonic() - mark < 10  # seconds; Ray itself would take minutes
    assert process.returncode == 130, output
    assert "resume tiny" in output
    wait_for(lambda everything=everything: not everything & set(processes()), 30)

    process = in_mid_training()
    wait_for(lambda: list((folder / "states").glob("*.state")), 60)
    killed(process)
    kept = model_files(tmp_path / "runs")
    assert 0 < len(kept) < 16
    brake.unlink()
    process = started("run", "space.yaml", "--workers", "2", cwd=tmp_path)
    wait_for_records(tmp_path, "connectivity", 1)
    killed(process)
    kept = {**kept, **model_files(tmp_path / "runs")}

    done = explore("resume", "tiny", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert kept == model_files(tmp_path / "runs"), "what was finished was done again"
    assert not list((folder / "states").glob("*.state"))
    assert_equal_runs(explorer.load(folder), in_process.run(tiny, tmp_path / "undisturbed"))


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
