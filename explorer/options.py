"""Base class of all user settings, with checked values and known names."""

from __future__ import annotations

import json
import math
import os
import typing
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from explorer.settings import shown

LARGEST = 10**15  # arithmetic with larger numbers overflows or is not exact


class Options(BaseModel):
    """Base class of all settings. Unknown keys are errors, and values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _prepare(cls, value: Any, info: ValidationInfo) -> Any:
        """Reject booleans for numeric settings, which Python takes for 0 and 1, and huge numbers.

        Resolve ``~`` in paths.
        """
        if isinstance(value, str) and value.startswith("~") and str(info.field_name).endswith("path"):
            return os.path.expanduser(value)
        if isinstance(value, int | float) and math.inf > abs(value) > LARGEST:
            raise ValueError(f"{shown(value)} is out of range; numbers are between -1e15 and 1e15")
        if not isinstance(value, bool | list):  # fast path: this runs for every setting of every cell
            return value
        flags = [v for v in (value if isinstance(value, list) else [value]) if isinstance(v, bool)]
        if flags and _numeric(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError(f"{json.dumps(flags[0])} is not allowed; it should be a number")
        return value


def _numeric(annotation: Any) -> bool:
    """Return whether a type allows numbers but no booleans: ``int``, ``list[float]``, ``int | None``, …"""
    parts, types = [annotation], set()
    while parts:
        part = parts.pop()
        types.add(part)
        parts += typing.get_args(part)
    return bool({int, float} & types) and bool not in types
