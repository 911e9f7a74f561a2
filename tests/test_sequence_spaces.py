"""Spaces of translation and language with the measures that read a Transformer from inside."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import table, work

from explorer.space.reading import parse

WORDS = ("der rote Hund", "a red dog"), ("das Haus", "the house"), ("ein altes Buch", "an old book")


def corpus(folder: Path) -> dict[str, Any]:
    pairs = [(f"{a[0]} {b[0]} {i}", f"{a[1]} {b[1]} {i}") for a in WORDS for b in WORDS for i in range(8)]
    (folder / "corpus.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs), encoding="utf-8")
    return {"name": "parallel", "path": str(folder / "corpus.tsv"), "length": 24, "vocabulary": 64}


def text(folder: Path) -> dict[str, Any]:
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60, encoding="utf-8")
    return {"name": "text", "path": str(folder / "text.txt"), "length": 12}


@pytest.mark.parametrize("method", ["weights", "activations"])
@pytest.mark.parametrize(
    ("data", "model", "layer"),
    [(corpus, "transformer", "encoder_norm"), (text, "gpt", "blocks.0.perceptron.0")],
)
def test_alignment_and_layers_of_a_sequence_space(
    data: Any, model: str, layer: str, method: str, tmp_path: Path
) -> None:
    space = parse(
        {
            "name": "sequences",
            "data": data(tmp_path),
            "model": {"name": model, "layers": 1, "heads": 2},
            "load": {"width": [8, 12]},
            "temperature": {"batch_size": [16]},
            "seeds": 3,
            "training": {"steps": 20, "learning_rate": 0.01, "optimizer": "adamw", "history_points": 2},
            "measures": {
                "alignment": {"method": method, "inputs": 20, "points": 3},
                "similarity": {"inputs": 100, "layers": [layer]},
            },
        }
    )
    clean = importlib.import_module(f"explorer.data.{space.data['name']}").load(space.cells[0].data)
    store = work(space, clean, tmp_path / "run")
    aligned, alike = table(store, "alignment"), table(store, "similarity")
    assert len(aligned) == len(alike) == 2 * 3
    pairs = aligned.merge(alike, on=["model_a", "model_b"])
    assert np.isfinite(pairs["aligned_linear_barrier"]).all()
    assert pairs[f"cka_at_{layer}"].between(0, 1).all()
    if method == "weights":
        assert (pairs["aligned_l2_distance"] < pairs["l2_distance"]).all()
    assert set(table(store, "curves_aligned")["path"]) == {"aligned"}
