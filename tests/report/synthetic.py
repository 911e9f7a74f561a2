"""A made-up run with the shapes that real ones show: barriers at small width, sharp hot cells."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import numpy as np
import pandas as pd

from explorer.results import RunTables

WIDTHS = (2, 3, 4, 6, 8, 16, 32, 64)
BATCH_SIZES = (4, 8, 16, 32, 64)


def synthetic_run(
    *,
    widths=WIDTHS,
    batch_sizes=BATCH_SIZES,
    seeds: int = 5,
    third: dict[str, list[Any]] | None = None,
    name: str = "digits",
    description: str = "Width and batch size on 1,000 digits.",
    error: str = "loss is not finite",
    points: int = 20,
) -> RunTables:
    """A run of ``widths × batch_sizes × third`` cells; a seed of the smallest, hottest cell diverged."""
    random = np.random.default_rng(0)
    third = third or {}
    axes = {"load": ["width", *third], "temperature": ["batch_size"]}
    models, epochs, pairs, curves = [], [], [], []
    for width, batch_size, *rest in itertools.product(widths, batch_sizes, *third.values()):
        place = {"width": width, "batch_size": batch_size, **dict(zip(third, rest, strict=True))}
        cell = _hash(place)
        room = np.log2(width)  # 1 .. 6
        cold = np.log2(batch_size) / 6  # .3 .. 1
        loss = max(2e-5 * (3 - cold), 10 ** (1.2 - 1.6 * room + 2 * (1 - cold)))
        mc = -max(0.0, 16 - 4.6 * room) * (0.5 + 0.5 * cold) + (
            14 if loss > 0.1 and cold < 0.6 and width > 3 else 0
        )
        cka = 1 - 0.5 * np.exp(-0.6 * room) - 0.04 * cold
        ids = []
        for seed in range(seeds):
            model_id = _hash({**place, "seed": seed})
            lost = width == widths[0] and batch_size == batch_sizes[0] and seed == 0
            accuracy = 96.5 - 60 / width**1.4 - 1.5 * cold + random.normal(0, 0.4 + 2 / width)
            final = loss * np.exp(random.normal(0, 0.15))
            models.append(
                {
                    "model_id": model_id,
                    "cell_id": cell,
                    "dataset": "digits",
                    "architecture": "mlp",
                    **place,
                    "seed": seed,
                    "status": "diverged" if lost else "ok",
                    "error": error if lost else "",
                    "steps": 2500,
                    "train_loss": np.nan if lost else final,
                    "train_error_percent": np.nan if lost else min(90, 25 * final),
                    "test_loss": np.nan if lost else 0.1 + final,
                    "test_accuracy_percent": np.nan if lost else accuracy,
                    "hessian_top_eigenvalue": np.nan
                    if lost
                    else 40 * final**0.5 * (1.6 - cold) * np.exp(random.normal(0, 0.1)),
                    "hessian_trace": np.nan if lost else 300 * final**0.6 * np.exp(random.normal(0, 0.1)),
                    "hessian_trace_stderr": np.nan if lost else 4.0,
                    "parameters": 75 * width + 10,
                    "wall_s": 0.31,
                    "peak_memory_mb": 310.0,
                }
            )
            if not lost:
                ids.append((seed, model_id))
            for k in range(points + 1):
                share = k / points
                epochs.append(
                    {
                        "model_id": model_id,
                        "step": round(2500 * share),
                        "epoch": 2.5 * share * batch_size,
                        "learning_rate": 0.03,
                        "train_loss": np.nan
                        if lost and k > 3
                        else 2.3 * (final / 2.3) ** (share**0.5 if share else 0),
                        "test_accuracy_percent": np.nan
                        if lost and k > 3
                        else 10 + (accuracy - 10) * min(1, 2 * share),
                    }
                )
        for (seed_a, a), (seed_b, b) in itertools.combinations(ids, 2):
            here = mc + random.normal(0, 0.2 + 3 / width)
            end = min(90, 25 * loss)
            pairs.append(
                {
                    "model_a": a,
                    "model_b": b,
                    "seed_a": seed_a,
                    "seed_b": seed_b,
                    "cell_id": cell,
                    **place,
                    "status": "ok",
                    "error": "",
                    "mode_connectivity": here,
                    "barrier": max(0, -here),
                    "dip": max(0, here),
                    "loss_barrier": max(0.001, -here / 30),
                    "linear_barrier": 40 + random.normal(0, 4),
                    "linear_loss_barrier": 1.5,
                    "curve_steps": 1000,
                    "cka": min(1, cka + random.normal(0, 0.01)),
                    "cka_logits": cka - 0.05,
                    "disagreement_percent": 30 / width**0.6 + 2,
                    "l2_distance": 4 + width**0.5,
                }
            )
            for path, height in (("bezier", -here), ("linear", 42.0)):
                for t in np.linspace(0, 1, 11):
                    hump = height * 4 * t * (1 - t)
                    curves.append(
                        {
                            "model_a": a,
                            "model_b": b,
                            "path": path,
                            "t": t,
                            "train_loss": max(1e-4, loss + hump / 30),
                            "train_error_percent": max(0, end + hump),
                            "test_loss": 0.1,
                            "test_error_percent": max(0, end + 3 + hump),
                        }
                    )
    info = {
        "schema": 1,
        "name": name,
        "created": "2026-11-24T06:00:00+00:00",
        "commit": "0" * 40,
        "space": {
            "name": name,
            "description": description,
            "data": {"name": "digits"},
            "model": {"name": "mlp", "depth": 1},
            "load": {"width": list(widths), **third},
            "temperature": {"batch_size": list(batch_sizes)},
            "seeds": seeds,
            "training": {"learning_rate": 0.03, "steps": 2500},
            "measures": {"connectivity": {"steps": 1000}},
            "phases": {"connected": None},
        },
        "versions": {"python": "3.11.7", "torch": "2.13.0", "ray": "2.60.0"},
        "machine": {"platform": "Linux", "cpus": 2, "memory_gb": 8, "gpus": 0},
        "sessions": [
            {
                "started": "2026-11-24T06:00:00+00:00",
                "stages": {"start_up_s": 4.1, "training_s": 21.0, "measuring_s": 18.2},
                "workers": {
                    "training_s": 40.0,
                    "hessian_s": 6.0,
                    "connectivity_s": 30.0,
                    "similarity_s": 4.0,
                },
                "wall_s": 44.0,
                "trained": len(models),
                "measured": len(pairs),
                "failed": 1,
            }
        ],
    }
    return RunTables(
        name=name,
        folder="runs/digits",
        axes=axes,
        models=pd.DataFrame(models),
        epochs=pd.DataFrame(epochs),
        pairs=pd.DataFrame(pairs),
        curves=pd.DataFrame(curves),
        info=info,
    )


def _hash(settings: dict[str, Any]) -> str:
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:12]
