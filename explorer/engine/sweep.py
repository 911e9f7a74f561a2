"""Trains the grid with Ray Tune: one trial a stack, trials share devices by fractions."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ray import tune
from ray.exceptions import RayActorError
from ray.tune.experiment import Trial as Experiment
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from explorer.engine.cluster import Cluster
from explorer.engine.session import Tell
from explorer.engine.work import Stack
from explorer.space import ResourceOptions
from explorer.store import Store

if TYPE_CHECKING:
    from explorer.engine.worker import Worker

ATTEMPTS = 3
WAITING = 4  # trials that ask for a place beyond the workers there are: for nodes that join


class Trial(tune.Trainable):
    """Trains one stack in one step. The actor goes on to the next trial (``reuse_actors``)."""

    def setup(
        self,
        config: dict[str, Any],
        make_worker: Callable[[], Worker] | None = None,
        stacks: Any = None,
        save_every_s: float = 300.0,
    ) -> None:  # type: ignore[override]
        if make_worker is None:
            raise ValueError("Trial is started by sweep()")
        self.worker, self.stacks, self.save_every_s = make_worker(), stacks, save_every_s
        self.place = config["stack"]

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self.place = new_config["stack"]
        return True

    def step(self) -> dict[str, Any]:
        self.worker.train(self.stacks[self.place], self.save_every_s)
        return {"done": True}


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


class _Patient(FIFOScheduler):
    """Trials in their order, but a worker that is being started keeps its trial.

    Tune's own choice gives a worker that has become free to the first trial that waits, even if another is
    just being started for it, and ends that one. Where trials are shorter than a start, a second worker, a
    replaced one or one on a node that joins would be started over and over, and never work.
    """

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Experiment] = []

    def on_trial_add(self, tune_controller: Any, trial: Experiment) -> None:
        self._waiting.append(trial)

    def choose_trial_to_run(self, tune_controller: Any) -> Experiment | None:
        controller = tune_controller._tune_controller  # its wrapper does not tell what is being started
        self._waiting = [trial for trial in self._waiting if trial.status == Experiment.PENDING]
        for trial in self._waiting:
            actor = controller._trial_to_actor.get(trial)
            if actor is None or not controller._actor_manager.is_actor_started(actor):
                return trial
        return None


class _Told(tune.Callback):
    """Tells of each trial that has ended: its place, its result, and whether it failed for good."""

    def __init__(self, tell: Callable[[int, dict[str, Any], bool], None]):
        self.tell = tell

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restore that is never used; a display cannot be pickled

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.tell(trial.config["stack"], trial.last_result or {}, False)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.tell(trial.config["stack"], trial.last_result or {}, True)


def sweep(
    cluster: Cluster,
    stacks: list[Stack],
    make_worker: Callable[[], Worker],
    resources: ResourceOptions,
    store: Store,
    tell: Tell,
) -> None:
    """Train the stacks. ``tell`` hears of each that has ended.

    A trial that fails is tried again; one that fails for good leaves a record of kind ``failures``.
    """

    def ended(place: int, result: dict[str, Any], failed: bool) -> None:
        models, cell = len(stacks[place].models), stacks[place].cell
        if not failed:
            store.drop_record("failures", stacks[place].id)
        by = f"{result.get('hostname', '?')} process {result.get('pid', '?')}"
        took = f"{result.get('time_this_iter_s', 0.0):.2f} s"
        what = "failed to train" if failed else "trained"
        tell(models, models if failed else 0, f"{what} {models} models of {cell.at} in {took} by {by}")

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    logging.getLogger("ray.train").setLevel(logging.CRITICAL)
    os.environ["RAY_TUNE_DISABLE_PROGRESS"] = "1"
    trainable = tune.with_resources(
        tune.with_parameters(
            Trial, make_worker=make_worker, stacks=stacks, save_every_s=60 * resources.save_every_minutes
        ),
        {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial},
    )
    workers = cluster.workers(resources.cpus_per_trial, resources.gpus_per_trial)
    # Every pending trial costs the cluster a placement group at each event; 200 is Tune's default.
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(workers + WAITING)
    finished = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=_Places({"stack": place} for place in range(len(stacks))),
            num_samples=len(stacks),
            reuse_actors=True,
            scheduler=_Patient(),
        ),
        run_config=tune.RunConfig(
            name="sweep",
            storage_path=cluster.scratch,
            verbose=0,
            callbacks=[_Told(ended)],
            failure_config=tune.FailureConfig(max_failures=ATTEMPTS - 1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()
    for result in finished:
        if result.error is not None and result.config is not None:
            stack = stacks[result.config["stack"]]
            what = failure(result.error)
            store.write_record(
                "failures", stack.id, [{"kind": "models", **row, **what} for row in stack.rows()]
            )


def failure(error: BaseException) -> dict[str, str]:
    """A remote error as columns: ``error`` in one line, and the ``traceback`` of the worker."""
    if isinstance(error, RayActorError):
        return {"error": "the worker process died (out of memory, or killed)", "traceback": str(error)}
    cause = getattr(error, "cause", None) or error
    lines = [line for line in str(cause).strip().splitlines() if line.strip()]
    return {
        "error": lines[-1].strip()[:500] if lines else type(error).__name__,
        "traceback": str(error)[-10_000:],
    }
