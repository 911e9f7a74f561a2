"""Gain of an ensemble of a cell's models over its members."""

from __future__ import annotations

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured
from explorer.measures.cost import Call, CellSize, forward
from explorer.options import Options as Settings

KIND: Kind = "cell"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "ensemble_accuracy_percent": Column(
        "number",
        "percent",
        "test accuracy of the majority vote of the cell's models",
        title="Ensemble accuracy",
        caption="Test accuracy of the vote of a cell's models. It gains most if their errors differ.",
        map=66,
        digits=1,
    ),
    "ensemble_improvement_rate": Column(
        "number",
        "",
        "(E − V) / E, where E is the mean error of a model and V is the error of the vote",
        title="Ensemble improvement rate",
        caption="Share of the mean error of a model that the vote removes.",
    ),
    "disagreement_error_ratio": Column(
        "number",
        "",
        "D / E, where D is the share of inputs on which two models disagree (in regression, E and D are "
        "mean squares)",
        title="Disagreement-error ratio",
        caption="Disagreement of two models divided by the mean error of one model.",
    ),
    "ensemble_models": Column("integer", "", "number of models that voted"),
}


class Options(Settings):
    """No settings."""


def cost(options: Options, size: CellSize) -> list[Call]:
    return forward(size, size.models)


def measure(cell: CellModels, subjects: list[tuple[str, str]], options: Options) -> Measured:
    """Measure the vote of all models of the cell; ``subjects`` names the cell and this one set of models."""
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
