"""Results for networks of users are those of the module itself, or the network is rejected."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import nn

from explorer.landscape.operator import HessianOperator
from explorer.measures.base import CellModels, obstacles_to_paths
from explorer.models.agreement import (
    check_evaluation,
    check_gradient,
    check_order,
    check_recorded_loss,
    check_reloading,
    check_statistics,
)
from explorer.models.rows import Execution, Rows, initial_rows, seeded
from explorer.plan.networks import check_second_derivatives
from explorer.settings import Disagreement, InputError
from explorer.tasks import TASKS
from explorer.train.loop import Split
from tests.models import user_networks as networks

SHAPE, CLASSES = (5,), 3


@dataclass
class Case:
    """A network and what must hold."""

    build: Any
    rejected: str = ""  # by this message, before training
    vmap: bool = True  # runs under vmap
    frozen: int = 0  # parameters that are not trained
    differs: list[str] = field(default_factory=list)  # constants that differ between two models


CASES = {
    "plain": Case(networks.Plain),
    "random features": Case(networks.RandomFeatures, differs=["frequencies"]),
    "random mask": Case(networks.RandomMask, differs=["mask"]),
    "random order": Case(networks.RandomOrder, differs=["order"]),
    "complex constants": Case(networks.ComplexConstants),
    "random complex constants": Case(networks.RandomComplex, differs=["turn"]),
    "layer in a closure": Case(networks.Closure),
    "layer in a hook": Case(networks.hooked),
    "replaced forward": Case(networks.replaced_forward),
    "double statistics": Case(networks.DoubleNorm),
    "half statistics": Case(networks.HalfNorm),
    "expanded buffer": Case(networks.ExpandedNorm),
    "norm in place": Case(networks.HandwrittenNorm),
    "norm assigned": Case(networks.AssignedNorm),
    "norm in attributes": Case(networks.AttributeNorm, rejected="self.mean, self.variance"),
    "norm in a list": Case(networks.ListNorm, rejected="state outside"),
    "features in an attribute": Case(networks.AttributeFeatures, rejected="self.random"),
    "counter": Case(networks.Counter, rejected="self.calls"),
    "warm-up": Case(networks.WarmUp, rejected=r"self.calls\): a forward pass changes it"),
    "count in a list": Case(networks.CountInList, rejected=r"self.counts\[0\]"),
    "global counter": Case(networks.GlobalCounter, rejected=r"user_networks.TOTAL\['calls'\]"),
    "counter of the class": Case(networks.ClassCounter, rejected=r"ClassCounter\.calls"),
    "counter in a closure": Case(networks.closure_counter, rejected="count of closure_counter"),
    "counter in slots": Case(networks.SlotCounter, rejected=r"self.counts\['all'\]\[0\].calls"),
    "real counter": Case(networks.RealCounter, rejected=r"self.calls\): a forward pass changes it"),
    "counter in an iterator": Case(networks.CountedByIterator, rejected=r"self.calls\)"),
    "rare noise of Python": Case(networks.RarePythonNoise, rejected="draws random numbers from Python's"),
    "noise of NumPy": Case(networks.NumpyNoise, rejected=r"draws random numbers from numpy\.random"),
    "own generator": Case(networks.OwnGenerator, rejected=r"self\.generator"),
    "start of NumPy": Case(networks.NumpyStart, rejected=r"start with different 'first\.weight'"),
    "freezes later": Case(networks.FreezesLater, rejected=r"changes requires_grad of 'first\.weight'"),
    "results kept": Case(networks.ResultsKept),
    "head in training": Case(networks.HeadInTraining),
    "slow norm": Case(networks.SlowNorm),
    "cached size": Case(networks.CachedSize),
    "statistics in evaluation": Case(
        networks.StatisticsAlways, rejected="evaluation mode changes the buffer 'mean'"
    ),
    "always random": Case(networks.AlwaysRandom, rejected="draws random numbers"),
    "schedule": Case(networks.Schedule, rejected="self.calls"),
    "first batch": Case(networks.FirstBatch, vmap=False),
    "first batch, assigned": Case(networks.FirstBatchAssigned, vmap=False),
    "first batch, in place": Case(networks.FirstBatchInPlace, vmap=False),
    "codebook": Case(networks.Codebook, vmap=False),
    "shifted inputs": Case(networks.ShiftedInputs, rejected="changes its inputs in place"),
    "clamped weights": Case(networks.Clamped, vmap=False),
    "bounded embedding": Case(networks.BoundedEmbedding, vmap=False),
    "first batch, buffer": Case(networks.FirstBatchBuffer, vmap=False),
    "first batch, attribute": Case(networks.FirstBatchAttribute, rejected="self.ready"),
    "frozen layer": Case(networks.Frozen, frozen=36, differs=["first.weight", "first.bias"]),
    "frozen bias": Case(networks.FrozenBias, frozen=6, differs=["first.bias"]),
    "checkpoint": Case(networks.Checkpointed),
    "checkpoint in training": Case(networks.CheckpointedInTraining),
    "checkpoint of large batches": Case(networks.CheckpointedLarge),
    "checkpoint of attention": Case(networks.CheckpointedAttention),
    "temperature": Case(networks.Temperature, vmap=False),
    "step count": Case(networks.StepCount, vmap=False),
    "cumulative norm": Case(networks.CumulativeNorm, vmap=False),
    "cached product": Case(networks.CachedProduct, rejected="has computed from its parameters"),
    "padded embedding": Case(networks.PaddedEmbedding, vmap=False),
    "calibrated later": Case(networks.CalibratedLater, rejected="evaluation mode changes the buffer 'mean'"),
    "gated": Case(networks.Gated),
    "split": Case(networks.Split),
    "fused attention": Case(networks.FusedAttention),
    "multihead attention": Case(networks.Multihead),
    "attention over the batch": Case(networks.BatchFirst, rejected="batch_first"),
    "encoder": Case(networks.Encoder),
    "encoder with dropout": Case(networks.encoder_with_dropout),
    "recurrent": Case(networks.Recurrent),
    "tied": Case(networks.Tied),
    "more in training": Case(networks.MoreInTraining, rejected="in training mode, the network returns tuple"),
    "one for all": Case(networks.one_for_all, rejected="two networks share 'first.weight'"),
    "lists": Case(networks.Listed),
    "residual": Case(networks.Residual),
    "own backward": Case(networks.OwnBackward, vmap=False),
    "stochastic depth": Case(networks.StochasticDepth),
    "dropout": Case(networks.with_dropout),
    "batch norm": Case(networks.batch_norm),
    "batch norm without statistics": Case(
        networks.batch_norm_without_statistics, rejected="BatchNorm without"
    ),
    "ghost batch norm": Case(networks.GhostNorm),
    "layer norm": Case(networks.layer_norm),
    "group norm": Case(networks.group_norm),
    "instance norm": Case(networks.instance_norm),
    "spectral norm": Case(networks.spectral_norm, vmap=False),
    "old spectral norm": Case(networks.old_spectral_norm, vmap=False),
    "weight norm": Case(networks.weight_norm),
    "old weight norm": Case(networks.old_weight_norm),
    "pruned": Case(networks.pruned, differs=["0.weight_mask"]),
    "orthogonal": Case(networks.orthogonal, differs=["1.parametrizations.weight.0.base"]),
    "scripted": Case(networks.scripted, rejected="torch.jit"),
}
WRONG_TWICE = {  # what training takes for the gradient is not that of the loss, or its derivative is wrong
    "weight norm",
    "old weight norm",
    "padded embedding",
    "bounded embedding",
    "clamped weights",
}
ACCEPTED = {name: case for name, case in CASES.items() if not case.rejected}
EXECUTIONS: list[tuple[str, Execution]] = [
    *((name, "loop") for name in ACCEPTED),
    *((name, "vmap") for name, case in ACCEPTED.items() if case.vmap),
]


def data(inputs: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(inputs, *SHAPE, generator=generator), torch.randint(
        CLASSES, (inputs,), generator=generator
    )


def models(case: Case, execution: Execution = "loop") -> tuple[Rows, torch.Tensor, torch.Tensor]:
    def build() -> nn.Module:
        return case.build(SHAPE, CLASSES)

    with seeded(0):
        rows = Rows(build(), execution=execution, build=build)
    return rows, *initial_rows(build, rows, [1, 2])


@pytest.mark.parametrize("name", [n for n in CASES if n != "scripted"])  # rejected when it is built
def test_state_is_complete_or_the_network_is_rejected(name: str) -> None:
    case = CASES[name]

    def build() -> nn.Module:
        return case.build(SHAPE, CLASSES)

    if case.rejected:
        with pytest.raises(InputError, match=case.rejected):
            check_reloading(build, data()[0])
    else:
        check_reloading(build, data()[0])


@pytest.mark.parametrize(("name", "execution"), EXECUTIONS)
def test_gradients_are_those_of_the_module(name: str, execution: Execution) -> None:
    case = ACCEPTED[name]
    rows, theta, buffers = models(case, execution)
    before = [theta.clone(), buffers.clone()]
    check_gradient(rows, theta, buffers, *data())
    assert torch.equal(theta, before[0])
    assert torch.equal(buffers, before[1])
    assert rows.parameters + case.frozen == sum(p.numel() for p in rows.module.parameters())


@pytest.mark.parametrize("name", ACCEPTED)
def test_hessians_are_those_of_the_module(name: str) -> None:
    rows, theta, buffers = models(ACCEPTED[name])
    x, y = data()
    vectors = torch.randn(theta.shape, generator=torch.Generator().manual_seed(3))
    products = HessianOperator(rows, theta, x, y, buffers)(vectors)
    for row in range(2):
        module = rows.to_module(theta[row], buffers[row])
        trained = [p for p in module.parameters() if p.requires_grad]
        torch.backends.cuda.enable_flash_sdp(False)
        try:
            loss = nn.functional.cross_entropy(module(x), y)
            first = torch.autograd.grad(loss, trained, create_graph=True, allow_unused=True)
            gradients = [torch.zeros_like(p) if g is None else g for p, g in zip(trained, first, strict=True)]
            along = (torch.cat([g.flatten() for g in gradients]) * vectors[row]).sum()
            found = torch.autograd.grad(along, trained, allow_unused=True)
        finally:
            torch.backends.cuda.enable_flash_sdp(True)
        pieces = [torch.zeros_like(p) if g is None else g for p, g in zip(trained, found, strict=True)]
        torch.testing.assert_close(
            products[row], torch.cat([p.flatten() for p in pieces]), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("name", ACCEPTED)
def test_models_that_differ_in_constants_have_no_path(name: str) -> None:
    rows, theta, buffers = models(ACCEPTED[name])
    assert rows.different_constants(theta[0], buffers[0], buffers[1], data()[0]) == ACCEPTED[name].differs
    assert rows.unsettled(theta, buffers, data(100)[0]) == [[], []]


def test_a_checkpoint_that_depends_on_the_inputs_is_an_error() -> None:
    def build() -> nn.Module:
        return networks.CheckpointedByValue(SHAPE, CLASSES)

    rows = Rows(build(), build=build)
    theta, buffers = initial_rows(build, rows, [1])
    x, y = data()
    rows.loss_gradient(theta, x[None].abs(), y[None], buffers)
    with pytest.raises(Disagreement, match="runs the network again"):
        rows.loss_gradient(theta, -x[None].abs(), y[None], buffers)


def test_a_module_of_a_model_is_what_its_function_builds() -> None:
    rows, theta, buffers = models(ACCEPTED["layer in a closure"])
    one, other = (rows.to_module(theta[row], buffers[row]) for row in range(2))
    x, _ = data()
    expected = networks.Plain(SHAPE, CLASSES)
    expected.load_state_dict(one.state_dict())
    torch.testing.assert_close(one(x), expected(x))
    assert not torch.allclose(one(x), other(x))


def test_checkpoints_of_training_mode_are_noticed_in_evaluation_mode() -> None:
    rows, theta, buffers = models(ACCEPTED["checkpoint in training"])
    x, y = data()
    HessianOperator(rows, theta, x, y, buffers)
    check_gradient(rows, theta, buffers, x, y)


def test_parameters_without_a_gradient_must_be_frozen() -> None:
    rows, theta, buffers = models(Case(networks.WithoutGradient))
    with pytest.raises(Disagreement, match=r"first\.weight, first\.bias.*requires_grad_\(False\)"):
        check_gradient(rows, theta, buffers, *data())
    check_gradient(*models(Case(networks.SpareLayer)), *data())
    check_gradient(*models(Case(networks.HardChoice)), *data())


def test_hooks_of_gradients_are_noticed() -> None:
    with pytest.raises(Disagreement, match=r"gradient differs.*usually a hook"):
        check_gradient(*models(Case(networks.HookedGradient)), *data())


def test_evaluation_with_an_average_of_the_weights_is_rejected() -> None:
    rows, theta, buffers = models(Case(networks.AveragedWeights))
    with pytest.raises(InputError, match=r"do not depend on first\.weight, but on an average"):
        check_evaluation(rows, theta[0], buffers[0], *data())


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted_networks_are_evaluated_with_what_is_trained(name: str) -> None:
    rows, theta, buffers = models(ACCEPTED[name])
    check_evaluation(rows, theta[0], buffers[0], *data())
    check_statistics(rows, theta[0], buffers[0], data()[0])


@pytest.mark.parametrize(
    ("network", "name"), [(networks.RingOfMeans, "means"), (networks.RunningMaximum, "largest")]
)
def test_statistics_that_do_not_forget_their_start_are_rejected(network: Any, name: str) -> None:
    rows, theta, buffers = models(Case(network))
    with pytest.raises(InputError, match=rf"earlier batches \({name}\) cannot be estimated"):
        check_statistics(rows, theta[0], buffers[0], data()[0])


@pytest.mark.parametrize("kind", [torch.int64, torch.float32])
def test_statistics_of_networks_that_look_inputs_up_are_checked(kind: torch.dtype) -> None:
    def build() -> nn.Module:
        return networks.NormedWords(SHAPE, CLASSES)

    rows = Rows(build(), build=build)
    theta, buffers = initial_rows(build, rows, [1, 2])
    check_statistics(rows, theta[0], buffers[0], torch.arange(40).reshape(8, 5).remainder(8).to(kind))


def test_wrong_second_derivatives_are_noticed() -> None:
    x, y = data()
    for network in (networks.WrongTwice, networks.weight_norm):
        with pytest.raises(InputError, match=r"not those of its gradient.*Usual causes: weight_norm"):
            check_second_derivatives(*models(Case(network)), x, y, "hessian")
    for name in ACCEPTED.keys() - WRONG_TWICE:
        check_second_derivatives(*models(ACCEPTED[name]), x, y, "hessian")


def test_second_derivatives_are_tried_before_training() -> None:
    rows, theta, buffers = models(Case(networks.NoGradientInEvaluation))
    with pytest.raises(InputError, match=r"cannot be differentiated twice.*measures\.hessian"):
        check_second_derivatives(rows, theta, buffers, *data(), "hessian")
    rows, theta, buffers = models(ACCEPTED["fused attention"])
    check_second_derivatives(rows, theta, buffers, *data(), "hessian")


@pytest.mark.parametrize("execution", ["loop", "vmap"])
def test_losses_of_half_precision_outputs_are_float32(execution: Execution) -> None:
    rows, theta, buffers = models(Case(networks.Autocast), execution)
    x, y = data()
    check_gradient(rows, theta, buffers, x, y)
    outputs = rows(theta, x[None], buffers)
    assert outputs.dtype == torch.float32
    expected = rows.to_module(theta[0], buffers[0])(x).float()
    torch.testing.assert_close(outputs[0], expected, rtol=0.02, atol=0.02)


def test_a_counter_is_no_statistic() -> None:
    x, _ = data()
    rows, theta, buffers = models(ACCEPTED["temperature"])
    trained = buffers + 25
    assert torch.equal(rows.estimate_buffers(theta, trained, x), trained)
    assert rows.different_constants(theta[0], trained[0], buffers[0], x) == ["steps"]
    rows, theta, buffers = models(ACCEPTED["step count"])
    assert not rows.different_constants(theta[0], buffers[0] + 25, buffers[0], x)


def test_a_cumulative_average_forgets_where_it_starts() -> None:
    x, _ = data(32)
    rows, theta, buffers = models(ACCEPTED["cumulative norm"])
    estimate = rows.estimate_buffers(theta[:1], buffers[:1], x)
    assert estimate[0, -1] == 20  # batches seen
    module = rows.to_module(theta[0], estimate[0])
    torch.testing.assert_close(module.mean, module.first(x).mean(0), rtol=1e-2, atol=1e-2)


STATISTICS = [
    "norm in place",
    "norm assigned",
    "slow norm",
    "batch norm",
    "instance norm",
    "spectral norm",
    "old spectral norm",
]


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_are_those_that_the_module_settles_at(name: str) -> None:
    rows, theta, buffers = models(ACCEPTED[name])
    x, _ = data(32)
    estimates = [rows.estimate_buffers(theta[:1], start[None], x)[0] for start in buffers]
    module = rows.to_module(theta[0], buffers[1]).train()
    with torch.no_grad():
        for _ in range(3000 if name == "slow norm" else 300):
            module(x)
    for estimate in estimates:  # whatever the statistics were before
        outputs = rows(theta[:1], x[None], estimate[None])[0]
        torch.testing.assert_close(outputs, module.eval()(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("rate", [1e-1, 1e-3, 1e-4, 1e-5, 1e-6])
def test_slow_statistics_settle_or_are_named(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks.HandwrittenNorm, "momentum", rate)
    rows, theta, buffers = models(Case(networks.HandwrittenNorm))
    x, _ = data(320)
    estimate = rows.estimate_buffers(theta[:1], buffers[:1], x)
    names = rows.unsettled(theta[:1], buffers[:1], x)[0]
    assert set(names) <= {"mean", "variance"}
    assert bool(names) == (rate < 5e-5)
    split = Split(x, torch.zeros(len(x)), x, torch.zeros(len(x)), CLASSES)
    cell = CellModels("c", rows, theta, buffers, ["a", "b"], split, lambda: rows.module)
    assert [*obstacles_to_paths(cell, [("a", "b")])] == [("a", "b")] * bool(names)
    module: Any = rows.to_module(theta[0], buffers[0]).double()
    with torch.no_grad():
        hidden = module.first(x.double()).unflatten(0, (10, 32))
        kept = rate * (1 - rate) ** torch.arange(9, -1, -1, dtype=torch.float64) / (1 - (1 - rate) ** 10)
        module.mean.copy_(kept @ hidden.mean(1))
        module.variance.copy_(kept @ hidden.var(1, unbiased=False))
        apart = (module.eval()(x.double()) - rows(theta[:1], x[None], estimate)[0]).abs().max()
    assert (apart > 0.01) if names else (apart < 1e-3)


class Translator(nn.Module):
    """Recurrent encoder and decoder; one that reads backwards, too, sees the answers."""

    def __init__(self, *, backwards: bool):
        super().__init__()
        self.tokens, self.out = nn.Embedding(9, 6), nn.Linear(6, 9)
        self.encoder = nn.GRU(6, 3 if backwards else 6, batch_first=True, bidirectional=backwards)
        self.decoder = nn.GRU(6, 3 if backwards else 6, batch_first=True, bidirectional=backwards)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        source, target = (x[:, 0], x[:, 1]) if x.dim() == 3 else (x, x)
        _, state = self.encoder(self.tokens(source if x.dim() == 3 else source[:, :1]))
        return self.out(self.decoder(self.tokens(target), state)[0])


@pytest.mark.parametrize("shape", [(2, 7), (7,)])
@pytest.mark.parametrize("backwards", [False, True])
def test_a_decoder_that_sees_the_answers_is_rejected(shape: tuple[int, ...], backwards: bool) -> None:
    task = TASKS["translation" if len(shape) == 2 else "language"]
    rows = Rows(Translator(backwards=backwards), execution="loop", task=task)
    x = torch.randint(9, (8, *shape), generator=torch.Generator().manual_seed(0))
    expected = pytest.raises(InputError, match="depends on later tokens of the target")
    with expected if backwards else nullcontext():
        check_order(rows, *rows.row(), x)


def test_a_change_of_parameters_that_is_lost_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, theta, buffers = models(ACCEPTED["codebook"])
    gradient = rows.loss_gradient
    monkeypatch.setattr(rows, "loss_gradient", lambda theta, *rest: gradient(theta.clone(), *rest))
    with pytest.raises(Disagreement, match="leaves other parameters than in the module itself"):
        check_gradient(rows, theta, buffers, *data())


def test_a_wrong_gradient_is_noticed() -> None:
    class Doubled(networks.Cube):
        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            return 2 * networks.Cube.backward(ctx, grad)

    def forward(parameters: Any, x: torch.Tensor) -> torch.Tensor:
        weight, bias, last, shift = parameters
        hidden = Doubled.apply(x @ weight.mT + bias[:, None])
        return hidden @ last.mT + shift[:, None]

    rows, theta, buffers = models(ACCEPTED["own backward"])
    right = Rows(rows.module, lambda p, x: forward(p, x), "stacked")
    with pytest.raises(Disagreement, match="gradient differs"):
        check_gradient(right, theta, buffers, *data())


def test_a_loss_of_another_model_is_noticed() -> None:
    rows, theta, buffers = models(ACCEPTED["batch norm"])
    x, y = data()
    loss = nn.functional.cross_entropy(rows.to_module(theta[0], buffers[0])(x), y).item()
    check_recorded_loss(rows, theta[0], buffers[0], x, y, loss)
    with pytest.raises(Disagreement, match="recorded loss"):
        check_recorded_loss(rows, theta[1], buffers[1], x, y, loss)
