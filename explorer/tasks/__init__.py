"""Tasks that models learn. The data set of a space, or the space itself, names one of these tasks."""

from __future__ import annotations

from explorer.settings import InputError, suggest
from explorer.tasks.base import Task, Words
from explorer.tasks.classification import Classification
from explorer.tasks.regression import Regression
from explorer.tasks.sequences import Language, Translation

__all__ = ["TASKS", "Task", "Words", "task"]

TASKS: dict[str, Task] = {t.name: t for t in (Classification(), Regression(), Translation(), Language())}


def task(name: str) -> Task:
    """Return the task of this name.

    Raises:
        InputError: no task has this name; the message lists the known names.
    """
    if name not in TASKS:
        raise InputError(f"there is no task {name!r}; known: {suggest(name, list(TASKS))}")
    return TASKS[name]
