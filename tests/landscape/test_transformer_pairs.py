"""Measures of pairs and of cells on a Transformer: every column against the literal formula."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformer_cases import TEST_X, TEST_Y, WORDS, X, Y, cell, literal_cka, literal_loss, module_of

from explorer.landscape.alignment import align, permute
from explorer.landscape.permutations import permutation_spec
from explorer.landscape.similarity import layer_outputs, probes
from explorer.measures import alignment, connectivity, ensemble, similarity
from explorer.models.rows import Rows
from explorer.settings import seed_for
from explorer.tasks import TASKS


def unbiased_hsic(k: Tensor, other: Tensor) -> Tensor:
    """HSIC₁ of Song et al. (2012), equation 5, as sums over different tokens, times n(n − 3)."""
    n = len(k)
    k, other = k - torch.diag(k.diag()), other - torch.diag(other.diag())
    across = k.sum() * other.sum() / ((n - 1) * (n - 2))
    return (k * other).sum() + across - 2 / (n - 2) * (k.sum(0) * other.sum(0)).sum()


def test_cka_and_disagreement_are_of_scored_tokens() -> None:
    measured = cell()
    options = similarity.Options(inputs=20)
    row = similarity.measure(measured, [("m0", "m2")], options).rows[0]
    x, y = probes(TASKS["translation"], X, Y, inputs=20, seed=seed_for("mixup"))
    assert y is not None
    a, b = (module_of(measured.network, measured.theta[i]) for i in (0, 2))
    places = (y >= 0).nonzero()[:20]
    one, other = (torch.stack([m(x)[i, j] for i, j in places]) for m in (a, b))
    assert row["cka"] == pytest.approx(literal_cka(one.softmax(1), other.softmax(1)))
    assert row["cka_logits"] == pytest.approx(literal_cka(one, other))
    everywhere = [m(x).flatten(0, 1) for m in (a, b)]
    assert row["cka_logits"] != pytest.approx(literal_cka(*everywhere), rel=1e-3)
    k, other = (m.softmax(1) @ m.softmax(1).T for m in (one, other))
    unbiased = unbiased_hsic(k, other) / (unbiased_hsic(k, k) * unbiased_hsic(other, other)).sqrt()
    assert row["cka_debiased"] == pytest.approx(unbiased.item())
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
    x, _ = probes(TASKS["translation"], X, Y, inputs=20, seed=seed_for("mixup"))
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
    right, answers = 0, []
    places = (TEST_Y >= 0).nonzero().tolist()
    for i, j in places:
        outputs = torch.stack([m(TEST_X)[i, j] for m in modules])
        votes = torch.bincount(outputs.argmax(1), minlength=WORDS).double()
        vote = (votes + outputs.softmax(1).mean(0) / 2).argmax()
        right += int(vote == TEST_Y[i, j])
        answers.append(outputs.argmax(1))
    said, truth = torch.stack(answers, 1), torch.stack([TEST_Y[i, j] for i, j in places])
    member = (said != truth).double().mean().item()
    apart = sum((said[i] != said[j]).double().mean().item() for i, j in ((0, 1), (0, 2), (1, 2))) / 3
    row = ensemble.measure(measured, [("c", "all")], ensemble.Options()).rows[0]
    assert row["ensemble_accuracy_percent"] == pytest.approx(100 * right / len(places))

    assert row["ensemble_improvement_rate"] == pytest.approx((member - 1 + right / len(places)) / member)
    assert row["disagreement_error_ratio"] == pytest.approx(apart / member)
    assert 0 < apart < member


def on_the_line(network: Rows, a: Tensor, b: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """Loss and token error in percent (points,) on the training sentences, literally."""
    losses, errors = [], []
    for t in torch.linspace(0, 1, points).tolist():
        logits = module_of(network, (1 - t) * a + t * b)(X)
        losses.append(literal_loss(logits, Y).item())
        errors.append(100 * (logits[Y >= 0].argmax(1) != Y[Y >= 0]).double().mean().item())
    return torch.tensor(losses), torch.tensor(errors)


def rise(values: Tensor) -> float:
    """Of the highest point above the mean of the ends."""
    return max(0.0, (values.max() - (values[0] + values[-1]) / 2).item())


def test_connectivity_is_of_the_points_on_its_paths() -> None:
    measured = cell()
    options = connectivity.Options(steps=40, batch_size=4, points=5)
    found = connectivity.measure(measured, [("m0", "m2")], options)
    (row,) = found.rows
    loss, error = on_the_line(measured.network, measured.theta[0], measured.theta[2], 5)
    assert row["linear_loss_barrier"] == pytest.approx(rise(loss), rel=1e-5)
    assert row["linear_barrier"] == pytest.approx(rise(error), rel=1e-5)
    line, curve = (
        [point for point in found.extra["curves"] if point["path"] == path] for path in ("linear", "bezier")
    )
    assert [p["train_loss"] for p in line] == pytest.approx(loss.tolist(), rel=1e-5)
    errors, losses = (
        torch.tensor([p[name] for p in curve]) for name in ("train_error_percent", "train_loss")
    )
    assert row["loss_barrier"] == pytest.approx(rise(losses), rel=1e-5)
    assert row["barrier"] == pytest.approx(rise(errors), rel=1e-5)
    assert row["dip"] == pytest.approx(rise(-errors), rel=1e-5)
    apart = (errors[0] + errors[-1]) / 2 - errors
    assert row["mode_connectivity"] == pytest.approx(apart[apart.abs().argmax()].item(), rel=1e-5)
    assert row["mode_connectivity"] != 0


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_aligned_barriers_are_of_the_line_to_the_permuted_model(method: Any) -> None:
    measured = cell()
    options = alignment.Options(method=method, inputs=8, points=5)
    (row,) = alignment.measure(measured, [("m0", "m2")], options).rows
    a, b = measured.theta[:1], measured.theta[2:]
    seeds = [seed_for("alignment", "m0-m2")]
    empty = a.new_zeros(1, 0)
    aligned, _ = align(measured.network, a, b, empty, empty, X[:8], seeds=seeds, method=method)
    loss, error = on_the_line(measured.network, a[0], aligned[0], 5)
    assert row["aligned_linear_loss_barrier"] == pytest.approx(rise(loss), rel=1e-5)
    assert row["aligned_linear_barrier"] == pytest.approx(rise(error), rel=1e-5)
    assert row["aligned_l2_distance"] == pytest.approx((a - aligned).norm().item())


def test_on_the_line_to_a_permuted_copy_nothing_changes_once_aligned() -> None:
    """The whole measure: the second model is the first one with its heads and hidden units elsewhere."""
    measured = cell(2)
    spec = permutation_spec(measured.network.module, X)
    order = {group: torch.arange(size).flip(0) for group, size in spec.groups.items()}
    copy, _ = permute(measured.network, spec, order, measured.theta[0], measured.buffers[0])
    measured.theta[1] = copy
    plain, _ = on_the_line(measured.network, *measured.theta, points=5)
    found = alignment.measure(measured, [("m0", "m1")], alignment.Options(points=5))
    aligned = torch.tensor([point["train_loss"] for point in found.extra["curves_aligned"]])
    assert aligned.tolist() == pytest.approx([plain[0].item()] * 5, rel=1e-6)
    assert (plain - plain[0]).abs().max() > 0.01
    assert found.rows[0]["aligned_l2_distance"] == 0
