"""Every failed try at a stack or a task is counted, logged and, after the last, recorded here."""

from __future__ import annotations

from collections import Counter

from explorer.engine.failures import DIED, FULL
from explorer.engine.session import Session
from explorer.plan.units import Done, MeasureTask, Stack
from explorer.runs.store import Store

TRIES = 3  # at a stack or a task, before it has failed for good


class Attempts:
    """Counts the failed tries of one session."""

    def __init__(self, store: Store, session: Session):
        self.store, self.session = store, session
        self.deaths = 0  # of workers so far
        self._failed: Counter[str] = Counter()
        self._told_full = False

    @property
    def given_up(self) -> frozenset[str]:
        """Ids of the stacks and tasks that have no try left."""
        return frozenset(id for id, failed in self._failed.items() if failed >= TRIES)

    def failed(self, unit: Stack | MeasureTask, what: dict[str, str]) -> bool:
        """Count a failed try; return whether there is another.

        The last one leaves a record of kind ``failures``.

        Args:
            what: the ``error`` in one line, and the ``traceback``.
        """
        self._failed[unit.id] += 1
        error = what["error"]
        self.deaths += error in (DIED, FULL)
        if error == FULL and not self._told_full:
            self._told_full = True
            self.session.say(f"{FULL[0].upper()}{FULL[1:]}. What it did is tried again.")
        if self._failed[unit.id] < TRIES:
            again = f"try {self._failed[unit.id]} of {TRIES}"
            self.session.log(f"{unit.kind} at {unit.at} is tried again ({again} failed): {error}")
            return True
        self.store.write_record("failures", unit.id, unit.failure_rows(what))
        self.session.tell(Done(unit.kind, unit.size, unit.at, None, error))
        return False
