"""Claim: CKA of all pairs of a cell from one forward pass a model costs a fraction of pair-by-pair CKA.

The plain baseline takes every ordered pair, forwards both models and builds the inputs × inputs Gram
matrices of the biased HSIC. Asked: wall time for five models on 640 mixed-up inputs, and that both agree.

    OMP_NUM_THREADS=1 python benchmarks/landscape_cka.py
"""

from __future__ import annotations

from typing import Any

import torch
from landscape_common import MODELS, alternating, record, trained
from torch import Tensor
from usual_measure import gram_cka

from explorer.landscape.similarity import linear_cka, mixup

RUNS, INPUTS = 9, 640


def compare(name: str, width: int) -> dict[str, Any]:
    network, cell, data = trained(name, width, steps=300)
    modules = [network.to_module(t, s) for t, s in zip(cell.theta, cell.buffers, strict=True)]
    x = mixup(data.x_train, inputs=INPUTS, seed=0)

    @torch.no_grad()
    def plain(_run: int) -> Tensor:
        return torch.tensor([[gram_cka(a(x).softmax(1), b(x).softmax(1)) for b in modules] for a in modules])

    def ours(_run: int) -> Tensor:
        return linear_cka(network.outputs(cell.theta, x, cell.buffers).softmax(2))

    timed = alternating({"plain": plain, "ours": ours}, runs=RUNS)
    difference = (timed["plain"]["results"][0] - timed["ours"]["results"][0]).abs().max().item()
    return {
        "network": name, "width": width, "models": MODELS, "inputs": INPUTS, "n": RUNS,
        "plain_s": timed["plain"]["median_s"], "ours_s": timed["ours"]["median_s"],
        "times_faster": timed["plain"]["median_s"] / timed["ours"]["median_s"],
        "largest_difference": difference,
        "seconds": {who: result["seconds"] for who, result in timed.items()},
    }  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    record("landscape_cka", (__doc__ or "").splitlines()[0], [compare("mlp", 16), compare("cnn", 4)])
