"""Typed metadata values, as OpenVDB stores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inrv.errors import OptionError
from inrv.support.arrays import as_array, plain

Scalar = bool | int | float | str
Value = Scalar | tuple[Any, ...] | bytes


@dataclass(frozen=True)
class MetaValue:
    """One metadata entry.

    type: OpenVDB's name of the type: 'string', 'float', 'vec3i' and so on
    value: vectors and matrices are flat tuples; types that inrv does not know keep their raw bytes
    """

    type: str
    value: Value

    @staticmethod
    def of(value: Any) -> MetaValue:
        """Make an entry of a bool, int, float or text, or of 2 to 4 numbers.

        value: Python's or NumPy's, or an entry, which is given back
        Whole numbers become int32 or, beyond it, int64, others double. Raises OptionError for
        anything else.
        """
        found = plain(value)
        if isinstance(found, MetaValue):
            return found
        if isinstance(found, (bool, int, float, str)):
            return MetaValue(_type_of(found), found)
        numbers = as_array(found, "metadata")
        if numbers.shape not in ((2,), (3,), (4,)):
            raise OptionError(
                f"metadata {value!r} is no bool, number, text or vector of 2 to 4 numbers: "
                "give it as a MetaValue"
            )
        return MetaValue(
            f"vec{len(numbers)}{'d' if numbers.dtype.kind == 'f' else 'i'}", tuple(numbers.tolist())
        )


def _type_of(value: bool | int | float | str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return "int32" if -(1 << 31) <= value < 1 << 31 else "int64"
    return {bool: "bool", float: "double", str: "string"}[type(value)]


Metadata = dict[str, MetaValue]
