"""What the driver shares with its workers: the clean data, and how to make a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import explorer.data
from explorer.data.base import Arrays
from explorer.engine.packing import Packing
from explorer.engine.stacks import shape_of
from explorer.engine.suited import check_data
from explorer.engine.work import MakeWorker, data_source, step_key
from explorer.settings import plugin
from explorer.space import Cell, Space
from explorer.store import Store

if TYPE_CHECKING:
    from explorer.engine.worker import Worker


class Loading:
    """The clean data of a space, loaded beside the start of Ray."""

    def __init__(self, space: Space):
        self._sources = {data_source(cell): cell for cell in space.cells}
        self._arrays: dict[str, Arrays] = {}
        self._error: BaseException | None = None
        self._refs: dict[str, Any] | None = None
        self._thread = threading.Thread(target=self._load, daemon=True)
        self._thread.start()

    def _load(self) -> None:
        try:
            for source, cell in self._sources.items():
                self._arrays[source] = plugin(explorer.data, cell.data_name, "data set").load(cell.data)
        except BaseException as error:
            self._error = error

    def shared(self) -> dict[str, Any]:
        """References to the arrays in Ray's object store, by source."""
        import ray

        if self._refs is None:
            self._thread.join()
            if self._error is not None:
                raise self._error
            for source, cell in self._sources.items():
                check_data(cell, self._arrays[source])
            self._refs = {source: ray.put(arrays) for source, arrays in self._arrays.items()}
        return self._refs

    def shape(self, cell: Cell) -> tuple[tuple[int, ...], int]:
        """Shape of an input, and the number of classes, of data that :meth:`shared` has."""
        return shape_of(self._arrays[data_source(cell)], cell)


def worker_maker(
    store: Store, refs: dict[str, Any], execution: dict[str, str], packing: Packing
) -> MakeWorker:
    location = str(Path(store.location).absolute()) if store.files.local else store.location
    threads = max(1, int(packing.cpus))

    def make_worker(gpus: float) -> Worker:
        import ray

        from explorer.engine.worker import Worker  # on the worker: the driver needs no torch

        return Worker(location, lambda source: ray.get(refs[source]), execution, threads, gpus, packing.room)

    return make_worker


def with_choice(space: Space, known: dict[str, str]) -> dict[str, tuple[Cell, int]]:
    """A cell and a batch size for each kind of step, training's and curves', that can be run in several ways.

    Left out: those whose way is ``known``. By :func:`explorer.engine.work.step_key`.
    """
    from explorer.models.base import has_choice

    gpus = space.resources.gpus_per_trial != 0
    curve = space.measures.get("connectivity", {}).get("batch_size")
    steps: dict[str, tuple[Cell, int]] = {}
    for cell in space.cells:
        if has_choice(cell.model_name, cell.model, gpus=gpus):
            for batch_size in {cell.training.batch_size, curve or cell.training.batch_size}:
                steps.setdefault(step_key(cell, batch_size), (cell, batch_size))
    return {key: step for key, step in steps.items() if key not in known}


def calibrated(
    steps: dict[str, tuple[Cell, int]],
    replicates: int,
    packing: Packing,
    make_worker: MakeWorker,
    log: Callable[[str], None],
) -> dict[str, str]:
    """How rows are run best, for each of these steps; measured on a worker.

    One by one, which needs the least memory, where this failed.
    """
    import ray
    from ray.exceptions import RayError

    from explorer.engine.failures import failure

    @ray.remote(num_cpus=packing.cpus, num_gpus=packing.gpus)
    def calibrate(steps: dict[str, tuple[Cell, int]]) -> dict[str, str]:
        from explorer.engine.calibrate import fastest

        return fastest(make_worker(packing.gpus), steps, replicates)

    try:
        return ray.get(calibrate.remote(steps))
    except RayError as error:
        log(f"how rows run best could not be measured, so they run one by one: {failure(error)['error']}")
        return dict.fromkeys(steps, "loop")
