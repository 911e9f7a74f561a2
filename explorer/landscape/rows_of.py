"""Conversion of trained modules to the matrix form of this package."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from explorer.models.rows import Execution, Rows


def rows_of(*modules: nn.Module, execution: Execution = "loop") -> tuple[Rows, Tensor, Tensor]:
    """Return modules as ``network``, ``theta`` (models, parameters) and ``buffers`` (models, numbers).

    All modules must have the same architecture. They are copied. ``execution`` is ``loop`` or ``vmap``.

    Raises:
        ValueError: no module is given, they differ in the names or shapes of their parameters, or a function
            in a module has captured a layer.
    """
    if not modules:
        raise ValueError("rows_of needs at least one module")
    if name := _function_with_layer(modules[0]):
        raise ValueError(
            f"{name} is a function that has captured a layer or a tensor, which a copy of the module would "
            "share; make it a method that reads the layer from self"
        )
    network = Rows(modules[0], execution=execution)
    expected = {name: tuple(p.shape) for name, p in modules[0].named_parameters()}
    for module in modules[1:]:
        found = {name: tuple(p.shape) for name, p in module.named_parameters()}
        if found != expected:
            names = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            raise ValueError(
                f"the modules do not have the same architecture; they differ in {', '.join(names)}"
            )
    pairs = [network.row(module) for module in modules]
    return network, torch.stack([theta for theta, _ in pairs]), torch.stack([stats for _, stats in pairs])


def _function_with_layer(module: nn.Module) -> str:
    """Return the name of an attribute or hook with a function that holds a layer or tensor; empty if none."""
    for path, part in module.named_modules():
        for key, value in vars(part).items():
            for function in value.values() if isinstance(value, dict) else [value]:
                for cell in getattr(function, "__closure__", None) or ():
                    content = cell.cell_contents
                    if isinstance(getattr(content, "__self__", content), nn.Module | Tensor):
                        return f"{path}.{key}" if path else key
    return ""
