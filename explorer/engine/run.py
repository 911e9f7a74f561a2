"""A complete run: plan, train, measure, write tables."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer.engine import callbacks
from explorer.engine.cancel import Cancellation, OutOfTime
from explorer.engine.choose import choose, require_resources
from explorer.engine.cluster import RunOptions, connect, ray_environment
from explorer.engine.context import Context, load_data
from explorer.engine.failures import Attempts
from explorer.engine.local_ray import watched
from explorer.engine.rounds import choose_round
from explorer.engine.session import Observer, Session, SilentObserver
from explorer.plan import kept_sources, plan, provenance, refinement
from explorer.plan.compare import has_grown, require_same_data
from explorer.plan.networks import check_layers, check_measures, check_networks
from explorer.plan.progress import progress
from explorer.runs.files import GoneError, join
from explorer.runs.lock import RENEW_EVERY_S, RunLock
from explorer.runs.store import Store, locate
from explorer.settings import InputError, listed
from explorer.space import recorded
from explorer.space.model import CheckedSpace
from explorer.space.reading import IMPORTED, parse, set_value
from explorer.space.trust import require_trust
from explorer.users.sources import Version

if TYPE_CHECKING:
    from explorer.results import RunTables

MOVED_S = 0.5  # interval between two looks at whether a local run folder is where it was
NOTICED_S = 15.0  # time for a cluster to notice a lost node and to give it no more work


def run(
    space: CheckedSpace,
    *,
    name: str | None = None,
    storage: str | Path = "runs",
    accept_source_change: bool = False,
    observer: Observer | None = None,
    where: RunOptions = RunOptions(),  # noqa: B008 (frozen)
) -> RunTables:
    """Train and measure everything in the space that has no record yet, and write the tables.

    If a run with this name exists, it is continued, provided that its space is the same or part of this one.
    A start that fails before its first result leaves no folder.

    Args:
        name: name of the run, which is a folder below ``storage``; by default the name of the space.
        accept_source_change: continue a run although the user's source files have changed since.
        where: the Ray to use, and the time limit.

    Raises:
        InputError: the existing run has a different space or other sources, another process works on it, or
            the requested resources do not exist.
    """
    observer = observer or SilentObserver()
    if space.imported is not None:
        raise InputError(IMPORTED)
    check_code(space)
    store = Store(join(storage, name or space.name), warn=observer.say)
    with RunLock(store.files, store.has_work) as lock:
        if store.exists():
            space, larger = continue_run(store, space, accept_source_change)
            how = " with a changed or larger space" if larger else ""
            observer.say(f"Continuing run {store.location}{how}.")
        return complete(lock, store, space, name or space.name, observer, where)


def check_code(space: CheckedSpace) -> None:
    """Try the networks, their layers and the user's measures. Raise InputError if one cannot be used."""
    check_networks(space)
    check_layers(space)
    check_measures(space)


def continue_run(store: Store, space: CheckedSpace, accept_source_change: bool) -> tuple[CheckedSpace, bool]:
    """Return the space with the ids of an existing run, and whether it is larger; the run then has it.

    Raises:
        InputError: the run has a different space or other sources.
    """
    info = recorded.read_info(store)
    space, larger, versions = _compared(store, info, space, accept_source_change)
    kept_sources.keep(space, store, info, versions)
    if larger:
        rounds = recorded.rounds_of(info)
        if space.refine:
            rounds = refinement.reopened(rounds)
        now = {**recorded.split(space), "sources": provenance.sources(space)}
        store.update_info(**now, **({"rounds": rounds} if rounds else {}))
    return space, larger


def _compared(
    store: Store, info: dict[str, Any], space: CheckedSpace, accept_source_change: bool
) -> tuple[CheckedSpace, bool, list[Version]]:
    """Return the space with the ids of a run, whether it is larger, and the versions of its sources."""
    versions = kept_sources.versions_to_use(info, store, accept=accept_source_change)
    if space.sources:  # its models have the ids that they had when the run began
        space = parse(space.given_settings, fingerprint=recorded.fingerprint_of(info))
    return space, has_grown(info, space, store), versions


def preview(
    space: CheckedSpace,
    name: str,
    storage: str | Path,
    where: RunOptions,
    *,
    accept_source_change: bool = False,
) -> list[str]:
    """Return what :func:`run` would do, in sentences, after the same checks. Change and start nothing.

    Raises:
        InputError: as for :func:`run`.
    """
    check_code(space)
    callbacks.check(where.callbacks)
    store = Store(join(storage, name), mend=False)
    if not store.exists():
        return [f"There is no run {store.location} yet: nothing is trained."]
    space, larger, _ = _compared(store, recorded.read_info(store), space, accept_source_change)
    now = progress(space, store)
    said = [
        f"Run {store.location} exists" + " with a smaller space" * larger + f": {now.models} are trained."
    ]
    if now.holder:
        said.append(f"{now.holder} works on it now, so that `run` would be rejected.")
    if now.measured:
        said.append(f"Measured: {now.measured}.")
    return [*said, *["Nothing is left to do."] * now.complete]


def resume(
    name_or_folder: str | Path,
    *,
    storage: str | Path = "runs",
    accept_source_change: bool = False,
    trust: bool = False,
    observer: Observer | None = None,
    where: RunOptions = RunOptions(),  # noqa: B008 (frozen)
) -> RunTables:
    """Resume a run: do all work without a record. Needs the run folder, and the user's source files if any.

    Args:
        trust: run the user's code that the run names, also if the run folder is not the current user's.

    Raises:
        InputError: there is no such run, or the user's data or sources have changed, which
            ``accept_source_change`` allows for sources.
    """
    observer = observer or SilentObserver()
    store, info, space, versions = _open(name_or_folder, storage, observer, accept_source_change, trust)
    with RunLock(store.files) as lock:
        kept_sources.keep(space, store, info, versions)
        return complete(lock, store, space, info["name"], observer, where)


def measure(
    name_or_folder: str | Path,
    *,
    add: Sequence[str] = (),
    again: Sequence[str] = (),
    overrides: Sequence[str] = (),
    storage: str | Path = "runs",
    accept_source_change: bool = False,
    trust: bool = False,
    observer: Observer | None = None,
    where: RunOptions = RunOptions(),  # noqa: B008 (frozen)
) -> RunTables:
    """Add or repeat measures of a run without training.

    Args:
        add: measures that the run does not have yet; existing results are kept.
        again: measures to repeat; their records are deleted first.
        overrides: changed budgets, such as ``measures.connectivity.steps=3000``; these measures are repeated.
        accept_source_change: continue the run although the user's source files have changed since.
        trust: run the user's code that the run names, also if the run folder is not the current user's.

    Raises:
        InputError: a measure or a layer is unknown, or an override does not concern a measure.
    """
    for override in overrides:
        if not override.startswith("measures."):
            raise InputError(f"--set {override}: only measures.… can be changed for trained models")
    observer = observer or SilentObserver()
    store, info, before, versions = _open(name_or_folder, storage, observer, accept_source_change, trust)
    raw, given = info["space"], info["given_settings"]
    for name in add:
        raw["measures"].setdefault(name, {})
        given.setdefault("measures", {}).setdefault(name, {})
    space = recorded.working_space_of(info, overrides)
    for override in overrides:
        set_value(given, override)
    for name in again:
        if name not in space.measures:
            raise InputError(f"--again {name}: the run does not have it; it has {listed(space.measures)}")
    check_layers(space)
    check_measures(space)
    changed = {name for name, options in before.measures.items() if space.measures[name] != options}
    with RunLock(store.files) as lock:
        kept_sources.keep(space, store, info, versions)
        # Write the new budget first: after a crash here, missing measures use it.
        store.update_info(**recorded.split(space, given))
        for name in sorted(changed | set(again)):
            plan.drop_measure(store, name)
        return complete(lock, store, space, info["name"], observer, where, train=False)


def _open(
    name_or_folder: str | Path,
    storage: str | Path,
    observer: Observer,
    accept_source_change: bool,
    trust: bool,
) -> tuple[Store, dict[str, Any], CheckedSpace, list[Version]]:
    """Return the store, ``run.yaml``, the space and the versions of the sources of an existing run.

    Raises:
        InputError: there is no such run, the user's data or sources have changed since its start, or the
            code that it names must not be run (:func:`explorer.space.trust.require_trust`).
    """
    store = locate(name_or_folder, storage, mend=True)
    store.warn = observer.say
    info = recorded.read_info(store)
    require_trust(info, store, trust=trust)
    versions = kept_sources.versions_to_use(info, store, accept=accept_source_change)
    space = recorded.working_space_of(info)
    require_same_data(info, space, store)
    return store, info, space, versions


def complete(
    lock: RunLock,
    store: Store,
    space: CheckedSpace,
    name: str,
    observer: Observer,
    where: RunOptions,
    train: bool = True,
) -> RunTables:
    """Do all work without a record and write the tables. Record the session even if interrupted."""
    session, cancel = Session(store, observer, where.profile), Cancellation()
    try:
        with ExitStack() as stack:
            own = stack.enter_context(ray_environment(where))
            callbacks.check(where.callbacks)
            if train:
                store.drop_lost_weights()
            plan.drop_incomplete_records(space, store, train=train)
            if outdated := plan.drop_outdated(space, store):
                session.say(f"This version measures {', '.join(outdated)} differently; they are taken again.")
            if refinement.missing(space, store, train=train) or (train and _is_open(space, store)):
                arrays = load_data(space)
                for data in arrays.values():
                    session.say(f"Data: {data.describe()}.")
                stack.enter_context(cancel.after(where.max_hours))
                every_s = MOVED_S if store.files.local else RENEW_EVERY_S
                stack.enter_context(watched(cancel, every_s, lock.find_loss, error=GoneError))
                with session.stage("start_up"):
                    cluster = stack.enter_context(connect(where, own, space.resources, cancel))
                context = Context(space, store, arrays, cluster, session, Attempts(store, session), cancel)
                cancel.run(lambda: _work(context, name, where, train), cluster.patience_s)
                with session.stage("shut_down"):
                    stack.close()
            else:
                session.say("Everything is already done; nothing was started.")
            if store.models_lost and not train:
                session.record["untrained"] = "files of models are damaged and set aside"
    except OutOfTime:
        session.record["stopped"] = f"after {where.max_hours:g} hours, as requested"
    except KeyboardInterrupt:
        store.files.patience_s = 0.0
        raise
    finally:
        if not (loss := lock.find_loss()):
            store.files.drop_unfinished()  # of processes that were killed while writing
            session.write()
    if loss:
        raise GoneError(loss)
    start(store, space, name)  # if it was lost, or the time was over before it was written
    return _tables(store, space, session)


def start(store: Store, space: CheckedSpace, name: str) -> None:
    """Write ``run.yaml`` and the user's sources if the folder has no run yet."""
    if not store.exists():
        info = {**provenance.describe(space, name), "measure_versions": plan.measure_versions(space)}
        store.write_info({**info, "kept_sources": kept_sources.copy_missing(space, store, [])})


def _work(context: Context, name: str, where: RunOptions, train: bool) -> None:
    """Train all stacks without a record, then measure, until no unfinished work has a try left."""
    from explorer.engine.pool import Pool
    from explorer.engine.sweep import sweep

    space, store, cluster, attempts = context.space, context.store, context.cluster, context.attempts
    require_resources(space, cluster, context.session)
    context.session.record["resources"] = {
        kind: number for kind, number in cluster.resources.items() if kind in ("CPU", "GPU")
    }
    start(store, space, name)
    choice = choose(context)
    followers = callbacks.create(where.callbacks, store, name) if train else []
    lost, deaths = cluster.nodes_lost(), 0
    while True:
        context.cancel.check()
        todo = refinement.missing(space, store, choice.sizes, train=train, given_up=attempts.given_up)
        if todo.stacks:
            kind, count = todo.stacks[0].kind, sum(stack.size for stack in todo.stacks)
            with context.session.stage(kind, count):
                sweep(context, choice, todo.stacks, followers)
        elif todo.tasks:
            with context.session.stage("measuring", sum(task.size for task in todo.tasks)):
                Pool(context, choice).measure(todo.tasks)
        elif train and _is_open(space, store):
            choose_round(space, store, context.session)
        else:
            return
        if attempts.deaths > deaths and not cluster.own:
            context.cancel.sleep(NOTICED_S)
        if (gone := cluster.nodes_lost() - lost) > 0:
            nodes = "a node" if gone == 1 else f"{gone} nodes"
            context.session.say(f"The cluster has lost {nodes}; the work in progress there is tried again.")
        lost, deaths = lost + max(0, gone), attempts.deaths


def _is_open(space: CheckedSpace, store: Store) -> bool:
    return refinement.is_open(space, refinement.rounds_of(store))


def _tables(store: Store, space: CheckedSpace, session: Session) -> RunTables:
    """Join the records and write the tables."""
    from explorer import results  # imports pandas, which takes as long as all other imports together

    with session.stage("tables"):
        plan.drop_settled(space, store)
        done = results.read(store)
        for table in results.TABLES:
            store.write_table(table, getattr(done, table))
        names = {
            row["operation"] for part in store.by_key("unrepeatable").values() for row in part.to_pylist()
        }
        if names:
            store.update_info(unrepeatable=sorted(names))
            done.info["unrepeatable"] = sorted(names)
        if space.refine and len(done.grid):
            store.write_table("map", done.map)
        if "verification" in done.info and not refinement.missing(space, store):
            store.write_verification({})  # what was set aside is there again
            del done.info["verification"]
    session.write()
    done.info["sessions"] = store.read_info()["sessions"]
    return done
