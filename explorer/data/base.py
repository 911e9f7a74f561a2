"""Common parts of all data sets: options, and the steps from clean arrays to training data.

Uses numpy only. Random choices are seeded by content. They are the same for every model with the same data
settings, on every machine, and they are nested: a sample of 500 inputs is part of the sample of 1,000, and
labels that are wrong at noise 0.1 are wrong in the same way at 0.2.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, Field, field_validator

from explorer.data import corruption
from explorer.data.dataset import Arrays
from explorer.options import Options
from explorer.settings import InputError, seed_for

if TYPE_CHECKING:
    from typing_extensions import Self


def _not_one(value: Any) -> Any:
    # The integer 1 (one input) would be read as the share 1.0 (all inputs).
    if type(value) is int and value == 1:
        raise ValueError("1 is ambiguous: write 1.0 for all inputs; a number of inputs is at least 2")
    return value


TrainSize = Annotated[
    Annotated[int, Field(ge=2)] | Annotated[float, Field(gt=0, le=1)], BeforeValidator(_not_one)
]


class SubsetOptions(Options):
    """Settings of any data set: the size and the choice of its training subset."""

    train_size: TrainSize | None = Field(
        default=None, description="number (2000) or share (0.5) of the inputs to train on; default: all"
    )
    subset: Literal["sample", "first"] = Field(
        default="sample",
        description="inputs that train_size selects: a seeded sample, or the first in the data set's order",
    )
    corruption_seed: int = Field(default=0, ge=0, description="seed of the sample and of the noise")
    corruption: Literal["shared", "own"] = Field(
        default="shared",
        description="own: each replicate has its own sample and noise; shared: all replicates have the same",
    )

    def source(self) -> dict[str, Any]:
        """Return the settings that determine the clean arrays; :func:`prepare` uses the other ones."""
        return self.model_dump(exclude=set(SubsetOptions.model_fields))

    def clean(self) -> Any:  # not Self: pyright does not know that frozen options are hashable
        """Return the options with the defaults of all settings that :func:`prepare` uses."""
        return self.model_validate(self.source())

    def plain(self, available: int) -> Self:
        """Return the options with every setting that has no effect set to its default.

        These are a size that selects all inputs, the kind of an absent noise, and the corruption seed if
        nothing is random. Options with the same meaning are then equal.

        Args:
            available: the data set's number of training inputs.
        """
        changed = self._idle()
        if self.train_size is not None and train_inputs(self, available) == available:
            changed["train_size"] = None
        whole = self.train_size is None or "train_size" in changed
        if not self._noisy() and (whole or self.subset == "first"):
            changed |= {"corruption_seed": 0, "corruption": "shared"}
        return self.model_copy(update=changed)

    def of_replicate(self, seed: int) -> Self:
        """Return the options of one replicate, with its own seed if ``corruption`` is ``own``."""
        if self.corruption == "shared":
            return self
        replicate_seed = seed_for("replicate", self.corruption_seed, seed)
        return self.model_copy(update={"corruption": "shared", "corruption_seed": replicate_seed})

    def _idle(self) -> dict[str, Any]:
        """Return the defaults of settings that have no effect given the other settings."""
        return {}

    def _noisy(self) -> bool:
        """Return whether inputs or labels are random."""
        return False


class DataOptions(SubsetOptions):
    """Settings of any data set whose inputs are not text."""

    balanced: bool = Field(
        default=False, description="use equally many training inputs of each class (some may have one more)"
    )
    classes: tuple[int | str, ...] | None = Field(
        default=None,
        min_length=2,
        description="labels of the classes to use, renumbered from 0 in this order; default: all",
    )
    label_noise: float = Field(
        default=0.0, ge=0, le=1, description="share of the training labels replaced by a different class"
    )
    noise_kind: Literal["other", "uniform"] = Field(
        default="other",
        description="other: noisy labels are drawn from the other classes; uniform: from all (Yang et "
        "al., 2021), which leaves about one in n noisy labels correct with n classes",
    )
    pixel_noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the pixels of each training input replaced by those of other training inputs",
    )
    standardise: bool = Field(
        default=True,
        description="shift and scale each channel (each column of a table) to mean 0 and standard "
        "deviation 1",
    )

    @field_validator("classes")
    @classmethod
    def _no_class_twice(cls, value: tuple[int | str, ...] | None) -> tuple[int | str, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("a class is listed twice")
        return value

    def source(self) -> dict[str, Any]:
        return self.model_dump(exclude=set(DataOptions.model_fields))

    def _idle(self) -> dict[str, Any]:
        return {} if self.label_noise else {"noise_kind": "other"}

    def _noisy(self) -> bool:
        return bool(self.label_noise or self.pixel_noise)


def train_inputs(options: SubsetOptions, available: int) -> int:
    """Return the number of inputs to train on.

    Raises:
        InputError: the options ask for more inputs than the data set has, or for fewer than 2.
    """
    size = options.train_size
    if size is None:
        return available
    count = round(size * available) if isinstance(size, float) else size
    if not 2 <= count <= available:
        raise InputError(
            f"train_size {size} asks for {count} inputs; the data set has {available}, at least 2 are needed"
        )
    return count


def counts(options: DataOptions, train: int, test: int, load: Callable[[Any], Arrays]) -> tuple[int, int]:
    """Return the numbers of training and test inputs of the selected classes.

    ``train`` and ``test`` are the numbers for all classes. The data are loaded only if ``classes`` is given.
    """
    if options.classes is None:
        return train, test
    return _of_classes(load, options.clean(), options.classes, (train, test))[0]


def numbers_of_classes(options: Any, load: Callable[[Any], Arrays], content: str) -> list[int] | None:
    """Return the numbers of the selected ``classes`` if they are not their labels; else None.

    ``content`` identifies the data.
    """
    if getattr(options, "classes", None) is None:
        return None
    _, numbers = _of_classes(load, options.clean(), options.classes, content)
    return numbers if numbers != list(options.classes) else None


@functools.lru_cache(maxsize=16)
def _of_classes(
    load: Callable[[Any], Arrays], clean: DataOptions, classes: tuple[int | str, ...], content: object
) -> tuple[tuple[int, int], list[int]]:
    """Return the numbers of inputs of some classes, and the numbers of these classes.

    Called for every cell of a grid. ``content`` changes the cache key if a user's own files change.
    """
    arrays = load(clean)
    return corruption.of_classes(arrays, classes).sizes, corruption.class_numbers(arrays, classes)


def prepare(clean: Arrays, options: SubsetOptions, name: str) -> Arrays:
    """Return the data set after selection of classes, subset, label noise, standardisation and pixel noise.

    For text, only the subset is selected.

    Label noise replaces exactly ``round(label_noise * n)`` labels. Standardisation uses one mean and one
    standard deviation per channel of images, per column of a user's tables, and over all numbers of other
    inputs. They come from the selected training inputs before pixel noise, which keeps the test inputs the
    same at each noise level. Test inputs and test labels are never corrupted.

    Raises:
        InputError: the data set lacks the requested classes or the requested number of inputs.
        ValueError: ``corruption`` is ``own``; pass ``options.of_replicate(seed)`` instead.
    """
    if isinstance(options, DataOptions) and options.classes is not None:
        clean = corruption.of_classes(clean, options.classes)
    options = options.plain(len(clean.y_train))
    if options.corruption == "own":
        raise ValueError("each replicate has its own data: pass options.of_replicate(seed)")

    def seed(what: str) -> int:
        return seed_for(what, name, *([options.corruption_seed] if options.corruption_seed else []))

    total, count = len(clean.y_train), train_inputs(options, len(clean.y_train))
    order = (
        np.random.default_rng(seed("subset")).permutation(total)
        if options.subset == "sample"
        else np.arange(total)
    )
    if not isinstance(options, DataOptions):
        order = order[:count]
        return replace(clean, x_train=clean.x_train[order], y_train=clean.y_train[order])
    if options.balanced:
        order = order[corruption.balanced(clean.y_train[order], count, clean.classes)]
    order = order[:count]
    x_train, x_test, y_test = clean.x_train[order], clean.x_test, clean.y_test
    if clean.y_train.dtype.kind == "f":
        y_train = corruption.noisy_targets(
            clean.y_train[order], options.label_noise, seed=seed("label noise"), available=total
        )
        if options.standardise:  # over the selected (noisy) training targets
            mean, scale = np.nanmean(y_train, 0), np.maximum(np.nanstd(y_train, 0), 1e-8)
            y_train, y_test = (y_train - mean) / scale, (y_test - mean) / scale
    else:
        y_train = corruption.noisy_labels(
            clean.y_train[order], options.label_noise, clean.classes,
            kind=options.noise_kind, seed=seed("label noise"), available=total,
        )  # fmt: skip
    if options.standardise:
        mean, scale = _moments(x_train, columns=clean.columns)
        x_train -= mean  # in place: the subset is already a copy
        x_train /= scale
        x_test = (x_test - mean) / scale
    if options.pixel_noise:
        x_train = corruption.noisy_pixels(x_train, options.pixel_noise, seed=seed("pixel noise"))
    return replace(clean, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def _moments(x: np.ndarray, *, columns: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation (at least 1e-8), broadcastable to ``x``.

    With ``columns``, each column of ``x`` (inputs, columns) has its own; a constant column is only shifted.
    """
    if columns:
        mean, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
        scale = np.where(scale > 1e-6 * np.abs(mean) + 1e-12, scale, 1.0)
        return mean.astype(np.float32), scale.astype(np.float32)
    channels = x.shape[1] if x.ndim == 4 else 1
    flat = x.reshape(len(x), channels, -1)  # (inputs, channels, numbers)
    numbers = len(flat) * flat.shape[2]
    mean = flat.sum(2, dtype=np.float64).sum(0) / numbers  # (channels,)
    # Work in blocks: a second copy of the data set may not fit into memory.
    blocks = (flat[start : start + 1024] for start in range(0, len(flat), 1024))
    squares = sum(np.square(b - mean[:, None]).sum((0, 2)) for b in blocks)
    shape = (1, channels, *(1,) * (x.ndim - 2)) if x.ndim == 4 else (1,) * x.ndim
    scale = np.maximum(np.sqrt(squares / numbers), 1e-8)
    return mean.astype(np.float32).reshape(shape), scale.astype(np.float32).reshape(shape)


def pool_images(x: np.ndarray, factor: int) -> np.ndarray:
    """Average images (inputs, channels, height, width) over squares of ``factor`` × ``factor`` pixels.

    Raises:
        InputError: the factor does not divide height and width.
    """
    n, channels, height, width = x.shape
    if height % factor or width % factor:
        raise InputError(f"pool {factor} does not divide images of {height}×{width}")
    return x.reshape(n, channels, height // factor, factor, width // factor, factor).mean(
        (3, 5), dtype=np.float32
    )
