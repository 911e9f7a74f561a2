"""Workers of our own Ray are forked, or start as Ray starts them where there is no server to fork from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from explorer.engine import lean
from explorer.engine.cluster import begun, begun_for
from explorer.engine.forks import ask
from explorer.engine.forks.server import address, fork_server
from explorer.engine.run import Where
from explorer.space import ResourceOptions

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks on Linux only")

RAY = """
import os, psutil, ray, sys
from explorer.engine.cluster import begun, connect
from explorer.engine.run import Where
from explorer.space import ResourceOptions

@ray.remote(num_cpus=1, max_restarts=0)
class Actor:
    def look(self):
        return os.getpid(), os.getppid(), os.getpgid(0), sorted(os.environ), os.getcwd(), sys.argv[0], sys.path[0]
    def imported(self):
        return "explorer.engine.sweep" in sys.modules

def server():
    return [p for p in psutil.Process().children() if "forks.server" in " ".join(p.cmdline())]

def look():
    actor = Actor.remote()
    found = ray.get(actor.look.remote())
    assert ray.get(actor.imported.remote())
    ray.kill(actor)
    return found

where, resources = Where(workers=1), ResourceOptions()
with begun(None) as first, connect(where, resources, first):
    session = ray._private.worker._global_node.get_session_dir_path()
    assert os.path.isdir(session)
    (forks,) = server()
    for _ in range(3):  # the end of one must not end the server
        pid, parent, group, variables, folder, program, first = look()
        assert psutil.Process(parent).ppid() == forks.pid and group == pid, (pid, parent, group)
    parents = forks.children()
    forks.kill()
    forks.wait()
    psutil.wait_procs(parents, timeout=5)
    pid, parent, group, *rest = look()
    assert parent not in [p.pid for p in parents] and group == pid
    assert rest == [variables, folder, program, first], (rest, variables, folder, program, first)
    assert not server()
assert not psutil.Process().children()
assert not os.path.exists(session)
"""

ORPHANS = """
import os, ray
from explorer.engine.cluster import begun, connect
from explorer.engine.run import Where
from explorer.space import ResourceOptions

@ray.remote(num_cpus=1)
class Actor:
    def pid(self):
        return os.getpid()
    def work(self):
        while True:
            pass

where, resources = Where(workers=1), ResourceOptions()
with begun(None) as first, connect(where, resources, first):
    actor = Actor.remote()
    print(ray.get(actor.pid.remote()), flush=True)
    ray.get(actor.work.remote())
"""


def test_workers_are_forked_and_start_by_themselves_once_the_server_is_gone(tmp_path: Path) -> None:
    root = str(Path(ask.__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", RAY], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_workers_at_work_are_gone_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    root = str(Path(ask.__file__).parents[3])
    driver = subprocess.Popen(
        [sys.executable, "-c", ORPHANS],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert driver.stdout is not None
    worker = psutil.Process(int(driver.stdout.readline()))
    driver.kill()
    driver.communicate()
    until = time.monotonic() + 1  # Ray alone would let it work on for two seconds
    while lean._lives(worker) and time.monotonic() < until:
        time.sleep(0.02)
    assert not lean._lives(worker)


DRAWS = """
import os
from explorer.engine.forks import server
from ray._raylet import UniqueID
if {drawn}:
    imported = server._import
    server._import = lambda modules: (imported(modules), UniqueID.from_random())
server._import_ray()
for _ in range(3):
    if not os.fork():
        print(UniqueID.from_random().hex(), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.mark.parametrize("drawn", [False, True])
def test_forks_draw_other_identifiers_or_there_are_none(drawn: bool) -> None:
    code = DRAWS.format(drawn=drawn)
    environment = os.environ | {"PYTHONPATH": str(Path(ask.__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == drawn, done.stderr
    assert len(set(done.stdout.split())) == (0 if drawn else 3)


def test_who_asks_in_vain_is_told_so(tmp_path: Path) -> None:
    assert not ask.forked("", [])
    assert not ask.forked(address(str(tmp_path)), [])


def test_what_was_begun_is_begun_again_for_workers_of_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    with begun(None) as first:
        assert first.forks is not None
        with begun_for(Where(begun=first), ResourceOptions()) as same:
            assert same is first
        with begun_for(Where(begun=first), ResourceOptions(cpus_per_trial=2)) as other:
            assert other.environment["OMP_NUM_THREADS"] == "2" != first.environment["OMP_NUM_THREADS"]
            assert other.forks is not None
            assert other.forks.poll() is None
            assert first.forks.wait(10) == -signal.SIGKILL
            assert Path(first.scratch).is_dir()
            assert Path(other.scratch).is_dir()
        assert not Path(other.scratch).exists()
    assert not Path(first.scratch).exists()
    with begun("auto") as cluster:
        assert cluster.forks is None


def test_a_folder_whose_path_is_too_long_has_no_server(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    deep.mkdir()
    with fork_server(str(deep), {}) as server:
        assert server is None


def test_the_server_ends_with_the_block_and_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    with fork_server(str(tmp_path), {}) as server:
        assert server is not None
        assert server.poll() is None
    assert server.returncode == -signal.SIGKILL

    (tmp_path / "other").mkdir()
    code = f"""
import time
from explorer.engine.forks.server import fork_server
with fork_server({str(tmp_path / "other")!r}, {{}}) as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""
    root = str(Path(ask.__file__).parents[3])
    driver = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": root}
    )
    assert driver.stdout is not None
    server_pid = int(driver.stdout.readline())
    assert psutil.pid_exists(server_pid)
    driver.kill()
    driver.communicate()
    until = time.monotonic() + 200  # it looks once it has imported what it imports
    while psutil.pid_exists(server_pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not psutil.pid_exists(server_pid)
