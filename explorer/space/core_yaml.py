"""YAML as people write it: numbers and truth values by the core schema of YAML 1.2.

PyYAML reads YAML 1.1, in which 012 is ten, 1:30 is ninety, and 1e-5 is a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

TAG = "tag:yaml.org,2002:"
WORD = "!word"  # tag of a word that is a truth value in YAML 1.1 and a text in YAML 1.2
# The tag, the form and the first letters of each kind of value. Numbers may also have _ between digits.
KINDS = [
    (f"{TAG}bool", "true|True|TRUE|false|False|FALSE", "tTfF"),
    (f"{TAG}int", "[-+]?[0-9][0-9_]*|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        f"{TAG}float",
        r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    (WORD, "yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF", "yYnNoO"),
]


class Loader(yaml.SafeLoader):
    """Loader of plain data. A word such as ``yes`` is a text; see :func:`problems_in`."""


def _whole_number(loader: Loader, node: yaml.ScalarNode) -> int:
    text = node.value.replace("_", "")
    return int(text, 0 if text[:2] in ("0o", "0x") else 10)


_replaced = {tag for tag, _, _ in KINDS}
Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in known if tag not in _replaced]
    for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _tag, _form, _first in KINDS:
    Loader.add_implicit_resolver(_tag, re.compile(f"(?:{_form})$"), list(_first))
Loader.add_constructor(f"{TAG}int", _whole_number)
Loader.add_constructor(WORD, lambda loader, node: node.value)


def compose(text: str) -> yaml.Node | None:
    """Return the nodes of a text.

    Raises:
        yaml.YAMLError: it is not valid YAML.
    """
    return yaml.compose(text, Loader=Loader)


def load(text: str) -> Any:
    """Return the plain data of a text.

    Raises:
        yaml.YAMLError: it is not valid YAML.
    """
    return yaml.load(text, Loader=Loader)  # a SafeLoader


def problems_in(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Yield the line and message of each repeated key, and of each word that may be a truth value.

    Raises:
        yaml.YAMLError: a key is a list or a mapping.
    """
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                said = "a key must be a plain word"
                raise yaml.MarkedYAMLError(problem=said, problem_mark=key.start_mark)
            if key.value in seen:
                yield line, f"{key.value!r} is already defined in line {seen[key.value]}"
            seen[key.value] = line
            yield from problems_in(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from problems_in(value)
    elif isinstance(node, yaml.ScalarNode) and node.tag == WORD:
        line, text = node.start_mark.line + 1, node.value
        yield line, f"{text} may be a truth value or a text; write true or false, or put it in quotes"
