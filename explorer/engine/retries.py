"""Trials that Ray Tune tries again, whatever their worker died of, and when."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ray import cloudpickle
from ray.air.execution._internal.actor_manager import RayActorManager
from ray.exceptions import RayActorError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from explorer.engine.failures import as_death, failure
from explorer.engine.lean import instead


def last_failure(trial: Trial) -> dict[str, str]:
    """What a trial failed with last, as :func:`explorer.engine.failures.failure` has it."""
    try:
        # Tune wrote it a moment ago, into a temporary folder of this process.
        with open(str(trial.pickled_error_file), "rb") as file:
            return failure(cloudpickle.load(file))
    except Exception as error:  # the disk may be full, or the error not be one that can be kept
        return {"error": "it failed to train", "traceback": f"its error could not be read: {error!r}"}


@contextmanager
def of_all_deaths() -> Iterator[None]:
    """Tune tries these trials again like any other, which it would not do:

    - One whose worker fails while it is reset, to go on with this trial. Tune takes back the trial of a
      worker that died then, and is told of it a second time, by the call that failed. It then calls the
      trial, which waits again by now, failed for good; were it not so, the trial would count as being
      reset, and never start.
    - One whose worker Ray has killed because its machine's memory was nearly full. That is no
      ``RayActorError``, and Tune gives up all trials at an error that it does not expect.
    """
    of_trials: Any = TuneController._process_trial_failure
    of_calls: Any = RayActorManager._actor_task_failed

    def trial_failed(controller: Any, trial: Trial, exception: Exception) -> None:
        controller._resetting_trials.discard(trial)
        if trial.status == Trial.PENDING:
            if isinstance(exception, RayActorError):
                return  # the second time
            controller._set_trial_status(trial, Trial.RUNNING)
            controller._unstage_trial_with_resources(trial)
        of_trials(controller, trial, as_death(exception))

    def call_failed(manager: Any, tracked_actor_task: Any, exception: Exception) -> None:
        of_calls(manager, tracked_actor_task, as_death(exception))

    with (
        instead(TuneController, "_process_trial_failure", trial_failed),
        instead(RayActorManager, "_actor_task_failed", call_failed),
    ):
        yield
