"""Linear connectivity after the hidden units of one model are permuted to match the other's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from explorer.columns import PAIRS
from explorer.measures.base import Cell, Kind, Measured, Pair, pair_name
from explorer.measures.points import point_rows
from explorer.options import Options as Settings

KIND: Kind = "pair"
EXTRA: tuple[str, ...] = ("curves_aligned",)
COLUMNS = {
    name: PAIRS[name]
    for name in ("aligned_linear_barrier", "aligned_linear_loss_barrier", "aligned_l2_distance")
}


class Options(Settings):
    """How the units are matched."""

    method: Literal["weights", "activations"] = Field(
        "weights", description="what is compared (Ainsworth et al., 2023)"
    )
    inputs: int = Field(
        1000, ge=2, description="training inputs (whole sentences) whose activations are compared"
    )
    points: int = Field(
        11, ge=3, le=1001, description="points of t at which the line is evaluated, ends included"
    )


def measure(cell: Cell, subjects: list[Pair], options: Options) -> Measured:
    """Align and evaluate the pairs in ``subjects``."""
    from explorer.landscape import connectivity
    from explorer.landscape.alignment import align
    from explorer.landscape.parameters import l2_distance
    from explorer.landscape.paths import straight

    first, second = cell.ends(subjects)
    a, buffers = cell.theta[first], cell.buffers[first]
    b, _ = align(
        cell.network,
        a,
        cell.theta[second],
        buffers,
        cell.buffers[second],
        cell.data.x_train[: options.inputs].to(cell.theta.device),
        seeds=cell.seeds("alignment", [pair_name(pair) for pair in subjects]),
        method=options.method,
    )
    line = connectivity.profile_path(cell.network, straight(a, b), buffers, cell.data, points=options.points)
    columns = (
        connectivity.barrier(line.train_error_percent),
        connectivity.barrier(line.train_loss),
        l2_distance(a, b),
    )
    measured = cell.by_pair(subjects, list(COLUMNS), [c.tolist() for c in columns])
    return Measured(measured.rows, {"curves_aligned": point_rows(subjects, "aligned", line)})
