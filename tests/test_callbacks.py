"""Other tools follow the trials, through Tune's own callbacks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from test_engine import assert_equal_runs

import explorer
from explorer.engine import callbacks
from explorer.settings import InputError

FOLLOWER = """
import json
from ray.tune import Callback

class Follower(Callback):
    def on_trial_result(self, iteration, trials, trial, result, **info):
        names = ("train_loss", "test_accuracy_percent", "models", "diverged")
        with open("heard.jsonl", "a") as file:
            line = {**trial.config, "name": str(trial), **{n: result[n] for n in names if n in result}}
            file.write(json.dumps(line) + "\\n")
"""


def test_a_package_that_is_not_there_is_told_before_anything_starts(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for name, package in callbacks.PACKAGES.items():
        with pytest.raises(InputError, match=f"--callback {name}: .* pip install {package}"):
            explorer.run(tiny, storage=str(tmp_path), callbacks=[name])
    assert not (tmp_path / "tiny/run.yaml").exists()


@pytest.mark.ray
@pytest.mark.slow
def test_trials_are_followed_by_tensorboard_and_a_class_of_the_user_and_two_workers_give_the_tables_of_one(
    tiny: dict[str, Any], tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboardX")
    (tmp_path / "follow.py").write_text(FOLLOWER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = explorer.run(tiny, callbacks=["tensorboard", "follow:Follower"], workers=2)
    assert run.folder == "runs/tiny"
    assert_equal_runs(run, explorer.load("tiny", str(finished)))
    heard = [json.loads(line) for line in Path("heard.jsonl").read_text().splitlines()]
    trained = {(h["width"], h["batch_size"]): h for h in heard if "train_loss" in h}
    mean = run.models.groupby(["width", "batch_size"])[["train_loss", "test_accuracy_percent"]].mean()
    assert len(trained) == len(mean) == 4
    for at, row in mean.iterrows():
        assert trained[at]["train_loss"] == pytest.approx(row["train_loss"])
        assert trained[at]["test_accuracy_percent"] == pytest.approx(row["test_accuracy_percent"])
        assert (trained[at]["models"], trained[at]["diverged"]) == (3, 0)
    files = sorted(Path("runs/tiny/callbacks/tensorboard").glob("*/events.out.tfevents.*"))
    assert len(files) == 4
    assert {f.parent.name for f in files} == {h["name"] for h in heard}
    assert any("width=8" in f.parent.name for f in files)
    assert all(b"ray/tune/train_loss" in f.read_bytes() for f in files)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_trials_are_followed_by(
    name: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For real where the package is installed (extra ``callbacks``)."""
    pytest.importorskip(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    tiny["measures"] = {"similarity": {"inputs": 100}}
    explorer.run(tiny, storage=str(tmp_path), callbacks=[name], workers=1)
    folder = tmp_path / "tiny/callbacks" / name
    if name == "wandb":
        assert len(list(folder.glob("wandb/offline-run-*"))) == 4
        return
    import mlflow

    runs = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder}/mlflow.db").search_runs(["1"])
    assert sorted((r.data.params["width"], r.data.params["batch_size"]) for r in runs) == [
        ("2", "50"), ("2", "8"), ("8", "50"), ("8", "8"),
    ]  # fmt: skip
    assert all(0 < r.data.metrics["test_accuracy_percent"] <= 100 for r in runs)


class Curves:
    """The results of each trial, in the order of their coming. It knows no Ray."""

    def __init__(self) -> None:
        self.results: dict[str, list[dict[str, Any]]] = {}

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self.results.setdefault(str(trial), []).append(result)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("own", [False, True])
def test_an_object_follows_each_model_while_it_trains(
    own: bool, tiny: dict[str, Any], tmp_path: Path, finished: Path, importable: Any
) -> None:
    if own:
        importable(
            "losses",
            "from explorer.tasks import Classification\n\ndef loss(o, y):\n    return Classification().loss(o, y)\n",
        )
        tiny["training"]["loss"] = "losses:loss"
    tiny["measures"] = {"similarity": {"inputs": 100}}
    follower = Curves()
    run = explorer.run(tiny, storage=str(tmp_path), callbacks=[follower], workers=2)
    assert len(follower.results) == 4
    for results in follower.results.values():
        steps = [result["step"] for result in results]
        assert steps == [*sorted(set(run.epochs["step"])), 150]
        assert [result["done"] for result in results] == [False] * (len(steps) - 1) + [True]
        assert (
            results[0]["train_loss"] > results[-2]["train_loss"] == pytest.approx(results[-1]["train_loss"])
        )
    if not own:
        same = explorer.load("tiny", str(finished)).models
        assert run.models["train_loss"].tolist() == same["train_loss"].tolist()


def test_an_object_that_is_no_callback_is_told_before_anything_starts(
    tiny: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(
        InputError,
        match=r"callbacks: 3 is no callback; it should be an object or a class with a method of ray.tune.Callb",
    ):
        explorer.run(tiny, storage=str(tmp_path), callbacks=[3])
    with pytest.raises(InputError, match="--callback tensorbord: known: tensorboard"):
        explorer.run(tiny, storage=str(tmp_path), callbacks="tensorbord")
    assert not (tmp_path / "tiny/run.yaml").exists()
