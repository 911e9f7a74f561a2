"""Counter of failed tries at stacks and tasks. The last failure of each is recorded."""

from __future__ import annotations

from collections import Counter

from explorer.engine.failures import Cause, Failure
from explorer.engine.session import Session
from explorer.plan.units import Done, MeasureTask, Stack
from explorer.runs.store import Store

TRIES = 3  # number of tries at a stack or a task


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
        self._failed[unit.id] += 1
        error = failure.error
        self.deaths += failure.cause is not Cause.RAISED
        if failure.cause is Cause.MEMORY and not self._reported_memory:
            self._reported_memory = True
            self.session.say(f"{error[0].upper()}{error[1:]}. Explorer tries its work again.")
        if self._failed[unit.id] < TRIES:
            again = f"try {self._failed[unit.id]} of {TRIES}"
            self.session.log(f"{unit.kind} at {unit.at} is tried again ({again} failed): {error}")
            return True
        self.store.write_record("failures", unit.id, unit.failure_rows(error, failure.traceback))
        self.session.tell(Done(unit.kind, unit.size, unit.at, None, error))
        return False
