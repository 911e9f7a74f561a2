"""What is known of a data set without its content."""

from __future__ import annotations

import math
from dataclasses import dataclass

import explorer.data
from explorer.data.published import PublishedOptions
from explorer.engine.stacks import shape_of
from explorer.engine.suited import check_data
from explorer.settings import plugin
from explorer.space import Cell


@dataclass(frozen=True)
class Inputs:
    """What is known of a data set without its content."""

    shape: tuple[int, ...]
    classes: int
    train: int
    test: int
    available: int  # training inputs there are, of which ``train`` are taken
    target: tuple[int, ...] = ()  # shape of what is learnt for one input: () for a class
    tokens: bool = False  # inputs are whole numbers
    numeric: bool = False  # what is learnt are numbers, not classes or tokens

    @classmethod
    def of(cls, cell: Cell) -> Inputs:
        """Those of a cell. Nothing is downloaded: the public data sets say their shape themselves."""
        module = plugin(explorer.data, cell.data_name, "data set")
        available, test = module.available(cell.data)
        if isinstance(cell.data, PublishedOptions):
            length, units = cell.data.length, cell.data.vocabulary
            return cls((2, length), units, cell.inputs, test, available, target=(length,), tokens=True)
        if hasattr(module, "SHAPE"):
            channels, height, width = module.SHAPE
            shape, classes = (channels, height // cell.data.pool, width // cell.data.pool), module.CLASSES
            return cls(shape, len(cell.data.classes or range(classes)), cell.inputs, test, available)
        arrays = module.load(cell.data)
        check_data(cell, arrays)
        x, y = arrays.x_train, arrays.y_train
        return cls(
            *shape_of(arrays, cell), cell.inputs, test, available,
            target=y.shape[1:], tokens=x.dtype.kind in "iu", numeric=y.dtype.kind == "f",
        )  # fmt: skip

    @property
    def one(self) -> int:
        """Bytes of one input and of what is learnt for it."""
        x, y = 8 if self.tokens else 4, 4 if self.numeric else 8
        return x * math.prod(self.shape) + y * math.prod(self.target)

    @property
    def bytes(self) -> int:
        """Of all inputs and labels, as they are trained on."""
        return (self.train + self.test) * self.one

    @property
    def stored(self) -> int:
        """Bytes of all inputs and labels there are, as they lie in the object store."""
        return (self.available + self.test) * self.one
