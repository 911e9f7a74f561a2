"""The documents say what is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import explorer
import explorer.measures
from explorer.cli import app
from explorer.data import arrays, image_folder, image_parquet, own, table
from explorer.results import TABLES
from explorer.settings import plugin

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "spaces/README.md",
    *(ROOT / "docs").glob("*.md"),
]


def test_tables_page_is_the_printed_one() -> None:
    command = [sys.executable, "-m", "explorer.report.reference"]  # in this process, tests describe columns
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert (ROOT / "docs/tables.md").read_text() == printed, (
        "print it again: python -m explorer.report.reference > docs/tables.md"
    )


def test_pages_of_benchmarks_are_the_printed_ones() -> None:
    program = [sys.executable, str(ROOT / "benchmarks/print_readme.py")]
    page, table = (
        subprocess.run([*program, *more], capture_output=True, text=True, check=True).stdout
        for more in ([], ["--table"])
    )
    again = "print it again: python benchmarks/print_readme.py --write"
    assert (ROOT / "benchmarks/README.md").read_text() == page, again
    assert f"<!-- benchmarks -->\n{table}<!-- /benchmarks -->" in (ROOT / "README.md").read_text(), again


def test_verdicts_of_the_study_in_the_readme_are_those_of_its_table() -> None:
    table = pd.read_csv(ROOT / "benchmarks/results/study_fresh.csv")
    verdicts = table.loc[table["space"] == "all spaces", "verdict"]
    general, some, against, open_ = (
        int(verdicts.str.fullmatch(pattern).sum())
        for pattern in ("holds in general", r"holds in \d+ of \d+", "contradicted.*", "cannot tell")
    )
    assert (
        f"of {len(verdicts)} findings of the paper, {general} hold in general, {some} hold in some spaces, "
        f"{against} are contradicted and {open_} cannot be told"
    ) in (ROOT / "README.md").read_text()


def _in_words(default: Any) -> str:
    """Return the default of an option as docs/measures.md shows it."""
    return f"{default:g}" if isinstance(default, float) else str(default).lower() if default != [] else "none"


@pytest.mark.parametrize("name", explorer.measures.NAMES)
def test_the_page_of_measures_has_the_options_and_defaults_of_each(name: str) -> None:
    measure = plugin(explorer.measures, name, "measure")
    lines = (ROOT / "docs/measures.md").read_text().splitlines()
    (row,) = [line.split("|") for line in lines if line.startswith(f"| `{name}` |")]
    assert row[2].strip() == measure.KIND
    told = {
        option: text.partition(",")[0].strip("`")
        for option, text in re.findall(r"`(\w+)` \(([^)]*)\)", row[4])
    }
    assert told == {option: _in_words(default) for option, default in measure.Options().model_dump().items()}


@pytest.mark.parametrize("name", TABLES)
def test_every_column_that_a_run_writes_is_documented(finished: Path, name: str) -> None:
    page = (ROOT / "docs/tables.md").read_text()
    section = page.split(f"## `{name}`")[1].split("\n## ")[0]
    documented = set(re.findall(r"`([a-z_0-9<>]+)`", section))
    space = explorer.load("tiny", str(finished)).info["space"]
    settings = {*space["data"], *space["model"], *space["training"], "batch_size", "width"}
    columns = pd.read_parquet(finished / f"tiny/tables/{name}.parquet").columns
    unknown = {c for c in columns if c.removesuffix("_std") not in documented | settings}
    assert not unknown
    if name != "cells":
        untaken = [m for m in explorer.measures.NAMES if m not in space["measures"]]
        optional = {c for m in untaken for c in plugin(explorer.measures, m, "measure").COLUMNS}
        assert set(re.findall(r"^\| `([a-z_0-9]+)`", section, flags=re.M)) - optional <= set(columns)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_command_has_help_and_is_in_the_documents() -> None:
    text = "".join(d.read_text() for d in DOCUMENTS)
    for command in app.registered_commands:
        assert command.callback is not None
        assert command.callback.__doc__, command
        name = command.name or command.callback.__name__
        assert re.search(rf"(run_explore\.py|explorer) {name}\b", text), f"{name} is in no document"


def test_options_in_the_documents_exist() -> None:
    from typer.main import get_command

    command = get_command(app)
    known = {
        option
        for sub in command.commands.values()  # type: ignore[attr-defined]
        for parameter in sub.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for document in DOCUMENTS:
        for line in re.findall(r"^.*run_explore\.py .*$", document.read_text(), flags=re.M):
            for option in re.findall(r"(?<!-)--[a-z-]+", line.split("run_explore.py", 1)[1]):
                assert option in known | {"--help"}, f"{document.name}: {line}"


OWN_DATA = {
    "arrays": arrays,
    "table": table,
    "image-folder": image_folder,
    "image-parquet": image_parquet,
    "mydata:make": own,
}


def test_every_option_of_ones_own_data_has_an_example_that_is_read() -> None:
    page = (ROOT / "docs/data.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| .* \| `(\{.*\})` \|$", page, flags=re.M)
    for option, text in rows:
        example = yaml.safe_load(text)
        module = OWN_DATA[example.pop("name")]
        assert option in module.Options.model_validate(example).model_fields_set
    options = [module.OwnDataOptions if module is own else module.Options for module in OWN_DATA.values()]
    assert {option for option, _ in rows} == {name for one in options for name in one.model_fields}


def test_the_notebook_example_runs() -> None:
    page = (ROOT / "docs/measures.md").read_text().split("## In a notebook")[1]
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tensor(") == 5
