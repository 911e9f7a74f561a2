"""Tables from elsewhere: columns with other names, and rows at the same place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import explore

import explorer
from explorer.settings import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sixteen models with columns as people call them."""
    rows = [
        {
            "hidden": width,
            "bs": bs,
            "seed": seed,
            "test_acc": 0.5 + width / 100 + seed / 1000,
            "loss": 1 / width,
            "note": 7,
        }
        for width in (2, 8)
        for bs in (10, 50)
        for seed in range(4)
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "models.csv", index=False)
    return tmp_path


RENAMED = ["hidden=width,bs=batch_size", "test_acc=test_accuracy_percent,loss=train_loss"]


def test_columns_get_our_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = explorer.load(folder, columns=[*RENAMED, "note="])
    assert run.axes == {"load": ["width"], "temperature": ["batch_size"]}
    assert len(run.cells) == 4
    assert run.cells["n_models"].tolist() == [4] * 4
    assert run.models["test_accuracy_percent"].min() == pytest.approx(52)
    assert "note" not in run.models
    told = capsys.readouterr().err
    assert told == (
        f"{folder}/models.csv: test_accuracy_percent is at most 0.583; these shares are read as percent, "
        "times 100.\n"
    )


def test_nothing_is_dropped_silently(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = explorer.load(folder, columns=["bs=batch_size"])
    assert {"hidden", "test_acc", "loss", "note"} <= set(run.models)
    assert capsys.readouterr().err == (
        f"{folder}/models.csv: columns that are no settings or measures are kept and not shown: "
        "'hidden' (perhaps width), 'test_acc' (perhaps test_accuracy_percent), 'loss' (perhaps train_loss), "
        "'note'. Rename them with --columns "
        "hidden=width,test_acc=test_accuracy_percent,loss=train_loss, or make one an axis with --columns "
        "note=load\n"
        f"{folder}/models.csv: 16 models share their axis values and seed with another one, such as "
        "batch_size 10, seed 0; they count as replicates. They differ in 'hidden', 'test_acc', 'loss': "
        "--columns hidden=load makes it an axis.\n"
    )


def test_any_column_can_be_an_axis(folder: Path) -> None:
    run = explorer.load(folder, columns=[*RENAMED[1:], "bs=temperature,hidden=load"])
    assert run.axes == {"load": ["hidden"], "temperature": ["bs"]}
    assert len(run.cells) == 4


def test_a_known_setting_is_an_axis_once(tmp_path: Path) -> None:
    rows = [{"width": w, "depth": d, "train_loss": 1.0} for w in (2, 4) for d in (1, 2)]
    pd.DataFrame(rows).to_csv(tmp_path / "models.csv", index=False)
    assert explorer.load(tmp_path, columns=["depth=load"]).axes["load"] == ["width", "depth"]
    run = explorer.load(tmp_path, columns=["depth=temperature"])
    assert run.axes == {"load": ["width"], "temperature": ["depth"]}


def test_a_table_of_cells_is_a_run(tmp_path: Path) -> None:
    rows = [{"width": w, "train_loss": 1 / w, "mode_connectivity": 0.0, "cka": 0.9} for w in (2, 4)]
    pd.DataFrame(rows).to_csv(tmp_path / "cells.csv", index=False)
    run = explorer.load(tmp_path)
    assert run.cells["width"].tolist() == [2, 4]
    assert len(run.grid) == 2
    (tmp_path / "cells.csv").unlink()
    pd.DataFrame(rows).set_index("width").to_parquet(tmp_path / "cells.parquet")  # as groupby gives it
    assert explorer.load(tmp_path).cells["width"].tolist() == [2, 4]


def test_gaps_and_unknown_columns_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"width": w, "seed": s, "train_loss": 1.0, "train_acc": 90} for w in (2, 4, None) for s in (0, 1)]
    pd.DataFrame(rows).to_csv(tmp_path / "models.csv", index=False)
    explorer.load(tmp_path)
    told = capsys.readouterr().err
    assert "not shown: 'train_acc'. Make one an axis with --columns train_acc=load\n" in told
    assert "of 6 rows, there are 2 without width; fill them in, or delete the rows.\n" in told


def test_an_accuracy_above_100_percent_is_rejected(folder: Path) -> None:
    pd.read_csv(folder / "models.csv").eval("test_acc = 1000 * test_acc").to_csv(folder / "models.csv")
    with pytest.raises(InputError, match="test_accuracy_percent is 583; it should be at most 100"):
        explorer.load(folder, columns=RENAMED)


def test_new_names_may_be_one_text_or_a_dict(folder: Path) -> None:
    names = dict(pair.split("=") for text in RENAMED for pair in text.split(","))
    for given in (",".join(RENAMED), names):
        assert explorer.load(folder, columns=given).axes["load"] == ["width"]


def test_the_commands_take_new_names(folder: Path, tmp_path: Path) -> None:
    columns = [word for text in RENAMED for word in ("--columns", text)]
    out = tmp_path / "out.csv"
    done = explore("export", folder, "--out", out, *columns, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert {"width", "batch_size", "test_accuracy_percent"} <= set(pd.read_csv(out))


MISTAKES = {
    "bs": "--columns bs: it should be theirs=ours, such as bs=batch_size, or theirs= to leave a column out",
    "bs=width,hidden=width": "--columns hidden=width: 'width' is given twice; give each column once",
    "bs=width,bs=seed": "--columns bs=seed: 'bs' is given twice; give each column once",
    "bz=batch_size": "--columns bz=batch_size: no table has a column 'bz'; there are bs, ",
    "bs=seed": "--columns bs=seed: there is a column 'seed' already; leave it out with seed=",
}


@pytest.mark.parametrize("columns", MISTAKES)
def test_wrong_names_are_one_sentence(folder: Path, columns: str) -> None:
    with pytest.raises(InputError) as error:
        explorer.load(folder, columns=[columns])
    assert MISTAKES[columns] in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [{"bs": 1, "lr": 0.1}, {"bs": 2, "lr": 0.1}],
            "no column is one of those in docs/tables.md; the first is ['bs']; rename columns with --columns "
            "bs=batch_size,lr=learning_rate; a CSV file needs commas",
        ),
        (
            [{"width": 2, "drop": k, "train_loss": k} for k in range(2)]
            + [{"width": 4, "drop": 0, "train_loss": 1}],
            "2 rows with the same values of the axes width, first at row 1. They differ in 'drop': --columns "
            "drop=load makes it an axis.",
        ),
        (
            [{"width": 2, "train_loss": k} for k in range(2)] + [{"width": 4, "train_loss": 1}],
            "They differ in no setting: keep one row of each, or give a column for what differs.",
        ),
    ],
)
def test_wrong_tables_of_cells_are_explained(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    pd.DataFrame(rows).to_csv(tmp_path / "cells.csv", index=False)
    with pytest.raises(InputError) as error:
        explorer.load(tmp_path)
    assert said in str(error.value)


@pytest.mark.parametrize("name", ["it's", "constructor"])
def test_an_axis_that_charts_cannot_show_is_one_sentence(folder: Path, name: str) -> None:
    table = pd.read_csv(folder / "models.csv").rename(columns={"hidden": name})
    table.to_csv(folder / "models.csv", index=False)
    with pytest.raises(InputError, match=f"charts cannot show an axis .{name}.: .*; rename this column"):
        explorer.load(folder, columns=[f"{name}=load"])


def test_a_folder_without_tables_does_not_hide_the_run_of_its_name(
    own_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_copy.parent)
    Path("tiny").mkdir()  # of checkpoints, for example
    assert explorer.load("tiny", own_copy).folder.endswith("/tiny")
    Path("tiny/models.csv").write_text("width,train_loss\n2,0.1\n4,0.2\n")
    assert len(explorer.load("tiny", own_copy).models) == 2


def test_names_are_for_tables_not_runs(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.yaml").touch()
    with pytest.raises(InputError, match=r"models.csv should be a folder: put the table into one, as models"):
        explorer.load(tmp_path / "models.csv", columns=["bs=batch_size"])
    with pytest.raises(InputError, match=r"--columns is for folders of tables; .* is a run. Leave it out"):
        explorer.load(tmp_path / "run", columns=["bs=batch_size"])


@pytest.mark.parametrize(
    ("shares", "known"), [([0.2, 0.2], 0.2), ([0.0, 0.2], 0.0), ([None, 0.2], 0.0), (None, 0.0)]
)
def test_label_noise_that_a_table_records_for_all_models_is_known(
    folder: Path, shares: list[float | None] | None, known: float
) -> None:
    models = pd.read_csv(folder / "models.csv")
    if shares:
        models["label_noise"] = [shares[k % 2] for k in range(len(models))]
    models.to_csv(folder / "models.csv", index=False)
    assert explorer.load(folder, columns=[*RENAMED, "note="]).label_noise == known
