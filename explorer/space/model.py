"""What a space file may say, and the grid of models it stands for.

A space names a data set, an architecture, a training, and the settings that are swept: ``load`` axes
(how much is asked of the model) and ``temperature`` axes (how noisy training is). Torch-free: a wrong
file is told at once.
"""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass, replace
from functools import cached_property
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PrivateAttr, ValidationInfo, field_validator

import explorer.data
import explorer.measures
import explorer.models
from explorer.data.base import SubsetOptions, train_inputs
from explorer.options import Options
from explorer.settings import SCHEMA, InputError, digest, plugin, source_fingerprint, suggest
from explorer.space.training import TrainingOptions, Use, names_of
from explorer.train.optimisers import VERSIONS

MAX_MODELS = 1_000_000
SECTIONS = ("data", "model", "training")
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
NAME_RULE = "letters, digits, '.', '_' and '-' only, at most 100, the first a letter or digit"

Scalar = bool | int | float | str


class Log2Range(Options):
    """Powers of two: ``{log2: [4, 256]}`` is 4, 8, 16, …, 256."""

    log2: tuple[float, float]

    def values(self) -> list[Any]:
        low, high = self.log2
        if not 0 < low <= high:
            raise ValueError(f"log2 needs two numbers, 0 < first <= last; it has {[low, high]}")
        values = [low * 2**i for i in range(math.floor(math.log2(high / low) + 1e-9) + 1)]
        return [_whole(v) for v in values]


class GeometricRange(Options):
    """``n`` values from the first to the last, evenly spaced on a log axis; whole if both ends are whole."""

    geom: tuple[float, float]
    n: int = Field(ge=2, le=10_000)

    def values(self) -> list[Any]:
        low, high = self.geom
        if not 0 < low < high:
            raise ValueError(f"geom needs two numbers, 0 < first < last; it has {[low, high]}")
        values = [low * (high / low) ** (i / (self.n - 1)) for i in range(self.n)]
        if low == int(low) and high == int(high):
            return list(dict.fromkeys(round(v) for v in values))
        return [float(f"{v:.6g}") for v in values]


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else value


def _axis(value: Any) -> Any:
    if isinstance(value, dict):
        range_type = {"log2": Log2Range, "geom": GeometricRange}.get(
            next((k for k in ("log2", "geom") if k in value), "")
        )
        if range_type is None:
            raise ValueError("an axis is a list of values, {log2: [4, 256]} or {geom: [0.01, 1], n: 9}")
        return range_type.model_validate(value).values()
    return value


Axis = Annotated[list[Scalar], Field(min_length=1, max_length=10_000), BeforeValidator(_axis)]


class Condition(Options):
    """Bounds on an axis. A plain value stands for ``eq``, a list for ``in``."""

    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    eq: Scalar | None = None
    in_: list[Scalar] | None = Field(None, alias="in")

    def holds(self, value: Any) -> bool:
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
    return value if isinstance(value, dict | Condition) else {"eq": value}


class ResourceOptions(Options):
    """What a trial or a measuring worker takes. Fractions share a device: 0.25 of a GPU packs four on it."""

    cpus_per_trial: float = Field(1, gt=0, le=1024)
    gpus_per_trial: Annotated[float, Field(ge=0, le=1024)] | Literal["auto"] = Field(
        0.0, description="auto: by the memory that each architecture needs, measured before training"
    )
    save_every_minutes: float = Field(
        5, gt=0, le=1e5, description="a training that takes longer keeps its state so often"
    )
    replicates_per_trial: int | Literal["all", "auto"] = Field(
        "auto",
        description="seeds of a cell that are trained side by side; auto: all, unless they are so large that "
        "they slow each other down",
    )
    cells_per_trial: int | Literal["auto"] = Field(
        "auto",
        description="cells that are trained side by side, where their models have the same shape and as many "
        "steps (other rates, decays, label noise); auto: as many as run fastest",
    )

    @field_validator("cpus_per_trial", "gpus_per_trial")
    @classmethod
    def _whole_above_one(cls, value: float | str) -> float | str:
        if isinstance(value, float) and value > 1 and value != int(value):
            raise ValueError(f"{value} is above 1 and must be whole then")
        return value

    @field_validator("replicates_per_trial", "cells_per_trial")
    @classmethod
    def _from_one(cls, value: int | str, info: ValidationInfo) -> int | str:
        if isinstance(value, int) and value < 1:
            words = "all, or auto" if info.field_name == "replicates_per_trial" else "or auto"
            raise ValueError(f"{value} is not allowed; it should be a number from 1, {words}")
        return value


class PhaseOptions(Options):
    """Cuts between the phases; ``auto`` finds them from the run."""

    train_loss: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto", description="training loss below it is low"
    )
    connected: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto", description="|mode connectivity| below it is connected (percentage points)"
    )
    cka: Annotated[float, Field(gt=0, le=1)] | Literal["auto"] = Field(
        "auto", description="CKA above it is high"
    )


class Space(Options):
    """A space file, checked."""

    name: str = Field(pattern=NAME, description="of the run, unless --name says otherwise")
    description: str = Field("", max_length=10_000, description="shown on the report page")
    data: dict[str, Any] = Field(description="name of the data set and its options")
    task: Literal["classification", "regression", "translation", "language"] | None = Field(
        None, description="what is learnt; what the data set is made for, if left out"
    )
    model: dict[str, Any] = Field(description="name of the architecture (or module:function) and its options")
    load: dict[str, Axis] = Field(
        default_factory=dict, description="swept settings that say how much is asked of the model"
    )
    temperature: dict[str, Axis] = Field(
        default_factory=dict, description="swept settings that say how noisy training is"
    )
    seeds: int = Field(5, ge=1, le=100_000, description="replicates a cell")
    training: TrainingOptions
    measures: dict[str, dict[str, Any]] = Field(description="what is measured, with its budget")
    resources: ResourceOptions = ResourceOptions()  # pyright: ignore[reportCallIssue]
    skip: list[dict[str, Annotated[Condition, BeforeValidator(_condition)]]] = Field(
        default_factory=list, description="cells left out: those that meet all bounds of one entry"
    )
    phases: PhaseOptions = PhaseOptions()  # pyright: ignore[reportCallIssue]
    _said: dict[str, Any] | None = PrivateAttr(default=None)

    @property
    def axes(self) -> dict[str, list[Any]]:
        """All axes, load first, with their values."""
        return {**self.load, **self.temperature}

    @cached_property
    def cells(self) -> list[Cell]:
        """The grid points that are not skipped, in the order of the axes' values."""
        names = list(self.axes)
        cells = []
        for values in itertools.product(*self.axes.values()):
            at = dict(zip(names, values, strict=True))
            if not any(all(c.holds(at[axis]) for axis, c in entry.items()) for entry in self.skip):
                cells.append(Cell.of(self, at))
        return cells

    def remember(self, said: dict[str, Any]) -> None:
        """Keep the plain data that the space was parsed from: what was said."""
        self._said = copy.deepcopy(said)

    @property
    def said(self) -> dict[str, Any]:
        """The plain data that the space was parsed from; everything, if it was not."""
        return self.frozen() if self._said is None else self._said

    def frozen(self) -> dict[str, Any]:
        """Everything the file says and leaves to defaults, as plain YAML-able data."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True)
class Cell:
    """A grid point: its place on the axes, and every setting of its models but the seed."""

    at: dict[str, Any]
    data_name: str
    data: Any  # SubsetOptions of the data set
    model_name: str
    model: Any  # options of the architecture, or the user's dict
    training: TrainingOptions
    seeds: int
    task: str = "classification"

    @classmethod
    def of(cls, space: Space, at: dict[str, Any]) -> Cell:
        settings: dict[str, dict[str, Any]] = {
            "data": dict(space.data),
            "model": dict(space.model),
            "training": space.training.model_dump(exclude_none=True),
        }
        for axis, value in at.items():
            section, key = resolve(axis, space)
            settings[section][key] = value
        data_name, model_name = settings["data"].pop("name"), settings["model"].pop("name")
        return cls(
            at,
            data_name,
            _section_options("data", data_name, settings["data"]),
            model_name,
            _section_options("model", model_name, settings["model"]),
            TrainingOptions.model_validate(settings["training"]),
            space.seeds,
            space.task or tasks_of(plugin(explorer.data, data_name, "data set"))[0],
        )

    @cached_property
    def inputs(self) -> int:
        """Training inputs of each model."""
        return train_inputs(self.data, _available(self.data_name, self.data)[0])

    @cached_property
    def plain_data(self) -> Any:
        """Settings of the data without those that change nothing."""
        return self.data.plain(_available(self.data_name, self.data)[0])

    @property
    def own_data(self) -> bool:
        """Whether each replicate has data of its own, so that no two models share a stack."""
        return self.plain_data.corruption == "own"

    @cached_property
    def steps(self) -> int:
        """Optimiser steps of each model."""
        return self.training.length(self.inputs)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Everything that decides its models but the seed. Values left at their default are left out, so
        that an option added later does not rename the models of today."""
        data = {"name": self.data_name, **self.plain_data.model_dump(exclude_defaults=True)}
        fingerprint = getattr(plugin(explorer.data, self.data_name, "data set"), "fingerprint", None)
        if fingerprint:
            data = {k: v for k, v in data.items() if not k.endswith("path")} | {
                "content": fingerprint(self.data)
            }
        if ":" in self.model_name:
            model = {"name": self.model_name, **self.model, "source": source_fingerprint(self.model_name)}
        else:
            model = {"name": self.model_name, **self.model.model_dump(exclude_defaults=True)}
            version = getattr(plugin(explorer.models, self.model_name, "architecture"), "VERSION", 1)
            if version != 1:
                model["version"] = version
        training = self.training.model_dump(exclude_defaults=True, exclude=set(names_of(Use.HISTORY)))
        for key in ("optimizer", "loss"):
            if ":" in (getattr(self.training, key) or ""):
                training[f"{key}_source"] = source_fingerprint(getattr(self.training, key))
        if version := VERSIONS.get(self.training.optimizer):
            training["optimizer_version"] = version
        usual = tasks_of(plugin(explorer.data, self.data_name, "data set"))[0]
        task = {"task": self.task} if self.task != usual else {}
        return {"schema": SCHEMA, "data": data, "model": model, "training": training, **task}

    @cached_property
    def id(self) -> str:
        return digest(self.settings)

    @cached_property
    def whole(self) -> Cell:
        """The cell whose training this one is taken from: itself, unless it is a checkpoint."""
        if self.training.checkpoint == 1:
            return self
        training = self.training.model_copy(update={"checkpoint": 1.0})
        return replace(self, training=training)

    @property
    def checkpoint_step(self) -> int:
        """Step at which its models are taken."""
        return max(1, round(self.training.checkpoint * self.steps))

    def model_id(self, seed: int) -> str:
        return digest({**self.settings, "seed": seed})

    @cached_property
    def columns(self) -> dict[str, Any]:
        """Its settings as columns of a table: scalars only, the axes always."""
        model = self.model if isinstance(self.model, dict) else self.model.model_dump()
        training = self.training.model_dump(exclude={*names_of(Use.HISTORY), "steps"}, exclude_none=True)
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
    """The tasks that a data set, an architecture or a measure is for; a data set's first is its usual one."""
    return getattr(module, "TASKS", default)


def _available(name: str, options: SubsetOptions) -> tuple[int, int]:
    return plugin(explorer.data, name, "data set").available(options)


def _section_options(section: str, name: str, values: dict[str, Any]) -> Any:
    package: ModuleType = {"data": explorer.data, "model": explorer.models}[section]
    if section == "model" and ":" in name:
        return values
    what = {"data": "data set", "model": "architecture"}[section]
    return plugin(package, name, what).Options.model_validate(values)


def known_settings(space: Space) -> dict[str, list[str]]:
    """The settings of each section, by name; those of a user's own function are what the space gives it.

    A width, which is the load of most spaces, needs no value to be swept.
    """
    model_name = space.model["name"]
    if ":" in model_name:
        model = list(dict.fromkeys(["width", *(k for k in space.model if k != "name")]))
    else:
        model = list(plugin(explorer.models, model_name, "architecture").Options.model_fields)
    fields = plugin(explorer.data, space.data["name"], "data set").Options.model_fields
    data = list(dict.fromkeys([*fields, *(k for k in space.data if k != "name")]))
    training = [k for k in TrainingOptions.model_fields if k != "history_points"]
    return {"data": data, "model": model, "training": training}


def resolve(axis: str, space: Space) -> tuple[str, str]:
    """Section and name of the setting that an axis sweeps.

    Raises:
        InputError: no section has it.
    """
    known = known_settings(space)
    for section in SECTIONS:
        if axis in known[section]:
            return section, axis
    everything = list(itertools.chain(*known.values()))
    own = [name for name in (space.data["name"], space.model["name"]) if ":" in name]
    hint = f" (an option of {' or '.join(own)} is known once the space gives it a value)" if own else ""
    raise InputError(f"there is no setting {axis!r} to sweep; known: {suggest(axis, everything)}{hint}")
