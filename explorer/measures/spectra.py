"""Heavy-tail exponents of each model's weight matrices."""

from __future__ import annotations

from explorer.columns import MODELS
from explorer.measures.base import Cell, Kind, Measured
from explorer.options import Options as Settings

KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    name: MODELS[name]
    for name in (
        "spectral_alpha",
        "spectral_alpha_weighted",
    )
}


class Options(Settings):
    """There is nothing to set."""


def measure(cell: Cell, subjects: list[str], options: Options) -> Measured:
    """Exponents of the models named in ``subjects``."""
    from explorer.landscape.spectra import weight_spectra

    rows, _ = cell.ends([(name, name) for name in subjects])
    result = weight_spectra(cell.network, cell.theta[rows])
    return cell.by_model(
        subjects, list(COLUMNS), [result.mean_alpha.tolist(), result.weighted_alpha.tolist()]
    )
