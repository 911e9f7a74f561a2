"""A user's code is more than one file: which files it is, what counts as a change, and what a run makes of one."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_process import table, work
from typer.testing import CliRunner

import explorer
from explorer.cli import app, status
from explorer.data.dataset import Arrays
from explorer.engine.run import measure, resume
from explorer.engine.worker import Worker
from explorer.plan import plan, provenance
from explorer.plan.stacks import NO_SIZES
from explorer.report import facts
from explorer.runs.store import Store
from explorer.settings import Disagreement, InputError
from explorer.space import recorded, trust
from explorer.space.model import CheckedSpace
from explorer.space.reading import parse
from explorer.users import sources

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes modules that this process can import, by path and content, and forgets them afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(**files: str) -> None:
        for name, content in files.items():
            path = tmp_path / (name.replace("__", "/") + ".py").replace("/init.py", "/__init__.py")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    yield write
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"mine": "import other, json, torch, explorer.settings", "other": ""}, "mine other"),
        ({"mine": "from other import x", "other": "import mine; x = 1"}, "mine other"),
        ({"mine": "def make():\n    import other", "other": "", "unused": ""}, "mine other"),
        ({"mine": "import importlib\nimportlib.import_module('other')", "other": ""}, "mine other"),
        ({"mine": "try:\n    import nowhere\nexcept ImportError:\n    pass\nfrom . import other"}, "mine"),
        (
            {"mine": "import lib.nets.small", "lib__init": "", "lib__nets__small": "from ..tools import x",
             "lib__tools": ""},
            "lib/__init__ lib/nets/small lib/tools mine",
        ),
        (
            {"mine": "from lib import nets, VALUE", "lib__init": "VALUE = 1", "lib__nets__init": "from . import a",
             "lib__nets__a": "", "lib__nets__b": ""},
            "lib/__init__ lib/nets/__init__ lib/nets/a mine",
        ),
        (
            {"mine": "from lib import *", "lib__init": "__all__ = ['nets']", "lib__nets": "", "lib__other": ""},
            "lib/__init__ lib/nets mine",
        ),
    ],
)  # fmt: skip
def test_local_imports_are_followed_and_nothing_is_run(
    write: Write, files: dict[str, str], found: str
) -> None:
    write(**{name: f"{content}\nraise RuntimeError" for name, content in files.items()})
    read = sources.read("mine:make")
    assert next(iter(read)) == "mine.py"
    assert sorted(path.removesuffix(".py") for path in read) == found.split()


def test_a_module_deep_in_folders_without_init_is_found(write: Write) -> None:
    write(a__b__c="from . import d", a__b__d="")
    assert list(sources.read("a.b.c:make")) == ["a/b/c.py", "a/b/d.py"]


def test_installed_packages_are_not_followed_but_may_be_named(write: Write) -> None:
    write(**{"site-packages__far__init": "import mine", "mine": ""})
    sys.path.insert(0, os.path.join(os.getcwd(), "site-packages"))
    try:
        write(near="import far")
        assert list(sources.read("near:make")) == ["near.py"]
        assert list(sources.read("far:make")) == ["far/__init__.py", "mine.py"]
    finally:
        del sys.path[0]


CODE = 'from helper import scale\n\n\ndef make(a, b="x"):\n    return [scale(a), f"{b!r}"]\n'
HELPER = "def scale(a):\n    return 2 * a\n"


def test_comments_formatting_and_docstrings_are_no_change(write: Write) -> None:
    write(mine=CODE, helper=HELPER)
    before = sources.fingerprint("mine:make")
    assert before == "13440603cd149c1d", "every version of Python gives the same"
    write(
        helper='"""Helpers."""\n\ndef scale( a ):\n    """Scale."""\n    return (2 *\n        a)  # twice\n'
    )
    assert sources.fingerprint("mine:make") == before


@pytest.mark.parametrize(
    "helper", [HELPER.replace("2", "3"), HELPER.replace("2", "2.0"), f"{HELPER}x = ''\n"]
)
def test_a_change_in_an_imported_file_is_one(write: Write, helper: str) -> None:
    write(mine=CODE, helper=HELPER)
    before = sources.fingerprint("mine:make")
    write(helper=helper)
    assert sources.fingerprint("mine:make") != before


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("mine:make", r"broken\.py, line 2: not valid Python: cannot assign"),
        ("math:sqrt", "'math:sqrt' has no source file"),
        ("nowhere:make", "'nowhere:make' has no source file"),
    ],
)
def test_what_cannot_be_read_is_told(write: Write, reference: str, said: str) -> None:
    write(mine="def make():\n    import broken", broken="x = 1\n1 = x")
    with pytest.raises(InputError, match=said):
        sources.read(reference)


NETS = """
from torch import nn

import helper


def make(shape, classes, width=4):
    return nn.Sequential(nn.Linear(shape[0], width), helper.ACTIVATION(), nn.Linear(width, classes))
"""
TANH, RELU = (f"from torch import nn\nACTIVATION = nn.{name}\n" for name in ("Tanh", "ReLU"))


def raw(*widths: int) -> dict[str, Any]:
    return {
        "name": "own",
        "data": {"name": "arrays", "path": "tab.npz"},
        "model": "nets:make",
        "load": {"width": list(widths)},
        "seeds": 1,
        "training": {"steps": 5, "batch_size": 10, "learning_rate": 0.1},
        "measures": {},
    }


@pytest.fixture
def clean(write: Write) -> Arrays:
    """Write the user's files and return the data."""
    write(nets=NETS, helper=TANH)
    x = np.random.default_rng(0).normal(size=(40, 3))
    y = (x[:, 0] > 0).astype(int)
    np.savez("tab.npz", x_train=x[:20], y_train=y[:20], x_test=x[20:], y_test=y[20:])
    return parse(raw(2)).cells[0].load_data()


def trained(space: CheckedSpace, clean: Arrays) -> Store:
    """Train in this process what ``explorer.run`` then finds to be done, so that it starts no Ray."""
    return work(space, clean, Path("runs/own"))


def test_a_changed_file_is_named_and_can_be_accepted(clean: Arrays, write: Write) -> None:
    store = trained(parse(raw(2)), clean)
    explorer.run(raw(2))
    first = list(table(store, "models")["model_id"])
    assert store.read_source(1, "helper.py") == TANH.encode()
    write(helper=f"# the same\n{TANH}")
    explorer.run(raw(2))

    write(helper=RELU)
    said = (
        r"runs/own: helper\.py differs from the copy that .* \(runs/own/sources/helper\.py\)\. Restore it, "
    )
    with pytest.raises(InputError, match=said + "use another --name, or go on with --accept-source-change"):
        explorer.run(raw(2, 3))
    for work_on in (resume, measure):
        with pytest.raises(InputError, match=said):
            work_on("own")
    accepted = CliRunner().invoke(app, ["resume", "own", "--accept-source-change"])
    assert accepted.exit_code == 0, accepted.output
    before, after = recorded.read_info(store)["kept_sources"]
    assert after["changed"] == ["helper.py"]
    for version, content in ((before, TANH), (after, RELU)):
        sha = version["functions"]["nets:make"]["files"]["helper.py"]
        assert sha == hashlib.sha256(content.encode()).hexdigest()
    assert store.read_source(2, "helper.py") == RELU.encode()

    grown = parse(raw(2, 3), fingerprint=recorded.fingerprint_of(store.read_info()))
    assert [stack.cell.at for stack in plan.missing_stacks(grown, store, NO_SIZES)] == [{"width": 3}]
    trained(grown, clean)
    run = explorer.run(raw(2, 3))
    assert run.models["model_id"][0] == first[0]
    assert len(run.models) == 2
    sentence = f"Models were trained with different sources: helper.py changed on {after['since'][:10]}."
    assert sentence in facts.missing(run, run.cells)
    shown, now = status.describe(store)
    assert sentence in list(shown.columns[1].cells)
    assert now.complete
    write(helper=TANH)
    assert measure("own", accept_source_change=True).info["kept_sources"][2]["changed"] == ["helper.py"]
    write(nets=NETS.replace("width=4", "width=5"))
    last = explorer.run(raw(2, 3), accept_source_change=True)
    assert last.info["kept_sources"][3]["changed"] == ["nets.py"]
    assert list(last.models["model_id"]) == list(run.models["model_id"])


def test_a_file_that_is_new_or_no_longer_imported_is_named(clean: Arrays, write: Write) -> None:
    store = trained(parse(raw(2)), clean)
    explorer.run(raw(2))
    write(other=TANH, nets=NETS.replace("import helper", "import other as helper"))
    found = trust.changed_sources(store.read_info(), store)
    assert list(found) == ["helper.py", "nets.py", "other.py"]
    assert found["helper.py"] == "helper.py is not imported now (runs/own/sources/helper.py)"
    assert found["other.py"] == "other.py was not imported when the run was trained"
    assert "nets.py differs" in found["nets.py"]


def test_a_change_while_a_run_is_at_work_is_found_by_its_workers(clean: Arrays, write: Write) -> None:
    trained(parse(raw(2)), clean)
    explorer.run(raw(2))
    space = parse(raw(2, 3))
    worker = Worker("runs/own", lambda _: clean, {}, threads=1, gpus=0)
    write(helper=RELU)
    with pytest.raises(Disagreement, match=r"helper\.py differs .*restore them, then resume"):
        worker.train(plan.missing_stacks(space, worker.store, NO_SIZES)[0])


def test_a_run_of_a_version_that_kept_no_sources_goes_on(clean: Arrays, write: Write) -> None:
    space = parse(raw(2), fingerprint=lambda _: hashlib.sha256(NETS.encode()).hexdigest()[:16])
    store = trained(space, clean)
    store.write_info(provenance.describe(space, "own"))
    write(nets=NETS.replace("width=4", "width=5"))
    with pytest.raises(InputError, match="runs/own started with different data files or sources"):
        explorer.run(raw(2))
    write(nets=NETS)
    run = explorer.run(raw(2))
    assert list(run.models["model_id"]) == [space.cells[0].model_id(0)]
    write(helper=RELU)
    with pytest.raises(InputError, match=r"helper\.py differs"):
        explorer.run(raw(2))


def test_functions_on_an_axis_and_of_data_are_sources_too(clean: Arrays, write: Write) -> None:
    write(losses="def one(logits, y):\n    return 0", mydata="import numpy\ndef make():\n    return dict(numpy.load('tab.npz'))")  # fmt: skip
    space = parse({**raw(2), "data": "mydata:make", "temperature": {"loss": ["losses:one"]}})
    assert sorted(space.sources) == ["losses:one", "mydata:make", "nets:make"]
    assert space.cells[0].settings["training"]["loss_source"] == sources.fingerprint("losses:one")
    before = space.cells[0].id
    write(mydata="import numpy\ndef make():\n    return {**numpy.load('tab.npz')}")
    assert parse(space.given_settings).cells[0].id != before
