"""A space worked through in this process, without Ray."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from explorer.data.dataset import Arrays
from explorer.engine import plan
from explorer.engine.stacks import NONE, Sizes
from explorer.engine.worker import Worker
from explorer.runs.store import Store
from explorer.space.model import Space


def work(space: Space, clean: Arrays, folder: Path, sizes: Sizes = NONE) -> Store:
    """Train and measure what is missing, in this process."""
    worker = Worker(str(folder), lambda _: clean, {}, threads=1, gpus=0)
    for stack in plan.missing_stacks(space, worker.store, sizes):
        worker.train(stack)
    for task in plan.missing_tasks(space, worker.store):
        worker.measure(task)
    return worker.store


def table(store: Store, kind: str) -> pd.DataFrame:
    """All records of a kind."""
    return store.read_records(kind).to_pandas()
