"""Files lost, cut, emptied or changed by a bit: what is found is as it was, and what is lost is made again."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import TINY
from in_process import table

from explorer import results
from explorer.data import digits
from explorer.data.dataset import Arrays
from explorer.engine.worker import Worker
from explorer.plan import plan, provenance
from explorer.plan.stacks import sizes
from explorer.plan.units import MeasureTask
from explorer.runs.store import DamagedError, Store
from explorer.space.model import CheckedSpace
from explorer.space.reading import parse

KINDS = ("models", "epochs", "hessian", "connectivity", "curves", "similarity", "ensemble")
CHANGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "lost": lambda content, draw: None,
    "cut": lambda content, draw: content[: draw.randrange(len(content))],
    "emptied": lambda content, draw: bytes(len(content)),
    "a bit changed": lambda content, draw: flipped(content, draw),
}


def flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def space(seeds: int, widths: list[int]) -> CheckedSpace:
    raw = copy.deepcopy(TINY)
    raw |= {"seeds": seeds, "load": {"width": widths, "label_noise": [0.0, 0.2]}}
    raw["temperature"] = {"batch_size": [25]}
    raw["training"] |= {"steps": 40}
    raw["measures"] = {
        "hessian": {"inputs": 50, "lanczos_steps": 3, "probes": 4},
        "connectivity": {"steps": 40, "points": 3},
        "similarity": {"inputs": 50},
        "ensemble": {},
    }
    return parse(raw)


@pytest.fixture(scope="module")
def clean() -> Arrays:
    return digits.load(digits.Options())


def work(wanted: CheckedSpace, clean: Arrays, folder: Path) -> Store:
    """Train and measure what is missing, in as many rounds as a run has."""
    worker = Worker(str(folder), lambda _: clean, {}, threads=1, gpus=0)
    worker.store.write_info(provenance.describe(wanted, "damaged"))
    plan.drop_incomplete_records(wanted, worker.store, train=True)
    for _ in range(3):
        for stack in plan.missing_stacks(wanted, worker.store, sizes(wanted, lambda _: ((64,), 10))):
            worker.train(stack)
        found = False
        for task in plan.missing_tasks(wanted, worker.store):
            try:
                worker.measure(task)
            except DamagedError:
                found = True
        if not found:
            break
    return worker.store


def tables(store: Store) -> dict[str, pd.DataFrame]:
    run = results.read(store)
    away = ["wall_s", "peak_memory_mb", "stack", "weights_sha256", "weights_bytes"]
    return {name: getattr(run, name).drop(columns=away, errors="ignore") for name in results.TABLES}


@pytest.fixture(scope="module")
def folders(clean: Arrays, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run done at once and one that has grown, each with records in files of their own and folded."""
    root = tmp_path_factory.mktemp("damage")
    work(space(3, [2, 4]), clean, root / "at once")
    work(space(2, [2]), clean, root / "grown")
    work(space(3, [2, 4]), clean, root / "grown")
    for name in ("at once", "grown"):
        shutil.copytree(root / name, root / f"{name}, folded")
        for kind in KINDS:
            assert Store(root / f"{name}, folded").compact(kind, 2)
    return {path.name: path for path in root.iterdir()}


def test_a_grown_run_has_the_tables_of_one_done_at_once(folders: dict[str, Path]) -> None:
    one, other = tables(Store(folders["at once"])), tables(Store(folders["grown"]))
    for name in results.TABLES:  # side by side with other models, so up to rounding
        pd.testing.assert_frame_equal(one[name], other[name], rtol=1e-6)


@pytest.mark.parametrize("case", range(24))
def test_what_damage_has_taken_is_made_again(
    case: int, clean: Arrays, folders: dict[str, Path], tmp_path: Path
) -> None:
    draw = random.Random(case)
    before = folders[draw.choice(sorted(folders))]
    folder = Path(shutil.copytree(before, tmp_path / "run"))
    files = sorted(file for file in folder.rglob("*.*") if file.name != "run.yaml")
    for file in draw.sample(files, min(len(files), draw.choice([1, 2, 4, 8]))):
        changed = CHANGES[draw.choice(sorted(CHANGES))](file.read_bytes(), draw)
        file.unlink()
        if changed is not None:
            file.write_bytes(changed)
    found, expected = tables(work(space(3, [2, 4]), clean, folder)), tables(Store(before))
    for name in results.TABLES:
        pd.testing.assert_frame_equal(found[name], expected[name], rtol=1e-6, check_dtype=False)


def test_no_changed_bit_of_a_record_passes_for_another_value(folders: dict[str, Path]) -> None:
    store = Store(folders["grown, folded"])
    (name,) = store.files.names("records/models", ".parquet")
    file, expected = Path(store.files.path(name)), store.read_records("models")
    content = file.read_bytes()
    seen = 0
    for place in range(0, len(content), 37):
        file.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        found = store.read_records("models")
        seen += not found.num_rows
        assert not found.num_rows or found.equals(expected)
    file.write_bytes(content)
    assert seen > 0.9 * len(content) / 37


def test_records_that_are_folded_while_they_are_read_are_all_found(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(shutil.copytree(folders["at once"], tmp_path / "run"))
    expected, names = store.read_records("models"), store._names

    def folded_after(kind: str) -> list[str]:
        found = names(kind)
        monkeypatch.setattr(store, "_names", names)
        assert Store(tmp_path / "run").compact(kind, 2)
        return found

    monkeypatch.setattr(store, "_names", folded_after)
    assert store.read_records("models").equals(expected)


@pytest.mark.parametrize("measure_is_a_column", [True, False])  # older run folders lack the column
def test_a_failure_is_forgotten_when_its_pair_is_measured_in_other_company(
    measure_is_a_column: bool, clean: Arrays, folders: dict[str, Path], tmp_path: Path
) -> None:
    store, wanted = Store(shutil.copytree(folders["grown"], tmp_path / "run")), space(3, [2, 4])
    first, second, *_, last = table(store, "similarity")[["model_a", "model_b"]].to_dict("records")
    lost = {"model_a": first["model_a"], "model_b": last["model_b"]}  # of two cells, which nobody measures
    pairs = [(pair["model_a"], pair["model_b"]) for pair in (first, second, lost)]
    rows = MeasureTask("similarity", None, wanted.cells[0], [], [], pairs).failure_rows("no memory", "")
    assert {row["measure"] for row in rows} == {"similarity"}
    if not measure_is_a_column:
        rows = [{name: value for name, value in row.items() if name != "measure"} for row in rows]
    store.write_record("failures", "some-task", rows)
    assert set(results.read(store).pairs["status"]) == {"ok", "failed"}
    plan.drop_settled(wanted, store)
    assert table(store, "failures")[["model_a", "model_b"]].to_dict("records") == [lost]
    plan.drop_settled(wanted, store)
    assert store.read_records("failures").num_rows == 1


def test_the_weights_of_a_row_are_its_own_where_cells_share_a_stack(clean: Arrays, tmp_path: Path) -> None:
    raw = copy.deepcopy(TINY)
    raw["load"], raw["model"]["width"] = {"label_noise": [0.0, 0.2], "weight_decay": [0.0, 0.01]}, 4
    raw["temperature"] = {"batch_size": [8], "checkpoint": [0.5, 1.0]}
    raw["measures"] = {"similarity": {"inputs": 100}}
    run: Any = results.read(work(parse(raw), clean, tmp_path / "run"))
    assert run.models["stack"].nunique() == 1
    for row in run.models.to_dict("records"):
        data = run.data(row["model_id"])
        with torch.no_grad():
            outputs = run.model(row["model_id"])(torch.tensor(data.x_train))
        loss = torch.nn.functional.cross_entropy(outputs, torch.tensor(data.y_train))
        assert float(loss) == pytest.approx(row["train_loss"], rel=1e-4)
