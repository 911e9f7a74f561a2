"""What an ensemble of a cell's models gains."""

from __future__ import annotations

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured
from explorer.measures.cost import Call, Size, forward
from explorer.options import Options as Settings

KIND: Kind = "cell"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "ensemble_accuracy_percent": Column(
        "number",
        "percent",
        "test accuracy of the majority vote of the cell's models",
        title="Ensemble accuracy",
        see="Test accuracy of the vote of a cell's models: it gains most where they err differently.",
        map=66,
        digits=1,
    ),
    "ensemble_improvement_rate": Column(
        "number",
        "",
        "(E − V) / E: E the mean error of a model, V that of the vote",
        title="Ensemble improvement rate",
        see="Share of a model's error that the vote does without.",
    ),
    "disagreement_error_ratio": Column(
        "number",
        "",
        "D / E: D the share of inputs on which two models disagree (of numbers, E and D are squares)",
        title="Disagreement-error ratio",
        see="Disagreement of two models over the error of one.",
    ),
    "ensemble_models": Column("integer", "", "models that voted"),
}


class Options(Settings):
    """There is nothing to set."""


def cost(options: Options, size: Size) -> list[Call]:
    """Return what it costs, in gradients."""
    return forward(size, size.models)


def measure(cell: CellModels, subjects: list[tuple[str, str]], options: Options) -> Measured:
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
