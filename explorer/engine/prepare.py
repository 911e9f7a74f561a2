"""What is settled before the work begins, and kept in ``run.yaml``: data, execution, shares of a GPU."""

from __future__ import annotations

from typing import Any

from explorer.engine import provenance
from explorer.engine.cluster import Cluster
from explorer.engine.packing import Packing, fixed, packed, stack_size
from explorer.engine.session import Session
from explorer.engine.share import Loading, calibrated, with_choice, worker_maker
from explorer.engine.work import MakeWorker
from explorer.space import Space
from explorer.store import Store


def prepared(
    store: Store, space: Space, name: str, clean: Loading, cluster: Cluster, session: Session
) -> dict[str, Any]:
    """References to the clean data. Writes ``run.yaml``, once it is clear that the cluster can do it."""
    gpus = space.resources.gpus_per_trial
    cluster.workers(space.resources.cpus_per_trial, 0 if gpus == "auto" else gpus)
    session.record["resources"] = {k: v for k, v in cluster.resources.items() if k in ("CPU", "GPU")}
    refs = clean.shared()
    if not store.exists():
        store.write_info(provenance.describe(space, name))
    return refs


def chosen(
    store: Store, space: Space, refs: dict[str, Any], cluster: Cluster, session: Session
) -> tuple[Packing, MakeWorker]:
    """What workers take, and what makes one. What is chosen by measurement is kept in ``run.yaml``."""
    packing, info = fixed(space), store.read_info()
    execution = info.get("execution", {})
    unknown = with_choice(space, execution)
    if unknown:
        with session.stage("calibration"):
            found = calibrated(unknown, stack_size(space), packing, worker_maker(store, refs, {}, packing))
        info["execution"] = execution = {**execution, **found}
        store.write_info(info)
    make_worker = worker_maker(store, refs, execution, packing)
    if space.resources.gpus_per_trial == "auto":
        with session.stage("calibration"):
            packing, info["memory"] = packed(space, info.get("memory", {}), cluster, make_worker)
        store.write_info(info)
    return packing, make_worker
