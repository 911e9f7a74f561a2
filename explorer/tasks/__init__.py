"""What models learn. A space's data set says which of these tasks it is, or the space itself does."""

from __future__ import annotations

from explorer.settings import InputError, suggest
from explorer.tasks.base import Task, Words
from explorer.tasks.classification import Classification
from explorer.tasks.regression import Regression
from explorer.tasks.sequences import Language, Translation

__all__ = ["TASKS", "Task", "Words", "task"]

TASKS: dict[str, Task] = {t.name: t for t in (Classification(), Regression(), Translation(), Language())}


def task(name: str) -> Task:
    """The task of this name.

    Raises:
        InputError: there is none; the message lists those there are.
    """
    if name not in TASKS:
        raise InputError(f"there is no task {name!r}; known: {suggest(name, list(TASKS))}")
    return TASKS[name]
