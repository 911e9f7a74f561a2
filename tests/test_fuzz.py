"""Any space file gives a plan or one clear error, never a traceback."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import yaml
from conftest import TINY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from explorer.plan import plan
from explorer.settings import InputError
from explorer.space import reading
from explorer.space.reading import parse

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        ["digits", "mlp", "auto", "all", "width", "batch_size", "../x", "os:system", "cosine", "a:b:c"]
    ),
)
KEYS = ["name", "log2", "geom", "n", "ge", "in", "width", "along", "count", "x"]
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    ),
    max_leaves=6,
)


def paths(node: Any, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [prefix] if prefix else []
    if isinstance(node, dict):
        for key, value in node.items():
            found += paths(value, (*prefix, key))
    return found


EVERY = [
    *paths(TINY),
    ("skip",),
    ("phases",),
    ("resources",),
    ("training", "early_stop"),
    ("measures", "connectivity", "pairs"),
]


def changed(raw: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        if not isinstance(raw.get(key), dict):
            raw[key] = {}
        raw = raw[key]
    raw[path[-1]] = value


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from(EVERY), VALUES), min_size=1, max_size=3))
def test_changed_spaces(changes: list[tuple[tuple[str, ...], Any]]) -> None:
    raw = copy.deepcopy(TINY)
    for path, value in changes:
        changed(raw, path, value)
    try:
        space = parse(raw)
    except InputError as wrong:
        message = str(wrong)
    else:
        message = ""
    if message:
        return
    counts = plan.count(space)
    assert counts["models"] >= 1
    assert parse(yaml.safe_load(yaml.safe_dump(space.to_dict()))).to_dict() == space.to_dict()


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=200), VALUES.map(yaml.safe_dump), st.binary(max_size=60)))
def test_any_file(content: str | bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "space.yaml"
        file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
        try:
            reading.read(file)
        except InputError as wrong:
            message = str(wrong)
        else:
            return
        assert str(file) in message
