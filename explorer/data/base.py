"""What every data set shares: its arrays, its options, and the way from clean arrays to those trained on.

Numpy only. The random choices are seeded by content, so they are the same for every model of the
same data settings, on every machine, and nested: the first 500 inputs are among the first 1,000, and
what is mislabelled at noise .1 is mislabelled in the same way at .2.
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
    # The whole number 1 would pass for the share 1.0, which is the opposite.
    if type(value) is int and value == 1:
        raise ValueError("1 is ambiguous: write 1.0 for all inputs; a number of inputs is at least 2")
    return value


Size = Annotated[Annotated[int, Field(ge=2)] | Annotated[float, Field(gt=0, le=1)], BeforeValidator(_not_one)]


class SubsetOptions(Options):
    """Settings of any data set: how much of it is trained on."""

    train_size: Size | None = Field(
        default=None, description="inputs trained on (2000), or a share of them (0.5); all if left out"
    )
    subset: Literal["sample", "first"] = Field(
        default="sample",
        description="inputs that train_size takes: a seeded sample, or the first in the data set's own order",
    )
    corruption_seed: int = Field(
        default=0, ge=0, description="another number draws another sample and other noise"
    )
    corruption: Literal["shared", "own"] = Field(
        default="shared",
        description="own: each replicate has its own sample and noise; shared: all replicates have the same",
    )

    def source(self) -> dict[str, Any]:
        """The settings that decide the clean arrays; the rest is done by :func:`prepare`."""
        return self.model_dump(exclude=set(SubsetOptions.model_fields))

    def plain(self, available: int) -> Self:
        """The same data, of ``available`` training inputs in all, without the settings that change nothing.

        A size that takes all inputs is left out; so is the kind of a noise that there is none of, and what
        a corruption depends on where nothing is drawn. Settings that say the same are equal then.
        """
        changed = self._idle()
        if self.train_size is not None and train_inputs(self, available) == available:
            changed["train_size"] = None
        whole = self.train_size is None or "train_size" in changed
        if not self._noisy() and (whole or self.subset == "first"):
            changed |= {"corruption_seed": 0, "corruption": "shared"}
        return self.model_copy(update=changed)

    def of_replicate(self, seed: int) -> Self:
        """The data of one replicate: these, or with a draw of its own where ``corruption`` asks for it."""
        if self.corruption == "shared":
            return self
        own = seed_for("replicate", self.corruption_seed, seed)
        return self.model_copy(update={"corruption": "shared", "corruption_seed": own})

    def _idle(self) -> dict[str, Any]:
        """Defaults of the settings that have no effect beside the others."""
        return {}

    def _noisy(self) -> bool:
        """Whether inputs or labels are drawn anew."""
        return False


class DataOptions(SubsetOptions):
    """Settings of any data set of inputs that are no text."""

    balanced: bool = Field(
        default=False, description="take the same number of training inputs of each class (one more of some)"
    )
    classes: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None,
        min_length=2,
        description="only these classes, renumbered from 0 in this order; all if left out",
    )
    label_noise: float = Field(
        default=0.0, ge=0, le=1, description="share of the training labels replaced by a different class"
    )
    noise_kind: Literal["other", "uniform"] = Field(
        default="other",
        description="label noise draws from the other classes, or from all, as Yang et al. (2021) did: "
        "then about 1 label in as many as there are classes stays right",
    )
    pixel_noise: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the pixels of each training input replaced by those of other training inputs",
    )
    standardise: bool = Field(
        default=True, description="shift and scale each channel to mean 0 and standard deviation 1"
    )

    @field_validator("classes")
    @classmethod
    def _no_class_twice(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise ValueError("a class is named twice")
        return value

    def source(self) -> dict[str, Any]:
        return self.model_dump(exclude=set(DataOptions.model_fields))

    def _idle(self) -> dict[str, Any]:
        return {} if self.label_noise else {"noise_kind": "other"}

    def _noisy(self) -> bool:
        return bool(self.label_noise or self.pixel_noise)


def train_inputs(options: SubsetOptions, available: int) -> int:
    """Number of inputs trained on.

    Raises:
        InputError: more are asked for than there are, or fewer than 2 are left.
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
    """Numbers of training and test inputs of the classes asked for, of ``train`` and ``test`` in all.

    The data are loaded only when ``classes`` leaves some out.
    """
    if options.classes is None:
        return train, test
    clean: Any = type(options).model_validate({**options.source(), "classes": options.classes})
    return _counted(load, clean, (train, test))


@functools.lru_cache(maxsize=16)
def _counted(load: Callable[[Any], Arrays], options: DataOptions, total: tuple[int, int]) -> tuple[int, int]:
    # Asked once for each cell of a grid; ``total`` is there to notice that a user's own files have changed.
    kept = corruption.of_classes(load(options), options.classes or ())
    return len(kept.y_train), len(kept.y_test)


def prepare(clean: Arrays, options: SubsetOptions, name: str) -> Arrays:
    """Classes, subset, label noise, pixel noise and standardisation of a data set, in this order.

    Of data that are not for classification, the subset is taken and nothing else is done.

    Label noise replaces exactly ``round(label_noise * n)`` labels. The scale is that of the training
    inputs kept, before pixel noise, so that the test inputs are the same at each noise level: one mean
    and one standard deviation a channel (all numbers together where an input has fewer than three
    dimensions). Test inputs and test labels are never corrupted.

    Raises:
        InputError: the classes or the training-set size asked for are not there.
    """
    if isinstance(options, DataOptions) and options.classes is not None:
        clean = corruption.of_classes(clean, options.classes)
    options = options.plain(len(clean.y_train))
    if options.corruption == "own":
        raise ValueError("each replicate has its own data: prepare those of options.of_replicate(seed)")

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
    x_train = clean.x_train[order]
    if clean.y_train.dtype.kind == "f":
        y_train = corruption.noisy_targets(
            clean.y_train[order], options.label_noise, seed=seed("label noise"), available=total
        )
        if options.standardise:
            clean, y_train = _standard_targets(clean, y_train)
    else:
        y_train = corruption.noisy_labels(
            clean.y_train[order], options.label_noise, clean.classes,
            kind=options.noise_kind, seed=seed("label noise"), available=total,
        )  # fmt: skip
    x_test = clean.x_test
    if options.standardise:
        mean, scale = _moments(x_train)
        x_train -= mean  # in place: the subset is a copy of its own
        x_train /= scale
        x_test = (x_test - mean) / scale
    if options.pixel_noise:
        x_train = corruption.noisy_pixels(x_train, options.pixel_noise, seed=seed("pixel noise"))
    return replace(clean, x_train=x_train, y_train=y_train, x_test=x_test)


def _standard_targets(clean: Arrays, y_train: np.ndarray) -> tuple[Arrays, np.ndarray]:
    """Each number with mean 0 and standard deviation 1 over the training targets kept, corrupted or not."""
    mean, scale = np.nanmean(y_train, 0), np.maximum(np.nanstd(y_train, 0), 1e-8)
    return replace(clean, y_test=(clean.y_test - mean) / scale), (y_train - mean) / scale


def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation (at least 1e-8) that broadcast over ``x``."""
    channels = x.shape[1] if x.ndim == 4 else 1
    flat = x.reshape(len(x), channels, -1)  # (inputs, channels, numbers)
    numbers = len(flat) * flat.shape[2]
    mean = flat.sum(2, dtype=np.float64).sum(0) / numbers  # (channels,)
    # In blocks: a second copy of a whole data set may not fit into memory.
    blocks = (flat[start : start + 1024] for start in range(0, len(flat), 1024))
    squares = sum(np.square(b - mean[:, None]).sum((0, 2)) for b in blocks)
    shape = (1, channels, *(1,) * (x.ndim - 2)) if x.ndim == 4 else (1,) * x.ndim
    scale = np.maximum(np.sqrt(squares / numbers), 1e-8)
    return mean.astype(np.float32).reshape(shape), scale.astype(np.float32).reshape(shape)


def pool_images(x: np.ndarray, factor: int) -> np.ndarray:
    """Average over ``factor`` × ``factor`` squares of images (inputs, channels, height, width).

    Raises:
        InputError: the factor does not divide height and width.
    """
    n, channels, height, width = x.shape
    if height % factor or width % factor:
        raise InputError(f"pool {factor} does not divide images of {height}×{width}")
    return x.reshape(n, channels, height // factor, factor, width // factor, factor).mean(
        (3, 5), dtype=np.float32
    )
