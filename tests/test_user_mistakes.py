"""Mistakes of users: each is one sentence with its place and what to do, before a run.

Mistakes in tables of data, measures and tables from elsewhere are in ``data/test_tables.py``,
``test_own_measures.py`` and ``test_foreign_tables.py``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import explore
from notebooks import Notebook
from torch import nn

import explorer
from explorer.columns import renames
from explorer.plan.imports import reading
from explorer.plan.imports.checkpoints import checkpoints_of, plain_space, space_of
from explorer.plan.imports.listing import rows_of_folder
from explorer.plan.networks import check_networks
from explorer.settings import InputError
from explorer.space.reading import parse
from explorer.users.functions import check_current_folder

SOURCE = """
import functools
import json
import numpy as np
import torch
from torch import nn
from torch.nn import functional


def arrays(inputs=lambda x: x, labels=lambda y: y):
    x = np.random.default_rng(0).normal(size=(90, 6))
    y = (x[:, 0] > 0).astype(int)
    return {"x_train": inputs(x[:60]), "y_train": labels(y[:60]), "x_test": inputs(x[60:]), "y_test": labels(y[60:])}


def data():
    return arrays()


def _with(scale, shift=0):
    return arrays(lambda x: scale * x + shift)


class Called:
    def __call__(self, **options):
        return arrays()


partial, called = functools.partial(_with, 2.0), Called()


def wanting_gradients():
    return arrays(lambda x: torch.tensor(x, requires_grad=True), torch.tensor)


def nested_lists():
    return arrays(lambda x: x.tolist(), lambda y: y.tolist())


def objects():
    return arrays(lambda x: x.astype(object))


def generated():
    return arrays(lambda x: (row for row in x))


def ragged():
    return arrays(lambda x: [list(row)[: 3 + i % 2] for i, row in enumerate(x)])


def mixed():
    return arrays(lambda x: np.array([[*row[1:], "q"] for row in x.tolist()], dtype=object))


def lacking():
    return {"x_train": np.zeros((2, 2))}


def nothing():
    pass


def reads():
    return json.loads("{")


def leaves():
    raise SystemExit(1)


def net(shape, classes, width=4):
    return nn.Sequential(nn.Linear(shape[0], width), nn.Tanh(), nn.Linear(width, classes))


class Maker:
    def __call__(self, shape, classes, width=4):
        return net(shape, classes, width)


partial_net, made, network = functools.partial(net), Maker(), net((6,), 2)


def unasked():
    return net((6,), 2)


def scripted(shape, classes, width=4):
    return torch.jit.script(net(shape, classes, width))


class Forward(nn.Module):
    def __init__(self, shape, classes, width=4):
        super().__init__()
        self.layer = nn.Linear(shape[0], classes)

    def forward(self, x):
        raise RuntimeError("no luck:\\nat all")


class Complex(Forward):
    def __init__(self, shape, classes, width=4):
        super().__init__(shape, classes)
        self.scale = nn.Parameter(torch.ones(1))
        self.shift = nn.Parameter(torch.ones(3, 2))

    def forward(self, x):
        return self.scale * self.layer(x) + torch.view_as_complex(self.shift).abs().sum()


def loss(logits, y):
    return functional.cross_entropy(logits.transpose(1, 2), y, reduction="none").mean(1)


def averaged(logits, y):
    return loss(logits, y).mean()


def detached(logits, y):
    return loss(logits.detach(), y)


def failing(logits, y):
    raise ValueError("loss boom")


plain = nn.CrossEntropyLoss()


class Step:
    def __init__(self, momentum, weight_decay):
        self.momentum = momentum

    def start(self, theta):
        return {"velocity": torch.zeros_like(theta)}

    def step(self, theta, gradient, state, rate, step):
        theta.add_(gradient(theta), alpha=-rate)


class Unstarted(Step):
    def start(self, theta):
        return 3


class Unbuilt(Step):
    def __init__(self):
        pass


class OfTorch(torch.optim.SGD):
    pass


class Stuck(Step):
    def step(self, theta, gradient, state, rate, step):
        raise ValueError("step boom")
"""


def line(text: str, source: str = SOURCE) -> int:
    """Return the number of the first line with this text."""
    return next(n for n, one in enumerate(source.splitlines(), 1) if text in one)


@pytest.fixture
def mine(tmp_path: Path, importable: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    importable("mistakes", SOURCE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def space(**changes: Any) -> dict[str, Any]:
    return {
        "name": "own",
        "data": {"name": "mistakes:data"},
        "model": {"name": "mistakes:net"},
        "load": {"width": [3, 5]},
        "seeds": 2,
        "training": {"steps": 10, "batch_size": 10},
        "measures": {"similarity": {"inputs": 20}},
        **changes,
    }


def told(**changes: Any) -> str:
    with pytest.raises(InputError) as error:
        check_networks(parse(space(**changes)))
    return str(error.value)


RETURNED = "; it should return a dict of arrays with x_train, y_train, x_test, y_test"
DATA = {
    "ragged": "'mistakes:ragged' returned list as x_train, which is no array of numbers, all inputs of one shape",
    "mixed": "x_train[0, 5] is 'q' (object); numbers are needed",
    "lacking": f"'mistakes:lacking' returned a dict without y_train, x_test, y_test{RETURNED}",
    "nothing": f"'mistakes:nothing' returned NoneType{RETURNED}",
    "reads": f"JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1) "
    f"(mistakes.py, line {line('json.loads')})",
    "leaves": f"it calls sys.exit(1) (mistakes.py, line {line('SystemExit')})",
    "generated": "'mistakes:generated' returned generator as x_train, which is no array, tensor, table or list",
}
MODELS = {
    "unasked": "TypeError: unasked() got an unexpected keyword argument 'shape' "
    f"(mistakes.py, line {line('def unasked')})",
    "network": "'mistakes:network' is a network, and each model needs its own",
    "scripted": "'mistakes:scripted' returned a network of torch.jit.script",
    "Complex": f"(mistakes.py, line {line('view_as_complex')}); copy what the operation needs, as in",
    "Forward": f"RuntimeError: no luck: at all (mistakes.py, line {line('no luck')})",
}
LOSSES = {
    "averaged": "'mistakes:averaged' returns () for outputs (2, 16, 2) and targets (2, 16); it should return (2,)",
    "detached": "'mistakes:detached' returns losses that do not depend on the outputs",
    "failing": f"ValueError: loss boom (mistakes.py, line {line('loss boom')})",
    "plain": "(mistakes.py)",  # the error is in torch, and the place of the object is the module
}
OPTIMISERS = {
    "Unstarted": "'mistakes:Unstarted': start should return a dict of tensors",
    "Unbuilt": f"unexpected keyword argument 'momentum' (mistakes.py, line {line('class Unbuilt')})",
    "OfTorch": "'mistakes:OfTorch' is an optimizer of torch, which steps one model; name sgd, adamw or sam, or a class",
    "Stuck": f"ValueError: step boom (mistakes.py, line {line('step boom')})",
}
MISTAKES = [
    *(({"data": {"name": f"mistakes:{name}"}}, said) for name, said in DATA.items()),
    *(({"model": {"name": f"mistakes:{name}"}}, said) for name, said in MODELS.items()),
    *(({"training": {"steps": 9, "loss": f"mistakes:{name}"}}, said) for name, said in LOSSES.items()),
    *(
        ({"training": {"steps": 9, "optimizer": f"mistakes:{name}"}}, said)
        for name, said in OPTIMISERS.items()
    ),
    ({"model": {"name": "mistakes.py:net"}}, "write the module as Python imports it, mistakes:net"),
    ({"model": {"name": "mistakes:net", "it's": 1}}, '"it\'s" is no name of an argument of mistakes:net'),
    (
        {"model": {"name": "mistakes:net", "__proto__": 1}, "load": {"__proto__": [1, 2]}},
        "charts cannot show an axis '__proto__': every object of JavaScript has this name; rename this option of",
    ),
    ({"data": {"name": "mistakes:data", "a b": 1}}, "'a b' is no name of an argument of mistakes:data"),
]


@pytest.mark.parametrize(("changes", "said"), MISTAKES, ids=lambda value: str(value)[:60])
def test_a_mistake_is_one_sentence_with_its_place(mine: Path, changes: dict[str, Any], said: str) -> None:
    message = told(**changes)
    assert said in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        *(
            {"data": {"name": f"mistakes:{n}"}}
            for n in ("partial", "called", "wanting_gradients", "nested_lists")
        ),
        {"data": {"name": "mistakes:objects"}},
        {"model": {"name": "mistakes:partial_net"}},
        {"model": {"name": "mistakes:made"}},
        {"training": {"steps": 9, "loss": "mistakes:loss", "optimizer": "mistakes:Step"}},
    ],
    ids=str,
)
def test_objects_that_can_be_called_work(mine: Path, changes: dict[str, Any]) -> None:
    assert len(parse(space(**changes)).cells) == 2
    check_networks(parse(space(**changes)))


IMPORTS = {
    "import sys\n\nsys.exit('no licence')\n": "it calls sys.exit('no licence') (atimport.py, line 3); put that under if __name__ == '__main__':",
    "import argparse\n\np = argparse.ArgumentParser()\np.add_argument('--rate', required=True)\np.parse_args()\n": (
        "it calls sys.exit(2) (atimport.py, line 5); put that under"
    ),
    "def f(:\n": "SyntaxError: invalid syntax (atimport.py, line 1)",
    "def f():\n    raise KeyError('k')\n\n\nf()\n": "KeyError: 'k' (atimport.py, line 2)",
    "import no_such_package\n": "ModuleNotFoundError: No module named 'no_such_package' (atimport.py, line 1)",
}


@pytest.mark.parametrize("source", IMPORTS)
def test_an_import_that_fails_names_its_line(mine: Path, source: str) -> None:
    (mine / "atimport.py").write_text(source)
    for changes in ({"model": {"name": "atimport:f"}}, {"training": {"steps": 9, "optimizer": "atimport:f"}}):
        assert f"'atimport:f' cannot be imported: {IMPORTS[source]}".removesuffix(":") in told(**changes)


def test_ctrl_c_at_an_import_stops_the_program(mine: Path) -> None:
    (mine / "stopped.py").write_text("raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        parse(space(model={"name": "stopped:f"}))


@pytest.mark.parametrize(
    ("name", "whose"), [("code", "Python's own module code"), ("yaml", "another module, /")]
)
def test_a_module_with_the_name_of_another_one_is_to_be_renamed(mine: Path, name: str, whose: str) -> None:
    (mine / f"{name}.py").write_text(SOURCE)
    assert f"'{name}:net': {name}.py has the name of {whose}" in told(model={"name": f"{name}:net"})


def test_a_file_that_hides_a_library_from_workers_is_named_before_a_run(mine: Path) -> None:
    check_current_folder()
    (mine / "numpy.py").touch()
    with pytest.raises(InputError, match=r"numpy\.py in the current folder hides the library .*; rename it"):
        check_current_folder()


def test_a_file_that_has_the_name_of_a_library_does_not_stop_the_program(tmp_path: Path) -> None:
    (tmp_path / "pydantic.py").touch()
    root = Path(__file__).parent.parent
    command = [sys.executable, root / "run_explore.py", "check", root / "spaces/nothing.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no file" in done.stderr


OBJECTS = """
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

x, y = np.random.default_rng(0).normal(size=(90, 6)), np.arange(90) % 2
four = (x[:60], y[:60], x[60:], y[60:])
lock = __import__("threading").Lock()

def net(shape, classes, width=4):
    return nn.Sequential(nn.Linear(shape[0], width), nn.Tanh(), nn.Linear(width, classes))

def locked(shape, classes, width=4):
    with lock:
        return net(shape, classes, width)

def failing():
    raise ValueError("no luck")

class Items(Dataset):
    def __init__(self, item, length=30):
        self.item, self.length = item, length
    def __len__(self):
        return self.length
    def __getitem__(self, place):
        return self.item(place)

class Stream(IterableDataset):
    def __iter__(self):
        yield from zip(x, y)

def pair(place):
    return x[place], y[place]

def noisy(place):
    return x[place] + torch.rand(6).numpy(), y[place]

def growing(place):
    return np.ones(2 + place), 0

def broken(place):
    return x[place + 100], y[place]
"""
FOUR = "it should be a dict of arrays x_train, y_train, x_test and y_test, those four in a tuple, or (train, test)"
# What a user gives to explorer.Space in Python, and what is said.
IN_PYTHON = {
    "dict(temperature={'batch_size': [4, 8]}, batch_size=4)": "training.batch_size: 4 has no effect, because the grid "
    "sweeps temperature.batch_size; remove one of them",
    "dict(model={'name': 'mlp', 'width': 9})": "model.width: 9 has no effect, because the grid sweeps load.width;",
    "dict(modle=net)": "Space has no argument 'modle'; known: model,",
    "dict(lerning_rate=0.1)": "Space has no argument 'lerning_rate'; known: learning_rate,",
    "dict(training={'steps': 5}, steps=9)": "steps is given twice, by itself and in training; remove one of them",
    "dict(data=x)": f"data is a ndarray, without a test part; {FOUR}",
    "dict(data=(x, y, x))": f"data is a tuple of 3, without a test part; {FOUR}",
    "dict(data=Items(pair))": f"data is a Items, without a test part; {FOUR}",
    "dict(data={'x_train': x, 'y_train': y})": f"data lacks x_test, y_test; {FOUR}",
    "dict(data=(x, x))": "data is two arrays, without a test part; it should be a dict of arrays",
    "dict(data=(Stream(), Stream()))": "data: the train part is a Stream, which has no items by number; make a list of its items first",
    "dict(data=(x[:60], x[60:], y[:60], y[60:]))": "data has its four arrays in the order of train_test_split; give",
    "dict(data=(DataLoader(Items(pair)), Items(pair)))": "DataLoader, which has no items by number; give its dataset",
    "dict(data=(Items(noisy), Items(pair)))": "data: item 0 of the train part differs each time that it is read; leave out random",
    "dict(data=(Items(growing), Items(pair)))": "data: inputs of the train part have different shapes, such as (2,) and (3,)",
    "dict(data=(Items(pair), Items(broken)))": "data: item 0 of the test part: IndexError: index 100 is out of bounds",
    "dict(data=(Items(lambda place: x[place]), Items(pair)))": "data: item 0 of the train part is a ndarray; it should be (input, target)",
    "dict(data=(Items(pair, 0), Items(pair)))": "data: the train part has no items",
    "dict(data=([[1, 2], [3]], [0, 1], x, y))": "data: x_train is a list of 2, which is no array of numbers, all inputs of one shape",
    "dict(data=(x[:60], y[:50], x[60:], y[60:]))": "data: x_train (60, 6) and y_train (50,) should be (inputs, …) and (inputs,)",
    "dict(data=(x * np.nan, y, x, y))": "data: x_train[0, 0] is nan, and 540 value(s) are not finite in float32; replace them",
    "dict(data=([[10**400, 1]] * 9, [0, 1, 2] * 3, x[:, :2], y))": "data: x_train[0, 0] is 1000000000000000000000000000000000000000…, and 9 value(s) are not finite",
    "dict(data=(x, [10**400] * 60 + [1] * 30, x, y))": "y_train[0] is 100000000000000000000000000000000000000000000000000000000000…; give labels",
    "dict(data=(np.ma.masked_greater(x, 0), y, x, y))": "data: x_train is a MaskedArray with masked values; fill them",
    "dict(data=(__import__('pandas').DataFrame({'a': x[:, 0], 'b': x[:, 1]}), y, __import__('pandas').DataFrame({'b': x[:, 1], 'a': x[:, 0]}), y))": "data: x_train has a column 'a' where x_test has 'b'; give both the same columns in the same order",
    "dict(data={'train': (x, y), 'test': (x, y), 'label_nose': 0.1})": "data.label_nose: 'label_nose' is not known here; known: label_noise,",
    "dict(data=failing)": "'__main__:failing' failed for {}: ValueError: no luck (the cell or script that defines it, line 19)",
    "dict(model=locked)": "'locked' refers to 'lock', a lock, which has no content that Explorer can compare; create it inside of 'locked'",
    "dict(model=eval('lambda shape, classes: None'))": "'model' refers to a function '<lambda>' without source text (<string>); define it in a file or in a cell",
    "dict(model=net, load={'widht': [2]})": "load.widht: there is no setting 'widht' to sweep; known: width,",
    "dict(load={'width': [2, net]})": "load.width.1: <function net",
    "dict(loss=3)": "training: 3 is not allowed; it should be a valid string",
    "dict(measures=['hesian'])": "measures.hesian: there is no measure 'hesian'; known: hessian,",
    "dict(measures={'mine': net})": "only a model, data set, loss, optimizer or measure can be a function",
    "dict(measures=[lambda model: 1.0])": "is a lambda; write it with def, whose name is that of its column",
    "dict(load={'width': {2, 3}})": "is of type set, which no setting has; make it a list",
    "dict(data={'X': x, 'y': y})": "data lacks x_train, y_train, x_test, y_test; it should be a dict of arrays",
    "dict(temperature={'lr': [0.1]})": "temperature.lr: there is no setting 'lr' to sweep; known: learning_rate,",
    "dict(training={'lr': 0.1})": "training.lr: 'lr' is not known here; known: learning_rate,",
    "dict(loss='mse')": "'mse' is not allowed; it should be your own function or class, as module:function",
    "dict(lr=0.1)": "Space has no argument 'lr'; known: learning_rate,",
    "dict(seeds=0)": "seeds",
    "dict(name='my run')": "name: 'my run' is not allowed; it should be letters, digits, '.', '_' and '-' only",
}


@pytest.mark.parametrize("given", IN_PYTHON)
def test_a_mistake_in_python_is_one_sentence(given: str) -> None:
    notebook = Notebook()
    notebook.cell(OBJECTS)
    names = {
        "name": "own",
        "data": notebook.names["four"],
        "model": "mlp",
        "load": {"width": [3, 5]},
        "seeds": 2,
    }
    with pytest.raises(InputError) as error:
        explorer.Space(**{**names, "steps": 10, "measures": {"similarity": {}}, **notebook.cell(given)})
    message = str(error.value)
    assert IN_PYTHON[given] in message.replace("training.loss: ", "training: ")
    assert len(message.splitlines()) == 1


# What a user calls in Python, and what is said.
CALLED = {
    "explorer.run(42)": "space is 42; give an explorer.Space, a space file or a dict",
    "explorer.run('nowhere')": "there is no file nowhere, and no .yaml file near it",
    "explorer.run(space, name='my run')": "name 'my run': letters, digits, '.', '_' and '-' only",
    "explorer.run(space, workers='2')": "workers: '2' is not allowed; it should be a number from 1",
    "explorer.load(None)": "load takes the name or the folder of a run, not None",
    "explorer.adopt(None, model='mlp', data='digits', name='a')": "folder is None; name the folder of the",
}


@pytest.mark.parametrize("call", CALLED)
def test_a_mistake_in_a_call_is_one_sentence(call: str, mine: Path) -> None:
    with pytest.raises(InputError) as error:
        eval(call, {"explorer": explorer, "space": space()})
    assert CALLED[call] in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert not (mine / "runs").exists()


# What a user types, and what is said.
TYPED = {
    "--verson": "No such option: --verson",
    "runs --storage nowhere": "there is no run in nowhere; `run SPACE` starts one",
    "report tiny --where width=2": "--where selects the cells of a comparison; give two runs, or leave it out",
    "report tiny tiny --where width": "--where width: it should be axis=value, such as learning_rate=0.05",
    "report tiny tiny --where widht=2": "--where widht=2: run 'tiny' has no axis 'widht'; it has width, batch_size",
    "report tiny tiny --where width=3": "--where width=3: run 'tiny' has no model with width 3; it has 2, 8",
    "report tiny tiny --where width=[": "--where width=[: run 'tiny' has no model with width [; it has 2, 8",
    "run tiny.yaml --dry-run --callback tensorbord": "--callback tensorbord: known: tensorboard",
    "--dry-run run tiny.yaml": "--dry-run must come after the command; it is an option of run",
    "rnus": "No such command 'rnus'. Did you mean: runs",
}


@pytest.mark.parametrize("typed", TYPED)
def test_a_mistake_on_the_command_line_is_one_sentence(
    typed: str, own_copy: Path, tiny: dict[str, Any]
) -> None:
    (own_copy.parent / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    done = explore(*typed.split(), cwd=own_copy.parent)
    assert done.returncode == 2, done.stdout
    assert TYPED[typed] in " ".join(done.stderr.replace("│", " ").split())


def csv_file(folder: Path, text: str) -> None:
    (folder / "s.csv").write_text(text)


def adopted(base: Path, *, files: str | None = None, settings: str | None = "s.csv", **given: Any) -> None:
    """Read the settings of checkpoints, and make a space of them."""
    raw = plain_space("mine", given.get("model", "mlp"), given.get("data", "digits"), given.get("set", ()))
    place, new = Path(given.get("folder", base)), renames(given.get("columns", []))
    rows = rows_of_folder(place, base / settings if settings else None, files, new)
    found, known = checkpoints_of(rows, place, raw, new)
    space_of(found, known, raw, ())


SETTINGS_OF_CHECKPOINTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "seeds beside those of the checkpoints": (
        "file,width\na.pt,2\n",
        {"set": ["seeds=2"]},
        "--set seeds=2: axes and seeds are those of the checkpoints; leave it out",
    ),
    "no such file": ("", {"settings": "other.csv"}, "other.csv cannot be read: No such file or directory"),
    "semicolons": ("file;width\na.pt;2\n", {}, "has semicolons between its columns; save it with commas"),
    "a column twice": (
        "file,width,width\n",
        {},
        "s.csv has several columns 'width'; rename them, or delete all but one",
    ),
    "no row": ("file,width\n", {}, "s.csv has no row; give it a row for each checkpoint"),
    "a short row": ("file,width,seed\na.pt,2,0\nb.pt,2\n", {}, "s.csv, line 3: it should have 3 values"),
    "a short row after an empty line": ("file,width\na.pt,2\n\nb.pt\n", {}, "s.csv, line 4: it should have"),
    "a folder of settings": ("", {"settings": "."}, " is a folder; name the CSV file with the settings"),
    "tabs": ("file\twidth\na.pt\t2\n", {}, "has tabs between its columns; save it with commas"),
    "no file": ("width\n2\n", {}, "line 2: there is no file; give the CSV file a column file with paths"),
    "an optimizer that is not ours": (
        "file,width,optimizer\na.pt,2,adam\nb.pt,3,adam\n",
        {},
        "s.csv: optimizer: 'adam' is not allowed; it should be 'sgd', 'adamw' or 'sam', or your own function or class, as module:function; or leave it out: "
        "--columns optimizer=",
    ),
    "a file twice": (
        "file,width\na.pt,2\n./a.pt,3\n",
        {},
        "s.csv, line 2 and ",
    ),
    "a column under a name that is there": (
        "file,width,bs,batch_size\na.pt,2,4,5\n",
        {"columns": ["bs=batch_size"]},
        "--columns bs=batch_size: there is a column 'batch_size' already; leave it out with batch_size=",
    ),
    "a result in words": (
        "file,width,train_loss\na.pt,2,low\n",
        {},
        "s.csv, line 2: train_loss is 'low'; it should be a number",
    ),
    "a pattern of another name": (
        "width\n2\n",
        {"files": "w{wide}.pt"},
        "--files w{wide}.pt: ",
    ),
    "a pattern of nothing": (
        "",
        {"settings": None, "files": "a.pt"},
        "it should name each setting once, such",
    ),
    "a pattern twice": (
        "",
        {"settings": None, "files": "{a}{a}.pt"},
        "it should name each setting once, such",
    ),
    "a pattern that fits nothing": (
        "",
        {"settings": None, "files": "w{width}.pt"},
        "--files w{width}.pt: no file below ",
    ),
    "no folder": (
        "",
        {"folder": "nowhere"},
        "nowhere is no folder; name the folder that holds the checkpoints",
    ),
    "no layout": ("", {"settings": None}, "holds no results of Ray Tune (params.json) or Lightning (hparams"),
    "an unknown column": (
        "file,width,bs,x\na.pt,2,8,1\n",
        {},
        "'bs' (perhaps batch_size), 'x': no setting of this data set, architecture or training. Rename columns, "
        "or leave them out with an empty name: --columns bs=batch_size,x=",
    ),
    "an unknown name": (
        "file,width\na.pt,2\n",
        {"columns": ["wd="]},
        "--columns wd=…: there is no such column",
    ),
    "no value": (
        "file,width\na.pt,\n",
        {},
        "line 2: width has no value; give it one, or leave the column out",
    ),
    "a seed below 0": ("file,width,seed\na.pt,2,-1\n", {}, "seed is -1; it should be a whole number from 0"),
    "a model twice": (
        "file,width,seed\na.pt,2,0\nb.pt,2,0\n",
        {},
        "line 3 are two models with width 2 and seed 0; give them different seeds, or a column",
    ),
    "no settings": (
        "file,seed\na.pt,2\n",
        {},
        "there is no setting besides file and seed; give at least one",
    ),
    "words among numbers": (
        "file,width\na.pt,2\nb.pt,big\n",
        {},
        "s.csv: width: 'big' is not allowed; it should",
    ),
    "a wrong value": (
        "file,batch_size\na.pt,0\nb.pt,8\n",
        {},
        "s.csv: batch_size: 0 is not allowed; it should be",
    ),
    "a dot in place of a colon": (
        "file,width\na.pt,2\n",
        {"model": "mistakes.net"},
        "; for your own function, write mistakes:net",
    ),
    "other data": ("file,width\na.pt,2\n", {"data": "digit"}, "there is no file, folder or data set 'digit'"),
}


@pytest.mark.parametrize("name", SETTINGS_OF_CHECKPOINTS)
def test_a_mistake_in_settings_of_checkpoints_is_one_sentence(mine: Path, tmp_path: Path, name: str) -> None:
    text, given, said = SETTINGS_OF_CHECKPOINTS[name]
    csv_file(tmp_path, text)
    with pytest.raises(InputError) as error:
        adopted(tmp_path, **given)
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def _state(**changes: Any) -> dict[str, Any]:
    return {**nn.Linear(3, 2).state_dict(), **changes}


CHECKPOINTS: dict[str, tuple[str, Any, str]] = {
    "missing": ("a.pt", None, "a.pt cannot be read: No such file or directory"),
    "another kind of file": ("a.h5", b"", "a.h5 should be one of .safetensors, .pt, .pth, .ckpt, .bin; save"),
    "empty": ("a.pt", b"", "a.pt is empty, so torch.save has not written it; fetch or save it again"),
    "a pointer of Git LFS": (
        "a.pt",
        b"version https://git-lfs",
        "a.pt begins with b'version https://git-', so torch",
    ),
    "damaged": ("a.pt", b"PK\x03\x04", "a.pt cannot be read: "),
    "damaged safetensors": ("a.safetensors", b"{}", "a.safetensors cannot be read as safetensors: "),
    "a whole module": (
        "a.pt",
        nn.Linear(3, 2),
        "a.pt is a pickle of Python objects, which would run code when",
    ),
    "a tensor": ("a.pt", torch.zeros(3), "a.pt holds Tensor, no weights by name; save model.state_dict()"),
    "other values": (
        "a.pt",
        _state(epoch=3),
        "a.pt holds 'epoch', which is no tensor; save model.state_dict(),",
    ),
    "a wrong shape": (
        "a.pt",
        _state(bias=torch.zeros(3)),
        "a.pt: bias has the shape (3,), and the network has (2,); check the settings of this file, and --model",
    ),
    "a weight too many": (
        "a.pt",
        _state(scale=torch.zeros(3)),
        "a.pt has 'scale', which the network does not have; it has weight, bias. Check --model",
    ),
    "a weight beside a prefix, within the network": (
        "a.pt",
        {f"net.{name}": value for name, value in _state(scale=torch.zeros(3)).items()},
        "a.pt has 'net.scale', which the network does not have; it has weight, bias. Check --model",
    ),
    "two networks": (
        "a.pt",
        {f"{part}.{name}": value for part in ("model", "ema") for name, value in _state().items()},
        "a.pt has 'ema.weight', which the network does not have; it has weight, bias. Check --model",
    ),
    "a wrong shape after a prefix": (
        "a.pt",
        {"net.weight": torch.zeros(2, 4), "net.bias": torch.zeros(2), "loss.weight": torch.zeros(2)},
        "a.pt: net.weight has the shape (2, 4), and the network has (2, 3); check the settings of this file",
    ),
    "a weight too few": (
        "a.pt",
        {"module.weight": torch.zeros(2, 3)},
        "a.pt lacks 'bias', which the network has; it has module.weight. Check --model",
    ),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_wrong_checkpoint_is_one_sentence_with_its_name(tmp_path: Path, name: str) -> None:
    file, content, said = CHECKPOINTS[name]
    if isinstance(content, bytes):
        (tmp_path / file).write_bytes(content)
    elif content is not None:
        torch.save(content, tmp_path / file)
    with pytest.raises(InputError) as error:
        reading.load_weights(nn.Linear(3, 2), tmp_path / file, "the network")
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1
