"""Training and measuring in this process, without Ray."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
from torch import Tensor

from explorer import results
from explorer.data.dataset import Arrays
from explorer.engine.context import load_data
from explorer.engine.worker import Worker
from explorer.models.rows import Rows
from explorer.plan import plan, provenance
from explorer.plan.stacks import NO_SIZES, Sizes, shape_of, sizes
from explorer.runs.store import Store
from explorer.space.model import CheckedSpace
from explorer.space.reading import parse
from explorer.train import loop


def work(
    space: CheckedSpace,
    clean: Arrays,
    folder: Path,
    sizes: Sizes = NO_SIZES,
    execution: Mapping[str, str] = MappingProxyType({}),
) -> Store:
    """Train and measure what is missing, in this process."""
    worker = Worker(str(folder), lambda _: clean, dict(execution), threads=1, gpus=0)
    for stack in plan.missing_stacks(space, worker.store, sizes):
        worker.train(stack)
    for task in plan.missing_tasks(space, worker.store):
        worker.measure(task)
    return worker.store


def run(
    raw: dict[str, Any], folder: Path, execution: Mapping[str, str] = MappingProxyType({})
) -> results.RunTables:
    """The tables of a run, done at once, undisturbed and without Ray: to the bit those that it has with Ray.

    A run with Ray times how rows of a user's network run; its ``info["execution"]`` says what it has chosen.
    """
    space = parse(raw)
    (clean,) = load_data(space).values()
    store = work(space, clean, folder, sizes(space, lambda cell: shape_of(clean, cell)), execution)
    store.write_info(provenance.describe(space, space.name))
    return results.read(store)


def table(store: Store, kind: str) -> pd.DataFrame:
    """All records of a kind."""
    return store.read_records(kind).to_pandas()


def train(network: Rows, theta: Tensor, buffers: Tensor, data: loop.Split, **settings: Any) -> loop.Trained:
    """Train with the settings of a recipe and the arguments of :func:`explorer.train.loop.train` together."""
    of_recipe = {field.name for field in fields(loop.Recipe)}
    recipe = loop.Recipe(**{k: v for k, v in settings.items() if k in of_recipe})
    rest = {k: v for k, v in settings.items() if k not in of_recipe}
    return loop.train(network, theta, buffers, data, recipe, **rest)
