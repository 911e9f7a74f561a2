"""Trials that Ray Tune tries again: also those whose worker dies just when it turns to them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from ray import cloudpickle
from ray.exceptions import RayActorError
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial

from explorer.engine.failures import failure
from explorer.engine.lean import instead


def last_failure(trial: Trial) -> dict[str, str]:
    """What a trial failed with last, as :func:`explorer.engine.failures.failure` has it."""
    try:
        # Tune wrote it a moment ago, into a temporary folder of this process.
        with open(str(trial.pickled_error_file), "rb") as file:
            return failure(cloudpickle.load(file))
    except Exception as error:  # the disk may be full, or the error not be one that can be kept
        return {"error": "it failed to train", "traceback": f"its error could not be read: {error!r}"}


def of_resets() -> AbstractContextManager[None]:
    """A trial whose worker fails while it is reset, to go on with this trial, is tried again like any other.

    Tune takes back the trial of a worker that died then, and is told of it a second time, by the call that
    failed. It then calls the trial, which waits again by now, failed for good; were it not so, the trial
    would count as being reset, and never start.
    """
    before: Any = TuneController._process_trial_failure

    def failed(controller: Any, trial: Trial, exception: Exception) -> None:
        controller._resetting_trials.discard(trial)
        if trial.status == Trial.PENDING:
            if isinstance(exception, RayActorError):
                return  # the second time
            controller._set_trial_status(trial, Trial.RUNNING)
            controller._unstage_trial_with_resources(trial)
        before(controller, trial, exception)

    return instead(TuneController, "_process_trial_failure", failed)
