"""The Hessian of the mean training loss: the ends of its spectrum and its trace, for many models at once.

Lanczos with full reorthogonalisation gives the eigenvalues. Its vectors then deflate the trace: the part
of the Hessian inside their span is known exactly, Hutchinson's probes are needed for the rest only
(the idea of Hutch++, Meyer et al., 2021). Evaluation mode throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from explorer.landscape.lanczos import lanczos
from explorer.landscape.operator import HessianOperator, Vectors
from explorer.landscape.trace import DeflatedTrace
from explorer.models.rows import Rows


@dataclass(frozen=True)
class Hessian:
    """Curvature of each row; eigenvalues and trace are those of the Hessian of the mean loss.

    ``residual`` is ‖H·v − θ·v‖ of ``top_eigenvalue`` θ: some eigenvalue lies within it (absolute), usually
    much nearer; likewise the other residuals. ``trace_stderr`` is the standard deviation of the mean over
    probes, estimated from above by √(2·‖R‖² / probes), R being the Hessian outside the Lanczos vectors and
    ‖R‖² its squared Frobenius norm, measured by the same probes; it is 0 where the vectors span everything.
    """

    top_eigenvalue: Tensor  # (rows,)
    residual: Tensor  # (rows,)
    trace: Tensor  # (rows,)
    trace_stderr: Tensor  # (rows,)
    samples: Tensor  # (rows, probes): of the trace; NaN after the row's last probe
    eigenvalues: Tensor  # (rows, top_k): the largest, falling; NaN where Lanczos ended with fewer
    eigenvalue_residuals: Tensor  # (rows, top_k)
    bottom_eigenvalue: Tensor  # (rows,): the smallest, signed; a bound from above until it has converged
    bottom_residual: Tensor  # (rows,)
    eigenvalues_converged: Tensor  # (rows,): the tolerance was reached within ``lanczos_steps``
    trace_converged: Tensor  # (rows,): the trace's tolerance was reached within ``probes_max``
    products: Tensor  # (rows,): Hessian-vector products that the row used


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
    """Ends of the spectrum and trace of the Hessian of the mean cross-entropy at each row.

    Args:
        theta: (rows, parameters); ``x``: inputs (inputs, *shape); ``y``: labels (inputs,).
        seeds: of the random vectors, one a row. A row's numbers depend on its own seed alone, not on its
            neighbours in the stack.
        lanczos_steps: at most; a row goes on until the estimated errors of the ``top_k`` largest eigenvalues
            are at most ``tolerance`` of its largest absolute one (and the smallest has converged, where
            ``smallest``), and then as long as a step saves more than a probe of the trace.
        probes_max: Hutchinson probes at most; a row stops, after 4 or more, when its standard error is
            at most ``trace_tolerance`` of its trace.
        smallest: Lanczos goes on until the smallest eigenvalue has converged, too: its residual is at most
            100 ``tolerance`` of its own size, which takes some 30 to 60 steps. It is reported either way.

    A row whose loss is not finite comes out as NaN.

    Cost: a gradient, then about two gradient-equivalents a Lanczos step and a probe. Memory does not grow
    with the number of inputs; it holds ``lanczos_steps`` vectors a row.

    Raises:
        ValueError: a budget is below 1, or there is not one seed a row.
    """
    for name, value in {"lanczos_steps": lanczos_steps, "probes_max": probes_max, "top_k": top_k}.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if len(seeds) != len(theta):
        raise ValueError(f"{len(seeds)} seeds for {len(theta)} rows; give one a row")
    operator, vectors = HessianOperator(network, theta, x, y, buffers), Vectors(seeds, theta)
    start = vectors.normal()  # not of signs: those can be exactly orthogonal to an eigenvector
    estimate = DeflatedTrace(operator, vectors.signs, probes_max=probes_max, tolerance=trace_tolerance)
    space = lanczos(
        operator,
        start,
        steps=lanczos_steps,
        tolerance=tolerance,
        wanted=top_k,
        smallest=smallest,
        watch=estimate.watch,
    )
    trace = estimate.finish(space)
    return Hessian(
        top_eigenvalue=space.largest[:, 0],
        residual=space.largest_residual[:, 0],
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
