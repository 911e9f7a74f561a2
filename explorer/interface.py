"""The public classes: a space from Python objects, and a run with its pages and charts."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explorer import results
from explorer.columns import nearest_first
from explorer.runs.store import Store
from explorer.settings import InputError, listed
from explorer.space.model import CheckedSpace
from explorer.space.reading import parse, set_and_swept
from explorer.space.training import TrainingOptions
from explorer.space.trust import changed_sources, users_functions
from explorer.users import given, objects
from explorer.users.given import Given

if TYPE_CHECKING:
    import altair as alt

    from explorer.data.dataset import Arrays

ARRAYS = ("x_train", "y_train", "x_test", "y_test", "train", "test")  # keys of data in memory
SENTENCES = 3  # of the findings that a notebook shows


class Sections(dict[str, Any]):
    """Sections of a space as plain data, with the arrays in memory that they name."""

    arrays: Arrays | None = None


class Space:
    """A grid of models to train and to measure, from Python values and objects.

    Every setting of a space file has the same name here (``docs/spaces.md``). In addition, ``model``,
    ``data``, ``loss``, ``optimizer`` and ``measures`` take functions, classes and ``functools.partial``
    objects, also those of a notebook. The function's source text, the values that it refers to, and the
    content of arrays determine the ids of the models. Execute a notebook again, and its run continues.

    Args:
        name: name of the run, which is a folder below ``storage``.
        data: name of a data set; a dict of arrays ``x_train`` (inputs, …), ``y_train`` (inputs,), ``x_test``
            and ``y_test`` (numpy, torch, pandas or nested lists), or these four in a tuple;
            ``(train, test)``, each a ``torch.utils.data.Dataset`` or ``(inputs, targets)``; or a function
            that returns such a dict. Options such as ``label_noise`` stand beside the arrays of a dict, or
            beside ``name``, which may be a function.
        model: name of an architecture, or a function of ``shape`` (of one input), ``classes``, ``width`` and
            other options that returns a new ``torch.nn.Module``. A dict has the options beside ``name``.
        load, temperature: axes, each a list, a range or an array of values.
        seeds: number of replicates of each cell, or a list of their seeds.
        loss: function of outputs (models, batch, classes) and targets (models, batch) that returns the
            losses (models,) to minimise.
        optimizer: name, or a class as ``docs/spaces.md`` describes it.
        measures: names of measures, or a dict from a name to a dict of its budget.
        training: dict of training settings. They may also be keywords: ``steps``, ``epochs``,
            ``batch_size``, ``learning_rate`` (per step), ``weight_decay``, …
        others: ``task``, ``description``, ``resources``, ``skip`` and ``phases``, as in a space file.

    Raises:
        explorer.settings.InputError: something is wrong. The message names the setting, what is allowed and
            what to do. Nothing is started.

    >>> import numpy as np
    >>> from torch import nn
    >>> x = np.random.default_rng(0).normal(size=(120, 4))
    >>> def make(shape, classes, width):
    ...     return nn.Sequential(nn.Linear(shape[0], width), nn.ReLU(), nn.Linear(width, classes))
    >>> space = explorer.Space(
    ...     name="mine",
    ...     data=(x[:80], x[:80, 0] > 0, x[80:], x[80:, 0] > 0),
    ...     model=make,
    ...     load={"width": [2, 8]},
    ...     temperature={"batch_size": [8, 32]},
    ...     seeds=2,
    ...     steps=100,
    ...     learning_rate=0.05,
    ... )
    >>> space
    Space 'mine': width 2 × batch_size 2, 2 seeds, 8 models
    """

    def __init__(
        self,
        *,
        name: str,
        data: Any,
        model: str | Callable[..., Any] | Mapping[str, Any] = "mlp",
        load: Mapping[str, Any] | None = None,
        temperature: Mapping[str, Any] | None = None,
        seeds: int | Sequence[int] | Mapping[str, Any] | None = None,
        loss: str | Callable[..., Any] | None = None,
        optimizer: str | Callable[..., Any] | None = None,
        measures: Sequence[Any] | Mapping[Any, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        **others: Any,
    ):
        known = {*CheckedSpace.model_fields, *TrainingOptions.model_fields}
        if unknown := [name for name in others if name not in known]:
            names = nearest_first(unknown[0], sorted(known))
            raise InputError(
                f"Space has no argument {unknown[0]!r}; known: {names}. Arguments of the architecture "
                "stand beside its name: model={'name': make, 'width': 8}"
            )
        settings = {k: v for k, v in others.items() if k in TrainingOptions.model_fields}
        settings |= {k: v for k, v in (("loss", loss), ("optimizer", optimizer)) if v is not None}
        if isinstance(training, Mapping) and (twice := sorted(settings.keys() & training.keys())):
            raise InputError(f"{twice[0]} is given twice, by itself and in training; remove one of them")
        raw = {"name": name, "data": data, "model": model, "load": load, "temperature": temperature}
        raw |= {"seeds": seeds, "measures": measures, "training": {**(training or {}), **settings}}
        raw |= {k: v for k, v in others.items() if k not in settings}
        self._read({k: v for k, v in raw.items() if v is not None}, ())

    @classmethod
    def of(cls, raw: Any, overrides: Sequence[str] = ()) -> Space:
        """Return the space of a dict with the sections of a space file, which may hold objects.

        Args:
            overrides: changed settings, such as ``"training.steps=500"``.

        Raises:
            explorer.settings.InputError: as for the class.

        >>> explorer.Space.of({"name": "mine", "data": "digits", "model": "mlp", "load": {"width": [2, 8]},
        ...                    "training": {"steps": 100}}, ["seeds=3"])
        Space 'mine': width 2, 3 seeds, 6 models
        """
        space = cls.__new__(cls)
        space._read(raw, overrides)
        return space

    @classmethod
    def unchecked(cls, raw: Mapping[str, Any]) -> Sections:
        """Return some sections of a space with names in place of objects and arrays, which it keeps.

        >>> explorer.Space.unchecked({"data": "digits", "model": "mlp"})
        {'data': 'digits', 'model': 'mlp'}
        """
        made = cls.__new__(cls)
        made._objects, made._arrays = {}, None
        sections = Sections(made._without_objects(raw))
        sections.arrays = made._arrays
        given.keep(made._objects)
        return sections

    def _read(self, raw: Any, overrides: Sequence[str]) -> None:
        self._objects: dict[str, Given] = {}
        self._arrays: Arrays | None = None
        self._plain = self._without_objects(raw) if isinstance(raw, Mapping) else raw
        if problems := set_and_swept(self._plain):
            raise InputError("\n".join(problem.message for problem in problems))
        self.checked = self.changed(overrides)

    def changed(self, overrides: Sequence[str] = ()) -> CheckedSpace:
        """Return the checked settings after overrides such as ``"training.steps=500"``.

        Raises:
            explorer.settings.InputError: an override is wrong.

        >>> space.changed(["training.steps=7"]).training.steps
        7
        """
        given.keep(self._objects)
        return parse(self._plain, overrides)

    @property
    def name(self) -> str:
        """Name of the space, and of its run unless ``run`` gives another.

        >>> space.name
        'mine'
        """
        return self.checked.name

    @property
    def axes(self) -> dict[str, list[Any]]:
        """Values of each axis, load first.

        >>> space.axes
        {'width': [2, 8], 'batch_size': [8, 32]}
        """
        return self.checked.axes

    def __repr__(self) -> str:
        grid = " × ".join(f"{axis} {len(values)}" for axis, values in self.axes.items())
        cells, seeds = len(self.checked.cells), len(self.checked.seed_numbers)
        return f"Space {self.name!r}: {grid}, {seeds} seeds, {cells * seeds:,} models"

    def _without_objects(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return plain data that names objects in place of them."""
        raw = {str(k): v for k, v in raw.items()}
        if "data" in raw:
            raw["data"] = self._data(raw["data"])
        if callable(raw.get("model")):
            raw["model"] = {"name": raw["model"]}
        for section in ("data", "model"):
            if isinstance(raw.get(section), Mapping) and callable(raw[section].get("name")):
                raw[section] = {**raw[section], "name": self._refer(raw[section]["name"], section)}
        for section in ("training", "load", "temperature"):
            if isinstance(raw.get(section), Mapping):
                raw[section] = {
                    k: self._named(v, k) if k in ("loss", "optimizer") else v for k, v in raw[section].items()
                }
        measures = raw.get("measures")
        if isinstance(measures, str) or callable(measures):
            measures = [measures]
        if isinstance(measures, list | tuple):
            measures = {m: {} for m in measures}
        if isinstance(measures, Mapping):
            raw["measures"] = {self._named(m, "measure"): v for m, v in measures.items()}
        return _plain(raw)

    def _named(self, value: Any, role: str) -> Any:
        """Return the name of a function, and a list with the names of functions."""
        if isinstance(value, list | tuple):
            return [self._named(one, role) for one in value]
        return self._refer(value, role) if callable(value) else value

    def _refer(self, value: Any, role: str) -> str:
        return objects.refer(value, role, self._objects)

    def _data(self, data: Any) -> Any:
        """Return the section of the data, which are kept if they are in memory."""
        from explorer.data import memory

        if isinstance(data, str) or data is None:
            return data
        options: dict[str, Any] = {}
        if isinstance(data, Mapping):
            options = {k: v for k, v in data.items() if k not in ARRAYS}
            named = not any(hasattr(value, "shape") for value in options.values())
            if "name" in options or (named and len(options) == len(data)):
                return data
            data = {k: v for k, v in data.items() if k in ARRAYS}
        elif callable(data) and not hasattr(data, "__getitem__"):
            return {"name": data}
        settings, self._arrays = memory.keep(data, options.pop("image_channels", None))
        return {**settings, **options}


class Run(results.RunTables):
    """A run: its tables as pandas data frames, its pages, and its trained models.

    Tables are ``models``, ``epochs``, ``pairs``, ``curves`` and ``cells``; ``docs/tables.md`` lists every
    column with its unit. In a notebook, a run shows its phase map and its first findings.

    >>> run
    Run 'tiny': 4 cells, 12 models, 12 pairs
    >>> run.models[["width", "batch_size", "seed"]].shape
    (12, 3)
    >>> sorted(run.cells["phase"].unique()) != []
    True
    """

    _space_given: Space | None = None
    _holding: Sections | None = None

    @classmethod
    def of(
        cls, run: results.RunTables, space: Space | None = None, *, holding: Sections | None = None
    ) -> Run:
        """Return a run with the methods of this class. It keeps the arrays of ``space`` in memory.

        Args:
            holding: other arrays to keep.

        >>> explorer.Run.of(run).name
        'tiny'
        """
        made = cls(**{field.name: getattr(run, field.name) for field in fields(results.RunTables)})
        if "grid" in vars(run):  # a table of cells without models, from elsewhere
            made.grid = run.grid
        made._space_given, made._holding = space, holding
        return made

    def __repr__(self) -> str:
        return (
            f"Run {self.name!r}: {len(self.grid):,} cells, {len(self.models):,} models, "
            f"{len(self.pairs):,} pairs"
        )

    def _repr_html_(self) -> str:
        """Return the phase map and the first findings as HTML that needs no network."""
        from explorer.report import theme, vega

        said = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.findings[:SENTENCES])
        drawn = ""
        if len(self.grid):
            config = {**theme.config(), "background": "#ffffff"}
            drawn = vega.svg({**self.phase_map().to_dict(), "config": config})
        return f"<div><p><b>{escape(repr(self))}</b></p>{drawn}<ul>{said}</ul></div>"

    def _trained(self, model_id: str, trust: bool) -> Any:
        if self._space_given:  # its objects, and not those of a later cell with the same names
            self._space_given.changed()
        elif any(map(given.is_given, users_functions(self.info.get("space", {})).values())) and (
            changes := changed_sources(self.info, Store(self.folder, mend=False))
        ):
            raise InputError(f"{listed(changes.values(), '; ')}. Execute the notebook or script of that run")
        return super()._trained(model_id, trust)

    def report(
        self, reports: str | Path = "reports", *, cuts: Mapping[str, float] | None = None, show: bool = False
    ) -> Path | str:
        """Write the pages of this run, and return the path or URI of ``index.html``.

        Args:
            reports: folder or URI of report pages. Each run has a folder of its name in it.
            cuts: borders between phases: ``train_loss``, ``connected`` (percentage points) and ``cka``; by
                default those of the space.
            show: open the page in the browser.

        Raises:
            explorer.settings.InputError: a cut or the folder is invalid; nothing is written.

        >>> run.report("pages").name
        'index.html'
        """
        from explorer import report as pages

        index = pages.write(self, pages.page_folder([self], str(reports)), cuts=dict(cuts or {}))
        if show:
            open_page(index)
        return index

    def phase_map(self, *, cuts: Mapping[str, float] | None = None, **at: Any) -> alt.LayerChart:
        """Return the map of phases over load and temperature as an ``altair`` chart.

        Args:
            cuts: see :meth:`report`.
            at: values of other axes. By default, those of the cell with the highest test accuracy.

        Raises:
            explorer.settings.InputError: an axis or a value does not exist, or the run has no cell yet.

        >>> chart = run.phase_map()
        >>> type(chart).__name__
        'LayerChart'
        """
        from explorer import phases
        from explorer.report import charts
        from explorer.report.rows import plane, values

        cells = phases.classify(self.grid, self.cuts(cuts)) if cuts else self.cells
        right, up, others = plane(self.axes)
        if right is None or cells.empty:
            raise InputError(f"run {self.name!r} has no cell to draw yet")
        for axis, value in at.items():
            if axis not in others:
                shown = listed(others) or f"none besides {right}" + f" and {up}" * bool(up)
                raise InputError(f"phase_map: {axis!r} is no other axis of this run; other axes: {shown}")
            if value not in (known := values(cells, axis)):
                raise InputError(f"phase_map: {axis} {value!r} is not in the grid; it has {known}")
        accuracy = phases.column(cells, phases.ACCURACY)
        best = cells.iloc[int(accuracy.fillna(-1).to_numpy().argmax())]
        for axis in others:
            cells = cells[cells[axis] == at.get(axis, best[axis])]
        return charts.phase_map(cells, right, up)


def open_page(index: Path | str) -> bool:
    """Open a page in the browser. Return whether there is one."""
    return webbrowser.open(Path(index).absolute().as_uri() if isinstance(index, Path) else str(index))


def _plain(value: Any) -> Any:
    """Return numbers and arrays of numpy, and ranges, iterators and tuples, as plain data."""
    if isinstance(value, Mapping):
        return {(k if isinstance(k, str) else _plain(k)): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | range | Iterator):
        return [_plain(v) for v in value]
    return value.tolist() if hasattr(value, "tolist") and hasattr(value, "dtype") else value
