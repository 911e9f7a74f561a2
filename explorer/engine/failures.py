"""What failed, in words."""

from __future__ import annotations

from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError

from explorer.settings import InputError, in_a_line

DIED = "the worker process died (out of memory, or killed)"
FULL = (
    "Ray killed the worker process, as the memory of its machine was nearly full; "
    "fewer workers, or smaller stacks (resources.replicates_per_trial), need less"
)
ATTEMPTS = 3  # at a trial or a task, before it has failed for good


class Full(RayActorError):
    """A worker was killed because the memory of its machine was nearly full."""

    def __init__(self, text: str):
        super().__init__(error_msg=text)


def as_death(error: Exception) -> Exception:
    """What a call of a worker ended with: an error that it raised, or else one of its death."""
    if isinstance(error, RayActorError | RayTaskError):
        return error
    text = f"{type(error).__name__}: {error}"
    return Full(text) if isinstance(error, OutOfMemoryError) else RayActorError(error_msg=text)


def failure(error: BaseException) -> dict[str, str]:
    """A remote error as columns: ``error`` in one line, and the ``traceback`` of the worker."""
    if isinstance(error, Full | OutOfMemoryError):
        return {"error": FULL, "traceback": str(error)[:10_000]}
    if isinstance(error, RayActorError | WorkerCrashedError):
        return {"error": DIED, "traceback": str(error)}
    return {"error": _line(error)[:500], "traceback": str(error)[-10_000:]}


def _line(error: BaseException) -> str:
    """What a worker raised, in a line; our own messages stand for themselves."""
    cause = error.cause if isinstance(error, RayTaskError) else error
    if type(cause) is RayError:  # it could not be sent: its traceback is the message
        return str(cause).strip().rpartition("\n")[2].strip()
    if isinstance(cause, InputError):
        return str(cause).partition("\n")[0]
    return in_a_line(cause)
