"""Safe YAML of plain data for run folders, which may come from untrusted sources."""

from __future__ import annotations

import re
from typing import Any

import yaml

FLOAT = "tag:yaml.org,2002:float"
# YAML 1.1, which PyYAML reads, takes 1e-5 for text, since it has no point. YAML 1.2 takes it for a number.
EXPONENT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$")


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        # Nested aliases in a few lines can expand to more than fits into memory.
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed")
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver(FLOAT, EXPONENT, list("-+.0123456789"))


def dump(value: Any) -> bytes:
    """Return plain data as YAML in UTF-8, without aliases."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True).encode()


def load(content: bytes) -> Any:
    """Return the plain data of YAML content.

    Raises:
        ValueError: the content is not valid YAML of plain data, or has aliases.
    """
    try:
        return yaml.load(content, Loader=_Loader)  # a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"it is not valid YAML{line}: {problem or error}") from error
