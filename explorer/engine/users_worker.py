"""A worker for users' code, which runs in a process of its own. Imports neither torch nor Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from explorer.data.dataset import Arrays
from explorer.plan.units import MeasureTask, Stack, data_source
from explorer.space.model import Cell
from explorer.users import user_process


class UsersWorker:
    """A stand-in for a :class:`explorer.engine.worker.Worker` in another process.

    Args:
        settings: arguments of the worker, except ``clean``.
        clean: returns the clean arrays of a data source.
        patience_s: seconds without a forward pass after which a training or a measurement is ended.
    """

    def __init__(self, settings: dict[str, Any], clean: Callable[[str], Arrays], patience_s: float):
        self.settings, self.clean, self.patience_s = settings, clean, patience_s
        self._process, self._sent = user_process.Process(), ""

    def train(
        self, stack: Stack, save_every_s: float, tell: Callable[[list[dict[str, Any]]], None] | None = None
    ) -> list[dict[str, Any]]:
        """See :meth:`explorer.engine.worker.Worker.train`."""
        function, settings = f"{__name__}:train_in_process", (stack, save_every_s, tell is not None)
        what, patience_s = "the training", self.patience_s
        return self.run(function, stack.cell, *settings, what=what, patience_s=patience_s, hear=tell)

    def measure(self, task: MeasureTask) -> None:
        """See :meth:`explorer.engine.worker.Worker.measure`."""
        function, cell = "explorer.engine.worker:Worker.measure", task.cell
        self.run(function, cell, task, what="the measurement", patience_s=self.patience_s)

    def run(
        self,
        function: str,
        cell: Cell,
        *arguments: Any,
        what: str,
        patience_s: float,
        hear: Callable[[Any], None] | None = None,
    ) -> Any:
        """Return what ``module:function`` of Explorer returns for the worker and these arguments.

        Args:
            hear: receives what the function tells meanwhile
                (:func:`explorer.users.user_process.send_to_caller`).

        Raises:
            EndedError: its process has ended, or made no progress; the message begins with ``what``.
        """
        source = data_source(cell)
        if not self._process.alive:
            self._sent = ""
        arrays = None if source == self._sent else self.clean(source)
        self._sent = source
        return self._process.call(
            f"{__name__}:run_in_process",
            *(self.settings, source, arrays, function, arguments),
            what=what,
            patience_s=patience_s,
            hear=hear,
        )


def train_in_process(worker: Any, stack: Stack, save_every_s: float, live: bool) -> list[dict[str, Any]]:
    """Train a stack with the worker of this process; with ``live``, tell each point of the history."""
    return worker.train(stack, save_every_s, user_process.send_to_caller if live else None)


_here: dict[str, Any] = {}  # the worker of this process, and the clean arrays of its last data source


def run_in_process(
    settings: dict[str, Any], source: str, arrays: Arrays | None, function: str, arguments: tuple[Any, ...]
) -> Any:
    """Call a function with the worker of this process, which the first call creates."""
    if arrays is not None:
        _here["arrays"] = arrays
    if "worker" not in _here:
        from explorer.engine.worker import Worker

        _here["worker"] = Worker(clean=lambda _: _here["arrays"], **settings)
        _here["worker"].store.begun = True
    return user_process.resolve(function)(_here["worker"], *arguments)
