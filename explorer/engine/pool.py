"""A pool of Ray actors that accounts for every task: retried, replaced, or told of as failed."""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError, RayError

from explorer.engine.cluster import Cluster
from explorer.engine.session import Tell
from explorer.engine.sweep import ATTEMPTS, failure
from explorer.engine.work import Task
from explorer.space import ResourceOptions
from explorer.store import Store

if TYPE_CHECKING:
    from explorer.engine.worker import Worker


@ray.remote(max_restarts=0)
class Measurer:
    """An actor that measures one task after the other."""

    def __init__(self, make_worker: Callable[[], Worker]):
        self.worker = make_worker()

    def measure(self, task: Task) -> str:
        """Measure it; returns how long it took and who did it."""
        started = time.perf_counter()
        self.worker.measure(task)
        return f"{time.perf_counter() - started:.2f} s by {socket.gethostname()} process {os.getpid()}"


def measure(
    cluster: Cluster,
    tasks: list[Task],
    make_worker: Callable[[], Worker],
    resources: ResourceOptions,
    store: Store,
    tell: Tell,
) -> None:
    """Measure the tasks. ``tell`` hears of each that has ended.

    A task whose actor died, or that raised, is tried again on whichever actor is free, at most
    three times in all; then it leaves a record of kind ``failures``.
    """
    size = min(cluster.workers(resources.cpus_per_trial, resources.gpus_per_trial), len(tasks))
    waiting = deque((task, 1) for task in tasks)
    busy: dict[Any, tuple[Any, Task, int]] = {}

    def start() -> Any:
        return Measurer.options(num_cpus=resources.cpus_per_trial, num_gpus=resources.gpus_per_trial).remote(
            make_worker
        )

    def give(actor: Any) -> None:
        task, attempt = waiting.popleft()
        busy[actor.measure.remote(task)] = (actor, task, attempt)

    for _ in range(size):
        give(start())
    while busy:
        (done,), _ = ray.wait(list(busy), num_returns=1)
        actor, task, attempt = busy.pop(done)
        try:
            took = ray.get(done)
            store.drop_record("failures", task.id)
            tell(len(task.subjects), 0, f"{task.measure} of {task.cell.at} in {took}")
        except RayError as error:
            if isinstance(error, RayActorError):
                actor = None
            if attempt < ATTEMPTS:
                waiting.append((task, attempt + 1))
            else:
                _failed(store, task, failure(error))
                line = f"{task.measure} of {task.cell.at} failed: {failure(error)['error']}"
                tell(len(task.subjects), len(task.subjects), line)
        if waiting:
            give(actor or start())
        elif actor is not None:
            ray.kill(actor)


def _failed(store: Store, task: Task, what: dict[str, str]) -> None:
    rows = task.subject_rows()
    kind = "pairs" if "model_a" in rows[0] else "measures"
    what = {**what, "error": f"{task.measure}: {what['error']}"}
    store.write_record("failures", task.id, [{"kind": kind, **row, **what} for row in rows])
