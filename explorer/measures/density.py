"""Spectral density of the Hessian of each model."""

from __future__ import annotations

from pydantic import Field

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured
from explorer.measures.cost import Call, CellSize, products
from explorer.options import Options as Settings

KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "density_nodes": Column(
        "numbers", "", "eigenvalues at which the estimated spectral density of the Hessian has mass"
    ),
    "density_weights": Column(
        "numbers", "", "share of the eigenvalues at each of `density_nodes`; they sum to 1"
    ),
}


class Options(Settings):
    """Budget of the density (stochastic Lanczos quadrature)."""

    inputs: int = Field(1000, ge=1, description="training inputs it is taken over: the first so many")
    steps: int = Field(40, ge=2, le=1000, description="Lanczos steps of a probe")
    probes: int = Field(4, ge=1, le=1000, description="random start vectors")


def cost(options: Options, size: CellSize) -> list[Call]:
    return products(options, size, options.steps * options.probes)


def floats_held(options: Options, parameters: int) -> int:
    """Return how many floats the Krylov space of a model holds."""
    return min(options.steps, parameters) * parameters


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
    """Measure the spectral density of the models named in ``subjects``, all together."""
    from explorer.landscape.density import spectral_density

    rows = cell.rows(subjects)
    result = spectral_density(
        cell.network,
        cell.theta[rows],
        cell.data.x_train[: options.inputs],
        cell.data.y_train[: options.inputs],
        seeds=cell.seeds("density", subjects),
        buffers=cell.buffers[rows],
        steps=options.steps,
        probes=options.probes,
    )
    return Measured.of(subjects, {"density_nodes": result.nodes, "density_weights": result.weights})
