"""Claim: aligned, Transformers of other seeds lie nearer to each other, with a lower barrier between them.

Three models each of a GPT on the text that comes with Python and of a vision Transformer on digits, of two widths;
all three pairs. Asked: the barrier of the training loss on the straight line and the distance, as the models are
and after each method of matching. Times play no part.

    OMP_NUM_THREADS=1 python benchmarks/alignment_transformers.py
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from landscape_common import digits, record
from torch import Tensor

from explorer.data import text
from explorer.landscape.alignment import Method, align
from explorer.landscape.connectivity import barrier, profile_path
from explorer.landscape.paths import straight
from explorer.landscape.similarity import l2_distance
from explorer.models import base, gpt, vit
from explorer.models.rows import Rows, initial_rows
from explorer.train.loop import Recipe, Split, train

MODELS, STEPS, INPUTS = 3, 300, 300
METHODS: tuple[Method, ...] = ("weights", "activations")


def windows() -> Split:
    """The first 1,500 windows of 32 characters for training, 300 for testing."""
    arrays = text.load(text.Options(length=32))
    train_x, train_y = (torch.as_tensor(a[:1500]) for a in (arrays.x_train, arrays.y_train))
    test_x, test_y = (torch.as_tensor(a[:300]) for a in (arrays.x_test, arrays.y_test))
    return Split(train_x, train_y, test_x, test_y, classes=arrays.classes)


def built(name: str, width: int, data: Split) -> tuple[Any, Rows]:
    shape = tuple(data.x_train.shape[1:])
    if name == "gpt":
        options = gpt.Options(width=width, layers=2, heads=4)
        return base.network(name, options, shape, data.classes, task="language")
    return base.network(name, vit.Options(width=width, depth=2, heads=4, patch=2), shape, data.classes)


def compare(name: str, width: int, data: Split) -> dict[str, Any]:
    build, network = built(name, width, data)
    theta, buffers = initial_rows(build, network, range(MODELS))
    recipe = Recipe(32, STEPS, learning_rate=0.002, optimizer="adamw", history_points=2)
    cell = train(network, theta, buffers, data, recipe, seeds=range(MODELS))
    pairs = list(itertools.combinations(range(MODELS), 2))
    first, second = (list(ends) for ends in zip(*pairs, strict=True))
    a, b, empty = cell.theta[first], cell.theta[second], cell.buffers[first]

    def measured(end: Tensor) -> dict[str, list[float]]:
        line = profile_path(network, straight(a, end), empty, data)
        return {"loss_barrier": barrier(line.train_loss).tolist(), "distance": l2_distance(a, end).tolist()}

    found = {"as they are": measured(b)}
    for method in METHODS:
        x = data.x_train[:INPUTS]
        aligned, _ = align(network, a, b, empty, empty, x, seeds=range(len(pairs)), method=method)
        found[method] = measured(aligned)
    means = {
        way: {key: sum(values) / len(values) for key, values in columns.items()}
        for way, columns in found.items()
    }
    return {
        "network": name, "width": width, "models": MODELS, "pairs": len(pairs), "steps": STEPS,
        "train_loss": [end["train_loss"] for end in cell.final], "means": means, "raw": found,
    }  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    cases = [("gpt", windows()), ("vit", digits((1, 8, 8)))]
    rows = [compare(name, width, data) for name, data in cases for width in (32, 64)]
    record("alignment_transformers", (__doc__ or "").splitlines()[0], rows)
