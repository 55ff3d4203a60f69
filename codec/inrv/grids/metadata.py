"""Typed metadata values, as OpenVDB stores them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

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
        if isinstance(found, str):
            return MetaValue("string", check_text(found, "metadata"))
        if isinstance(found, (bool, int, float)):
            return MetaValue(_type_of(found), found)
        try:
            numbers = as_array(found, "metadata")
        except OptionError:
            numbers = np.empty(0)
        listed, whole = numbers.tolist(), numbers.dtype.kind != "f"
        if numbers.shape not in ((2,), (3,), (4,)) or (whole and not all(map(_is_int32, listed))):
            raise OptionError(
                f"metadata {value!r} is no bool, number, text or vector of 2 to 4 numbers, whole "
                "ones of 32 bits: give it as a MetaValue"
            )
        return MetaValue(f"vec{len(listed)}{'i' if whole else 'd'}", tuple(listed))


def _type_of(value: bool | int | float) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return "double"
    if not -(1 << 63) <= value < 1 << 63:
        raise OptionError(f"metadata {value} has more than 64 bits: give it as a float or a text")
    return "int32" if _is_int32(value) else "int64"


def _is_int32(value: int) -> bool:
    return -(1 << 31) <= value < 1 << 31


Metadata = dict[str, MetaValue]


def metadata_of(given: Any, owner: str) -> Metadata:
    """Make metadata of values by name.

    given: a mapping of names to what `MetaValue.of` takes
    owner: what the metadata is of, as messages begin

    Raises OptionError for anything else.
    """
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise OptionError(f"{owner}: metadata is of type {kind}: give values by name")
    found: Metadata = {}
    for name, value in given.items():
        check_text(name, f"{owner}: a name of metadata")
        try:
            found[name] = MetaValue.of(value)
        except OptionError as error:
            raise OptionError(f"{owner}: {name!r}: {error}") from error
    return found


def check_text(text: Any, what: str) -> str:
    """Give a text that a file can hold.

    what: what the text is, as messages begin

    Raises OptionError where it is no text, or holds lone surrogates other than those that stand for
    bytes that are not UTF-8.
    """
    if not isinstance(text, str):
        raise OptionError(f"{what} is {text!r}: it must be a text")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise OptionError(f"{what} is {text!r}, which no file can hold: {error.reason}") from error
    return str(text)
