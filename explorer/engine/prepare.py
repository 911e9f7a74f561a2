"""What is settled before the work begins, and kept in ``run.yaml``.

Stacks, execution, shares of a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from explorer.engine import provenance
from explorer.engine.cluster import Cluster
from explorer.engine.packing import Packing, fixed, packed, require_card
from explorer.engine.session import Session
from explorer.engine.share import Loading, calibrated, with_choice, worker_maker
from explorer.engine.stacks import Sizes, parts, sizes
from explorer.engine.work import MakeWorker
from explorer.space import Space
from explorer.store import Store


def prepared(
    store: Store, space: Space, name: str, clean: Loading, cluster: Cluster, session: Session
) -> dict[str, Any]:
    """References to the clean data. Writes ``run.yaml``, once it is clear that the cluster can do it."""
    gpus = space.resources.gpus_per_trial
    cluster.workers(space.resources.cpus_per_trial, 0 if gpus == "auto" else gpus)
    if gpus == "auto":
        require_card(cluster)
    session.record["resources"] = {k: v for k, v in cluster.resources.items() if k in ("CPU", "GPU")}
    refs = clean.shared()
    if not store.exists():
        store.write_info(provenance.describe(space, name))
    return refs


@dataclass(frozen=True)
class Chosen:
    """How a run works: what workers take, which models they train side by side, and what makes a worker."""

    packing: Packing
    sizes: Sizes
    make_worker: MakeWorker


def chosen(
    store: Store, space: Space, refs: dict[str, Any], clean: Loading, cluster: Cluster, session: Session
) -> Chosen:
    """How the run works. What has been chosen once is read from ``run.yaml``, and the rest is kept there."""
    packing, info = fixed(space), store.read_info()
    stacks: Sizes = info.get("stacks", {})
    if not packing.gpus:
        stacks = sizes(space, clean.shape, stacks)
    execution = info.get("execution", {})
    unknown = with_choice(space, execution)
    if unknown:
        with session.stage("calibration"):
            rows = max(sum(len(part.seeds) for part in stack) for stack in parts(space, stacks))
            make = worker_maker(store, refs, {}, packing)
            found = calibrated(unknown, rows, packing, make, session.log)
        execution = {**execution, **found}
    info |= {"stacks": dict(stacks), "execution": execution}
    make_worker = worker_maker(store, refs, execution, packing)
    if space.resources.gpus_per_trial == "auto":
        with session.stage("calibration"):
            packing, info["memory"] = packed(space, info.get("memory", {}), cluster, make_worker)
    store.write_info(info)
    return Chosen(packing, stacks, make_worker)
