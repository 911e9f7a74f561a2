"""Stand-ins for Ray's agents: nobody waits for agents that nobody asks, and who asks one gets Ray's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from explorer.engine import agent

ROOT = str(Path(agent.__file__).parents[2])
ENVIRONMENT = os.environ | {"PYTHONPATH": ROOT}

RAY = """
import os, psutil, ray, sys
from explorer.engine.cluster import begun, connect
from explorer.engine.run import Where
from explorer.space import ResourceOptions

def agents():
    lines = [p.cmdline() for p in psutil.Process().children(recursive=True)]
    return sum("-S" in line for line in lines), sum("Agent" in line[0] for line in lines if line)

@ray.remote
def variable():
    return os.environ.get("ASKED")

where, resources = Where(workers=1), ResourceOptions()
with begun(None) as first, connect(where, resources, first):
    print(*agents())
    print(ray.get(variable.remote()), ray.get(variable.options(runtime_env={"env_vars": {"ASKED": "7"}}).remote()))
    print(*agents())
assert not psutil.Process().children()
"""

ALONE = """
import sys, time
from explorer.engine.cluster import begun, connect
from explorer.engine.run import Where
from explorer.space import ResourceOptions

where, resources = Where(workers=1), ResourceOptions()
with begun(None) as first, connect(where, resources, first):
    print("ready", flush=True)
    time.sleep(60)
"""


def test_an_agent_becomes_rays_own_when_somebody_asks_it(tmp_path: Path) -> None:
    """A runtime environment is what a user's own callback may ask for."""
    done = subprocess.run(
        [sys.executable, "-c", RAY], capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == ["2 0", "None 7", "1 1"]


def test_agents_are_gone_after_a_driver_that_is_killed(tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", ALONE], stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=ENVIRONMENT
    )
    assert driver.stdout is not None
    assert driver.stdout.readline() == "ready\n"
    started = psutil.Process(driver.pid).children(recursive=True)
    assert sum("-S" in process.cmdline() for process in started) == 2
    driver.kill()
    driver.communicate()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert not alive


def test_an_agent_tells_its_port_and_ends_with_its_node(tmp_path: Path) -> None:
    arguments = [f"--session-dir={tmp_path}", "--node-id=n", "--node-ip-address=127.0.0.1"]
    node = os.getpid()
    for more in [], ["--runtime-env-agent-port=0"]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", agent.__file__, "program.py", *arguments, *more],
            env={"RAY_RAYLET_PID": str(node)},
        )
        names = [agent.OF_ENVIRONMENTS] if more else agent.OF_DASHBOARD
        until = time.monotonic() + 60
        while not all((tmp_path / f"{name}_n").exists() for name in names) and time.monotonic() < until:
            time.sleep(0.01)
        ports = [int((tmp_path / f"{name}_n").read_text()) for name in names]
        if not more:
            assert ports == [-1, -1, -1]
            assert process.poll() is None
        else:  # asked, it becomes the program, which is not there
            with suppress(ConnectionResetError):
                socket.create_connection(("127.0.0.1", ports[0]), timeout=5).close()
            assert process.wait(20) == 2
        process.send_signal(signal.SIGKILL)
        process.wait()

    gone = subprocess.run(
        [sys.executable, "-I", "-S", agent.__file__, "program.py", *arguments],
        env={"RAY_RAYLET_PID": "1"},
        timeout=100,
        check=False,
    )
    assert gone.returncode == 0


@pytest.mark.parametrize("name", ["METRICS_AGENT_PORT_NAME", "RUNTIME_ENV_AGENT_PORT_NAME"])
def test_another_ray_that_waits_for_other_ports_has_its_own_agents(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray import _raylet
    from ray._private import ray_constants, services

    from explorer.engine import lean

    theirs = services._build_python_executable_command_memory_profileable
    for component in ray_constants.PROCESS_TYPE_DASHBOARD_AGENT, ray_constants.PROCESS_TYPE_RUNTIME_ENV_AGENT:
        assert agent.__file__ in lean._agents_stand_in(theirs)(component, "")
    assert lean._agents_stand_in(theirs)("worker", "") == theirs("worker", "")
    monkeypatch.setattr(_raylet, name, "another")
    assert lean._agents_stand_in(theirs) is theirs
