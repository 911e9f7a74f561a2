"""Counts what a computation does, exactly and without doing it: on PyTorch's meta device.

Every operation that reaches the device is seen with its shapes: floating-point operations (a multiply-add is
two), bytes read and written, and the memory that lives at the same time.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

OTHER, MATRIX, CONVOLUTION = range(3)


@dataclass(frozen=True)
class Ops:
    """Operations, one after the other, all of them ``repeats`` times."""

    kind: np.ndarray  # (operations,): OTHER, MATRIX or CONVOLUTION
    flops: np.ndarray  # (operations,)
    moved: np.ndarray  # (operations,): bytes
    peak: float  # bytes alive at once
    repeats: float = 1.0

    def between(self, other: Ops, share: float) -> Ops:
        """Operations of the same kinds whose sizes lie at ``share`` of the way to those of ``other``."""

        def mix(a: Any, b: Any) -> Any:
            return a + share * (b - a)

        flops, moved = mix(self.flops, other.flops), mix(self.moved, other.moved)
        return Ops(self.kind, flops, moved, max(mix(self.peak, other.peak), 0.0), self.repeats)

    def times(self, repeats: float, peak: float | None = None) -> Ops:
        """The same so many times over, which needs no more memory unless ``peak`` says so."""
        peak = self.peak if peak is None else peak
        return Ops(self.kind, self.flops, self.moved, peak, repeats * self.repeats)

    @property
    def total_flops(self) -> float:
        return self.repeats * float(self.flops.sum())


def count(call: Callable[[], object], *held: Tensor) -> Ops:
    """The operations of ``call``. ``held`` is memory that is there all the time, such as its arguments."""
    recorder = _Recorder()
    for tensor in held:
        recorder.keep(tensor)
    with recorder:
        result = call()  # alive until its memory is counted
    peak = recorder.peak
    del result
    columns = np.array(recorder.found, dtype=np.float64).reshape(-1, 3).T
    return Ops(columns[0].astype(int), columns[1], columns[2], float(peak))


class _Recorder(TorchDispatchMode):
    """Notes every operation and follows the memory of its results until nobody holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, float, float]] = []
        self.alive = self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def keep(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        size = storage.nbytes()
        self._known.add(storage)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.alive -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        given, made = ([t for t in tree_leaves(x) if isinstance(t, Tensor)] for x in ((args, kwargs), result))
        for tensor in made:
            self.keep(tensor)
        if made and not _free(func):
            self.found.append((*_arithmetic(func, args, kwargs, result), _bytes(given) + _bytes(made)))
        return result


def _free(func: Any) -> bool:
    """Whether it starts nothing on the device: a view, or memory that is not filled."""
    return func.is_view or "empty" in func.name()


def _arithmetic(func: Any, args: Any, kwargs: Any, result: Any) -> tuple[int, float]:
    formula = flop_registry.get(func.overloadpacket)
    if formula is None:
        return OTHER, 0.0
    kind = CONVOLUTION if "convolution" in func.name() else MATRIX
    return kind, float(formula(*args, **kwargs, out_val=result))


def _bytes(tensors: list[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def on_meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A tensor of a shape, without numbers."""
    return torch.empty(shape, dtype=dtype, device="meta")
