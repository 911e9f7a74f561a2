"""From an architecture's settings to rows. The place where names become networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import Field

import explorer.models
from explorer.options import Options
from explorer.settings import InputError, plugin, user_function
from explorer.tasks import TASKS

if TYPE_CHECKING:
    from torch import nn

    from explorer.models.rows import Execution, Rows


class ModelOptions(Options):
    """Settings of any architecture of this package."""

    width: int = Field(16, ge=1, le=65_536, description="width of the network: units or channels")


def builder(name: str, options: Any, shape: tuple[int, ...], classes: int) -> Callable[[], nn.Module]:
    """A function that makes a freshly initialised module from torch's global generator.

    ``name`` is an architecture of this package, or ``module:function`` of the user, called as
    ``function(shape=..., classes=..., **options)``.

    Raises:
        InputError: the user's function fails, or returns no module.
    """
    if ":" not in name:
        return lambda: plugin(explorer.models, name, "architecture").build(options, shape, classes)

    def build() -> nn.Module:
        from torch import nn

        try:
            module = user_function(name)(shape=shape, classes=classes, **options)
        except Exception as error:
            raise InputError(
                f"{name!r} failed for shape={shape}, classes={classes}, {options}: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(module, nn.Module):
            raise InputError(f"{name!r} returned {type(module).__name__}; a torch.nn.Module is needed")
        if any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters()):
            raise InputError(f"{name!r} has a lazy layer; give it its size, which shape and classes decide")
        return module

    return build


def own(name: str, options: Any, what: str) -> Any:
    """Return the architecture's own ``stacked_forward``, ``stacked_gradient`` or ``derived_execution``.

    None where there is none, or where it would ignore an option (:func:`honours`): the module is used then.
    """
    if ":" in name:
        return None
    module = plugin(explorer.models, name, "architecture")
    make = getattr(module, what, None)
    return make(options) if make and honours(module, options) else None


def honours(module: Any, options: ModelOptions) -> bool:
    """Return whether an architecture's stacked functions know all options that are not at their default.

    They know those in its ``HONOURED``; all others are the module's alone.
    """
    others = type(options).model_fields.keys() - set(getattr(module, "HONOURED", ()))
    return all(getattr(options, name) == type(options).model_fields[name].default for name in others)


def first_task(name: str) -> str:
    """The task that an architecture is for before others: the loss of its own gradient."""
    module = None if ":" in name else plugin(explorer.models, name, "architecture")
    return getattr(module, "TASKS", ("classification",))[0]


def has_choice(name: str, options: Any, *, gpus: bool) -> bool:
    """Whether rows of the architecture could go by vmap or one by one, and which is faster is not known."""
    if ":" in name:
        return True
    module = plugin(explorer.models, name, "architecture")
    if not (hasattr(module, "stacked_forward") and honours(module, options)):
        return True
    return hasattr(module, "settled") and not module.settled(options, gpus=gpus)


def network(
    name: str,
    options: Any,
    shape: tuple[int, ...],
    classes: int,
    execution: Execution | None = None,
    task: str = "classification",
) -> tuple[Callable[[], nn.Module], Rows]:
    """The builder of an architecture and its function of rows."""
    from explorer.models.rows import Rows, seeded

    build = builder(name, options, shape, classes)
    with seeded(0):
        forward = own(name, options, "stacked_forward")
        gradient = own(name, options, "stacked_gradient") if task == first_task(name) else None
        derived = own(name, options, "derived_execution") if forward else None
        return build, Rows(build(), forward, execution, gradient, TASKS[task], derived)
