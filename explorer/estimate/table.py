"""An estimate as a table for the terminal."""

from __future__ import annotations

import math
import time
from functools import partial
from typing import Any

import torch

import explorer.measures
from explorer.estimate.machines import Machines
from explorer.estimate.work import UTILISATION, Inputs, Network, measurements, trial
from explorer.plan import plan
from explorer.plan.networks import check_layers, check_networks
from explorer.plan.stacks import sizes
from explorer.plan.units import architecture_key, data_source
from explorer.settings import plugin
from explorer.space.model import Cell, CheckedSpace
from explorer.units import duration, plural, size
from explorer.users import user_process

# Seconds to start and stop, to start the workers of a stage, and of overhead per trial or measurement.
HERE_S, CLUSTER_S = (4.5, 0.5, 0.03), (15.0, 15.0, 0.1)
MODEL_BYTES, POINT_BYTES = 1500, 40  # of the tables
DRIVER, PROCESS, CUDA_PROCESS = 0.6e9, 0.35e9, 2e9  # bytes of main memory


def describe(space: CheckedSpace, cluster: str | None = None) -> Any:
    """Return a table of the space's work and cost, here or on a cluster. May raise InputError."""
    from rich.table import Table

    machines = Machines.parse(cluster)
    if machines.here:
        check_networks(space)
    started, title, whole = time.perf_counter(), f"Space {space.name}", space
    if space.refine:
        space = _spread(space, space.refine.most(len(space.domain)))
    counts = plan.count(space)
    table = Table(box=None, show_header=False, title=title, title_justify="left", title_style="bold")
    grid = " × ".join(f"{axis} {len(values)}" for axis, values in space.axes.items())
    part = f"; at most {counts['cells']:,} of them are run" if space is not whole else ""
    skipped = " after skip" if space.skip else ""
    table.add_row("grid", f"{grid} = {len(whole.cells):,} cells{skipped}{part}")
    table.add_row("models", f"{counts['models']:,} ({plural(len(space.seed_numbers), 'seed')} a cell)")
    none = "0: a pair needs two seeds, and a cell without pairs has no phase" if not counts["pairs"] else ""
    table.add_row("pairs", none or f"{counts['pairs']:,}, {counts['curves']:,} of them with a curve")
    if machines.here:
        table.add_row("data", space.cells[0].load_data().describe())
    costs: Any = _costs
    if space.sources:  # of users' code, which runs in a process of its own
        costs = partial(
            user_process.call, f"{__name__}:_costs", what="the estimate", patience_s=user_process.CHECK_S
        )
    for name, text in costs(space, machines, counts["curves"]):
        table.add_row(name, text)
    if space is not whole:
        time_of_all = dict(costs(whole, machines, plan.count(whole)["curves"]))["time"]
        table.add_row("without refine", f"{time_of_all}, for all {len(whole.cells):,} cells")
    table.add_row("", f"Estimated in {time.perf_counter() - started:.1f} s. Nothing was started.")
    return table


def _spread(space: CheckedSpace, cells: int) -> CheckedSpace:
    """Return the space with so many of its cells, evenly spread: a run chooses others of about their cost."""
    import pandas as pd

    from explorer.refine import propose_places

    domain = pd.DataFrame([cell.at for cell in space.domain])
    return space.only(space.domain[place].id for place in propose_places(pd.DataFrame(), domain, cells))


def _costs(space: CheckedSpace, machines: Machines, curves: int) -> list[tuple[str, str]]:
    """Return the rows of time, memory, disk and network traffic."""
    slots, gpu, known = machines.slots(space), machines.gpu, {}
    share = 1e9 * gpu.memory * min(1.0, float(space.resources.gpus_per_trial)) if gpu else None

    def network(cell: Cell) -> Network:
        key = (architecture_key(cell), repr(cell.data), cell.task)
        if key not in known:
            known[key] = Network(cell, Inputs.of(cell, load=machines.here))
        return known[key]

    nets = [network(cell) for cell in space.cells]
    if machines.here:
        check_layers(space)
    by_arithmetic = sizes(space, lambda cell: (network(cell).shape, network(cell).inputs.classes))
    trials = [trial(s, network(s.cell)) for s in plan.stacks(space, sizes=by_arithmetic)]
    tasks = list(measurements(space, network, share))
    slots = min(slots, len(trials)) if machines.here else slots
    sharing = -(-min(slots, len(trials)) // (machines.nodes * machines.devices))
    start_s, workers_s, piece_s = HERE_S if machines.here else CLUSTER_S
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(space.resources.cpus_per_trial)))
    stages = [[piece_s + piece.seconds(gpu, sharing) for piece in pieces] for pieces in (trials, tasks)]
    torch.set_num_threads(threads)
    spent = [max(sum(s) / slots, max(s)) + workers_s if s else 0.0 for s in stages]
    where = f"{plural(slots, 'worker')} of this machine"
    if not machines.here:
        each = f" in each of {machines.nodes} nodes" if machines.nodes > 1 else ""
        name = gpu.name if gpu else "cores like this machine's"
        where = f"{machines.devices} {name}{each}, {plural(slots, 'trial')} at a time"
    rows = [("time", f"about {duration(start_s + sum(spent))} on {where}")]
    parts = f"training {duration(spent[0])}, measuring {duration(spent[1])}"
    rows.append(("", f"(start and end {duration(start_s)}, {parts})"))
    if others := [n for n in space.measures if not hasattr(plugin(explorer.measures, n, "measure"), "cost")]:
        rows.append(("", f"not counted: {', '.join(others)}"))
    most, largest = max(((p.device_bytes(share), p) for p in [*trials, *tasks]), key=lambda need: need[0])
    if gpu and share:
        rows.append(("GPU memory", f"at most {size(most)} of a share of {size(share)}"))
        if most > share:
            at = " at ".join(f"{axis} {value}" for axis, value in largest.cell.at.items())
            enough = math.ceil(most / gpu.memory / 1e7) / 100
            remedy = (
                f"raise resources.gpus_per_trial to {enough:g}" if enough <= 1 else "the GPU is too small"
            )
            rows.append(("", f"{largest.what}, {at}, does not fit: {remedy}"))
    sources = {data_source(net.cell): net.inputs for net in nets}
    stored = sum(one.bytes(one.available + one.test) for one in sources.values())
    process = CUDA_PROCESS + 2 * stored if gpu else PROCESS + most
    weights = 4.0 * len(space.seed_numbers) * sum(net.floats for net in nets)
    points = 2 * curves * space.measures.get("connectivity", {}).get("points", 0)
    disk = weights + MODEL_BYTES * len(space.seed_numbers) * len(nets) + POINT_BYTES * points
    rows.append(("memory", f"about {size(DRIVER + stored + slots / machines.nodes * process)} a machine"))
    rows.append(("disk", f"about {size(disk)}, {size(weights)} of it weights"))
    if not machines.here:
        copied = f"{size(stored * (machines.nodes - 1))} from node to node"
        rows.append(("traffic", f"{size(stored)} of data into the object store, {copied}"))
    how = "from the time of a few real steps of each network on this machine"
    if gpu:
        how = f"FLOPs counted on the real networks, {UTILISATION:.0%} of the GPU's peak assumed"
    return [*rows, ("estimated", f"{how}, without early stopping; be prepared for a factor of two")]
