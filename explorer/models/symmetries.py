"""Description of the parameter axes that can be permuted together without changing a network's function.

:func:`explorer.landscape.permutations.permutation_spec` finds them for most networks. Other networks define
them by a method ``symmetries()`` that returns a :class:`Spec`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Segment:
    """A segment of an axis: ``size`` channels of one ``group``, each ``repeat`` numbers after flattening.

    ``group`` None is a segment that is never permuted: inputs of the network, and classes.
    """

    group: int | None
    size: int
    repeat: int = 1


Segments = tuple[Segment, ...]


@dataclass(frozen=True)
class Site:
    """A position at which activations of a group are read: input or output of the named ``module``.

    The activations are ``length`` numbers from ``start`` on, along dimension ``dim``. Dimension 0 is the
    inputs.
    """

    module: str
    start: int
    length: int
    side: Literal["input", "output"] = "input"
    dim: int = 1


@dataclass(frozen=True)
class JointGroups:
    """Groups whose channels come in ``count`` heads of equal size.

    Whole heads are permuted in the same way in all ``groups``. Channels are permuted within their head,
    separately in each group.
    """

    count: int
    groups: tuple[int, ...]


@dataclass(frozen=True)
class Spec:
    """Axes of each parameter and buffer by name, and the number of channels of each group.

    A name that is not in ``axes`` is never permuted. Channels of a group can be permuted freely, except
    within ``heads``. Only matching by activations needs ``sites``, at least one per group.
    """

    axes: dict[str, tuple[Segments | None, ...]]
    groups: dict[int, int]
    sites: dict[int, list[Site]] = field(default_factory=dict)
    heads: tuple[JointGroups, ...] = ()

    def matched_groups(self) -> list[JointGroups]:
        """Return what is matched at once: each group, with the groups of the same heads together."""
        joint = {group: heads for heads in self.heads for group in heads.groups}
        return list(dict.fromkeys(joint.get(group, JointGroups(1, (group,))) for group in self.groups))


class Symmetries:
    """A builder of a :class:`Spec`. An axis that is None is never permuted."""

    def __init__(self) -> None:
        self.axes: dict[str, tuple[Segments | None, ...]] = {}
        self.groups: dict[int, int] = {}
        self.sites: dict[int, list[Site]] = {}
        self.joint: list[JointGroups] = []

    def spec(self) -> Spec:
        return Spec(self.axes, self.groups, self.sites, tuple(self.joint))

    def group(self, size: int) -> Segments:
        """Return the axis of a new group of ``size`` channels."""
        number = len(self.groups) + 1
        self.groups[number], self.sites[number] = size, []
        return (Segment(number, size),)

    def heads(self, width: int, count: int) -> tuple[Segments, Segments]:
        """Return the axes (width,) of ``count`` attention heads: of queries and keys, and of values."""
        look, carry = self.group(width), self.group(width)
        self.joint.append(JointGroups(count, tuple(segment.group or 0 for segment in look + carry)))
        return look, carry

    def linear(self, name: str, inputs: Segments | None, outputs: Segments | None) -> None:
        """Add a linear map of the last dimension; its inputs become a site."""
        self.axes |= {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}
        self._read(name, inputs or (), "input")

    def norm(self, name: str, channels: Segments | None) -> None:
        """Add a LayerNorm of the last dimension."""
        self.axes |= {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}

    def self_attention(self, name: str, stream: Segments | None, *, width: int, heads: int) -> None:
        """Add self-attention on ``stream``, with the maps ``queries_keys_values`` and ``project``.

        Scores are products of queries and keys, so both are permuted in the same way. Outputs are sums of
        values.
        """
        look, carry = self.heads(width, heads)
        self.linear(f"{name}.queries_keys_values", stream, look + look + carry)
        self._read(f"{name}.queries_keys_values", look + look, "output")
        self.linear(f"{name}.project", carry, stream)

    def cross_attention(self, name: str, stream: Segments | None, *, width: int, heads: int) -> None:
        """Add attention from ``stream`` to another sequence, which is never permuted.

        Its maps are ``queries``, ``keys_values`` and ``project``.
        """
        look, carry = self.heads(width, heads)
        self.linear(f"{name}.queries", stream, look)
        self.linear(f"{name}.keys_values", None, look + carry)
        for maps in ("queries", "keys_values"):
            self._read(f"{name}.{maps}", look, "output")
        self.linear(f"{name}.project", carry, stream)

    def perceptron(self, first: str, last: str, stream: Segments | None, *, hidden: int) -> None:
        """Add two linear maps with ``hidden`` units between them, from ``stream`` to ``stream``."""
        units = self.group(hidden)
        self.linear(first, stream, units)
        self.linear(last, units, stream)

    def _read(self, name: str, axis: Iterable[Segment], side: Literal["input", "output"]) -> None:
        start = 0
        for segment in axis:
            length = segment.size * segment.repeat
            if segment.group is not None:
                self.sites[segment.group].append(Site(name, start, length, side, dim=-1))
            start += length
