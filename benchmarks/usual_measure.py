"""The usual way, part 3: measures the models of one cell in a process of its own, one after the other.

Each model: power iteration and Hutchinson's probes as PyHessian has them. Each pair: a curve fitted with
curve modules and a ``DataLoader``, then looked at along the curve and the straight line. Each ordered
pair: CKA of the outputs with Gram matrices.

    python benchmarks/usual_measure.py --data data.npz --network mlp --width 16 --models run/a_seed*.safetensors --out run/a

Leaves ``run/a_hessian.csv``, ``run/a_pairs.csv`` and ``run/a_curves.csv``.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from usual_networks import NETWORKS, CurveNet, loss_and_error
from usual_train import load_data

PRODUCTS, TOLERANCE = 100, 1e-3  # PyHessian's own: at most so many, until an estimate moves less


def curvature(module: nn.Module, x: Tensor, y: Tensor, seed: int) -> tuple[float, float, int]:
    """Top eigenvalue, trace and number of products by power iteration and Hutchinson, on a kept graph."""
    generator = torch.Generator().manual_seed(seed)
    parameters = list(module.parameters())
    loss = functional.cross_entropy(module(x), y)
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)

    def product(vector: list[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(gradients, parameters, vector, retain_graph=True)

    def inner(left: Any, right: Any) -> float:
        return sum(float((a * b).sum()) for a, b in zip(left, right, strict=True))

    vector = [torch.randn(p.shape, generator=generator) for p in parameters]
    value, count = 0.0, 0
    for _ in range(PRODUCTS):
        length = inner(vector, vector) ** 0.5
        vector = [v / (length + 1e-6) for v in vector]
        image = product(vector)
        count += 1
        before, value = value, inner(image, vector)
        vector = list(image)
        if count > 1 and abs(before - value) / (abs(before) + 1e-6) < TOLERANCE:
            break
    samples, trace = [], 0.0
    for _ in range(PRODUCTS):
        signs = [torch.randint(0, 2, p.shape, generator=generator).float() * 2 - 1 for p in parameters]
        samples.append(inner(product(signs), signs))
        count += 1
        mean = statistics.fmean(samples)
        if abs(mean - trace) / (abs(trace) + 1e-6) < TOLERANCE:
            break
        trace = mean
    return value, statistics.fmean(samples), count


def curve_rate(step: int, steps: int) -> float:
    """Factor of the learning rate: flat to half, falling linearly to 1 % at 90 % of the steps, then flat."""
    place = step / steps
    return 1.0 if place <= 0.5 else 1.0 - (place - 0.5) / 0.4 * 0.99 if place <= 0.9 else 0.01


def fit_curve(
    a: nn.Sequential,
    b: nn.Sequential,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
) -> CurveNet:
    """The curve between two models, by SGD on the training loss at t ~ U(0, 1)."""
    curve = CurveNet(a, b)
    loader = DataLoader(TensorDataset(x, y), batch_size, shuffle=True, drop_last=True)
    trained = [p for p in curve.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=learning_rate, momentum=momentum)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: curve_rate(step, steps))
    step = 0
    while step < steps:
        for x_batch, y_batch in loader:
            optimiser.zero_grad()
            functional.cross_entropy(curve(x_batch, torch.rand(()).item()), y_batch).backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step == steps:
                break
    return curve


def along(
    path: str, at: Callable[[Tensor, float], Tensor], data: dict[str, Tensor], points: int
) -> list[dict]:
    """Loss and error at evenly spaced t, on training and test data."""
    rows = []
    for t in np.linspace(0, 1, points).tolist():
        train_loss, train_error = loss_and_error(lambda x, t=t: at(x, t), data["x_train"], data["y_train"])
        test_loss, test_error = loss_and_error(lambda x, t=t: at(x, t), data["x_test"], data["y_test"])
        rows.append({"path": path, "t": t, "train_loss": train_loss, "train_error_percent": train_error,
                     "test_loss": test_loss, "test_error_percent": test_error})  # fmt: skip
    return rows


def barriers(rows: list[dict]) -> tuple[float, float]:
    """Mode connectivity, and the largest rise of the training error over the mean of both ends."""
    error = [row["train_error_percent"] for row in rows]
    middle = (error[0] + error[-1]) / 2
    return middle - max(error, key=lambda e: abs(e - middle)), max(error) - middle


def mixed_up(x: Tensor, inputs: int, batch_size: int = 128) -> Tensor:
    """Mixup with one λ ~ Beta(16, 16) a batch, the same for all models."""
    parts = []
    for start in range(0, inputs, batch_size):
        count = min(batch_size, inputs - start)
        share = float(np.random.beta(16, 16))  # noqa: NPY002 (a script's own process)
        i, j = (torch.randint(len(x), (count,)) for _ in range(2))
        parts.append(share * x[i] + (1 - share) * x[j])
    return torch.cat(parts)


def gram_cka(x: Tensor, y: Tensor) -> float:
    """Linear CKA of outputs (inputs, features) by centred Gram matrices."""

    def centred(gram: Tensor) -> Tensor:
        return gram - gram.mean(0, keepdim=True) - gram.mean(1, keepdim=True) + gram.mean()

    k, other = centred(x @ x.T), centred(y @ y.T)
    return ((k * other).sum() / (k.norm() * other.norm())).item()


@torch.no_grad()
def similarity(a: nn.Module, b: nn.Module, mixed: Tensor, x_test: Tensor) -> dict[str, float]:
    """CKA of the softmax outputs, disagreement and distance of a pair."""
    apart = [(p - q).flatten() for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    return {
        "cka": gram_cka(a(mixed).softmax(1), b(mixed).softmax(1)),
        "disagreement_percent": 100 * (a(x_test).argmax(1) != b(x_test).argmax(1)).float().mean().item(),
        "l2_distance": torch.cat(apart).norm().item(),
    }


def write(path: str, rows: list[dict[str, Any]]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--network", choices=list(NETWORKS), required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--models", nargs="+", required=True, help="weights of the models of a cell")
    parser.add_argument("--hessian-inputs", type=int, default=1000)
    parser.add_argument("--cka-inputs", type=int, default=1000)
    parser.add_argument("--curve-steps", type=int, default=1000)
    parser.add_argument("--curve-batch-size", type=int, default=64)
    parser.add_argument("--curve-learning-rate", type=float, default=0.1)
    parser.add_argument("--curve-momentum", type=float, default=0.9)
    parser.add_argument("--points", type=int, default=11, help="of t along a path")
    parser.add_argument(
        "--seed", type=int, default=0, help="of the mixed-up inputs, among others: one a cell"
    )
    parser.add_argument("--out", required=True, help="how the files' names begin")
    given = parser.parse_args()

    torch.manual_seed(given.seed)
    np.random.seed(given.seed)  # noqa: NPY002
    data = load_data(given.data)
    x, y = data["x_train"], data["y_train"]
    models = []
    for file in given.models:
        module = NETWORKS[given.network](x.shape[1:], given.width, int(y.max()) + 1)
        module.load_state_dict(load_file(file))
        models.append(module.eval())

    hessian, inputs = [], given.hessian_inputs
    for file, module in zip(given.models, models, strict=True):
        top, trace, products = curvature(module, x[:inputs], y[:inputs], 0)
        hessian.append({"model": Path(file).stem, "hessian_top_eigenvalue": top, "hessian_trace": trace,
                        "products": products})  # fmt: skip

    pairs, points = [], []
    for i, j in itertools.combinations(range(len(models)), 2):
        a, b = models[i], models[j]
        curve = fit_curve(
            a,
            b,
            x,
            y,
            steps=given.curve_steps,
            batch_size=given.curve_batch_size,
            learning_rate=given.curve_learning_rate,
            momentum=given.curve_momentum,
        )
        bent = along("bezier", curve, data, given.points)
        line = along("linear", CurveNet(a, b), data, given.points)  # its bend is midway
        connectivity, barrier = barriers(bent)
        pairs.append({"a": i, "b": j, "mode_connectivity": connectivity, "barrier": barrier,
                      "linear_barrier": barriers(line)[1]})  # fmt: skip
        points += [{"a": i, "b": j, **row} for row in (*bent, *line)]

    mixed = mixed_up(x, given.cka_inputs)
    alike = {
        (i, j): similarity(models[i], models[j], mixed, data["x_test"])
        for i, j in itertools.permutations(range(len(models)), 2)
    }
    write(f"{given.out}_hessian.csv", hessian)
    write(f"{given.out}_pairs.csv", [{**pair, **alike[pair["a"], pair["b"]]} for pair in pairs])
    write(f"{given.out}_curves.csv", points)


if __name__ == "__main__":
    main()
