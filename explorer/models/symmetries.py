"""Which axes of which parameters may be permuted together without changing a network's function.

:func:`explorer.landscape.permutations.permutation_spec` finds them for most networks. A network whose
pieces it does not know says them itself, by a method ``symmetries()`` that returns a :class:`Spec`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Block:
    """A stretch of an axis: ``size`` channels of one ``group``, each ``repeat`` numbers long once flattened.

    ``group`` None is a stretch that stays as it is: inputs of the network, and classes.
    """

    group: int | None
    size: int
    repeat: int = 1


Axis = tuple[Block, ...]


@dataclass(frozen=True)
class Site:
    """Where activations of a group are read: at the input or output of a ``module``, by its name.

    They are ``length`` numbers from ``start`` on of dimension ``dim``; dimension 0 is the network's inputs.
    """

    module: str
    start: int
    length: int
    side: Literal["input", "output"] = "input"
    dim: int = 1


@dataclass(frozen=True)
class Heads:
    """Groups whose channels come in ``count`` heads of equal size.

    Heads are permuted as a whole, in all ``groups`` alike, and channels within their head, in each group on
    its own.
    """

    count: int
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Spec:
    """Axes of each parameter and buffer by name, and the number of channels of each group.

    A name that is not in ``axes`` is never permuted. Channels of a group have no order, but for those of
    ``heads``. Only the matching of activations needs ``sites``, at least one a group.
    """

    axes: dict[str, tuple[Axis | None, ...]]
    groups: dict[int, int]
    sites: dict[int, list[Site]] = field(default_factory=dict)
    heads: tuple[Heads, ...] = ()

    def turns(self) -> list[Heads]:
        """What is matched at once: each group, and the groups of heads together."""
        joint = {group: heads for heads in self.heads for group in heads.groups}
        return list(dict.fromkeys(joint.get(group, Heads(1, (group,))) for group in self.groups))


class Symmetries:
    """A :class:`Spec` in the making. An axis that is None stays as it is."""

    def __init__(self) -> None:
        self.axes: dict[str, tuple[Axis | None, ...]] = {}
        self.groups: dict[int, int] = {}
        self.sites: dict[int, list[Site]] = {}
        self.joint: list[Heads] = []

    def spec(self) -> Spec:
        return Spec(self.axes, self.groups, self.sites, tuple(self.joint))

    def group(self, size: int) -> Axis:
        """The axis of a new group of so many channels."""
        number = len(self.groups) + 1
        self.groups[number], self.sites[number] = size, []
        return (Block(number, size),)

    def heads(self, width: int, count: int) -> tuple[Axis, Axis]:
        """Axes (width,) of an attention of ``count`` heads: of its queries and keys, and of its values."""
        look, carry = self.group(width), self.group(width)
        self.joint.append(Heads(count, tuple(block.group or 0 for block in look + carry)))
        return look, carry

    def linear(self, name: str, inputs: Axis | None, outputs: Axis | None) -> None:
        """A linear map of the last dimension. What enters it is a site of its inputs."""
        self.axes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
        self._read(name, inputs or (), "input")

    def norm(self, name: str, channels: Axis | None) -> None:
        """A LayerNorm of the last dimension."""
        self.axes |= {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}

    def self_attention(self, name: str, stream: Axis | None, *, width: int, heads: int) -> None:
        """Attention with the maps ``queries_keys_values`` and ``project``, from ``stream`` to ``stream``.

        Scores are products of queries and keys, so both are permuted alike; outputs are sums of values.
        """
        look, carry = self.heads(width, heads)
        self.linear(f"{name}.queries_keys_values", stream, look + look + carry)
        self._read(f"{name}.queries_keys_values", look + look, "output")
        self.linear(f"{name}.project", carry, stream)

    def cross_attention(self, name: str, stream: Axis | None, *, width: int, heads: int) -> None:
        """Attention from ``stream`` to another sequence, which stays as it is.

        Its maps are ``queries``, ``keys_values`` and ``project``.
        """
        look, carry = self.heads(width, heads)
        self.linear(f"{name}.queries", stream, look)
        self.linear(f"{name}.keys_values", None, look + carry)
        for maps in ("queries", "keys_values"):
            self._read(f"{name}.{maps}", look, "output")
        self.linear(f"{name}.project", carry, stream)

    def perceptron(self, first: str, last: str, stream: Axis | None, *, hidden: int) -> None:
        """Two linear maps with ``hidden`` units between them, from ``stream`` to ``stream``."""
        units = self.group(hidden)
        self.linear(first, stream, units)
        self.linear(last, units, stream)

    def _read(self, name: str, axis: Iterable[Block], side: Literal["input", "output"]) -> None:
        start = 0
        for block in axis:
            length = block.size * block.repeat
            if block.group is not None:
                self.sites[block.group].append(Site(name, start, length, side, dim=-1))
            start += length
