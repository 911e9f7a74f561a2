"""What failed, in words."""

from __future__ import annotations

from ray.exceptions import RayActorError

DIED = "the worker process died (out of memory, or killed)"
ATTEMPTS = 3  # at a trial or a task, before it has failed for good


def failure(error: BaseException) -> dict[str, str]:
    """A remote error as columns: ``error`` in one line, and the ``traceback`` of the worker."""
    if isinstance(error, RayActorError):
        return {"error": DIED, "traceback": str(error)}
    cause = getattr(error, "cause", None) or error
    lines = [line for line in str(cause).strip().splitlines() if line.strip()]
    return {
        "error": lines[-1].strip()[:500] if lines else type(error).__name__,
        "traceback": str(error)[-10_000:],
    }
