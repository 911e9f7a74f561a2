"""A cluster of several nodes, and storage that is no disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import explore, started
from test_engine import assert_equal_runs
from test_places import call

import explorer
from explorer.runs.files import Files, join
from explorer.runs.store import Store
from explorer.settings import InputError


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """URI of an empty bucket of a real S3 endpoint (moto) on localhost."""
    pytest.importorskip("moto")
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    before = {name: os.environ.get(name) for name in keys}
    os.environ.update(keys)
    code = (
        "from moto.server import ThreadedMotoServer; import time\n"
        "s = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False); s.start()\n"
        "print(s.get_host_and_port()[1], flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        endpoint = f"127.0.0.1:{int(process.stdout.readline())}"
        request = urllib.request.Request(f"http://{endpoint}/bucket", method="PUT")
        urllib.request.urlopen(request, timeout=10).close()
        yield f"s3://bucket/runs?scheme=http&endpoint_override={endpoint}"
    finally:
        process.kill()
        process.communicate()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a run may lie: the same tests for every kind of storage."""
    return (
        str(tmp_path / "run") if request.param == "local" else join(request.getfixturevalue("s3"), "contract")
    )


def test_every_storage_keeps_the_contract(place: str) -> None:
    import numpy as np

    warnings: list[str] = []
    store = Store(place, warn=warnings.append)
    assert not store.exists()
    assert store.read_records("notes").num_rows == 0
    space = {"name": "x", "measures": {}}
    store.write_info({"name": "x", "space": space})
    store.write_session("2026-01-01T00:00:00.000+00:00", {"trained": 1})
    assert store.read_info() == {
        "name": "x",
        "space": space,
        "given_settings": space,
        "sessions": [{"trained": 1}],
    }
    for i in range(4):
        store.write_record("notes", f"k{i}", [{"model_id": f"m{i}", "train_loss": float(i)}])
    assert store.has_record("notes", "k1")
    store.drop_record("notes", "k1")
    store.drop_record("notes", "k1")
    assert not store.has_record("notes", "k1")
    before = store.read_records("notes")
    assert before.to_pydict() == {"model_id": ["m0", "m2", "m3"], "train_loss": [0.0, 2.0, 3.0]}
    assert store.compact("notes", at=3)
    assert store.read_records("notes").equals(before)
    store.files.write("records/notes/bad.parquet", b"PAR1")
    assert store.read_records("notes").equals(before)
    assert len(warnings) == 1
    theta = np.ones((2, 3), np.float32)
    checksum = store.write_weights("s", {"theta": theta}, {"model_ids": ["a", "b"]}).sha256
    assert np.array_equal(store.read_weights("s", checksum)["theta"], theta)
    store.write_state("s", {"theta": theta}, {"step": 3})
    assert store.read_state("s")[1] == {"step": 3}  # type: ignore[index]
    store.drop_state("s")
    store.drop_state("s")
    assert store.read_state("s") is None
    assert store.files.size_bytes() > 0
    store.drop_records("notes")
    assert store.read_records("notes").num_rows == 0


@pytest.mark.slow
def test_a_run_on_s3_is_a_run_on_disk(s3: str, tiny: dict[str, Any], finished: Path) -> None:
    run = explorer.run(tiny, storage=s3, workers=2)
    assert_equal_runs(run, explorer.load("tiny", str(finished)))
    assert_equal_runs(explorer.load("tiny", s3), run)


def test_pages_and_tables_on_s3_are_those_on_disk(
    s3: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pages = join(s3, "my pages")
    assert f"Report: {join(pages, 'tiny/index.html')}" in call(
        "report", finished / "tiny", "--reports", pages
    )
    drawn = Files(join(pages, "tiny"))
    call("report", finished / "tiny", "--reports", "disk")
    assert drawn.read("tables/models.csv") == Path("disk/tiny/tables/models.csv").read_bytes()
    assert drawn.exists("charts/phase_map.png")
    assert len(explorer.load(join(pages, "tiny")).models) == 12  # a folder of tables
    shutil.copytree(finished, "copy")
    assert f"Report: {join(pages, 'tiny-2/index.html')}" in call("report", "copy/tiny", "--reports", pages)
    out = join(s3, "tables/all.parquet")
    assert call("export", finished / "tiny", "--out", out).startswith(f"Wrote {out}\n")
    assert len(pd.read_parquet(BytesIO(Files(join(s3, "tables")).read("all.parquet")))) == 12
    assert {path.name for path in tmp_path.iterdir()} == {"disk", "copy"}


@pytest.mark.parametrize("option", ["--storage", "--reports"])
def test_a_bucket_that_does_not_exist_is_told_before_training(
    s3: str, tiny: dict[str, Any], tmp_path: Path, option: str
) -> None:
    (tmp_path / "space.yaml").write_text(str(tiny))
    done = explore("run", "space.yaml", option, s3.replace("bucket", "absent"), cwd=tmp_path)
    assert done.returncode == 2, done.stdout
    assert re.search(r"s3://absent/runs.* cannot be written: .*bucket does not exist\n$", done.stderr)
    assert done.stdout == ""
    with pytest.raises(InputError, match=rf"runs in {re.escape(join(s3, ''))}: "):
        explorer.load("nothing", s3)


@pytest.mark.slow
def test_a_cluster_of_unequal_nodes(tiny: dict[str, Any], tmp_path: Path, finished: Path) -> None:
    """Two nodes, one with a logical GPU; two trials at a time share it, and none runs elsewhere."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=2, num_gpus=1)
        cluster.wait_for_nodes()
        tiny["resources"] = {"cpus_per_trial": 0.5, "gpus_per_trial": 0.5}
        code, said = _from_the_command_line(tiny, tmp_path, cluster.address)
        assert code == 0, said
        run = explorer.load(tmp_path / "runs/tiny")
        assert run.info["sessions"][0]["resources"] == {"CPU": 3.0, "GPU": 1.0}
        assert_equal_runs(run, explorer.load("tiny", str(finished)))
        tiny |= {"name": "more", "resources": {"cpus_per_trial": 3, "gpus_per_trial": 1}}
        code, said = _from_the_command_line(tiny, tmp_path, cluster.address)
        assert code == 2
        assert "a trial asks for 3 CPUs and 1 GPUs" in said
        assert "Ray has 3 CPUs and 1 GPUs on 2 node" in said
    finally:
        cluster.shutdown()
        time.sleep(0.5)


def _from_the_command_line(space: dict[str, Any], folder: Path, address: str) -> tuple[int, str]:
    """Exit code and output. A process of its own, as this one may have used a Ray with a token."""
    (folder / "space.yaml").write_text(str(space))
    process = started("run", "space.yaml", "--address", address, "--logical-gpus", cwd=folder)
    said, _ = process.communicate(timeout=800)
    return process.returncode, said


def test_an_address_where_nobody_answers_is_refused(tiny: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--address 127.0.0.1:1: no Ray cluster answers"):
        explorer.run(tiny, storage=str(tmp_path / "runs"), address="127.0.0.1:1")
