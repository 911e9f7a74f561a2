"""A pool of Ray actors that accounts for every task: retried, replaced, or told of as failed."""

from __future__ import annotations

from collections import deque
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from explorer.engine.cluster import Cluster
from explorer.engine.failures import ATTEMPTS, failure
from explorer.engine.packing import Packing
from explorer.engine.session import Tell
from explorer.engine.work import Done, MakeWorker, Span, Task, span_of
from explorer.store import Store


@ray.remote(max_restarts=0)
class Measurer:
    """An actor that measures one task after the other."""

    def __init__(self, make_worker: MakeWorker, gpus: float):
        self.worker = make_worker(gpus)

    def ready(self) -> None:
        """Answers once the worker is there."""

    def measure(self, task: Task) -> Span:
        return span_of(lambda: self.worker.measure(task))


class Pool:
    """Measures tasks on actors that come when there is work and room, and go when there is none.

    A task whose actor died, or that raised, is tried again on whichever actor is free, at most three
    times in all; then it leaves a record of kind ``failures``. ``tell`` hears of each that has ended.
    Actors are of the sizes that the tasks need; those that do not fit yet wait for those that go.
    """

    def __init__(self, cluster: Cluster, make_worker: MakeWorker, packing: Packing, store: Store, tell: Tell):
        self.cluster, self.make_worker, self.packing = cluster, make_worker, packing
        self.store, self.tell = store, tell
        self.given: set[str] = set()  # ids of all tasks it ever got
        self._waiting: dict[float, deque[tuple[Task, int]]] = {}  # with the attempt, by GPUs
        self._actors: dict[float, int] = {}  # number of actors, by GPUs
        self._busy: dict[Any, tuple[Any, float, tuple[Task, int] | None]] = {}  # None: it is starting

    @property
    def left(self) -> int:
        """Measurements that are waiting or under way."""
        under_way = [work for _, _, work in self._busy.values() if work]
        return sum(len(task.subjects) for queue in (*self._waiting.values(), under_way) for task, _ in queue)

    def add(self, tasks: list[Task]) -> None:
        """Take these on, in their order. A task that it ever got is not taken again."""
        for task in tasks:
            if task.id not in self.given:
                self.given.add(task.id)
                self._waiting.setdefault(self.packing.gpus_of(task.cell), deque()).append((task, 1))
        self._grow()

    def poll(self, timeout_s: float | None = 0.0) -> None:
        """Deal with the work that has ended; wait for some as long as ``timeout_s``, for ever if None."""
        while self._busy:
            done, _ = ray.wait(list(self._busy), num_returns=1, timeout=timeout_s)
            if not done:
                return
            self._ended(done[0])
            timeout_s = 0.0

    def finish(self) -> None:
        """Wait until all is done."""
        while self._busy:
            self.poll(None)

    def _grow(self) -> None:
        for gpus, queue in self._waiting.items():
            fits = max(1, self.cluster.fits(self.packing.cpus, gpus))  # a lost node may come back
            while self._actors.get(gpus, 0) < min(fits, len(queue)):
                self._start(gpus)

    def _start(self, gpus: float) -> None:
        actor = Measurer.options(num_cpus=self.packing.cpus, num_gpus=gpus).remote(self.make_worker, gpus)
        self._actors[gpus] = self._actors.get(gpus, 0) + 1
        self._busy[actor.ready.remote()] = (actor, gpus, None)

    def _ended(self, done: Any) -> None:
        actor, gpus, work = self._busy.pop(done)
        try:
            span: Any = ray.get(done)
            if work:
                task = work[0]
                self.tell(Done(task.measure, len(task.subjects), task.cell.at, span))
        except RayError as error:
            if not isinstance(error, RayTaskError):  # it died
                actor = None
            self._again(work, error, gpus)
        if actor is None:
            self._actors[gpus] -= 1
            self._grow()
        elif self._waiting[gpus]:
            work = self._waiting[gpus].popleft()
            self._busy[actor.measure.remote(work[0])] = (actor, gpus, work)
        else:
            self._actors[gpus] -= 1
            ray.kill(actor)

    def _again(self, work: tuple[Task, int] | None, error: RayError, gpus: float) -> None:
        if work is None:  # the actor could not start: that counts for the task it would have got
            if not self._waiting[gpus]:
                return
            work = self._waiting[gpus].popleft()
        task, attempt = work
        if attempt < ATTEMPTS:
            self._waiting[gpus].append((task, attempt + 1))
            return
        what = failure(error)
        rows = task.subject_rows()
        kind = "pairs" if "model_a" in rows[0] else "measures"
        named = {**what, "error": f"{task.measure}: {what['error']}"}
        self.store.write_record("failures", task.id, [{"kind": kind, **row, **named} for row in rows])
        self.tell(Done(task.measure, len(task.subjects), task.cell.at, None, what["error"]))
