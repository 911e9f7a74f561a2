"""A pretended GPU: CPU tensors, and a ledger of those that lie on the card; what CUDA rejects is rejected.

Code under test asks for ``cuda`` as usual. It sees placement, order and waiting, not kernels or speed.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CARD, HOST = torch.device("cuda", 0), torch.device("cpu")
# Operations whose kernels take a number () of the host as an argument.
SCALARS = {
    "add",
    "sub",
    "rsub",
    "mul",
    "div",
    "true_divide",
    "floor_divide",
    "remainder",
    "pow",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "logical_and",
    "logical_or",
    "bitwise_and",
    "bitwise_or",
    "where",
    "fill",
    "masked_fill",
    "maximum",
    "minimum",
}
INDEXED = ("index", "index_put", "_index_put_impl")
# Operations whose result the host needs, or whose library looks at a number on the host.
WAITS = {
    "_local_scalar_dense",
    "equal",
    "nonzero",
    "masked_select",
    "is_nonzero",
    "unique_dim",
    "_unique2",
    "_linalg_eigh",
    "_linalg_svd",
    "linalg_lstsq",
    "linalg_qr",
}
NO_LAUNCH = ("detach", "_local_scalar_dense", "_unsafe_view")
MOVES = (torch.Tensor.to, torch.Tensor.cpu, torch.Tensor.cuda, torch.Tensor.type_as)


class PlacementError(RuntimeError):
    """What a real card would reject."""


def _tensors(tree: Any) -> list[Tensor]:
    if isinstance(tree, Tensor):
        return [] if tree.is_meta else [tree]
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


@functools.cache
def _name(func: Any) -> str:
    return func._schema.name.split("::")[-1].rstrip("_")


@functools.cache
def _launches(func: Any) -> bool:
    """Whether an operation starts work on the card: it is no view, and it fills memory."""
    view = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
    return not view and "empty" not in func._schema.name and _name(func) not in NO_LAUNCH


class PretendedCard:
    """The ledger, and counters of launches and of waits of the host, by name of the operation."""

    def __init__(self) -> None:
        self.launches: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.inside = False  # a function of torch that was given something on the card
        self._there: dict[int, StorageWeakRef] = {}
        self._pinned: dict[int, StorageWeakRef] = {}

    def has(self, tensor: Tensor) -> bool:
        try:
            return tensor.untyped_storage()._cdata in self._there
        except NotImplementedError:  # within vmap, which runs on the card only
            return True

    def put(self, tensor: Tensor, there: bool) -> Tensor:
        storage = tensor.untyped_storage()
        if there:
            self._there[storage._cdata] = StorageWeakRef(storage)  # keeps the number from being used again
        else:
            self._there.pop(storage._cdata, None)
        return tensor

    def pin(self, tensor: Tensor) -> Tensor:
        storage = tensor.clone().untyped_storage()
        self._pinned[storage._cdata] = StorageWeakRef(storage)
        return torch.empty(0, dtype=tensor.dtype).set_(storage).view(tensor.shape)

    def copied(self, there: bool, *, non_blocking: bool) -> None:
        if not there or not non_blocking:
            self.waits["copy to the card" if there else "copy to the host"] += 1
        if not there and non_blocking:
            raise PlacementError("a copy to the host that does not wait is read before it has ended")


class _Asked(TorchFunctionMode):
    """What Python asks for: devices, moves and new tensors."""

    def __init__(self, card: PretendedCard):
        super().__init__()
        self.card = card

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, card = dict(kwargs or {}), self.card
        if func == torch.Tensor.device.__get__:  # pyright: ignore[reportAttributeAccessIssue]
            return args[0].device if args[0].is_meta else CARD if card.has(args[0]) else HOST
        if func == torch.Tensor.is_cuda.__get__:  # pyright: ignore[reportAttributeAccessIssue]
            return card.has(args[0])
        if func in MOVES and not args[0].is_meta:
            return self._move(func, args, kwargs)
        if func is torch.Tensor.pin_memory:
            if card.has(args[0]):
                raise PlacementError("only host memory can be pinned")
            return card.pin(args[0])
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and card.has(args[0]):
            raise PlacementError("can't convert cuda:0 device type tensor to numpy")
        if func is torch.Tensor.tolist and card.has(args[0]):
            card.copied(False, non_blocking=False)
        if func is torch.Tensor.__deepcopy__ and card.has(args[0]):
            args[1][id(args[0])] = copy = args[0].detach().clone().requires_grad_(args[0].requires_grad)
            return copy
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        if asked is None or asked.type not in ("cuda", "cpu"):
            before, card.inside = card.inside, any(map(card.has, _tensors((args, kwargs))))
            try:
                return func(*args, **kwargs)
            finally:
                card.inside = before
        if func in (torch.as_tensor, torch.asarray) and isinstance(args[0], Tensor):
            return self._move(torch.Tensor.to, (args[0], asked), {})
        if asked.type == "cuda" and kwargs.get("generator") is not None:
            raise PlacementError("expected a 'cuda' device type for generator but found 'cpu'")
        copies = func in (torch.tensor, torch.as_tensor, torch.asarray) and asked.type == "cuda"
        if copies:
            card.copied(True, non_blocking=False)
            args, kwargs = args[:1], {"dtype": kwargs.get("dtype")}
        else:
            kwargs["device"] = HOST
        out = (torch.tensor if copies else func)(*args, **kwargs)
        for tensor in _tensors(out):
            card.put(tensor, asked.type == "cuda")
        if asked.type == "cuda" and not copies:
            card.launches[getattr(func, "__name__", "")] += 1
        return out

    def _move(self, func: Any, args: Any, kwargs: Any) -> Tensor:
        tensor, *given = args
        given += [kwargs[name] for name in ("device", "dtype", "other") if name in kwargs]
        there = card_before = self.card.has(tensor)
        if func is not torch.Tensor.to:
            there = func is torch.Tensor.cuda or (func is torch.Tensor.type_as and self.card.has(given[0]))
        dtype = tensor.dtype
        for value in given:
            if isinstance(value, Tensor):
                there, dtype = self.card.has(value), value.dtype
            elif isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, str | torch.device):
                if torch.device(value).type == "meta":
                    return func(*args, **kwargs)
                there = torch.device(value).type == "cuda"
        booleans = [value for value in given if isinstance(value, bool)]
        out = tensor.to(dtype, copy=there != card_before or kwargs.get("copy", False))
        if there != card_before:
            self.card.put(out, there)
            self.card.copied(there, non_blocking=kwargs.get("non_blocking", bool(booleans and booleans[0])))
        return out


class _Done(TorchDispatchMode):
    """Every operation, below autograd and vmap."""

    def __init__(self, card: PretendedCard):
        super().__init__()
        self.card = card

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with torch._C.DisableTorchFunction():
            return self._do(func, args, kwargs or {})

    def _do(self, func: Any, args: Any, kwargs: Any) -> Any:
        card, name, given = self.card, _name(func), _tensors((args, kwargs))
        there, host = [t for t in given if card.has(t)], [t for t in given if not card.has(t)]
        if there and host:
            self._check(func, name, args, kwargs, host)
        if there and name in WAITS:
            card.waits[name] += 1
        if there and name in INDEXED and any(i.dtype == torch.bool for i in _tensors(args[1])):
            card.waits[f"{name} with a mask"] += 1
        out = func(*args, **kwargs)
        if not there and (given or not card.inside):
            return out
        known = {t.untyped_storage()._cdata for t in given}
        made = [t for t in _tensors(out) if t.untyped_storage()._cdata not in known and (there or t.dim())]
        for tensor in made:
            card.put(tensor, True)
        if _launches(func) and (there or made):
            card.launches[name] += 1
        return out

    def _check(self, func: Any, name: str, args: Any, kwargs: Any, host: list[Tensor]) -> None:
        card = self.card
        if name == "copy":
            card.copied(card.has(args[0]), non_blocking=bool(args[2]) if len(args) > 2 else False)
        elif name in INDEXED and card.has(args[0]):
            if len(args) > 2 and args[2].dim() and not card.has(args[2]):
                raise PlacementError(f"{func}: values of the host for a tensor on the card")
            if not all(map(card.has, _tensors(args[1]))):
                card.waits[f"{name} with indices of the host"] += 1
        elif name not in SCALARS or any(t.dim() for t in host):
            raise PlacementError(f"{func}: expected all tensors to be on the same device")


@contextmanager
def pretended_card(gigabytes: float = 80) -> Iterator[PretendedCard]:
    """Pretend within this block that torch has a card."""
    card, size, cast = PretendedCard(), int(gigabytes * 2**30), torch.autocast.__init__
    cuda = {
        "is_available": True,
        "device_count": 1,
        "get_device_properties": SimpleNamespace(total_memory=size, name="pretended", major=9, minor=0),
        "max_memory_allocated": 0,
        "max_memory_reserved": 0,
        **dict.fromkeys(["set_per_process_memory_fraction", "empty_cache", "reset_peak_memory_stats"]),
        **dict.fromkeys(["manual_seed_all", "manual_seed", "synchronize"]),
    }
    patches = [
        patch.object(torch.cuda, name, lambda *_, answer=answer: answer) for name, answer in cuda.items()
    ]
    patches += [  # its numbers come from the processor's generator
        patch.object(torch.cuda, "get_rng_state", lambda *_: torch.get_rng_state()),
        patch.object(torch.cuda, "set_rng_state", lambda state, *_: torch.set_rng_state(state)),
        patch.object(
            torch.autocast, "__init__", lambda self, _, *given, **more: cast(self, "cpu", *given, **more)
        ),
    ]
    for one in patches:
        one.start()
    try:
        with _Asked(card), _Done(card):
            yield card
    finally:
        for one in reversed(patches):
            one.stop()
