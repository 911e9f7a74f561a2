"""YAML 1.2 of plain data, which may come from untrusted sources: space files and the files of run folders."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

MOST_BYTES = 10_000_000  # more takes minutes to read
DEEPEST = 100  # levels of lists and mappings
FLOAT = Tag(suffix="tag:yaml.org,2002:float")
# Plain words that ruamel.yaml takes for a text, or for a number, and YAML 1.2 does not.
NUMBER = re.compile(r"[-+]?\.[0-9]+[eE][0-9]+")
NO_NUMBER = re.compile(r"[-+]?(0[box]|\.)?_+")
# Truth values of YAML 1.1 that are texts in YAML 1.2.
WORD = re.compile("yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF")


class NotPlain(ValueError):
    """Content that is not YAML of plain data. ``line`` counts from 1, and is 0 if unknown."""

    def __init__(self, problem: str, line: int = 0):
        super().__init__(f"line {line}: {problem}" if line else problem)
        self.problem, self.line = problem, line


class _Composer(Composer):
    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        line = event.start_mark.line + 1
        # Nested aliases in a few lines can expand to more than fits into memory.
        if isinstance(event, AliasEvent):
            raise NotPlain("aliases (*name) are not allowed; write the value out", line)
        if event.ctag is not None:
            raise NotPlain("tags such as !!int are not allowed; write a plain number or text", line)
        if self.depth >= DEEPEST:
            raise NotPlain(f"nested more than {DEEPEST} levels deep", line)
        return super().compose_node(parent, index)


class _Resolver(VersionedResolver):
    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.older = VersionedResolver(version=(1, 1))

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode and implicit[0] and NUMBER.fullmatch(value):
            return FLOAT
        if kind is ScalarNode and NO_NUMBER.fullmatch(value):
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)


class _ResolverOfRuns(_Resolver):
    """A resolver that reads what older versions of Explorer wrote in YAML 1.1, where 08 is a text."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        tag = super().resolve(kind, value, implicit)
        if kind is not ScalarNode or tag is FLOAT or tag is self.DEFAULT_SCALAR_TAG:
            return tag
        return self.DEFAULT_SCALAR_TAG if "_" in value else self.older.resolve(kind, value, implicit)


class _ResolverOfDump(_Resolver):
    """A resolver with which texts are quoted if YAML 1.2 or 1.1 would read something else."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        tag = super().resolve(kind, value, implicit)
        return self.older.resolve(kind, value, implicit) if tag is self.DEFAULT_SCALAR_TAG else tag


class _Representer(SafeRepresenter):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_float(self, data: Any) -> Any:
        node = super().represent_float(data)
        if "." not in node.value:  # 1e-05 is a text in YAML 1.1
            node.value = node.value.replace("e", ".0e")
        return node


_Representer.add_representer(float, _Representer.represent_float)


def _yaml(resolver: type[VersionedResolver]) -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer, yaml.Representer, yaml.Resolver = _Composer, _Representer, resolver
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    return yaml


def dump(value: Any) -> bytes:
    """Return plain data as YAML in UTF-8, without aliases. Readers of YAML 1.1 read the same."""
    content = io.BytesIO()
    _yaml(_ResolverOfDump).dump(value, content)
    return content.getvalue()


def load(content: bytes) -> Any:
    """Return the plain data of a file of a run folder.

    Raises:
        ValueError: the content is not valid YAML of plain data, has aliases, or is too large.
    """
    if len(content) > MOST_BYTES:
        raise ValueError(f"it has {len(content):,} bytes; at most {MOST_BYTES:,} are allowed")
    try:
        return _yaml(_ResolverOfRuns).load(content)
    except (YAMLError, ValueError, RecursionError) as error:
        _raise(error)


def parse(text: str) -> tuple[Any, Node | None, list[tuple[int, str]]]:
    """Return plain data that a person wrote, their nodes, and the line and message of each mistake.

    Mistakes are repeated keys, and words that may be truth values. They are texts in the data.

    Raises:
        NotPlain: the text is not valid YAML of plain data, or has aliases.
    """
    yaml = _yaml(_Resolver)
    yaml.allow_duplicate_keys = True
    try:
        node = yaml.compose(text)
        mistakes = list(_mistakes(node))
        return (yaml.constructor.construct_document(node) if node else None), node, mistakes
    except (YAMLError, ValueError, RecursionError) as error:
        _raise(error)


def _raise(error: Exception) -> NoReturn:
    if isinstance(error, NotPlain):
        raise error
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or error
    raise NotPlain(f"not valid YAML: {problem}", mark.line + 1 if mark else 0) from error


def _mistakes(node: Node | None) -> Iterator[tuple[int, str]]:
    if isinstance(node, MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise NotPlain("not valid YAML: a key must be a plain word", line)
            if key.value in seen:
                yield line, f"{key.value!r} is already defined in line {seen[key.value]}"
            seen[key.value] = line
            yield from _mistakes(value)
    elif isinstance(node, SequenceNode):
        for value in node.value:
            yield from _mistakes(value)
    elif isinstance(node, ScalarNode) and not node.style and WORD.fullmatch(node.value):
        line, word = node.start_mark.line + 1, node.value
        yield line, f"{word} may be a truth value or a text; write true or false, or put it in quotes"
