"""Studies: what belongs to one, and what its command writes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from typer.testing import CliRunner

import explorer
from explorer import studies
from explorer.cli import app
from explorer.phases.claims import CHECKS
from explorer.settings import InputError
from explorer.space import reading
from explorer.space.model import CheckedSpace

SPACES = sorted((ROOT / "spaces/study").glob("*.yaml"))
TINY = {
    "data": {"name": "digits", "train_size": 100},
    "model": {"name": "mlp"},
    "load": {"width": [2, 4]},
    "temperature": {"batch_size": [16, 32]},
    "seeds": 2,
    "training": {"steps": 20},
    "measures": {
        "hessian": {"inputs": 50, "lanczos_steps": 4, "probes": 4},
        "connectivity": {"steps": 5, "points": 3},
        "similarity": {"inputs": 50},
    },
}


def write(folder: Path, name: str, **more: object) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"name": name, **TINY, **more}))
    return file


def test_members_are_files_folders_and_runs(tmp_path: Path):
    one, two = write(tmp_path, "one"), write(tmp_path, "two")
    found = studies.members([tmp_path], ["training.steps=30"], tmp_path)
    assert [(s.name, s.training.steps) for s in found if isinstance(s, CheckedSpace)] == [
        ("one", 30),
        ("two", 30),
    ]
    assert [getattr(s, "name", s) for s in studies.members([two, one], [], tmp_path)] == ["two", "one"]
    assert [getattr(s, "name", s) for s in studies.members(str(one), [], tmp_path)] == ["one"]
    with pytest.raises(InputError, match="the study has 'one' twice"):
        studies.members([tmp_path, one], [], tmp_path)
    with pytest.raises(InputError, match="a study takes space files, folders of them, and runs"):
        studies.members(["nothing"], [], tmp_path)
    (tmp_path / "tables").mkdir()
    with pytest.raises(InputError, match=r"--set seeds=2: it changes space files, and .* is a run"):
        studies.members([tmp_path / "tables"], ["seeds=2"], tmp_path)
    with pytest.raises(InputError, match=r"--out x.md: the name must end in .csv"):
        studies.target("x.md")


def test_a_later_folder_without_tables_stops_the_study_before_it_starts(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty is neither a run"):
        explorer.study([write(tmp_path, "one"), tmp_path / "empty"], storage=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("file", SPACES, ids=lambda file: file.stem)
def test_spaces_of_the_study_are_called_as_their_files(file: Path):
    space = reading.read(file)
    assert space.name == file.stem
    assert space.description


def test_spaces_of_the_study_have_every_axis_that_a_claim_is_about():
    axes = set().union(*(reading.read(file).axes for file in SPACES))
    assert axes >= {
        "width", "train_size", "label_noise", "pixel_noise", "batch_size", "learning_rate", "weight_decay",
        "schedule", "steps",
    }  # fmt: skip


def test_the_command_runs_spaces_and_writes_the_same_tables_again(tmp_path: Path):
    spaces = tmp_path / "spaces"
    spaces.mkdir()
    write(spaces, "one")
    write(spaces, "two", seeds=3)
    table = tmp_path / "study.csv"
    places = ["--storage", str(tmp_path / "runs"), "--reports", str(tmp_path / "reports")]
    command = ["study", str(spaces), *places, "--out", str(table)]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    assert "findings of the paper" in first.output
    assert (tmp_path / "reports/study/index.html").is_file()
    assert (tmp_path / "reports/two/index.html").is_file()
    rows = pd.read_csv(table).fillna({"unit": "", "would_decide": ""})
    assert len(rows) == 3 * len(CHECKS)
    assert (tmp_path / "study.md").read_text().startswith("| claim | all spaces | one | two |")
    again = explorer.study([spaces], storage=tmp_path / "runs")
    pd.testing.assert_frame_equal(again, rows, check_dtype=False, rtol=1e-5)
    loaded = explorer.study(["one", "two"], storage=tmp_path / "runs")
    pd.testing.assert_frame_equal(loaded, again)
    write(spaces, "a-new-one")
    write(spaces, "two", seeds=3, training={"steps": 30})
    with pytest.raises(InputError, match="space two: "):
        explorer.study([spaces], storage=tmp_path / "runs")
    assert not (tmp_path / "runs/a-new-one").exists()
