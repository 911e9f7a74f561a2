"""JSON Schema of a space file, for editors (``explorer spaces --schema``)."""

from __future__ import annotations

from typing import Any

import explorer.measures
from explorer.settings import plugin
from explorer.space.model import PACKAGES, CheckedSpace, GeometricRange, Log2Range, module_of


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a space file."""
    schema = CheckedSpace.model_json_schema(by_alias=True)
    schema["title"] = "Space"  # as users know it
    del schema["properties"]["imported"], schema["$defs"]["ImportedCell"]  # not for space files
    axis = {
        "anyOf": [
            {"type": "array", "minItems": 1},
            Log2Range.model_json_schema(),
            GeometricRange.model_json_schema(),
        ]
    }
    for kind in ("load", "temperature"):
        schema["properties"][kind]["additionalProperties"] = axis
    for section, (package, _) in PACKAGES.items():
        options = []
        for name in package.NAMES:
            one = module_of(section, name).Options.model_json_schema()
            one["properties"]["name"] = {"const": name}
            one["required"] = ["name", *one.get("required", [])]
            options.append(one)
        if section == "model":
            options.append(
                {
                    "type": "object",
                    "properties": {"name": {"type": "string", "pattern": "^[\\w.]+:\\w+$"}},
                    "required": ["name"],
                }
            )
        schema["properties"][section] = {"anyOf": [{"enum": list(package.NAMES)}, *options]}
    measures = {}
    for name in explorer.measures.NAMES:
        one = plugin(explorer.measures, name, "measure").Options.model_json_schema()
        schema["$defs"] |= one.pop("$defs", {})  # its references are relative to the whole schema
        measures[name] = {"anyOf": [{"type": "null"}, one]}
    schema["properties"]["measures"] = {
        "type": "object",
        "additionalProperties": False,
        "properties": measures,
        "patternProperties": {"^[\\w.]+:\\w+$": {"type": ["object", "null"]}},
    }
    schema["required"] = [r for r in schema["required"] if r != "measures"]
    return schema
