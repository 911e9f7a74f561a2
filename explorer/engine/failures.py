"""Descriptions of failures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from explorer.settings import InputError, in_a_line

DIED = "the worker process died (out of memory, or killed)"
FULL = (
    "Ray killed the worker process because the memory of its machine was nearly full; "
    "use fewer workers or smaller stacks (resources.replicates_per_trial)"
)


class Cause(Enum):
    """What ended a try."""

    RAISED = "the worker raised an error, and lives"
    DIED = "the worker process died"
    MEMORY = "Ray killed the worker process because memory was nearly full"


@dataclass(frozen=True)
class Failure:
    """Why a try failed: the ``error`` in one line, and the ``traceback`` of the worker."""

    error: str
    traceback: str = ""
    cause: Cause = Cause.RAISED


def failure(error: BaseException) -> Failure:
    """Return the failure that a remote error stands for."""
    from ray.exceptions import OutOfMemoryError, RayActorError, WorkerCrashedError

    if isinstance(error, OutOfMemoryError):
        return Failure(FULL, str(error)[:10_000], Cause.MEMORY)
    if isinstance(error, RayActorError | WorkerCrashedError):
        return Failure(DIED, str(error), Cause.DIED)
    return Failure(_line(error)[:500], str(error)[-10_000:])


def _line(error: BaseException) -> str:
    """Return a worker's error in one line. Explorer's own messages appear without the exception type."""
    from ray.exceptions import RayError, RayTaskError

    cause = error.cause if isinstance(error, RayTaskError) else error
    if type(cause) is RayError:  # the error could not be serialised: its traceback is the message
        return str(cause).strip().rpartition("\n")[2].strip()
    if isinstance(cause, InputError):
        return str(cause).partition("\n")[0]
    return in_a_line(cause)
