"""The Hessian of the mean training loss: the ends of its spectrum and its trace, for many models at once.

Lanczos with full reorthogonalisation gives the eigenvalues. Its vectors also deflate the trace: the part of
the Hessian inside their span is known exactly, so Hutchinson's probes are needed only for the rest (the idea
of Hutch++, Meyer et al., 2021). Models are always in evaluation mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from explorer.landscape.lanczos import lanczos
from explorer.landscape.operator import HessianOperator, Vectors, joined, measure_groups
from explorer.landscape.trace import DeflatedTrace
from explorer.models.rows import Rows


@dataclass(frozen=True)
class Hessian:
    """Curvature of each model: eigenvalues and trace of the Hessian of the mean loss.

    The residual of an eigenvalue θ is ‖H·v − θ·v‖. Some eigenvalue lies within this absolute distance of θ,
    and usually much closer. ``trace_stderr`` is the standard
    deviation of the mean over probes. It is estimated from above by √(2·‖R‖² / probes), where R is the
    Hessian outside the Lanczos vectors and ‖R‖² its squared Frobenius norm, measured by the same probes. It
    is 0 if the vectors span the whole space.
    """

    top_eigenvalue: Tensor  # (models,)
    trace: Tensor  # (models,)
    trace_stderr: Tensor  # (models,)
    samples: Tensor  # (models, probes): of the trace; NaN after the model's last probe
    eigenvalues: Tensor  # (models, top_k): the largest, descending; NaN if Lanczos ended with fewer
    eigenvalue_residuals: Tensor  # (models, top_k)
    bottom_eigenvalue: Tensor  # (models,): the smallest, signed; an upper bound until it has converged
    bottom_residual: Tensor  # (models,)
    eigenvalues_converged: Tensor  # (models,): the tolerance was reached within ``lanczos_steps``
    trace_converged: Tensor  # (models,): the trace's tolerance was reached within ``probes_max``
    products: Tensor  # (models,): Hessian-vector products that the model used


def hessian(
    network: Rows,
    theta: Tensor,
    x: Tensor,
    y: Tensor,
    *,
    seeds: Sequence[int],
    buffers: Tensor | None = None,
    lanczos_steps: int = 30,
    probes_max: int = 40,
    tolerance: float = 1e-3,
    trace_tolerance: float = 0.02,
    top_k: int = 1,
    smallest: bool = False,
) -> Hessian:
    """Compute the ends of the spectrum and the trace of the Hessian of the mean loss at each model.

    Args:
        theta: (models, parameters); ``x``: inputs (inputs, *shape); ``y``: labels (inputs,).
        seeds: of the random vectors, one per model. Results of a model depend only on its own
            seed, not on other models in the stack.
        lanczos_steps: maximum number of steps. A model continues until the estimated errors of the ``top_k``
            largest eigenvalues are at most ``tolerance`` times its largest absolute eigenvalue. If
            ``smallest``, the smallest eigenvalue must have converged too. After that, a model continues as
            long as a step saves more than one probe of the trace.
        probes_max: maximum number of Hutchinson probes. After at least 4 probes, a model stops when its
            standard error is at most ``trace_tolerance`` times its trace.
        smallest: Lanczos continues until the smallest eigenvalue has converged: its residual is at most
            100 ``tolerance`` times its own size. This takes about 30 to 60 steps. The smallest eigenvalue is
            reported in either case.

    If the loss of a model is not finite, its results are NaN.

    Cost: one gradient, then about two gradient-equivalents per Lanczos step and per probe. Memory does not
    grow with the number of inputs. It holds ``lanczos_steps`` vectors per model.

    Raises:
        ValueError: a budget is below 1, or the number of seeds differs from the number of models.
    """
    for name, value in {"lanczos_steps": lanczos_steps, "probes_max": probes_max, "top_k": top_k}.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if len(seeds) != len(theta):
        raise ValueError(f"{len(seeds)} seeds for {len(theta)} models; give one per model")
    budget = {"steps": lanczos_steps, "tolerance": tolerance, "wanted": top_k, "smallest": smallest}
    probes = {"probes_max": probes_max, "tolerance": trace_tolerance}
    found = measure_groups(
        lambda operator, vectors: _of_group(operator, vectors, budget, probes),
        *(network, theta, x, y, buffers, seeds),
    )
    columns = ([getattr(one, column.name) for one in found] for column in fields(Hessian))
    return Hessian(*(joined(column, torch.nan) for column in columns))


def _of_group(
    operator: HessianOperator, vectors: Vectors, budget: dict[str, Any], probes: dict[str, Any]
) -> Hessian:
    """Return the curvature of models whose graphs are in memory together; see :func:`hessian`."""
    start = vectors.normal()  # normal, because signs can be exactly orthogonal to an eigenvector
    estimate = DeflatedTrace(operator, vectors.signs, **probes)
    space = lanczos(operator, start, watch=estimate, **budget)
    trace = estimate.finish(space)
    return Hessian(
        top_eigenvalue=space.largest[:, 0],
        trace=trace.value,
        trace_stderr=trace.stderr,
        samples=trace.samples,
        eigenvalues=space.largest,
        eigenvalue_residuals=space.largest_residual,
        bottom_eigenvalue=space.smallest,
        bottom_residual=space.smallest_residual,
        eigenvalues_converged=space.converged,
        trace_converged=trace.converged,
        products=space.steps + (~trace.samples.isnan()).sum(1),
    )
