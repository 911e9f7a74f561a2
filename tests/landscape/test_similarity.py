from __future__ import annotations

import numpy as np
import pytest
import torch
from landscape_cases import normal, two_cnns
from torch import Tensor, nn

from explorer.landscape.ensemble import Ensemble, ensemble_of
from explorer.landscape.similarity import layer_outputs, linear_cka, mixup
from explorer.models.rows import Rows
from explorer.tasks import TASKS


def biased_hsic(k: Tensor, other: Tensor) -> Tensor:
    """tr(KHLH) / (n − 1)² (Gretton et al., 2005), literally."""
    n = len(k)
    centring = torch.eye(n, dtype=k.dtype) - torch.ones(n, n, dtype=k.dtype) / n
    return torch.trace(k @ centring @ other @ centring) / (n - 1) ** 2


def literal_cka(x: Tensor, y: Tensor) -> Tensor:
    k, other = x @ x.T, y @ y.T
    return biased_hsic(k, other) / (biased_hsic(k, k) * biased_hsic(other, other)).sqrt()


def random_rotation(size: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(size, size, seed=seed))[0]


@pytest.mark.parametrize("features", [3, 40])
def test_linear_cka_is_the_gram_matrix_formula(features: int) -> None:
    outputs = normal(3, 20, features, seed=0) + 2
    table = linear_cka(outputs)
    for i in range(3):
        for j in range(3):
            torch.testing.assert_close(table[i, j], literal_cka(outputs[i], outputs[j]))


def test_linear_cka_ignores_rotation_scale_and_shift_but_not_a_general_linear_map() -> None:
    x = normal(50, 6, seed=1)
    rotated = 3 * x @ random_rotation(6, seed=2) + 5
    sheared = x @ normal(6, 6, seed=3)
    table = linear_cka(torch.stack([x, rotated, sheared]))
    assert table[0, 1].item() == pytest.approx(1, abs=1e-12)
    assert table[0, 2].item() < 0.95


def test_linear_cka_of_unrelated_outputs_falls_with_the_number_of_inputs() -> None:
    few, many = linear_cka(normal(2, 20, 4, seed=4))[0, 1], linear_cka(normal(2, 2000, 4, seed=4))[0, 1]
    assert many < 0.02 < few


def test_linear_cka_of_a_constant_output_is_nan_and_the_other_pairs_are_not() -> None:
    outputs = normal(3, 30, 4, seed=5)
    # In single precision the mean of equal numbers is not exactly that number.
    outputs[1] = torch.softmax(torch.tensor([0.1, 0.7, -0.3, 0.2]), 0).double()
    table = linear_cka(outputs.float())
    assert torch.isnan(table[1]).all()
    assert torch.isnan(table[:, 1]).all()
    assert torch.isfinite(table[0, 2])


def test_mixup_mixes_two_inputs_with_a_share_of_their_own() -> None:
    x = torch.eye(8, dtype=torch.float64)
    mixed = mixup(x, inputs=8, seed=3)
    shares = []
    for row in mixed:
        parts = row[row > 0]
        assert parts.sum().item() == pytest.approx(1)
        assert len(parts) <= 2
        shares += [parts.max().item()] * (len(parts) == 2)
    assert len(set(shares)) == len(shares) > 4


def test_mixup_shares_follow_a_beta_distribution() -> None:
    x = torch.tensor([[1.0, 0.0]] * 2000, dtype=torch.float64)
    x[1000:] = torch.tensor([0.0, 1.0])
    mixed = mixup(x, inputs=2000, seed=0)
    crossed = mixed[(mixed > 0).all(1)]
    # Beta(16, 16): standard deviation 1 / (2·√33).
    assert crossed[:, 0].std().item() == pytest.approx(0.5 / 33**0.5, rel=0.1)
    assert crossed[:, 0].mean().item() == pytest.approx(0.5, abs=0.01)


def test_mixup_follows_its_seed_alone() -> None:
    x = normal(30, 2, seed=6)
    torch.manual_seed(1)
    first = mixup(x, inputs=50, seed=1)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 the global state must not matter
    assert torch.equal(first, mixup(x, inputs=50, seed=1))
    assert not torch.equal(first, mixup(x, inputs=50, seed=2))
    assert first.shape == (50, 2)


def test_disagreement_counts_answers() -> None:
    answers = torch.tensor([[0, 1, 2, 2], [0, 1, 1, 1], [2, 0, 1, 0]])
    expected = torch.tensor([[0, 0.5, 1], [0.5, 0, 0.75], [1, 0.75, 0]], dtype=torch.float64)
    torch.testing.assert_close(TASKS["classification"].mean_differences(answers), expected)


def unbiased_hsic(k: Tensor, other: Tensor) -> Tensor:
    """HSIC₁ of Song et al. (2012), equation 5, literally."""
    n = len(k)
    k, other = k - torch.diag(k.diag()), other - torch.diag(other.diag())
    one = torch.ones(n, dtype=k.dtype)
    middle = (one @ k @ one) * (one @ other @ one) / ((n - 1) * (n - 2))
    return (torch.trace(k @ other) + middle - 2 / (n - 2) * (one @ k @ other @ one)) / (n * (n - 3))


@pytest.mark.parametrize("features", [3, 40])
def test_debiased_cka_is_the_gram_matrix_formula(features: int) -> None:
    outputs = normal(3, 20, features, seed=0) + 2
    table = linear_cka(outputs, estimator="debiased")
    k = [x @ x.T for x in outputs]
    for i in range(3):
        for j in range(3):
            own = unbiased_hsic(k[i], k[i]) * unbiased_hsic(k[j], k[j])
            torch.testing.assert_close(table[i, j], unbiased_hsic(k[i], k[j]) / own.sqrt())


def test_debiased_cka_of_unrelated_features_is_zero_on_average_where_the_biased_is_not() -> None:
    outputs = normal(40, 20, 100, seed=7)
    off = ~torch.eye(40, dtype=torch.bool)
    debiased, biased = linear_cka(outputs, estimator="debiased")[off], linear_cka(outputs)[off]
    assert debiased.mean().abs() < 0.02
    assert biased.mean() > 0.7
    with pytest.raises(ValueError, match="at least 4 inputs; there are 3"):
        linear_cka(normal(2, 3, 5, seed=0), estimator="debiased")


def test_layer_outputs_are_those_of_the_module() -> None:
    network, theta, buffers = two_cnns()
    x = normal(6, 1, 6, 6, seed=1)
    found = layer_outputs(network, theta, buffers, x, ["3", "12"])
    for row in range(2):
        module = network.to_module(theta[row], buffers[row])
        torch.testing.assert_close(found["3"][row], module[:4](x).flatten(1))
        torch.testing.assert_close(found["12"][row], module[:13](x).flatten(1))
    with pytest.raises(ValueError, match="no layer 'conv9'; there are 0, 1, 2"):
        layer_outputs(network, theta, buffers, x, ["conv9"])


class Table(nn.Module):
    """A model that gives each input, which is a number, the logits in a table (inputs, classes)."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[x]


def ensemble(logits: Tensor, y: Tensor) -> Ensemble:
    """The ensemble of models with these logits (models, inputs, classes)."""
    network = Rows(Table(logits[0]))
    return ensemble_of(network, logits.flatten(1), None, torch.arange(len(y)), y)


def logits_of(answers: list[list[int]], confidence: float = 5.0) -> Tensor:
    return confidence * torch.nn.functional.one_hot(torch.tensor(answers), 3).double()


def test_ensemble_measures_by_hand() -> None:
    y = torch.tensor([0, 1, 2, 0])
    # Errors .25, .25, .5; every wrong answer is outvoted but for the last.
    found = ensemble(logits_of([[0, 1, 2, 1], [0, 1, 0, 0], [1, 1, 2, 1]]), y)
    assert found.member_accuracy_percent == pytest.approx(100 * (1 - 1 / 3))
    assert found.vote_accuracy_percent == 75
    assert found.improvement_rate == pytest.approx((1 / 3 - 1 / 4) / (1 / 3))
    assert found.disagreement_percent == pytest.approx(100 * (2 / 4 + 1 / 4 + 3 / 4) / 3)
    assert found.disagreement_error_ratio == pytest.approx(0.5 / (1 / 3))


def test_a_tied_vote_goes_to_the_more_probable_class() -> None:
    logits = torch.stack([logits_of([[0]], 1.0)[0], logits_of([[2]], 4.0)[0]])
    assert ensemble(logits, torch.tensor([2])).vote_accuracy_percent == 100
    assert ensemble(logits, torch.tensor([0])).vote_accuracy_percent == 0


def test_copies_of_one_model_gain_nothing() -> None:
    logits = normal(1, 50, 3, seed=2).expand(4, -1, -1)
    found = ensemble(logits, torch.zeros(50, dtype=torch.long))
    assert found.improvement_rate == 0
    assert found.disagreement_error_ratio == 0
    assert np.isnan(ensemble(logits[:1], logits[0].argmax(1)).improvement_rate)
