"""A run from start to end: plan, train, measure, tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import explorer.measures
from explorer.engine import callbacks, plan, provenance
from explorer.engine.cluster import Begun, Cluster, begun_for, connect
from explorer.engine.growth import grown, same_sources
from explorer.engine.layers import check_layers
from explorer.engine.prepare import Chosen, chosen, prepared
from explorer.engine.session import Meanwhile, Observer, OutOfTime, Session, Silent, deadline
from explorer.engine.share import Loading
from explorer.engine.suited import check_networks
from explorer.engine.work import Task
from explorer.files import join
from explorer.hold import Hold
from explorer.settings import InputError, plugin
from explorer.space import Space
from explorer.spacefile import parse
from explorer.store import Store, locate

if TYPE_CHECKING:
    from explorer.results import Run

ROUNDS = 3  # of training and measuring: see _once_more


@dataclass(frozen=True)
class Where:
    """Where and for how long a run works.

    Args:
        address: of a Ray cluster, or ``auto``; a Ray of our own on this machine if left out.
        workers: at most so many at a time on this machine; as many as fit if left out.
        gpus: number of GPUs (logical ones too) of this machine; those that Ray finds if left out.
        max_hours: stops cleanly after so many hours.
        profile: keep a trace of what each worker did when, in the run folder (``profile/trace.json``).
        callbacks: tools that follow the trials: ``tensorboard``, ``mlflow``, ``wandb`` or ``module:Class``.
        meanwhile: called once, in a thread, when the last trials are under way and a processor has become
            free: for what comes after the run, as far as no result decides it.
        begun: what a Ray of our own needs first, if the caller has begun it before his input was checked.
    """

    address: str | None = None
    workers: int | None = None
    gpus: int | None = None
    max_hours: float | None = None
    profile: bool = False
    callbacks: Sequence[str] = ()
    meanwhile: Callable[[], None] | None = None
    begun: Begun | None = None


def run(
    space: Space,
    *,
    name: str | None = None,
    storage: str = "runs",
    observer: Observer | None = None,
    **where: Any,
) -> Run:
    """Train and measure all of the space that has no record yet, and write the tables.

    A run of this name that exists is gone on with, if its space is the same or was a part of this one.

    Args:
        name: of the run, a folder below ``storage``; the space's own if left out.
        where: see :class:`Where`.

    Raises:
        InputError: the run's space is another one, somebody works on it, or a resource is asked for
            that nothing has.
    """
    observer = observer or Silent()
    check_networks(space)
    check_layers(space)
    store = Store(join(storage, name or space.name), warn=observer.say)
    with Hold(store.files):
        if store.exists():
            info = store.read_info()
            if grown(info, space, store):
                observer.say(f"Going on with run {store.location}, whose space has changed or grown.")
                store.write_info({**info, "space": space.frozen(), "sources": provenance.sources(space)})
            else:
                observer.say(f"Going on with run {store.location}.")
        return _complete(store, space, name or space.name, observer, Where(**where))


def resume(
    name_or_folder: str, *, storage: str = "runs", observer: Observer | None = None, **where: Any
) -> Run:
    """Go on with a run: everything that has no record is done. Needs the run folder only."""
    observer = observer or Silent()
    store = locate(name_or_folder, storage)
    store.warn = observer.say
    info = store.read_info()
    space = parse(info["space"])
    same_sources(info, space, store)
    with Hold(store.files):
        return _complete(store, space, info["name"], observer, Where(**where))


def measure(
    name_or_folder: str,
    *,
    add: Sequence[str] = (),
    again: Sequence[str] = (),
    overrides: Sequence[str] = (),
    storage: str = "runs",
    observer: Observer | None = None,
    **where: Any,
) -> Run:
    """Measure a run more, or again, without training.

    Args:
        add: measures the run does not have yet; only what is missing is computed.
        again: measures whose records are thrown away first.
        overrides: other budgets, such as ``measures.connectivity.steps=3000``; what changes is taken again.

    Raises:
        InputError: a measure or a layer is not known, or something else than a measure is overridden.
    """
    observer = observer or Silent()
    store = locate(name_or_folder, storage)
    store.warn = observer.say
    info = store.read_info()
    raw = info["space"]
    for override in overrides:
        if not override.startswith("measures."):
            raise InputError(f"--set {override}: only measures.… can be changed for models that are trained")
    before = parse(raw)
    same_sources(info, before, store)
    raw["measures"] = {**raw["measures"], **{name: raw["measures"].get(name, {}) for name in add}}
    space = parse(raw, overrides)
    for name in again:
        if name not in space.measures:
            raise InputError(f"--again {name}: the run does not have it; it has {', '.join(space.measures)}")
    check_layers(space)
    changed = {name for name, options in before.measures.items() if space.measures[name] != options}
    with Hold(store.files):
        # The new budget is written first: after a crash in between, what is missing is made with it.
        store.write_info({**info, "space": space.frozen()})
        for name in sorted(changed | set(again)):
            for kind in (name, *plugin(explorer.measures, name, "measure").EXTRA):
                store.drop_records(kind)
        return _complete(store, space, info["name"], observer, Where(**where), train=False)


def _complete(
    store: Store, space: Space, name: str, observer: Observer, where: Where, train: bool = True
) -> Run:
    """Do what has no record. Leaves a session, even when it is interrupted."""
    callbacks.check(where.callbacks)
    session = Session(store, observer, where.profile, Meanwhile(where.meanwhile))
    try:
        with deadline(where.max_hours) as limit, begun_for(where, space.resources) as first:
            plan.drop_halves(space, store, train=train)
            left = _left(store, space, train)
            if left is None or left:
                with ExitStack() as stack:
                    with session.stage("start_up"):
                        clean = Loading(space)
                        cluster = stack.enter_context(connect(where, space.resources, first))
                        # Ray must not be ended while another thread may free objects of it.
                        stack.callback(session.meanwhile.join)
                        refs = prepared(store, space, name, clean, cluster, session)
                    with limit.holds(), cluster.guarded(store.location):
                        how = chosen(store, space, refs, clean, cluster, session)
                        followers = callbacks.made(where.callbacks, store, name) if train else []
                        _work(store, space, cluster, how, session, train, left, followers)
                    with session.stage("shut_down"):
                        stack.close()
            else:
                session.say("Everything is done already; nothing was started.")
                if not store.exists():  # it was lost
                    store.write_info(provenance.describe(space, name))
    except OutOfTime:
        session.record["stopped"] = f"after {where.max_hours:g} hours, as asked for"
    except KeyboardInterrupt:
        store.files.patience_s = 0.0
        raise
    finally:
        store.files.drop_unfinished()  # of workers, or of an earlier start, killed while they wrote
        session.write()
    return _tables(store, space, session)


def _tables(store: Store, space: Space, session: Session) -> Run:
    """Join the records, and write the tables."""
    from explorer import results  # and pandas, which takes as long as all else that a start imports

    with session.stage("tables"):
        plan.drop_settled(space, store)
        done = results.read(store)
        for table in results.TABLES:
            store.write_table(table, getattr(done, table))
    session.write()
    done.info["sessions"] = store.read_info()["sessions"]
    return done


def _left(store: Store, space: Space, train: bool) -> list[Task] | None:
    """What is to be measured; None if models are to be trained before."""
    return None if train and plan.untrained(space, store) else plan.missing_tasks(space, store)


def _work(
    store: Store,
    space: Space,
    cluster: Cluster,
    how: Chosen,
    session: Session,
    train: bool,
    left: list[Task] | None,
    followers: Sequence[Any],
) -> None:
    """Train and measure. ``left``: see :func:`_left`."""
    from explorer.engine.pool import Pool
    from explorer.engine.sweep import sweep

    before, told = cluster.nodes_lost(), 0
    for round_ in range(ROUNDS):
        if round_:
            session.again()
        pool = Pool(cluster, how.make_worker, how.packing, store, session.tell)
        stacks = plan.missing_stacks(space, store, how.sizes) if train and left is None else []
        if stacks:
            with session.stage("training", sum(len(s.models) for s in stacks)):
                if space.resources.overlap and space.measures:
                    session.observer.stage("measuring", plan.expected(stacks, space.measures))
                sweep(cluster, stacks, how, space, store, pool, session, followers)
        tasks = plan.missing_tasks(space, store) if left is None else left
        tasks = [task for task in tasks if task.id not in pool.given]
        waiting = pool.left + sum(len(task.subjects) for task in tasks)
        if waiting:
            with session.stage("measuring", waiting):
                pool.add(tasks)
                pool.finish()
        lost = cluster.nodes_lost() - before
        if lost > told:
            session.say(
                f"The cluster has lost {_nodes(lost - told)}; what was under way there was tried again."
            )
            told = lost
        if not train or not _once_more(store, lost > 0):
            return
        left = None


def _nodes(number: int) -> str:
    return "a node" if number == 1 else f"{number} nodes"


def _once_more(store: Store, nodes_lost: bool) -> bool:
    """Whether what failed deserves another round.

    So it does if a worker found damaged weights, which are trained again, or if nodes were lost: all attempts
    at a trial can be cut off by those, or fall into the moment before the cluster has noticed.
    """
    from explorer.engine.failures import DIED

    failures = store.read_records("failures", ["error"]).to_pydict().get("error", [])
    return any(error and ("damaged" in error or (nodes_lost and DIED in error)) for error in failures)
