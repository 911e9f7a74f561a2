"""Pool of Ray actors. Each task is measured, tried again or recorded as failed."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from explorer.engine.choose import LOOK_S, Choice
from explorer.engine.context import Context, WorkerFactory
from explorer.engine.failures import failure
from explorer.plan.units import MeasureTask, Outcome, Span, span_of
from explorer.runs.store import DamagedError


@ray.remote(max_restarts=0)
class Measurer:
    """Actor that measures one task after another."""

    def __init__(self, factory: WorkerFactory, gpus: float):
        self.worker = factory(gpus)

    def ready(self) -> None:
        """Answer once the worker exists."""

    def measure(self, task: MeasureTask) -> Span:
        return span_of(lambda: self.worker.measure(task))


class Pool:
    """Pool of as many actors as fit.

    If a task raises or its actor dies, the actor is replaced, and the next free actor tries the task again.
    Each actor has the resources that its tasks need. Actors that do not fit yet wait until others end.
    """

    def __init__(self, context: Context, choice: Choice):
        self.context, self.choice, self.factory = context, choice, choice.factory(context)
        self._waiting: dict[float, deque[MeasureTask]] = {}  # by GPUs
        self._actors: dict[float, int] = {}  # number of actors, by GPUs
        # Open calls: the actor, its GPUs and its task (None while the actor starts).
        self._calls: dict[Any, tuple[Any, float, MeasureTask | None]] = {}

    def measure(self, tasks: list[MeasureTask]) -> None:
        """Measure the tasks in their order. Return when each is measured or has no try left."""
        shares = [self.choice.gpus_of(task.cell) for task in tasks]
        for task, gpus in zip(tasks, self.context.cluster.spread(self.choice.cpus, shares), strict=True):
            self._waiting.setdefault(gpus, deque()).append(task)
        try:
            self._grow()
            while self._calls:
                self.context.cancel.check()
                done, _ = ray.wait(list(self._calls), num_returns=1, timeout=LOOK_S)
                for call in done:
                    self._answered(call)
        finally:
            for actor, _, _ in self._calls.values():
                ray.kill(actor)

    def _grow(self) -> None:
        limit = self.context.cluster.limit or math.inf
        for gpus, queue in self._waiting.items():
            fits = max(1, self.context.cluster.fits(self.choice.cpus, gpus))  # a lost node may come back
            while self._actors.get(gpus, 0) < min(fits, len(queue)) and sum(self._actors.values()) < limit:
                actor = Measurer.options(num_cpus=self.choice.cpus, num_gpus=gpus).remote(self.factory, gpus)
                self._actors[gpus] = self._actors.get(gpus, 0) + 1
                self._calls[actor.ready.remote()] = (actor, gpus, None)

    def _answered(self, call: Any) -> None:
        actor, gpus, task = self._calls.pop(call)
        try:
            span: Any = ray.get(call)
            if task:
                self.context.session.report(Outcome(task.kind, task.size, task.at, span))
        except RayError as error:
            ray.kill(actor)  # an error may have left its process in a bad state
            self._actors[gpus] -= 1
            self._failed(task, error, gpus)
            self._grow()
            return
        if self._waiting[gpus]:
            task = self._waiting[gpus].popleft()
            self._calls[actor.measure.remote(task)] = (actor, gpus, task)
            return
        self._actors[gpus] -= 1
        ray.kill(actor)
        self._grow()  # an actor of another size may take its place within the limit

    def _failed(self, task: MeasureTask | None, error: RayError, gpus: float) -> None:
        if task is None:  # the actor did not start: count this as a failure of its first task
            if not self._waiting[gpus]:
                return
            task = self._waiting[gpus].popleft()
        damaged = isinstance(error, RayTaskError) and isinstance(error.cause, DamagedError)
        # Damaged models are trained again first.
        if self.context.attempts.failed(task, failure(error)) and not damaged:
            self._waiting[gpus].append(task)
