"""JSON from a stranger: parsed under bounds, then read value by value with errors that name the place."""

from __future__ import annotations

import base64
import binascii
import json
import math
import reprlib
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from inrv.errors import FormatError

DEEPEST = 32
LONGEST_NUMBER = 64  # characters; a double needs at most 24, an int64 20
LONGEST_KEY = 80  # characters of a key in a message
LARGEST_SINGLE = 3.4028234663852886e38

T = TypeVar("T")


def parse_json(data: bytes, what: str) -> Any:
    """Strict JSON: UTF-8, no key twice, no NaN or infinity, at most 32 levels deep. Raises FormatError about `what`."""
    try:
        parsed = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constants,
            parse_float=_finite,
            parse_int=_short,
        )
        _check_tree(parsed)
    except FormatError as error:
        raise FormatError(error.id, f"{what} is not valid JSON: {error.message}") from error
    except RecursionError as error:
        raise FormatError("M4", f"{what} is not valid JSON: it is nested too deep") from error
    except (ValueError, MemoryError) as error:
        raise FormatError("M1", f"{what} is not valid JSON: {error}") from error
    return parsed


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise FormatError("M2", f"an object holds the key {reprlib.repr(key)} twice")
    return result


def _no_constants(name: str) -> Any:
    raise FormatError("M3", f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text) if len(text) <= LONGEST_NUMBER else math.inf
    if not math.isfinite(number):
        raise FormatError("M3", f"the number {text[:LONGEST_NUMBER]} is too large or too long")
    return number


def _short(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise FormatError("M3", f"the number {text[:LONGEST_NUMBER]}... is too long")
    return int(text)


def _check_tree(root: Any) -> None:
    """At most DEEPEST levels, and every string one that can be written again."""
    depth, level = 0, [root]
    while level:
        depth += 1
        if depth > DEEPEST:
            raise FormatError("M4", f"it is nested deeper than {DEEPEST} levels")
        children: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                children += [*value, *value.values()]
            elif isinstance(value, list):
                children += value
        level = children


def _check_text(text: str) -> None:
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise FormatError("M5", str(error)) from error


class Value:
    """A JSON value and the path to it. Every method returns it as one type or raises FormatError with path and rule."""

    def __init__(self, path: str, value: Any, id: str = "M7") -> None:
        self.path, self.value, self.id = path, value, id

    def __getitem__(self, key: str) -> Value:
        # A stranger's key may hold control characters, or be as long as the file.
        shown = key if len(key) <= LONGEST_KEY and key.isascii() and key.isprintable() else ascii(key[:LONGEST_KEY])
        return Value(f"{self.path}.{shown}", self.value[key], self.id)

    def get(self, key: str, default: Any) -> Value:
        """What stands under `key`, `default` where nothing does."""
        return self[key] if key in self.mapping() else Value(f"{self.path}.{key}", default, self.id)

    def fail(self, id: str, rule: str) -> FormatError:
        """The error that says what stands there and what should."""
        shown = reprlib.repr(self.value).encode("ascii", "backslashreplace").decode("ascii")
        return FormatError(id, f"{self.path} is {shown}: {rule}")

    def under(self, id: str) -> Value:
        """The same value, whose errors are of the condition `id`."""
        return Value(self.path, self.value, id)

    def keys(self, *names: str) -> None:
        """An object with at least these keys."""
        missing = [name for name in names if name not in self.mapping()]
        if missing:
            raise FormatError("M6" if self.id == "M7" else self.id, f"{self.path} lacks the key {missing[0]!r}")

    def mapping(self) -> dict[str, Any]:
        """An object."""
        if not isinstance(self.value, dict):
            raise self.fail(self.id, "must be an object")
        return self.value

    def items(self, most: int) -> list[Value]:
        """A list of at most `most` items."""
        if not isinstance(self.value, list) or len(self.value) > most:
            raise self.fail("M8" if isinstance(self.value, list) else self.id, f"must be a list of at most {most} items")
        return [Value(f"{self.path}[{i}]", v, self.id) for i, v in enumerate(self.value)]

    def exactly(self, length: int) -> list[Value]:
        """A list of `length` items."""
        items = self.items(length)
        if len(items) != length:
            raise self.fail("M8" if self.id == "M7" else self.id, f"must be a list of {length} items")
        return items

    def text(self) -> str:
        """A string."""
        if not isinstance(self.value, str):
            raise self.fail(self.id, "must be a string")
        return self.value

    def choice(self, *choices: str) -> str:
        """One of these strings."""
        if self.text() not in choices:
            raise self.fail(self.id, f"must be one of {', '.join(choices)}")
        return self.text()

    def flag(self) -> bool:
        """True or false."""
        if not isinstance(self.value, bool):
            raise self.fail(self.id, "must be true or false")
        return self.value

    def integer(self, bits: int) -> int:
        """A signed whole number of `bits` bits."""
        if not _is_integer(self.value) or not -(1 << (bits - 1)) <= self.value < 1 << (bits - 1):
            raise self.fail(self.id, f"must be a whole number of {bits} bits")
        return int(self.value)

    def count(self, most: int = (1 << 63) - 1, what: str = "2^63 - 1", least: int = 0) -> int:
        """A whole number from `least` to `most`, which messages call `what`."""
        if not _is_integer(self.value) or not least <= self.value <= most:
            raise self.fail(self.id, f"must be a whole number from {least} to {what}")
        return int(self.value)

    def number(self, single: bool = False) -> float:
        """A number; `single`: within the range of float32."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise self.fail(self.id, "must be a number")
        if single and abs(self.value) > LARGEST_SINGLE:
            raise self.fail(self.id, "must lie within the range of float32")
        return float(self.value)

    def numbers(self, length: int, single: bool = False) -> tuple[float, ...]:
        """A list of `length` numbers."""
        return tuple(item.number(single) for item in self.exactly(length))

    def base64(self) -> dict[str, str]:
        """{"base64": ...}, nothing else in it, canonical."""
        text = self["base64"].text()
        try:
            valid = base64.b64encode(base64.b64decode(text, validate=True)).decode("ascii") == text
        except (ValueError, binascii.Error):
            valid = False
        if not valid or len(self.mapping()) != 1:
            raise self.fail(self.id, "must be one object with valid base64")
        return {"base64": text}

    def nothing(self) -> None:
        """Null."""
        if self.value is not None:
            raise self.fail(self.id, "must be null")

    def plain(self) -> None:
        """A scalar, or a flat list of scalars."""
        for item in self.value if isinstance(self.value, list) else [self.value]:
            if isinstance(item, (dict, list)):
                raise self.fail("M14", "must be a scalar or a flat list of scalars")

    def optional(self, read: Callable[[Value], T]) -> T | None:
        """None for null, else what `read` makes of it."""
        return None if self.value is None else read(self)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
