"""The run folder: whole or not at all, and found again."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from explorer.runs import parquet
from explorer.runs.files import Files
from explorer.runs.lock import RunLock, holder
from explorer.runs.store import DamagedError, Store, locate
from explorer.settings import InputError, digest


def test_records_are_read_back_in_the_order_of_their_keys(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    store.write_record("notes", "b", [{"model_id": "m3", "seed": 2, "train_loss": 0.5, "error": ""}])
    store.write_record("notes", "a", [{"model_id": "m1", "seed": 0, "train_loss": 1, "own": "x"}])
    rows = store.read_records("notes").to_pylist()
    assert [row["model_id"] for row in rows] == ["m1", "m3"]
    assert rows[0]["train_loss"] == 1.0
    assert rows[0]["own"] == "x"
    assert rows[1]["own"] is None
    assert store.has_record("notes", "a")
    assert not store.has_record("notes", "c")
    store.drop_record("notes", "a")
    store.drop_record("notes", "never there")
    assert store.read_records("notes").to_pydict()["model_id"] == ["m3"]
    assert store.read_records("pairs").num_rows == 0


def test_nothing_half_written_is_read_or_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "run")
    store.write_record("notes", "a", [{"model_id": "m1"}])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("explorer.runs.files.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        store.write_record("notes", "b", [{"model_id": "m2"}])
    assert store.read_records("notes").to_pydict() == {"model_id": ["m1"]}
    assert [p.name for p in (tmp_path / "run").rglob("*") if p.is_file()] == ["a.parquet"]
    (tmp_path / "run/records/notes/c.parquet.0a0a0a0a.tmp").write_bytes(b"PAR1 half")
    assert store.read_records("notes").to_pydict() == {"model_id": ["m1"]}


def test_weights_are_safetensors_with_their_names(tmp_path: Path) -> None:
    from safetensors import safe_open

    store = Store(tmp_path / "run")
    theta = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays = {"theta": theta, "buffers": np.zeros((2, 0), np.float32)}
    checksum = store.write_weights("s", arrays, {"model_ids": ["a", "b"], "layers": [["w", [3]]]}).sha256
    assert np.array_equal(store.read_weights("s", checksum)["theta"], theta)
    assert np.array_equal(store.read_weights("s")["theta"], theta)
    with safe_open(tmp_path / "run/weights/s.safetensors", "numpy") as file:
        meta = json.loads(file.metadata()["explorer"])
        assert meta == {"model_ids": ["a", "b"], "layers": [["w", [3]]]}


def test_folded_records_read_as_before(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    for i in range(1, 8):
        store.write_record("notes", f"k{i}", [{"model_id": f"m{i}", "seed": s} for s in range(i)])
    before = store.read_records("notes")
    assert not store.compact("notes", at=8)
    assert store.compact("notes", at=7)
    assert len(list((tmp_path / "run/records/notes").iterdir())) == 1
    assert store.read_records("notes").equals(before)
    store.write_record("notes", "k3", before.slice(3, 3).to_pylist())  # a crash left it beside the fold
    assert store.read_records("notes").equals(before)
    store.drop_record("notes", "k3")
    assert "m3" not in store.read_records("notes", ["model_id"]).to_pydict()["model_id"]
    assert store.read_records("notes").num_rows == before.num_rows - 3


DAMAGE = {
    "cut off": lambda raw: raw[: len(raw) // 2],
    "empty": lambda raw: b"",
    "zeroed": lambda raw: bytes(len(raw)),
    "a byte changed": lambda raw: raw[:60] + bytes([raw[60] ^ 255]) + raw[61:],
}


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_records_are_named_and_set_aside(tmp_path: Path, how: str) -> None:
    warnings: list[str] = []
    store = Store(tmp_path / "run", warn=warnings.append)
    for key in "abc":
        rows = [
            {"model_id": f"m-{key}", "error": hashlib.sha256(str(i).encode()).hexdigest()} for i in range(9)
        ]
        store.write_record("notes", key, rows)
    file = tmp_path / "run/records/notes/b.parquet"
    file.write_bytes(DAMAGE[how](file.read_bytes()))
    assert set(store.read_records("notes").to_pydict()["model_id"]) == {"m-a", "m-c"}
    assert len(warnings) == 1
    assert "records/notes/b.parquet is damaged" in warnings[0]
    assert not file.exists()
    assert len(list((tmp_path / "run/damaged").iterdir())) == 1


@pytest.mark.parametrize(
    "table",
    [
        pa.table([["m-b"], ["m-b"]], names=["model_id", "model_id"]),
        pa.table({"model_id": ["m-b"], "train_loss": ["low"]}),
        pa.table({"model_id": ["m-b"]}).replace_schema_metadata({"records": "[1, 2]"}),
        pa.table({"model_id": ["m-b"]}).replace_schema_metadata({"records": "{"}),
    ],
    ids=["a column twice", "words for a number", "records without keys", "no JSON"],
)
def test_parquet_that_is_no_record_is_set_aside(tmp_path: Path, table: pa.Table) -> None:
    store = Store(tmp_path / "run", warn=lambda _: None)
    store.write_record("notes", "a", [{"model_id": "m-a", "train_loss": 0.5}])
    pq.write_table(table, tmp_path / "run/records/notes/b.parquet")
    assert store.read_records("notes").to_pydict() == {"model_id": ["m-a"], "train_loss": [0.5]}
    assert len(list((tmp_path / "run/damaged").iterdir())) == 1


def test_records_that_do_not_fit_together_are_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    for key, own in (("a", 1.0), ("b", {"x": 1})):
        store.write_record("notes", key, [{"model_id": key, "own": own}])
    with pytest.raises(InputError, match="records of notes do not fit together"):
        store.read_records("notes")


@pytest.mark.parametrize("how", DAMAGE)
def test_damaged_weights_take_their_record_back(tmp_path: Path, how: str) -> None:
    store = Store(tmp_path / "run")
    ids = ["a", "b"]
    stack = digest(ids)
    checksum = store.write_weights(stack, {"theta": np.ones((2, 90), np.float32)}, {"model_ids": ids}).sha256
    store.write_record("models", stack, [{"model_id": i, "cell_id": "c", "stack": stack} for i in ids])
    assert store.read_records("models").num_rows == 2
    file = tmp_path / f"run/weights/{stack}.safetensors"
    file.write_bytes(DAMAGE[how](file.read_bytes()))
    with pytest.raises(DamagedError, match="resume trains them again"):
        store.read_weights(stack, checksum)
    assert store.read_records("models").num_rows == 0


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_state_is_no_state(tmp_path: Path, how: str) -> None:
    store = Store(tmp_path / "run")
    assert store.read_state("s") is None
    store.write_state("s", {"theta": np.ones((2, 90), np.float32)}, {"step": 7, "history": [{"x": 1.5}]})
    arrays, meta = store.read_state("s")  # type: ignore[misc]
    assert (arrays["theta"].shape, meta) == ((2, 90), {"step": 7, "history": [{"x": 1.5}]})
    file = tmp_path / "run/states/s.state"
    file.write_bytes(DAMAGE[how](file.read_bytes()))
    assert store.read_state("s") is None


@pytest.mark.parametrize(
    "trouble", [OSError("AWS Error NETWORK_CONNECTION"), OSError(24, "Too many open files"), MemoryError()]
)
def test_what_cannot_be_read_now_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    store = Store(tmp_path / "run")
    checksum = store.write_weights("s", {"theta": np.ones((1, 9), np.float32)}, {"model_ids": ["a"]}).sha256
    store.write_record("notes", "s", [{"model_id": "a"}])
    store.write_state("s", {"theta": np.ones((1, 9), np.float32)}, {"step": 7})

    def fails(_: str) -> bytes:
        raise trouble

    with monkeypatch.context() as patched:
        patched.setattr(store.files, "read", fails)
        for read in (
            lambda: store.read_weights("s", checksum),
            lambda: store.read_records("notes"),
            lambda: store.read_state("s"),
        ):
            with pytest.raises(type(trouble)):
                read()
    assert not (tmp_path / "run/damaged").exists()
    assert store.read_weights("s", checksum)["theta"].shape == (1, 9)
    assert store.read_records("notes").num_rows == 1
    assert store.read_state("s") is not None


def test_a_block_that_a_disk_cannot_read_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "run", warn=lambda _: None)
    store.write_record("notes", "s", [{"model_id": "a"}])

    def fails(_: str) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(store.files, "_get", fails)
    assert store.read_records("notes").num_rows == 0
    assert len(list((tmp_path / "run/damaged").iterdir())) == 1


def test_a_damaged_file_that_another_sets_aside_meanwhile_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "run")
    for key in ("a", "b"):
        store.write_record("notes", key, [{"model_id": key}])
        (tmp_path / f"run/records/notes/{key}.parquet").write_bytes(b"PAR1")
    set_aside = store.files.set_aside

    def late(name: str) -> str:
        if name.endswith("a.parquet"):
            set_aside(name)
        return set_aside(name)

    store.files.set_aside = late  # type: ignore[method-assign]
    assert store.read_records("notes").num_rows == 0
    assert capsys.readouterr().err.count("is damaged") == 1, "who is told nothing else hears of it"


def test_files_that_killed_processes_left_half_written_go(tmp_path: Path) -> None:
    files = Files(tmp_path)
    for name in ("weights/a.safetensors", "callbacks/mine.tmp", "records/models/a.parquet"):
        files.write(name, b"x")
    (tmp_path / "weights/a.safetensors.0a1b2c3d.tmp").write_bytes(b"half")
    files.drop_unfinished()
    assert sorted(p.name for p in tmp_path.rglob("*.*")) == ["a.parquet", "a.safetensors", "mine.tmp"]


class Moody:
    """A file system of which the next so many calls fail."""

    def __init__(self, inner: Any):
        self.inner, self.fails, self.said = inner, 0, "AWS Error NETWORK_CONNECTION during PutObject"

    def __getattr__(self, name: str) -> Any:
        if self.fails:
            self.fails -= 1
            raise OSError(self.said)
        return getattr(self.inner, name)


def test_an_object_store_that_does_not_answer_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.runs.files.RETRY_PAUSE_S", 0.0)
    told: list[str] = []
    files = Files("mock:///run", say=told.append)
    files.fs.create_dir("run")
    files.fs = moody = Moody(files.fs)  # type: ignore[assignment]
    moody.fails = 1
    with pytest.raises(OSError, match="NETWORK"):  # a wrong address, perhaps
        files.exists("a")
    files.write("a", b"1")
    for call in (
        lambda: files.write("b", b"2"),
        lambda: files.read("a"),
        lambda: files.names("x", ""),
        lambda: files.exists("a"),
        lambda: files.delete("b"),
    ):
        moody.fails = 5
        call()
    assert len(told) == 5
    assert "mock:///run does not answer since 0 s; waiting, up to 10 min" in told[0]
    moody.fails, moody.said = 1, "AWS Error ACCESS_DENIED during PutObject"
    with pytest.raises(OSError, match="DENIED"):
        files.write("c", b"3")
    moody.fails, moody.said, files.patience_s = (
        2,
        "AWS Error UNKNOWN (HTTP status 503) during HeadObject",
        0.0,
    )
    with pytest.raises(OSError, match="503"):
        files.exists("a")


def test_a_request_that_takes_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    files = Files("mock:///run", say=told.append)
    assert files._with_retries(lambda: 1) == 1
    assert not told
    monkeypatch.setattr("explorer.runs.files.SLOW_S", 0.1)
    files._with_retries(lambda: time.sleep(0.5))
    assert told == ["mock:///run has not completed a request for 0 s; waiting"]


def hold_in_another_process(folder: Path) -> subprocess.Popen[str]:
    code = (
        "import sys, time; from explorer.runs.lock import RunLock; from explorer.runs.files import Files\n"
        "with RunLock(Files(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_run_is_held_by_one_driver_and_a_crash_does_not_block(tmp_path: Path) -> None:
    process = hold_in_another_process(tmp_path)
    try:
        with pytest.raises(InputError, match=f"held by process {process.pid} on "), RunLock(Files(tmp_path)):
            pass
        process.kill()
        process.wait()
        assert (tmp_path / "hold.yaml").exists()
        with RunLock(Files(tmp_path)):
            assert (
                Files(tmp_path).size_bytes() == (tmp_path / "hold.yaml").stat().st_size
            )  # the lock is empty
            with (
                pytest.raises(InputError, match=f"held by process {os.getpid()} on "),
                RunLock(Files(tmp_path)),
            ):
                pass
        assert not (tmp_path / "hold.yaml").exists()
    finally:
        process.kill()
        process.communicate()


def test_of_drivers_that_find_an_old_hold_at_once_one_has_it(tmp_path: Path) -> None:
    for attempt in range(20):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        old = {"host": socket.gethostname(), "pid": 2**22 + 1, "born": "1", "token": "x", "renewed": 0}
        (folder / "hold.yaml").write_text(yaml.safe_dump(old))
        together, done = threading.Barrier(6), threading.Barrier(6)

        def start(folder: Path = folder, together: Any = together, done: Any = done) -> bool:
            together.wait()
            try:
                with RunLock(Files(folder)):
                    done.wait()
                    return True
            except InputError:
                done.wait()
                return False

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(lambda _, start=start: start(), range(6))) == 1


def test_without_locks_the_last_of_those_who_take_it_at_once_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise OSError(37, "No locks available")

    def meanwhile(_: float) -> None:
        (tmp_path / "hold.yaml").write_text("{host: elsewhere, pid: 1, token: another}")

    monkeypatch.setattr("fcntl.flock", none)
    monkeypatch.setattr("explorer.runs.lock.SETTLE_S", 0)
    with RunLock(Files(tmp_path)):
        assert (tmp_path / "hold.yaml").exists()
    monkeypatch.setattr("explorer.runs.lock.time.sleep", meanwhile)
    with pytest.raises(InputError, match="on elsewhere"), RunLock(Files(tmp_path)):
        pass


def test_a_full_disk_leaves_no_empty_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, mode: str) -> Any:
        open(path, mode).close()
        return open("/dev/full", "wb", buffering=0)

    monkeypatch.setattr("explorer.runs.files.open", full, raising=False)
    with (
        pytest.raises(InputError, match=r"cannot be written: .*No space left on device"),
        RunLock(Files(tmp_path)),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["hold.lock"]
    monkeypatch.setattr(
        "explorer.runs.files.open", lambda *_: (_ for _ in ()).throw(OSError(30, "Read-only")), raising=False
    )
    with pytest.raises(InputError, match=r"cannot be written: .*Read-only"), RunLock(Files(tmp_path)):
        pass


def test_without_locks_a_process_that_has_ended_does_not_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("explorer.runs.lock.SETTLE_S", 0)
    files = Files("mock:///run")
    files.fs.create_dir("run")
    for process, blocks in ((os.getpid(), True), (2**22 + 1, False)):
        other = {"host": socket.gethostname(), "pid": process, "token": "x", "renewed": time.time()}
        files.write("hold.yaml", yaml.safe_dump(other).encode())
        if blocks:
            with pytest.raises(InputError, match=f"process {process} on "), RunLock(files):
                pass
        else:
            with RunLock(files):
                assert b"token: x" not in files.read("hold.yaml")
    assert not files.exists("hold.yaml")


def test_a_hold_of_another_machine_is_stale_when_it_is_not_renewed(tmp_path: Path) -> None:
    for age, blocks in ((10, True), (500, False)):
        other = {"host": "elsewhere", "pid": 1, "token": "x", "renewed": time.time() - age}
        (tmp_path / "hold.yaml").write_text(yaml.safe_dump(other))
        if blocks:
            with pytest.raises(InputError, match="on elsewhere"), RunLock(Files(tmp_path)):
                pass
        else:
            with RunLock(Files(tmp_path)):
                pass
    (tmp_path / "hold.yaml").write_text("{ damaged")
    with RunLock(Files(tmp_path)):
        pass


def test_runs_are_found_by_name_folder_and_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Store("runs/one").write_info({"name": "one", "space": {"measures": {}}})
    for name in ("one", "runs/one", str(tmp_path / "runs/one"), f"file://{tmp_path}/runs/one"):
        assert locate(name).read_info()["name"] == "one"
    with pytest.raises(InputError, match="runs in runs/: one"):
        locate("two")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "cannot be read"),
        ("!!python/object/apply:os.system [echo]", "cannot be read"),
        ("- 1", "not written by Explorer"),
        ("a: &a [1, 1]\nb: [*a, *a]\n", "aliases"),
        ("[" * 5000, "cannot be read"),
        ("name: a\nspace: {measures: 1}\n", "space.measures is missing or not a mapping"),
        ("name: ../x\nspace: {measures: {}}\n", "name should be letters"),
        ("space: {measures: {}}\n", "name is missing or not a string"),
        ("{name: a, space: {measures: {}}, kept_sources: [1]}\n", "kept_sources does not list source files"),
    ],
)
def test_damaged_run_yaml_is_told(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        Store(tmp_path).read_info()


def test_sessions_that_are_none_are_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_info({"name": "x", "space": {"measures": {}}})
    for day, session in enumerate(({"wall_s": 1.0}, {"wall_s": None}, {"workers": {"training_s": "x"}})):
        store.write_session(f"2026-01-0{day}", session)
    assert store.read_info()["sessions"] == [{"wall_s": 1.0}]


@pytest.mark.parametrize(("rows", "codec"), [(10, "UNCOMPRESSED"), (20_000, "ZSTD")])
def test_small_tables_are_written_plainly_and_large_ones_packed(rows: int, codec: str) -> None:
    table = parquet.table_of(
        [{"model_id": f"m{k}", "step": k, "train_loss": 1 / (k + 1)} for k in range(rows)]
    )
    content = parquet.to_parquet(table)
    column = pq.ParquetFile(pa.BufferReader(content)).metadata.row_group(0).column(0)
    assert column.compression == codec
    assert parquet.of_parquet(content).equals(table)
    some = table.column_names[:1]
    assert parquet.of_parquet(content, some).equals(table.select(some))


def test_tables_are_plain_parquet(finished: Path) -> None:
    tables = {p.stem: pq.read_table(p) for p in (finished / "tiny/tables").glob("*.parquet")}
    assert {name: t.num_rows for name, t in tables.items()} == {
        "models": 12,
        "epochs": 60,
        "pairs": 12,
        "curves": 120,
        "cells": 4,
    }


def test_a_hold_of_another_container_counts_though_it_has_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RunLock(Files(tmp_path)) as lock:
        own = lock.holder
    hold = {**own, "pid": 2**22 + 1, "token": "x", "renewed": time.time()}  # here, no process has this id
    for space, blocks in ((own["space"], False), ("another boot pid:[1]", True)):
        (tmp_path / "hold.yaml").write_text(yaml.safe_dump({**hold, "space": space}))
        if blocks:
            with pytest.raises(InputError, match="which renewed its hold 0 s ago"), RunLock(Files(tmp_path)):
                pass
        else:
            with RunLock(Files(tmp_path)):
                pass


@pytest.mark.parametrize("lives", [True, False])
def test_a_hold_from_the_future_counts_if_it_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lives: bool
) -> None:
    hold = {"host": "elsewhere", "pid": 1, "token": "x", "renewed": time.time() + 999_998}
    (tmp_path / "hold.yaml").write_text(yaml.safe_dump(hold))
    assert holder(Files(tmp_path)) == ""

    def sleep(_: float) -> None:
        if lives:
            (tmp_path / "hold.yaml").write_text(yaml.safe_dump(hold | {"renewed": hold["renewed"] + 20}))

    monkeypatch.setattr("explorer.runs.lock.time.sleep", sleep)
    told = pytest.raises(InputError, match=r"99\d{4} s from now by its clock") if lives else nullcontext()
    with told, RunLock(Files(tmp_path)):
        pass


@pytest.mark.parametrize("value", ["later", 1e300, -1e300, None, [1], "x" * 10**5])
def test_a_damaged_hold_is_described_in_a_few_words(tmp_path: Path, value: Any) -> None:
    hold = {"host": "elsewhere", "pid": value, "since": value, "renewed": time.time()}
    (tmp_path / "hold.yaml").write_text(yaml.safe_dump(hold))
    assert len(holder(Files(tmp_path))) < 300
