"""Tables of a user: CSV and Parquet files with labels or targets, categories, gaps and splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from explorer.data import table
from explorer.settings import InputError
from explorer.space.reading import parse

REST = ["id", "price", "part"]


@pytest.fixture
def frame() -> pd.DataFrame:
    """30 rows of three kinds of flower, with numbers, words, truth values and an identifier."""
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": [f"row-{k}" for k in range(30)],
            "length": generator.normal(5, 1, 30).round(2),
            "colour": ["red", "blue", "white"] * 10,
            "wild": [True, False] * 15,
            "species": ["rose"] * 15 + ["lily"] * 10 + ["iris"] * 5,
            "price": generator.normal(20, 5, 30).round(2),
            "part": [*["train"] * 10, *["test"] * 5, *["train"] * 15],
        }
    )


def saved(frame: pd.DataFrame, folder: Path, name: str = "mine.csv") -> str:
    path = folder / name
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if name.endswith(".tsv") else ",")
    return str(path)


def options(path: str, **given: Any) -> table.Options:
    return table.Options.model_validate({"path": path, "label": "species", "drop": REST, **given})


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.parquet"])
def test_words_become_numbers_and_each_class_is_split(frame: pd.DataFrame, tmp_path: Path, name: str) -> None:
    read = table.load(options(saved(frame, tmp_path, name)))
    assert (read.shape, read.sizes, read.names) == ((5,), (24, 6), ("iris", "lily", "rose"))
    assert np.bincount(read.y_test).tolist() == [1, 2, 3]
    assert set(read.x_train[:, 1:4].sum(1)) == {1.0}
    said = read.describe()
    assert "numbers: length, wild; categories, one-hot: colour (blue, red, white)" in said
    assert "test set: 0.2 of the rows of each label" in said
    other = table.load(options(saved(frame, tmp_path, name), split_seed=1))
    assert not np.array_equal(other.x_test, read.x_test)


def test_columns_of_splits_and_files_of_test_sets(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = saved(frame, tmp_path)
    read = table.load(options(path, split="part", drop=["id", "price"]))
    assert read.sizes == (25, 5)
    test = frame["part"] == "test"
    train_path, test_path = saved(frame[~test], tmp_path, "train.csv"), saved(frame[test], tmp_path, "t.csv")
    apart = table.load(options(train_path, test_path=test_path))
    assert np.array_equal(apart.x_test, read.x_test)
    assert table.fingerprint(options(train_path, test_path=test_path)) != table.fingerprint(options(path))


def test_targets_are_numbers_for_a_regression(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = saved(frame, tmp_path)
    read = table.load(options(path, label=None, target="price", drop=["id", "part", "species"]))
    numbers = read.for_task("regression", "table")
    assert numbers.y_train.shape == (24, 1)
    both = [*numbers.y_train[:, 0], *numbers.y_test[:, 0]]
    assert sorted(both) == pytest.approx(sorted(frame["price"]))
    two = table.load(options(path, label=None, target=["price", "length"], drop=["id", "part", "species"]))
    assert two.for_task("regression", "table").classes == 2


def test_a_space_can_use_a_table(frame: pd.DataFrame, tmp_path: Path) -> None:
    data = {"name": "table", "path": saved(frame, tmp_path), "label": "species", "drop": REST}
    space = {"name": "t", "data": data, "model": "mlp", "load": {"width": [2, 4]}}
    space["training"] = {"steps": 3, "batch_size": 8}
    cell = parse(space).cells[0]
    assert cell.inputs == 24
    renamed = {**data, "path": saved(frame, tmp_path, "other.csv")}
    same = parse({**space, "data": renamed}).cells[0]
    assert same.id == cell.id, "the name of a file does not matter"


def test_names_of_columns_may_have_commas(frame: pd.DataFrame, tmp_path: Path) -> None:
    names = {"length": "length, in cm", "wild": "length, relative"}
    read = table.load(options(saved(frame.rename(columns=names), tmp_path)))
    assert "numbers: length, in cm, length, relative;" in read.describe()


def test_the_index_of_a_data_frame_is_a_column(frame: pd.DataFrame, tmp_path: Path) -> None:
    plain, indexed = tmp_path / "plain.parquet", tmp_path / "indexed.parquet"
    frame.to_parquet(plain)
    frame.set_index("length").to_parquet(indexed)
    drop = {"drop": REST}
    one, other = (table.load(options(str(path), **drop)) for path in (plain, indexed))
    assert one.x_train.shape == other.x_train.shape


def changed(frame: pd.DataFrame, column: str, row: int, value: Any) -> pd.DataFrame:
    frame = frame.astype({column: object})
    frame.loc[row, column] = value
    return frame


MISTAKES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "misspelt label": (None, {"label": "specis"}, "label: FILE has no column 'specis'; it has species,"),
    "misspelt drop": (None, {"drop": ["ID"]}, "drop: FILE has no column 'ID'; it has "),
    "no label": (None, {"label": None}, "name the column of labels with label, or those of numbers to "),
    "both": (None, {"target": "price"}, "with target, not both"),
    "two splits": (
        None,
        {"split": "part", "test_share": 0.1},
        "split and test_share exclude each other; keep one",
    ),
    "a gap": (
        ("length", 3, None),
        {},
        "FILE has gaps in 1 of 30 rows: length has 1 (first in line 5); fill them, leave such rows out",
    ),
    "a mark": (("length", 2, "?"), {}, "FILE, line 4: length is '?', and most of its values are numbers; "),
    "infinite": (("length", 2, np.inf), {}, "FILE, line 4: length is inf; numbers must be finite: replace"),
    "another part": (
        ("part", 7, "dev"),
        {"split": "part", "drop": ["id", "price"]},
        "FILE, line 9: part is 'dev'; a split column holds train and test",
    ),
    "one part": (None, {"split": "wild"}, "wild is True; a split column holds train and test"),
    "target": (None, {"label": None, "target": "price", "drop": ["id"]}, "is for task: regression; add it"),
    "number as label": (None, {"label": "price", "drop": ["id"]}, "which is no label. For classes, give"),
    "label in drop": (None, {"drop": ["species"]}, "FILE: 'species' is needed, and also in drop; remove it"),
    "no inputs": (
        None,
        {"drop": [*REST, "length", "colour", "wild"]},
        "FILE has no column besides species; inputs need at least one",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_table_is_one_sentence_with_value_and_remedy(
    frame: pd.DataFrame, tmp_path: Path, name: str
) -> None:
    change, given, said = MISTAKES[name]
    path = saved(changed(frame, *change) if change else frame, tmp_path)
    with pytest.raises(InputError) as error:
        table.load(options(path, **given)).for_task("classification", "table")
    assert said.replace("FILE", path) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_gaps_are_left_out_if_asked(frame: pd.DataFrame, tmp_path: Path) -> None:
    path = saved(changed(changed(frame, "wild", 3, None), "species", 8, None), tmp_path)
    read = table.load(options(path, gaps="leave_out"))
    assert sum(read.sizes) == 28
    assert "2 rows with gaps left out" in read.describe()


def test_files_that_are_no_tables_and_identifiers(frame: pd.DataFrame, tmp_path: Path) -> None:
    many = pd.concat([frame] * 5, ignore_index=True).assign(id=[f"row-{k}" for k in range(150)])
    with pytest.raises(InputError, match=r"id has 150 different words, such as 'row-\d+'; .* drop: \[id\]"):
        table.load(options(saved(many, tmp_path), drop=["price", "part"]))
    dated = frame.assign(day=pd.Timestamp("2024-01-01"))
    with pytest.raises(InputError, match="day holds Timestamp, such as 2024-01-01 00:00:00; give numbers or"):
        table.load(options(saved(dated, tmp_path, "dated.parquet")))
    for name, content, said in (
        ("semi.csv", "a;species\n1;x\n2;y\n", "has semicolons between its columns; save it with commas"),
        ("twice.csv", "a,a,species\n1,2,x\n", "has several columns 'a'; rename them, or keep one"),
        ("mine.xlsx", "", r"should be a \.csv, \.tsv or \.parquet file; save the table"),
        ("empty.csv", "a,species\n", "has no rows; give it a row for each input"),
        ("no.parquet", "a", "cannot be read as a table: .*; repair or save it again"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=said):
            table.load(options(str(tmp_path / name)))
