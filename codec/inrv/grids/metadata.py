"""Typed metadata values, as OpenVDB stores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Scalar = bool | int | float | str
Value = Scalar | tuple[Any, ...] | bytes


@dataclass(frozen=True)
class MetaValue:
    """One metadata entry: OpenVDB's type name ('string', 'float', 'vec3i', ...) and the value.

    Vectors and matrices are flat tuples; types inrv does not know keep their raw bytes.
    """

    type: str
    value: Value


Metadata = dict[str, MetaValue]
