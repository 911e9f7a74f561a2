"""The space file as a model of settings, and the grid of cells that it describes.

A space names a data set, an architecture, a training, and the settings that are swept: ``load`` axes
(how much is asked of the model) and ``temperature`` axes (how noisy training is). Imports no torch, which
keeps the report of a wrong file fast.
"""

from __future__ import annotations

import copy
import itertools
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, PrivateAttr, field_validator

import explorer.data
import explorer.measures
import explorer.models
from explorer.columns import nearest_first
from explorer.data.base import numbers_of_classes, train_inputs
from explorer.data.dataset import Arrays
from explorer.options import Options
from explorer.settings import SCHEMA, InputError, digest, plugin, shown
from explorer.space.training import TrainingOptions, Use, names_of
from explorer.train.optimisers import VERSIONS

MAX_MODELS = 1_000_000
# Version of the training of users' networks: since 2, frozen parameters stay frozen; since 3, training keeps
# the values that a forward pass assigns to parameters.
USER_NETWORKS = 3
# The packages of the sections that have a name, and what messages call such a name.
PACKAGES: dict[str, tuple[ModuleType, str]] = {
    "data": (explorer.data, "data set"),
    "model": (explorer.models, "architecture"),
}
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
NAME_RULE = "letters, digits, '.', '_' and '-' only, at most 100, the first a letter or digit"

Scalar = bool | int | float | str


class Log2Range(Options):
    """Powers of two: ``{log2: [4, 256]}`` is 4, 8, 16, …, 256."""

    log2: tuple[float, float]

    def values(self) -> list[Any]:
        low, high = self.log2
        if not 0 < low <= high:
            raise ValueError(f"log2 needs two numbers with 0 < first <= last, not {[low, high]}")
        values = [low * 2**i for i in range(math.floor(math.log2(high / low) + 1e-9) + 1)]
        return [int(v) if v == int(v) else v for v in values]


class GeometricRange(Options):
    """``n`` values from first to last, evenly spaced on a log axis; integers if both ends are integers."""

    geom: tuple[float, float]
    n: int = Field(ge=2, le=10_000)

    def values(self) -> list[Any]:
        low, high = self.geom
        if not 0 < low < high:
            raise ValueError(f"geom needs two numbers with 0 < first < last, not {[low, high]}")
        values = [low * (high / low) ** (i / (self.n - 1)) for i in range(self.n)]
        if low == int(low) and high == int(high):
            return list(dict.fromkeys(round(v) for v in values))
        return [float(f"{v:.6g}") for v in values]


class SeedRange(Options):
    """Seeds from first to last: ``{range: [10, 19]}`` is 10, 11, …, 19."""

    range: tuple[Annotated[int, Field(ge=0)], int]

    @field_validator("range")
    @classmethod
    def _check_order(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not value[0] <= value[1] < value[0] + 100_000:
            raise ValueError(f"range needs first <= last, and at most 100,000 seeds, not {list(value)}")
        return value


def _axis(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "log2" in value:
        return Log2Range.model_validate(value).values()
    if "geom" in value:
        return GeometricRange.model_validate(value).values()
    raise ValueError("an axis is a list of values, {log2: [4, 256]} or {geom: [0.01, 1], n: 9}")


AxisValues = Annotated[list[Scalar | None], Field(min_length=1, max_length=10_000), BeforeValidator(_axis)]


class Condition(Options):
    """Bounds on an axis. A plain value stands for ``eq``, a list for ``in``, null for ``in: [null]``."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    eq: Scalar | None = None
    in_: list[Scalar | None] | None = Field(None, alias="in")

    def is_met_by(self, value: Any) -> bool:
        if value is None:  # null is neither above nor below a number
            return self.in_ is not None and None in self.in_
        return (
            (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
            and (self.eq is None or value == self.eq)
            and (self.in_ is None or value in self.in_)
        )


def _condition(value: Any) -> Any:
    if isinstance(value, list):
        return {"in": value}
    if value is None:
        return {"in": [None]}
    return value if isinstance(value, dict | Condition) else {"eq": value}


class ResourceOptions(Options):
    """Resources of each trial and measuring worker. A fraction shares a GPU: 0.25 runs four on one."""

    cpus_per_trial: float = Field(1, gt=0, le=1024)
    gpus_per_trial: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = Field(
        0.0, description="auto: from the memory that each architecture needs, measured before training"
    )
    deterministic: bool = Field(
        True,
        description="on a GPU, use kernels that give the same bits each time, where they exist; false is "
        "faster, but a repeated run differs by rounding",
    )
    save_every_minutes: float = Field(
        5, gt=0, le=1e5, description="interval at which a longer training saves its state"
    )
    stuck_minutes: float = Field(
        10,
        gt=0,
        le=1e5,
        description="a trial or measurement with a network, loss or optimiser of your own "
        "that begins no forward pass for so long is ended, and has failed",
    )
    replicates_per_trial: Annotated[int, Field(ge=1)] | Literal["all", "auto"] = Field(
        "auto",
        description="replicates of a cell that are trained together; auto: all, or fewer if large models "
        "would slow each other down",
    )
    cells_per_trial: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="cells that are trained together, if their models have the same shape and number of "
        "steps (learning rate, weight decay and label noise may differ); auto: as many as run fastest",
    )

    @field_validator("cpus_per_trial")
    @classmethod
    def _check_whole_above_one(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError(f"{value} is not allowed; a value above 1 must be a whole number")
        return value

    @field_validator("gpus_per_trial", mode="before")
    @classmethod
    def _check_one_gpu(cls, value: Any) -> Any:
        if isinstance(value, int | float) and value > 1:
            raise ValueError(
                f"{value:g} is not allowed; a trial computes on one GPU, and others would be idle"
            )
        return value


class PhaseOptions(Options):
    """Cuts between the phases; ``auto`` finds them from the results."""

    train_loss: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto", description="a training loss below this value counts as low"
    )
    connected: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto", description="|mode connectivity| below this value counts as connected (percentage points)"
    )
    cka: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = Field(
        "auto", description="a CKA above this value counts as high"
    )


class ImportedCell(Options):
    """A cell of models that were trained elsewhere: its place on the axes, and the seeds of its models."""

    at: dict[str, Scalar]
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)


class RefineOptions(Options):
    """Run a part of the grid only: cells are chosen in rounds, where the phase is least sure."""

    budget: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] = Field(
        0.35, description="most cells to run: a number, or a share of the grid below 1"
    )
    start: int = Field(4, ge=2, le=100, description="values per axis at first, ends included")
    round: int | None = Field(
        None, ge=1, description="cells a round; default: 4 % of the grid, at least 4, on every machine"
    )
    until: float = Field(
        0.97, gt=0, le=1, description="stop when this share of the phases is expected to be right"
    )

    @field_validator("budget", mode="before")
    @classmethod
    def _check_budget(cls, value: Any) -> Any:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not (0 < value < 1 or (value >= 1 and value % 1 == 0)):
            raise ValueError(
                f"{shown(value)} is not allowed; give a share of the grid below 1, or a number of cells"
            )
        return value

    def most(self, cells: int) -> int:
        """Return the largest number of cells to run of a grid of ``cells``."""
        share = isinstance(self.budget, float) and self.budget < 1
        return min(cells, max(1, math.floor(self.budget * cells + 1e-9) if share else int(self.budget)))

    def next(self, cells: int) -> int:
        """Return the number of cells of a round."""
        return self.round or max(4, round(0.04 * cells))


class DataFacts(NamedTuple):
    """Facts that Explorer keeps of a data set instead of reading it: numbers of inputs, and a content hash.

    ``content`` is None for the data sets that Explorer itself brings or builds. ``class_numbers`` are the
    numbers of the selected classes, if their labels are not 0, 1, …
    """

    train: int
    test: int
    content: str | None = None
    class_numbers: list[int] | None = None


class CheckedSpace(Options):
    """A checked space file."""

    name: str = Field(pattern=NAME, description="name of the run, unless --name is given")
    description: str = Field("", max_length=10_000, description="shown on the report page")
    data: dict[str, Any] = Field(description="name and options of the data set")
    task: Literal["classification", "regression", "translation", "language"] | None = Field(
        None, description="task to learn; default: the usual task of the data set"
    )
    model: dict[str, Any] = Field(description="name (or module:function) and options of the architecture")
    load: dict[str, AxisValues] = Field(
        default_factory=dict, description="swept settings that determine how much is asked of the model"
    )
    temperature: dict[str, AxisValues] = Field(
        default_factory=dict, description="swept settings that determine how noisy training is"
    )
    seeds: (
        Annotated[int, Field(ge=1, le=100_000)]
        | Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, max_length=100_000)]
        | SeedRange
    ) = Field(
        5, description="replicates per cell: their number, or their seeds as a list or {range: [10, 19]}"
    )
    training: TrainingOptions
    measures: dict[str, dict[str, Any]] = Field(description="measures to take, with their budgets")
    resources: ResourceOptions = ResourceOptions()  # pyright: ignore[reportCallIssue]
    skip: list[dict[str, Annotated[Condition, BeforeValidator(_condition)]]] = Field(
        default_factory=list, description="cells to leave out: those that meet all bounds of one entry"
    )
    phases: PhaseOptions = PhaseOptions()  # pyright: ignore[reportCallIssue]
    imported: list[ImportedCell] | None = Field(
        None, description="the cells, if `explorer import` has taken their models in; written by it only"
    )
    refine: RefineOptions | None = Field(
        None, description="run a part of the grid, chosen in rounds, and predict the phases of the rest"
    )
    _chosen: frozenset[str] | None = PrivateAttr(default=None)
    _given: dict[str, Any] | None = PrivateAttr(default=None)
    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _data_facts: dict[str, DataFacts] | None = PrivateAttr(default=None)

    @property
    def axes(self) -> dict[str, list[Any]]:
        """All axes with their values, load first."""
        return {**self.load, **self.temperature}

    @field_validator("seeds")
    @classmethod
    def _check_distinct(cls, value: Any) -> Any:
        if isinstance(value, list) and len(set(value)) < len(value):
            raise ValueError(f"each seed may be given once only, not {shown(value)}")
        return value

    @cached_property
    def seed_numbers(self) -> list[int]:
        """The seeds of the replicates of each cell, ascending."""
        if isinstance(self.seeds, SeedRange):
            first, last = self.seeds.range
            return list(range(first, last + 1))
        return sorted(self.seeds) if isinstance(self.seeds, list) else list(range(self.seeds))

    @property
    def cells(self) -> list[Cell]:
        """The cells of :attr:`domain`; after :meth:`only`, some of them."""
        chosen = self._chosen
        return self.domain if chosen is None else [cell for cell in self.domain if cell.id in chosen]

    def only(self, cell_ids: Iterable[str]) -> CheckedSpace:
        """Return the space with some of its cells."""
        part = self.model_copy()
        part._chosen = frozenset(cell_ids)
        return part

    @cached_property
    def domain(self) -> list[Cell]:
        """The grid points that are not skipped, in the order of the axis values; or the imported cells."""
        names = list(self.axes)
        known: dict[str, Any] = {}
        if self.imported is not None:
            typed = {axis: {value: value for value in values} for axis, values in self.axes.items()}
            try:
                places = [{name: typed[name][cell.at[name]] for name in names} for cell in self.imported]
            except KeyError as error:
                raise InputError(
                    f"imported models have the value {error}, which is on no axis; leave the axes as they are"
                ) from None
            return [
                replace(Cell.of(self, at, known), seeds=sorted(cell.seeds))
                for at, cell in zip(places, self.imported, strict=True)
            ]
        cells = []
        for values in itertools.product(*self.axes.values()):
            at = dict(zip(names, values, strict=True))
            if not any(all(c.is_met_by(at[axis]) for axis, c in entry.items()) for entry in self.skip):
                cells.append(Cell.of(self, at, known))
        return cells

    def keep(
        self,
        sources: dict[str, str],
        *,
        given: dict[str, Any] | None = None,
        data_facts: dict[str, DataFacts] | None = None,
    ) -> None:
        """Keep what belongs to a space besides its settings.

        Args:
            sources: the fingerprint of each user's function in the space, by ``module:function``.
            given: the plain data that the space was parsed from; a copy is kept.
            data_facts: facts by :attr:`Cell.data_key`. No user's function is called for others.
        """
        self._sources, self._given, self._data_facts = sources, copy.deepcopy(given), data_facts

    @property
    def n_models(self) -> int:
        """Number of models of the whole grid."""
        return sum(len(cell.seeds) for cell in self.cells)

    @property
    def data_facts(self) -> dict[str, DataFacts]:
        """The facts of each data set in the grid, by :attr:`Cell.data_key`."""
        return {cell.data_key: cell.data_facts for cell in self.cells}

    @property
    def sources(self) -> dict[str, str]:
        """The fingerprint of each user's function, which is a part of the ids of its models."""
        return self._sources

    @property
    def given_settings(self) -> dict[str, Any]:
        """The plain data that the space was parsed from; all settings if it was not parsed."""
        return self.to_dict() if self._given is None else self._given

    def to_dict(self) -> dict[str, Any]:
        """Return all settings, given and default, as plain data for YAML."""
        frozen = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if self.imported is not None:  # how the models were trained is known only where it was given
            frozen["training"] = self.training.model_dump(mode="json", exclude_unset=True)
        return frozen


@dataclass(frozen=True)
class Cell:
    """A grid point: its axis values, and every setting of its models except the seed."""

    at: dict[str, Any]
    data_name: str
    data: Any  # SubsetOptions of the data set
    model_name: str
    model: Any  # options of the architecture, or the user's dict
    training: TrainingOptions
    seeds: list[int]
    task: str = "classification"
    sources: dict[str, str] = field(default_factory=dict)  # Space.sources
    recorded: dict[str, DataFacts] | None = None  # by a run folder; None if the data sets are read
    imported: bool = False  # the models were trained elsewhere

    @classmethod
    def of(cls, space: CheckedSpace, at: dict[str, Any], known: dict[str, Any]) -> Cell:
        """Return a cell of a space.

        Args:
            known: what cells of the space share; it is filled.
        """

        def kept(make: Callable[..., Any], *key: Any) -> Any:
            """Return ``make(*key)``; call it once."""
            text = repr(key)
            if text not in known:
                known[text] = make(*key)
            return known[text]

        settings: dict[str, dict[str, Any]] = {
            "data": dict(space.data),
            "model": dict(space.model),
            "training": space.training.model_dump(
                exclude_none=True, exclude_unset=space.imported is not None
            ),
        }
        for axis, value in at.items():
            section, key = kept(partial(resolve, space=space), axis)
            settings[section][key] = value
        data_name, model_name = settings["data"].pop("name"), settings["model"].pop("name")
        return cls(
            at,
            data_name,
            kept(_section_options, "data", data_name, settings["data"]),
            model_name,
            kept(_section_options, "model", model_name, settings["model"]),
            kept(_section_options, "training", "", settings["training"]),
            space.seed_numbers,
            space.task or tasks_of(module_of("data", data_name))[0],
            space.sources,
            space._data_facts,
            space.imported is not None,
        )

    @cached_property
    def data_key(self) -> str:
        """Key of the data set with the settings that determine its facts."""
        classes = getattr(self.data, "classes", None)
        return digest([self.data_name, self.data.source(), classes])

    @cached_property
    def data_facts(self) -> DataFacts:
        """Numbers of inputs of the data set before selection, and its content hash.

        Raises:
            InputError: the data set cannot be read, or is a user's function that must not be called.
        """
        dataset = module_of("data", self.data_name)
        hashed = hasattr(dataset, "fingerprint")
        if self.recorded is not None and (facts := self.recorded.get(self.data_key)):
            return facts
        if self.recorded is not None and ":" in self.data_name:
            raise InputError(
                f"run.yaml does not describe the data {self.data_name!r}; `resume` reads them and adds this"
            )
        source = [self.sources[self.data_name]] if ":" in self.data_name else []
        content = dataset.fingerprint(self.data, *source) if hashed else None
        numbers = numbers_of_classes(self.data, dataset.load, content) if content else None
        return DataFacts(*dataset.available(self.data), content=content, class_numbers=numbers)

    @cached_property
    def inputs(self) -> int:
        """Number of training inputs of each model."""
        return train_inputs(self.data, self.data_facts.train)

    @cached_property
    def plain_data(self) -> Any:
        """Data settings without those that have no effect."""
        return self.data.plain(self.data_facts.train)

    @property
    def data_per_seed(self) -> bool:
        """Whether each replicate has its own data. If so, no two replicates share a stack."""
        return self.plain_data.corruption == "own"

    @cached_property
    def steps(self) -> int:
        """Number of optimiser steps of each model."""
        return self.training.length(self.inputs)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that determines the cell's models, except the seed.

        Default values are omitted. As a result, an option that is added later does not change existing ids.
        """
        data = {"name": self.data_name, **self.plain_data.model_dump(exclude_defaults=True)}
        dataset = module_of("data", self.data_name)
        if self.data_facts.content is not None:
            data = {k: v for k, v in data.items() if not k.endswith("path")}
            data["content"] = self.data_facts.content
            if self.data_facts.class_numbers is not None:
                data["class_numbers"] = self.data_facts.class_numbers
        if ":" in self.model_name:
            model = {"name": self.model_name, **self.model, "source": self.sources[self.model_name]}
        else:
            model = {"name": self.model_name, **self.model.model_dump(exclude_defaults=True)}
            version = getattr(module_of("model", self.model_name), "VERSION", 1)
            if version != 1:
                model["version"] = version
        training = self.training.model_dump(exclude_defaults=True, exclude=set(names_of(Use.HISTORY)))
        for key in ("optimizer", "loss"):
            if ":" in (getattr(self.training, key) or ""):
                training[f"{key}_source"] = self.sources[getattr(self.training, key)]
        if version := VERSIONS.get(self.training.optimizer):
            training["optimizer_version"] = version
        task = {"task": self.task} if self.task != tasks_of(dataset)[0] else {}
        own: dict[str, Any] = {"user_networks": USER_NETWORKS} if ":" in self.model_name else {}
        if self.imported:
            own["imported"] = True
        return {"schema": SCHEMA, "data": data, "model": model, "training": training, **task, **own}

    @cached_property
    def id(self) -> str:
        return digest(self.settings)

    def load_data(self) -> Arrays:
        """Return the clean arrays of the data set, before corruption, with targets for the cell's task.

        Raises:
            InputError: the data cannot be loaded, or do not suit the task.
        """
        arrays: Arrays = module_of("data", self.data_name).load(self.data)
        return arrays.for_task(self.task, self.data_name)

    @cached_property
    def final(self) -> Cell:
        """The cell at the end of this cell's training: itself, unless this cell is a checkpoint."""
        if self.training.checkpoint == 1:
            return self
        training = self.training.model_copy(update={"checkpoint": 1.0})
        return replace(self, training=training, recorded={self.data_key: self.data_facts})

    @property
    def checkpoint_step(self) -> int:
        """Step after which the cell's models are taken."""
        return max(1, round(self.training.checkpoint * self.steps))

    def model_id(self, seed: int) -> str:
        return digest({**self.settings, "seed": seed})

    @cached_property
    def columns(self) -> dict[str, Any]:
        """The settings as table columns: scalar settings, and all axes."""
        model = self.model if isinstance(self.model, dict) else self.model.model_dump()
        training = self.training.model_dump(
            exclude={*names_of(Use.HISTORY), "steps"}, exclude_none=True, exclude_unset=self.imported
        )
        every = {
            **self.data.model_dump(),
            "train_size": self.data.train_size or self.inputs,
            **model,
            **training,
        }
        scalars = {k: v for k, v in every.items() if isinstance(v, bool | int | float | str)}
        return {
            "task": self.task,
            "dataset": self.data_name,
            "architecture": self.model_name,
            **scalars,
            **self.at,
        }


def tasks_of(module: Any, default: tuple[str, ...] = ("classification",)) -> tuple[str, ...]:
    """Return the tasks of a data set, an architecture or a measure. A data set's first is its default."""
    return getattr(module, "TASKS", default)


def module_of(section: str, name: str) -> ModuleType:
    """Return the module of a data set or an architecture. ``section`` is ``data`` or ``model``.

    Raises:
        InputError: the name is unknown.
    """
    package, what = PACKAGES[section]
    return plugin(package, name, what)


def _section_options(section: str, name: str, values: dict[str, Any]) -> Any:
    if section == "training":
        return TrainingOptions.model_validate(values)
    if section == "model" and ":" in name:
        return values
    return module_of(section, name).Options.model_validate(values)


def checked_name(argument: str, name: Any) -> str:
    """Return the name if it can be the name of a run. Raise InputError about this argument otherwise."""
    if not isinstance(name, str) or not re.match(NAME, name):
        raise InputError(f"{argument} {name!r}: {NAME_RULE}")
    return name


def resolve(axis: str, space: CheckedSpace) -> tuple[str, str]:
    """Return the section and the name of the setting that an axis sweeps.

    The known options of a user's function are those that the space gives, and ``width`` for a model: most
    spaces sweep it, and it need not be given as well.

    Raises:
        InputError: no section has this setting.
    """
    data, model = space.data["name"], space.model["name"]
    users = [name for name in (data, model) if ":" in name]
    known = {
        "data": [*module_of("data", data).Options.model_fields, *space.data],
        "model": ["width", *space.model],
        "training": [name for name in TrainingOptions.model_fields if name != "history_points"],
    }
    if ":" not in model:
        known["model"] = list(module_of("model", model).Options.model_fields)
    for section, settings in known.items():
        if axis in settings and axis != "name":
            return section, axis
    names = {name for settings in known.values() for name in settings} - {"name"}
    hint = f" (give the options of {' or '.join(users)} a value to make them known)" if users else ""
    raise InputError(
        f"there is no setting {axis!r} to sweep; known: {nearest_first(axis, sorted(names))}{hint}"
    )
