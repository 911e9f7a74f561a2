"""Linear connectivity after the hidden units of one model are permuted to match the other's."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured, Pair, averaged, pair_name, point_rows
from explorer.measures.cost import Call, CellSize, forward, path
from explorer.options import Options as Settings

KIND: Kind = "pair"
EXTRA: tuple[str, ...] = ("curves_aligned",)
NO_PATH = "not_aligned"
COLUMNS = {
    NO_PATH: Column(
        "text",
        "",
        "why the two models were not aligned: they differ in buffers or frozen parameters that training does "
        "not change, or averages that a forward pass updates do not settle; empty if they were",
    ),
    "aligned_linear_barrier": averaged(
        "`linear_barrier` after the hidden units of `model_b` are permuted to match",
        unit="percentage points",
        title="Aligned linear barrier",
        caption="Straight-line barrier after hidden units are matched. What remains is not due to "
        "permutation.",
        map=70,
        digits=1,
    ),
    "aligned_linear_loss_barrier": averaged(
        "`linear_loss_barrier` after that permutation",
        unit="nats",
        title="Aligned linear loss barrier",
        caption="As aligned linear barrier, for the training loss.",
    ),
    "aligned_l2_distance": averaged(
        "`l2_distance` after that permutation",
        title="Aligned parameter distance",
        caption="Distance between replicates after their hidden units are matched.",
    ),
}


class Options(Settings):
    """Settings of the matching of hidden units."""

    method: Literal["weights", "activations"] = Field(
        "weights", description="what is compared (Ainsworth et al., 2023)"
    )
    inputs: int = Field(
        1000, ge=2, description="training inputs (whole sentences) whose activations are compared"
    )
    points: int = Field(
        11, ge=3, le=1001, description="points of t at which the line is evaluated, ends included"
    )


def cost(options: Options, size: CellSize) -> list[Call]:
    return path(size, options.points) + forward(size, 2 * size.subjects, options.inputs)


def measure(cell: CellModels, subjects: list[Pair], options: Options) -> Measured:
    """Align the two models of each pair in ``subjects`` and evaluate the line between them."""
    from explorer.landscape import connectivity
    from explorer.landscape.alignment import align
    from explorer.landscape.paths import straight
    from explorer.landscape.similarity import l2_distance

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
    columns = {
        "aligned_linear_barrier": connectivity.barrier(line.train_error_percent),
        "aligned_linear_loss_barrier": connectivity.barrier(line.train_loss),
        "aligned_l2_distance": l2_distance(a, b),
    }
    return Measured.of(subjects, columns, {"curves_aligned": point_rows(subjects, "aligned", line)})
