"""Descriptions of failures."""

from __future__ import annotations

from explorer.settings import InputError, in_a_line

DIED = "the worker process died (out of memory, or killed)"
FULL = (
    "Ray killed the worker process because the memory of its machine was nearly full; "
    "use fewer workers or smaller stacks (resources.replicates_per_trial)"
)


def failure(error: BaseException) -> dict[str, str]:
    """Return a remote error as columns: ``error`` in one line, and the ``traceback`` of the worker."""
    from ray.exceptions import OutOfMemoryError, RayActorError, WorkerCrashedError

    if isinstance(error, OutOfMemoryError):
        return {"error": FULL, "traceback": str(error)[:10_000]}
    if isinstance(error, RayActorError | WorkerCrashedError):
        return {"error": DIED, "traceback": str(error)}
    return {"error": _line(error)[:500], "traceback": str(error)[-10_000:]}


def _line(error: BaseException) -> str:
    """Return a worker's error in one line. Explorer's own messages appear without the exception type."""
    from ray.exceptions import RayError, RayTaskError

    cause = error.cause if isinstance(error, RayTaskError) else error
    if type(cause) is RayError:  # the error could not be serialised: its traceback is the message
        return str(cause).strip().rpartition("\n")[2].strip()
    if isinstance(cause, InputError):
        return str(cause).partition("\n")[0]
    return in_a_line(cause)
