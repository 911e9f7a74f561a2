"""Descriptions of failures, and the counter of failed tries."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from explorer.engine.session import Session
from explorer.plan.units import MeasureTask, Outcome, Stack
from explorer.runs.store import DamagedError, Store
from explorer.settings import Disagreement, InputError, in_a_line, message_of
from explorer.users.user_process import EndedError

TRIES = 3  # number of tries at a stack or a task
DIED = "the worker process died without an error"
FULL = (
    "Ray killed the worker process because the memory of its machine was nearly full; "
    "use fewer workers or smaller stacks (resources.replicates_per_trial)"
)


class FailureCause(Enum):
    """What ended a try."""

    RAISED = "the worker raised an error, and lives"
    DIED = "the worker process died"
    CERTAIN = "the worker raised an error that another try would raise again"
    DAMAGED = "stored weights are missing or damaged"
    MEMORY = "Ray killed the worker process because memory was nearly full"


@dataclass(frozen=True)
class Failure:
    """Why a try failed: the ``error`` in one line, and the ``traceback`` of the worker."""

    error: str
    traceback: str = ""
    cause: FailureCause = FailureCause.RAISED


def failure(error: BaseException) -> Failure:
    """Return the failure that a remote error stands for."""
    from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError

    if isinstance(error, OutOfMemoryError):
        return Failure(FULL, str(error)[:10_000], FailureCause.MEMORY)
    if isinstance(error, RayActorError | WorkerCrashedError):
        return Failure(DIED, str(error), FailureCause.DIED)
    cause = error.cause if isinstance(error, RayTaskError) else error
    if isinstance(cause, DamagedError):
        return Failure(message_of(cause), str(error)[-10_000:], FailureCause.DAMAGED)
    certain = isinstance(cause, Disagreement) or getattr(cause, "certain", False)
    # Errors that explorer.users.user_process has sent have the place in the user's code.
    line, place = _line(cause)[:500], getattr(cause, "place", "")
    line += f" ({place})" * bool(place and place not in line)
    told = getattr(cause, "traceback", "") or str(error)
    return Failure(line, told[-10_000:], FailureCause.CERTAIN if certain else FailureCause.RAISED)


def _line(cause: BaseException) -> str:
    """Return a worker's error in one line. Explorer's own messages appear without the exception type."""
    from ray.exceptions import RayError

    if type(cause) is RayError:  # the error could not be serialised: its traceback is the message
        return str(cause).strip().rpartition("\n")[2].strip()
    if isinstance(cause, InputError | Disagreement | EndedError):
        return str(cause).partition("\n")[0]
    return in_a_line(cause)


class Attempts:
    """Counter of the failed tries of one session."""

    def __init__(self, store: Store, session: Session):
        self.store, self.session = store, session
        self.deaths = 0  # number of workers that have died
        self._failed: Counter[str] = Counter()
        self._reported_memory = False

    @property
    def given_up(self) -> frozenset[str]:
        """Ids of the stacks and tasks without another try."""
        return frozenset(id for id, failed in self._failed.items() if failed >= TRIES)

    def failed(self, unit: Stack | MeasureTask, failure: Failure) -> bool:
        """Count a failed try and return whether there is another one.

        The last failed try writes a record of kind ``failures``.
        """
        self._failed[unit.id] += TRIES if failure.cause is FailureCause.CERTAIN else 1
        error = failure.error
        self.deaths += failure.cause in (FailureCause.DIED, FailureCause.MEMORY)
        if failure.cause is FailureCause.MEMORY and not self._reported_memory:
            self._reported_memory = True
            self.session.say(f"{error[0].upper()}{error[1:]}. Explorer tries its work again.")
        if failure.cause is FailureCause.DAMAGED:
            self.store.models_lost = True
            self.session.say(f"WARNING: {error}.")
        if self._failed[unit.id] < TRIES:
            again = f"try {self._failed[unit.id]} of {TRIES}"
            self.session.log(f"{unit.kind} at {unit.at} is tried again ({again} failed): {error}")
            return True
        self.store.write_record("failures", unit.id, unit.failure_rows(error, failure.traceback))
        self.session.report(Outcome(unit.kind, unit.size, unit.at, None, error))
        return False
