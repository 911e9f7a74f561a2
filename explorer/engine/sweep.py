"""Trains the grid with Ray Tune: one trial a stack, trials share devices by fractions."""

from __future__ import annotations

import logging
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ray import tune
from ray.air.execution.resources.fixed import FixedResourceManager
from ray.tune import registry
from ray.tune.execution import class_cache, tune_controller
from ray.tune.execution.tune_controller import TuneController
from ray.tune.search import Searcher

from explorer.engine import plan, retries
from explorer.engine.cluster import Cluster
from explorer.engine.failures import ATTEMPTS, FULL
from explorer.engine.job import Hand, Job
from explorer.engine.lean import instead
from explorer.engine.overlap import Leave, Overlap
from explorer.engine.pool import Pool
from explorer.engine.prepare import Chosen
from explorer.engine.session import Session
from explorer.engine.work import Done, MakeWorker, Span, Stack, Task, span_of
from explorer.space import Space
from explorer.store import Store

STEP_S = 1.0  # a trial that measures tells of it about so often

WAITING = 4  # trials that ask for a place beyond the workers there are: for nodes that join


class Trial(tune.Trainable):
    """Trains one stack in its first step, and measures what that completed in further ones.

    The scheduler says whether there are any; the actor goes on to the next trial (``reuse_actors``).
    """

    def setup(
        self, config: dict[str, Any], make_worker: MakeWorker | None = None, job: Job | None = None
    ) -> None:  # type: ignore[override]
        if make_worker is None or job is None:
            raise ValueError("Trial is started by sweep()")
        self.job, self.hand = job, Hand(job)
        self.reset_config(config)
        self.worker = make_worker(job.packing.gpus_of(self.stack.cell))

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.stack, self.mates = self.hand.turn(new_config["stack"])
        self.trained = False
        self.tasks: deque[Task] | None = None
        return True

    def step(self) -> dict[str, Any]:
        return self._measure() if self.trained else self._train()

    def _train(self) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        span = span_of(lambda: rows.extend(self.worker.train(self.stack, self.job.save_every_s)))
        self.trained = True
        work = (("training", len(self.stack.models), None, *span),)
        return {"first": True, "fresh": bool(rows), "work": work, **means(rows)}

    def _measure(self) -> dict[str, Any]:
        """Measure for about a second. What fails is left to the pool, which knows how to try again."""
        if self.tasks is None:
            self.tasks = deque(plan.tasks_of(self.mates, self.job.measures, self.worker.store))
        cells = [cell.id for cell in self.stack.cells]
        work, spent, failed = [], 0.0, False
        while self.tasks and not failed and spent < STEP_S:
            task = self.tasks.popleft()
            try:
                span = span_of(lambda task=task: self.worker.measure(task))
            except Exception:
                failed = True
                continue
            spent += span.seconds
            work.append((task.measure, len(task.subjects), cells.index(task.cell.id), *span))
        ended = failed or not self.tasks
        return {"first": False, "failed": failed, "work": tuple(work), "done": ended}


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Means over the models of a stack that did not diverge, for those who follow the trials."""
    names = ("train_loss", "train_error_percent", "test_loss", "test_accuracy_percent")
    sound = [row for row in rows if row["status"] == "ok"]
    found = {name: sum(row[name] for row in sound) / len(sound) for name in names if sound}
    return {**found, "models": len(rows), "diverged": len(rows) - len(sound)}


class _Places(Searcher):
    """The places of the stacks, one after the other.

    A grid search would copy its whole list of values for each trial before the first starts: 20,000 trials
    would wait for minutes.
    """

    def __init__(self, configs: Iterable[dict[str, Any]]):
        super().__init__()
        self._left = deque(configs)

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        return self._left.popleft() if self._left else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None: ...


class _Told(tune.Callback):
    """Hands what Tune tells of the trials on, and lets the pool go on meanwhile."""

    def __init__(
        self, stacks: list[Stack], overlap: Overlap, leave: Leave, pool: Pool, store: Store, session: Session
    ):
        self.stacks, self.overlap, self.leave, self.store = stacks, overlap, leave, store
        self.pool, self.session, self.full = pool, session, False
        self.left = len(stacks)
        self.settled: set[int] = set()  # places that are trained, or have failed for good
        self.ended: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restore that is never used; a display cannot be pickled

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.overlap.started(trial.config["stack"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        place = trial.config["stack"]
        stack = self.stacks[place]
        work, first, failed = (result.pop(name, None) for name in ("work", "first", "failed"))
        result.pop("fresh", None)  # what is left is for those who follow the trials
        for kind, number, cell, *span in work:
            if kind == "training":
                if place in self.settled:  # tried again, after it was killed while it measured
                    continue
                self.settled.add(place)
            at = stack.at if cell is None else stack.cells[cell].at
            self.session.tell(Done(kind, number, at, Span(*span)))
        if not first:
            seconds = sum(Span(*span).seconds for _, _, _, *span in work)
            self.overlap.measured(place, seconds, result["done"])
            if failed:
                self.leave(self.overlap.together[place])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.ended.append(trial)
        self.left -= 1
        if self.left < self.overlap.workers:
            self.session.meanwhile.start()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        at, error = self.stacks[trial.config["stack"]].at, retries.last_failure(trial)["error"]
        self.session.log(f"the trial at {at} is tried again: {error}")
        if error == FULL and not self.full:
            self.full = True
            self.session.say(f"{FULL[0].upper()}{FULL[1:]}. What it did is tried again.")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.failed(trial.config["stack"], retries.last_failure(trial))

    def failed(self, place: int, what: dict[str, str]) -> None:
        """A stack that nobody has trained, or will."""
        if place in self.settled:
            return
        self.settled.add(place)
        stack = self.stacks[place]
        rows = [{"kind": "models", **row, **what} for row in stack.records()]
        self.store.write_record("failures", stack.id, rows)
        self.session.tell(Done("training", len(stack.models), stack.at, None, what["error"]))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.pool.poll()
        for trial in self.ended:  # Tune keeps them all, and half of what each takes are means of its results
            trial.metric_analysis.clear()
            trial.metric_n_steps.clear()
        self.ended.clear()


def sweep(
    cluster: Cluster,
    stacks: list[Stack],
    how: Chosen,
    space: Space,
    store: Store,
    pool: Pool,
    session: Session,
    callbacks: Sequence[tune.Callback] = (),
) -> None:
    """Train the stacks, and measure what is complete beside it, if the space says so.

    ``session`` hears of all that has ended. A trial that fails is tried again; one that fails for good
    leaves a record of kind ``failures``. The pool may still be at work afterwards.
    """
    resources, packing = space.resources, how.packing
    stacks = sorted(stacks, key=lambda stack: -packing.gpus_of(stack.cell))  # actors fit the next trial, too
    together = plan.together(stacks) if resources.overlap and space.measures else [[] for _ in stacks]
    job = Job.of(
        stacks,
        together,
        measures=space.measures,
        save_every_s=60 * resources.save_every_minutes,
        packing=packing,
    )

    def leave(places: list[int]) -> None:
        pool.add(plan.tasks_of([stacks[place] for place in places], space.measures, store))

    sizes = [packing.gpus_of(stack.cell) for stack in stacks]
    workers = cluster.workers(packing.cpus, min(sizes))
    overlap = Overlap(together, workers, leave)
    told = _Told(stacks, overlap, leave, pool, store, session)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    os.environ["RAY_TUNE_DISABLE_PROGRESS"] = "1"
    trainable = tune.with_resources(
        tune.with_parameters(Trial, make_worker=how.make_worker, job=job),
        lambda config: tune.PlacementGroupFactory([{"CPU": packing.cpus, "GPU": sizes[config["stack"]]}]),
    )
    # Every pending trial costs the cluster a placement group at each event; 200 is Tune's default.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers + WAITING)
    at = [stack.at for stack in stacks]
    configs = ({"stack": place, **(at[place] if callbacks else {})} for place in range(len(stacks)))
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_Places(configs),
            num_samples=len(stacks),
            reuse_actors=True,
            scheduler=overlap,
            trial_name_creator=lambda trial: _name(trial.config["stack"], at),
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=cluster.scratch,
            verbose=0,
            callbacks=[told, *callbacks],
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    with ExitStack() as lighter:
        # A variable for PyTorch Lightning, which none of the processes that wait for work has.
        lighter.enter_context(instead(class_cache, "DEFAULT_ENV_VARS", {}))
        # What every trial was, in the end: for a restore that is never used.
        lighter.enter_context(instead(TuneController, "_get_trial_checkpoints", lambda _: {}))
        if cluster.own and not max(sizes):
            # Ray looks for free places once a second, unless a trial asks for another; this one counts them.
            lighter.enter_context(
                instead(tune_controller, "PlacementGroupResourceManager", FixedResourceManager)
            )
        lighter.enter_context(_registered_once())
        lighter.enter_context(retries.of_all_deaths())
        tuner.fit()
    for place in range(len(stacks)):
        told.failed(place, {"error": "its trial ended without a word", "traceback": ""})


@contextmanager
def _registered_once() -> Iterator[None]:
    """What Tune's registry has found stays found: it would ask the cluster five times for each trial."""
    ours: Any = getattr(registry, "_global_registry", None)
    look_up: Any = getattr(ours, "get", None)
    put: Any = getattr(ours, "register", None)
    found: dict[tuple[str, str], Any] = {}

    def get(category: str, key: str) -> Any:
        if (category, key) not in found:
            found[category, key] = look_up(category, key)
        return found[category, key]

    def contains(category: str, key: str) -> bool:
        try:
            get(category, key)
        except ValueError:
            return False
        return True

    def register(category: str, key: str, value: Any) -> None:
        found.pop((category, key), None)
        put(category, key, value)

    with instead(ours, "get", get), instead(ours, "contains", contains), instead(ours, "register", register):
        yield


def _name(stack: int, places: list[dict[str, Any]]) -> str:
    at = "-".join(f"{axis}={value}" for axis, value in places[stack].items())
    return re.sub(r"[^A-Za-z0-9=._-]", "_", f"{stack}-{at}")[:100]
