"""Every measure on a Transformer (attention, LayerNorm, tied embeddings, padding), against the literal thing."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

import explorer.measures
from explorer.landscape import connectivity, operator
from explorer.landscape.density import spectral_density
from explorer.landscape.hessian import hessian
from explorer.landscape.noise import noise_scale
from explorer.landscape.operator import HessianOperator
from explorer.landscape.paths import straight
from explorer.landscape.sharpness import sharpness
from explorer.landscape.similarity import layer_outputs, probes
from explorer.landscape.spectra import fit_power_law, weight_spectra
from explorer.measures import ensemble, similarity
from explorer.measures.base import Cell
from explorer.models import transformer
from explorer.models.base import network
from explorer.models.rows import Rows, initial_rows, seeded
from explorer.settings import plugin, plugins, stream
from explorer.tasks import TASKS
from explorer.training import Split, evaluate

WORDS, LENGTH = 7, 5


def data(sentences: int, seed: int) -> tuple[Tensor, Tensor]:
    """Source and shifted target (sentences, 2, length), targets (sentences, length), of random lengths."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(3, WORDS, (sentences, 2, LENGTH), generator=generator)
    ends = torch.randint(1, LENGTH + 1, (sentences, 2, 1), generator=generator)
    after = torch.arange(LENGTH) >= ends
    y = torch.where(torch.arange(LENGTH) == ends[:, 1] - 1, 2, x[:, 1]).masked_fill(after[:, 1], -100)
    x[:, 1] = x[:, 1].roll(1, 1)
    x[:, 1, 0] = 1
    return x.masked_fill(after, 0), y


X, Y = data(12, 0)
TEST_X, TEST_Y = data(9, 1)


def models(count: int = 2) -> tuple[Rows, Tensor]:
    options = transformer.Options(width=4, layers=1, heads=2, feed_forward=1)
    build, rows = network("transformer", options, (2, LENGTH), WORDS, task="translation")
    rows.module.double()
    theta = initial_rows(build, rows, range(count))[0].double()
    with seeded(1):
        return rows, theta + 0.3 * torch.randn_like(theta)


def literal_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy over the tokens that are scored."""
    return cross_entropy(logits[y >= 0], y[y >= 0])


def gradient_of(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    pieces = torch.autograd.grad(literal_loss(module(x), y), list(module.parameters()))
    return torch.cat([g.flatten() for g in pieces])


def module_of(rows: Rows, theta: Tensor) -> nn.Module:
    return rows.to_module(theta, theta.new_zeros(0))


def dense_hessian(rows: Rows, theta: Tensor) -> Tensor:
    """By automatic differentiation of the plain module; torch.func's is wrong for LayerNorm (PyTorch 2.13)."""
    module = module_of(rows, theta)
    names = [name for name, _ in module.named_parameters()]
    shapes = [p.shape for p in module.parameters()]

    def loss(vector: Tensor) -> Tensor:
        pieces = [p.view(s) for p, s in zip(vector.split([s.numel() for s in shapes]), shapes, strict=True)]
        return literal_loss(functional_call(module, dict(zip(names, pieces, strict=True)), (X,)), Y)

    return torch.autograd.functional.hessian(loss, theta.detach())  # pyright: ignore[reportReturnType]


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


def test_noise_scale_is_that_of_the_sentences_gradients() -> None:
    rows, theta = models()
    module = module_of(rows, theta[0])
    single = torch.stack([gradient_of(module, X[i : i + 1], Y[i : i + 1]) for i in range(len(X))])
    variance = single.var(0).sum()
    squared = single.mean(0).square().sum() - variance / len(X)
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


def cell(count: int = 3) -> Cell:
    rows, theta = models(count)
    theta = theta[:1] + 0.3 * (theta - theta[:1])  # not so far apart that they agree on nothing
    split = Split(X, Y, TEST_X, TEST_Y, classes=WORDS)
    names = [f"m{i}" for i in range(count)]
    return Cell("c", rows, theta, theta.new_zeros(count, 0), names, split, lambda: rows.module)


def literal_cka(one: Tensor, other: Tensor) -> float:
    """tr(KHLH) / √(tr(KHKH)·tr(LHLH)) with H = 1 − 11ᵀ/n (Kornblith et al., 2019)."""
    n = len(one)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    k, other = (centre @ (m @ m.T) @ centre for m in (one, other))
    return ((k * other).sum() / ((k * k).sum() * (other * other).sum()).sqrt()).item()


def test_cka_and_disagreement_are_of_scored_tokens() -> None:
    measured = cell()
    options = similarity.Options(inputs=20)
    row = similarity.measure(measured, [("m0", "m2")], options).rows[0]
    x, y = probes(TASKS["translation"], X, Y, inputs=20, seed=stream("mixup", "c"))
    assert y is not None
    a, b = (module_of(measured.network, measured.theta[i]) for i in (0, 2))
    places = (y >= 0).nonzero()[:20]
    one, other = (torch.stack([m(x)[i, j] for i, j in places]) for m in (a, b))
    assert row["cka"] == pytest.approx(literal_cka(one.softmax(1), other.softmax(1)))
    assert row["cka_logits"] == pytest.approx(literal_cka(one, other))
    everywhere = [m(x).flatten(0, 1) for m in (a, b)]
    assert row["cka_logits"] != pytest.approx(literal_cka(*everywhere), rel=1e-3)
    apart = [
        (a(TEST_X)[i, j].argmax() != b(TEST_X)[i, j].argmax()).item() for i, j in (TEST_Y >= 0).nonzero()
    ]
    assert row["disagreement_percent"] == pytest.approx(100 * sum(apart) / len(apart))
    assert 0 < sum(apart) < len(apart)
    assert row["l2_distance"] == pytest.approx((measured.theta[0] - measured.theta[2]).norm().item())


def test_cka_at_a_layer_is_of_the_tokens_that_it_sees() -> None:
    """Source tokens in the encoder, target tokens in the decoder, the first 20 of each."""
    measured = cell()
    layers = {
        "encoder.0": 0,
        "encoder.0.perceptron.1": 0,
        "decoder.0.across.keys_values": 0,
        "decoder.0.across": 1,
        "decoder_norm": 1,
    }
    options = similarity.Options(inputs=20, layers=list(layers))
    row = similarity.measure(measured, [("m0", "m2")], options).rows[0]
    x, _ = probes(TASKS["translation"], X, Y, inputs=20, seed=stream("mixup", "c"))
    for layer, side in layers.items():
        values = []
        for place in (0, 2):
            module, seen = module_of(measured.network, measured.theta[place]), []
            module.get_submodule(layer).register_forward_hook(lambda *a, seen=seen: seen.append(a[2]))
            module(x)
            values.append(seen[0].detach())
        tokens = (x[:, side] != 0).nonzero()[:20].T
        assert row[f"cka_at_{layer}"] == pytest.approx(
            literal_cka(*(v[tokens[0], tokens[1]] for v in values))
        ), layer
        everywhere = literal_cka(*(v.flatten(0, 1)[:20] for v in values))
        assert row[f"cka_at_{layer}"] != pytest.approx(everywhere, rel=1e-3), layer


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("source", "'source' is used 2 times for an input"),
        ("encoder", "'encoder' is used 0 times for an input"),
        ("decoder.0.attention.softmax", r"not one vector for each of \(\d+, 5\) tokens"),
    ],
)
def test_cka_at_a_layer_without_a_value_for_each_token_is_refused(layer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        similarity.measure(cell(), [("m0", "m2")], similarity.Options(inputs=20, layers=[layer]))


def test_a_network_of_ones_own_must_say_which_sequence_a_layer_sees() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.output = nn.Embedding(WORDS, 4), nn.Linear(4, WORDS)

        def forward(self, x: Tensor) -> Tensor:
            return self.output(self.embedding(x[:, 1]))

    class Said(Own):
        def positions(self, layer: str, x: Tensor) -> Tensor:
            return x[:, 1] != 0

    theta = Rows(Own()).row()[0][None]
    for module, told in ((Own(), False), (Said(), True)):
        rows = Rows(module, task=TASKS["translation"])
        if told:
            found = layer_outputs(rows, theta, theta.new_zeros(1, 0), X, ["embedding"])["embedding"]
            assert found.shape == (1, int((X[:, 1] != 0).sum()), 4)
        else:
            with pytest.raises(ValueError, match=r"a method positions\(layer, x\)"):
                layer_outputs(rows, theta, theta.new_zeros(1, 0), X, ["embedding"])


def test_ensemble_votes_on_each_token() -> None:
    measured = cell()
    modules = [module_of(measured.network, t) for t in measured.theta]
    right = 0
    places = (TEST_Y >= 0).nonzero().tolist()
    for i, j in places:
        outputs = torch.stack([m(TEST_X)[i, j] for m in modules])
        votes = torch.bincount(outputs.argmax(1), minlength=WORDS).double()
        vote = (votes + outputs.softmax(1).mean(0) / 2).argmax()
        right += int(vote == TEST_Y[i, j])
    row = ensemble.measure(measured, [("c", "all")], ensemble.Options()).rows[0]
    assert row["ensemble_accuracy_percent"] == pytest.approx(100 * right / len(places))


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
    for name in plugins(explorer.measures):
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
                "bits_per_character",
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
