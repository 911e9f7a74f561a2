"""Measures of a user's own: functions and classes, in tables and on pages as Explorer's are."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import in_process
import pytest
import torch
import yaml
from conftest import ROOT

import explorer
import explorer.measures
from explorer import report
from explorer.measures import own, tables
from explorer.measures.base import averaged
from explorer.plan import kept_sources, plan
from explorer.plan.networks import check_measures
from explorer.runs.store import Store
from explorer.settings import InputError, plugin
from explorer.space import recorded
from explorer.space.reading import parse

SOURCE = """
import os
import torch
from explorer.columns import Column
from explorer.measures.base import Measured, averaged
from explorer.measures.own import columns
from explorer.options import Options as Settings

assert os.environ.get("EXPLORER_TEST_PROCESS") != str(os.getpid()), "it runs in the driver"


def weight_norm(model, order=2):
    \"\"\"Norm of all parameters.\"\"\"
    return sum(p.detach().abs().pow(order).sum() for p in model.parameters()) ** (1 / order)


@columns(
    agreement=averaged("share of equal answers", unit="percent", title="Agreement <b>", digits=1),
    first_apart=Column("integer", "", "first input with different answers; -1 if there is none"),
)
def agreement(model_a, model_b, data, *, inputs: int = 50):
    same = model_a(data.x_test[:inputs]).argmax(1) == model_b(data.x_test[:inputs]).argmax(1)
    apart = (~same).nonzero()
    return {"agreement": 100 * same.float().mean(), "first_apart": apart[0, 0] if len(apart) else -1}


class Scale:
    KIND = "model"
    COLUMNS = {"scale": averaged("largest parameter")}

    class Options(Settings):
        factor: float = 1.0

    def measure(self, cell, subjects, options):
        rows = cell.rows(subjects)
        return Measured.of(subjects, {"scale": options.factor * cell.theta[rows].abs().amax(1)})


def wrong_arguments(net, data): ...
def many(model, **options): ...
def needs(model, order): return 0.0
def words(model): return "much"
def other_columns(model): return {"a": 1.0}
def vector(model): return torch.zeros(3)
def constructor(model):
    return 1.0

def train_loss(model): return 0.0
def Upper(model): return 0.0
def width(model): return 0.0
def raises(model): raise ValueError("no norm")
@columns(described="in words")
def described(model): return 0.0
class Incomplete:
    KIND = "cell"
"""
MEASURES = {
    "norms:weight_norm": {"order": 1},
    "norms:agreement": None,
    "norms:Scale": {"factor": 2},
    "similarity": {"inputs": 50},
}


@pytest.fixture
def norms(
    importable: Callable[[str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    importable("norms", SOURCE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in list(explorer.measures.USERS):
        own.forget(name)


def space(**measures: Any) -> dict[str, Any]:
    return {
        "name": "owned",
        "data": {"name": "digits", "train_size": 100},
        "model": {"name": "mlp"},
        "load": {"width": [2, 4]},
        "temperature": {"batch_size": [10, 50]},
        "seeds": 2,
        "training": {"steps": 30},
        "measures": measures or MEASURES,
    }


def test_measures_of_ones_own_are_columns_and_maps_as_ours_are(norms: Path) -> None:
    before = list(tables.EVERY)
    run = in_process.run(space(), Path("runs/owned"))
    for row in run.models.to_dict("records"):
        theta = torch.cat([p.flatten() for p in run.model(row["model_id"], trust=True).parameters()])
        assert row["weight_norm"] == pytest.approx(theta.abs().sum().item(), rel=1e-5)
        assert row["scale"] == pytest.approx(2 * theta.abs().max().item())
    assert set(run.pairs["agreement"] == 100 - run.pairs["disagreement_percent"]) <= {True, False}
    assert run.pairs["first_apart"].dtype == "int64"
    assert {"weight_norm", "weight_norm_std", "scale", "agreement", "agreement_std"} <= set(run.cells)
    assert tables.columns_with_maps()[-3:] == ("weight_norm", "agreement", "scale")
    assert tables.EVERY["weight_norm"].meaning == "Norm of all parameters"
    index = report.write(run, "report", images=False)
    page = Path(index).read_text()
    assert "map-weight_norm" in page
    assert "Agreement <b>" not in page.split("</head>")[1], "texts of users are not markup"
    for name in MEASURES:
        own.forget(name)
    assert list(tables.EVERY) == before


def test_the_example_of_the_page_works(norms: Path, importable: Callable[[str, str], None]) -> None:
    page = (ROOT / "docs/measures.md").read_text().split("## A measure of your own")[1]
    importable("mymeasures", re.findall(r"```python\n(.*?)```", page, flags=re.S)[0])
    example = yaml.safe_load(re.findall(r"```yaml\n(.*?)```", page, flags=re.S)[0])["measures"]
    checked = parse(space(**example))
    check_measures(checked)
    assert checked.measures["mymeasures:weight_norm"] == {"order": 1.0}
    assert (
        own.descriptions_of(checked.measures)["mymeasures:agreement"]["columns"]["agreement"]["unit"]
        == "percent"
    )


def largest(model: Any, factor: float = 1.0) -> float:
    """Largest parameter."""
    return factor * max(p.abs().max().item() for p in model.parameters())


def test_a_function_of_a_program_is_a_measure(norms: Path) -> None:
    made = explorer.Space(
        name="mine", data="digits", load={"width": [2, 4]}, steps=3, measures={largest: {"factor": 3}}
    )
    check_measures(made.checked)
    (name,) = made.checked.measures
    assert own.descriptions_of([name])[name]["columns"]["largest"]["meaning"] == "Largest parameter"
    with pytest.raises(InputError, match=r"'faktor' is no option of .*; its options: factor"):
        explorer.Space(
            name="mine", data="digits", load={"width": [2, 4]}, steps=3, measures={largest: {"faktor": 3}}
        )


def bounded(model: NoSuchType, bound: int = 2) -> float:  # pyright: ignore  # noqa: F821
    """Measure with a type that only a type checker knows."""
    return bound


def test_a_type_that_is_not_there_does_not_matter() -> None:
    description, options = own.describe("test_own_measures:bounded", {"bound": 3})
    assert (description["kind"], options) == ("model", {"bound": 3})
    with pytest.raises(InputError, match="bound: 'x' is not allowed; it should be a valid"):
        own.describe("test_own_measures:bounded", {"bound": "x"})


def norm(model: Any) -> float:
    """Norm of all parameters, with the name of a setting of convolutional networks."""
    return sum(p.abs().sum().item() for p in model.parameters())


def test_a_measure_of_another_space_may_have_the_name_of_a_setting(norms: Path) -> None:
    explorer.Space(name="mine", data="digits", load={"width": [2, 4]}, steps=3, measures=norm)
    assert "norm" in tables.EVERY
    images = {**space(similarity={"inputs": 20}), "model": {"name": "cnn", "norm": "batch"}}
    run = in_process.run(images, Path("runs/images"))
    assert set(run.models["norm"]) == {"batch"}
    assert "norm" not in tables.EVERY
    explorer.Space(name="mine", data="digits", load={"width": [2, 4]}, steps=3, measures=norm)
    assert set(explorer.load("images").models["norm"]) == {"batch"}
    assert "norm" not in tables.EVERY
    with pytest.raises(InputError, match="the column 'norm' has the name of a setting; give it another one"):
        explorer.Space(
            name="mine", data="digits", model={"name": "cnn"}, load={"width": [2]}, measures=norm, steps=3
        )


@own.columns(norm=averaged("another norm"))
def other_norm(model: Any) -> float:
    """Largest parameter, under the column of another measure."""
    return max(p.abs().max().item() for p in model.parameters())


def test_measures_of_two_spaces_may_have_one_column(norms: Path) -> None:
    for measure in (norm, other_norm):
        explorer.Space(name="mine", data="digits", load={"width": [2, 4]}, steps=3, measures=measure)
    assert tables.EVERY["norm"].meaning == "another norm"
    first, second = explorer.measures.USERS
    own.forget(first)
    assert tables.EVERY["norm"].meaning == "another norm"
    own.forget(second)
    assert "norm" not in tables.EVERY


def test_a_report_runs_no_code_of_a_measure(norms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_process.run(space(), Path("runs/owned"))
    for name in MEASURES:
        own.forget(name)
    (norms / "norms.py").unlink()
    sys.modules.pop("norms", None)
    run = explorer.load("owned")
    assert run.cells["weight_norm"].notna().all()
    assert "norms" not in sys.modules
    assert (
        explorer.load("owned").info["own_measures"]["norms:agreement"]["columns"]["agreement"]["unit"]
        == "percent"
    )


def test_the_driver_never_imports_a_measure(norms: Path) -> None:
    code = "import os, sys; os.environ['EXPLORER_TEST_PROCESS'] = str(os.getpid())\n"
    code += "from explorer.space.reading import parse; from explorer.plan.networks import check_measures\n"
    code += f"check_measures(parse({space()!r})); assert 'norms' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_measure_whose_code_has_changed_is_taken_again(norms: Path) -> None:
    in_process.run(space(), Path("runs/owned"))
    store = Store("runs/owned")
    info = recorded.read_info(store)
    store.update_info(
        measure_versions=plan.measure_versions(parse(space())),
        kept_sources=kept_sources.copy_missing(parse(space()), store, []),
    )
    assert plan.drop_outdated(parse(space()), store) == []
    (norms / "norms.py").write_text(SOURCE.replace("return sum(", "return 2 * sum("))
    with pytest.raises(InputError, match=r"norms\.py differs from the copy .* --accept-source-change"):
        kept_sources.versions_to_use(recorded.read_info(store), store, accept=False)
    again = plan.drop_outdated(parse(space()), store)
    assert again == [name for name in MEASURES if ":" in name]
    assert not plan.missing(recorded.working_space_of(info), store).stacks


def test_a_caption_of_an_earlier_version_is_read(norms: Path) -> None:
    kept = {"kind": "model", "columns": {"weight_norm": {"kind": "number", "see": "Grows with heat."}}}
    own.register_kept({"norms:weight_norm": kept})
    assert tables.EVERY["weight_norm"].caption == "Grows with heat."
    assert own.descriptions_of(["norms:weight_norm"])["norms:weight_norm"]["columns"]["weight_norm"][
        "caption"
    ]


@pytest.mark.parametrize(
    "described",
    [
        ["norms:weight_norm"],
        {"norms:weight_norm": {"kind": "cell", "columns": {}}},
        {"norms:weight_norm": {"kind": "model", "columns": {"<b>": {"kind": "number"}}}},
        {"norms:weight_norm": {"kind": "model", "columns": {"train_loss": {"kind": "number"}}}},
    ],
)
def test_a_damaged_description_is_one_sentence(norms: Path, described: Any) -> None:
    with pytest.raises(InputError, match=r"run\.yaml is damaged: own_measures does not describe measures"):
        own.register_kept(described)
    assert tables.EVERY["train_loss"].meaning.startswith("mean loss on the training set")


MISTAKES = {
    "wrong_arguments": "'norms:wrong_arguments' has the arguments (net, data); it should begin with (model, data)",
    "many": "'norms:many' takes *options; give each option a name of its own",
    "needs": "norms:needs needs the option order: {order: …}",
    "words": "'norms:words' returned 'much' as words; it should be a number",
    "other_columns": "'norms:other_columns' returned ['a']; it should return a dict with other_columns",
    "vector": "returned tensor([0., 0., 0.]) as vector; it should be one number",
    "constructor": "charts cannot show a column 'constructor': every object of JavaScript has this name; give",
    "train_loss": "the tables already have a column 'train_loss'; give it another name",
    "Upper": "'Upper' is no name of a column: small letters, digits and _ only",
    "width": "the column 'width' has the name of a setting; give it another one",
    "raises": "'norms:raises' with {} fails: ValueError: no norm (norms.py, line",
    "described": "described is described by 'in words'; use explorer.measures.base.averaged",
    "Incomplete": "'norms:Incomplete' is no measure: a class needs KIND ('model' or 'pair'), COLUMNS and measure",
    "nowhere": "'norms' has no function 'nowhere'; it has:",
}
WRONG_OPTIONS = {
    "norms:weight_norm": ({"ordre": 1}, "'ordre' is no option of norms:weight_norm; its options: order"),
    "norms:agreement": ({"inputs": "all"}, "inputs: 'all' is not allowed; it should be a valid integer"),
    "norms:Scale": ({"factor": [1]}, "factor: [1] is not allowed; it should be a valid number"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_wrong_measure_is_one_sentence(norms: Path, name: str) -> None:
    with pytest.raises(InputError) as error:
        check_measures(parse(space(**{f"norms:{name}": {}})))
    assert MISTAKES[name] in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_a_wrong_option_of_a_measure_is_one_sentence(norms: Path, name: str) -> None:
    options, said = WRONG_OPTIONS[name]
    with pytest.raises(InputError) as error:
        parse(space(**{name: options}))
    assert str(error.value) == f"measures.{name}: {said}"


def test_ours_have_the_interface_that_users_measures_have() -> None:
    for name in explorer.measures.NAMES:
        module = plugin(explorer.measures, name, "measure")
        assert module.KIND in ("model", "pair", "cell")
        assert all(isinstance(column, tables.Column) for column in module.COLUMNS.values())
        assert callable(module.measure)
        assert issubclass(module.Options, own.Options)
