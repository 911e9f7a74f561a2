"""Spaces from Python objects: functions of a notebook, arrays and Dataset objects in memory."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import explore
from notebooks import Notebook

import explorer
from explorer.data import memory
from explorer.settings import InputError
from explorer.users import given, objects, user_process

CELL = """
import functools
import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset
import explorer

hidden, scale = 3, np.arange(3.0)

class Net(nn.Module):
    def __init__(self, inputs, width, classes):
        super().__init__()
        self.first, self.last = nn.Linear(inputs, width), nn.Linear(width, classes)

    def forward(self, x):
        return self.last(self.first(x).relu()) * float(scale.sum())

def make(shape, classes, width, depth=1):
    return Net(shape[0], width + hidden, classes)

def loss(outputs, y):
    return nn.functional.cross_entropy(outputs.transpose(1, 2), y, reduction="none").mean(1)

x = np.random.default_rng(0).normal(size=(120, 4))
y = (x[:, 0] > 0).astype(int)
data = (x[:80], y[:80], x[80:], y[80:])
short, other = (lambda shape, classes, width: nn.Linear(shape[0], classes)), (lambda shape, classes, width: nn.Linear(shape[0], classes, bias=False))

class Items(Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, place):
        return torch.tensor(self.x[place]), int(self.y[place])

class Sgd:
    def __init__(self, momentum, weight_decay):
        self.momentum = momentum

    def start(self, theta):
        return {"velocity": torch.zeros_like(theta)}

    def step(self, theta, gradient, state, rate, step):
        theta.add_(state["velocity"].mul_(self.momentum).add_(gradient(theta)), alpha=-rate)
"""


@pytest.fixture(scope="module")
def notebook() -> Notebook:
    made = Notebook()
    made.cell(CELL)
    return made


@pytest.fixture(autouse=True)
def no_objects_of_other_tests() -> Iterator[None]:
    yield
    given._given.clear()
    given._made.clear()


def space(notebook: Notebook, **changes: Any) -> explorer.Space:
    names = notebook.names
    defaults = {
        "name": "mine",
        "data": names["data"],
        "model": names["make"],
        "load": {"width": [2, 4]},
        "seeds": 2,
    }
    return explorer.Space(**{**defaults, "steps": 20, "measures": ["similarity"], **changes})


def text(value: Any, name: str = "model") -> str:
    found: dict[str, given.Given] = {}
    reference = objects.refer(value, name, found)
    return found[reference.partition(":")[2]].files[f"__main__/{reference.partition(':')[2]}.py"].decode()


def ids(made: explorer.Space) -> set[str]:
    return {cell.id for cell in made.checked.cells}


def test_the_text_of_a_function_has_all_that_it_refers_to(notebook: Notebook) -> None:
    said = text(notebook.names["make"])
    assert "class Net(nn.Module):" in said
    assert "hidden = 3\n" in said
    assert "scale = 'float64 (3,) " in said
    assert said.index("class Net") < said.index("def make(")
    assert "def loss" not in said


SETTINGS = """
import dataclasses, enum

class Kind(enum.Enum):
    relu = 1

@dataclasses.dataclass
class Settings:
    depth: int = 2
    kinds: list = dataclasses.field(default_factory=lambda: [Kind.relu])

class Plain:
    width = 3

settings = Settings()

def make(shape, classes, width):
    return (settings.depth, settings.kinds, Plain.width, Kind.relu)
"""


def test_classes_without_methods_count_with_their_attributes() -> None:
    def said(old: str = "", new: str = "") -> str:
        notebook = Notebook()
        notebook.cell(SETTINGS.replace(old, new))
        return text(notebook.names["make"])

    before = said()
    assert said() == before
    for old, new in (
        ("depth: int = 2", "depth: int = 4"),
        ("depth: int", "depth: float"),
        ("[Kind.relu])", "[])"),
        ("relu = 1", "relu = 2"),
        ("width = 3", "width = 4"),
        ("Settings()", "Settings(depth=3)"),
    ):
        assert said(old, new) != before, old


def test_each_of_two_lambdas_of_one_line_has_its_own_text(notebook: Notebook) -> None:
    one, other = (text(notebook.names[name]) for name in ("short", "other"))
    assert "bias=False" not in one
    assert "bias=False" in other


def test_functions_of_importable_modules_keep_their_names() -> None:
    assert objects.refer(np.linalg.norm, "model", {}).endswith(":norm")
    assert objects.refer(space, "model", {}) == "test_python:space"


def test_two_objects_of_one_name_get_two_names(notebook: Notebook) -> None:
    found: dict[str, given.Given] = {}
    refer = [objects.refer(notebook.names[n], "model", found) for n in ("short", "other", "short")]
    assert refer == ["__main__:model", "__main__:model_2", "__main__:model"]


def test_the_same_cells_give_the_same_ids_and_changed_ones_give_others(notebook: Notebook) -> None:
    before = ids(space(notebook))
    again = Notebook()
    again.cell(CELL.replace("def make", "# a remark\ndef make"))
    assert ids(space(again)) == before
    for old, new in (
        ("hidden, scale = 3", "hidden, scale = 4"),
        ("arange(3.0)", "arange(4.0)"),
        (".relu()", ".tanh()"),
        ("> 0)", "> 0.1)"),
    ):
        changed = Notebook()
        changed.cell(CELL.replace(old, new))
        assert not ids(space(changed)) & before, old


def test_partials_count_with_their_arguments(notebook: Notebook) -> None:
    notebook.cell("deep, deeper = functools.partial(make, depth=2), functools.partial(make, depth=3)")
    one, other = (ids(space(notebook, model=notebook.names[name])) for name in ("deep", "deeper"))
    assert not one & other
    assert one == ids(space(notebook, model=notebook.cell("functools.partial(make, depth=2)")))


def test_data_in_every_form_are_the_same_data(notebook: Notebook) -> None:
    x_train, y_train, x_test, y_test = notebook.names["data"]
    forms = [
        dict(zip(("x_train", "y_train", "x_test", "y_test"), notebook.names["data"], strict=True)),
        ((x_train, y_train), (x_test, y_test)),
        {"train": (x_train, y_train), "test": (x_test, y_test)},
        notebook.cell("(Items(x[:80], y[:80]), Items(x[80:], y[80:]))"),
        notebook.cell(
            "[TensorDataset(torch.tensor(x[k]), torch.tensor(y[k])) for k in (slice(80), slice(80, None))]"
        ),
    ]
    expected = space(notebook).checked.data["content"]
    assert {space(notebook, data=form).checked.data["content"] for form in forms} == {expected}
    noisy = space(notebook, data={**forms[0], "label_noise": 0.2})
    assert noisy.checked.data["label_noise"] == 0.2
    assert not ids(noisy) & ids(space(notebook))


def test_arrays_may_be_axes_and_settings_keywords(notebook: Notebook) -> None:
    made = space(
        notebook,
        load={"width": np.array([2, 4])},
        temperature={"batch_size": range(8, 10)},
        learning_rate=np.float64(0.1),
    )
    assert made.axes == {"width": [2, 4], "batch_size": [8, 9]}
    assert made.checked.training.learning_rate == 0.1
    assert repr(made) == "Space 'mine': width 2 × batch_size 2, 2 seeds, 8 models"


def test_one_measure_an_iterator_and_one_override_need_no_list(notebook: Notebook) -> None:
    norm = notebook.cell("def norm(model, order=2):\n    return order\nnorm")
    for measures in (norm, functools.partial(norm, order=3), "similarity"):
        made = space(notebook, measures=measures, load={"width": iter([2, 3])})
        assert made.axes["width"] == [2, 3]
        assert len(made.checked.measures) == 1
    with pytest.raises(InputError, match="--set nope=1: 'nope' is not known here"):
        explorer.run(made, set="nope=1")


def test_arrays_are_dropped_with_their_space(notebook: Notebook) -> None:
    x = np.random.default_rng(5).normal(size=(120, 4))
    made = space(notebook, data=(x[:80], notebook.names["y"][:80], x[80:], notebook.names["y"][80:]))
    content = made.checked.data["content"]
    assert content in memory._kept
    del made
    assert content not in memory._kept


@pytest.mark.slow
def test_a_run_of_objects_resumes_tells_changes_and_needs_its_program(
    notebook: Notebook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = notebook.names
    temperature = {"optimizer": ["sgd", names["Sgd"]], "batch_size": [8, 16]}
    made = space(notebook, loss=names["loss"], temperature=temperature)
    run = explorer.run(made, workers=1, progress=True)
    said = capfd.readouterr().out
    assert "Training: 16 models." in said
    assert "Report: reports/mine/index.html" in said
    assert repr(run) == "Run 'mine': 8 cells, 16 models, 8 pairs"
    assert set(run.models["status"]) == {"ok"}
    assert set(run.models["optimizer"]) == {"sgd", "__main__:Sgd"}
    kept = sorted(path.name for path in Path("runs/mine/sources/__main__").iterdir())
    assert kept == ["Sgd.py", "loss.py", "make.py"]
    written = [path for path in Path("runs").rglob("*") if path.is_file()]
    assert not [path for path in written if b"cloudpickle" in path.read_bytes()]

    module = run.model(run.models["model_id"][0])
    assert run.data(run.models["model_id"][0]).x_train.shape == (80, 4)
    again = Notebook()
    again.cell(CELL)
    explorer.run(
        space(
            again,
            loss=again.names["loss"],
            temperature={**temperature, "optimizer": ["sgd", again.names["Sgd"]]},
        ),
        progress=True,
    )
    assert "Everything is already done" in capfd.readouterr().out

    again.cell(CELL.replace(".relu()", ".tanh()"))
    changed = {
        "loss": again.names["loss"],
        "temperature": {**temperature, "optimizer": ["sgd", again.names["Sgd"]]},
    }
    with pytest.raises(
        InputError, match=r"__main__/make.py differs from the copy that the run was trained with"
    ):
        explorer.run(space(again, **changed))
    assert str(run.model(run.models["model_id"][0])) == str(module)  # with the function of its run
    explorer.run(space(again, **changed), accept_source_change=True)

    given._given.clear()
    done = explore("resume", "mine", cwd=tmp_path)
    assert done.returncode == 2
    assert "'__main__:make' is an object of a notebook or script" in done.stderr
    assert "which continues the run" in done.stderr
    assert explore("status", "mine", cwd=tmp_path).returncode == 0
    assert explore("report", "mine", cwd=tmp_path).returncode == 0


def test_a_run_of_arrays_says_that_it_needs_them(notebook: Notebook, tmp_path: Path) -> None:
    made = space(notebook, model="mlp")
    plain = made.checked.given_settings
    del made
    with pytest.raises(InputError, match=r"arrays in the memory of a notebook or script.*execute it again"):
        explorer.run(plain, storage=tmp_path)


def test_an_error_in_a_cell_of_the_notebook_names_it(notebook: Notebook) -> None:
    notebook.cell("def wrong():\n    raise ValueError('no luck')")
    with pytest.raises(
        InputError, match=r"ValueError: no luck \(the cell or script that defines it, line 2\)"
    ):
        space(notebook, data=notebook.names["wrong"])


def test_a_function_of_another_cell_takes_the_place_of_one_with_its_name(notebook: Notebook) -> None:
    for inputs in (3, 5):
        notebook.cell(
            f"def arrays():\n    x = np.ones(({inputs * 20}, 2)) * np.arange({inputs * 20})[:, None]\n"
            "    return dict(x_train=x, y_train=[0, 1] * (len(x) // 2), x_test=x, y_test=[0, 1] * (len(x) // 2))"
        )
        (cell, _) = space(notebook, data=notebook.names["arrays"]).checked.cells
        assert cell.inputs == inputs * 20


def test_given_objects_travel_between_processes(notebook: Notebook) -> None:
    found: dict[str, given.Given] = {}
    reference = objects.refer(notebook.names["make"], "model", found)
    given.keep(pickle.loads(pickle.dumps(found)))
    user_process.check_function(reference)
    with pytest.raises(InputError, match="'__main__:another' is an object of a notebook or script"):
        user_process.check_function("__main__:another")
