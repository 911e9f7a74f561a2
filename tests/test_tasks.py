"""Tasks: losses, errors and comparisons against closed forms; regression from a space file to pages."""

from __future__ import annotations

import math
import re
from itertools import combinations

import in_process
import numpy as np
import pytest
import torch
import yaml
from in_process import train
from torch import Tensor, nn
from torch.nn import functional

import explorer
import explorer.report
from explorer.data.base import DataOptions, prepare
from explorer.data.dataset import Arrays, checked_arrays
from explorer.estimate import describe
from explorer.landscape.ensemble import ensemble_of
from explorer.landscape.hessian import hessian
from explorer.landscape.noise import noise_scale
from explorer.landscape.operator import HessianOperator
from explorer.landscape.sharpness import sharpness
from explorer.landscape.similarity import probes
from explorer.measures.tables import EVERY
from explorer.models.rows import Rows, initial_rows
from explorer.report.labels import in_words
from explorer.report.site import environment
from explorer.settings import InputError
from explorer.space.reading import read
from explorer.tasks import TASKS
from explorer.train.loop import Split, evaluate


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tokens(*shape: int, below: int, seed: int = 0) -> Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


class TestSequences:
    task = TASKS["translation"]

    def batch(self) -> tuple[Tensor, Tensor]:
        y = tokens(1, 4, 6, below=5)
        y[0, 1, 2:], y[0, 3, 5:] = -100, -100
        return normal(2, 4, 6, 5), y

    def test_loss_and_error_are_means_over_all_tokens_but_padding(self):
        outputs, y = self.batch()
        assert self.task.count_items(y).tolist() == [6 + 2 + 6 + 5]
        losses, wrong = self.task.loss(outputs, y), self.task.total_error(outputs, y)
        for row in range(2):
            pairs = [(o, t) for o, t in zip(outputs[row].flatten(0, 1), y.flatten(), strict=True) if t >= 0]
            each = [-functional.log_softmax(o, 0)[t] for o, t in pairs]
            assert losses[row] == pytest.approx(torch.stack(each).mean().item())
            assert wrong[row] == sum(int(o.argmax() != t) for o, t in pairs)

    def test_what_stands_at_padding_changes_nothing(self):
        outputs, y = self.batch()
        other = torch.where(y[..., None] < 0, normal(2, 4, 6, 5, seed=1), outputs)
        assert not torch.equal(other, outputs)
        for measured in (self.task.loss, self.task.total_error):
            assert torch.equal(measured(other, y), measured(outputs, y))
        assert torch.equal(self.task.select_items(other, y[0]), self.task.select_items(outputs, y[0]))

    def test_kept_are_the_scored_positions_in_order(self):
        outputs, y = self.batch()
        kept = self.task.select_items(outputs, y[0])
        assert kept.shape == (2, 19, 5)
        assert torch.equal(kept[1, 6:8], outputs[1, 1, :2])

    def test_batches_of_unequal_lengths_weigh_by_their_tokens(self):
        """Chunked evaluation gives the mean over all tokens, not the mean of the chunks' means."""
        network = Rows(nn.Embedding(7, 7).double(), task=self.task)
        theta, _ = initial_rows(lambda: nn.Embedding(7, 7).double(), network, [0, 1])
        x, y = tokens(5, 6, below=7), tokens(5, 6, below=7, seed=1)
        y[2:, 1:] = -100
        network.chunks = lambda x: [slice(0, 2), slice(2, 5)]  # pyright: ignore[reportAttributeAccessIssue]
        loss, error = evaluate(network, theta, None, x, y)
        outputs = network(theta, x[None])
        torch.testing.assert_close(loss, self.task.loss(outputs, y[None]))
        torch.testing.assert_close(error, 100 * self.task.total_error(outputs, y[None]).double() / 15)

    def test_probes_are_whole_sequences_with_enough_tokens(self):
        x, y = tokens(20, 6, below=7), tokens(20, 6, below=7, seed=1)
        y[::2, 3:] = -100
        some, targets = probes(self.task, x, y, inputs=30, seed=0)
        assert targets is not None
        assert (
            int(self.task.count_items(targets[None])) >= 30 > int(self.task.count_items(targets[None, :-1]))
        )
        where = [int((x == s).all(1).nonzero()[0]) for s in some]
        assert torch.equal(y[where], targets)
        assert len(set(where)) == len(where)
        everything, _ = probes(self.task, x, y, inputs=10_000, seed=0)
        assert len(everything) == 20

    def test_a_model_that_says_the_same_everywhere_is_not_dead(self):
        assert self.task.gives_one_answer(torch.zeros(2, 3, 4, dtype=torch.long)).tolist() == [False, False]
        assert TASKS["classification"].gives_one_answer(torch.tensor([[1, 1], [1, 0]])).tolist() == [
            True,
            False,
        ]


class TestRegression:
    task = TASKS["regression"]

    def test_loss_is_the_mean_square_of_what_is_asked(self):
        outputs, y = normal(2, 4, 3), normal(1, 4, 3, seed=1)
        y[0, 1, 2], y[0, 3, 0] = math.nan, math.nan
        asked = ~y[0].isnan()
        expected = [((outputs[row] - y[0])[asked] ** 2).mean() for row in range(2)]
        torch.testing.assert_close(self.task.loss(outputs, y), torch.stack(expected))
        torch.testing.assert_close(self.task.total_error(outputs, y), 10 * torch.stack(expected))

    def test_nothing_asked_has_no_gradient(self):
        outputs = normal(1, 2, 2).requires_grad_()
        y = torch.tensor([[[1.0, math.nan], [math.nan, math.nan]]], dtype=torch.float64)
        (gradient,) = torch.autograd.grad(self.task.loss(outputs, y).sum(), outputs)
        assert gradient.isfinite().all()
        assert (gradient != 0).tolist() == [[[True, False], [False, False]]]

    def test_measures_agree_with_linear_least_squares(self):
        """f(x) = w·x: the Hessian is 2·XᵀX/n, whatever the targets."""
        module = nn.Linear(3, 1, bias=False).double()
        network = Rows(module, task=self.task)
        theta, buffers = initial_rows(lambda: nn.Linear(3, 1, bias=False).double(), network, [0, 1])
        x, y = normal(40, 3), normal(40, 1, seed=1)
        exact = torch.linalg.eigvalsh(2 * x.T @ x / 40)
        found = hessian(network, theta, x, y, seeds=[0, 1])
        torch.testing.assert_close(found.top_eigenvalue, exact[-1].expand(2))
        torch.testing.assert_close(found.trace, exact.sum().expand(2))
        solution = torch.linalg.lstsq(x, y).solution.T
        rise = sharpness(network, solution, x, y, buffers=buffers[:1], radius=0.1, steps=20).rise
        assert 0 < rise.item() <= 0.01 * exact[-1].item() + 1e-12
        noise = noise_scale(network, theta, x, y, seeds=[0, 1], batch_size=8, batch_count=10)
        assert (noise.variance > 0).all()

    def test_what_is_not_asked_bends_nothing(self):
        """f(x) = W·x, of which each input asks for one number: a block of the Hessian is 2·XᵀX/n of those."""
        module = nn.Linear(3, 2, bias=False).double()
        network = Rows(module, task=self.task)
        theta, x, y = network.row(module)[0][None], normal(40, 3), normal(40, 2, seed=1)
        y[:10, 1] = y[10:, 0] = math.nan
        blocks = [2 * part.T @ part / 40 for part in (x[:10], x[10:])]
        found = HessianOperator(network, theta, x, y)
        for place, vector in enumerate(torch.eye(6, dtype=torch.float64)):
            expected = torch.block_diag(*blocks)[place]
            torch.testing.assert_close(found(vector[None])[0], expected)

    def test_ensemble_obeys_the_ambiguity_decomposition(self):
        network = Rows(nn.Linear(3, 2).double(), task=self.task)
        theta, _ = initial_rows(lambda: nn.Linear(3, 2).double(), network, range(4))
        x, y = normal(50, 3), normal(50, 2, seed=1)
        result = ensemble_of(network, theta, None, x, y)
        member, vote = 100 - result.member_accuracy_percent, 100 - result.vote_accuracy_percent
        assert member == pytest.approx(100 * ((network(theta, x[None]) - y) ** 2).mean().item())
        assert member - vote == pytest.approx(result.disagreement_percent * 3 / 8)
        assert vote < member

    def test_ensemble_and_disagreement_are_over_what_is_asked(self):
        network = Rows(nn.Linear(3, 2).double(), task=self.task)
        theta, _ = initial_rows(lambda: nn.Linear(3, 2).double(), network, range(4))
        x, y = normal(50, 3), normal(50, 2, seed=1)
        y[10:45, 0], y[:20] = math.nan, math.nan
        network.chunks = lambda x: [slice(0, 20), slice(20, 50)]  # pyright: ignore[reportAttributeAccessIssue]
        outputs, asked = network(theta, x[None]), ~y.isnan()
        apart = [((outputs[i] - outputs[j])[asked] ** 2).mean().item() for i, j in combinations(range(4), 2)]
        result = ensemble_of(network, theta, None, x, y)
        assert result.disagreement_percent == pytest.approx(100 * sum(apart) / 6)
        gain = result.vote_accuracy_percent - result.member_accuracy_percent
        assert gain == pytest.approx(result.disagreement_percent * 3 / 8)
        of_pairs = self.task.mean_differences(self.task.select_items(network.answers(theta, x), y))
        assert of_pairs[0, 1].item() == pytest.approx(apart[0])

    def test_training_reaches_the_least_squares_solution(self):
        x = normal(64, 3)
        y = x @ normal(3, 1, seed=2) + 0.1 * normal(64, 1, seed=3)
        network = Rows(nn.Linear(3, 1, bias=False).double(), task=self.task)
        theta, buffers = initial_rows(lambda: nn.Linear(3, 1, bias=False).double(), network, [0])
        data = Split(x, y, x, y, classes=1)
        done = train(
            network,
            theta,
            buffers,
            data,
            seeds=[0],
            batch_size=64,
            steps=300,
            learning_rate=0.05,
            momentum=0.5,
        )
        torch.testing.assert_close(done.theta, torch.linalg.lstsq(x, y).solution.T, rtol=1e-4, atol=1e-5)
        assert done.final[0]["status"] == "ok"
        residual = ((y - x @ done.theta.T) ** 2).mean().item()
        assert done.final[0]["train_error_percent"] == pytest.approx(100 * residual)


def test_ensemble_does_not_depend_on_the_chunks():
    network = Rows(nn.Linear(3, 4).double())
    theta, _ = initial_rows(lambda: nn.Linear(3, 4).double(), network, range(3))
    x, y = normal(90, 3), tokens(90, below=4)
    whole = ensemble_of(network, theta, None, x, y)
    network.chunks = lambda x: [slice(0, 50), slice(50, 90)]  # pyright: ignore[reportAttributeAccessIssue]
    apart = ensemble_of(network, theta, None, x, y)
    assert vars(apart) == pytest.approx(vars(whole))


@pytest.fixture
def line() -> Arrays:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(120, 3))
    y = (x @ [3.0, -1.0, 0.5] + 7).astype(np.float64)
    return checked_arrays("here", {"x_train": x[:80], "y_train": y[:80], "x_test": x[80:], "y_test": y[80:]})


def test_targets_are_scaled_as_the_training_targets_are(line: Arrays):
    ready = prepare(line, DataOptions(), "line")
    assert ready.y_train.mean() == pytest.approx(0, abs=1e-6)
    assert ready.y_train.std() == pytest.approx(1, abs=1e-5)
    back = ready.y_test * line.y_train.std() + line.y_train.mean()
    np.testing.assert_allclose(back, line.y_test, rtol=1e-5)
    plain = prepare(line, DataOptions(standardise=False), "line")
    assert np.array_equal(np.sort(plain.y_train, 0), np.sort(line.y_train, 0))


def test_label_noise_gives_a_share_of_the_inputs_anothers_target(line: Arrays):
    clean = prepare(line, DataOptions(standardise=False), "line").y_train
    before = np.zeros(len(clean), bool)
    for share in (0.1, 0.5):
        noisy = prepare(line, DataOptions(standardise=False, label_noise=share), "line").y_train
        changed = (noisy != clean).any(1)
        assert changed.sum() == round(share * len(clean))
        assert np.isin(noisy[changed], clean).all()
        assert (changed | ~before).all()  # nested
        before = changed


SPACE = """
name: line
data: {{name: arrays, path: {path}}}
{task}
model: {{name: mlp, depth: 1}}
load: {{width: [2, 16]}}
temperature: {{batch_size: [8, 40]}}
seeds: 2
training: {{steps: 150, learning_rate: 0.05}}
measures:
  hessian: {{inputs: 50}}
  connectivity: {{steps: 60}}
  similarity: {{inputs: 50}}
  ensemble:
  sharpness:
"""


@pytest.fixture
def space(tmp_path, line: Arrays):
    parts = {name: getattr(line, name) for name in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(tmp_path / "line.npz", **parts)
    (tmp_path / "line.yaml").write_text(SPACE.format(path=tmp_path / "line.npz", task="task: regression"))
    return tmp_path / "line.yaml"


def test_a_regression_runs_from_space_to_pages(space, tmp_path):
    run = in_process.run(yaml.safe_load(space.read_text()), tmp_path / "runs/line")
    assert (run.models["status"] == "ok").all()
    assert set(run.models["task"]) == {"regression"}
    wide = run.models[run.models["width"] == 16]
    assert (wide["test_accuracy_percent"] > 95).all()  # of the variance of a linear function
    np.testing.assert_allclose(run.models["train_error_percent"], 100 * run.models["train_loss"], rtol=1e-5)
    assert run.pairs["mode_connectivity"].notna().all()
    assert run.pairs["cka"].between(0, 1 + 1e-9).all()
    assert (run.pairs["disagreement_percent"] > 0).all()
    page = explorer.report.write(run, tmp_path / "report", images=False).read_text()
    assert "test explained variance" in page
    visible = re.sub(r"<(script|style|pre)\b.*?</\1>|<[^>]+>", " ", page, flags=re.S)
    assert not re.search(r"[^-_]accuracy[^_-]|\bnats\b", visible)
    model = run.models.iloc[-1]
    arrays = run.data(model["model_id"])
    with torch.no_grad():
        outputs = run.model(model["model_id"])(torch.tensor(arrays.x_test)).numpy()
    assert model["test_loss"] == pytest.approx(((outputs - arrays.y_test) ** 2).mean(), rel=1e-4)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("task: regression", "", r"which is no label.*numbers to predict are for task: regression"),
        ("task: regression", "task: translation", "is for classification or regression, not for translation"),
        ("{name: mlp", "{name: mlp, width: 0", "width"),
        ("steps: 150", "steps: 150, loss: cross_entropy", "loss"),
        ("name: arrays,", "name: arrays, balanced: true,", "numbers as targets, not classes"),
    ],
)
def test_what_does_not_go_together_is_told(space, tmp_path, before, after, message):
    space.write_text(space.read_text().replace(before, after))
    with pytest.raises(InputError, match=message):
        explorer.run(str(space), storage=str(tmp_path / "runs"))
    assert not (tmp_path / "runs" / "line" / "run.yaml").exists()
    for cluster in (None, "16xCPU"):
        with pytest.raises(InputError, match=message):
            describe(read(space), cluster)


def test_a_template_is_said_anew_in_the_words_of_each_page():
    template = environment().from_string('{{ "test accuracy" | reword }}')
    assert template.render() == "test accuracy"
    with in_words(TASKS["translation"].words):
        assert template.render() == "test token accuracy"
    assert template.render() == "test accuracy"


def test_sentences_are_said_in_the_words_of_the_task():
    regression, translation = TASKS["regression"].words, TASKS["translation"].words
    assert translation.reword("Test accuracy") == "Test token accuracy"
    assert (
        translation.reword("percentage points of training error")
        == "percentage points of training token error"
    )
    assert translation.reword("by standard error, 2 nats") == "by standard error, 2 nats"
    assert regression.reword("Training loss (nats), below 0.1 nats") == "Training loss, below 0.1"
    assert regression.reword("Accuracy grows") == "Explained variance grows"
    assert regression.reword(EVERY["disagreement_percent"].caption).startswith("Mean squared difference")
    assert translation.reword(EVERY["disagreement_percent"].caption).startswith("Share of test target tokens")
    text = "The best test accuracy lies where training error, 0.1 nats, is low on test inputs."
    assert TASKS["classification"].words.reword(text) == text
