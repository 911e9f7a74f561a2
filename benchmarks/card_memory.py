"""Claim: chunks sized by the share of a card make Hessians and evaluations faster there, within the share.

Two budgets take turns on one ResNet18: that of a processor (a graph of 256 MB, 32 MB of a layer's outputs),
and that of the process's share of the card. Each takes the Hessian of one model and evaluates ten on random
images; asked are the seconds, the peak memory as a part of the share, and how far results differ.

    python benchmarks/card_memory.py           # a GPU; a quarter of it, a few minutes
    python benchmarks/card_memory.py --small   # a minute on a processor: that it works, and how results differ
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from landscape_common import alternating, record

from explorer.landscape.hessian import hessian
from explorer.models import base, memory
from explorer.models.resnet18 import Options
from explorer.models.rows import Rows, initial_rows
from explorer.train.loop import evaluate

SHAPE, CLASSES, EVALUATED = (3, 32, 32), 10, 10
PROCESSOR = 2 * 2**30  # of a card with so many bytes the parts are the budgets of a processor
SHARE = 0.25


def contest(rows: Rows, theta: torch.Tensor, buffers: torch.Tensor, inputs: int) -> dict[str, Callable]:
    """What is done, as functions of the run's number that return the numbers found."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(inputs, *SHAPE, generator=generator).to(theta)
    y = torch.randint(0, CLASSES, (inputs,), generator=generator).to(theta.device)

    def curvature(_run: int) -> list[float]:
        one, stats = theta[:1], buffers[:1]
        found = hessian(rows, one, x, y, buffers=stats, seeds=[0], lanczos_steps=5, probes_max=4)
        return [*found.top_eigenvalue.tolist(), *found.trace.tolist()]

    def evaluation(_run: int) -> list[float]:
        return evaluate(rows, theta, buffers, x, y)[0].tolist()

    return {"hessian": curvature, "evaluation": evaluation}


def compared(name: str, do: Callable, share: float, cuda: bool, runs: int) -> dict[str, Any]:
    """Seconds and peak memory of both budgets."""
    peaks: dict[str, int] = {}

    def with_room(which: str, card_bytes: float) -> Callable[[int], list[float]]:
        def run(number: int) -> list[float]:
            if cuda:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            with memory.with_card_bytes(card_bytes):
                found = do(number)  # its numbers are on the host: the card is done
            peaks[which] = torch.cuda.max_memory_reserved() if cuda else 0
            return found

        return run

    took = alternating(
        {"processor": with_room("processor", PROCESSOR), "share": with_room("share", share)}, runs=runs
    )
    ours, fixed = (torch.tensor(took[which]["results"][0]) for which in ("share", "processor"))
    return {
        "what": name,
        "fixed_s": took["processor"]["median_s"],
        "share_s": took["share"]["median_s"],
        "times_faster": took["processor"]["median_s"] / took["share"]["median_s"],
        "share_gb": share / 2**30,
        "peak_of_share": peaks["share"] / share,
        "largest_relative_difference": float(((ours - fixed) / fixed).abs().max()),
        "n": runs,
        "seconds": {which: one["seconds"] for which, one in took.items()},
    }


def main() -> None:
    """Compare and record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    if not small and not torch.cuda.is_available():
        raise SystemExit("there is no GPU here; --small shows on a processor that it works")
    device = torch.device("cpu" if small else "cuda")
    width, inputs, runs = (4, 200, 1) if small else (64, 2000, 5)
    share = 8 * 2.0**30 if small else SHARE * torch.cuda.get_device_properties(device).total_memory
    if not small:
        torch.cuda.set_per_process_memory_fraction(SHARE)
    build, rows = base.network("resnet18", Options(width=width), SHAPE, CLASSES)
    theta, buffers = (t.to(device) for t in initial_rows(build, rows.to(device), range(EVALUATED)))
    found = [
        compared(name, do, share, not small, runs)
        for name, do in contest(rows, theta, buffers, inputs).items()
    ]
    if small:
        print(*found, sep="\n")
        return
    card = torch.cuda.get_device_name(device)
    record("card_memory", (__doc__ or "").splitlines()[0], [{"card": card, **row} for row in found])


if __name__ == "__main__":
    main()
