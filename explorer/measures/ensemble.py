"""What an ensemble of a cell's models gains."""

from __future__ import annotations

from explorer.columns import CELLS
from explorer.measures.base import Cell, Kind, Measured
from explorer.options import Options as Settings

KIND: Kind = "cell"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    name: CELLS[name]
    for name in (
        "ensemble_accuracy_percent",
        "ensemble_improvement_rate",
        "disagreement_error_ratio",
        "ensemble_models",
    )
}


class Options(Settings):
    """There is nothing to set."""


def measure(cell: Cell, subjects: list[tuple[str, str]], options: Options) -> Measured:
    """The vote of all models of the cell; ``subjects`` names the cell and this one set of models."""
    from explorer.landscape.ensemble import ensemble_of

    result = ensemble_of(cell.network, cell.theta, cell.buffers, cell.data.x_test, cell.data.y_test)
    values = (
        result.vote_accuracy_percent,
        result.improvement_rate,
        result.disagreement_error_ratio,
        len(cell.model_ids),
    )
    ((cell_id, members),) = subjects
    return Measured([{"cell_id": cell_id, "members": members, **dict(zip(COLUMNS, values, strict=True))}])
