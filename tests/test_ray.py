"""The Ray that a run uses: its own, started and ended without a trace, or the caller's, which goes on."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from conftest import ROOT
from filelock import FileLock

import explorer
from explorer.engine import local_ray
from explorer.engine.cancel import Cancellation
from explorer.engine.cluster import RunOptions
from explorer.settings import InputError

SPACE = {
    "name": "small",
    "data": {"name": "digits", "train_size": 200},
    "model": {"name": "mlp"},
    "load": {"width": [2]},
    "temperature": {"batch_size": [50]},
    "seeds": 2,
    "training": {"steps": 20, "history_points": 3},
    "measures": {"similarity": {"inputs": 50}},
}


def python(code: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, in which ``SPACE`` is there and Ray has not been imported."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MKL_"))}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{environment.get('PYTHONPATH', '')}"
    return subprocess.run(
        [sys.executable, "-c", f"SPACE = {SPACE!r}\n{code}"],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


ALONE = """
import os, signal, subprocess, sys, threading
from pathlib import Path
import psutil
import explorer

names, addresses, ended = set(), set(), threading.Event()

def look():
    while not ended.wait(0.5):
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
            try:
                names.add(process.name())
                addresses.update(c.laddr.ip for c in process.net_connections("inet") if c.status == "LISTEN")
            except psutil.NoSuchProcess:
                pass

class AtStart:
    workers = None  # those that there are before the first trial

    def say(self, message): ...
    def advance(self, stage, done, failed): ...

    def stage(self, name, total):
        if name == "training":
            titles = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
            self.workers = [t for t in titles if t.startswith("ray::") and "Agent" not in t]
            self.workers += [t for t in titles if "default_worker.py" in t and "raylet_socket_name" not in t]
            import ray
            node = ray.get_runtime_context().gcs_address
            self.stranger = subprocess.run([sys.executable, "-c", STRANGER, node], capture_output=True, text=True)
            [folder] = Path(os.environ["TMPDIR"]).glob("explorer-ray-*")
            assert any(folder.rglob("gcs_server*")), "Ray's logs are there"
            command = f"ls {folder}; cat {folder}/*; mv {folder}/ray /tmp/stolen; grep -r MARKED {os.environ['TMPDIR']}"
            nobody = {"user": "nobody"} if os.geteuid() == 0 else {}
            self.nobody = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, **nobody)

STRANGER = '''
import os, sys, tempfile
os.environ["HOME"] = tempfile.mkdtemp()
import ray
ray.init(address=sys.argv[1])
print("it is connected")
'''
os.environ["AWS_SECRET_ACCESS_KEY"] = "MARKED"
(Path.home() / ".ray").mkdir()
(Path.home() / ".ray/auth_token").write_text("0" * 64)  # as Ray writes it: readable by everyone
threading.Thread(target=look, daemon=True).start()
at_start = AtStart()
environment, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
run = explorer.run(SPACE, workers=1, observer=at_start)
assert set(run.models["status"]) == {"ok"}
ended.set()
assert "connected" not in at_start.stranger.stdout and "oken" in at_start.stranger.stderr, at_start.stranger
if os.geteuid() == 0:
    assert at_start.nobody.stdout == "" and "ermission denied" in at_start.nobody.stderr, at_start.nobody
for folder, _, files in (*os.walk("."), *os.walk(os.environ["TMPDIR"]), *os.walk(Path.home())):
    assert not [name for name in files if b"MARKED" in Path(folder, name).read_bytes()], folder
assert at_start.workers == [], "Ray starts workers in advance again: see explorer/engine/ray_workarounds.py"
assert {"gcs_server", "raylet"} <= names and any(name.startswith("ray::") for name in names), names
assert addresses and addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, addresses
assert not psutil.Process().children(recursive=True)
assert not [name for name in os.listdir(os.environ["TMPDIR"]) if name.startswith("explorer-")]
assert dict(os.environ) == environment
assert signal.getsignal(signal.SIGTERM) is handler
explorer.run({**SPACE, "name": "again", "measures": {}}, workers=1)  # once more in the same process
import ray
from ray.cluster_utils import Cluster
without_token = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
try:
    explorer.run({**SPACE, "seeds": 4}, address=without_token.address)
except explorer.settings.InputError as error:
    assert "use a new Python process" in str(error), error
else:
    raise SystemExit("a cluster without a token was used")
without_token.shutdown()
ray.init(address="local", num_cpus=1, include_dashboard=False)  # and a Ray of the caller's afterwards
assert ray.get(ray.remote(lambda: 1).remote()) == 1
"""


@pytest.mark.ray
@pytest.mark.slow
def test_a_ray_of_our_own_keeps_to_this_machine_and_leaves_no_trace(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with tempfile.TemporaryDirectory(dir="/tmp") as scratch:  # a short path, as Ray's sockets need
        os.chmod(scratch, 0o755)  # Explorer's own folder in it is private
        done = python(ALONE, tmp_path, HOME=str(home), TMPDIR=scratch)
    assert done.returncode == 0, done.stderr
    assert (home / ".ray/auth_token").stat().st_mode & 0o077 == 0


CALLERS = """
import os, threading, time
import psutil, ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
import explorer

environment, node = dict(os.environ), ray.get_runtime_context().gcs_address
for address in (None, "auto", node):
    space = {**SPACE, "name": f"at-{address}".replace(":", "-").replace(".", "-")}
    run = explorer.run(space if address is None else {**space, "measures": {}}, address=address)
    assert set(run.models["status"]) == {"ok"} and (address or run.pairs["cka"].notna().all())
    assert run.info["sessions"][0]["resources"] == {"CPU": 1.0}
    assert ray.is_initialized() and ray.get(ray.remote(lambda: 1).remote()) == 1
    assert dict(os.environ) == environment
for wrong in ({"gpus": 1}, {"address": "127.0.0.1:1"}):
    try:
        explorer.run({**SPACE, "seeds": 4}, **wrong)
    except explorer.settings.InputError as error:
        print(error)
    else:
        raise SystemExit(f"{wrong} was accepted")

class Killer:
    def say(self, message): ...
    def advance(self, stage, done, failed): ...
    def stage(self, name, total):
        if name == "training":
            threading.Thread(target=self.kill, daemon=True).start()
    def kill(self):
        time.sleep(2)
        for process in psutil.Process().children():
            if process.name() == "gcs_server":
                process.kill()

try:
    explorer.run({**SPACE, "training": {"steps": 10_000_000}}, observer=Killer(), name="lost")
except explorer.engine.local_ray.RayLostError as error:
    print("lost:", error, flush=True)
os._exit(7)  # Ray itself would wait for a minute
"""


@pytest.mark.ray
@pytest.mark.slow
def test_the_caller_s_ray_is_used_and_goes_on_and_an_exception_tells_its_loss(tmp_path: Path) -> None:
    done = python(CALLERS, tmp_path)
    assert done.returncode == 7, done.stdout + done.stderr
    assert "Remove gpus" in done.stdout
    assert "this process is connected to the Ray at" in done.stdout
    lost = done.stdout.partition("lost:")[2]
    assert "does not answer any more" in lost
    assert "logs" not in lost


@pytest.mark.slow
def test_a_ray_that_others_can_reach_is_not_used(tmp_path: Path) -> None:
    done = python("import ray, explorer\nexplorer.run(SPACE)", tmp_path)
    if "RayLostError" not in done.stderr:  # a machine that has no other address
        assert done.returncode == 0, done.stderr
        return
    assert "where other machines can reach it, so Explorer does not use it" in done.stderr
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0" in done.stderr


def test_addresses_beyond_this_machine_are_told_from_loopback() -> None:
    inside = ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1")
    assert all(map(local_ray._is_loopback, inside))
    assert not any(map(local_ray._is_loopback, ("0.0.0.0", "::", "10.0.0.1", "::ffff:10.0.0.1")))
    with pytest.raises(local_ray.RayLostError, match=r"Ray listens on 0\.0\.0\.0, ::, where"):
        local_ray._require_loopback([], {"::", "0.0.0.0"})


def test_ray_client_is_refused_with_the_way_that_works(tiny: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"ray://10\.0\.0\.1:10001 is Ray Client.*--address auto"):
        explorer.run(tiny, storage=str(tmp_path / "runs"), address="ray://10.0.0.1:10001")
    with pytest.raises(InputError, match="leave the address out"):
        explorer.run(tiny, storage=str(tmp_path / "runs"), address="local")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [({"worker": 2}, TypeError), ({"workers": 0}, InputError), ({"max_hours": -1}, InputError)],
)
def test_an_option_that_is_wrong_is_told_before_anything_is_touched(
    tiny: dict[str, Any], tmp_path: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(options))):
        explorer.run(tiny, storage=str(tmp_path / "runs"), **options)
    assert not (tmp_path / "runs").exists()


def test_a_full_disk_is_told_before_ray_starts(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=300_000))
    with pytest.raises(OSError, match=rf"{tmp_path}, where it keeps its files, has 0.3 MB left; 10 MB"):
        explorer.run(tiny, storage=str(tmp_path / "runs"))


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            Exception("The current node timed out during startup."),
            "during startup. Start again when this machine is less busy",
        ),
        (
            Exception("Failed to start GCS.  Last 0 lines:\n\n.Please check it."),
            "GCS. Last 0 lines: .Please check it. Ray.s logs",
        ),
        (UnicodeEncodeError("ascii", "ü", 0, 1, "no"), "RAY_TMPDIR to a folder with a short path"),
        (PermissionError(13, "Permission denied", "/root/.ray"), "set HOME to a writable folder"),
    ],
)
def test_a_ray_that_does_not_start_is_one_error(
    reason: Exception, said: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(**_: object) -> None:
        raise reason

    monkeypatch.setattr("ray.init", late)
    with pytest.raises(OSError, match=rf"Ray did not start: .*{said}"):  # exit code 3
        explorer.run(tiny, storage=str(tmp_path / "runs"))
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize("lost", [None, "raylet"])
def test_the_folder_of_ray_stays_only_where_its_logs_may_help(
    lost: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    for name in ("killed", "at-work", "of-somebody"):
        (tmp_path / f"{local_ray.SCRATCH}{name}").mkdir()
    for name in ("killed", "at-work"):
        (tmp_path / f"{local_ray.SCRATCH}{name}" / local_ray.IN_USE).touch()
    with (
        pytest.raises(local_ray.RayLostError) if lost else nullcontext() as told,
        FileLock(tmp_path / f"{local_ray.SCRATCH}at-work" / local_ray.IN_USE),
        local_ray.scratch_folder(keep=True) as folder,
    ):
        assert os.stat(folder).st_mode & 0o077 == 0
        if lost:
            raise local_ray.RayLostError("gone")
    assert told is None or f"Ray's logs are in {folder}" in str(told.value)
    left = {f"{tmp_path}/{local_ray.SCRATCH}{name}" for name in ("at-work", "of-somebody")}
    assert {str(path) for path in tmp_path.iterdir()} == left | ({folder} if lost else set())


@pytest.mark.skipif(sys.platform == "win32", reason="no signals there")
def test_a_server_that_ends_is_a_request_to_stop() -> None:
    child = subprocess.Popen(["sleep", "100"])
    servers, cancel = [("raylet", psutil.Process(child.pid))], Cancellation()
    with local_ray.watched(cancel, 0.1, lambda: local_ray._ended_server(servers)):
        time.sleep(0.3)
        assert not cancel.requested
        child.kill()
        with pytest.raises(local_ray.RayLostError, match="Ray's raylet has ended"):
            cancel.sleep(10)
    child.wait()


def test_where_says_each_option_once() -> None:
    import inspect

    options = set(inspect.signature(RunOptions).parameters)
    assert options <= set(inspect.signature(explorer.run).parameters)
