"""Every measure on a Transformer (attention, LayerNorm, tied embeddings, padding), against the literal thing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_cases import (
    LENGTH,
    TEST_X,
    TEST_Y,
    WORDS,
    X,
    Y,
    cell,
    dense_hessian,
    gradient_of,
    literal_loss,
    models,
    module_of,
)

import explorer.measures
import explorer.models
from explorer.landscape import connectivity, operator
from explorer.landscape.density import spectral_density
from explorer.landscape.hessian import hessian
from explorer.landscape.noise import noise_scale
from explorer.landscape.operator import HessianOperator
from explorer.landscape.paths import straight
from explorer.landscape.sharpness import sharpness
from explorer.landscape.spectra import fit_power_law, weight_spectra
from explorer.models import transformer
from explorer.models.base import network
from explorer.models.rows import initial_rows
from explorer.settings import plugin
from explorer.tasks import TASKS
from explorer.train.loop import Split, evaluate


@pytest.fixture(scope="module")
def dense() -> Tensor:
    """The Hessian (parameters, parameters) of the first model."""
    rows, theta = models()
    found = dense_hessian(rows, theta[0])
    torch.testing.assert_close(found, found.T)
    vector = torch.randn(len(found), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ends = [gradient_of(module_of(rows, theta[0] + sign * 1e-6 * vector), X, Y) for sign in (1, -1)]
    torch.testing.assert_close(found @ vector, (ends[0] - ends[1]) / 2e-6, rtol=1e-6, atol=1e-6)
    return found


def test_there_is_padding_and_the_embeddings_are_tied() -> None:
    rows, _ = models()
    assert (Y < 0).any()
    assert (X[:, 0] == 0).any()
    assert [name for name, shape in rows.layers if WORDS in shape] == ["source.weight"]


@pytest.mark.parametrize("execution", ["stacked", "vmap", "loop"])
@pytest.mark.parametrize("graph", [2**26, 1])
def test_hessian_vector_products(
    dense: Tensor, execution: Any, graph: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, theta = models()
    rows.execution = execution
    monkeypatch.setattr(operator, "GRAPH", graph)  # 1: sentence by sentence, weighed by their tokens
    product = HessianOperator(rows, theta, X, Y)
    assert len(product.parts) == (1 if graph > 1 else len(X))
    vectors = torch.randn(theta.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(product(vectors)[0], dense @ vectors[0])


def test_eigenvalues_and_trace(dense: Tensor) -> None:
    rows, theta = models()
    values = torch.linalg.eigvalsh(dense)
    found = hessian(
        rows, theta, X, Y, seeds=[0, 1], lanczos_steps=100, probes_max=400, top_k=3, smallest=True
    )
    torch.testing.assert_close(found.eigenvalues[0], values.flip(0)[:3], rtol=1e-3, atol=0)
    assert found.top_eigenvalue[0].item() == pytest.approx(values[-1].item(), rel=1e-5)
    assert found.bottom_eigenvalue[0].item() == pytest.approx(values[0].item(), rel=1e-2)
    assert values[0] < -1e-3  # a saddle: both signs are tested
    assert abs(found.trace[0] - values.sum()) < 3 * found.trace_stderr[0]
    assert found.trace_stderr[0] < 0.05 * values.abs().sum()


def test_density(dense: Tensor) -> None:
    rows, theta = models()
    values = torch.linalg.eigvalsh(dense)
    found = spectral_density(rows, theta[:1].expand(60, -1), X, Y, seeds=range(60), steps=12, probes=2)
    for power in (1, 2, 3):
        moment = (found.weights * found.nodes**power).sum(1)
        error = moment.std() / 60**0.5
        assert (moment.mean() - (values**power).mean()).abs() < 3 * error
        assert error < 0.1 * (values.abs() ** power).mean()
    assert found.nodes.max() <= values[-1] + 1e-9


def test_sharpness_is_sams_ascent() -> None:
    rows, theta = models()
    module = module_of(rows, theta[0])
    before, gradient = literal_loss(module(X), Y), gradient_of(module, X, Y)
    moved = module_of(rows, theta[0] + 0.1 * gradient / gradient.norm())
    found = sharpness(rows, theta, X, Y, radius=0.1)
    torch.testing.assert_close(found.rise[0], (literal_loss(moved(X), Y) - before).detach())


def test_adaptive_sharpness_scales_the_ascent_by_each_parameter() -> None:
    rows, theta = models()
    scaled = theta[0].abs() * gradient_of(module_of(rows, theta[0]), X, Y)
    moved = theta[0] + 0.1 * theta[0].abs() * scaled / scaled.norm()
    losses = [literal_loss(module_of(rows, t)(X), Y) for t in (moved, theta[0])]
    found = sharpness(rows, theta, X, Y, radius=0.1, adaptive=True)
    torch.testing.assert_close(found.rise[0], (losses[0] - losses[1]).detach())
    assert found.rise[0] > 0


def test_noise_scale_is_that_of_the_sentences_gradients() -> None:
    rows, theta = models()
    module = module_of(rows, theta[0])
    single = torch.stack([gradient_of(module, X[i : i + 1], Y[i : i + 1]) for i in range(len(X))])
    variance = single.var(0).sum()
    squared = gradient_of(module, X, Y).square().sum()  # each token counts equally
    found = noise_scale(rows, theta, X, Y, seeds=[0, 1], batch_size=1, batch_count=len(X))
    torch.testing.assert_close(found.variance[0], variance)
    torch.testing.assert_close(found.squared_gradient[0], squared)


def test_weight_spectra_take_each_matrix_once() -> None:
    options = transformer.Options(width=16, layers=1)
    build, rows = network("transformer", options, (2, LENGTH), 40, task="translation")
    theta = initial_rows(build, rows, [0])[0]
    found = weight_spectra(rows, theta)
    assert len(found.layers) == 1 + 4 + 7  # embeddings; attention and perceptron of encoder and decoder
    module: Any = module_of(rows, theta[0])
    for name in ("source.weight", "decoder.0.attention.queries_keys_values.weight"):
        place = found.layers.index(name)
        values = torch.linalg.svdvals(module.get_parameter(name).detach().double()).square()
        assert found.largest[0, place].item() == pytest.approx(values[0].item())
        assert found.fits[0][place].alpha == pytest.approx(fit_power_law(values).alpha)


def test_points_of_a_curve_are_losses_and_token_errors_there(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, theta = models()
    a, b = theta[:1], theta[1:]
    fit = connectivity.fit_paths(
        rows, a, b, a.new_zeros(1, 0), X, Y, seeds=[0], steps=60, batch_size=6, learning_rate=0.05
    )
    split = Split(X, Y, TEST_X, TEST_Y, classes=WORDS)
    monkeypatch.setattr("explorer.models.rows.MEMORY", 2 * rows.activations(X))  # chunks of unequal tokens
    found = connectivity.profile_path(rows, fit.path, a.new_zeros(1, 0), split, points=3)
    control = fit.path.points[0, 1]
    for place, t in enumerate((0.0, 0.5, 1.0)):
        point = (1 - t) ** 2 * a[0] + 2 * t * (1 - t) * control + t**2 * b[0]
        module = module_of(rows, point)
        for x, y, loss, error in (
            (X, Y, found.train_loss, found.train_error_percent),
            (TEST_X, TEST_Y, found.test_loss, found.test_error_percent),
        ):
            assert loss[0, place].item() == pytest.approx(literal_loss(module(x), y).item())
            wrong = [(module(x)[i, j].argmax() != y[i, j]).item() for i, j in (y >= 0).nonzero()]
            assert error[0, place].item() == pytest.approx(100 * sum(wrong) / len(wrong))
    line = connectivity.profile_path(rows, straight(a, b), a.new_zeros(1, 0), split, points=3)
    assert found.train_loss[0, 1] < line.train_loss[0, 1]  # the fit found a lower way


def test_every_measure_for_translation_takes_a_transformer() -> None:
    """Its own function, with little to do: finite numbers for each column."""
    measured = cell()
    budgets: dict[str, dict[str, Any]] = {
        "hessian": {"lanczos_steps": 10, "probes": 4},
        "density": {"steps": 5, "probes": 2},
        "sharpness": {},
        "noise": {"batches": 12, "batch_size": 1},
        "spectra": {},
        "connectivity": {"steps": 40, "batch_size": 4, "points": 5},
        "similarity": {"inputs": 20, "layers": ["encoder_norm"]},
        "alignment": {"method": "activations", "points": 3},
        "ensemble": {},
        "perplexity": {},
    }
    elsewhere = {"bleu"}  # needs words: tests/test_translation_measures.py
    for name in explorer.measures.NAMES:
        module = plugin(explorer.measures, name, "measure")
        assert "translation" in getattr(module, "TASKS", TASKS)
        if name in elsewhere:
            continue
        subjects: list[Any] = {
            "model": ["m0", "m2"],
            "pair": [("m0", "m1"), ("m1", "m2")],
            "cell": [("c", "all")],
        }[module.KIND]
        found = module.measure(measured, subjects, module.Options(**budgets.pop(name))).rows
        assert len(found) == len(subjects)
        for row in found:
            for column in set(module.COLUMNS) - {
                "spectral_alpha",
                "spectral_alpha_weighted",
                "spectral_layers",
                "bits_per_character",
                getattr(module, "NO_PATH", ""),
            }:
                assert torch.isfinite(torch.as_tensor(row[column], dtype=torch.float64)).all(), (name, column)
    assert not budgets


def test_evaluation_is_the_literal_mean() -> None:
    rows, theta = models()
    loss, error = evaluate(rows, theta, None, X, Y)
    module = module_of(rows, theta[1])
    assert loss[1].item() == pytest.approx(literal_loss(module(X), Y).item())
    wrong = ((module(X).argmax(2) != Y) & (Y >= 0)).sum().item()
    assert error[1].item() == pytest.approx(100 * wrong / (Y >= 0).sum().item())
    assert not math.isclose(error[1].item(), 100 * wrong / Y.numel())


@pytest.mark.parametrize("name", ["gpt", "vit"])
def test_hessian_of_the_other_transformers(name: str) -> None:
    """Learnt positions and GELU; a class token. Against the dense Hessian."""
    options = {
        "gpt": {"layers": 1, "heads": 2, "feed_forward": 1},
        "vit": {"depth": 1, "heads": 2, "patch": 3},
    }
    shape, task = {"gpt": ((LENGTH,), "language"), "vit": ((1, 6, 6), "classification")}[name]
    architecture = plugin(explorer.models, name, "architecture")
    build, rows = network(name, architecture.Options(width=4, **options[name]), shape, WORDS, task=task)
    rows.module.double()
    theta = initial_rows(build, rows, [0])[0].double()
    generator = torch.Generator().manual_seed(0)
    theta = theta + 0.3 * torch.randn(theta.shape, generator=generator, dtype=torch.float64)
    if name == "gpt":
        x, y = (torch.randint(WORDS, (10, LENGTH), generator=generator) for _ in range(2))
    else:
        x = torch.randn(10, *shape, generator=generator, dtype=torch.float64)
        y = torch.randint(WORDS, (10,), generator=generator)
    full = dense_hessian(rows, theta[0], x, y)
    values = torch.linalg.eigvalsh(full)
    vector = torch.randn(theta.shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(HessianOperator(rows, theta, x, y)(vector)[0], full @ vector[0])
    found = hessian(rows, theta, x, y, seeds=[0], lanczos_steps=60, probes_max=400, smallest=True)
    assert found.top_eigenvalue.item() == pytest.approx(values[-1].item(), rel=1e-4)
    assert found.bottom_eigenvalue.item() == pytest.approx(values[0].item(), rel=1e-2)
    assert abs(found.trace[0] - values.sum()) < 3 * found.trace_stderr[0]
