"""A run folder of another version: what it says, and what this version does not know, or has another default for."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import work

import explorer
import explorer.data
import explorer.models
from explorer.data import digits
from explorer.models import mlp
from explorer.plan import provenance
from explorer.results import read
from explorer.runs.store import Store
from explorer.settings import plugin
from explorer.space import recorded
from explorer.space.reading import parse
from explorer.space.training import TrainingOptions


def changed(folder: Path, change: Any) -> Store:
    """Change ``run.yaml`` and return the store, whose warnings go to ``heard``."""
    file = folder / "tiny/run.yaml"
    info = yaml.safe_load(file.read_text())
    change(info)
    file.write_text(yaml.safe_dump(info, sort_keys=False))
    store = Store(str(folder / "tiny"))
    store.heard = []  # type: ignore[attr-defined]
    store.warn = store.heard.append  # type: ignore[attr-defined]
    return store


def test_what_was_said_stands_apart_from_the_defaults(tiny: dict[str, Any]) -> None:
    raw = {**tiny, "data": "digits", "measures": None}
    entries = recorded.split(parse(raw))
    said, defaults = entries["space"], entries["defaults"]
    assert said["data"] == {"name": "digits"}
    assert said["training"] == tiny["training"]
    assert "measures" not in said
    assert defaults["training"]["schedule"] == "cosine"
    assert defaults["measures"].keys() == {"hessian", "connectivity", "similarity"}
    assert not said["training"].keys() & defaults["training"].keys()


def test_a_run_goes_on_with_the_defaults_of_its_beginning(tiny: dict[str, Any], tmp_path: Path) -> None:
    space = parse(tiny)
    store = Store(str(tmp_path / "tiny"))
    store.write_info(provenance.describe(space, "tiny"))
    assert parse(recorded.read_info(store)["space"]).to_dict() == space.to_dict()
    store = changed(tmp_path, lambda info: info["defaults"]["training"].update(schedule="constant"))
    assert parse(recorded.read_info(store)["space"]).training.schedule == "constant"
    assert store.heard == []  # type: ignore[attr-defined]


def test_what_this_version_does_not_know_is_told_in_one_line(own_copy: Path) -> None:
    def change(info: dict[str, Any]) -> None:
        info["space"]["training"]["dropout"] = 0.1
        info["defaults"]["resources"]["overlap"] = True
        info["space"]["measures"]["weight_norm"] = {"order": 2}
        info["space"]["measures"]["similarity"]["kernel"] = "rbf"
        info["defaults"]["colours"] = "many"

    store = changed(own_copy, change)
    space = parse(recorded.read_info(store)["space"])
    recorded.read_info(store)
    assert store.heard == [  # type: ignore[attr-defined]
        f"{store.location}: settings of another version are ignored: colours, measures.similarity.kernel, "
        "measures.weight_norm, resources.overlap, training.dropout. Models trained with them count as "
        "different models and are trained again without them"
    ]
    assert space.measures.keys() == {"hessian", "connectivity", "similarity"}


def test_a_run_with_a_measure_of_another_version_is_read_and_kept(own_copy: Path) -> None:
    def change(info: dict[str, Any]) -> None:
        info["space"]["measures"]["weight_norm"] = {}

    store = changed(own_copy, change)
    run = explorer.load("tiny", str(own_copy))
    assert len(run.models) == 12
    assert run.cells["phase"].notna().all()
    store.update_info(execution={})
    assert "weight_norm" in store.read_info()["given_settings"]["measures"], (
        "what another version knows stays"
    )


@pytest.mark.parametrize("entry", ["defaults", "space"])
def test_a_damaged_part_is_told(entry: str, own_copy: Path) -> None:
    store = changed(own_copy, lambda info: info.update({entry: [1, 2]}))
    with pytest.raises(explorer.settings.InputError, match="damaged"):
        recorded.read_info(store)


def test_an_override_of_one_measure_keeps_the_default_ones(tiny: dict[str, Any]) -> None:
    plain = copy.deepcopy(tiny)
    del plain["measures"]
    space = parse(plain, ["measures.sharpness={}"])
    assert space.measures.keys() == {"hessian", "connectivity", "similarity", "sharpness"}


def test_models_of_another_version_that_were_trained_again_do_not_count(
    tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = parse({**tiny, "measures": {}})
    clean = digits.load(digits.Options())
    store = work(space, clean, tmp_path / "tiny")
    store.write_info(provenance.describe(space, "tiny"))
    before = read(store)
    monkeypatch.setattr(mlp, "VERSION", 2, raising=False)
    work(parse({**tiny, "measures": {}}), clean, tmp_path / "tiny")
    heard: list[str] = []
    store.warn = heard.append
    after = read(store)
    assert len(after.models) == len(before.models) == 12
    assert not set(after.models["model_id"]) & set(before.models["model_id"])
    assert after.cells["n_models"].eq(3).all()
    assert heard == [
        f"{store.location}: the tables leave out 12 models of another version, which were trained again"
    ]


def defaults() -> dict[str, dict[str, str]]:
    """Return the default of each setting that decides what is trained."""
    options = {"training": TrainingOptions}
    for section, package in (("data", explorer.data), ("model", explorer.models)):
        options |= {f"{section} {name}": plugin(package, name, section).Options for name in package.NAMES}
    return {
        what: {name: repr(field.default) for name, field in o.model_fields.items()}
        for what, o in options.items()
    }


def test_no_default_of_a_setting_has_changed() -> None:
    """A model's id leaves out settings at their default, so another default would be another model of the same id.

    If you change one on purpose, raise the version of what trains differently (CONTRIBUTING), and then
    ``defaults.json``. A new setting needs no entry.
    """
    known = json.loads((Path(__file__).parent / "defaults.json").read_text())
    now = defaults()
    assert {what: {n: now[what][n] for n in names} for what, names in known.items()} == known
