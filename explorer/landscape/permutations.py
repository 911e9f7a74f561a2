"""Permutations of parameter axes that leave the function of a network unchanged.

Hidden units and channels have no order: permuting the outputs of a layer is undone by the same permutation of
the inputs of the next layer. The terms of a residual sum must be permuted alike. A concatenation joins the
permutations of its terms. :func:`permutation_spec` finds these permutations by following the channels through
a network once. Transformers define theirs themselves.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from explorer.models.rows import NORMS
from explorer.models.symmetries import Segment, Segments, Site, Spec

# Layers and functions that treat every channel separately and in the same way, in lower case and without "_".
ACTIVATIONS = "relu", "relu6", "leakyrelu", "gelu", "tanh", "sigmoid", "silu", "elu", "softplus", "hardtanh"
DROPOUTS = "identity", "dropout", "dropout1d", "dropout2d"
POOLS = "maxpool1d", "maxpool2d", "avgpool1d", "avgpool2d", "booleandispatch", "mean", "amax"
ADAPTIVE_POOLS = "adaptiveavgpool1d", "adaptiveavgpool2d", "adaptivemaxpool1d", "adaptivemaxpool2d"
SHAPES = "flatten", "unflatten", "view", "reshape", "squeeze", "contiguous"
KEEPING = {*ACTIVATIONS, *DROPOUTS, *POOLS, *ADAPTIVE_POOLS, *SHAPES}
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
ADDING = (operator.add, operator.iadd, torch.add)


def permutation_spec(module: nn.Module, x: Tensor) -> Spec:
    """Return the permutations that leave the function of ``module`` unchanged.

    A module with a method ``symmetries()`` defines them itself, as the Transformers of this package do. For
    other modules, this function supports linear layers, convolutions (plain and depthwise), BatchNorm,
    pooling, activations, flattening, residual sums and concatenations, as in multi-layer perceptrons, VGG,
    ResNet and DenseNet.

    Args:
        x: a few inputs (batch, *shape), used to follow shapes.

    Raises:
        ValueError: the network cannot be traced, or has an operation that is not supported; the message names
            it. Or the result of ``symmetries()`` does not fit the parameters.
    """
    if hasattr(module, "symmetries"):
        symmetric: Any = module
        return _checked(symmetric.symmetries(), module)
    for name, layer in module.named_modules():
        if "attention" in type(layer).__name__.lower():
            raise ValueError(
                f"it is unknown how attention ({name!r}, {type(layer).__name__}) may be permuted; give a "
                "Spec of your own, or give the network a method symmetries() that returns it"
            )
    module = module.eval()
    try:
        trace = fx.symbolic_trace(module)
    except Exception as error:
        raise ValueError(
            f"the network's forward cannot be traced ({error}); give a Spec of your own"
        ) from error
    return _Follower(trace).follow(x[:2])


def _checked(spec: Spec, module: nn.Module) -> Spec:
    """Return the spec; raise ValueError if it is inconsistent or does not fit the module's parameters."""
    for name, value in [*module.named_parameters(), *module.named_buffers()]:
        axes = spec.axes.get(name)
        if axes is None:
            continue
        lengths = [None if axis is None else sum(b.size * b.repeat for b in axis) for axis in axes]
        shape = [n if length is None else length for length, n in zip(lengths, value.shape, strict=False)]
        if shape != [*value.shape]:
            raise ValueError(
                f"symmetries() says that {name!r} has axes of {lengths}; its shape is {tuple(value.shape)}"
            )
    for block in (b for axes in spec.axes.values() for axis in axes for b in axis or ()):
        if block.group is not None and spec.groups.get(block.group) != block.size:
            raise ValueError(
                f"symmetries() has {block.size} channels of group {block.group} on an axis; "
                f"the group has {spec.groups.get(block.group)}"
            )
    for heads in spec.heads:
        sizes = [spec.groups.get(group, 0) for group in heads.groups]
        if heads.count < 1 or any(size < 1 or size % heads.count for size in sizes):
            raise ValueError(f"symmetries() has {heads.count} heads in groups of {sizes} channels")
    return spec


def segments(axis: Segments) -> Iterator[tuple[Segment, int]]:
    """Yield the blocks of an axis, each with the index at which it starts."""
    start = 0
    for block in axis:
        yield block, start
        start += block.size * block.repeat


def _keeps_channels(name: str) -> bool:
    return name.lower().replace("_", "") in KEEPING


class _Follower(fx.Interpreter):
    """An interpreter that runs a network node by node and records the channels (dimension 1) of each output.

    Groups that turn out to be the same are merged (``_find``). Group 0 means "not permuted".
    """

    def __init__(self, trace: fx.GraphModule):
        super().__init__(trace, garbage_collect_values=False)
        self.extra_traceback = False
        self.trace = trace
        self.channels: dict[fx.Node, Segments | None] = {}
        self.axes: dict[str, list[Segments | None]] = {}
        self.parent, self.size = [0], [0]
        self.inputs: dict[fx.Node, str] = {}  # inputs of layers that mix channels, and the first such layer

    @torch.no_grad()
    def follow(self, x: Tensor) -> Spec:
        self.run(x)
        groups = {g: self.size[g] for g in range(1, len(self.parent)) if self._find(g) == g}
        axes = {
            name: tuple(None if a is None else self._final(a) for a in axes)
            for name, axes in self.axes.items()
        }
        sites: dict[int, list[Site]] = {g: [] for g in groups}
        for node, layer in self.inputs.items():
            for block, start in segments(self._final(self.channels[node] or ())):
                site = Site(layer, start, block.size * block.repeat)
                # A layer that is used twice has the same site twice.
                if block.group is not None and site not in sites[block.group]:
                    sites[block.group].append(site)
        return Spec(axes, groups, sites)

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "output":
            for node in n.all_input_nodes:
                self._pin(self.channels[node])
        elif isinstance(value, Tensor):
            self.channels[n] = self._channels(n, value)
        else:  # several tensors, as of chunk or split: which channels each has is not followed
            for node in n.all_input_nodes:
                self._pin(self.channels.get(node))
        return value

    def _channels(self, node: fx.Node, value: Tensor) -> Segments | None:
        before = [self.channels[n] for n in node.all_input_nodes if n in self.channels]
        if node.op in ("placeholder", "get_attr"):
            return None
        if node.op == "call_module":
            name = str(node.target)
            return self._layer(node, name, self.trace.get_submodule(name), before[0], value)
        if node.op == "call_function" and node.target in ADDING:
            for axis in before[1:]:  # the terms of a sum must be permuted alike
                self._merge(before[0], axis)
            return before[0]
        if node.op == "call_function" and node.target in (torch.cat, torch.concat):
            return self._joined(node)
        name = getattr(node.target, "__name__", str(node.target))
        if all(axis is None for axis in before):
            return None
        if _keeps_channels(name):
            return self._kept(node, before[0], value)
        raise ValueError(f"the effect of {name!r} on channels is unknown; give a Spec of your own")

    def _layer(
        self, node: fx.Node, name: str, layer: nn.Module, before: Segments | None, value: Tensor
    ) -> Segments | None:
        if isinstance(layer, nn.Linear):
            if value.dim() != 2 and before is not None:
                raise ValueError(
                    f"the linear layer {name!r} has {value.dim()} dimensions; only 2 are supported"
                )
            return self._new(node, name, layer, before, layer.out_features, 0)
        if isinstance(layer, CONVOLUTIONS):
            if layer.groups == 1:
                return self._new(node, name, layer, before, layer.out_channels, layer.weight.dim() - 2)
            if before is None or layer.groups == layer.in_channels == layer.out_channels:
                self._note(name, layer, [before] + [None] * (layer.weight.dim() - 1), [before])
                return before
            raise ValueError(f"the grouped convolution {name!r} is not supported; give a Spec of your own")
        if isinstance(layer, NORMS) or (
            isinstance(layer, nn.GroupNorm) and layer.num_groups in (1, layer.num_channels)
        ):
            for piece in ("weight", "bias", "running_mean", "running_var"):
                if getattr(layer, piece, None) is not None:
                    self._register(f"{name}.{piece}", [before])
            return before
        if before is None or _keeps_channels(type(layer).__name__):
            return self._kept(node, before, value)
        raise ValueError(
            f"the effect of the layer {name!r} ({type(layer).__name__}) on channels is unknown; "
            "give a Spec of your own"
        )

    def _new(
        self, node: fx.Node, name: str, layer: Any, before: Segments | None, size: int, kernel: int
    ) -> Segments:
        """Add a layer that mixes its inputs; its outputs are a new group."""
        for entering in node.all_input_nodes:
            self.inputs.setdefault(entering, name)
        self.parent.append(len(self.parent))
        self.size.append(size)
        axis = (Segment(len(self.parent) - 1, size),)
        self._note(name, layer, [axis, before] + [None] * kernel, [axis])
        return self._final(self.axes[f"{name}.weight"][0] or ())

    def _note(
        self, name: str, layer: Any, weight: list[Segments | None], bias: list[Segments | None]
    ) -> None:
        self._register(f"{name}.weight", weight)
        if layer.bias is not None:
            self._register(f"{name}.bias", bias)

    def _register(self, name: str, axes: list[Segments | None]) -> None:
        """Record the axes of a parameter; if a layer is used twice, merge the groups of both uses."""
        for old, new in zip(self.axes.get(name, axes), axes, strict=True):
            self._merge(old, new)
        self.axes.setdefault(name, axes)

    def _kept(self, node: fx.Node, before: Segments | None, value: Tensor) -> Segments | None:
        """Return channels that pass through, or that are flattened with the dimensions after them."""
        if before is None:
            return None
        length = sum(b.size * b.repeat for b in before)
        if value.dim() >= 2 and value.shape[1] % length == 0:
            times = value.shape[1] // length
            return tuple(Segment(b.group, b.size, b.repeat * times) for b in before)
        raise ValueError(f"{node.format_node()}: {length} channels became the shape {tuple(value.shape)}")

    def _joined(self, node: fx.Node) -> Segments | None:
        """Return the channels of a concatenation along the channels."""
        terms, place = node.args[0], node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        if place != 1:
            raise ValueError(f"{node.format_node()}: only a concatenation of channels (dim=1) is supported")
        blocks: list[Segment] = []
        for term in terms:  # pyright: ignore[reportGeneralTypeIssues, reportOptionalIterable]
            axis = self.channels[term]  # pyright: ignore[reportArgumentType]
            blocks += axis if axis is not None else (Segment(None, self.env[term].shape[1]),)
        return tuple(blocks)

    def _merge(self, one: Segments | None, other: Segments | None) -> None:
        if one is None or other is None:
            self._pin(one)
            self._pin(other)
            return
        if [(b.size, b.repeat) for b in one] != [(b.size, b.repeat) for b in other]:
            raise ValueError("a sum of channels that are grouped differently is not supported")
        for left, right in zip(one, other, strict=True):
            low, high = sorted((self._find(left.group or 0), self._find(right.group or 0)))
            self.parent[high] = low

    def _pin(self, axis: Segments | None) -> None:
        for block in axis or ():
            self.parent[self._find(block.group or 0)] = 0

    def _find(self, group: int) -> int:
        while self.parent[group] != group:
            group = self.parent[group]
        return group

    def _final(self, axis: Segments) -> Segments:
        return tuple(Segment(self._find(b.group or 0) or None, b.size, b.repeat) for b in axis)
