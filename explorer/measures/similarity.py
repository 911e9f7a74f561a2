"""How alike the models of a cell are: CKA, disagreement, distance."""

from __future__ import annotations

from pydantic import Field

from explorer.measures.base import Cell, Kind, Measured
from explorer.settings import Options as Settings
from explorer.settings import stream
from explorer.tables import PAIRS

KIND: Kind = "pair"
EXTRA: tuple[str, ...] = ()
COLUMNS = {name: PAIRS[name] for name in ("cka", "cka_logits", "disagreement_percent", "l2_distance")}


class Options(Settings):
    """Budget of the similarity."""

    inputs: int = Field(1000, ge=2, description="mixed-up training inputs, the same for all models of a cell")


def measure(cell: Cell, subjects: list[tuple[str, str]], options: Options) -> Measured:
    """CKA on mixed-up inputs, disagreement on the test inputs and distance of the pairs in ``subjects``."""
    from explorer.landscape.parameters import l2_distance
    from explorer.landscape.similarity import disagreement, linear_cka, mixup

    inputs = mixup(cell.data.x_train, inputs=options.inputs, seed=stream("mixup", cell.id))
    logits = cell.network.logits(cell.theta, inputs, cell.buffers)
    first, second = cell.ends(subjects)
    columns = [
        linear_cka(logits.softmax(2))[first, second],
        linear_cka(logits)[first, second],
        100 * disagreement(cell.network.logits(cell.theta, cell.data.x_test, cell.buffers))[first, second],
        l2_distance(cell.theta[first], cell.theta[second]),
    ]
    return Measured(
        [
            {"model_a": pair[0], "model_b": pair[1], **dict(zip(COLUMNS, values, strict=True))}
            for pair, *values in zip(subjects, *(c.tolist() for c in columns), strict=True)
        ]
    )
