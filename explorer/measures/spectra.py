"""Heavy-tail exponents of each model's weight matrices."""

from __future__ import annotations

from explorer.columns import Column
from explorer.measures.base import CellModels, Kind, Measured, averaged
from explorer.options import Options as Settings

KIND: Kind = "model"
VERSION = 3
EXTRA: tuple[str, ...] = ()
COLUMNS = {
    "spectral_alpha": averaged(
        "heavy-tail exponent of the weight spectra (WeightWatcher's alpha), averaged over `spectral_layers`",
        title="Spectral exponent",
        caption="Power-law exponent of the weight spectra, averaged over layers. Smaller: heavier tails.",
        map=69,
    ),
    "spectral_alpha_weighted": averaged(
        "mean over layers of alpha · log₁₀ of the largest eigenvalue",
        title="Weighted spectral exponent",
        caption="Spectral exponents, each weighted by the logarithm of its layer's largest eigenvalue.",
    ),
    "spectral_layers": Column(
        "text", "", "the layers of the spectral exponents: all with at least 8 eigenvalues"
    ),
}


class Options(Settings):
    """No settings."""


def measure(cell: CellModels, subjects: list[str], options: Options) -> Measured:
    """Measure the exponents of the models named in ``subjects``."""
    from explorer.landscape.spectra import weight_spectra

    rows = cell.rows(subjects)
    result = weight_spectra(cell.network, cell.theta[rows])
    columns = {
        "spectral_alpha": result.mean_alpha,
        "spectral_alpha_weighted": result.weighted_alpha,
        "spectral_layers": [", ".join(result.layers)] * len(subjects),
    }
    return Measured.of(subjects, columns)
