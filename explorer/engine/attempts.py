"""Counter of failed tries at stacks and tasks. The last failure of each is recorded."""

from __future__ import annotations

from collections import Counter

from explorer.engine.failures import DIED, FULL
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
        self._reported_full = False

    @property
    def given_up(self) -> frozenset[str]:
        """Ids of the stacks and tasks without another try."""
        return frozenset(id for id, failed in self._failed.items() if failed >= TRIES)

    def failed(self, unit: Stack | MeasureTask, what: dict[str, str]) -> bool:
        """Count a failed try and return whether there is another one.

        The last failed try writes a record of kind ``failures``.

        Args:
            what: the ``error`` in one line, and the ``traceback``.
        """
        self._failed[unit.id] += 1
        error = what["error"]
        self.deaths += error in (DIED, FULL)
        if error == FULL and not self._reported_full:
            self._reported_full = True
            self.session.say(f"{FULL[0].upper()}{FULL[1:]}. Its work is tried again.")
        if self._failed[unit.id] < TRIES:
            again = f"try {self._failed[unit.id]} of {TRIES}"
            self.session.log(f"{unit.kind} at {unit.at} is tried again ({again} failed): {error}")
            return True
        self.store.write_record("failures", unit.id, unit.failure_rows(what))
        self.session.tell(Done(unit.kind, unit.size, unit.at, None, error))
        return False
