"""The start of a Ray of our own: no more processes than needed, and workers that are ready."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from ray.tune import registry

import explorer
from explorer.engine import cluster, job, lean, plan
from explorer.engine.job import CHUNK, Hand, Job
from explorer.engine.lean import instead
from explorer.engine.packing import Packing
from explorer.engine.run import Where
from explorer.engine.sweep import _registered_once
from explorer.settings import InputError
from explorer.space import ResourceOptions
from explorer.spacefile import parse

CHILD = """
import gc, os, sys, time
from pathlib import Path
import ray
from explorer.engine.cluster import begun, connect
from explorer.engine.run import Where
from explorer.space import ResourceOptions

@ray.remote(num_cpus=1, runtime_env={"env_vars": {}})
class Actor:
    def look(self):
        return os.getpid(), "explorer.engine.worker" in sys.modules, gc.isenabled(), os.environ["OMP_NUM_THREADS"], sys.modules["explorer"].__file__

environment = dict(os.environ)
where, resources = Where(workers=1), ResourceOptions()
with begun(None) as first, connect(where, resources, first):
    assert dict(os.environ).items() >= environment.items() and "RAY_preload_python_modules" not in os.environ
    actor = Actor.remote()
    print(*ray.get(actor.look.remote()))
    mine = [p for p in Path("/proc").glob("[0-9]*") if p.stat().st_uid == os.getuid()]
    def parent(p): return int((p / "stat").read_text().rpartition(")")[2].split()[1])
    children = [p for p in mine if p.exists() and parent(p) == os.getpid()]
    print(*sorted(Path((p / "cmdline").read_text().split("\\0")[0]).name for p in children))
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs the /proc of Linux")
def test_our_own_ray_is_lean_and_its_workers_have_imported_this_package(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "PYTHONPATH")}
    root = Path(explorer.__file__).parent.parent
    code = f"import sys; sys.path.insert(0, {str(root)!r})\n{CHILD}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    worker, children = done.stdout.splitlines()
    assert worker.split()[1:] == ["True", "True", "1", explorer.__file__]
    forks = [Path(sys.executable).name] if sys.platform == "linux" else []
    assert children.split() == ["gcs_server", *forks, "raylet"]


@pytest.mark.skipif(sys.platform == "win32", reason="nothing stays listed there")
def test_a_process_that_has_ended_does_not_live_though_nobody_has_asked_for_it() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = psutil.Process(child.pid)
    assert lean._lives(process)
    child.kill()
    until = time.monotonic() + 30
    while lean._lives(process) and time.monotonic() < until:
        time.sleep(0.01)
    assert process.is_running()  # it is listed still
    assert not lean._lives(process)
    child.communicate()
    assert not lean._lives(process)


BURIED = """
import subprocess, sys
import psutil
from explorer.engine import lean

THREADS = '''
import threading, time
memory = bytearray(100_000_000)
for _ in range(100):
    threading.Thread(target=time.sleep, args=(100,), daemon=True).start()
print(flush=True)
time.sleep(100)
'''
for _ in range(5):
    child = subprocess.Popen([sys.executable, "-c", THREADS], stdout=subprocess.PIPE)
    child.stdout.readline()
    lean.end([psutil.Process(child.pid)], keep_logs=True)
    assert not psutil.Process().children()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing stays listed there")
def test_a_child_is_buried_though_its_threads_outlive_it_for_a_moment() -> None:
    done = subprocess.run([sys.executable, "-c", BURIED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_tune_asks_the_cluster_for_its_trainable_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, there = [], {"trial": int}

    def get(category: str, key: str) -> Any:
        asked.append(key)
        if key not in there:
            raise ValueError(f"Registry value for {category}/{key} doesn't exist.")
        return there[key]

    ours = registry._global_registry
    monkeypatch.setattr(ours, "get", get)
    monkeypatch.setattr(ours, "register", lambda category, key, value: there.update({key: value}))
    with _registered_once():
        assert registry.get_trainable_cls("trial") is registry.get_trainable_cls("trial") is int
        assert not registry._has_trainable("later")
        for kind in (float, str):  # the second one in the place of the first
            ours.register("trainable_class", "later", kind)
            assert registry.get_trainable_cls("later") is kind
    assert asked == ["trial", "later", "later", "later"]
    assert ours.get is get


def test_an_attribute_is_another_one_for_a_while_if_it_is_there() -> None:
    owner = SimpleNamespace(known=1)
    seen = []
    with suppress(KeyError), instead(owner, "known", 2), instead(owner, "unknown", 3):
        seen.append(vars(owner).copy())
        raise KeyError
    assert seen == [{"known": 2}]
    assert owner == SimpleNamespace(known=1)


def test_a_worker_holds_one_chunk_of_the_stacks(
    tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []
    monkeypatch.setattr(job.ray, "put", lambda value: value)
    monkeypatch.setattr(job.ray, "get", lambda value: read.append(value) or value)
    many = {"load": {"width": list(range(1, 1 + CHUNK))}, "resources": {"replicates_per_trial": 1}}
    stacks = plan.stacks(parse(tiny | many))
    together = plan.together(stacks)
    shared: Any = {"measures": {}, "save_every_s": 1.0, "packing": Packing(1, 0)}
    whole = Job.of(stacks, together, **shared)
    assert len(stacks) == 6 * CHUNK
    assert len(whole.chunks) == 6
    hand = Hand(whole)
    for place in (0, 1, CHUNK - 1, CHUNK, len(stacks) - 1, 2):
        turn = hand.turn(place)
        assert turn.stack.id == stacks[place].id
        assert [mate.id for mate in turn.mates] == [stacks[p].id for p in together[place]]
    assert read == [whole.chunks[number] for number in (0, 1, 5, 0)]


def test_a_full_disk_of_ray_is_told_before_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    cluster._check_room()
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=300_000))
    with pytest.raises(OSError, match=rf"{tmp_path}, where it keeps its files, has 0.3 MB left; 10 MB"):
        cluster._check_room()


@pytest.mark.parametrize("error", [None, InputError("wrong"), KeyboardInterrupt(), OSError("bad")])
def test_logs_of_ray_are_kept_where_it_may_be_to_blame(
    error: BaseException | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    monkeypatch.setattr("ray.init", lambda **_: None)
    monkeypatch.setattr(cluster, "Guard", lambda: SimpleNamespace(holds=None, end=lambda: None))
    monkeypatch.setattr(cluster, "end", lambda _, keep_logs: kept.append(keep_logs))
    idle = threading.Thread(target=int)
    idle.start()
    started = cluster._started(Where(), ResourceOptions(), cluster.Begun("", {}, None), idle)
    with suppress(type(error) if error else ()), started:
        if error:
            raise error
    assert kept == [isinstance(error, OSError)]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (Exception("The current node timed out during startup."), "The current node timed out"),
        (UnicodeEncodeError("ascii", "ü", 0, 1, "no"), "RAY_TMPDIR to a folder with a short path"),
        (PermissionError(13, "Permission denied", "/root/.ray"), "set HOME to a folder that can be written"),
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
    assert not (tmp_path / "runs/tiny/hold.yaml").exists()
