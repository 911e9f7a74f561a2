"""Space files: what they may say, the grid they stand for, and what a wrong one is told."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from explorer import plainyaml
from explorer.data import digits
from explorer.data.base import prepare
from explorer.plan import plan
from explorer.settings import InputError
from explorer.space import reading
from explorer.space.model import resolve
from explorer.space.reading import parse, read
from explorer.space.schema import json_schema

ROOT = Path(__file__).parent.parent


def test_grid_is_the_product_of_the_axes(tiny: dict[str, Any]) -> None:
    space = parse(tiny)
    assert [cell.at for cell in space.cells] == [
        {"width": w, "batch_size": b} for w in (2, 8) for b in (8, 50)
    ]
    assert [(c.model.width, c.training.batch_size) for c in space.cells] == [(2, 8), (2, 50), (8, 8), (8, 50)]


def test_null_is_a_value_of_an_axis_for_a_setting_that_may_be_left_out(tiny: dict[str, Any]) -> None:
    tiny["temperature"] = {"linear_scaling": [None, 16], "batch_size": [8, 50]}
    tiny["skip"] = [{"linear_scaling": None, "batch_size": 50}]
    space = parse(tiny)
    assert [(c.at["linear_scaling"], c.training.rate) for c in space.cells[:3]] == [
        (None, 0.05), (16, 0.025), (16, 0.05 * 50 / 16),
    ]  # fmt: skip
    assert parse(space.to_dict()).cells == space.cells
    for axis, place in (("width", "load.width"), ("train_size", "load.train_size")):
        with pytest.raises(
            InputError, match=f"{place}: axis '{axis}': null is only for a setting of the train"
        ):
            parse({**tiny, "load": {axis: [None, 8]}, "skip": []})
    with pytest.raises(InputError, match="batch_size: None is not allowed; it should be a valid integer"):
        parse({**tiny, "temperature": {"batch_size": [None, 8]}, "skip": []})


def test_every_setting_can_be_an_axis(tiny: dict[str, Any]) -> None:
    tiny["load"] = {"label_noise": [0, 0.2], "train_size": [0.1, 0.5]}
    tiny["temperature"] = {
        "learning_rate": [0.01, 0.1],
        "momentum": [0.0, 0.9],
        "schedule": ["cosine", "constant"],
    }
    space = parse(tiny)
    assert len({cell.id for cell in space.cells}) == 32
    assert {cell.inputs for cell in space.cells} == {100, 500}
    assert [resolve(a, space)[0] for a in ("label_noise", "width", "momentum")] == [
        "data",
        "model",
        "training",
    ]


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({"log2": [4, 64]}, [4, 8, 16, 32, 64]),
        ({"log2": [3, 20]}, [3, 6, 12]),
        ({"geom": [2, 128], "n": 4}, [2, 8, 32, 128]),
        ({"geom": [1, 3], "n": 9}, [1, 2, 3]),
    ],
)
def test_ranges(tiny: dict[str, Any], given: Any, values: list[int]) -> None:
    tiny["load"]["width"] = given
    assert parse(tiny).load["width"] == values


def test_ranges_of_rates(tiny: dict[str, Any]) -> None:
    tiny["temperature"] = {"learning_rate": {"geom": [0.001, 0.1], "n": 3}}
    assert parse(tiny).temperature["learning_rate"] == [0.001, 0.01, 0.1]


def test_skip_leaves_cells_out(tiny: dict[str, Any]) -> None:
    tiny["skip"] = [{"width": {"ge": 8}, "batch_size": {"le": 8}}, {"width": 2, "batch_size": [50]}]
    assert [tuple(c.at.values()) for c in parse(tiny).cells] == [(2, 8), (8, 50)]


def test_model_id_is_decided_by_content(tiny: dict[str, Any]) -> None:
    first = parse(tiny).cells[0]
    spelled_out = {**tiny, "name": "other", "seeds": 7, "load": {"width": [2, 4, 8]}}
    spelled_out["training"] = {**tiny["training"], "momentum": 0.9, "schedule": "cosine", "history_points": 9}
    assert parse(spelled_out).cells[0].model_id(1) == first.model_id(1)
    assert first.model_id(0) != first.model_id(1)
    for section, key, value in (
        ("training", "steps", 151),
        ("training", "momentum", 0.8),
        ("training", "schedule", "step"),
        ("training", "weight_decay", 1e-4),
        ("data", "label_noise", 0.1),
        ("data", "standardise", False),
        ("model", "depth", 2),
        ("model", "activation", "relu"),
    ):
        changed = {**tiny, section: {**tiny[section], key: value}}
        assert parse(changed).cells[0].id != first.id, key


IDS = [  # recorded: today's runs must be found again
    ({}, "cdf497aa8816f0d2"),
    ({"train_size": 200}, "d6562530b8883263"),
    ({"train_size": 0.5, "label_noise": 0.1, "noise_kind": "uniform"}, "d7c16aeb0c0a7355"),
    ({"pixel_noise": 0.2, "corruption_seed": 3}, "efcd40b88ff336a1"),
    ({"train_size": 200, "corruption_seed": 3}, "c323cc8b151ace74"),
    ({"train_size": 300, "subset": "first", "balanced": True}, "c612c07522c55062"),
]
# Written in another way, they say one of the above.
SAME = [
    ({"train_size": 1.0}, {}),
    ({"train_size": 1000}, {}),
    ({"noise_kind": "uniform", "corruption_seed": 5, "corruption": "own"}, {}),
    ({"train_size": 200, "noise_kind": "uniform"}, {"train_size": 200}),
    (
        {"train_size": 300, "subset": "first", "balanced": True, "corruption_seed": 9},
        {"train_size": 300, "subset": "first", "balanced": True},
    ),
]


def model_id(data: dict[str, Any]) -> str:
    raw = {"name": "x", "data": {"name": "digits", **data}, "model": "mlp", "training": {"steps": 10}}
    return parse({**raw, "load": {"width": [2]}, "temperature": {"batch_size": [8]}}).cells[0].model_id(0)


@pytest.mark.parametrize(("data", "recorded"), IDS)
def test_ids_stay_those_of_todays_runs(data: dict[str, Any], recorded: str) -> None:
    assert model_id(data) == recorded


@pytest.mark.parametrize(("data", "plainly"), SAME)
def test_settings_that_change_nothing_do_not_rename_a_model(
    data: dict[str, Any], plainly: dict[str, Any]
) -> None:
    assert model_id(data) == model_id(plainly)
    clean = digits.load(digits.Options())
    first, second = (prepare(clean, digits.Options(**d).of_replicate(2), "digits") for d in (data, plainly))
    assert np.array_equal(first.x_train, second.x_train)
    assert np.array_equal(first.y_train, second.y_train)


@pytest.mark.parametrize(
    ("load", "axis"),
    [
        ({"train_size": [0.2, 0.9999, 1.0]}, "train_size"),
        ({"label_noise": [0.1, 0], "noise_kind": ["other", "uniform"]}, "noise_kind"),
    ],
)
def test_two_cells_of_the_same_models_are_refused_with_what_to_skip(
    tiny: dict[str, Any], load: dict[str, Any], axis: str
) -> None:
    tiny["data"], tiny["load"], tiny["temperature"] = {"name": "digits"}, load, {"batch_size": [8]}
    with pytest.raises(InputError, match=f"same models: {axis} changes nothing") as raised:
        parse(tiny)
    tiny["skip"] = json.loads(str(raised.value).rpartition("skip: ")[2])
    assert len({cell.id for cell in parse(tiny).cells}) == len(parse(tiny).cells)


def test_frozen_space_is_the_space_again(tiny: dict[str, Any]) -> None:
    space = parse({**tiny, "skip": [{"width": {"in": [2]}, "batch_size": 8}]})
    again = parse(yaml.safe_load(yaml.safe_dump(space.to_dict())))
    assert again.to_dict() == space.to_dict()
    assert [c.id for c in again.cells] == [c.id for c in space.cells]


WRONG = [
    ("training.steps=-3", "training.steps: -3 is not allowed"),
    ("training.stepz=3", "known: steps, "),
    ("training.epochs=3", "either steps or epochs"),
    ("load.widht=[1, 2]", "known: width, "),
    ("load.width=[2, a]", "'a' is not allowed"),
    ("load.width=[2, 2]", "twice"),
    ("load.width={log2: [8, 2]}", "log2 needs two numbers"),
    ("load.width={from: 2}", "an axis is a list"),
    ("load.batch_size=[1]", "is already a load axis"),
    ("load.train_size=[100, 0.5]", "numbers of inputs and shares of them"),
    ("temperature.batch_size=[4, 2000]", "above the 400 training inputs"),
    ("data.name=digit", "known: digits, "),
    ("data.label_noise=2", "less than or equal to 1"),
    ("data.train_size=5000", "the data set has 1000"),
    ("model.name=nowhere:f", "cannot be imported"),
    ("model.name=mpl", "known: mlp"),
    ("measures.hesian={}", "known: hessian"),
    ("measures.ensemble={x: 3}", "'x' is not known here; there are no settings here"),
    ("measures.hessian.inputs=0", "inputs: 0 is not allowed"),
    ("measures.connectivity.steps=all", "'all' is not allowed; it should be a valid integer or 'auto'"),
    (
        "measures.connectivity.steps={at_most: 5}",
        "at_most: 5 is not allowed; it should be greater than or equal to 500",
    ),
    ("measures.connectivity.pairs={alon: x}", "'alon' is not known here; known: along, count, within"),
    (
        "measures.connectivity.pairs={along: width, count: 3}",
        "'count' cannot stand beside the other settings here",
    ),
    ("measures.connectivity.pairs={}", "pairs: {} is not allowed; it should be a valid integer or 'all'"),
    ("seeds=0", "seeds: 0 is not allowed"),
    ("seeds=[-1]", "it should be a number of replicates, a list of seeds from 0 on, or a range such as"),
    ("seeds={range: [12, 10]}", "range needs first <= last, and at most 100,000 seeds, not [12, 10]"),
    ("seeds=100000", "at most 1,000,000"),
    ("skip=[{width: {ge: 1}}]", "every cell"),
    ("skip=[{widt: 1}]", "the axes are width, batch_size"),
    ("resources.cpus_per_trial=1.5", "must be a whole number"),
    ("resources.gpus_per_trial=-1", "greater than or equal to 0"),
    ("resources.gpus_per_trial=2", "2 is not allowed; a trial computes on one GPU"),
    ("name=../x", "name"),
    ("phases.cka=2", "phases.cka"),
    ("training.batch_size=8", "to use one value only, write --set temperature.batch_size=[8]"),
    ("model.width=8", "the grid sweeps width"),
    ("seeds=true", "seeds: true is not allowed; it should be a number"),
    ("load.width=[8, on]", "on may be a truth value or a text; write true or false, or put it in quotes"),
    ("training.channels_last=No", "No may be a truth value or a text; write true or false"),
    ("training.weight_decay=false", "weight_decay: false is not allowed"),
    ("training.channels_last=1.5", "channels_last"),
    ("nonsense", "key=value"),
]


@pytest.mark.parametrize(("override", "said"), WRONG)
def test_wrong_input_is_told_in_one_message(override: str, said: str) -> None:
    with pytest.raises(InputError) as error:
        reading.read(ROOT / "spaces/digits.yaml", [override])
    message = str(error.value)
    assert said in message
    assert message.startswith(f"--set {override}: ")


@pytest.mark.parametrize(
    ("overrides", "blamed"),
    [
        (["seeds=3", "resources.cells_per_trial=0"], "--set resources.cells_per_trial=0: "),
        (
            ["resources.cells_per_trial=0", "resources.cells_per_trial=-1"],
            "--set resources.cells_per_trial=-1: ",
        ),
        (["training.steps=null", "seeds=3"], "--set training.steps=null: "),
        (["data.train_size=5", "seeds=3", "load.width=[2]"], "--set data.train_size=5: "),
        (
            ["data.train_size=50", "seeds=3", "temperature.batch_size=[60]"],
            "--set data.train_size=50, --set temperature.batch_size=[60]: ",
        ),
        (["data.train_size=5", "data.classes=[0, 1]"], "--set data.train_size=5: "),
        (["load=null", "seeds=3"], "--set load=null: "),
        (["load={}", "temperature={}"], "--set load={}, --set temperature={}: "),
    ],
)
def test_what_an_override_made_wrong_names_it_as_it_was_typed(overrides: list[str], blamed: str) -> None:
    with pytest.raises(InputError) as error:
        reading.read(ROOT / "spaces/digits.yaml", overrides)
    assert str(error.value).startswith(blamed)


def test_what_overrides_made_wrong_together_names_them_all(tiny: dict[str, Any]) -> None:
    tiny["training"] = {"steps": 10, "optimizer": "sam", "rho": 0.1}
    spoilt = ["training.optimizer=sgd", "training.learning_rate=0.1"]
    with pytest.raises(InputError, match=r"^--set training\.optimizer=sgd: "):
        parse(tiny, spoilt)
    assert tiny["training"]["optimizer"] == "sam"  # what was given stays as it was
    parse(tiny, [*spoilt, "training.rho=0.05"])


def test_a_setting_that_was_removed_says_so(tiny: dict[str, Any]) -> None:
    tiny["resources"] = {"overlap": False}
    with pytest.raises(InputError, match=r"resources\.overlap was removed: all models are trained before"):
        parse(tiny)


def test_what_is_wrong_in_the_file_names_its_line_whatever_is_overridden(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    text = "name: x\ndata: digits\nmodel: mlp\ntraining: {steps: 5}\nload: {width: [1]}\nresources:\n"
    file.write_text(f"{text}  save_every_minutes: 1\n  cells_per_trial: 0\n")
    with pytest.raises(InputError, match=r"s\.yaml, line 8: resources\.cells_per_trial: 0 is not allowed"):
        reading.read(file, ["seeds=3", "resources.cpus_per_trial=1"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "name: x\ndata: digits\nmodel: mlp\ntraining: {steps: 5}\nload:\n  width: [1,\n   0]\n",
            "line 7: width: 0 is not allowed",
        ),
        ("name: x\ndata: digits\nname: y\n", "line 3: 'name' is already defined in line 1"),
        ("name: &a x\ndescription: *a\n", "line 2: aliases"),
        ("name: [x\n", "not valid YAML"),
        ("name: x\n[a]: 1\n", "line 2: not valid YAML: a key must be a plain word"),
        ("name: x\ndescription: off\n", "line 2: off may be a truth value or a text; write true"),
        (
            "name: x\ndata: digits\nmodel: mlp\ntraining:\n  steps: 5\n  momentum: 1.5\nload: {width: [1]}\n",
            "line 6: training.momentum: 1.5",
        ),
        (
            "name: x\ndata:\n  name: digits\n  nois: 1\nmodel: mlp\ntraining: {steps: 5}\nload: {width: [1]}\n",
            "line 4: 'nois' is not known",
        ),
        ("- a\n- b\n", "a space file must be a mapping"),
        ("", "a space file must be a mapping"),
        ("name: x\ndata: digits\nmodel: mlp\ntraining: {steps: 5}\n", "nothing to sweep"),
        ("name: x\nmodel: mlp\ntraining: {steps: 5}\n", "data is missing"),
        ("2001-13-01: x\n", "not valid YAML"),
        ("a: " + "[" * 1200, "line 1: nested more than 100 levels"),
        ("a: 1\nb: !!bool x\n", "line 2: tags such as !!int"),
    ],
)
def test_wrong_files_are_told_with_their_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        reading.read(file)
    assert said in str(error.value)
    assert str(file) in str(error.value)


SIX = """name: six mistakes
data: {name: digits, train_size: 100}
model: {name: mlp, widht: 4}
load: {width: [4, 8], flavour: [1, 2]}
temperature: {learning_rate: [0.1, -1]}
seeds: 0
training: {steps: 10, momentun: 0.9}
resources: {overlap: true, graphs: never}
"""


def lines_of(message: str) -> list[int]:
    return [int(line.split("line ")[1].split(":")[0]) for line in message.splitlines()]


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "six.yaml"
    file.write_text(SIX)
    with pytest.raises(InputError) as told:
        read(file)
    assert lines_of(str(told.value)) == [1, 3, 4, 5, 6, 7, 8, 8]
    for word in (
        "six mistakes",
        "widht",
        "flavour",
        "learning_rate",
        "seeds",
        "momentun",
        "overlap",
        "graphs",
    ):
        assert word in str(told.value)


def test_a_missing_setting_does_not_hide_unknown_ones(tmp_path: Path) -> None:
    file = tmp_path / "missing.yaml"
    data = "data: {name: image-folder, folder: img, sidez: 3}"
    file.write_text(re.sub("data: .*", data, SIX))
    with pytest.raises(InputError) as told:
        read(file)
    for said in ("'folder' is not known here", "'sidez' is not known here", "path is missing", "'widht'"):
        assert said in str(told.value)


def test_a_misspelt_architecture_does_not_hide_mistakes_of_its_options(tmp_path: Path) -> None:
    file = tmp_path / "misspelt.yaml"
    file.write_text(SIX.replace("name: mlp, widht: 4", "name: mpl, depht: 4, width: -3"))
    with pytest.raises(InputError) as told:
        read(file)
    for said in (
        "there is no architecture 'mpl'",
        "'depht' is not known here; known: depth",
        "width: -3 is not",
    ):
        assert said in str(told.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "widht: 4",
            "since: 2024-01-01",
            "line 3: 2024-01-01 is of type date, which no setting has; put it in",
        ),
        ("[0.1, -1]", "[0.1, .inf]", "line 5: inf is not allowed; an axis needs finite numbers"),
        ("flavour: [1, 2]", "flavour: [2024-01-01]", "line 4: 2024-01-01 is of type date"),
    ],
)
def test_values_that_no_setting_has_are_told(tmp_path: Path, before: str, after: str, said: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(SIX.replace(before, after))
    with pytest.raises(InputError, match=said):
        read(file)


def test_values_are_those_of_yaml_1_2() -> None:
    text = "[012, 1:30, 1e-5, 1_000, 0x1f, 0o17, 1.5, .5, -3, y, TRUE, null, 'yes', on.off, 1.2.3, .inf]"
    values = [
        12,
        "1:30",
        1e-5,
        1000,
        31,
        15,
        1.5,
        0.5,
        -3,
        "y",
        True,
        None,
        "yes",
        "on.off",
        "1.2.3",
        math.inf,
    ]
    data, _, mistakes = plainyaml.parse(text)
    assert (data, mistakes) == (values, [])
    assert plainyaml.parse("{on: 1}")[0] == {"on": 1}


SPOILT = {  # each setting is wrong, and the message says so with these words
    "name": ("x/y", "letters, digits"),
    "colour": ("red", "'colour' is not known here; known: data"),
    "data": (
        {
            "name": "digitz",
            "label_noise": 3,
            "train_size": 5000,
        },  # the size may suit the data set that is meant
        "there is no data set 'digitz'; known: digits",
        "label_noise: 3 is not allowed",
    ),
    "model": ({"name": "nowhere:net", "a b": 1}, "'nowhere:net' cannot be imported"),
    "load": (
        {"width": [4, 4], "flavour": [1], "depth": [1, "two"], "label_noise": {"log2": [8, 2]}},
        "axis 'width' has a value twice",
        "log2 needs two numbers",
        "there is no setting 'flavour' to sweep; known:",
    ),
    "temperature": (
        {"batch_size": [4, 2000], "momentum": 3, "weight_decay": ["a"]},
        "momentum: 3",
        "'a' is not",
    ),
    "seeds": ("many", "seeds: 'many' is not allowed"),
    "training": (
        {"steps": 5, "epochs": 3, "momentun": 1, "optimizer": "adagrad", "loss": "nowhere:loss", "rho": -1},
        "either steps or epochs",
        "'momentun' is not known here; known: momentum",
        "it should be 'sgd', 'adamw' or 'sam'",
        "'nowhere:loss' cannot be imported",
        "rho: -1",
    ),
    "measures": ({"hesian": {}, "similarity": {"inputs": 0}}, "there is no measure 'hesian'", "inputs: 0"),
    "resources": (
        {"overlap": 1, "graphs": 1, "cpus_per_trial": 0},
        "overlap was",
        "graphs was",
        "cpus_per_trial: 0",
    ),
    "skip": (
        [{"widt": 3}, {"width": {"gee": 3}}],
        "there is no axis 'widt'",
        "'gee' is not known here; known: ge",
    ),
}


def test_mistakes_of_all_kinds_are_told_at_once_in_a_file_and_in_python(tmp_path: Path) -> None:
    raw = {name: value for name, (value, *_) in SPOILT.items()}
    text = yaml.safe_dump(raw, sort_keys=False) + "colour: blue\n"
    file = tmp_path / "spoilt.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as of_file:
        read(file)
    with pytest.raises(InputError) as of_plain_data:
        parse(raw)
    expected = [words for _, *said in SPOILT.values() for words in said]
    for told in (of_file, of_plain_data):
        lines = str(told.value).splitlines()
        assert [words for words in expected if words not in str(told.value)] == []
        assert len(lines) - 2 * (told is of_file) == len(expected)
    assert "'colour' is already defined in line" in str(of_file.value)
    assert "data.label_noise: 3 has no effect, because the grid sweeps load.label_noise" in str(of_file.value)
    assert lines_of(str(of_file.value)) == sorted(lines_of(str(of_file.value)))


def test_every_missing_section_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError) as told:
        parse({"load": {"width": [1]}})
    assert str(told.value).splitlines() == [f"{n} is missing" for n in ("name", "data", "model", "training")]


def test_a_mistake_that_follows_from_another_is_not_told(tmp_path: Path) -> None:
    file = tmp_path / "names.yaml"
    file.write_text(SIX.replace("digits, train_size: 100", "digitz").replace("flavour", "pool"))
    with pytest.raises(InputError) as told:
        read(file)
    assert lines_of(str(told.value)) == [1, 2, 3, 5, 6, 7, 8, 8]
    file.write_text(SIX.replace("digits", "digitz"))
    with pytest.raises(InputError, match="flavour"):
        read(file)


def test_all_wrong_overrides_are_told_at_once(tiny: dict[str, Any]) -> None:
    with pytest.raises(InputError) as told:
        parse(tiny, ["seeds=0", "training.momentum=2", "load.flavour=[1]"])
    assert [line.split(":")[0] for line in str(told.value).splitlines()] == [
        "--set seeds=0",
        "--set training.momentum=2",
        "--set load.flavour=[1]",
    ]


@pytest.mark.parametrize(
    ("text", "value"), [("1e-5", 1e-5), ("-2E3", -2000.0), (".5e1", 5.0), ("1.e2", 100.0)]
)
def test_numbers_with_an_exponent_are_numbers(text: str, value: float) -> None:
    loaded = plainyaml.load(text.encode())
    assert type(loaded) is float
    assert loaded == value


TEXTS = [
    "1e-5",
    ".5e1",
    "08",
    "012",
    "0o17",
    "0b11",
    "-.5",
    "+_1",
    "-_",
    "._",
    "70_E1",
    "1:30",
    "yes",
    "Off",
    "y",
    "n",
    "~",
    "null",
    "=",
    "<<",
    ".inf",
    "1_000",
    "2001-12-14",
    "''",
]


def test_run_folders_of_yaml_1_1_are_read_and_other_readers_read_those_of_today() -> None:
    data = {
        "texts": TEXTS,
        "numbers": [1e-05, 1e22, -0.5, 12, math.inf, True, None],
        "08": {"yes": "2001-12-14 21:59"},
    }
    today = plainyaml.dump(data)
    older = yaml.safe_dump(data, sort_keys=False).replace("1e-5", "'1e-5'").replace(".5e1", "'.5e1'")
    for content in (today, older.encode(), plainyaml.dump(plainyaml.load(today))):
        assert plainyaml.load(content) == data
    assert yaml.safe_load(today) == data


def test_an_axis_of_several_types_is_rejected(tiny: dict[str, Any]) -> None:
    own = tiny | {
        "model": {"name": "tests.models.user_networks:batch_norm", "drop": 0},
        "load": {"drop": [0, "linear"]},
    }
    with pytest.raises(InputError, match="mixes numbers and texts"):
        parse(own)


def test_a_billion_cells_are_refused_by_arithmetic(tiny: dict[str, Any]) -> None:
    tiny["load"] = {"width": list(range(1, 1001))}
    tiny["temperature"] = {
        "batch_size": list(range(1, 200)),
        "learning_rate": [i / 1e4 for i in range(1, 5001)],
    }
    with pytest.raises(InputError, match="at most 1,000,000"):
        parse(tiny)


def test_schema_for_editors_is_the_committed_one_and_fits_the_spaces() -> None:
    import jsonschema

    schema = json_schema()
    assert json.loads((ROOT / "spaces/space.schema.json").read_text()) == schema, (
        "print it again: python run_explore.py spaces --schema > spaces/space.schema.json"
    )
    for file in (ROOT / "spaces").glob("*.yaml"):
        jsonschema.validate(yaml.safe_load(file.read_text()), schema)
        if (
            file.stem != "translation-mo-de" or (ROOT / "catalogues").is_dir()
        ):  # files that have to be fetched
            reading.read(file)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "x", "data": "digits", "model": "mlp", "training": {"stepz": 1}}, schema)


def test_checking_a_space_imports_nothing_heavy() -> None:
    code = (
        "import sys; from explorer import cli; from explorer.space import reading; reading.read('spaces/digits.yaml');"
        "print([m for m in ('torch', 'ray', 'pandas', 'altair', 'sklearn', 'scipy', 'pyarrow') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_seeds_are_a_number_a_list_or_a_range_of_the_same_models(tiny: dict[str, Any]) -> None:
    few, listed, ranged = (parse({**tiny, "seeds": s}) for s in (12, [11, 10], {"range": [10, 12]}))
    assert listed.cells[0].seeds == [10, 11]
    assert ranged.cells[0].seeds == [10, 11, 12]
    assert {listed.cells[0].model_id(s) for s in listed.cells[0].seeds} <= {
        few.cells[0].model_id(s) for s in few.cells[0].seeds
    }
    assert plan.count(ranged)["models"] == 3 * len(ranged.cells)
    assert [seed for stack in plan.stacks(ranged) for _, seed in stack.rows][:3] == [10, 11, 12]


@pytest.mark.parametrize("wrong", [[], [1, 1], [-1], {"range": [3, 2]}, {"range": [0, 10**7]}, 0, "some"])
def test_wrong_seeds_are_refused(tiny: dict[str, Any], wrong: Any) -> None:
    with pytest.raises(InputError, match="seeds"):
        parse({**tiny, "seeds": wrong})
