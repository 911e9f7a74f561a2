"""Claim: the ten curves of a cell fitted in one stack take a fraction of ten plain fits, to the same loss.

The plain baseline is a PyTorch loop over one pair: parameters as tensors, ``functional_call`` at the point of
the curve, ``torch.optim.SGD`` with the same schedule, data in memory, no data loader. The same steps, batch
size, rates. Asked: wall time of all ten, and the mean loss along the fitted curves (11 points).

    OMP_NUM_THREADS=1 python benchmarks/landscape_curves.py
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from landscape_common import MODELS, alternating, record, trained
from torch import Tensor, nn
from torch.func import functional_call

from explorer.landscape.connectivity import curve_rate, fit_curves, profile
from explorer.models.rows import Execution

RUNS, BATCH, RATE, MOMENTUM = 5, 64, 0.1, 0.9


def plain(a: nn.Module, b: nn.Module, x: Tensor, y: Tensor, *, steps: int, seed: int) -> Tensor:
    """Control point (parameters,) of the curve between two modules."""
    generator = torch.Generator().manual_seed(seed)
    names = [name for name, _ in a.named_parameters()]
    ends = [(p.detach(), q.detach()) for p, q in zip(a.parameters(), b.parameters(), strict=True)]
    control = [nn.Parameter((p + q) / 2) for p, q in ends]
    optimiser = torch.optim.SGD(control, lr=RATE, momentum=MOMENTUM)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: curve_rate(step, steps))
    a.train()
    per_pass, order = len(x) // BATCH, torch.zeros(0)
    for step in range(steps):
        place = step % per_pass
        if place == 0:
            order = torch.randperm(len(x), generator=generator)
        index = order[place * BATCH : (place + 1) * BATCH]
        t = torch.rand(1, generator=generator).item()
        point = [
            (1 - t) ** 2 * p + 2 * t * (1 - t) * c + t**2 * q for (p, q), c in zip(ends, control, strict=True)
        ]
        logits = functional_call(a, dict(zip(names, point, strict=True)), (x[index],))
        loss = nn.functional.cross_entropy(logits, y[index])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return torch.cat([c.detach().flatten() for c in control])


def compare(
    name: str, width: int, *, steps: int, training: int, execution: Execution | None
) -> dict[str, Any]:
    network, cell, data = trained(name, width, steps=training, execution=execution)
    first, second = map(list, zip(*itertools.combinations(range(MODELS), 2), strict=True))
    a, b, buffers = cell.theta[first], cell.theta[second], cell.buffers[first]
    seeds = range(len(first))

    def stacked(run: int) -> Tensor:
        return fit_curves(
            network, a, b, buffers, data.x_train, data.y_train, seeds=[100 * run + s for s in seeds],
            steps=steps, batch_size=BATCH, learning_rate=RATE, momentum=MOMENTUM,
        )  # fmt: skip

    def one_by_one(run: int) -> Tensor:
        modules = [network.to_module(t, s) for t, s in zip(cell.theta, cell.buffers, strict=True)]
        return torch.stack(
            [
                plain(modules[i], modules[j], data.x_train, data.y_train, steps=steps, seed=100 * run + s)
                for s, (i, j) in enumerate(zip(first, second, strict=True))
            ]
        )

    timed = alternating({"plain": one_by_one, "stacked": stacked}, runs=RUNS)
    row: dict[str, Any] = {"network": name, "width": width, "pairs": len(first), "steps": steps, "n": RUNS}
    for who, result in timed.items():
        losses = [
            profile(network, a, c, b, buffers, data).train_loss.mean().item() for c in result["results"]
        ]
        row |= {f"{who}_s": result["median_s"], f"{who}_loss": sum(losses) / RUNS}
    row["times_faster"] = row["plain_s"] / row["stacked_s"]
    row["loss_ratio"] = row["stacked_loss"] / row["plain_loss"]
    row["seconds"] = {who: result["seconds"] for who, result in timed.items()}
    return row


if __name__ == "__main__":
    torch.set_num_threads(1)
    record("landscape_curves", (__doc__ or "").splitlines()[0], [
        compare("mlp", 16, steps=1000, training=1500, execution=None),
        compare("mlp", 64, steps=1000, training=1500, execution=None),
        compare("cnn", 4, steps=150, training=300, execution="vmap"),
    ])  # fmt: skip
