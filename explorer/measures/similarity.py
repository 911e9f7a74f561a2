"""Similarity of the models of a cell: CKA, disagreement and distance."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from explorer.measures.base import CellModels, Kind, Measured, Pair, averaged
from explorer.measures.cost import Call, CellSize, forward
from explorer.options import Options as Settings
from explorer.settings import seed_for

KIND: Kind = "pair"
VERSION = 2
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "cka": averaged(
        "linear CKA (biased) of the softmax outputs on mixup training inputs; 1 = most similar",
        title="CKA similarity",
        caption="1: replicates give similar outputs. In fitted, connected cells, CKA separates IV-A from "
        "IV-B.",
        map=40,
    ),
    "cka_stderr": averaged(
        "standard error of `cka` over draws of the mixup inputs (jackknife); cells with the same data have "
        "the same draw",
        title="CKA, error of the draw",
        caption="How much CKA would differ on other mixup inputs. The error of a cell's CKA includes it.",
        digits=3,
    ),
    "cka_logits": averaged(
        "the same for the logits",
        title="CKA of the logits",
        caption="As CKA, but before the softmax. The softmax hides nearly everything except the top answer.",
    ),
    "cka_debiased": averaged(
        "`cka` with the debiased HSIC estimate",
        title="CKA, debiased",
        caption="As CKA, without the bias that occurs with few inputs and wide layers.",
        digits=2,
    ),
    "disagreement_percent": averaged(
        "share of test inputs on which the two models answer differently; in regression, 100 "
        "times the mean squared difference",
        unit="percent",
        title="Disagreement",
        caption="Share of test inputs that two replicates answer differently.",
        map=63,
        digits=1,
    ),
    "l2_distance": averaged(
        "Euclidean distance between the two parameter vectors",
        title="Parameter distance",
        caption="Euclidean distance between trained replicates. It grows with the number of parameters.",
        map=64,
    ),
}


LayerName = Annotated[str, Field(coerce_numbers_to_str=True)]  # a Sequential calls its layers 0, 1, …


class Options(Settings):
    """Budget of the similarity."""

    inputs: int = Field(
        1000,
        ge=4,
        description="mixed-up training inputs (or target tokens of whole sentences), "
        "the same for all cells with the same data",
    )
    layers: list[LayerName] = Field(
        default_factory=list,
        description="layers, by their module's name, whose CKA is taken too: cka_at_<layer>",
    )


def cost(options: Options, size: CellSize) -> list[Call]:
    return forward(size, size.models, options.inputs)


def columns(cell: CellModels, options: Options) -> list[str]:
    """Return the columns of the rows: those of every run, and the CKA of each layer of the options."""
    return [*COLUMNS, *(f"cka_at_{layer}" for layer in options.layers)]


def measure(cell: CellModels, subjects: list[Pair], options: Options) -> Measured:
    """Measure CKA on mixed inputs, disagreement on test inputs and distance of the pairs in ``subjects``."""
    from explorer.landscape.similarity import (
        l2_distance,
        layer_outputs,
        linear_cka,
        linear_cka_stderr,
        probes,
    )

    task, data = cell.network.task, cell.data
    inputs, targets = probes(task, data.x_train, data.y_train, inputs=options.inputs, seed=seed_for("mixup"))
    inputs = inputs.to(cell.theta.device)  # small; the data set itself may be in host memory
    outputs = cell.network.outputs(cell.theta, inputs, cell.buffers)
    if targets is not None:
        outputs = task.select_items(outputs, targets)[:, : options.inputs]
    answers = task.select_items(cell.network.answers(cell.theta, data.x_test, cell.buffers), data.y_test)
    first, second = cell.ends(subjects)
    matrices = {
        "cka": linear_cka(task.predictions(outputs)),
        "cka_stderr": linear_cka_stderr(task.predictions(outputs)),
        "cka_logits": linear_cka(outputs),
        "cka_debiased": linear_cka(task.predictions(outputs), estimator="debiased"),
        "disagreement_percent": 100 * task.mean_differences(answers),
    }
    for layer in options.layers:
        outputs = layer_outputs(cell.network, cell.theta, cell.buffers, inputs, [layer])[layer]
        matrices[f"cka_at_{layer}"] = linear_cka(outputs[:, : options.inputs])
    values = {name: matrix[first, second] for name, matrix in matrices.items()}
    return Measured.of(subjects, values | {"l2_distance": l2_distance(cell.theta[first], cell.theta[second])})
