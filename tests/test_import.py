"""Models that were trained elsewhere: checkpoints of a plain script become an ordinary run."""

from __future__ import annotations

import csv
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import explore
from in_process import Worker
from safetensors.torch import save_file
from torch import nn

import explorer
from explorer import results
from explorer.engine import imported
from explorer.engine.context import load_data
from explorer.plan import plan
from explorer.plan.imports.listing import rows_of_folder
from explorer.plan.imports.reading import read_state
from explorer.runs import verify
from explorer.runs.store import Store
from explorer.settings import InputError
from explorer.space import recorded
from explorer.space.reading import read

NETS = """
from torch import nn

def make(shape, classes, width=4, norm=False):
    layers = [nn.Linear(shape[0], width), *([nn.BatchNorm1d(width)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, classes))

def make_any(shape, classes, **options):
    layer = {"relu": nn.ReLU, "tanh": nn.Tanh}[options["act"]]()
    return nn.Sequential(nn.Linear(shape[0], options["width"]), layer, nn.Linear(options["width"], classes))
"""
MEASURES = ["measures={similarity: {inputs: 50}}"]


def network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a plain PyTorch script leaves it: twelve checkpoints, data, and a CSV of settings."""
    folder = tmp_path_factory.mktemp("trained")
    generator = np.random.default_rng(0)
    x = generator.normal(2.0, 3.0, size=(300, 6)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype(int) + (x[:, 2] > 2)
    np.savez(folder / "d.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    (folder / "mynets.py").write_text(NETS)
    inputs, labels = torch.tensor(x[:200]), torch.tensor(y[:200])
    rows = []
    for width in (4, 8):
        for batch_size in (20, 50):
            for seed in range(3):
                torch.manual_seed(seed)
                model = network(width)
                optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
                for _ in range(5):
                    for part in torch.randperm(200).split(batch_size):
                        optimiser.zero_grad()
                        nn.functional.cross_entropy(model(inputs[part]), labels[part]).backward()
                        optimiser.step()
                name = f"w{width}_b{batch_size}/seed{seed}.pt"
                (folder / "ck" / name).parent.mkdir(parents=True, exist_ok=True)
                torch.save(model.state_dict(), folder / "ck" / name)
                loss = nn.functional.cross_entropy(model(inputs), labels).item()
                rows.append(
                    {"file": name, "width": width, "bs": batch_size, "seed": seed, "train_loss": loss}
                )
    write_csv(folder / "settings.csv", rows)
    return folder


@pytest.fixture
def mine(
    trained: Path,
    tmp_path: Path,
    importable: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A copy of this folder, which is the current folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    importable("mynets", NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(imported, "complete", complete)
    return tmp_path


def complete(lock: Any, store: Store, space: Any, name: str, observer: Any, where: Any) -> results.RunTables:
    """Do the work of a run in this process, without Ray."""
    (clean,) = load_data(space).values()
    worker = Worker(store.files.absolute, lambda _: clean, {}, threads=1, gpus=0)
    for stack in plan.missing_stacks(space, worker.store):
        worker.train(stack)
    for task in plan.missing_tasks(space, worker.store):
        worker.measure(task)
    return results.read(worker.store)


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def rows_of(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)

    def stage(self, name: str, total: int) -> None: ...
    def advance(self, name: str, number: int, failed: int) -> None: ...


def adopt(**changes: Any) -> results.RunTables:
    given: dict[str, Any] = {"settings": "settings.csv", "columns": ["bs=batch_size"], "name": "mine"}
    given |= {"folder": "ck", "model": "mynets:make", "data": "d.npz", "set": MEASURES, **changes}
    return explorer.adopt(given.pop("folder"), **given)


def test_checkpoints_of_a_plain_script_become_a_run(mine: Path) -> None:
    run = adopt()
    assert run.axes == {"load": ["width"], "temperature": ["batch_size"]}
    assert len(run.models) == len(run.pairs) == 12
    told = {row["file"]: float(row["train_loss"]) for row in rows_of(mine / "settings.csv")}
    for row in run.models.to_dict("records"):
        assert row["train_loss"] == pytest.approx(told[row["imported"]], abs=2e-3)
        assert row["imported"] == f"w{row['width']}_b{row['batch_size']}/seed{row['seed']}.pt"
        state = torch.load(mine / "ck" / row["imported"], weights_only=True)
        module = run.model(row["model_id"])
        assert all(torch.equal(value, module.state_dict()[name]) for name, value in state.items())
    assert "learning_rate" not in run.models, "how the models were trained is not known"
    assert run.models["steps"].isna().all()
    assert run.models["wall_s"].isna().all()


def test_a_run_of_imported_models_is_never_trained(mine: Path) -> None:
    adopt()
    store = Store("runs/mine")
    space = recorded.working_space_of(recorded.read_info(store))
    assert not plan.missing(space, store)
    assert verify.verify(store)[1] == []
    weights = next(Path("runs/mine/weights").iterdir())
    weights.write_bytes(weights.read_bytes()[:-1])
    warned: list[str] = []
    store = Store("runs/mine", warn=warned.append)
    store.drop_lost_weights()
    assert any("import them again" in text for text in warned)
    assert not plan.missing(space, store).stacks, "lost models are not trained in their place"
    run = adopt()
    assert len(run.models) == len(run.pairs) == 12


def test_a_space_file_cannot_say_that_its_models_are_imported(tiny: dict[str, Any]) -> None:
    at = {"width": 2, "batch_size": 8}
    with pytest.raises(InputError, match="only `explorer import` writes this setting; remove it"):
        explorer.run({**tiny, "imported": [{"at": at, "seeds": [0]}]})


def test_a_file_that_says_so_is_rejected_with_its_line(tmp_path: Path, tiny: dict[str, Any]) -> None:
    text = yaml.safe_dump({**tiny, "imported": [{"at": {"width": 2, "batch_size": 8}, "seeds": [0]}]})
    (tmp_path / "mine.yaml").write_text(text)
    place = 1 + text.splitlines().index("imported:")
    with pytest.raises(
        InputError, match=rf"mine\.yaml, line {place}: imported: only `explorer import` writes"
    ):
        read(tmp_path / "mine.yaml")


def test_missing_seeds_and_cells_stay_missing_and_may_come_later(mine: Path) -> None:
    rows = rows_of(mine / "settings.csv")
    write_csv(mine / "some.csv", rows[:2] + rows[6:10])
    first = adopt(settings="some.csv")
    assert first.models.groupby(["width", "batch_size"]).size().to_dict() == {
        (4, 20): 2,
        (8, 20): 3,
        (8, 50): 1,
    }
    notes = Notes()
    run = adopt(observer=notes)
    assert notes.said[0].startswith("Imported 6 models")
    assert len(run.models) == 12
    assert set(first.models["model_id"]) < set(run.models["model_id"])


def test_settings_may_be_in_the_names_of_files(mine: Path) -> None:
    given = adopt()
    for settings in (None, "short.csv"):
        if settings:
            some = [{k: row[k] for k in ("width", "bs", "seed")} for row in rows_of(mine / "settings.csv")]
            write_csv(mine / settings, [{**row, "batch_size": row["bs"]} for row in some])
        columns = ["bs="] if settings else []
        pattern = "w{width}_b{batch_size}/seed{seed}.pt"
        run = adopt(settings=settings, columns=columns, files=pattern, name=f"named-{settings}")
        assert set(run.models["model_id"]) == set(given.models["model_id"])


def test_whole_numbers_may_have_a_decimal_point_and_files_a_column_of_another_name(mine: Path) -> None:
    rows = [{"path": row.pop("file"), **row} for row in rows_of(mine / "settings.csv")]
    numbers = ("width", "bs", "seed")
    write_csv(mine / "floats.csv", [{**row, **{k: f"{row[k]}.0" for k in numbers}} for row in rows])
    run = adopt(settings="floats.csv", columns=["bs=batch_size,path=file"])
    assert sorted(run.models["width"].unique()) == [4, 8]
    assert sorted(run.models["seed"].unique()) == [0, 1, 2]


@pytest.mark.parametrize("layout", ["tune", "lightning"])
def test_layouts_of_ray_tune_and_lightning(mine: Path, layout: str) -> None:
    for number, row in enumerate(rows_of(mine / "settings.csv")):
        state = torch.load(mine / "ck" / row["file"], weights_only=True)
        params = {
            "train_loop_config": {"width": int(row["width"]), "lr": 0.01 * (1 + number % 2)},
            "seed": number,
        }
        place = mine / layout / f"trial_{number}"
        for last in (3, 12):
            checkpoint = place / ("checkpoints" if layout == "lightning" else f"checkpoint_{last:06}")
            checkpoint.mkdir(parents=True, exist_ok=True)
            if layout == "tune":
                torch.save({"model_state_dict": state, "epoch": last}, checkpoint / "model.pt")
            else:
                wrapped = {f"model._orig_mod.{name}": value for name, value in state.items()}
                torch.save({"state_dict": wrapped, "epoch": last}, checkpoint / f"epoch={last}.ckpt")
        (place / ("params.json" if layout == "tune" else "hparams.yaml")).write_text(json.dumps(params))
    run = adopt(folder=layout, settings=None, columns=["lr=learning_rate"])
    assert run.axes == {"load": ["width"], "temperature": ["learning_rate"]}
    assert len(run.models) == 12
    assert run.models["imported"].str.contains("checkpoint_000012/model.pt|epoch=12.ckpt").all()


def test_the_parts_of_a_checkpoint_of_ray_tune_are_told_apart(mine: Path) -> None:
    for number, row in enumerate(rows_of(mine / "settings.csv")):
        place = mine / f"tune/trial_{number}/checkpoint_000001"
        place.mkdir(parents=True)
        model = network(int(row["width"]))
        optimiser = torch.optim.AdamW(model.parameters())
        torch.save(torch.load(mine / "ck" / row["file"], weights_only=True), place / "model.pt")
        torch.save(optimiser.state_dict(), place / "optimizer.pt")
        torch.save({"epoch": 1}, place / "state.pt")
        params = {"width": int(row["width"]), "seed": number}
        (place.parent / "params.json").write_text(json.dumps(params))
    run = adopt(folder="tune", settings=None, columns=[])
    assert run.models["imported"].str.endswith("/model.pt").all()
    torch.save(network(4).state_dict(), mine / "tune/trial_3/checkpoint_000001/ema.pt")
    with pytest.raises(
        InputError, match=r"ema.pt, model.pt, optimizer.pt, state.pt, of which 2 have weights"
    ):
        adopt(folder="tune", settings=None, columns=[])


def test_an_architecture_with_kwargs_gets_the_other_columns(mine: Path) -> None:
    rows = [{k: row[k] for k in ("file", "width", "seed")} for row in rows_of(mine / "settings.csv")[:6]]
    write_csv(mine / "any.csv", [{**row, "act": ("relu", "tanh")[n % 2]} for n, row in enumerate(rows)])
    run = adopt(settings="any.csv", columns=[], model="mynets:make_any")
    assert run.axes == {"load": ["act"], "temperature": []}
    acts = {type(run.model(row["model_id"])[1]): row["act"] for row in run.models.to_dict("records")}
    assert acts == {nn.ReLU: "relu", nn.Tanh: "tanh"}
    write_csv(mine / "any.csv", [{**row, "lr": 0.1, "act": "relu"} for row in rows])
    with pytest.raises(InputError, match=r"'lr' \(perhaps learning_rate\): no setting of this"):
        adopt(settings="any.csv", columns=[], model="mynets:make_any")


def test_two_names_of_the_same_weights_are_told(mine: Path) -> None:
    files = [row["file"] for row in rows_of(mine / "settings.csv")]
    torch.save(torch.load(mine / "ck" / files[0], weights_only=True), mine / "ck" / files[4])
    notes = Notes()
    adopt(observer=notes, columns=["bs=batch_size,train_loss="])
    assert notes.said[0] == (
        f"WARNING: ck/{files[0]} and ck/{files[4]} hold the same weights; if one is a copy, two models are "
        "compared that are one."
    )


@pytest.mark.parametrize("prefix", ["net.", "network.layers.", "_orig_mod.net."])
def test_weights_beside_those_of_the_network_are_left_out(mine: Path, prefix: str) -> None:
    plain = adopt()
    for row in rows_of(mine / "settings.csv"):
        state = torch.load(mine / "ck" / row["file"], weights_only=True)
        state = {f"{prefix}{name}": value for name, value in state.items()}
        torch.save({**state, "loss.weight": torch.ones(3)}, mine / "ck" / row["file"])
    notes = Notes()
    run = adopt(name="beside", observer=notes)
    assert run.models["train_loss"].tolist() == plain.models["train_loss"].tolist()
    assert notes.said[0] == (
        "WARNING: 12 of 12 checkpoints have weights beside those of the network, which are left out; in "
        f"ck/{rows_of(mine / 'settings.csv')[0]['file']}: loss.weight."
    )


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "net."])
def test_prefixes_and_safetensors_are_understood(mine: Path, prefix: str) -> None:
    plain = adopt()
    rows = rows_of(mine / "settings.csv")
    for row in rows:
        state = torch.load(mine / "ck" / row["file"], weights_only=True)
        row["file"] = row["file"].replace(".pt", ".safetensors")
        save_file({f"{prefix}{name}": value for name, value in state.items()}, mine / "ck" / row["file"])
    write_csv(mine / "prefixed.csv", rows)
    run = adopt(settings="prefixed.csv", name="prefixed")
    assert run.models["train_loss"].tolist() == plain.models["train_loss"].tolist()


def test_statistics_of_batch_norm_are_imported(mine: Path) -> None:
    torch.manual_seed(0)
    with np.load("d.npz") as data:
        x, y = torch.tensor(data["x_train"]), torch.tensor(data["y_train"])
    rows = []
    for seed in range(2):
        model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
        model.train()(x)
        torch.save(model.state_dict(), mine / "ck" / f"norm{seed}.pt")
        loss = nn.functional.cross_entropy(model.eval()(x), y).item()
        rows.append({"file": f"norm{seed}.pt", "width": 4, "norm": True, "seed": seed, "loss": loss})
    write_csv(mine / "norm.csv", rows)
    run = adopt(settings="norm.csv", columns=["loss="])
    assert run.models["train_loss"].tolist() == pytest.approx([row["loss"] for row in rows], abs=1e-5)


def test_other_results_in_the_settings_are_told(mine: Path) -> None:
    notes = Notes()
    adopt(observer=notes)
    assert notes.said == ["Imported 12 models from ck; inputs are used as they are in the data."]
    adopt(observer=notes, name="scaled", set=[*MEASURES, "data.standardise=true"])
    assert notes.said[1] == "Imported 12 models from ck; inputs are standardised."
    assert "of 12 models is not what the settings say" in notes.said[2]


# Mistakes ---------------------------------------------------------------------------------------------


def broken(mine: Path) -> list[str]:
    """Write three wrong checkpoints of the CSV, and return their names."""
    torch.save(network(5).state_dict(), mine / "ck/w4_b20/seed0.pt")
    torch.save(network(8), mine / "ck/w8_b20/seed1.pt")
    os.remove(mine / "ck/w8_b50/seed2.pt")
    return ["w4_b20/seed0.pt", "w8_b20/seed1.pt", "w8_b50/seed2.pt"]


def test_wrong_checkpoints_are_told_at_once_before_anything_starts(mine: Path) -> None:
    names = broken(mine)
    done = explore(
        *("import", "ck", "--settings", "settings.csv", "--model", "mynets:make", "--data", "d.npz"),
        *("--name", "mine", "--columns", "bs=batch_size"),
        cwd=mine,
    )
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    for line, name, what in zip(
        lines,
        names,
        (
            "0.weight has the shape (5, 6), and the network with {'width': 4} has (4, 6)",
            "is a pickle",
            "No such file",
        ),
        strict=True,
    ):
        assert name in line
        assert what in line
    assert not (mine / "runs").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: {f"module.{k}": v for k, v in state.items()}, "under two names"),
        (lambda state: {"0.weight": state["0.weight"].int()}, "0.weight is of type torch.int32, and"),
        (lambda state: {"0.weight": state["0.weight"] * 1j}, "0.weight is of type torch.complex64, and"),
        (lambda state: {"0.weight": state["0.weight"].to_sparse()}, "0.weight is no plain tensor"),
        (lambda state: {"0.weight": state["0.weight"].to("meta")}, "0.weight is no plain tensor"),
        (lambda state: {7: state["0.weight"]}, "holds 7, which is no name"),
    ],
)
def test_weights_that_would_not_be_those_of_the_model_are_rejected(
    mine: Path, change: Callable[[dict[str, Any]], dict[str, Any]], told: str
) -> None:
    file = mine / "ck" / rows_of(mine / "settings.csv")[0]["file"]
    state = torch.load(file, weights_only=True)
    torch.save({**state, **change(state)}, file)
    with pytest.raises(InputError, match=told):
        adopt()


@pytest.mark.parametrize("wrong", ["settings", "data"])
def test_python_objects_of_a_wrong_kind_are_one_sentence(mine: Path, wrong: str) -> None:
    said = "settings is a DataFrame; write it to a CSV file first" if wrong == "settings" else "data is None"
    with pytest.raises(InputError, match=said):
        adopt(**{wrong: pd.DataFrame({"width": [4]}) if wrong == "settings" else None})


def test_python_gives_functions_and_arrays_and_draws_pages(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = adopt()
    with np.load("d.npz") as file:
        arrays = dict(file)
    run = adopt(model=network_of, data=arrays, name="python", progress=True)
    said = capsys.readouterr().out
    assert "Imported 12 models from ck" in said
    assert "Report: reports/python/index.html" in said
    assert (mine / "reports/python/index.html").exists()
    assert repr(run) == "Run 'python': 4 cells, 12 models, 12 pairs"
    assert run.models["train_loss"].tolist() == pytest.approx(plain.models["train_loss"].tolist())
    assert isinstance(run.model(run.models["model_id"][0]), nn.Sequential)


def network_of(shape: tuple[int, ...], classes: int, width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], width), nn.ReLU(), nn.Linear(width, classes))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "cannot be read as JSON"),
        ("[1]", "holds no settings by name"),
        ('{"a": {"width": 4}, "b": {"width": 8}}', "'width' has two values, 4 and 8; give the settings with"),
    ],
)
def test_settings_of_a_strange_folder_are_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "params.json").write_text(content)
    with pytest.raises(InputError, match=said):
        rows_of_folder(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("file,width\na.pt," + "9" * 200_000, r"line \d: field larger than field limit"),
        ("file,width\na\0.pt,4\n", "has a zero byte"),
    ],
)
def test_a_strange_csv_file_is_one_sentence(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "s.csv").write_text(content)
    with pytest.raises(InputError, match=said):
        rows_of_folder(tmp_path, tmp_path / "s.csv")


def test_files_that_would_grow_in_memory_or_have_unknown_types_are_one_sentence(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(4)}, tmp_path / "small.pt")
    with (
        zipfile.ZipFile(tmp_path / "small.pt") as small,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for name in small.namelist():
            bomb.writestr(name, small.read(name) + bytes(10**7) * ("/data/" in name))
    with pytest.raises(InputError, match=r"would take 10\.0 MB when unpacked"):
        read_state(tmp_path / "bomb.pt")
    header = json.dumps({"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}).encode()
    unknown = tmp_path / "a.safetensors"
    unknown.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(InputError, match="cannot be read as safetensors"):
        read_state(unknown)


def test_a_pipe_among_checkpoints_is_not_waited_for(tmp_path: Path) -> None:
    for name in ("params.json", "seed0.pt"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is no file"):
        rows_of_folder(tmp_path)
    with pytest.raises(InputError, match="is no file"):
        read_state(tmp_path / "seed0.pt")
