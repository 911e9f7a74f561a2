"""A run from start to end: plan, train, measure, tables."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import explorer.measures
from explorer import results
from explorer.engine import plan, provenance
from explorer.engine.cluster import Cluster, connect
from explorer.engine.share import Loading, calibrated, worker_maker
from explorer.engine.worker import Stack
from explorer.results import Run
from explorer.settings import InputError, plugin
from explorer.space import Space
from explorer.spacefile import parse, set_value
from explorer.store import Store, locate


class Observer(Protocol):
    """Hears how a run goes on."""

    def say(self, message: str) -> None: ...
    def stage(self, name: str, total: int) -> None: ...
    def advance(self, done: int, failed: int) -> None: ...


class Silent:
    """An observer that does nothing."""

    def say(self, message: str) -> None: ...
    def stage(self, name: str, total: int) -> None: ...
    def advance(self, done: int, failed: int) -> None: ...


def run(
    space: Space,
    *,
    name: str | None = None,
    storage: str = "runs",
    address: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    observer: Observer | None = None,
) -> Run:
    """Train and measure all of the space that has no record yet, and write the tables.

    Args:
        name: of the run, a folder below ``storage``; the space's own if left out.
        address: of a Ray cluster; one of our own on this machine if left out.
        workers: at most so many at a time on this machine; as many as fit if left out.
        gpus: number of GPUs (logical ones too) on this machine; those that Ray finds if left out.

    Raises:
        InputError: the run exists and its space differs, or a resource is asked for that nothing has.
    """
    observer = observer or Silent()
    name = name or space.name
    store = Store(f"{storage}/{name}")
    if store.exists():
        info = store.read_info()
        _same_space(info, space, store)
        observer.say(f"Going on with run {store.location}.")
    else:
        store.write_info(provenance.describe(space, name))
    return complete(store, space, address=address, workers=workers, gpus=gpus, observer=observer)


def resume(
    name_or_folder: str, *, storage: str = "runs", observer: Observer | None = None, **cluster: Any
) -> Run:
    """Go on with a run: everything that has no record is done. Needs the run folder only."""
    store = locate(name_or_folder, storage)
    info = store.read_info()
    space = parse(info["space"])
    _same_sources(info, space, store)
    return complete(store, space, observer=observer or Silent(), **cluster)


def measure(
    name_or_folder: str,
    *,
    add: Sequence[str] = (),
    again: Sequence[str] = (),
    overrides: Sequence[str] = (),
    storage: str = "runs",
    observer: Observer | None = None,
    **cluster: Any,
) -> Run:
    """Measure a run more, or again, without training.

    Args:
        add: measures the run does not have yet; only what is missing is computed.
        again: measures whose records are thrown away first.
        overrides: other budgets, such as ``measures.connectivity.steps=3000``; what changes is taken again.

    Raises:
        InputError: a measure is not known, or something else than a measure is overridden.
    """
    store = locate(name_or_folder, storage)
    info = store.read_info()
    raw = info["space"]
    for override in overrides:
        if not override.startswith("measures."):
            raise InputError(f"--set {override}: only measures.… can be changed for models that are trained")
    before = parse(raw).measures
    raw["measures"] = {**raw["measures"], **{name: raw["measures"].get(name, {}) for name in add}}
    for override in overrides:
        set_value(raw, override)
    space = parse(raw)
    unknown = [name for name in again if name not in space.measures]
    if unknown:
        raise InputError(
            f"--again {unknown[0]}: the run does not have it; it has {', '.join(space.measures)}"
        )
    changed = {name for name, options in before.items() if space.measures.get(name) != options} | set(again)
    # The new budget is written first: after a crash in between, the records it asks for are made.
    _same_sources(info, space, store)
    store.write_info({**{k: v for k, v in info.items() if k != "sessions"}, "space": space.frozen()})
    for name in sorted(changed):
        for kind in (name, *plugin(explorer.measures, name, "measure").EXTRA):
            store.drop_records(kind)
    return complete(store, space, observer=observer or Silent(), train=False, **cluster)


def complete(
    store: Store,
    space: Space,
    *,
    address: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    observer: Observer,
    train: bool = True,
) -> Run:
    """Do what has no record; ``train=False`` measures only. Leaves a session, even when it is interrupted."""
    started = time.perf_counter()
    session: dict[str, Any] = {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
        "stages": {},
        "trained": 0,
        "measured": 0,
        "failed": 0,
    }
    try:
        _complete(store, space, _Session(session, observer, started), train, (address, workers, gpus))
    finally:
        session["wall_s"] = round(time.perf_counter() - started, 3)
        store.write_session(session["started"], session)
    return results.read(store)


@dataclass
class _Session:
    """What is told of a session: to the observer now, in the run folder for later."""

    record: dict[str, Any]
    observer: Observer
    started: float

    def stage(self, name: str, total: int) -> None:
        self.observer.stage(name, total)

    def ended(self, stage: str, mark: float) -> None:
        self.record["stages"][f"{stage}_s"] = round(time.perf_counter() - mark, 3)

    def tell(self, count: str) -> Callable[[int, int], None]:
        def told(done: int, failed: int) -> None:
            self.record[count] += done - failed
            self.record["failed"] += failed
            self.observer.advance(done, failed)

        return told


def _complete(
    store: Store,
    space: Space,
    session: _Session,
    train: bool,
    where: tuple[str | None, int | None, int | None],
) -> None:
    stacks = plan.missing_stacks(space, store) if train else []
    if not stacks and not plan.missing_tasks(space, store):
        session.observer.say("Everything is done already; nothing was started.")
    else:
        session.stage("starting", 0)
        clean = Loading(space)
        address, workers, gpus = where
        with connect(address, workers, space.resources.cpus_per_trial, gpus) as cluster:
            _work(store, space, stacks, clean, cluster, session)
    mark = time.perf_counter()
    run = results.read(store)
    for name in results.TABLES:
        store.write_table(name, getattr(run, name))
    session.ended("tables", mark)


def _work(
    store: Store, space: Space, stacks: list[Stack], clean: Loading, cluster: Cluster, session: _Session
) -> None:
    from explorer.engine.pool import measure as measure_all
    from explorer.engine.sweep import sweep

    resources = space.resources
    cluster.workers(resources.cpus_per_trial, resources.gpus_per_trial)
    session.record["resources"] = {k: v for k, v in cluster.resources.items() if k in ("CPU", "GPU")}
    info = {k: v for k, v in store.read_info().items() if k != "sessions"}
    if "execution" not in info:
        info["execution"] = calibrated(space, worker_maker(store, clean.shared(), {}, resources), resources)
        store.write_info(info)
    make_worker = worker_maker(store, clean.shared(), info["execution"], resources)
    session.ended("start_up", session.started)
    if stacks:
        mark = time.perf_counter()
        session.stage("training", sum(len(s.seeds) for s in stacks))
        sweep(cluster, stacks, make_worker, resources, store, session.tell("trained"))
        session.ended("training", mark)
    tasks = plan.missing_tasks(space, store)
    if tasks:
        mark = time.perf_counter()
        session.stage("measuring", sum(len(t.subjects) for t in tasks))
        measure_all(cluster, tasks, make_worker, resources, store, session.tell("measured"))
        session.ended("measuring", mark)


def _same_space(info: dict[str, Any], space: Space, store: Store) -> None:
    """Raises InputError with the differences when a run's space is another one than this."""
    differences = _differences(parse(info["space"]).frozen(), space.frozen())
    if differences:
        raise InputError(
            f"{store.location} exists with another space:\n  "
            + "\n  ".join(differences)
            + f"\nGive this one its own --name, or resume the old one: run_explore.py resume {info['name']}"
        )
    _same_sources(info, space, store)


def _same_sources(info: dict[str, Any], space: Space, store: Store) -> None:
    """Raises InputError when the data file or the user's model is not what the run began with."""
    if info.get("identity") != provenance.identity(space):
        raise InputError(
            f"{store.location} began with another data file or another source of the model; what is trained "
            "already and what would be trained now could not be compared. Start a run of another --name."
        )


NOT_COMPARED = {"name", "description", "phases"}


def _differences(old: Any, new: Any, path: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [k for k in {**old, **new} if path or k not in NOT_COMPARED]
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{path}.{k}" if path else k)]
    return [] if old == new else [f"{path}: {old!r} in the run, {new!r} now"]
