"""An estimate as a table for the terminal."""

from __future__ import annotations

import math
import time
from typing import Any

import explorer.data
from explorer.console import duration, size
from explorer.engine import plan
from explorer.engine.layers import check_layers
from explorer.engine.suited import check_networks
from explorer.estimate.cluster import Piece, Plan, plan_for
from explorer.estimate.devices import Device
from explorer.estimate.here import COUNTED, END_S, START_S, estimate
from explorer.estimate.machines import Machines
from explorer.settings import plugin
from explorer.space import Space

LOWER = {
    "training": "lower resources.replicates_per_trial or the batch size",
    "hessian": "lower measures.hessian.lanczos_steps",
    "connectivity": "lower measures.connectivity.batch_size",
}


def describe(space: Space, cluster: str | None = None) -> Any:
    """What the space does and costs: on this machine, or on a cluster such as ``8xH100``.

    Raises:
        InputError: the cluster is not understood, or a trial fits on none of its nodes.
    """
    from rich.table import Table

    machines = Machines.parse(cluster) if cluster else None
    started, counts = time.perf_counter(), plan.count(space)
    table = Table(
        box=None, show_header=False, title=f"Space {space.name}", title_justify="left", title_style="bold"
    )
    grid = " × ".join(f"{axis} {len(values)}" for axis, values in space.axes.items())
    table.add_row("grid", f"{grid} = {counts['cells']:,} cells" + (" after skip" if space.skip else ""))
    table.add_row("models", f"{counts['models']:,} ({_counted(space.seeds, 'seed')} a cell)")
    alone = "0: a pair needs two seeds, and a cell without pairs has no phase" if not counts["pairs"] else ""
    table.add_row("pairs", alone or f"{counts['pairs']:,}, {counts['curves']:,} of them with a curve")
    if told := getattr(plugin(explorer.data, space.data["name"], "data set"), "describe", None):
        table.add_row("data", told(space.cells[0].data))
    if machines is None:
        rows = _here(space)
    else:
        found = plan_for(space, machines)
        rows = [*_there(found), *_assumed(found, machines.device)]
    for name, text in rows:
        table.add_row(name, text)
    how = "Calibrated" if machines is None else "Counted"
    table.add_row("", f"{how} in {time.perf_counter() - started:.1f} s. Nothing was started.")
    return table


def _here(space: Space) -> list[tuple[str, str]]:
    check_networks(space)
    check_layers(space)
    cost = estimate(space)
    others = [name for name in space.measures if name not in COUNTED]
    return [
        ("time", f"about {duration(cost.wall_s)} on {_counted(cost.workers, 'worker')} of this machine"),
        (
            "",
            f"(start and end {duration(START_S + END_S)}, training {duration(cost.training_s)}, "
            f"measuring {duration(cost.measuring_s)})",
        ),
        *([("", f"not counted: {', '.join(others)}")] if others else []),
        ("memory", f"about {size(cost.memory_bytes)}"),
        ("disk", f"about {size(cost.disk_bytes)}"),
    ]


def _there(found: Plan) -> list[tuple[str, str]]:
    machines = found.machines
    name = machines.device.name if machines.device else "cores like this machine's"
    where = f"{machines.devices} {name}" + (
        f" in each of {machines.nodes} nodes" if machines.nodes > 1 else ""
    )
    rows = [
        ("time", f"about {duration(found.wall_s)} on {where}, {_counted(found.slots, 'trial')} at a time"),
        ("", f"(training {duration(found.training_s)}, measuring {duration(found.measuring_s)})"),
    ]
    if found.share is not None:
        most = max([*found.trials, *found.tasks], key=lambda piece: piece.memory)
        rows.append(("GPU memory", f"at most {_gib(most.memory)} of a share of {_gib(found.share)}"))
        rows += [("", line) for line in _misfits(found)]
    nodes = "a node" if machines.nodes > 1 else "the node"
    rows += [
        ("memory", f"about {size(found.node_memory)} on {nodes}"),
        ("disk", f"about {size(found.disk)}, {size(found.weights)} of it weights"),
        (
            "traffic",
            f"{size(found.data)} of data into the object store"
            + (f", {size(found.traffic)} from node to node" if machines.nodes > 1 else "")
            + f"; measuring reads {size(found.read)} of weights",
        ),
    ]
    return rows


def _misfits(found: Plan) -> list[str]:
    """What does not fit, and what to do."""
    lines = []
    for stage, pieces in (("trials", found.trials), ("measurements", found.tasks)):
        large = [piece for piece in found.too_large if piece in pieces]
        if large:
            lines.append(f"{len(large)} of {len(pieces)} {stage} do not fit: {_told(large[0], found)}")
    if lines:
        lines.append("Time is told as if they did.")
    return lines


def _told(piece: Piece, found: Plan) -> str:
    at = " at ".join(f"{axis} {value}" for axis, value in piece.cell.at.items())
    assert found.share is not None
    text = f"{piece.what}, {at}, needs {_gib(piece.memory)} of its {_gib(found.share)} share"
    whole = found.machines.device.memory if found.machines.device else math.inf
    if piece.memory > whole:
        budget = (
            "measures.hessian.lanczos_steps" if piece.what == "hessian" else "resources.replicates_per_trial"
        )
        return f"{text}, more than the whole card: lower {budget}"
    return f"{text}: raise resources.gpus_per_trial to {math.ceil(100 * piece.memory / whole) / 100:g}"


def _assumed(found: Plan, device: Device | None) -> list[tuple[str, str]]:
    rows = []
    if device is None:
        rows.append(("assumed", "operations counted, their speed measured here with real steps"))
    else:
        rows.append(
            (
                "assumed",
                f"not measured: {device.arithmetic:.0%} of the peak arithmetic and {device.transfer:.0%} of "
                f"the bandwidth are reached, {1e6 * device.launch_s:.0f} µs to launch an operation, at least "
                f"{1e6 * device.floor_s:.0f} µs to do it;",
            )
        )
        rows.append(("", "trials that share a card take turns; a factor of two either way is likely"))
    rows.append(("", "every training and curve goes to its last step, every Hessian takes all its products"))
    if found.unknown:
        rows.append(("", f"not counted: {', '.join(found.unknown)}"))
    return rows


def _gib(number: float) -> str:
    return f"{number / 2**30:.1f} GiB"


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
