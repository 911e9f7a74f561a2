"""The command line, as a user types it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT, explore
from typer.testing import CliRunner

import explorer
from explorer.cli import app
from explorer.cli.options import to_resume
from explorer.engine.cluster import RunOptions
from explorer.runs.store import locate
from explorer.settings import InputError
from explorer.space import reading


def test_help_names_every_command() -> None:
    done = explore("--help")
    assert done.returncode == 0
    for command in ("run", "resume", "measure", "report", "status", "check", "spaces"):
        assert re.search(rf"\b{command}\b", done.stdout)


def test_the_command_that_goes_on_repeats_what_is_not_usual() -> None:
    assert to_resume("tiny").endswith("resume tiny")
    where = RunOptions(workers=2, callbacks=["mlflow", "wandb"])
    assert to_resume("tiny", storage="s3://b", where=where).endswith(
        "resume tiny --storage s3://b --workers 2 --callback mlflow --callback wandb"
    )


@pytest.mark.parametrize(("command", "follows"), [("run", True), ("resume", True), ("measure", False)])
def test_commands_that_train_can_be_followed(command: str, follows: bool) -> None:
    help_ = explore(command, "--help").stdout
    assert ("--callback" in help_) == follows
    assert all(option in help_ for option in ("--address", "--workers", "--gpus", "--max-hours", "--profile"))


HEAVY = (
    "torch",
    "ray",
    "pandas",
    "altair",
    "sklearn",
    "scipy",
    "sympy",
    "jinja2",
    "pyarrow",
    "numpy",
    "ruamel.yaml",
)


def imported(code: str) -> set[str]:
    """The heavy packages that a process has imported in the end."""
    said = f"\nimport sys; print('imported', *(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code + said], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        (["--help"], set()),
        (["run", "--help"], set()),
        (["spaces"], {"ruamel.yaml", "numpy"}),
        (["run", "spaces/digits.yaml", "--set", "seeds=0"], {"ruamel.yaml", "numpy"}),
        (
            ["check", "spaces/digits.yaml"],
            {"ruamel.yaml", "numpy", "pyarrow", "torch", "sympy"},
        ),  # counting FLOPs
        (["status", "tiny", "--storage", "FINISHED"], {"ruamel.yaml", "numpy", "pyarrow"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_quick_commands_import_nothing_heavy(arguments: list[str], allowed: set[str], finished: Path) -> None:
    words = ["explorer", *(str(finished) if a == "FINISHED" else a for a in arguments)]
    code = f"""
import sys; sys.argv = {words!r}
from explorer.cli import main
try: main()
except SystemExit: pass"""
    assert imported(code) <= allowed


def test_digits_and_the_usual_measures_import_neither_scipy_nor_sympy() -> None:
    """Each takes some tenths of a second of every worker, which has digits from the driver."""
    code = """
import torch
from explorer.data import digits
from explorer.data.base import prepare
from explorer.engine import worker
from explorer.landscape import connectivity, hessian, rows_of, similarity
from explorer.train.loop import Split
data = Split.of(prepare(digits.load(digits.Options()), digits.Options(train_size=50), "digits"))
layers = [torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)) for _ in range(2)]
network, theta, buffers = rows_of(*layers)
hessian.hessian(network, theta, data.x_train, data.y_train, buffers=buffers, seeds=[0, 1])
connectivity.fit_curves(network, theta[:1], theta[1:], buffers[:1], data.x_train, data.y_train, seeds=[0], steps=2)
similarity.linear_cka(network.outputs(theta, data.x_test, buffers))"""
    assert imported(code) <= {"torch", "numpy", "ruamel.yaml", "pyarrow"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "spaces/nothing.yaml"], r"no file spaces/nothing.yaml; there are: .*spaces/digits-"),
        (["run", "digits"], r"no file digits; there are: spaces/digits.yaml"),
        (
            ["check", "spaces/digits.yaml", "--set", "optimizer.x=1"],
            r"--set optimizer.x=1: 'optimizer' is not",
        ),
        (
            ["check", "spaces/digits.yaml", "--set", "load.width=[]"],
            r"it should be a list of 1 value\(s\) or more",
        ),
        (["check", "spaces/digits.yaml", "--set", "name=a/b"], r"it should be letters, digits"),
        (["report", "x", "--cut", "cka=2"], r"or cka with one between 0 and 1"),
        (
            ["check", "spaces/digits.yaml", "--set", "measures.similarity.layers=[nowhere]"],
            r"measures.similarity.layers: mlp has no layer 'nowhere'; it has 0, 1, 2, 3",
        ),
        (["run", "spaces/digits.yaml", "--set", "seeds=0"], r"--set seeds=0: seeds: 0 is not allowed"),
        (["run", "spaces/digits.yaml", "--name", "../x"], r"--name '../x': letters"),
        (["run", "spaces/digits.yaml", "--set", "resources.cpus_per_trial=64"], r"a trial asks for 64 CPUs"),
        (["resume", "nothing"], r"there is no run 'nothing'"),
        (["report", "nothing"], r"there is no run 'nothing'"),
        (["report", "spaces"], r"neither a run \(no run.yaml\) nor a folder of tables"),
        (["status", "nothing"], r"there is no run 'nothing'"),
        (["report", "x", "--cut", "cka=high"], r"--cut cka=high"),
        (["spaces", "explorer"], r"no space file"),
        (["frobnicate"], r"No such command 'frobnicate'. The commands are run, resume, measure"),
        (["run", "spaces/digits.yaml", "--workers", "0"], r"--workers"),
        (["run", "spaces/digits.yaml", "--callback", "tensorbord"], r"known: tensorboard, mlflow, wandb"),
        (
            ["run", "spaces/digits.yaml", "--callback", "numpy:add"],
            r"a class with a method of ray.tune.Callback",
        ),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(arguments: list[str], said: str, tmp_path: Path) -> None:
    storage = ["--storage", str(tmp_path)] if arguments[0] in ("run", "resume", "status") else []
    done = explore(*arguments, *storage)
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(said, done.stderr)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "digits/records").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["spaces/digits.yaml"], "Did you mean: run spaces/digits.yaml"),
        (["my space.yaml"], "Did you mean: run 'my space.yaml'"),
        (["digits"], "Did you mean: run spaces/digits.yaml"),
        (["ruin", "x"], "No such command 'ruin'. Did you mean: run"),
        (["--workers=2", "run", "x"], "it is an option of run, resume, measure, study, import."),
        (["check", "spaces/digits.yaml", "seeds=4"], "Did you mean: --set seeds=4"),
        (["status", "x", "y"], "'y' is one argument too many."),
        (["run", "x", "--worker", "2"], "--workers"),
    ],
)
def test_who_types_something_else_is_told_what_was_meant(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert said in re.sub(r"[\s│]+", " ", done.output)


@pytest.mark.parametrize("command", ["resume", "report"])
def test_a_place_for_pages_that_will_not_do_is_told_before_the_run(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    words = [command, "x", "--storage", str(tmp_path), "--reports"]
    for place, said in (
        ("file", "file is a file; name a folder"),
        ("new", f"{tmp_path} cannot be written"),
    ):
        done = CliRunner().invoke(app, [*words, str(tmp_path / place)])
        assert isinstance(done.exception, InputError)
        assert said in str(done.exception)
        monkeypatch.setattr("os.access", lambda *_: False)


def test_a_run_for_a_space_file_and_the_other_way_round_is_told(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny/run.yaml").write_text("name: tiny")
    (tmp_path / "latin.yaml").write_bytes("name: Grüße".encode("latin1"))
    with pytest.raises(InputError, match=rf"nor a folder of tables .*; it holds the runs {tmp_path}/tiny$"):
        explorer.load(tmp_path)
    with pytest.raises(InputError, match=r"latin.yaml is not UTF-8: byte 0x"):
        reading.read(tmp_path / "latin.yaml")
    listed = CliRunner().invoke(app, ["spaces", str(ROOT / "spaces/digits.yaml")])
    assert "digits.yaml is a file: `check` tells" in str(listed.exception)
    with pytest.raises(InputError, match=r"digits.yaml is a space file, not a run: `run /"):
        locate(ROOT / "spaces/digits.yaml")
    with pytest.raises(InputError, match=r"is the folder of a run, not a space file; `resume "):
        reading.read(tmp_path / "tiny")


def test_check_says_what_a_space_would_cost() -> None:
    done = explore("check", "spaces/digits.yaml")
    assert done.returncode == 0, done.stderr
    for said in ("32 cells", "128 (4 seeds a cell)", "192, 192 of them with a curve", "Nothing was started"):
        assert said in done.stdout
    assert re.search(r"about \d+ (s|min) on \d+ workers?", done.stdout)


def test_spaces_lists_the_files() -> None:
    done = explore("spaces")
    assert done.returncode == 0
    for file in (ROOT / "spaces").glob("*.yaml"):
        assert file.name in done.stdout


def test_status_of_a_finished_and_of_a_partial_run(own_copy: Path) -> None:
    done = explore("status", "tiny", "--storage", own_copy)
    assert done.returncode == 0, done.stderr
    assert "12 of 12 models" in done.stdout
    assert re.search(r"measured +everything", done.stdout)
    assert re.search(r"of the workers.*training \d+ s", done.stdout)
    next((own_copy / "tiny/records/models").glob("*.parquet")).unlink()
    next((own_copy / "tiny/records/similarity").glob("*.parquet")).unlink()
    done = explore("status", "tiny", "--storage", own_copy)
    assert "9 of 12 models" in done.stdout
    assert done.stdout.endswith(f"run_explore.py resume tiny --storage {own_copy}\n")
    moved = own_copy / "other place"
    (own_copy / "tiny").rename(moved)
    done = explore("status", moved)
    assert done.stdout.endswith(f"run_explore.py resume '{moved}'\n"), done.stdout


def test_the_command_that_goes_on_can_be_copied_into_a_shell() -> None:
    uri = "s3://bucket/runs?scheme=http&endpoint_override=localhost:9000"
    words = shlex.split(to_resume("tiny", storage=uri))
    assert words[-4:] == ["resume", "tiny", "--storage", uri]
    assert to_resume("tiny", storage="runs", reports="reports", where=RunOptions()).endswith("resume tiny")
    command = to_resume("tiny", reports="my pages", where=RunOptions(gpus=0))
    assert command.endswith("--reports 'my pages' --gpus 0")
    command = to_resume("tiny", where=RunOptions(gpus=2, logical_gpus=True))
    assert command.endswith("resume tiny --gpus 2 --logical-gpus")


def test_report_of_a_partial_run_and_of_plain_tables(own_copy: Path, tmp_path: Path) -> None:
    for kind in ("connectivity", "curves", "similarity"):
        for file in (own_copy / "tiny/records" / kind).glob("*.parquet"):
            file.unlink()
    done = explore("report", own_copy / "tiny", "--reports", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out/tiny/index.html").stat().st_size > 100_000

    (tmp_path / "elsewhere").mkdir()
    run = explorer.load(own_copy / "tiny")
    run.models.drop(columns="stack").to_csv(tmp_path / "elsewhere/models.csv", index=False)
    done = explore("report", tmp_path / "elsewhere", "--reports", tmp_path / "out", "--cut", "connected=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "out/elsewhere/index.html").exists()
    assert explorer.load(tmp_path / "elsewhere").axes == {"load": ["width"], "temperature": ["batch_size"]}


def test_a_report_leaves_out_the_pairs_of_models_that_are_lost(own_copy: Path, tmp_path: Path) -> None:
    for file in (own_copy / "tiny/records/models").glob("*.parquet"):
        file.unlink()
    done = explore("report", own_copy / "tiny", "--reports", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert explorer.load(own_copy / "tiny").pairs.empty


def test_models_that_diverged_are_told(own_copy: Path, tmp_path: Path) -> None:
    run = explorer.load(own_copy / "tiny")
    run.models.loc[:1, "status"], run.models.loc[:1, "error"] = "diverged", "the loss is not finite"
    run.models.to_parquet(tmp_path / "models.parquet")
    done = explore("report", tmp_path, "--reports", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (
        "2 of 12 models diverged and are excluded from the means: 2 × the loss is not finite." in done.stdout
    )


def test_a_place_that_cannot_be_written_to_and_words_for_numbers_are_told(
    own_copy: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "words").mkdir()
    (tmp_path / "words/cells.csv").write_text("width,train_loss\n2,0.5\n4,small\n")
    for arguments, said in (
        (
            ["report", own_copy / "tiny", "--reports", tmp_path / "file"],
            "is a file; name a folder",
        ),
        (
            ["export", own_copy / "tiny", "--out", tmp_path / "file/x.csv"],
            "--out: .*file is a file; name a folder",
        ),
        (["report", tmp_path / "words"], "cells.csv: train_loss should hold numbers, not 'small'"),
    ):
        done = explore(*arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert re.search(said, done.stderr)
        assert "Traceback" not in done.stderr


def test_what_is_left_of_a_run_that_lost_models_is_read(own_copy: Path, tmp_path: Path) -> None:
    next((own_copy / "tiny/records/models").glob("*.parquet")).unlink()
    for command in (["report", "--reports", tmp_path], ["diagnose"], ["export", "--out", tmp_path / "t.csv"]):
        done = explore(command[0], own_copy / "tiny", *command[1:])
        assert done.returncode == 0, done.stdout + done.stderr
    run = explorer.load(own_copy / "tiny")
    assert (len(run.models), len(run.pairs), len(run.curves), len(run.epochs)) == (9, 9, 90, 45)


def test_python_api_takes_files_and_plain_data(tiny: dict[str, Any], own_copy: Path) -> None:
    run = explorer.run(tiny, storage=str(own_copy))  # finished: nothing to do
    assert isinstance(run.cells, pd.DataFrame)
    assert len(run.cells) == 4
    assert {"phase", "near_cut", "mode_connectivity_std"} <= set(run.cells.columns)
