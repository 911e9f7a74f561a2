from __future__ import annotations

import torch
from landscape_cases import dense_hessian, labels, normal, two_mlps

from explorer.landscape.density import spectral_density


def test_moments_are_those_of_the_dense_spectrum() -> None:
    network, theta, buffers = two_mlps()
    x, y = normal(30, 4, seed=3), labels(30, 3, seed=3)
    values = torch.linalg.eigvalsh(dense_hessian(network, theta[0], x, y, buffers[0]))
    found = spectral_density(network, theta[:1].expand(200, -1), x, y, seeds=range(200), steps=6, probes=2)
    torch.testing.assert_close(found.weights.sum(1), torch.ones(200, dtype=torch.float64))
    for power in (1, 2, 3):
        moment = (found.weights * found.nodes**power).sum(1)
        error = moment.std() / 200**0.5
        assert (moment.mean() - (values**power).mean()).abs() < 3 * error
        assert error < 0.1 * (values**power).mean()
    assert found.nodes.max() <= values[-1] + 1e-9
    assert found.nodes.min() >= values[0] - 1e-9


def test_few_steps_have_the_moments_of_a_gauss_quadrature() -> None:
    """With m steps, polynomials up to degree 2m − 1 are integrated as with all steps."""
    network, theta, _ = two_mlps()
    x, y = normal(30, 4, seed=3), labels(30, 3, seed=3)
    few, all_steps = (
        spectral_density(network, theta, x, y, seeds=[0, 1], steps=m, probes=1) for m in (3, 60)
    )
    for power in range(7):
        short, full = ((d.weights * d.nodes**power).sum(1) for d in (few, all_steps))
        assert torch.allclose(short, full, rtol=1e-9) == (power < 6)
