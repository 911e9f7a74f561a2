"""The usual way, part 2: trains one model in a process of its own, with a ``DataLoader``.

    python benchmarks/usual_train.py --data data.npz --network mlp --width 16 --batch-size 32 --seed 0 --out run/a

Leaves the weights (``run/a_seed0.safetensors``) and the training history (``run/a_seed0.csv``).
"""

from __future__ import annotations

import argparse
import csv

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from usual_networks import NETWORKS, loss_and_error


def load_data(path: str) -> dict[str, Tensor]:
    """The four tensors of a prepared data set."""
    with np.load(path, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in ("x_train", "y_train", "x_test", "y_test")}


def evaluated_at(steps: int, points: int) -> set[int]:
    """Steps at which the training is looked at: evenly spaced on a log axis, with 0 and the end."""
    inner = [round(steps ** (i / (points - 2))) for i in range(points - 1)] if points > 2 else []
    return {0, steps, *inner}


def train(
    module: nn.Module,
    data: dict[str, Tensor],
    *,
    batch_size: int,
    steps: int,
    learning_rate: float,
    momentum: float,
    points: int,
) -> list[dict[str, float]]:
    """Train with SGD and a cosine schedule; returns a row a look at training and test set."""
    loader = DataLoader(
        TensorDataset(data["x_train"], data["y_train"]), batch_size, shuffle=True, drop_last=True
    )
    optimiser = torch.optim.SGD(module.parameters(), lr=learning_rate, momentum=momentum)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=steps)
    looks, history, step = evaluated_at(steps, points), [], 0

    def look() -> None:
        train_loss, train_error = loss_and_error(module, data["x_train"], data["y_train"])
        test_loss, test_error = loss_and_error(module, data["x_test"], data["y_test"])
        history.append(
            {"step": step, "train_loss": train_loss, "train_error_percent": train_error,
             "test_loss": test_loss, "test_accuracy_percent": 100 - test_error}
        )  # fmt: skip

    while step < steps:
        for x, y in loader:
            if step in looks:
                look()
            optimiser.zero_grad()
            functional.cross_entropy(module(x), y).backward()
            optimiser.step()
            schedule.step()
            step += 1
            if step == steps:
                break
    look()
    return history


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--network", choices=list(NETWORKS), required=True)
    for name in ("width", "batch-size", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--learning-rate", type=float, default=0.03)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--points", type=int, default=20, help="looks at training and test set")
    parser.add_argument("--out", required=True, help="how the files' names begin")
    given = parser.parse_args()

    torch.manual_seed(given.seed)
    data = load_data(given.data)
    classes = int(data["y_train"].max()) + 1
    module = NETWORKS[given.network](data["x_train"].shape[1:], given.width, classes)
    history = train(
        module,
        data,
        batch_size=given.batch_size,
        steps=given.steps,
        learning_rate=given.learning_rate,
        momentum=given.momentum,
        points=given.points,
    )
    name = f"{given.out}_seed{given.seed}"
    save_file(module.state_dict(), f"{name}.safetensors")
    with open(f"{name}.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(history[0]))
        writer.writeheader()
        writer.writerows(history)


if __name__ == "__main__":
    main()
