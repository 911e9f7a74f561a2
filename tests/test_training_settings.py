"""Every training setting has a use that is told in one place, and no setting is accepted and ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from in_process import table, work

from explorer.data import digits
from explorer.data.base import prepare
from explorer.data.dataset import Arrays
from explorer.engine.choose import memory_key
from explorer.engine.probe import STEPS, _brief
from explorer.plan import plan
from explorer.plan.stacks import _place, sizes
from explorer.settings import InputError
from explorer.space.reading import parse
from explorer.space.training import TrainingOptions, Use, names_of

LOSS = """
import torch
from explorer.tasks import Classification

def half(outputs, y):
    return 0.5 * Classification().loss(outputs, y)
"""
PLAIN: dict[str, Any] = {"steps": 60, "learning_rate": 0.05}
# Another value of each setting, with what else it needs, on which trained models depend.
CHANGED: dict[str, dict[str, Any]] = {
    "optimizer": {"optimizer": "adamw"},
    "loss": {"loss": "halved:half"},
    "learning_rate": {"learning_rate": 0.1},
    "linear_scaling": {"linear_scaling": 8},
    "momentum": {"momentum": 0.5},
    "weight_decay": {"weight_decay": 0.1},
    "rho": {"optimizer": "sam", "rho": 0.5},
    "schedule": {"schedule": "constant"},
    "warmup": {"warmup": 0.5},
    "batch_size": {"batch_size": 10},
    "steps": {"steps": 50},
    "epochs": {"epochs": 10},
    "checkpoint": {"checkpoint": 0.5},
    "early_stop": {"early_stop": {"change": 10.0, "epochs": 1, "after": 1}},
    "stop_at_loss": {"stop_at_loss": 1.5},
    "keep": {"keep": "best", "learning_rate": 3.0},
    "augment": {"augment": True},
    "precision": {"precision": "bf16"},
}
BESIDE = {"rho": {"optimizer": "sam"}, "keep": {"learning_rate": 3.0}}  # what the change is compared with
WITHOUT_EFFECT = {
    "channels_last": "a memory format: test_training.py compares the numbers",
    "compile": "the same function, compiled: test_training.py compares the numbers",
    "history_points": "what is told of a training: the number of rows of the table epochs",
}


@pytest.fixture(scope="module")
def clean() -> Arrays:
    return prepare(digits.load(digits.Options()), digits.Options(train_size=100), "digits")


def space(training: dict[str, Any]) -> dict[str, Any]:
    length = {} if "epochs" in training else {"steps": PLAIN["steps"]}
    return {
        "name": "settings",
        "data": {"name": "digits", "train_size": 100},
        "model": {"name": "mlp", "width": 4},
        "load": {"train_size": [100]},
        "seeds": 2,
        "training": {"learning_rate": PLAIN["learning_rate"], **length, **training},
        "measures": {},
    }


def test_every_setting_is_tried_or_has_a_reason_not_to_be() -> None:
    assert {*CHANGED, *WITHOUT_EFFECT} == TrainingOptions.model_fields.keys()
    assert not CHANGED.keys() & WITHOUT_EFFECT.keys()


def test_every_setting_says_what_it_is_for() -> None:
    said = [names_of(use) for use in (Use.STEP, Use.MODEL, Use.LENGTH, Use.STOP, Use.HISTORY)]
    assert sum(map(len, said)) == len(TrainingOptions.model_fields), "each has exactly one of these uses"
    assert frozenset().union(*said) == TrainingOptions.model_fields.keys()


@pytest.mark.parametrize("name", CHANGED)
def test_another_value_trains_other_models(
    name: str, clean: Arrays, tmp_path: Path, importable: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "loss":
        importable("halved", LOSS)
    found = []
    for place, training in (("plain", BESIDE.get(name, {})), ("changed", CHANGED[name])):
        parsed = parse(space(training))
        store = work(parsed, clean, tmp_path / place)
        found.append((parsed.cells[0].id, table(store, "models")["train_loss"].tolist()))
    (plain_id, plain), (changed_id, changed) = found
    assert plain_id != changed_id
    assert all(a != b for a, b in zip(plain, changed, strict=True))


def test_the_number_of_history_points_is_kept(clean: Arrays, tmp_path: Path) -> None:
    rows = [
        len(table(work(parse(space(change)), clean, tmp_path / str(i)), "epochs"))
        for i, change in enumerate(({}, {"history_points": 3}))
    ]
    assert rows[0] > rows[1] == 2 * 3


@pytest.mark.parametrize("name", sorted(names_of(Use.MEMORY) & CHANGED.keys() - {"loss"}))
def test_what_changes_the_memory_of_a_trial_is_measured_apart(name: str) -> None:
    plain, changed = (memory_key(parse(space(t)).cells[0]) for t in (BESIDE.get(name, {}), CHANGED[name]))
    assert plain != changed


@pytest.mark.parametrize("name", sorted(names_of(Use.MODEL) - {"rho", "linear_scaling"}))
def test_models_of_one_stack_may_differ_in_it(name: str) -> None:
    raw = space({})
    values = [raw["training"].pop(name, 0.0), CHANGED[name][name]]
    parsed = parse({**raw, "temperature": {name: values}})
    chosen = sizes(parsed, lambda _: ((64,), 10))
    assert len(plan.stacks(parsed, sizes=chosen)) == 1


def test_models_are_stacked_in_the_order_in_which_runs_have_always_stacked_them() -> None:
    settings = {"momentum": 0.5, "weight_decay": 0.1, "learning_rate": 0.2, "linear_scaling": 16}
    assert _place(parse(space(settings)).cells[0]) == [0.4, 0.1, 0.5, 0.05]


def test_memory_is_measured_in_a_few_steps_that_nothing_stops() -> None:
    stopping = {"early_stop": {"epochs": 1}, "stop_at_loss": 1.5, "keep": "best"}
    (cell,) = parse(space({**stopping, "epochs": 50, "history_points": 30})).cells
    brief = _brief(cell)
    assert (brief.steps, brief.training.history_points) == (STEPS, 2)
    changed = {"epochs", "steps", "early_stop", "stop_at_loss", "history_points"}
    assert brief.training.model_dump(exclude=changed) == cell.training.model_dump(exclude=changed)
    assert brief.training.early_stop is brief.training.stop_at_loss is None


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(InputError, match="dropout"):
        parse(space({"dropout": 0.1}))
