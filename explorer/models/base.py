"""Networks from the name and settings of an architecture."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

import explorer.models
from explorer.options import Options
from explorer.settings import InputError, listed, plugin
from explorer.tasks import TASKS
from explorer.users.functions import user_function, users_code

if TYPE_CHECKING:
    from torch import nn

    from explorer.models.rows import Execution, Rows


class ModelOptions(Options):
    """Settings common to all architectures of this package."""

    width: int = Field(16, ge=1, le=65_536, description="width of the network: units or channels")


def builder(name: str, options: Any, shape: tuple[int, ...], classes: int) -> Callable[[], nn.Module]:
    """Return a function that builds a module, freshly initialised from torch's global generator.

    ``name`` is an architecture of this package, or a user's ``module:function``, called as
    ``function(shape=..., classes=..., **options)``.

    Raises:
        InputError: the user's function fails or does not return a module. The returned function raises this.
    """
    if ":" not in name:
        return lambda: plugin(explorer.models, name, "architecture").build(options, shape, classes)

    def build() -> nn.Module:
        from torch import nn

        function = user_function(name)
        if isinstance(function, nn.Module):
            raise InputError(
                f"{name!r} is a network, and each model needs its own; name a function that returns a new one"
            )
        arguments = {"shape": shape, "classes": classes, **options}
        given = listed(f"{key}={value!r}" for key, value in arguments.items())
        with users_code(name, f"called with {given} failed"):
            module = function(shape=shape, classes=classes, **options)
        if not isinstance(module, nn.Module):
            raise InputError(f"{name!r} returned {type(module).__name__}; a torch.nn.Module is needed")
        if fault := _fault_of(module):
            raise InputError(f"{name!r} returned a network {fault}")
        return module

    return build


def _fault_of(module: nn.Module) -> str:
    """Return why a user's network cannot be trained as rows, and what to do; empty if it can."""
    import torch
    from torch import nn

    parameters = dict(module.named_parameters())
    if any(isinstance(part, torch.jit.ScriptModule) for part in module.modules()):
        return "of torch.jit.script, whose parameters cannot be exchanged; return the plain module"
    if any(hasattr(part, "_orig_mod") for part in module.modules()):
        return (
            "of torch.compile; return the plain module (training: {compile: true} compiles a training step)"
        )
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in parameters.values()):
        return "with a lazy layer; set its size from shape and classes"
    for name, p in parameters.items():
        if p.is_complex():
            return (
                f"with a complex parameter, {name!r}; keep its real and imaginary part as the last dimension "
                "of a real one, and use torch.complex(p[..., 0], p[..., 1]) in forward"
            )
    if not any(p.requires_grad for p in parameters.values()):
        return "without a parameter that is trained; set requires_grad of at least one"
    for name, p in parameters.items():
        if p.requires_grad and p.dtype in (torch.float16, torch.bfloat16):
            return (
                f"with trained parameters of {p.dtype} ({name!r}), which rounds too much for Hessians; "
                "keep them in float32 (training: {precision: bf16} computes steps in bfloat16)"
            )
    for name, part in module.named_modules():
        if isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.sparse:
            return f"with sparse gradients ({name!r}); leave sparse=True out, which gives the same gradients"
    if shared := _sharing_memory(module):
        return (
            f"in which {shared[0]!r} and {shared[1]!r} share memory, so that a change of one changes the "
            "other; use one parameter in both places (other.weight = one.weight), or compute one from the "
            "other in forward"
        )
    types = {p.dtype: name for name, p in parameters.items() if p.requires_grad}
    if len(types) > 1:
        shown = " and ".join(f"{kind} ({name!r})" for kind, name in types.items())
        return f"with trained parameters of several types, {shown}; give all the same one"
    return ""


def _sharing_memory(module: nn.Module) -> tuple[str, str] | None:
    """Return the names of a trained parameter and another tensor whose memory overlaps, if there are any."""
    from explorer.models.rows import tensors_of

    extents = []
    for name, t in tensors_of(module).items():
        if t.numel() and not t.is_sparse:
            last = sum((size - 1) * stride for size, stride in zip(t.shape, t.stride(), strict=True))
            extents.append(
                (t.data_ptr(), t.data_ptr() + (last + 1) * t.element_size(), name, t.requires_grad)
            )
    extents.sort()
    for before, after in itertools.pairwise(extents):
        if after[0] < before[1] and (before[3] or after[3]):
            return before[2], after[2]
    return None


def stacked_function(name: str, options: Any, what: str) -> Any:
    """Return ``stacked_forward``, ``stacked_gradient`` or ``derived_execution`` of an architecture.

    If the architecture does not define the function, or the function would ignore an option
    (:func:`honours`), return None. Then the module is used.
    """
    if ":" in name:
        return None
    module = plugin(explorer.models, name, "architecture")
    make = getattr(module, what, None)
    return make(options) if make and honours(module, options) else None


def honours(module: Any, options: ModelOptions) -> bool:
    """Return whether an architecture's stacked functions support all options that differ from their default.

    They support the options in ``HONOURED``; only the module supports the others.
    """
    others = type(options).model_fields.keys() - set(getattr(module, "HONOURED", ()))
    return all(getattr(options, name) == type(options).model_fields[name].default for name in others)


def needs_timing(name: str, options: Any, *, gpus: bool) -> bool:
    """Return whether timing must decide between vmap and running models one by one."""
    if ":" in name:
        return True
    module = plugin(explorer.models, name, "architecture")
    if not (hasattr(module, "stacked_forward") and honours(module, options)):
        return True
    return hasattr(module, "stack_is_fastest") and not module.stack_is_fastest(options, gpus=gpus)


def network(
    name: str,
    options: Any,
    shape: tuple[int, ...],
    classes: int,
    execution: Execution | None = None,
    task: str = "classification",
) -> tuple[Callable[[], nn.Module], Rows]:
    """Return the builder of an architecture and its :class:`~explorer.models.rows.Rows`."""
    from explorer.models.rows import Rows, seeded

    build = builder(name, options, shape, classes)
    module = None if ":" in name else plugin(explorer.models, name, "architecture")
    main_task = getattr(module, "TASKS", ("classification",))[0]  # ``stacked_gradient`` uses its loss
    with seeded(0):
        forward = stacked_function(name, options, "stacked_forward")
        gradient = stacked_function(name, options, "stacked_gradient") if task == main_task else None
        derived = stacked_function(name, options, "derived_execution") if forward else None
        own = (None, build) if module is None else (False, None)
        return build, Rows(build(), forward, execution, gradient, TASKS[task], derived, *own)
