"""JSON from a stranger: parsed under bounds, then read value by value.

`Value` wraps a value and the path to it; each of its methods is one rule. The functions at the end
make rules of rules: they read the keys of entries that are declared as dataclasses.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast, get_type_hints

from inrv.errors import FormatError

DEEPEST = 32
LONGEST_NUMBER = 64  # characters; a double needs at most 24, an int64 20
LONGEST_KEY = 80  # characters of a key in a message
LARGEST_SINGLE = 3.4028234663852886e38
LARGEST_COUNT = (1 << 63) - 1

T = TypeVar("T")


def parse_json(data: bytes, what: str) -> Any:
    """Parse strict JSON: UTF-8, no key twice, no NaN or infinity, at most DEEPEST levels deep.

    what: what messages call the data
    Raises FormatError.
    """
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
    """Check that there are at most DEEPEST levels, and that every string can be written again."""
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
    """A JSON value. Every method returns it as one type, or raises FormatError with path and rule.

    path: where it stands, as "manifest.grids[0].name"
    value: what the JSON parser made of it
    id: the condition of the specification that its errors are of
    """

    def __init__(self, path: str, value: Any, id: str = "M7") -> None:
        self.path, self.value, self.id = path, value, id

    def __getitem__(self, key: str) -> Value:
        # A stranger's key may hold control characters, or be as long as the file.
        plain = len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()
        shown = key if plain else ascii(key[:LONGEST_KEY])
        return Value(f"{self.path}.{shown}", self.value[key], self.id)

    def fail(self, id: str, rule: str) -> FormatError:
        """Return the error of the condition `id` that says what stands there and what should."""
        shown = reprlib.repr(self.value).encode("ascii", "backslashreplace").decode("ascii")
        return FormatError(id, f"{self.path} is {shown}: {rule}")

    def under(self, id: str) -> Value:
        """Return the same value, whose errors are of the condition `id`."""
        return Value(self.path, self.value, id)

    def keys(self, *names: str) -> None:
        """Check that it is an object with at least these keys."""
        missing = [name for name in names if name not in self.mapping()]
        if missing:
            message = f"{self.path} lacks the key {missing[0]!r}"
            raise FormatError("M6" if self.id == "M7" else self.id, message)

    def only(self, *names: str, what: str) -> None:
        """Check that it is an object with exactly these keys; messages call it a `what`."""
        self.keys(*names)
        unknown = sorted(set(self.mapping()) - set(names))
        if unknown:
            key = reprlib.repr(unknown[0])
            rule = f"{self.path} has the key {key}, which a {what} does not have"
            raise FormatError("M14", rule)

    def mapping(self) -> dict[str, Any]:
        """Return an object."""
        if not isinstance(self.value, dict):
            raise self.fail(self.id, "must be an object")
        return self.value

    def items(self, most: int = LARGEST_COUNT) -> list[Value]:
        """Return the items of a list of at most `most`."""
        if not isinstance(self.value, list):
            raise self.fail(self.id, "must be a list")
        if len(self.value) > most:
            raise self.fail("M8", f"must be a list of at most {most} items")
        return [Value(f"{self.path}[{i}]", v, self.id) for i, v in enumerate(self.value)]

    def exactly(self, length: int) -> list[Value]:
        """Return the items of a list of `length`."""
        items = self.items()
        if len(items) != length:
            rule = f"must be a list of {length} items"
            raise self.fail("M8" if self.id == "M7" else self.id, rule)
        return items

    def text(self) -> str:
        """Return a string."""
        if not isinstance(self.value, str):
            raise self.fail(self.id, "must be a string")
        return self.value

    def choice(self, *choices: str) -> str:
        """Return one of these strings."""
        if self.text() not in choices:
            raise self.fail(self.id, f"must be one of {', '.join(choices)}")
        return self.text()

    def flag(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            raise self.fail(self.id, "must be true or false")
        return self.value

    def integer(self, bits: int) -> int:
        """Return a signed whole number of `bits` bits."""
        highest = 1 << (bits - 1)
        if not _is_integer(self.value) or not -highest <= self.value < highest:
            raise self.fail(self.id, f"must be a whole number of {bits} bits")
        return int(self.value)

    def count(self, most: int = LARGEST_COUNT, what: str = "2^63 - 1", least: int = 0) -> int:
        """Return a whole number from `least` to `most`, which messages call `what`."""
        if not _is_integer(self.value) or not least <= self.value <= most:
            raise self.fail(self.id, f"must be a whole number from {least} to {what}")
        return int(self.value)

    def number(self, single: bool = False) -> float:
        """Return a number; `single`: one within the range of float32."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise self.fail(self.id, "must be a number")
        if single and abs(self.value) > LARGEST_SINGLE:
            raise self.fail(self.id, "must lie within the range of float32")
        return float(self.value)

    def base64(self) -> dict[str, str]:
        """Return {"base64": ...} with canonical base64 and nothing else in it."""
        text = self["base64"].text()
        try:
            again = base64.b64encode(base64.b64decode(text, validate=True)).decode("ascii")
        except (ValueError, binascii.Error):
            again = None
        if again != text or len(self.mapping()) != 1:
            raise self.fail(self.id, "must be one object with valid base64")
        return {"base64": text}

    def optional(self, read: Callable[[Value], T]) -> T | None:
        """Return None for null, else what `read` makes of it."""
        return None if self.value is None else read(self)

    def numbers(self, length: int, single: bool = False) -> tuple[float, ...]:
        """Return a list of `length` numbers."""
        return tuple(item.number(single) for item in self.exactly(length))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


Rule = Callable[[Value], Any]


def single(value: Value) -> float:
    """Read a number within the range of float32."""
    return value.number(single=True)


def choice(*choices: str) -> Rule:
    """Return the rule that reads one of these strings."""
    return lambda value: value.choice(*choices)


def numbers(length: int) -> Rule:
    """Return the rule that reads a list of `length` numbers."""
    return lambda value: value.numbers(length)


def each(rule: Rule, most: int = LARGEST_COUNT) -> Rule:
    """Return the rule that reads a list, of at most `most` items, item by item."""
    return lambda value: tuple(rule(item) for item in value.items(most))


def nullable(rule: Rule) -> Rule:
    """Return the rule that takes null for None and leaves all else to `rule`."""
    return lambda value: value.optional(rule)


def entry(kind: type[T]) -> Callable[[Value], T]:
    """Return the rule that reads an object into a dataclass.

    kind: a dataclass whose every field is `Annotated` with the rule that reads it. All its fields
        must be there as keys; other keys are ignored.
    """

    def read(value: Value) -> T:
        rules = _rules(cast(Hashable, kind))
        value.keys(*rules)
        return kind(**{name: rule(value[name]) for name, rule in rules.items()})

    return read


@lru_cache
def _rules(kind: Any) -> dict[str, Rule]:
    """Return the rule of each field of a dataclass."""
    hints = get_type_hints(kind, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}
