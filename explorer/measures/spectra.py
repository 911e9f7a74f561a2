"""Heavy-tail exponents of each model's weight matrices."""

from __future__ import annotations

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured
from explorer.options import Options as Settings

KIND: Kind = "model"
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "spectral_alpha": Column(
        "number",
        "",
        "heavy-tail exponent of the spectra of the weight matrices, averaged over layers",
        title="Spectral exponent",
        see="Power-law exponent of the weight spectra, averaged over layers. Smaller: heavier tails.",
        averaged=True,
        map=69,
    ),
    "spectral_alpha_weighted": Column(
        "number",
        "",
        "mean over layers of alpha · log₁₀ of the largest eigenvalue",
        title="Weighted spectral exponent",
        see="Spectral exponents, each weighted by the logarithm of its layer's largest eigenvalue.",
        averaged=True,
    ),
}


class Options(Settings):
    """No settings."""


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
    """Measure the exponents of the models named in ``subjects``."""
    from explorer.landscape.spectra import weight_spectra

    rows, _ = cell.ends([(name, name) for name in subjects])
    result = weight_spectra(cell.network, cell.theta[rows])
    return cell.by_model(
        subjects, list(COLUMNS), [result.mean_alpha.tolist(), result.weighted_alpha.tolist()]
    )
