"""What failed, in one line of a table."""

from __future__ import annotations

import threading
import traceback

import pytest
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError
from ray.tune import TuneError

from explorer.engine import cluster, sweep
from explorer.engine.failures import DIED, FULL, FailureCause, failure
from explorer.settings import InputError


class UnsendableError(Exception):
    def __init__(self, text: str):
        super().__init__(text)
        self.lock = threading.Lock()


def raised(cause: Exception) -> RayTaskError:
    told = "".join(traceback.format_exception(cause))
    return RayTaskError("Worker.measure", told, cause, proctitle="ray::Worker", pid=1, ip="127.0.0.1")


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (KeyError("width"), "KeyError: 'width'"),
        (
            RuntimeError("CUDA error: illegal access\nCompile with TORCH_USE_CUDA_DSA"),
            "RuntimeError: CUDA error: illegal access",
        ),
        (AssertionError(), "AssertionError"),
        (InputError("there is no setting 'x'"), "there is no setting 'x'"),
        (UnsendableError("odd"), "test_failures.UnsendableError: odd"),
    ],
)
def test_what_a_worker_raised_is_told_by_type_and_message(cause: Exception, line: str) -> None:
    sent = raised(cause)
    for error in (sent, sent.as_instanceof_cause()):
        found = failure(error)
        assert found.error == line
        assert line in found.traceback
        assert found.cause is FailureCause.RAISED


def test_a_death_is_told_by_what_can_be_done() -> None:
    assert failure(RayActorError()).error == failure(WorkerCrashedError()).error == DIED
    full = OutOfMemoryError("Task was killed due to the node running low on memory.")
    assert failure(full).error == FULL
    assert (failure(full).cause, failure(RayActorError()).cause) == (FailureCause.MEMORY, FailureCause.DIED)


def test_a_worker_killed_for_memory_is_found_behind_the_errors_that_tune_raises() -> None:
    full = OutOfMemoryError("Task was killed due to the node running low on memory.")

    def handle() -> None:
        try:
            raise RuntimeError("Caught unexpected exception") from full
        except RuntimeError:
            raise TuneError(traceback.format_exc())  # noqa: B904 (as Tune does)

    with pytest.raises(TuneError) as raised_by_tune:
        handle()
    assert sweep._out_of_memory(raised_by_tune.value) is full
    assert sweep._out_of_memory(full) is full
    assert sweep._out_of_memory(TuneError("a module of the user says OutOfMemoryError")) is None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.9.1",
            "that cluster runs another version of Ray or Python; install the same versions on both sides "
            "(Version mismatch: The cluster was started with: Ray: 2.9.0 Python: 3.9.1)",
        ),
        (
            "Failed to connect to Ray cluster at 10.0.0.1:6379\nUnauthenticated: RPC error: InvalidAuthToken",
            "the token of that cluster is missing here, or is another one; set RAY_AUTH_MODE=token",
        ),
        ("ray.init() timed out", "no Ray cluster answers there (ray.init() timed out)"),
    ],
)
def test_why_a_cluster_cannot_be_used_is_told(said: str, told: str) -> None:
    assert told in cluster._why_not(said)
