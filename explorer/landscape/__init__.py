"""Measures of trained models, in pure torch: no Ray, no run folder, no files.

Every function takes rows (:class:`explorer.models.rows.Rows` with ``theta`` and ``buffers``) and never
changes them, nor the global random state; :func:`rows_of` turns modules into rows::

    from explorer.landscape import connectivity, hessian, rows_of, similarity

    network, theta, buffers = rows_of(model_a, model_b)
    hessian.hessian(network, theta, x, y, buffers=buffers, seeds=[0, 1]).top_eigenvalue
"""

from explorer.landscape import (
    alignment,
    connectivity,
    density,
    ensemble,
    hessian,
    noise,
    parameters,
    paths,
    permutations,
    sharpness,
    similarity,
    spectra,
)
from explorer.landscape.rows_of import rows_of

__all__ = [
    "alignment",
    "connectivity",
    "density",
    "ensemble",
    "hessian",
    "noise",
    "parameters",
    "paths",
    "permutations",
    "rows_of",
    "sharpness",
    "similarity",
    "spectra",
]
