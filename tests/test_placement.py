"""Placement on a pretended GPU: every architecture, measure and optimiser, with data there or in host memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pretended_card import CARD, HOST, PlacementError, pretended_card

import explorer.measures
import explorer.models
from explorer.data.dataset import Arrays
from explorer.engine.worker import Worker
from explorer.plan import plan
from explorer.plan.units import data_source
from explorer.space.reading import parse
from explorer.train import optimisers

OF_IMAGES: dict[str, Any] = {
    "hessian": {"inputs": 16, "lanczos_steps": 2, "probes": 4},
    "density": {"inputs": 16, "steps": 2, "probes": 1},
    "connectivity": {"steps": 2, "points": 3, "batch_size": 8},
    "similarity": {"inputs": 16},
    "sharpness": {"inputs": 16},
    "spectra": {},
    "noise": {"batch_size": 4, "batches": 3},
    "alignment": {"inputs": 16, "points": 3},
    "ensemble": {},
}
OF_TEXT = {**OF_IMAGES, "perplexity": {}}
DIGITS = {"name": "digits", "train_size": 24}
PAIRS = [("eins", "one"), ("zwei", "two"), ("drei", "three"), ("vier", "four"), ("acht", "eight")]
SENTENCES = "".join(f"{a} {c}\t{b} {d}\n" for a, b in PAIRS for c, d in PAIRS)


def space(name: str, width: int, measures: dict[str, Any], data: dict[str, Any] = DIGITS, **more: Any) -> Any:
    """A space of two small models, or one if nothing is measured, that are trained for two steps."""
    training = {
        "steps": 2,
        "learning_rate": 0.02,
        "batch_size": 8,
        "history_points": 2,
        **more.pop("training", {}),
    }
    return {
        "name": "placed", "data": data, "model": {"name": name, **more}, "load": {"width": [width]},
        "seeds": 2 if measures else 1, "measures": measures, "training": training,
    }  # fmt: skip


FEW = {name: OF_IMAGES[name] for name in ("connectivity", "similarity")}
ALIGNED = {**FEW, "alignment": {**OF_IMAGES["alignment"], "method": "activations"}}
SPACES: dict[str, Any] = {
    "mlp": space("mlp", 12, OF_IMAGES, training={"optimizer": "adamw", "keep": "best"}),
    "mlp sam": space("mlp", 4, {}, depth=2, training={"optimizer": "sam", "precision": "bf16"}),
    "mlp sgd": {**space("mlp", 4, {}), "load": {"label_noise": [0, 0.5]}, "temperature": {"learning_rate": [0.1, 1]}},
    "cnn": space("cnn", 12, OF_IMAGES, norm="batch", training={"augment": True, "channels_last": True}),
    "cnn by hand": space("cnn", 6, FEW, norm="none"),
    "resnet18": space("resnet18", 1, FEW),
    "resnet50": space("resnet50", 1, {}),
    "vgg11": space("vgg11", 1, {}, {"name": "digits", "train_size": 24}),
    "densenet40": space("densenet40", 1, {}),
    "vit": space("vit", 4, FEW, depth=1),
    "pinn": space("pinn", 4, ALIGNED, {"name": "convection", "points": 20, "physics": True, "collocation": 20}),
    "gpt": space("gpt", 4, OF_TEXT, {"name": "text", "train_size": 24, "length": 6}, layers=1),
    "transformer": space("transformer", 4, {"bleu": {"inputs": 3, "beam": 2}, **FEW}, {"name": "parallel"}, layers=1),
}  # fmt: skip


def few(arrays: Arrays) -> Arrays:
    """The data set with eight inputs to test on."""
    return replace(arrays, x_test=arrays.x_test[:8], y_test=arrays.y_test[:8])


def work(raw: dict[str, Any], folder: Path, *, data_bytes: float | None) -> None:
    """Train and measure a space on a pretended card; ``data_bytes``: its memory for data."""
    if raw["data"]["name"] == "parallel":
        (folder / "text.tsv").write_text(SENTENCES)
        data = {"path": str(folder / "text.tsv"), "test_size": 0.2, "vocabulary": 64}
        raw = {**raw, "data": {**raw["data"], **data}}
    parsed = parse(raw)
    clean = {data_source(cell): few(cell.load_data()) for cell in parsed.cells}
    with pretended_card():
        worker = Worker(str(folder / "run"), clean.__getitem__, {}, threads=1, gpus=0.25)
        assert worker.device.type == "cuda"
        if data_bytes is not None:
            worker._data_bytes = lambda: data_bytes
        for stack in plan.missing_stacks(parsed, worker.store):
            worker.train(stack)
        taken = set()
        for task in plan.missing_tasks(parsed, worker.store):
            worker.measure(task)
            taken.add(task.measure)
    assert taken == {*parsed.measures}  # no model was dead


DEEP = ("resnet50", "densenet40")  # slow, and with no place of their own for inputs


@pytest.mark.parametrize(
    ("name", "data_bytes"),
    [(name, room) for name in SPACES for room in (None, 1.0) if room or name not in DEEP],
)
def test_everything_is_where_it_is_used(name: str, data_bytes: float | None, tmp_path: Path) -> None:
    work(SPACES[name], tmp_path, data_bytes=data_bytes)


def test_every_architecture_measure_and_optimiser_is_placed() -> None:
    assert {raw["model"]["name"] for raw in SPACES.values()} == {*explorer.models.NAMES}
    assert {name for raw in SPACES.values() for name in raw["measures"]} == {*explorer.measures.NAMES}
    assert {raw["training"].get("optimizer", "sgd") for raw in SPACES.values()} == {*optimisers.NAMES}


def test_the_pretended_card_rejects_what_cuda_rejects_and_counts_waits() -> None:
    with pretended_card() as card:
        x = torch.arange(12.0).view(4, 3).to("cuda")
        host = torch.ones(3)
        assert (x.device, host.device, (x + 1).device, x.cpu().device) == (CARD, HOST, CARD, HOST)
        assert (x * torch.tensor(2.0)).is_cuda  # CUDA takes a number of the host
        assert torch.func.vmap(lambda row: row.sum())(x).is_cuda
        for wrong in (
            lambda: x + host,
            lambda: torch.cat([x, torch.zeros(1, 3)]),
            lambda: x.index_select(0, torch.tensor([0])),
            lambda: x.numpy(),
            lambda: torch.nn.Linear(3, 2).to("cuda")(host),
            lambda: torch.func.vmap(lambda row: row * host)(x),
        ):
            with pytest.raises(PlacementError):
                wrong()
        card.waits.clear()
        (x @ x.T).relu().sum(1)
        torch.zeros(3).pin_memory().to("cuda", non_blocking=True)
        assert not card.waits
        for waits in (lambda: x.sum().item(), lambda: x[x > 3], lambda: host.to("cuda"), lambda: x.tolist()):
            card.waits.clear()
            waits()
            assert card.waits
