"""Measures of trained models, in pure torch: no Ray, no run folder, no files.

Functions take models as a :class:`explorer.models.rows.Rows` with matrices ``theta`` and ``buffers``. They
change neither the models nor the global random state. :func:`rows_of` converts modules to this form::

    from explorer.landscape import connectivity, hessian, rows_of, similarity

    network, theta, buffers = rows_of(model_a, model_b)
    hessian.hessian(network, theta, x, y, buffers=buffers, seeds=[0, 1]).top_eigenvalue
"""

from explorer.landscape.rows_of import rows_of

__all__ = ["rows_of"]
