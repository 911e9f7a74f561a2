"""Training of the grid with Ray Tune: one trial per stack; trials share devices by fractions."""

from __future__ import annotations

import math
import os
import queue
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.exceptions import OutOfMemoryError
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from explorer.engine.cancel import Cancellation
from explorer.engine.choose import Choice
from explorer.engine.context import Context
from explorer.engine.failures import Attempts, Failure, failure
from explorer.engine.session import Session
from explorer.plan.units import Outcome, Span, Stack, span_of

CHUNK = 64  # stacks per object in the object store: a trial holds one object, however large the grid is
AT_ONCE = 1000  # trials per sweep: Tune keeps each trial in memory until its sweep ends
WAITING = 4  # pending trials beyond the current workers, for nodes that join
AVERAGED = ("train_loss", "train_error_percent", "test_loss", "test_accuracy_percent")
SPAN = ("began", "seconds", "host", "pid")


class StackTrial(tune.Trainable):
    """Trial that trains one stack. Its actor is reused for the next trial (``reuse_actors``).

    :func:`sweep` passes ``chunks``, ``factory``, ``gpus``, ``save_every_s`` and ``live``. With ``live``, a
    trial has a result for each point of the training history, for callbacks, and not only one at its end.
    """

    def setup(self, config: dict[str, Any], **given: Any) -> None:  # type: ignore[override]
        self.given = given
        self._training: queue.SimpleQueue[Any] | None = None
        self._cached: tuple[int, list[Stack]] = (-1, [])
        self.reset_config(config)
        self.worker = given["factory"](given["gpus"][self.place])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        # Do nothing else here: Tune does not count a failure here as a failed trial.
        self.place = new_config["stack"]
        return True

    def step(self) -> dict[str, Any]:
        if not self.given["live"]:
            return self._train(None)
        if self._training is None:
            self._training = queue.SimpleQueue()
            threading.Thread(target=self._train_live, args=[self._training], daemon=True).start()
        result = self._training.get()
        if isinstance(result, BaseException):
            raise result
        if result.get("done"):
            self._training = None
        return result

    def _train(self, tell: Callable[[list[dict[str, Any]]], None] | None) -> dict[str, Any]:
        """Train the stack and return the last result of the trial."""
        rows: list[dict[str, Any]] = []
        stack, save_every_s = self._stack(), self.given["save_every_s"]
        span = span_of(lambda: rows.extend(self.worker.train(stack, save_every_s, tell)))
        return {"done": True, **means(rows), **span._asdict()}

    def _train_live(self, results: queue.SimpleQueue[Any]) -> None:
        """Put the results of the trial into a queue, as they come, or its error."""
        try:
            results.put(self._train(lambda points: results.put(means_of_point(points))))
        except BaseException as error:
            results.put(error)

    def _stack(self) -> Stack:
        number, within = divmod(self.place, CHUNK)
        if self._cached[0] != number:
            self._cached = (number, ray.get(self.given["chunks"][number]))
        return self._cached[1][within]


def means(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return means over the models of a stack that did not diverge, for callbacks."""
    ok = [row for row in rows if row["status"] == "ok"]
    averages = {name: sum(row[name] for row in ok) / len(ok) for name in AVERAGED if ok}
    at = {"step": max(row["steps"] for row in rows)} if rows else {}
    return {**averages, **at, "models": len(rows), "diverged": len(rows) - len(ok)}


def means_of_point(points: list[dict[str, Any]]) -> dict[str, float]:
    """Return step, epoch and means over the models of a stack at a point of the training history."""
    finite = [point for point in points if math.isfinite(point["train_loss"])]
    averages = {name: sum(point[name] for point in finite) / len(finite) for name in AVERAGED if finite}
    return {**averages, "step": points[0]["step"], "epoch": points[0]["epoch"]}


class StackSearcher(Searcher):
    """Searcher that yields the configurations in order.

    Tune's grid search would copy the whole list of values for each trial before the first one starts, which
    takes minutes for 20,000 trials.
    """

    def __init__(self, configs: Iterable[dict[str, Any]]):
        super().__init__()
        self._left = deque(configs)
        self.given: set[int] = set()  # indices of stacks

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        if not self._left:
            return Searcher.FINISHED
        config = self._left.popleft()
        self.given.add(config["stack"])
        return config

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None: ...


class Listener(tune.Callback):
    """Callback that reports Tune's trial results and errors to the session and the attempts."""

    def __init__(self, stacks: list[Stack], session: Session, attempts: Attempts):
        self.stacks, self.session, self.attempts = stacks, session, attempts
        self.settled: set[int] = set()  # indices of stacks that are trained or have failed

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune saves callbacks for restoring, which we never use

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if not result.get("done"):
            return
        stack = self.stacks[trial.config["stack"]]
        self.settled.add(trial.config["stack"])
        self.session.report(Outcome(stack.kind, stack.size, stack.at, Span(*(result[name] for name in SPAN))))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self.settled.add(trial.config["stack"])
        self.attempts.failed(self.stacks[trial.config["stack"]], _last_failure(trial))


def _last_failure(trial: Trial) -> Failure:
    """Return the error of a trial, which Tune has just written to its private folder."""
    try:
        with open(str(trial.pickled_error_file), "rb") as file:
            return failure(cloudpickle.load(file))
    except Exception as error:  # the disk may be full, or the error cannot be unpickled
        return Failure("it failed to train", f"its error could not be read: {error!r}")


class Stop(tune.Stopper):
    """Stopper that stops all trials once a stop is requested."""

    def __init__(self, cancel: Cancellation):
        self.cancel = cancel

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.cancel.requested


def sweep(
    context: Context, choice: Choice, stacks: list[Stack], callbacks: Sequence[tune.Callback] = ()
) -> None:
    """Give each stack one try and report failures to the attempts. Tune itself never retries."""
    # Sorted by size, trials can reuse actors.
    stacks = sorted(stacks, key=lambda stack: -choice.gpus_of(stack.cell))
    gpus = context.cluster.spread(choice.cpus, [choice.gpus_of(stack.cell) for stack in stacks])
    at = [stack.at for stack in stacks]
    trainable = tune.with_resources(
        tune.with_parameters(
            StackTrial,
            chunks=[ray.put(stacks[start : start + CHUNK]) for start in range(0, len(stacks), CHUNK)],
            factory=choice.factory(context),
            gpus=gpus,
            save_every_s=60 * context.space.resources.save_every_minutes,
            live=bool(callbacks),
        ),
        lambda config: tune.PlacementGroupFactory([{"CPU": choice.cpus, "GPU": gpus[config["stack"]]}]),
    )
    # Each pending trial costs the cluster a placement group at each event; Tune's default is 200.
    workers = context.cluster.workers(choice.cpus, min(gpus))
    os.environ.setdefault("TUNE_MAX_PENDING_TRIALS_PG", str(workers + WAITING))
    for start in range(0, len(stacks), AT_ONCE):
        places = range(start, min(start + AT_ONCE, len(stacks)))
        searcher = StackSearcher({"stack": place, **(at[place] if callbacks else {})} for place in places)
        listener = Listener(stacks, context.session, context.attempts)
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                num_samples=len(places),
                max_concurrent_trials=context.cluster.limit,
                reuse_actors=True,
                trial_name_creator=lambda trial: _name(trial.config["stack"], at),
            ),
            run_config=tune.RunConfig(
                name=f"sweep-{start}",
                storage_path=context.cluster.scratch,
                verbose=0,
                stop=Stop(context.cancel),
                callbacks=[listener, *callbacks],
                failure_config=tune.FailureConfig(max_failures=0),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            tuner.fit()
        except Exception as error:
            context.cancel.check()
            out_of_memory = _out_of_memory(error)
            under_way = searcher.given - listener.settled
            if not (under_way and out_of_memory):
                raise
            # If Ray kills a worker because memory is nearly full, Tune gives up all trials. Trials that Tune
            # has not yet received do not lose a try.
            for place in under_way:
                context.attempts.failed(stacks[place], failure(out_of_memory))
            return
        context.cancel.check()
        for place in set(places) - listener.settled:
            context.attempts.failed(stacks[place], Failure("its trial ended without a result"))


def _out_of_memory(error: BaseException | None) -> OutOfMemoryError | None:
    """Return Ray's error of a worker that was killed for memory. Tune raises others while handling it."""
    while error is not None and not isinstance(error, OutOfMemoryError):
        error = error.__cause__ or error.__context__
    return error


def _name(stack: int, locations: list[dict[str, Any]]) -> str:
    at = "-".join(f"{axis}={value}" for axis, value in locations[stack].items())
    return re.sub(r"[^A-Za-z0-9=._-]", "_", f"{stack}-{at}")[:100]
