"""The run folder: whole or not at all, and found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from explorer.settings import InputError
from explorer.store import Store, locate


def test_records_are_read_back_in_the_order_of_their_keys(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    store.write_record("models", "b", [{"model_id": "m3", "seed": 2, "train_loss": 0.5, "error": ""}])
    store.write_record("models", "a", [{"model_id": "m1", "seed": 0, "train_loss": 1, "own": "x"}])
    rows = store.read_records("models").to_pylist()
    assert [row["model_id"] for row in rows] == ["m1", "m3"]
    assert rows[0]["train_loss"] == 1.0
    assert rows[0]["own"] == "x"
    assert rows[1]["own"] is None
    assert store.record_keys("models") == {"a", "b"}
    store.drop_record("models", "a")
    store.drop_record("models", "never there")
    assert store.record_keys("models") == {"b"}
    assert store.read_records("pairs").num_rows == 0


def test_nothing_half_written_is_read_or_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "run")
    store.write_record("models", "a", [{"model_id": "m1"}])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        store.write_record("models", "b", [{"model_id": "m2"}])
    assert store.record_keys("models") == {"a"}
    assert [p.name for p in (tmp_path / "run").rglob("*") if p.is_file()] == ["a.parquet"]
    (tmp_path / "run/records/models/c.parquet.0a0a0a0a.tmp").write_bytes(b"PAR1 half")
    assert store.record_keys("models") == {"a"}


def test_weights_are_safetensors_with_their_names(tmp_path: Path) -> None:
    from safetensors import safe_open

    store = Store(tmp_path / "run")
    theta = np.arange(6, dtype=np.float32).reshape(2, 3)
    store.write_weights(
        "s", theta, np.zeros((2, 0), np.float32), {"model_ids": ["a", "b"], "layers": [["w", [3]]]}
    )
    assert np.array_equal(store.read_weights("s")["theta"], theta)
    with safe_open(tmp_path / "run/weights/s.safetensors", "numpy") as file:
        assert file.metadata() == {"model_ids": '["a", "b"]', "layers": '[["w", [3]]]'}


def test_runs_are_found_by_name_folder_and_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store("runs/one").write_info({"name": "one", "space": {}})
    for name in ("one", "runs/one", str(tmp_path / "runs/one"), f"file://{tmp_path}/runs/one"):
        assert locate(name).read_info()["name"] == "one"
    with pytest.raises(InputError, match="runs in runs/: one"):
        locate("two")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("!!python/object/apply:os.system [echo]", "cannot be read"),
        ("- 1", "not one of Explorer's"),
    ],
)
def test_damaged_run_yaml_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        Store(tmp_path).read_info()


def test_tables_are_plain_parquet(finished: Path) -> None:
    tables = {p.stem: pq.read_table(p) for p in (finished / "tiny/tables").glob("*.parquet")}
    assert {name: t.num_rows for name, t in tables.items()} == {
        "models": 12,
        "epochs": 60,
        "pairs": 12,
        "curves": 120,
        "cells": 4,
    }
