"""The public Python names: each has a docstring with an example that is executed, and is in the documents."""

from __future__ import annotations

import doctest
import inspect
import linecache
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY

import explorer
from explorer import reference

# Their modules and files have tests of their own.
TESTED_ELSEWHERE = ("explorer.adopt", "explorer.diagnosis", "explorer.refine")
PUBLIC = dict(reference.public())


def test_the_page_of_names_is_the_printed_one() -> None:
    page = Path(__file__).parent.parent / "docs/api.md"
    assert page.read_text(encoding="utf-8") == reference.markdown(), (
        "print it again: python -m explorer.reference > docs/api.md"
    )


def test_what_the_package_exports_is_public() -> None:
    assert {f"explorer.{name}" for name in explorer.__all__} <= PUBLIC.keys()
    assert {
        "explorer.Space",
        "explorer.Run",
        "explorer.Run.report",
        "explorer.run",
        "explorer.load",
    } <= PUBLIC.keys()


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_described(name: str) -> None:
    said = inspect.getdoc(PUBLIC[name]) or ""
    assert said.partition("\n")[0].endswith((".", ":")), name
    assert ">>> " in said or name.startswith(TESTED_ELSEWHERE), f"{name} has no example"


def test_the_examples_are_so(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(finished / "tiny", tmp_path / "runs" / "tiny")
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces/tiny.yaml").write_text(yaml.safe_dump(TINY))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"explorer": explorer, "run": explorer.load("tiny"), "__name__": "__main__"}
    order = sorted(PUBLIC, key=lambda name: name != "explorer.Space")  # it makes the space of others
    number = 0
    for name in order:
        text = inspect.getdoc(PUBLIC[name]) or ""
        module = ".".join(name.split(".")[:2])  # examples of a module use its names
        variables = {**vars(sys.modules[module]), **names} if module in sys.modules else names
        test = doctest.DocTestParser().get_doctest(text, variables, name, name, 0)
        for place, example in enumerate(test.examples):  # the source of their functions, as of a notebook
            file = f"<doctest {name}[{place}]>"
            linecache.cache[file] = (len(example.source), None, example.source.splitlines(True), file)
        report: list[str] = []
        result = doctest.DocTestRunner(verbose=False).run(test, out=report.append, clear_globs=False)
        assert result.failed == 0, "".join(report)
        names |= {"space": test.globs["space"]} if name == "explorer.Space" else {}
        number += result.attempted
    assert number > 25
