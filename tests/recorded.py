"""What stands in for CUDA graphs where there is no GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class HostReads(RuntimeError):
    """A number on the device was asked for by the host."""


class Tape(TorchDispatchMode):
    """Records operations with the very tensors that they read and wrote, as a graph has kernels and addresses.

    All else (Python numbers, shapes) is what it was. What was changed meanwhile is put back by :meth:`undo`: a
    capture computes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, tuple[Any, ...], dict[str, Any], Any]] = []
        self.made: set[int] = set()  # addresses of storages that came to be meanwhile
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.alive: list[Any] = []  # or an address could come to be twice

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            raise HostReads("operation not permitted when stream is capturing")
        for tensor in written(func, args, kwargs):
            place = address(tensor)
            if place not in self.made and place not in self.before:
                whole = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
                self.before[place] = (whole, whole.clone())
        out = func(*args, **kwargs)
        given = {address(t) for t in tensors((args, kwargs))}
        fresh = {address(t) for t in tensors(out)} - given
        self.made |= fresh
        self.alive.append(out)
        if fresh or func._schema.is_mutable:  # the others are views
            self.operations.append((func, args, kwargs, out))
        return out

    def undo(self) -> None:
        for now, before in self.before.values():
            now.copy_(before)

    def replay(self) -> None:
        with torch.inference_mode():  # tensors of that mode are written to
            for func, args, kwargs, out in self.operations:
                again = func(*args, **kwargs)
                for own, new in zip(tensors(out), tensors(again), strict=True):
                    if address(own) != address(new):
                        own.copy_(new)


class Recorder:
    """Stands in for :class:`explorer.graphs.Cuda`."""

    def __init__(self, device: torch.device):
        self.device = device

    def beside(self, work: Callable[[], None]) -> None:
        work()

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        tape = Tape()
        try:
            with tape:
                work()
        finally:
            with torch.inference_mode():
                tape.undo()
        return tape.replay


def tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))


def address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """Arguments that the operation changes."""
    if func is torch.ops.aten.native_batch_norm.default:  # its schema does not say so
        yield from tensors(args[3:5])
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from tensors(args[place] if place < len(args) else kwargs.get(argument.name))
