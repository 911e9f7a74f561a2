"""The space files: all can be read, the paper's own run in small, the miniatures show what they say."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import Any

import in_process
import numpy as np
import pytest
from conftest import ROOT
from in_process import table, work

from explorer import report
from explorer.data import digits, fashion_mnist
from explorer.data.dataset import Arrays
from explorer.data.fashion_mnist import SYSTEM as IMAGES
from explorer.plan import plan
from explorer.space import reading

SPACES = sorted((ROOT / "spaces").glob("*.yaml"))
PAPER = [file.stem for file in SPACES if re.match(r"cifar|svhn", file.stem)]
# First value, last value and number of values of the axes of Yang et al. (2021).
PAPER_AXES = {
    "width": (2, 128, 13),
    "batch_size": (16, 1024, 13),
    "learning_rate": (0.0015625, 0.4, 9),
    "weight_decay": (1.25e-5, 5e-3, 10),
    "label_noise": (0, 0.8, 9),
    "train_size": (0.1, 1.0, 10),
}

# Everything of a paper's space but its size: data of a shape that is here, axes of two values at most.
# Six passes: after fewer, the running statistics of BatchNorm leave models that give one answer to all.
SMALL = [
    *("data.name=fashion-mnist", "data.pool=2", "data.train_size=64", "data.test_size=32", "seeds=2"),
    *("training.epochs=6", "measures.connectivity.steps=3", "measures.connectivity.batch_size=16"),
    *("measures.connectivity.points=3", "measures.hessian.inputs=16", "measures.hessian.lanczos_steps=3"),
    *("measures.hessian.probes=4", "measures.similarity.inputs=16"),
]
SMALL_AXES = {
    "width": [2],
    "batch_size": [16],
    "train_size": [32, 64],
    "label_noise": [0.0, 0.8],
    "learning_rate": [0.0015625, 0.4],
    "weight_decay": [0.0000125, 0.005],
}
SMALL_FIXED = {"width": "model.width=2", "batch_size": "training.batch_size=16"}  # where it is no axis


def needs_images() -> None:
    """Skip where Fashion-MNIST is not installed; fail where everything has to be tested."""
    if not IMAGES.is_dir():
        reason = f"Fashion-MNIST is not in {IMAGES} (on Debian: apt install dataset-fashion-mnist)"
        if os.environ.get("EXPLORER_TEST_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)


def needs_catalogues() -> None:
    """Skip where the message catalogues of the translation space are not; fail where all has to be tested."""
    if not (ROOT / "catalogues").is_dir():
        reason = (
            "there is no folder catalogues (on Debian: apt-get download libreoffice-l10n-de && "
            "dpkg-deb -x libreoffice-l10n-de_*.deb catalogues)"
        )
        if os.environ.get("EXPLORER_TEST_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem)
def test_file_is_a_space_without_network(file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("reading a space file must not open a connection")

    if file.stem == "translation-mo-de":
        needs_catalogues()
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("EXPLORER_DATA", str(tmp_path))
    space = reading.read(file)
    assert space.name == file.stem, "a run is called as its file"
    assert space.description
    assert space.load
    assert space.temperature
    assert {"hessian", "connectivity", "similarity"} <= set(space.measures)


def test_table_of_the_spaces_has_all_and_their_true_sizes() -> None:
    needs_catalogues()
    text = (ROOT / "spaces/README.md").read_text()
    row = re.compile(r"^\| \[(.+?)\.yaml\]\(\1\.yaml\) \|.*?\| (\d+) \| ([\d,]+) \| ([\d,]+) \|", re.M)
    told = {name: [int(n.replace(",", "")) for n in sizes] for name, *sizes in row.findall(text)}
    assert set(told) == {file.stem for file in SPACES}
    for file in SPACES:
        counts = plan.count(reading.read(file))
        assert told[file.stem] == [counts["cells"], counts["models"], counts["pairs"]], file.stem


@pytest.mark.parametrize("name", PAPER)
def test_space_of_the_paper_has_its_axes_and_budgets(name: str) -> None:
    space = reading.read(ROOT / f"spaces/{name}.yaml")
    training, curve = space.training, space.measures["connectivity"]
    assert (training.optimizer, training.momentum, training.augment) == ("sgd", 0.9, False)
    assert (training.precision, space.seeds) == ("float32", 5)
    assert "weight_decay" in space.axes or training.weight_decay == 5e-4
    if training.schedule == "one_decay":
        assert (training.learning_rate, training.epochs, training.keep) == (0.1, 100, "best")
    else:
        stop = training.early_stop
        assert stop is not None
        assert (stop.change, stop.epochs, stop.after) == (1e-4, 5, 30)
        assert "learning_rate" in space.axes or (training.learning_rate, training.epochs) == (0.05, 150)
    for axis, values in space.axes.items():
        ends = (2, 32, 9) if (axis, space.model["name"]) == ("width", "densenet40") else PAPER_AXES[axis]
        assert (min(values), max(values), len(values)) == ends
    full = max(cell.inputs for cell in space.cells)
    assert curve["steps"] == 50 * (full // 128)
    assert [curve[k] for k in ("batch_size", "learning_rate", "weight_decay")] == [128, 0.01, 5e-4]
    assert space.measures["hessian"]["inputs"] == 200


@pytest.fixture(scope="module")
def clean_images() -> Arrays:
    """All of Fashion-MNIST at 14×14 pixels, and 32 test images."""
    needs_images()
    return fashion_mnist.load(fashion_mnist.Options(pool=2, test_size=32))


@pytest.mark.parametrize("name", PAPER)
def test_space_of_the_paper_runs_in_small(name: str, clean_images: Arrays, tmp_path: Path) -> None:
    full = reading.read(ROOT / f"spaces/{name}.yaml")
    sections = {axis: "load" if axis in full.load else "temperature" for axis in full.axes}
    axes = [f"{sections[axis]}.{axis}={SMALL_AXES[axis]}" for axis in full.axes]
    axes += [override for axis, override in SMALL_FIXED.items() if axis not in full.axes]
    small = reading.read(ROOT / f"spaces/{name}.yaml", [*SMALL, *axes])
    store = work(small, clean_images, tmp_path)

    models = table(store, "models")
    assert len(models) == 2 * len(small.cells)
    assert set(models["status"]) == {"ok"}
    assert set(models["architecture"]) == {full.model["name"]}
    for axis in full.axes:
        assert sorted(models[axis].unique()) == SMALL_AXES[axis]
    expected = {cell.id: cell.steps for cell in small.cells}
    assert (models["steps"] == models["cell_id"].map(expected)).all()
    hessian, pairs = table(store, "hessian"), table(store, "connectivity")
    assert set(hessian["model_id"]) == set(models["model_id"])
    assert np.isfinite(hessian["hessian_trace"]).all()
    assert len(pairs) == len(small.cells)
    assert np.isfinite(pairs["mode_connectivity"]).all()
    assert table(store, "similarity")["cka"].between(0, 1).all()


def test_resnet_is_trained_measured_and_reported(tmp_path: Path) -> None:
    needs_images()
    space = {
        "name": "resnet",
        "data": {"name": "fashion-mnist", "pool": 2, "train_size": 1000, "test_size": 200},
        "model": {"name": "resnet18"},
        "load": {"width": [2, 4]},
        "temperature": {"batch_size": [32]},
        "seeds": 2,
        "training": {"steps": 60, "learning_rate": 0.05, "history_points": 3},
        "measures": {
            "hessian": {"inputs": 50, "lanczos_steps": 5, "probes": 4},
            "connectivity": {"steps": 10, "points": 3},
            "similarity": {"inputs": 100},
            "alignment": {"points": 3},
        },
    }
    run = in_process.run(space, tmp_path / "runs/resnet")
    assert run.models[["width", "batch_size", "seed"]].drop_duplicates().shape[0] == 4
    assert set(run.models["status"]) == {"ok"}
    assert run.models.groupby("width")["train_loss"].mean().lt(2.2).all(), "chance is log 10 = 2.3"
    hessian = ["hessian_top_eigenvalue", "hessian_trace"]
    assert run.models[hessian].notna().all(axis=None)
    assert len(run.pairs) == 2
    measured = ["mode_connectivity", "loss_barrier", "cka", "aligned_linear_barrier", "l2_distance"]
    assert run.pairs[measured].notna().all(axis=None)
    assert (run.pairs["aligned_l2_distance"] < run.pairs["l2_distance"]).all()
    assert set(run.curves["path"]) == {"bezier", "linear", "aligned"}
    page = report.write(run, tmp_path / "report", images=False).read_text()
    assert "resnet18" in page


@pytest.mark.slow
def test_training_to_zero_loss_harms_under_label_noise_only(tmp_path: Path) -> None:
    """`digits-length` in small: one width, short and long, and with the labels right as a control."""
    harm = {}
    for noise in (0.2, 0.0):
        small = reading.read(
            ROOT / "spaces/digits-length.yaml",
            [f"data.label_noise={noise}", "load.width=[64]", "temperature.steps=[250, 8000]", "measures={}"],
        )
        models = table(work(small, digits.load(digits.Options()), tmp_path / str(noise)), "models")
        short, long = (models[models["steps"] == steps] for steps in (250, 8000))
        assert long["train_loss"].max() < 0.2 * short["train_loss"].min()
        gain = long["test_accuracy_percent"].mean() - short["test_accuracy_percent"].mean()
        harm[noise] = -gain
    assert harm[0.2] > 8, "percentage points lost by fitting the wrong labels"
    assert harm[0.0] < 1


@pytest.mark.slow
def test_double_descent_in_width_is_cold_and_at_the_barrier(tmp_path: Path) -> None:
    """`digits-noise` in small: before, at and after the dip, at the coldest and the hottest batch size."""
    small = reading.read(
        ROOT / "spaces/digits-noise.yaml",
        [
            *("seeds=3", "load.width=[8, 32, 256]", "temperature.batch_size=[2, 64]"),
            *("measures={connectivity: {steps: 1000}}",),
        ],
    )
    store = work(small, digits.load(digits.Options()), tmp_path)
    models, pairs = table(store, "models"), table(store, "connectivity")
    accuracy = models.groupby(["batch_size", "width"])["test_accuracy_percent"].mean()
    before, dip, after = accuracy[64]
    assert dip < before - 4
    assert dip < after - 4
    before, middle, after = accuracy[2]
    assert middle > min(before, after) - 1, "no dip where training is hot"
    place = models.set_index("model_id")[["batch_size", "width"]]
    pairs = pairs.join(place, on="model_a")
    connectivity = pairs[pairs["batch_size"] == 64].groupby("width")["mode_connectivity"].mean()
    assert connectivity.idxmin() == 32
    assert connectivity[32] < -4
    assert connectivity[256] > connectivity[32] + 3
