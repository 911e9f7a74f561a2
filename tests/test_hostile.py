"""Run folders that somebody has made to do harm: opening them runs nothing and touches nothing outside."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
import yaml
from conftest import ROOT, explore

import explorer
from explorer.data.formats.tables import parquet_frame
from explorer.runs.files import Files, OutsideError
from explorer.runs.parquet import of_parquet, to_parquet
from explorer.runs.store import DamagedError, Store, weights_name
from explorer.settings import InputError, listed
from explorer.users import sources

READING = (
    ("status",),
    ("verify",),
    ("report", "--reports", "../pages"),
    ("diagnose",),
    ("export", "--out", "../out.csv"),
)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def first_record(folder: Path, kind: str) -> Path:
    return min((folder / "records" / kind).iterdir())


def change(file: Path, column: str, value: str) -> None:
    """Overwrite a column of a record, with a right checksum."""
    table = of_parquet(file.read_bytes())
    place = table.column_names.index(column)
    changed = table.set_column(place, column, pa.array([value] * table.num_rows))
    file.write_bytes(to_parquet(changed))


def stack_of_another_folder(folder: Path) -> None:
    change(first_record(folder, "models"), "stack", "../../../victim/weights")


def id_of_another_folder(folder: Path) -> None:
    change(first_record(folder, "models"), "model_id", "../../victim/weights")


def key_of_another_folder(folder: Path) -> None:
    file = first_record(folder, "models")
    table = of_parquet(file.read_bytes())
    keys = json.dumps([["../../../victim/weights", table.num_rows]])
    fold = to_parquet(table.replace_schema_metadata({"records": keys}))
    (file.parent / "fold-0.parquet").write_bytes(fold)
    file.unlink()


def linked_weights(folder: Path) -> None:
    shutil.rmtree(folder / "weights")
    (folder / "weights").symlink_to(folder.parent.parent / "victim")


def linked_record(folder: Path) -> None:
    file = first_record(folder, "similarity")
    file.unlink()
    file.symlink_to(folder.parent.parent / "victim/weights.safetensors")


def source_of_another_folder(folder: Path) -> None:
    info = yaml.safe_load((folder / "run.yaml").read_text())
    kept = {"nets:make": {"fingerprint": "0", "files": {"../../../victim/weights.safetensors": "0"}}}
    info["kept_sources"] = [{"since": "2026", "functions": kept}]
    (folder / "run.yaml").write_text(yaml.safe_dump(info))


@pytest.mark.parametrize(
    "spoil",
    [
        stack_of_another_folder,
        id_of_another_folder,
        key_of_another_folder,
        linked_weights,
        linked_record,
        source_of_another_folder,
    ],
)
def test_names_in_a_folder_do_not_lead_out_of_it(own_copy: Path, spoil: Callable[[Path], None]) -> None:
    folder, victim = own_copy / "tiny", own_copy.parent / "victim"
    victim.mkdir()
    for name in ("weights.safetensors", "weights.parquet", "run.yaml"):
        (victim / name).write_bytes(b"precious")
    spoil(folder)
    before, outside = snapshot(folder), snapshot(victim)
    for command, *options in READING:
        done = explore(command, "tiny", "--storage", own_copy, *options, cwd=own_copy)
        assert done.returncode in (0, 2, 3), done.stdout + done.stderr
    for work in (
        lambda: explorer.load("tiny", own_copy).model(explorer.load("tiny", own_copy).models["model_id"][0]),
        lambda: Store(folder).drop_lost_weights(),
        lambda: Store(folder).drop_stack("../../../victim/weights", ValueError("damage")),
    ):
        with contextlib.suppress(InputError, KeyError):
            work()
    assert snapshot(victim) == outside
    left = {name for name in before if name in snapshot(folder) or name.startswith(("records/", "weights/"))}
    assert left == before.keys()


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "a//b", "a\\..\\b", "", "a/./b", "a\0b"])
def test_files_have_no_names_outside(tmp_path: Path, name: str) -> None:
    files = Files(tmp_path / "folder")
    for use in (files.read, files.exists, files.delete, files.set_aside, lambda name: files.write(name, b"")):
        with pytest.raises(OutsideError, match="no name of a file in this folder"):
            use(name)


def test_a_link_to_the_folder_itself_is_followed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    Files(tmp_path / "link").write("a", b"1")
    assert Files(tmp_path / "folder").read("a") == b"1"


def named(folder: Path, **changes: Any) -> None:
    """Change the space in ``run.yaml``."""
    info = yaml.safe_load((folder / "run.yaml").read_text())
    info["space"] |= changes
    (folder / "run.yaml").write_text(yaml.safe_dump(info))


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module ``trap`` that writes this file when it is imported, next to libraries of the same kind."""
    (tmp_path / "here").mkdir()
    code = f"import pathlib\npathlib.Path({str(tmp_path / 'sprung')!r}).touch()\ndef make(**_): pass\n"
    for name in ("trap", "pandas", "yaml", "altair", "pyarrow", "numpy", "jinja2"):
        (tmp_path / f"here/{name}.py").write_text(code)
    return tmp_path / "sprung"


@pytest.mark.parametrize(
    "changes",
    [
        {"data": {"name": "trap:make"}},
        {"model": {"name": "trap:make"}},
        {"data": {"name": "subprocess:getoutput", "cmd": "touch ../sprung"}},
        {"training": {"steps": 10, "loss": "trap:make", "optimizer": "trap:make"}},
    ],
    ids=str,
)
def test_reading_imports_nothing_that_a_folder_names(
    own_copy: Path, trap: Path, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    named(own_copy / "tiny", **changes)
    for command, *options in READING:
        explore(command, "tiny", "--storage", own_copy, *options, cwd=own_copy.parent / "here")
        assert not trap.exists(), command
    monkeypatch.chdir(trap.parent / "here")
    run = explorer.load("tiny", own_copy)
    assert len(run.cells)
    assert not trap.exists()
    for command in ("resume", "measure"):
        done = explore(command, "tiny", "--storage", own_copy, cwd=own_copy.parent / "here")
        assert done.returncode == 2
        assert "names code that this command would run" in done.stderr
        assert not trap.exists(), command
    with pytest.raises(InputError, match="pass trust=True"):
        run.model(run.models["model_id"][0])


def test_comparison_study_and_replay_read_only(own_copy: Path, trap: Path) -> None:
    folder, victim = own_copy / "tiny", own_copy.parent / "victim"
    shutil.copytree(folder, own_copy / "other")
    victim.mkdir()
    (victim / "weights.safetensors").write_bytes(b"precious")
    for spoil in (stack_of_another_folder, linked_weights, source_of_another_folder):
        spoil(folder)
    named(folder, data={"name": "trap:make"}, model={"name": "subprocess:getoutput", "cmd": f"touch {trap}"})
    before = snapshot(own_copy)
    for command in (
        ("report", "tiny", "other", "--reports", "../pages", "--storage", "../runs"),
        ("study", "../runs/tiny", "../runs/other", "--reports", "../pages", "--out", "../verdicts.csv"),
        ("simulate", "tiny", "--storage", "../runs"),
    ):
        done = explore(*command, cwd=trap.parent / "here")
        assert done.returncode == 0, done.stderr
        assert "is no stack" in done.stderr
        assert not trap.exists()
        assert snapshot(own_copy) == before
        assert snapshot(victim) == {"weights.safetensors": b"precious"}


def test_a_folder_of_someone_else_s_is_not_resumed_without_a_word(
    own_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\ndef make(shape, classes, width): return nn.Linear(2, 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    named(own_copy / "tiny", model={"name": "nets:make", "width": 2})
    info = Store(own_copy / "tiny").read_info()
    from explorer.space.trust import require_trust

    store = Store(own_copy / "tiny")
    with pytest.raises(InputError, match=r"nets:make.*keeps no sources"):
        require_trust(info, store, trust=False)
    function = {"fingerprint": sources.fingerprint("nets:make"), "files": {}}
    info["kept_sources"] = [{"since": "2026", "functions": {"nets:make": function}}]
    require_trust(info, store, trust=False)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(InputError, match=r"nets:make.*belongs to .*, not to you.*add --trust"):
        require_trust(info, store, trust=False)
    require_trust(info, store, trust=True)
    require_trust(
        Store(own_copy / "tiny").read_info() | {"space": {"model": {"name": "mlp"}}}, store, trust=False
    )


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        # It unpickles any file. Whoever makes the folder knows the hash of a released file.
        ("pandas:read_pickle", ["pandas:read_pickle"]),
        ("explorer.data.own:called", ["explorer.data.own:called"]),
        ("trap:make", ["trap:make", "other:make"]),  # compared with nothing, if an earlier version counts
    ],
)
def test_code_that_a_folder_could_have_borrowed_is_not_run(
    own_copy: Path, trap: Path, name: str, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trap.parent / "here")
    named(own_copy / "tiny", data={"name": name})
    file = own_copy / "tiny/run.yaml"
    info = yaml.safe_load(file.read_text())
    kept = [{one: {"fingerprint": "0", "files": {}}} for one in versions]
    info["kept_sources"] = [{"since": "2026", "functions": functions} for functions in kept]
    file.write_text(yaml.safe_dump(info))
    done = explore("resume", "tiny", "--storage", own_copy, cwd=own_copy.parent / "here")
    assert done.returncode == 2
    assert f"names code that this command would run: {name}." in done.stderr
    assert not trap.exists()


@pytest.mark.parametrize(
    "start", [[sys.executable, "-m", "explorer"], [f"{Path(sys.executable).parent}/explorer"]]
)
def test_a_folder_full_of_false_libraries_is_harmless(own_copy: Path, trap: Path, start: list[str]) -> None:
    environment = os.environ | {"PYTHONPATH": f":{ROOT}"}  # the empty entry is the current folder
    command = [*start, "status", "tiny", "--storage", str(own_copy)]
    done = subprocess.run(command, cwd=trap.parent / "here", env=environment, capture_output=True, text=True)
    assert not trap.exists()
    assert "12 of 12 models" in done.stdout, done.stderr


@pytest.mark.parametrize("reference", ["subprocess:getoutput", "os.path:join", "builtins:print", "math:sqrt"])
def test_what_python_itself_has_is_no_function_of_the_user_s(reference: str, tiny: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="is in Python's standard library"):
        explorer.run({**tiny, "model": {"name": reference}})


def test_what_a_user_s_module_has_from_python_is_none_either(
    tiny: dict[str, Any], importable: Callable[[str, str], None]
) -> None:
    importable("borrows", "from math import sqrt\nfrom functools import partial\nf = partial(int, 2)\n")
    with pytest.raises(InputError, match=r"'borrows:sqrt' is math.sqrt of Python"):
        explorer.run({**tiny, "model": {"name": "borrows:sqrt"}})
    with pytest.raises(
        InputError, match=r"'borrows:f' called with .* failed"
    ):  # a partial function of the user's is allowed
        explorer.run({**tiny, "model": {"name": "borrows:f"}})


def test_records_of_the_wrong_kind_or_name_are_told(own_copy: Path) -> None:
    folder = own_copy / "tiny"
    first, second, *_ = sorted((folder / "records/models").iterdir())
    expected = Store(folder).read_records("models").num_rows - of_parquet(second.read_bytes()).num_rows
    shutil.copy(first, second)
    shown = explore("status", "tiny", "--storage", own_copy)
    assert "it is not the record of its name" in shown.stderr
    assert f"{expected} of 12 models" in shown.stdout
    (folder / "records/models").rename(folder / "records/x")
    (folder / "records/epochs").rename(folder / "records/models")
    (folder / "records/x").rename(folder / "records/epochs")
    shown = explore("status", "tiny", "--storage", own_copy)
    assert "so it is no record of models" in shown.stderr
    assert "0 of 12 models" in shown.stdout
    drawn = explore("report", "tiny", "--storage", own_copy, "--reports", own_copy / "pages")
    assert "it has no column step, so it is no record of epochs" in drawn.stderr
    assert drawn.returncode == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"name": "digits", "corruption_seed": 1e30}}, "1e\\+30 is out of range"),
        ({"seeds": 10**30}, "out of range|less than or equal"),
        ({"name": "x" * 5000}, "xxx…"),
        ({"description": 5}, "valid string"),
        ({"skip": [{"width": {"ge": 1e300}}]}, "out of range"),
    ],
)
def test_a_message_shows_at_most_200_characters_of_a_value(
    tiny: dict[str, Any], change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError, match=said) as told:
        explorer.run({**tiny, **change})
    assert len(str(told.value)) < 600


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"name": "a b " * 20_000}},
        {"model": {"name": "a b " * 20_000}},
        {"load": {"a b " * 20_000: [1, 2]}},
        {"training": {"steps": 1, **dict.fromkeys(f"a{n}" for n in range(5000))}},
        {"seeds": [1] * 20_000},
        {"skip": [{"a b " * 20_000: 1}]},
        {"measures": {"similarity": {"layers": ["a b " * 20_000]}}},
    ],
)
def test_a_message_is_short_whatever_a_space_holds(tiny: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises(InputError) as told:
        explorer.run({**tiny, **change})
    lines = str(told.value).splitlines()
    assert len(lines) <= 51
    assert max(map(len, lines)) < 1000


COLUMNS = ",".join(f"column_{n}" for n in range(200))


@pytest.mark.parametrize("columns", ["", "nope=load", "width=load,batch_size=temperature"])
def test_what_is_said_of_a_table_lists_a_few_of_200_columns(tmp_path: Path, columns: str) -> None:
    rows = [f"2,4,0,0.1{f',{n}' * 200}\n" for n in (1, 2)]
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/models.csv").write_text(
        f"width,batch_size,seed,train_loss,{COLUMNS}\n{''.join(rows)}"
    )
    given = ["--columns", columns] if columns else []
    shown = explore("report", tmp_path / "tables", *given, "--reports", tmp_path / "pages")
    assert re.search(r"… and 1\d\d more", shown.stderr)
    assert "Warning" not in shown.stderr
    assert len(shown.stdout + shown.stderr) < 3000


def test_a_list_in_a_message_says_how_many_more_there_are() -> None:
    assert listed(["a", "b"], " or ") == "a or b"
    assert listed([]) == ""
    assert listed("abcd", most=3) == "a, b, c, … and 1 more"
    words = listed(range(50_000))
    assert words.startswith("0, 1, 2, ")
    assert words.endswith(" more")
    assert len(words) < 550
    assert int(words.rpartition("and ")[2].split()[0].replace(",", "")) + words.count(",") - 1 == 50_000


ESCAPE = "\x1b]52;c;aGk=\x07" + "w " * 50_000  # writes to the clipboard of a terminal


def overwritten(folder: Path, text: str) -> None:
    """Put a text where messages show what a run folder says."""
    hold = {"host": text, "pid": 7, "space": "elsewhere", "renewed": time.time()}
    (folder / "hold.yaml").write_text(yaml.safe_dump(hold))
    (folder / "records/failures").mkdir()
    failures = {"kind": ["models"], "model_id": ["a"], "error": [text], "traceback": [text]}
    (folder / "records/failures/a.parquet").write_bytes(to_parquet(pa.table(failures)))
    session = {"wall_s": 1.0, "workers": {text: 1.0, "[/x]": 1.0}, "stages": {text: 1.0}}
    (folder / "sessions/1.yaml").write_text(yaml.safe_dump(session))
    info = yaml.safe_load((folder / "run.yaml").read_text())
    info |= {"created": text, "kept_sources": [{"since": text, "changed": [text]}]}
    (folder / "run.yaml").write_text(yaml.safe_dump(info | {"verification": 3, "failed_measures": [3]}))


def test_a_terminal_obeys_no_text_of_a_folder(own_copy: Path) -> None:
    (own_copy / "tiny/sessions").mkdir(exist_ok=True)
    overwritten(own_copy / "tiny", ESCAPE)
    change(first_record(own_copy / "tiny", "similarity"), "cka", ESCAPE)  # no number: the message shows it
    for command, *options in (*READING, ("resume",)):
        done = explore(command, "tiny", "--storage", own_copy, *options, cwd=own_copy)
        assert done.returncode in (0, 2, 3), command
        assert "\x1b" not in done.stdout + done.stderr, command
        assert max(map(len, (done.stdout + done.stderr).splitlines())) < 3000, command
    listed = explore("runs", "--storage", own_copy)
    assert "tiny" in listed.stdout
    assert "\x1b" not in listed.stdout


def test_links_in_circles_and_to_other_folders_are_not_followed(own_copy: Path) -> None:
    folder = own_copy / "tiny"
    files, size = set(Files(folder).every()), Files(folder).size_bytes()
    for name in ("one", "other", "records/third"):
        (folder / name).symlink_to(folder)
    assert set(Files(folder).every()) == files
    (folder / "root").symlink_to("/")
    assert Files(folder).size_bytes() == size
    assert "12 of 12 models" in explore("status", "tiny", "--storage", own_copy).stdout
    checked = explore("verify", "tiny", "--storage", own_copy)
    assert checked.returncode == 2
    assert "root leads out of this folder, to /" in checked.stderr


def test_a_pipe_in_a_folder_is_not_waited_for(own_copy: Path) -> None:
    folder, options = own_copy / "tiny", ("tiny", "--storage", own_copy)
    weights = min((folder / "weights").iterdir())
    weights.unlink()
    for file in (weights, folder / "hold.yaml", folder / "verification.yaml"):
        os.mkfifo(file)
    assert "12 of 12 models" in explore("status", *options).stdout
    checked = explore("verify", *options)
    assert checked.returncode == 3
    assert f"weights/{weights.name}: " in checked.stderr


@pytest.mark.parametrize("meta", ["[]", "null", "{}", "[" * 100_000, '{"model_ids": ["a"]}', "", None])
def test_weights_of_other_shape_are_damaged(own_copy: Path, meta: str | None) -> None:
    """Their checksum is right: who writes such weights can write a record, too."""
    folder = own_copy / "tiny"
    file = first_record(folder, "models")
    record = of_parquet(file.read_bytes())
    ids = record.column("model_id").to_pylist()
    arrays = {"theta": np.zeros((1, 3))} if meta else {"other": np.zeros((len(ids), 3))}
    content = safetensors.numpy.save(
        arrays, {"explorer": json.dumps({"model_ids": ids}) if meta is None else meta}
    )
    (folder / weights_name(file.stem)).write_bytes(content)
    change(file, "weights_sha256", hashlib.sha256(content).hexdigest())
    assert f"{file.stem}.safetensors: " in explore("verify", "tiny", "--storage", own_copy).stderr
    with pytest.raises(DamagedError):
        explorer.load("tiny", own_copy).model(ids[0])


@pytest.mark.parametrize(
    ("theta", "said"),
    [
        (
            np.zeros((4, 7), np.float32),
            r"theta has 7 numbers \(float32\) for each model, and this architecture",
        ),
        (np.zeros((4, 0), np.float32), r"theta has 0 numbers \(float32\) for each model"),
        (np.zeros((4, 7)), r"theta has 7 numbers \(float64\) for each model, .* \(float32\)"),
        (np.zeros((4, 2, 2), np.float32), "theta is no matrix"),
        (np.zeros(4, np.float32), "theta is no matrix"),
        (np.zeros((4, 2), np.int8), "theta is no matrix"),
        (np.zeros((3, 2), np.float32), "theta is no matrix"),
    ],
)
def test_weights_of_another_network_are_one_sentence(own_copy: Path, theta: np.ndarray, said: str) -> None:
    folder = own_copy / "tiny"
    for file in (folder / "records/models").iterdir():
        ids = of_parquet(file.read_bytes()).column("model_id").to_pylist()
        rows = theta[: len(ids)] if len(theta) == 4 else np.zeros((len(ids) + 1, 2), np.float32)
        meta = {"explorer": json.dumps({"model_ids": ids})}
        content = safetensors.numpy.save(
            {"theta": rows, "buffers": np.zeros((len(ids), 0), np.float32)}, meta
        )
        (folder / weights_name(file.stem)).write_bytes(content)
        change(file, "weights_sha256", hashlib.sha256(content).hexdigest())
    with pytest.raises(DamagedError, match=said):
        explorer.load("tiny", own_copy).model(ids[0])


def bombs() -> dict[str, pa.Table]:
    """Tables of gigabytes, which files of kilobytes hold."""
    long, zeros = pa.array(["y" * 100_000]), np.zeros(200_000, np.int32)
    texts = pa.DictionaryArray.from_arrays(pa.array(zeros), long)
    lists = pa.ListArray.from_arrays(pa.array([0, len(zeros)], pa.int32()), texts)
    columns = {f"c{place}": pa.array(np.zeros(1_000_000)) for place in range(40)}
    return {
        "texts": pa.table({"cka": texts}),
        "list": pa.table({"cka": lists}),
        "numbers": pa.table(columns),
        "nothing": pa.table({"cka": pa.nulls(40_000_000)}),
    }


@pytest.mark.parametrize("name", ["texts", "list", "numbers", "nothing"])
def test_a_small_file_with_a_huge_table_is_not_unpacked(own_copy: Path, name: str) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(bombs()[name], sink, compression="zstd", store_schema=False)
    content = sink.getvalue().to_pybytes()
    assert len(content) < 500_000
    for read in (of_parquet, parquet_frame):
        pool = pa.proxy_memory_pool(pa.default_memory_pool())
        before = pa.default_memory_pool()
        pa.set_memory_pool(pool)
        try:
            with pytest.raises(ValueError, match=r"its table would take .* at most 2.* MB are allowed"):
                read(content)
        finally:
            pa.set_memory_pool(before)
        assert (pool.max_memory() or 0) < 3e8
    (own_copy / "tiny/records/similarity/fold-0.parquet").write_bytes(content)
    (own_copy / "tables").mkdir()
    (own_copy / "tables/models.parquet").write_bytes(content)
    shown = explore("status", "tiny", "--storage", own_copy)
    assert "fold-0.parquet is damaged (its table would take" in shown.stderr
    assert "12 of 12 models" in shown.stdout
    drawn = explore("report", "tables", cwd=own_copy)
    assert drawn.returncode == 2
    assert "tables/models.parquet cannot be read as a table: its table would take" in drawn.stderr


def test_a_footer_that_lies_about_the_length_of_texts_is_not_believed() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(bombs()["texts"], sink, compression="zstd", write_statistics=False, store_schema=False)
    content = sink.getvalue().to_pybytes()
    told = pq.ParquetFile(io.BytesIO(content)).metadata.row_group(0).column(0).total_uncompressed_size
    lying = content.replace(varint(told), varint(10, len(varint(told))))
    assert lying != content
    with pytest.raises(ValueError, match=r"its table would take 20\.0 GB"):
        of_parquet(lying)


def varint(number: int, length: int = 0) -> bytes:
    """Return a number as the footers of Parquet files have it, in at least so many bytes."""
    left, parts = 2 * number, []
    while left or len(parts) < length:
        left, part = divmod(left, 128)
        parts.append(part)
    return bytes([*(part | 128 for part in parts[:-1]), parts[-1]])


def test_many_small_files_with_large_tables_are_not_unpacked(own_copy: Path) -> None:
    for file in (own_copy / "tiny/records/similarity").iterdir():
        table = of_parquet(file.read_bytes())
        text = pa.array(["y" * 80_000_000, *[""] * (table.num_rows - 1)])
        file.write_bytes(to_parquet(table.append_column("text", text)))
        assert file.stat().st_size < 50_000
    with pytest.raises(InputError, match=r"too many records of similarity: its table would take"):
        explorer.load("tiny", own_copy)
    assert "12 of 12 models" in explore("status", "tiny", "--storage", own_copy).stdout


@pytest.mark.parametrize("names", [b"[" * 100_000, b"[]", b"{}", b"5", b'[["a", -1]]', b"\xff", b"{"])
def test_records_that_are_not_named_are_damaged(own_copy: Path, names: bytes) -> None:
    file = first_record(own_copy / "tiny", "similarity")
    fold = to_parquet(of_parquet(file.read_bytes()).replace_schema_metadata({b"records": names}))
    (file.parent / "fold-0.parquet").write_bytes(fold)
    for command in ("status", "verify"):
        done = explore(command, "tiny", "--storage", own_copy)
        assert "similarity/fold-0.parquet" in done.stderr


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"x": [1]}, "it has no texts kind"),
        ({"kind": [None], "error": ["e"], "traceback": ["t"]}, "it has no texts kind"),
        ({"kind": ["pairs"], "error": ["e"], "traceback": ["t"]}, ""),
        ({"kind": ["models"], "error": ["e"], "traceback": ["t"]}, ""),
    ],
)
def test_failures_of_nothing_are_no_traceback(own_copy: Path, record: dict[str, Any], said: str) -> None:
    (own_copy / "tiny/records/failures").mkdir()
    (own_copy / "tiny/records/failures/a.parquet").write_bytes(to_parquet(pa.table(record)))
    for command in ("status", "export"):
        done = explore(command, "tiny", "--storage", own_copy, cwd=own_copy)
        assert done.returncode == 0
        assert said in done.stderr


def test_a_wrong_budget_in_a_folder_is_one_sentence(own_copy: Path) -> None:
    named(own_copy / "tiny", measures={"connectivity": {"steps": 60, "start": "x"}})
    done = explore("status", "tiny", "--storage", own_copy)
    assert done.returncode == 2
    assert "measures.connectivity.start: 'x' is not allowed" in done.stderr


def test_a_huge_run_yaml_is_not_read(own_copy: Path) -> None:
    with open(own_copy / "tiny/run.yaml", "a") as file:
        file.write(f"more: '{'x ' * 6_000_000}'\n")
    done = explore("status", "tiny", "--storage", own_copy)
    assert done.returncode == 2
    assert "at most 10,000,000 are allowed" in done.stderr


@pytest.mark.parametrize("kept", [b"x = " + b"-" * 100_000 + b"1", b"x = a" + b".b" * 50_000, b"\0"])
def test_a_kept_source_that_python_cannot_read_is_another_one(kept: bytes) -> None:
    assert not sources.same(b"x = 1", kept)
