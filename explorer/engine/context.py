"""Context of a run's work: its space and data, Ray, and the factory of workers."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from explorer.data.dataset import Arrays
from explorer.engine.cancel import Cancellation
from explorer.engine.card import REPEATABLE
from explorer.engine.cluster import Cluster
from explorer.engine.failures import Attempts
from explorer.engine.session import Session
from explorer.engine.users_worker import UsersWorker
from explorer.plan.networks import check_data
from explorer.plan.stacks import NO_SIZES, Sizes, shape_of
from explorer.plan.units import data_source
from explorer.runs.store import Store
from explorer.space.model import Cell, CheckedSpace
from explorer.users import given

if TYPE_CHECKING:
    from explorer.engine.worker import Worker

# Without this, the last bits of MKL's matrix products depend on the memory alignment of a model's row, and
# therefore on the other models of the stack. MKL reads the variable at its first product.
ARITHMETIC = {"MKL_CBWR": "AUTO,STRICT"}


@dataclass(frozen=True)
class Context:
    """Context of training and measuring.

    Args:
        arrays: the clean data by source (:func:`load_data`).
    """

    space: CheckedSpace
    store: Store
    arrays: dict[str, Arrays]
    cluster: Cluster
    session: Session
    attempts: Attempts
    cancel: Cancellation

    @functools.cached_property
    def refs(self) -> dict[str, Any]:
        """References of the clean arrays in Ray's object store, by source."""
        import ray

        return {source: ray.put(arrays) for source, arrays in self.arrays.items()}

    def shape(self, cell: Cell) -> tuple[tuple[int, ...], int]:
        """Return the shape of a cell's input and its number of classes."""
        return shape_of(self.arrays[data_source(cell)], cell)


def load_data(space: CheckedSpace) -> dict[str, Arrays]:
    """Load the clean data of all cells, before corruption, by :func:`~explorer.plan.units.data_source`.

    Raises:
        InputError: the data cannot be loaded, or do not suit the task.
    """
    arrays: dict[str, Arrays] = {}
    for source, cell in {data_source(cell): cell for cell in space.cells}.items():
        arrays[source] = cell.load_data()
        check_data(cell, arrays[source])
    return arrays


class WorkerFactory:
    """Factory of workers. Called in a process that Ray has started, it creates that process's worker.

    Args:
        execution: how rows of an architecture run, by :func:`~explorer.plan.units.step_key`.
        cpus: CPUs per worker, which determine its number of torch threads.
        card_share: share of a GPU's memory that determines a worker's chunk size.
        sizes: number of models per stack, by architecture.
    """

    def __init__(
        self,
        context: Context,
        *,
        execution: dict[str, str],
        cpus: float,
        card_share: float,
        sizes: Sizes = NO_SIZES,
    ):
        self.refs, self.sizes = context.refs, sizes
        self.settings = {
            "location": context.store.files.absolute,
            "execution": execution,
            "threads": max(1, int(cpus)),
            "card_share": card_share,
            "logical": context.cluster.logical,
            "deterministic": context.space.resources.deterministic,
        }
        self.users = bool(context.space.sources)
        self.objects = given.all_given()  # of this program
        self.patience_s = 60 * context.space.resources.stuck_minutes
        # Variables that affect the last bits of results. All nodes use the driver's values.
        variables = ARITHMETIC | (REPEATABLE if context.space.resources.deterministic else {})
        self.arithmetic = {name: os.environ.get(name, value) for name, value in variables.items()}

    def __call__(self, gpus: float) -> Worker | UsersWorker:
        """Return a worker with this number of GPUs, usually a fraction."""
        import ray

        fix_arithmetic(self.arithmetic)
        settings = {**self.settings, "gpus": gpus}

        def clean(source: str) -> Arrays:
            return ray.get(self.refs[source])

        if self.users:
            given.keep(self.objects)
            return UsersWorker(settings, clean, self.patience_s)
        from explorer.engine.worker import Worker

        worker = Worker(clean=clean, **settings)
        worker.store.begun = True
        return worker


def fix_arithmetic(variables: Mapping[str, str]) -> None:
    """Set these variables in this process, because results must not depend on the process.

    Raises:
        RuntimeError: torch was imported with other values and may have read them.
    """
    other = {name for name, value in variables.items() if os.environ.get(name) != value}
    if other and "torch" in sys.modules:
        raise RuntimeError(
            f"torch was imported before {', '.join(sorted(other))} could be set in this process"
        )
    os.environ.update(variables)
