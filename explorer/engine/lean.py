"""Starts a Ray of our own with no more than a run needs, which listens on this machine only.

Ray has settings for all of this, but :func:`ray.init` hands none of them on; so they are set where Ray reads
them, and put back. What another version of Ray does not have is left as it is.
"""

from __future__ import annotations

import functools
import os
import shutil
import site
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from explorer.engine import agent

KNOWN_S = 30.0  # by then a node that starts is known to its cluster; Ray itself says so otherwise
LOOK_S = 0.02
GONE_S = 5.0  # by then a killed process is gone
TOLD = 300  # characters of what Ray says


def of_workers(threads: int) -> dict[str, str]:
    """Variables of workers that import what they will need before they get their work.

    Args:
        threads: of a worker, where the user has not set ``OMP_NUM_THREADS``. Ray sets it when a worker gets
            its work, which is too late for what has been imported by then.
    """
    values = {
        "OMP_NUM_THREADS": str(threads),
        "RAY_preload_python_modules": "explorer.engine.ahead",
        "RAY_idle_worker_killing_time_threshold_ms": "60000",  # after a second, it would end those that wait
        # Its store is not always there when it first knocks. It would knock again a second later, ten times.
        "RAY_raylet_client_connect_timeout_milliseconds": "10",
        "RAY_raylet_client_num_connect_attempts": "1000",
        "RAY_prestart_worker_first_driver": "0",  # it would wait for ever for one that is killed meanwhile
    }
    return {name: value for name, value in values.items() if name not in os.environ} | _same_sources()


@contextmanager
def lean(environment: Mapping[str, str], worker: str | None) -> Iterator[None]:
    """A Ray that is started here is lean, in all of its processes.

    On Linux its servers, which let whoever reaches them run code, would listen on every interface. It would
    start a monitor of its logs, one for nodes in a cloud, and a server for usage statistics: a third of the
    processor time of a start. It would wait for two agents that nobody asks; :mod:`.agent` stands in for
    them. And it would look for its own node a second after it looked too early.

    Args:
        environment: variables that it and its workers get beside our own.
        worker: path of the program that it starts as a worker; Ray's own if left out.
    """
    from ray._private import node, parameter, ray_constants, services

    other: dict[str, Any] = {"no_monitor": True, "include_log_monitor": False, "worker_path": worker}
    few = functools.partial(parameter.RayParams, **other)
    with ExitStack() as stack:
        stack.enter_context(_environment(environment))
        stack.enter_context(instead(ray_constants, "ENABLE_RAY_CLUSTER", False))  # loopback, as on macOS
        stack.enter_context(instead(parameter, "RayParams", few))
        stack.enter_context(instead(node.Node, "start_api_server", _no_server))
        command = "_build_python_executable_command_memory_profileable"
        stack.enter_context(instead(services, command, _agents_stand_in(getattr(services, command, None))))
        find = getattr(services, "get_node", None)
        stack.enter_context(instead(services, "get_node", functools.partial(_patient, find)))
        yield


@contextmanager
def brief() -> Iterator[None]:
    """What Ray tells its drivers of the cluster is a line each, on standard error.

    It would print the last twenty lines of the log of a node that is gone, a page or two, into our output.
    """
    from ray._private import worker

    with instead(worker, "print_to_stdstream", _told):
        yield


def _told(data: Mapping[str, Any], *_: Any, **__: Any) -> None:
    for message in data["lines"]:
        first = message.strip().partition("\n")[0].partition(" Last 20 lines")[0]
        print(f"Ray: {first[:TOLD]}", file=sys.stderr, flush=True)


def end(others: Sequence[psutil.Process], *, keep_logs: bool) -> None:
    """End a Ray of our own at once, with all that it and ``others`` have started.

    Ray would give each of its servers a second to end by itself, and its workers notice that a little later.
    Nothing is lost: what a worker has not written by now, nobody waits for.

    Args:
        keep_logs: leave its session folder, a megabyte of logs, where it is.
    """
    import ray
    from ray._private import node, worker

    own: Any = worker._global_node
    started = [one for kind in (own.all_processes.values() if own else ()) for one in kind]
    processes = [*others, *(process for one in started for process in below(one.process.pid))]
    with instead(node.Node, "kill_all_processes", lambda *_, **__: None):
        ray.shutdown()
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    until = time.monotonic() + GONE_S
    while any(map(_lives, processes)) and time.monotonic() < until:
        time.sleep(LOOK_S)
    # A killed child seems dead some milliseconds before its last thread has ended, and we can bury it.
    psutil.wait_procs(set(processes) & set(psutil.Process().children()), timeout=GONE_S)
    if own and not keep_logs:
        shutil.rmtree(own.get_session_dir_path(), ignore_errors=True)


def below(pid: int) -> list[psutil.Process]:
    """This process and all that it has started, as far as they live."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _agents_stand_in(command: Any) -> Any:
    """Ray's own search for the command of a Python program of its own, where an agent's is our stand-in's."""
    from ray import _raylet
    from ray._private import ray_constants

    names = ("METRICS_AGENT_PORT_NAME", "METRICS_EXPORT_PORT_NAME", "DASHBOARD_AGENT_LISTEN_PORT_NAME")
    names += ("RUNTIME_ENV_AGENT_PORT_NAME",)
    ports = [getattr(_raylet, name, None) for name in names]
    if sys.platform == "win32" or ports != [*agent.OF_DASHBOARD, agent.OF_ENVIRONMENTS]:
        return command  # an agent does not know its node there, or another Ray waits for other ports
    agents = {ray_constants.PROCESS_TYPE_DASHBOARD_AGENT, ray_constants.PROCESS_TYPE_RUNTIME_ENV_AGENT}

    def found(component: str, *arguments: Any, **more: Any) -> list[str]:
        if component in agents:
            return [sys.executable, "-I", "-S", agent.__file__]
        return command(component, *arguments, **more)

    return found


def _lives(process: psutil.Process) -> bool:
    """Whether it has not ended; somebody else's child may stay listed until its parent asks for it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _no_server(node: Any, **_: Any) -> None:
    node._webui_url = ""


def _patient(find: Any, address: str, node_id: str) -> Any:
    """Ray's own search for a node, once there is one: it waits for a second where it finds none."""
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]

    client, until = GcsClient(address=address), time.monotonic() + KNOWN_S
    while not client.get_all_node_info(timeout=KNOWN_S) and time.monotonic() < until:
        time.sleep(LOOK_S)
    return find(address, node_id)


@contextmanager
def instead(owner: Any, name: str, value: Any) -> Iterator[None]:
    """An attribute is another one meanwhile, if there is one of that name."""
    before = getattr(owner, name, None)
    if before is None:
        yield
        return
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that the processes started meanwhile inherit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _same_sources() -> dict[str, str]:
    """What makes a worker that imports ahead find this package, not another one that is installed.

    Ray tells workers of the driver's path only with their work.
    """
    root = str(Path(__file__).parents[2])
    if root in {*site.getsitepackages(), site.getusersitepackages()}:
        return {}  # as every interpreter finds it; in front, it would hide modules of Python's own
    return {"PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])}
